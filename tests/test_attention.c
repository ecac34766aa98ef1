// Attention: every level against the definition in double, and what has to hold bit for bit.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check_attention.h"
#include "kernels/exp_plain.h"

// Shapes with every edge of blocks, panels, tiles and vectors, every head width and group, with and
// without keys before the queries.
static size_t make_shapes(struct shape *ret) {
    static const size_t lengths[] = {1,  2,  15, 16, 17, 23,  24,  25,  31, 32,
                                     33, 48, 63, 64, 65, 100, 128, 129, 257};
    static const size_t widths[] = {64, 1, 8, 16, 20, 80, 96, 128};
    size_t n = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t group = i % 4 + 1;
        ret[n++] = (struct shape){lengths[i], 0, group, 1, widths[i % 8]};
        ret[n++] = (struct shape){lengths[i], 0, 4, 2, widths[(i + 3) % 8]};
        ret[n++] = (struct shape){1, lengths[i] - 1, group * 2, 2, widths[(i + 5) % 8]};
        ret[n++] = (struct shape){i % 14 + 1, lengths[i], group, 1, widths[(i + 1) % 8]};
    }
    // Long enough for blocks of half the rows, packed and not.
    ret[n++] = (struct shape){30, ATTENTION_LONG, 2, 1, 8};
    ret[n++] = (struct shape){2, ATTENTION_LONG, 2, 1, 8};
    return n;
}

static void check_kind(enum hw_level level, enum kind kind) {
    struct shape shapes[100];
    size_t n = make_shapes(shapes);
    struct pool pools[N_FLOATS] = {0};
    for (size_t i = 0; i < n; i++) {
        struct call got, plain, exact;
        // Maps take long where they are mostly padding.
        unsigned set = shapes[i].n_queries < 65 ? ALL_BUT_MAPS : ALL;
        call_open(&got, shapes[i], kind, set);
        call_open(&plain, shapes[i], kind, set);
        call_open(&exact, shapes[i], kind, set);
        call_run(&got, attention_of(level), 1, set);
        call_run(&plain, attention_float, 1, set);
        call_run(&exact, attention_of(HW_LEVEL_REF), 1, set);
        for (int id = 0; id < N_FLOATS; id++) {
            if ((set >> id & 1) != 0) {
                pool_add(&pools[id], &got, &plain, &exact, id);
            }
        }
        call_close(&got);
        call_close(&plain);
        call_close(&exact);
    }
    check_pools(pools, kind);
}

START_TEST(every_output_is_within_twice_the_error_of_plain_floats) {
    for (int kind = 0; kind < N_KINDS; kind++) {
        check_kind(_i, kind);
    }
}
END_TEST

// Argmax and top keys are those of the level's own scores, ties by key; in the plain level weights
// are the formula's bits.
static void check_row(const struct call *call, enum hw_level level, size_t i, size_t head) {
    const struct hw_attention_args *args = &call->args;
    size_t n = attention_keys_seen(args, i);
    size_t row = i * args->n_heads + head;
    size_t map = (head - args->request.map_head_first) * attention_map_values(args);
    const float *score = (const float *)call->outputs[SCORES].data + map;
    const float *p = (const float *)call->outputs[PATTERN].data + map;
    const float *copy = (const float *)call->outputs[ROWS].data + row * args->request.row_stride;
    const int32_t *key = (const int32_t *)call->outputs[TOP_KEY].data + row * N_TOP;
    const float *weight = (const float *)call->outputs[TOP_WEIGHT].data + row * N_TOP;
    float max = ((float *)call->outputs[ROW_MAX].data)[row];
    float inverse = ((float *)call->outputs[ROW_INVERSE_SUM].data)[row];
    for (size_t j = 0; j < n; j++) {
        size_t at = attention_tile_index(n - 1, j);
        REQUIRE(copy[j] == p[at]);
        REQUIRE(level != HW_LEVEL_PLAIN || p[at] == exp_plain(score[at] - max) * inverse);
        size_t rank = 0; // keys that come before this one
        for (size_t other = 0; other < n; other++) {
            float s = score[attention_tile_index(n - 1, other)];
            rank += s > score[at] || (s == score[at] && other < j);
        }
        if (rank == 0) {
            REQUIRE(((int32_t *)call->outputs[ARGMAX].data)[row] == (int32_t)j);
            REQUIRE(max == score[at] && p[at] == inverse);
            REQUIRE(((float *)call->outputs[MAX].data)[row] == p[at]);
        }
        if (rank < N_TOP) {
            REQUIRE(key[rank] == (int32_t)j);
            REQUIRE(weight[rank] == p[at]);
        }
    }
    for (size_t rank = n; rank < N_TOP; rank++) {
        REQUIRE(key[rank] == -1 && isnan(weight[rank]));
    }
}

START_TEST(keys_and_weights_follow_from_scores) {
    static const struct shape shapes[] = {{70, 0, 3, 1, 20}, {3, 128, 4, 2, 8}, {130, 0, 1, 1, 4}};
    for (size_t i = 0; i < 3 * N_KINDS; i++) {
        struct call call;
        call_open(&call, shapes[i % 3], i / 3, ALL);
        call_run(&call, attention_of(_i), 2, ALL);
        for (size_t row = 0; row < call.args.n_queries; row++) {
            for (size_t h = 0; h < call.args.request.map_n_heads; h++) {
                check_row(&call, _i, row, call.args.request.map_head_first + h);
            }
        }
        call_close(&call);
    }
}
END_TEST

static const struct shape large[] = {{257, 0, 6, 2, 20}, {2, 200, 6, 2, 16}, {30, 128, 3, 3, 64}};

START_TEST(threads_change_no_bit) {
    for (size_t i = 0; i < 3; i++) {
        struct call one, many;
        call_open(&one, large[i], NORMAL, ALL);
        call_open(&many, large[i], NORMAL, ALL);
        call_run(&one, attention_of(_i), 1, ALL);
        static const int n_threads[] = {2, 3, 7};
        for (size_t t = 0; t < 3; t++) {
            call_run(&many, attention_of(_i), n_threads[t], ALL);
            check_same_outputs(&one, &many, ALL);
        }
        call_close(&one);
        call_close(&many);
    }
}
END_TEST

START_TEST(requests_change_no_bit_of_others) {
    for (size_t i = 0; i < 3; i++) {
        struct call all, alone;
        call_open(&all, large[i], NORMAL, ALL);
        call_open(&alone, large[i], NORMAL, ALL);
        call_run(&all, attention_of(_i), 2, ALL);
        for (int id = 0; id < N_OUTPUTS; id++) {
            call_run(&alone, attention_of(_i), 2, 1u << id);
            check_same_outputs(&all, &alone, 1u << id);
        }
        call_close(&all);
        call_close(&alone);
    }
}
END_TEST

START_TEST(row_alone_equals_row_in_block) {
    const unsigned row_outputs = (1u << Z) | (1u << ROWS) | (1u << TOP_KEY) | (1u << TOP_WEIGHT) |
                                 (1u << ARGMAX) | ((1u << RECEIVED_SUM) - (1u << ENTROPY));
    for (size_t length = 1; length < 150; length += 11) {
        struct call block, alone;
        call_open(&block, (struct shape){length, 0, 4, 2, 20}, NORMAL, ALL);
        call_open(&alone, (struct shape){1, length - 1, 4, 2, 20}, NORMAL, ALL);
        memcpy(alone.q, block.q + (length - 1) * block.args.q_stride,
               alone.args.q_stride * sizeof(float));
        memcpy(alone.k, block.k, length * block.args.k_stride * sizeof(float));
        memcpy(alone.v, block.v, length * block.args.v_stride * sizeof(float));
        call_run(&block, attention_of(_i), 1, row_outputs);
        call_run(&alone, attention_of(_i), 1, row_outputs);
        for (int id = 0; id < N_OUTPUTS; id++) {
            size_t n = alone.outputs[id].n_bytes;
            const char *end = (char *)block.outputs[id].data + block.outputs[id].n_bytes;
            REQUIRE((row_outputs >> id & 1) == 0 ||
                    memcmp(alone.outputs[id].data, end - n, n) == 0);
        }
        call_close(&block);
        call_close(&alone);
    }
}
END_TEST

// Halves and 16-bit shares are the rounded floats, whose sums are those that come from the same
// call.
START_TEST(maps_of_all_types_hold_the_same_weights) {
    for (size_t i = 0; i < 3; i++) {
        struct call call;
        call_open(&call, large[i], PEAKED, ALL);
        call_run(&call, attention_of(_i), 2, ALL);
        const size_t n = output_size(&call.args, PATTERN);
        const size_t n_head = attention_map_values(&call.args);
        float *p = malloc(n * sizeof *p);
        double *sum = calloc(call.args.n_keys * call.args.n_heads, sizeof *sum);
        REQUIRE(p != NULL && sum != NULL);
        memcpy(p, call.outputs[PATTERN].data, n * sizeof *p);
        for (size_t at = 0; at < call.args.request.map_n_heads * call.args.n_queries; at++) {
            size_t query = call.args.query_first + at % call.args.n_queries;
            size_t map = at / call.args.n_queries;
            for (size_t key = 0; key <= query; key++) {
                size_t head = call.args.request.map_head_first + map;
                sum[key * call.args.n_heads + head] +=
                    p[map * n_head + attention_tile_index(query, key)];
            }
        }
        const float *received = call.outputs[RECEIVED_SUM].data;
        for (size_t at = 0; at < call.args.n_keys * call.args.n_heads; at++) {
            if (at % call.args.n_heads >= call.args.request.map_head_first) {
                // Float sums of at most 257 weights, relative to their size.
                REQUIRE(fabs(received[at] - sum[at]) <= 1e-5 * fmax(sum[at], 1));
            }
        }
        for (int dtype = HW_MAP_F16; dtype <= HW_MAP_U16; dtype++) {
            call.args.request.map_dtype = dtype;
            call_run(&call, attention_of(_i), 2, 1u << PATTERN);
            const uint16_t *got = call.outputs[PATTERN].data;
            for (size_t at = 0; at < n; at++) {
                uint16_t want;
                attention_map_store(&want, dtype, 0, p[at]);
                // Rows before the first query keep their fill.
                bool is_untouched = memcmp(&p[at], "\xA5\xA5\xA5\xA5", 4) == 0;
                REQUIRE(got[at] == (is_untouched ? 0xA5A5 : want));
            }
        }
        free(p);
        free(sum);
        call_close(&call);
    }
}
END_TEST

START_TEST(scores_may_be_halves) {
    struct call call;
    call_open(&call, large[0], NORMAL, ALL);
    call_run(&call, attention_of(_i), 1, 1u << SCORES);
    size_t n = output_size(&call.args, SCORES);
    float *s = malloc(n * sizeof *s);
    REQUIRE(s != NULL);
    memcpy(s, call.outputs[SCORES].data, n * sizeof *s);
    call.args.request.score_dtype = HW_MAP_F16;
    call_run(&call, attention_of(_i), 1, 1u << SCORES);
    for (size_t at = 0; at < n; at++) {
        REQUIRE(((uint16_t *)call.outputs[SCORES].data)[at] == attention_half(s[at]));
    }
    free(s);
    call_close(&call);
}
END_TEST

// Numbers from the format's definition: halves around one, the largest, the least, ties both ways,
// and what overflows.
START_TEST(half_rounds_to_nearest_even) {
    static const struct {
        float x;
        uint16_t half;
    } cases[] = {{0, 0},
                 {-0.0f, 0x8000},
                 {1, 0x3c00},
                 {-2, 0xc000},
                 {65504, 0x7bff},
                 {65519, 0x7bff},
                 {65520, 0x7c00},
                 {INFINITY, 0x7c00},
                 {NAN, 0x7e00},
                 {0x1p-24f, 1},
                 {0x1p-25f, 0},
                 {0x1.8p-24f, 2},
                 {0x1p-14f, 0x400},
                 {1 + 0x1p-11f, 0x3c00},
                 {1 + 0x3p-11f, 0x3c02}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_uint_eq(attention_half(cases[i].x), cases[i].half);
    }
}
END_TEST

// The causal map [1 0 0; .6 .4 0; .5 .3 .2], made by keys that are unit vectors and queries that
// are logarithms.
START_TEST(worked_map_gives_worked_numbers) {
    const float q[9] = {0, 0, 0, logf(.6f), logf(.4f), 0, logf(.5f), logf(.3f), logf(.2f)};
    const float k[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    static const double alpha[3] = {.7, .35, .2};
    static const double entropy[3] = {0, .673012, 1.029653};
    // Column entropies divided by ln(3 - key), where that is not 0.
    static const double received_entropy[2] = {.958411, .985228};
    struct call call;
    call_open(&call, (struct shape){3, 0, 1, 1, 3}, NORMAL, ALL);
    call.args.q = q;
    call.args.k = k;
    call.args.q_stride = call.args.k_stride = 3;
    call.args.score_scale = 1;
    call_run(&call, attention_of(_i), 1, ALL);
    for (int i = 0; i < 3; i++) {
        // The worked numbers have six decimals.
        ck_assert_double_eq_tol(((float *)call.outputs[ENTROPY].data)[i], entropy[i], 1e-6);
        ck_assert_double_eq_tol(((float *)call.outputs[RECEIVED_SUM].data)[i] / (3 - i), alpha[i],
                                1e-6);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_double_eq_tol(((float *)call.outputs[RECEIVED_ENTROPY].data)[i] / log(3 - i),
                                received_entropy[i], 1e-6);
    }
    call_close(&call);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("attention");
    TCase *tcase = tcase_create("all");
    int n = (int)hw_cpu_level() + 1;
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, half_rounds_to_nearest_even);
    tcase_add_loop_test(tcase, worked_map_gives_worked_numbers, 0, n);
    tcase_add_loop_test(tcase, every_output_is_within_twice_the_error_of_plain_floats, 1, n);
    tcase_add_loop_test(tcase, keys_and_weights_follow_from_scores, 1, n);
    tcase_add_loop_test(tcase, threads_change_no_bit, 0, n);
    tcase_add_loop_test(tcase, requests_change_no_bit_of_others, 0, n);
    tcase_add_loop_test(tcase, row_alone_equals_row_in_block, 0, n);
    tcase_add_loop_test(tcase, maps_of_all_types_hold_the_same_weights, 0, n);
    tcase_add_loop_test(tcase, scores_may_be_halves, 0, n);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
