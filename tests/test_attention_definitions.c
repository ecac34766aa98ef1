// The worked numbers of the papers' interventions on attention, by their sections in the
// definitions, and rows in which nothing is left.
#include "check_attention_change.h"

// A call of one head whose n x n map is wanted; q, k and v stay the caller's.
static void open_worked(struct call *call, size_t n, size_t d, const float *q, const float *k) {
    open_changed(call, (struct shape){n, 0, 1, 1, d}, NORMAL, ALL);
    call->args.q = q;
    call->args.k = k;
    call->args.q_stride = call->args.k_stride = d;
    call->args.score_scale = 1;
}

static float weight_of(const struct call *call, size_t i, size_t j) {
    return ((float *)call->outputs[PATTERN].data)[attention_tile_index(i, j)];
}

static float score_of(const struct call *call, size_t i, size_t j) {
    return ((float *)call->outputs[SCORES].data)[attention_tile_index(i, j)];
}

// The causal map [1 0 0; .6 .4 0; .5 .3 .2]: keys are unit vectors, queries logarithms.
static const float unit_keys[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};

static void open_map_a(struct call *call, float *q) {
    const float logs[9] = {0, 0, 0, logf(.6f), logf(.4f), 0, logf(.5f), logf(.3f), logf(.2f)};
    memcpy(q, logs, sizeof logs);
    open_worked(call, 3, 3, q, unit_keys);
}

// Visible text positions and query slots of the cache form with one sink and two recent keys. The
// vectors are turned by their position, so that a score is the cosine of the distance.
START_TEST(definitions_b1_cache_form_sees_the_worked_slots) {
    static const int visible[7][7] = {{1},
                                      {1, 1},
                                      {1, 1, 1},
                                      {1, 1, 1, 1},
                                      {1, 0, 1, 1, 1},
                                      {1, 0, 0, 1, 1, 1},
                                      {1, 0, 0, 0, 1, 1, 1}};
    static const int slots[7] = {0, 1, 2, 3, 3, 3, 3};
    float q[14], k[14], q_sinks[14];
    for (int i = 0; i < 7; i++) {
        q[2 * i] = k[2 * i] = cosf((float)i);
        q[2 * i + 1] = k[2 * i + 1] = sinf((float)i);
        q_sinks[2 * i] = cosf((float)slots[i]);
        q_sinks[2 * i + 1] = sinf((float)slots[i]);
    }
    struct call call;
    open_worked(&call, 7, 2, q, k);
    struct hw_attention_change *change = add_change(HW_CHANGE_WINDOW);
    change->n_sinks = 1;
    change->n_recent = 3;
    change->q_sinks = q_sinks;
    take_changes(&call);
    call_run(&call, attention_of(_i), 1, ALL);
    for (size_t i = 0; i < 7; i++) {
        for (size_t j = 0; j <= i; j++) {
            ck_assert_int_eq(weight_of(&call, i, j) > 0, visible[i][j]);
            ck_assert_int_eq(!isnan(score_of(&call, i, j)), visible[i][j]);
            int distance = j == 0 ? slots[i] : (int)(i - j);
            if (visible[i][j]) {
                // Sines and cosines of floats, two products and a sum.
                ck_assert_double_eq_tol(score_of(&call, i, j), cos(distance), 4 * 0x1p-24);
            }
        }
    }
    call_close(&call);
}
END_TEST

START_TEST(definitions_b2_query_4_sees_0_3_4) {
    struct call call;
    open_changed(&call, (struct shape){6, 0, 1, 1, 8}, NORMAL, ALL);
    struct hw_attention_change *change = add_change(HW_CHANGE_WINDOW);
    change->n_sinks = 1;
    change->n_recent = 2;
    take_changes(&call);
    call_run(&call, attention_of(_i), 1, ALL);
    static const int visible[5] = {1, 0, 0, 1, 1};
    for (size_t j = 0; j < 5; j++) {
        ck_assert_int_eq(weight_of(&call, 4, j) > 0, visible[j]);
    }
    call_close(&call);
}
END_TEST

START_TEST(definitions_h2_row_over_4_keys_becomes_quarters) {
    struct call call;
    open_changed(&call, (struct shape){1, 3, 1, 1, 8}, PEAKED, ALL_BUT_MAPS);
    add_change(HW_CHANGE_UNIFORM);
    take_changes(&call);
    call_run(&call, attention_of(_i), 1, ALL_BUT_MAPS);
    for (size_t j = 0; j < 4; j++) {
        ck_assert(((float *)call.outputs[ROWS].data)[j] == .25f);
    }
    for (size_t c = 0; c < 8; c++) {
        double mean = 0, size = 0;
        for (size_t j = 0; j < 4; j++) {
            mean += call.v[j * call.args.v_stride + c] / 4.0;
            size += fabs(call.v[j * call.args.v_stride + c] / 4.0);
        }
        check_sum(((float *)call.outputs[Z].data)[c], mean, size, 4);
    }
    // Four equal weights: ln 4, one rounding of a logarithm.
    ck_assert_double_eq_tol(((float *)call.outputs[ENTROPY].data)[0], log(4), 2 * 0x1p-24);
    call_close(&call);
}
END_TEST

START_TEST(definitions_m1_half_of_the_first_token) {
    static const double want[3][3] = {{1, 0, 0}, {.428571, .571429, 0}, {.333333, .4, .266667}};
    static const uint8_t first[3] = {1, 0, 0};
    float q[9];
    struct call call;
    open_map_a(&call, q);
    struct hw_attention_change *change = add_change(HW_CHANGE_SCALE);
    change->amount = .5f;
    change->keys = first;
    change->is_renormalised = true;
    take_changes(&call);
    call_run(&call, attention_of(_i), 1, ALL);
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j <= i; j++) {
            ck_assert_double_eq_tol(weight_of(&call, i, j), want[i][j], 1e-6); // six decimals
        }
    }
    // A factor of 0 leaves nothing of row 0, which would be 0 / 0.
    change->amount = 0;
    call_run(&call, attention_of(_i), 1, ALL);
    ck_assert(weight_of(&call, 0, 0) == 0);
    ck_assert_int_eq(((int32_t *)call.outputs[ARGMAX].data)[0], -1);
    ck_assert_double_eq_tol(weight_of(&call, 2, 1), .6, 1e-6);
    call_close(&call);
}
END_TEST

START_TEST(definitions_d6_to_the_first_token_and_zero) {
    float q[9];
    struct call call;
    open_map_a(&call, q);
    struct hw_attention_change *change = add_change(HW_CHANGE_TO);
    take_changes(&call);
    call_run(&call, attention_of(_i), 1, ALL);
    const float *z = call.outputs[Z].data;
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j <= i; j++) {
            ck_assert(weight_of(&call, i, j) == (j == 0));
        }
        for (size_t c = 0; c < 3; c++) {
            ck_assert(z[i * call.args.z_stride + c] == call.v[c]);
        }
    }
    change->kind = HW_CHANGE_SCALE;
    change->amount = 0;
    call_run(&call, attention_of(_i), 1, ALL);
    for (size_t i = 0; i < 3; i++) {
        ck_assert(weight_of(&call, i, 0) == 0 && ((float *)call.outputs[ROW_SUM].data)[i] == 0);
        for (size_t c = 0; c < 3; c++) {
            ck_assert(z[i * call.args.z_stride + c] == 0);
        }
    }
    call_close(&call);
}
END_TEST

// The toy interventions of D6: identity, and the token before.
START_TEST(definitions_d6_identity_and_previous) {
    float q[9];
    struct call call;
    open_map_a(&call, q);
    struct hw_attention_change *change = add_change(HW_CHANGE_IDENTITY);
    take_changes(&call);
    for (int is_previous = 0; is_previous < 2; is_previous++) {
        change->kind = is_previous ? HW_CHANGE_PREVIOUS : HW_CHANGE_IDENTITY;
        call_run(&call, attention_of(_i), 1, ALL);
        for (size_t i = 0; i < 3; i++) {
            for (size_t j = 0; j <= i; j++) {
                size_t want = is_previous && i > 0 ? i - 1 : i;
                ck_assert(weight_of(&call, i, j) == (j == want));
            }
        }
    }
    call_close(&call);
}
END_TEST

// Rows that a mask, a bias of minus infinity, a factor of 0 or a key that is not seen leave without
// a key.
START_TEST(empty_rows_are_zero_and_never_nan) {
    static const struct hw_attention_change emptying[] = {
        {.kind = HW_CHANGE_BLOCK},
        {.kind = HW_CHANGE_BIAS, .amount = -INFINITY},
        {.kind = HW_CHANGE_BIAS, .amount = -1e30f},
        {.kind = HW_CHANGE_WINDOW},
        {.kind = HW_CHANGE_SCALE},
        {.kind = HW_CHANGE_SCALE, .is_renormalised = true},
        {.kind = HW_CHANGE_TO, .key = 1000}};
    for (size_t e = 0; e < sizeof emptying / sizeof emptying[0]; e++) {
        struct call call;
        open_changed(&call, (struct shape){33, 0, 2, 1, 16}, NORMAL, ALL);
        *add_change(HW_CHANGE_BLOCK) = emptying[e];
        add_change(HW_CHANGE_SCALE)->amount = 1;
        take_changes(&call);
        call_run(&call, attention_of(_i), 1, ALL);
        static const enum output zero[] = {
            ENTROPY,         MAX,          FIRST,        ROW_SUM,          DISTANCE, ROW_MAX,
            ROW_INVERSE_SUM, RECEIVED_SUM, RECEIVED_MAX, RECEIVED_ENTROPY, OFFSET,   SPAN};
        for (size_t id = 0; id < sizeof zero / sizeof zero[0]; id++) {
            const float *x = call.outputs[zero[id]].data;
            for (size_t at = 0; at < output_size(&call.args, zero[id]); at++) {
                REQUIRE(x[at] == 0);
            }
        }
        for (size_t row = 0; row < 66; row++) {
            const float *z = (float *)call.outputs[Z].data + row / 2 * call.args.z_stride +
                             row % 2 * call.args.d_head;
            for (size_t c = 0; c < call.args.d_head; c++) {
                REQUIRE(z[c] == 0);
            }
            REQUIRE(((float *)call.outputs[LOGSUMEXP].data)[row] == -INFINITY);
            REQUIRE(((int32_t *)call.outputs[ARGMAX].data)[row] == -1);
            REQUIRE(((int32_t *)call.outputs[TOP_KEY].data)[row * N_TOP] == -1);
            REQUIRE(isnan(((float *)call.outputs[TOP_WEIGHT].data)[row * N_TOP]));
            REQUIRE(isfinite(((float *)call.outputs[SCORE_MEAN].data)[row]));
        }
        call_close(&call);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("attention_definitions");
    TCase *tcase = tcase_create("all");
    int n = (int)hw_cpu_level() + 1;
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, definitions_b1_cache_form_sees_the_worked_slots, 0, n);
    tcase_add_loop_test(tcase, definitions_b2_query_4_sees_0_3_4, 0, n);
    tcase_add_loop_test(tcase, definitions_h2_row_over_4_keys_becomes_quarters, 0, n);
    tcase_add_loop_test(tcase, definitions_m1_half_of_the_first_token, 0, n);
    tcase_add_loop_test(tcase, definitions_d6_to_the_first_token_and_zero, 0, n);
    tcase_add_loop_test(tcase, definitions_d6_identity_and_previous, 0, n);
    tcase_add_loop_test(tcase, empty_rows_are_zero_and_never_nan, 0, n);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
