// Changes of attention: every level against the definition in double, and what has to hold bit for
// bit.
#include "check_attention_change.h"

// The same call with room of its own for the outputs.
static void open_same(struct call *call, const struct call *as, struct shape shape, enum kind kind,
                      unsigned set) {
    call_open(call, shape, kind, set);
    call->args.changes = as->args.changes;
    call->args.n_changes = as->args.n_changes;
}

static bool row_is_changed(const struct hw_attention_args *args, size_t i, size_t head) {
    for (size_t c = 0; c < args->n_changes; c++) {
        const struct hw_attention_change *change = &args->changes[c];
        if ((change->heads == NULL || change->heads[head]) &&
            (change->queries == NULL || change->queries[args->query_first + i])) {
            return true;
        }
    }
    return false;
}

static uint64_t pairs_changed(const struct hw_attention_args *args) {
    struct hw_attention_args one = *args;
    uint64_t n = 0;
    one.n_changes = 1;
    for (size_t c = 0; c < args->n_changes; c++, one.changes++) {
        for (size_t row = 0; row < args->n_queries * args->n_heads; row++) {
            n += row_is_changed(&one, row / args->n_heads, row % args->n_heads);
        }
    }
    return n;
}

static const struct shape shapes[] = {{1, 0, 4, 2, 16},   {7, 0, 4, 2, 16},   {33, 0, 6, 2, 20},
                                      {130, 0, 3, 1, 8},  {300, 0, 2, 1, 16}, {1, 32, 4, 2, 20},
                                      {5, 128, 6, 3, 64}, {13, 40, 2, 2, 8}};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], N_LISTS = 2 };

static void check_against_definition(enum hw_level level, struct shape shape, enum kind kind,
                                     int list, uint64_t seed, struct pool *pools) {
    struct call got, plain, exact;
    unsigned set = shape.n_queries == 130 ? ALL : ALL_BUT_MAPS; // maps take long
    open_changed(&got, shape, kind, set);
    make_list(&got, list, seed);
    take_changes(&got);
    open_same(&plain, &got, shape, kind, set);
    open_same(&exact, &got, shape, kind, set);
    uint64_t n_changed = 5;
    got.args.n_changed = &n_changed;
    call_run(&got, attention_of(level), 2, set);
    ck_assert_uint_eq(n_changed, 5 + pairs_changed(&got.args));
    call_run(&plain, attention_float, 1, set);
    call_run(&exact, attention_of(HW_LEVEL_REF), 1, set);
    for (int id = 0; id < N_FLOATS; id++) {
        if ((set >> id & 1) != 0) {
            pool_add(&pools[id], &got, &plain, &exact, id);
        }
    }
    // An empty row is one for all.
    for (size_t row = 0; row < shape.n_queries * shape.n_heads; row++) {
        REQUIRE((((int32_t *)got.outputs[ARGMAX].data)[row] < 0) ==
                (((int32_t *)exact.outputs[ARGMAX].data)[row] < 0));
    }
    call_close(&got);
    call_close(&plain);
    call_close(&exact);
}

START_TEST(every_change_is_within_twice_the_error_of_plain_floats) {
    for (int list = 0; list < N_CHANGE_KINDS + 4; list++) {
        for (int kind = NORMAL; kind <= EQUAL; kind++) {
            struct pool pools[N_FLOATS] = {0};
            for (size_t s = 0; s < N_SHAPES; s++) {
                for (uint64_t seed = 0; seed < N_LISTS; seed++) {
                    check_against_definition(_i, shapes[s], kind, list, seed * 97 + s, pools);
                }
            }
            check_pools(pools, list);
        }
    }
}
END_TEST

// Blocks of half the rows, several heads in a block and one.
START_TEST(long_prompts_are_changed_too) {
    static const struct shape longest[] = {{30, ATTENTION_LONG, 2, 1, 8},
                                           {2, ATTENTION_LONG, 2, 1, 8}};
    struct pool pools[N_FLOATS] = {0};
    for (int list = 0; list < N_CHANGE_KINDS + 1; list++) {
        for (size_t s = 0; s < 2; s++) {
            check_against_definition(_i, longest[s], NORMAL, list, (uint64_t)list + 7, pools);
        }
    }
    check_pools(pools, -1);
}
END_TEST

// What alters nothing, each for some heads and queries and then for all.
static void add_neutral(const struct call *call, int which) {
    const struct hw_attention_args *args = &call->args;
    static const enum hw_attention_change_kind kinds[] = {
        HW_CHANGE_BIAS,   HW_CHANGE_BLOCK,    HW_CHANGE_WINDOW,  HW_CHANGE_WINDOW,
        HW_CHANGE_WINDOW, HW_CHANGE_SCALE,    HW_CHANGE_SCALE,   HW_CHANGE_UNIFORM,
        HW_CHANGE_TO,     HW_CHANGE_IDENTITY, HW_CHANGE_PREVIOUS};
    struct hw_attention_change *change = add_change(kinds[which]);
    size_t at = changes.n - 1;
    memset(changes.keys[at], 0, args->n_keys);
    memset(changes.queries[at], 0, args->n_keys);
    switch (which) {
    case 1:
        change->keys = changes.keys[at];
        break;
    case 2:
        change->n_recent = args->n_keys;
        break;
    case 3:
        change->n_sinks = args->n_keys;
        break;
    case 4:
        change->n_sinks = args->n_keys / 2;
        change->n_recent = args->n_keys - change->n_sinks;
        change->q_sinks = args->q;
        break;
    case 5:
    case 6:
        change->amount = 1;
        change->is_renormalised = which == 5;
        break;
    case 7:
    case 8:
    case 9:
    case 10: // the first row has one key
        changes.queries[at][0] = 1;
        change->queries = changes.queries[at];
        break;
    default:
        break;
    }
}

enum { N_NEUTRAL = 11 };

START_TEST(changes_that_alter_nothing_keep_every_bit) {
    for (size_t s = 0; s < N_SHAPES; s++) {
        for (int kind = 0; kind < N_KINDS; kind++) {
            unsigned set = shapes[s].n_queries < 150 ? ALL : ALL_BUT_MAPS;
            struct call got, want;
            open_changed(&got, shapes[s], kind, set);
            call_open(&want, shapes[s], kind, set);
            call_run(&want, attention_of(_i), 1, set);
            for (int which = 0; which <= N_NEUTRAL; which++) {
                changes.n = 0;
                // The last one: several together.
                add_neutral(&got, which < N_NEUTRAL ? which : 0);
                if (which == N_NEUTRAL) {
                    add_neutral(&got, 2);
                    add_neutral(&got, 5);
                    add_neutral(&got, 6);
                }
                take_changes(&got);
                uint64_t n_changed = 0;
                got.args.n_changed = &n_changed;
                call_run(&got, attention_of(_i), 2, set);
                ck_assert_uint_eq(n_changed, pairs_changed(&got.args));
                check_same_outputs(&got, &want, set);
            }
            call_close(&got);
            call_close(&want);
        }
    }
}
END_TEST

static const unsigned row_outputs = (1u << Z) | (1u << ROWS) | (1u << TOP_KEY) |
                                    (1u << TOP_WEIGHT) | (1u << ARGMAX) |
                                    ((1u << RECEIVED_SUM) - (1u << ENTROPY));

// Bytes of one row of one head among an output, and where they start.
static size_t row_bytes(const struct hw_attention_args *args, enum output id, size_t row,
                        size_t *ret_first) {
    size_t n = 1;
    size_t first = row;
    if (id == Z) {
        n = args->d_head;
        first = row / args->n_heads * args->z_stride + row % args->n_heads * n;
    } else if (id == ROWS) {
        n = args->request.row_stride;
        first = row * n;
    } else if (id == TOP_KEY || id == TOP_WEIGHT) {
        n = N_TOP;
        first = row * n;
    }
    *ret_first = first * 4;
    return n * 4;
}

static void check_same_row(const struct call *a, size_t row_a, const struct call *b, size_t row_b) {
    for (int id = 0; id < N_OUTPUTS; id++) {
        size_t at_a, at_b;
        size_t n = row_bytes(&a->args, id, row_a, &at_a);
        (void)row_bytes(&b->args, id, row_b, &at_b);
        REQUIRE((row_outputs >> id & 1) == 0 || memcmp((char *)a->outputs[id].data + at_a,
                                                       (char *)b->outputs[id].data + at_b, n) == 0);
    }
}

START_TEST(rows_without_a_change_keep_every_bit) {
    for (size_t s = 0; s < N_SHAPES; s++) {
        struct call got, want;
        open_changed(&got, shapes[s], NORMAL, row_outputs);
        call_open(&want, shapes[s], NORMAL, row_outputs);
        call_run(&want, attention_of(_i), 1, row_outputs);
        for (int list = 0; list < N_CHANGE_KINDS; list++) {
            make_list(&got, list, s + 1);
            take_changes(&got);
            call_run(&got, attention_of(_i), 1, row_outputs);
            for (size_t row = 0; row < shapes[s].n_queries * shapes[s].n_heads; row++) {
                if (!row_is_changed(&got.args, row / shapes[s].n_heads, row % shapes[s].n_heads)) {
                    check_same_row(&got, row, &want, row);
                }
            }
        }
        call_close(&got);
        call_close(&want);
    }
}
END_TEST

START_TEST(a_changed_row_alone_equals_it_in_a_block) {
    for (size_t length = 1; length < 150; length += 11) {
        for (int list = 0; list < N_CHANGE_KINDS + 3; list++) {
            struct call block, alone;
            struct shape one = {1, length - 1, 4, 2, 20};
            open_changed(&block, (struct shape){length, 0, 4, 2, 20}, NORMAL, row_outputs);
            make_list(&block, list, length);
            take_changes(&block);
            open_same(&alone, &block, one, NORMAL, row_outputs);
            struct hw_attention_change list_alone[MAX_CHANGES];
            memcpy(list_alone, changes.list, sizeof list_alone);
            for (size_t c = 0; c < changes.n; c++) {
                if (list_alone[c].q_sinks != NULL) {
                    list_alone[c].q_sinks += (length - 1) * block.args.q_stride;
                }
            }
            alone.args.changes = list_alone;
            memcpy(alone.q, block.q + (length - 1) * block.args.q_stride,
                   alone.args.q_stride * sizeof(float));
            memcpy(alone.k, block.k, length * block.args.k_stride * sizeof(float));
            memcpy(alone.v, block.v, length * block.args.v_stride * sizeof(float));
            call_run(&block, attention_of(_i), 1, row_outputs);
            call_run(&alone, attention_of(_i), 1, row_outputs);
            for (size_t head = 0; head < 4; head++) {
                check_same_row(&alone, head, &block, (length - 1) * 4 + head);
            }
            call_close(&block);
            call_close(&alone);
        }
    }
}
END_TEST

START_TEST(threads_and_requests_change_no_bit) {
    for (size_t s = 0; s < N_SHAPES; s++) {
        for (int list = 0; list < N_CHANGE_KINDS + 2; list++) {
            struct call one, other;
            open_changed(&one, shapes[s], NORMAL, ALL);
            make_list(&one, list, s);
            take_changes(&one);
            open_same(&other, &one, shapes[s], NORMAL, ALL);
            call_run(&one, attention_of(_i), 1, ALL);
            for (int n_threads = 2; n_threads <= 3; n_threads++) {
                call_run(&other, attention_of(_i), n_threads, ALL);
                check_same_outputs(&one, &other, ALL);
            }
            for (int id = 0; shapes[s].n_queries < 100 && id < N_OUTPUTS; id++) {
                call_run(&other, attention_of(_i), 2, 1u << id);
                check_same_outputs(&one, &other, 1u << id);
            }
            call_close(&one);
            call_close(&other);
        }
    }
}
END_TEST

// A row that loses a key far above the others is the row without that key.
START_TEST(what_is_left_of_a_row_is_as_exact_as_a_row) {
    struct call scaled, blocked;
    struct shape shape = {40, 0, 2, 1, 8};
    open_changed(&scaled, shape, NORMAL, ALL);
    call_open(&blocked, shape, NORMAL, ALL);
    uint8_t key[40] = {0};
    key[5] = 1;
    struct hw_attention_change scale = {
        .kind = HW_CHANGE_SCALE, .keys = key, .is_renormalised = true};
    struct hw_attention_change block = {.kind = HW_CHANGE_BLOCK, .keys = key};
    for (size_t i = 0; i < 40; i++) {
        for (size_t c = 0; i == 5 && c < 8; c++) {
            scaled.k[i * scaled.args.k_stride + c] = 100;
        }
        for (size_t c = 0; c < 16; c++) {
            scaled.q[i * scaled.args.q_stride + c] =
                fabsf(scaled.q[i * scaled.args.q_stride + c]) + 1;
        }
    }
    memcpy(blocked.q, scaled.q, 40 * scaled.args.q_stride * sizeof(float));
    memcpy(blocked.k, scaled.k, 40 * scaled.args.k_stride * sizeof(float));
    scaled.args.q = scaled.q;
    scaled.args.changes = &scale;
    blocked.args.changes = &block;
    scaled.args.n_changes = blocked.args.n_changes = 1;
    call_run(&scaled, attention_of(_i), 1, ALL);
    call_run(&blocked, attention_of(_i), 1, ALL);
    unsigned same = (1u << Z) | (1u << ENTROPY) | (1u << MAX) | (1u << DISTANCE) | (1u << ARGMAX) |
                    (1u << TOP_KEY) | (1u << ROWS) | (1u << RECEIVED_SUM);
    check_same_outputs(&scaled, &blocked, same);
    REQUIRE(((float *)scaled.outputs[LOGSUMEXP].data)[2 * 39] > 200);
    call_close(&scaled);
    call_close(&blocked);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("attention_change");
    TCase *tcase = tcase_create("all");
    int n = (int)hw_cpu_level() + 1;
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, changes_that_alter_nothing_keep_every_bit, 0, n);
    tcase_add_loop_test(tcase, rows_without_a_change_keep_every_bit, 0, n);
    tcase_add_loop_test(tcase, a_changed_row_alone_equals_it_in_a_block, 0, n);
    tcase_add_loop_test(tcase, threads_and_requests_change_no_bit, 0, n);
    tcase_add_loop_test(tcase, what_is_left_of_a_row_is_as_exact_as_a_row, 1, n);
    tcase_add_loop_test(tcase, every_change_is_within_twice_the_error_of_plain_floats, 1, n);
    tcase_add_loop_test(tcase, long_prompts_are_changed_too, 1, n);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
