// Rollout: the worked numbers of the definitions, I1, through a capture; every reduction of heads;
// what is refused.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/rollout.h"
#include "map_capture.h"
#include "trace_folder.h"

enum { L = 2, H = 3, T = 3 };

// Bottom A, top B: A' = .5 A + .5 I = [1 0 0; .3 .7 0; .25 .15 .6], B' = [1 0 0; .1 .9 0; .05 .3
// .65]. Heads 0 and 1 lie on both sides of the mean, head 2 is the mean.
static const float maps[L][H][T][T] = {{{{1, 0, 0}, {.7f, .3f, 0}, {.6f, .2f, .2f}},
                                        {{1, 0, 0}, {.5f, .5f, 0}, {.4f, .4f, .2f}},
                                        {{1, 0, 0}, {.6f, .4f, 0}, {.5f, .3f, .2f}}},
                                       {{{1, 0, 0}, {.3f, .7f, 0}, {.2f, .5f, .3f}},
                                        {{1, 0, 0}, {.1f, .9f, 0}, {0, .7f, .3f}},
                                        {{1, 0, 0}, {.2f, .8f, 0}, {.1f, .6f, .3f}}}};

struct kept {
    double values[L][T][T];
    size_t n;
};

static enum hw_status keep(void *self, size_t layer, const float *rollout, size_t n_tokens,
                           size_t stride, struct hw_error *err) {
    struct kept *k = self;
    ck_assert_uint_eq(layer, k->n++);
    ck_assert_uint_eq(n_tokens, T);
    for (size_t i = 0; i < T * T; i++) {
        k->values[layer][i / T][i % T] = (double)rollout[i / T * stride + i % T];
    }
    return HW_OK;
}

static struct kept run(const struct hw_layer_map_options *options, int n_threads) {
    struct hw_trace *trace = map_capture(&maps[0][0][0][0], L, H, T, 0);
    struct hw_map_source *source = NULL;
    struct kept kept = {0};
    struct hw_error err;
    ck_assert_int_eq(hw_map_source_open(trace, "rollout", n_threads, &source, &err), HW_OK);
    ck_assert_int_eq(hw_layer_maps_check(source, "", options, &err), HW_OK);
    enum hw_status status = hw_rollout_run(source, 0, options, n_threads, keep, &kept, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    ck_assert_uint_eq(kept.n, L);
    hw_map_source_close(&source);
    hw_trace_close(&trace);
    trace_folder_remove();
    return kept;
}

// Weights are f32 and so are the products: a few roundings of 2^-24 of numbers up to 1.
static void same(double found[T][T], const double expected[T][T]) {
    for (size_t i = 0; i < T * T; i++) {
        ck_assert_double_eq_tol(found[i / T][i % T], expected[i / T][i % T], 3e-7);
    }
}

START_TEST(worked_numbers_of_i1) {
    static const double first[T][T] = {{1, 0, 0}, {.3, .7, 0}, {.25, .15, .6}};
    static const double second[T][T] = {{1, 0, 0}, {.37, .63, 0}, {.3025, .3075, .39}};
    static const enum hw_head_reduce reduces[] = {HW_HEADS_MEAN, HW_HEADS_ONE};
    struct hw_layer_map_options options = {.reduce = reduces[_i], .head = 2, .residual = .5};
    struct kept kept = run(&options, 1 + _i);
    same(kept.values[0], first);
    same(kept.values[1], second);
}
END_TEST

START_TEST(raw_joint_of_i1) {
    static const double joint[T][T] = {{1, 0, 0}, {.68, .32, 0}, {.61, .33, .06}};
    struct hw_layer_map_options options = {.reduce = HW_HEADS_MEAN, .residual = .5, .is_raw = true};
    struct kept kept = run(&options, 1);
    same(kept.values[1], joint);
}
END_TEST

// Row 2 of the largest weights of A: [.6 .4 .2] + I = [.6 .4 1.2] / 2.2; of the smallest: [.4 .2
// .2] + I = [.4 .2 1.2] / 1.8.
START_TEST(largest_and_smallest_heads) {
    static const double rows[2][T] = {{.6 / 2.2, .4 / 2.2, 1.2 / 2.2},
                                      {.4 / 1.8, .2 / 1.8, 1.2 / 1.8}};
    static const enum hw_head_reduce reduces[] = {HW_HEADS_MAX, HW_HEADS_MIN};
    struct hw_layer_map_options options = {.reduce = reduces[_i], .residual = .5};
    struct kept kept = run(&options, 1);
    for (size_t j = 0; j < T; j++) {
        ck_assert_double_eq_tol(kept.values[0][2][j], rows[_i][j], 3e-7);
    }
}
END_TEST

// Weight 1 is the identity, weight 0 the maps divided by their sums.
START_TEST(residual_weights_at_their_ends) {
    static const double identity[T][T] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    static const double joint[T][T] = {{1, 0, 0}, {.68, .32, 0}, {.61, .33, .06}};
    struct hw_layer_map_options options = {.reduce = HW_HEADS_MEAN, .residual = 1 - _i};
    struct kept kept = run(&options, 1);
    same(kept.values[1], _i == 0 ? identity : joint);
}
END_TEST

static const char *refusal(const float *values, size_t n_layers, int32_t first_layer,
                           const struct hw_layer_map_options *options) {
    static struct hw_error err;
    struct hw_trace *trace = map_capture(values, n_layers, 1, T, first_layer);
    struct hw_map_source *source = NULL;
    struct kept kept = {0};
    ck_assert_int_eq(hw_map_source_open(trace, "rollout", 1, &source, &err), HW_OK);
    enum hw_status status = hw_layer_maps_check(source, "x.h5", options, &err);
    status = status == HW_OK ? hw_rollout_run(source, 0, options, 1, keep, &kept, &err) : status;
    ck_assert_int_eq(status, HW_INPUT);
    hw_map_source_close(&source);
    hw_trace_close(&trace);
    trace_folder_remove();
    return err.message;
}

START_TEST(what_cannot_be_multiplied_is_refused) {
    static const float whole[T][T] = {{1, 0, 0}, {.5f, .5f, 0}, {.5f, 0, .5f}};
    static const float negative[T][T] = {{1, 0, 0}, {1.5f, -.5f, 0}, {.5f, 0, .5f}};
    static const float no_number[T][T] = {{1, 0, 0}, {NAN, .5f, 0}, {.5f, 0, .5f}};
    struct hw_layer_map_options mean = {.residual = .5};
    struct hw_layer_map_options one = {.reduce = HW_HEADS_ONE, .head = 4, .residual = .5};
    ck_assert_ptr_nonnull(strstr(refusal(&whole[0][0], 1, 2, &mean), "layer 2 where 0"));
    ck_assert_ptr_nonnull(strstr(refusal(&whole[0][0], 1, 0, &one), "no head 0.4"));
    ck_assert_ptr_nonnull(strstr(refusal(&negative[0][0], 1, 0, &mean), "-0.5"));
    ck_assert_ptr_nonnull(strstr(refusal(&no_number[0][0], 1, 0, &mean), "row 1"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rollout");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, worked_numbers_of_i1, 0, 2);
    tcase_add_test(tcase, raw_joint_of_i1);
    tcase_add_loop_test(tcase, largest_and_smallest_heads, 0, 2);
    tcase_add_loop_test(tcase, residual_weights_at_their_ends, 0, 2);
    tcase_add_test(tcase, what_cannot_be_multiplied_is_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
