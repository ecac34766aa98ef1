// Outliers against the worked numbers of the definitions (tests named after their section) and a
// made capture whose table of tokens is known.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/outliers.h"
#include "analysis/outliers_weights.h"
#include "made_capture.h"

// Prompt 0 has 3 tokens. Depth 1: one entry 2000 at (0, 7), median .5, mean .6; depth 2: 90, median
// .01. Attention: the map A in one head.
static const double alpha[3] = {.7, .35, .2};
static const double top[3][2] = {{2, 1}, {-2000, 4}, {90, .01}};
static const double median[3] = {2, .5, .01};
static const double mean[3] = {2.5, .6, .08};
static const char *const texts[MADE_LONGEST] = {"a", "b", "c", "d"};

static double value_of(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row, size_t i) {
    switch (dataset) {
    case HW_DS_STATE_TOP_VALUE:
        return top[slab][i];
    case HW_DS_STATE_TOP_POSITION:
        return (double)i;
    case HW_DS_STATE_TOP_CHANNEL:
        return 7 - (double)i;
    case HW_DS_STATE_MEDIAN:
        return median[slab];
    case HW_DS_STATE_MEAN_ABS:
        return mean[slab];
    case HW_DS_RESIDUAL_MAX:
        return row == 0 ? fabs(top[slab][0]) : row == 2 && slab == 2 ? 80 : 1;
    case HW_DS_MASSIVE_PROMPT:
        return prompt;
    case HW_DS_MASSIVE_POSITION:
        return 0;
    case HW_DS_MASSIVE_DEPTH:
        return 1;
    case HW_DS_MASSIVE_CHANNEL:
        return 7;
    case HW_DS_MASSIVE_VALUE:
        return -2000;
    case HW_DS_MASSIVE_RATIO:
        return 4000;
    case HW_DS_ATTENTION_RECEIVED:
        return alpha[row];
    default:
        return 0;
    }
}

// Two prompts of 3 and 2 tokens, 2 layers, 4 neurons. In prompt 0 layer 0 the magnitudes are 1 to
// 12 but for one of 40 (neuron 2 of token 1): lower median 6. Prompt 1: 1 to 8, lower median 4, of
// which layer 1 has a NaN.
static double neuron_of(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row,
                        size_t i) {
    double value = (double)(row * 4 + i + 1) * (i % 2 == 0 ? -1 : 1);
    if (prompt == 1 && slab == 1 && row == 1 && i == 0) {
        return NAN;
    }
    return prompt == 0 && slab == 0 && row == 1 && i == 2 ? -40 : value;
}

static double spoiled_of(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row,
                         size_t i) {
    return dataset == HW_DS_STATE_TOP_VALUE && prompt == 1 && slab == 2 ? NAN
           : dataset == HW_DS_STATE_TOP_POSITION                        ? 0
                                                                        : 1;
}

static struct hw_trace *open_two(const enum hw_dataset *recorded, size_t n,
                                 double (*value)(enum hw_dataset, int32_t, size_t, size_t,
                                                 size_t)) {
    static const int32_t lengths[] = {3, 2};
    struct made_capture made = {.n_layers = 2,
                                .n_heads = 1,
                                .n_kv_heads = 1,
                                .n_rank = 2,
                                .d_mlp = 4,
                                .n_prompts = 2,
                                .lengths = lengths,
                                .recorded = recorded,
                                .n_recorded = n,
                                .value = value};
    return made_capture_open(&made);
}

static size_t one_event(int32_t prompt) {
    return 1;
}

static struct hw_outliers compute(const struct hw_outliers_options *options,
                                  const enum hw_dataset *recorded, size_t n) {
    static const int32_t lengths[] = {3};
    struct made_capture made = {.n_layers = 2,
                                .n_heads = 1,
                                .n_kv_heads = 1,
                                .n_rank = 2,
                                .n_prompts = 1,
                                .lengths = lengths,
                                .texts = texts,
                                .recorded = recorded,
                                .n_recorded = n,
                                .value = value_of,
                                .n_events = one_event};
    struct hw_trace *trace = made_capture_open(&made);
    struct hw_outliers outliers;
    struct hw_error err;
    ck_assert_msg(hw_outliers_compute(trace, options, &outliers, &err) == HW_OK, "%s", err.message);
    made_capture_close(&trace);
    return outliers;
}

static struct hw_outliers everything(const struct hw_outliers_options *options) {
    static const enum hw_dataset recorded[] = {
        HW_DS_STATE_TOP_VALUE, HW_DS_STATE_TOP_POSITION, HW_DS_STATE_TOP_CHANNEL,
        HW_DS_STATE_MEDIAN,    HW_DS_STATE_MEAN_ABS,     HW_DS_STATE_STD,
        HW_DS_RESIDUAL_MAX,    HW_DS_MASSIVE_PROMPT,     HW_DS_MASSIVE_POSITION,
        HW_DS_MASSIVE_DEPTH,   HW_DS_MASSIVE_CHANNEL,    HW_DS_MASSIVE_VALUE,
        HW_DS_MASSIVE_RATIO,   HW_DS_ATTENTION_RECEIVED};
    return compute(options, recorded, sizeof recorded / sizeof *recorded);
}

static struct hw_outliers_options defaults(void) {
    return (struct hw_outliers_options){.least = 100,
                                        .ratio = 1000,
                                        .mean_ratio = 1000,
                                        .attention_share = .1,
                                        .epsilon = .3,
                                        .share = .1,
                                        .least_rows = 1};
}

START_TEST(C1_both_tests_and_the_ratio) {
    struct hw_outliers_options options = defaults();
    struct hw_outliers o = everything(&options);
    ck_assert_double_eq(hw_mean_value(&o.by_depth[1].median_ratio), 4000);
    ck_assert_uint_eq(o.by_depth[1].n_median_prompts, 1);
    ck_assert_uint_eq(o.by_depth[1].n_massive, 1);
    ck_assert_double_eq_tol(hw_mean_value(&o.by_depth[2].median_ratio), 9000, 1e-2); // f32 inputs
    ck_assert_uint_eq(o.by_depth[2].n_median_prompts, 0); // 90 is not above 100
    ck_assert_uint_eq(o.by_depth[0].n_median_prompts, 0);
    ck_assert_double_eq(o.by_depth[1].largest, -2000);
    ck_assert_int_eq(o.by_depth[1].channel, 7);
    ck_assert_uint_eq(o.n_channels, 2); // 6 and 7
    ck_assert_double_eq(o.channel_largest[1 * 2 + 1], -2000);
    ck_assert_int_eq((int)o.channel_counts[1 * 2 + 1], 1);
    ck_assert_int_eq((int)o.channel_counts[2 * 2 + 1], 0);
    ck_assert_double_eq(hw_mean_value(&o.by_depth[1].top[1]), 4);
    ck_assert_uint_eq(o.by_depth[1].top[2].n, 0); // two ranks were recorded
    hw_outliers_free(&o);
}
END_TEST

START_TEST(C1_looser_thresholds_come_from_the_largest_few) {
    struct hw_outliers_options options = defaults();
    options.least = 80;
    struct hw_outliers o = everything(&options);
    ck_assert(o.is_from_top);
    ck_assert_uint_eq(o.by_depth[2].n_massive, 1);
    ck_assert_uint_eq(o.tokens[0].n_massive, 2);
    ck_assert_int_eq(o.tokens[0].first_depth, 1);
    ck_assert_int_eq(o.tokens[0].last_depth, 2);
    hw_outliers_free(&o);
}
END_TEST

START_TEST(E1_the_mean_and_the_kinds_of_tokens) {
    struct hw_outliers_options options = defaults();
    struct hw_outliers o = everything(&options);
    ck_assert_uint_eq(o.by_depth[1].n_mean_prompts, 1); // 2000 > 600
    ck_assert_uint_eq(o.by_depth[1].n_tokens[HW_TOKEN_INITIAL], 1);
    ck_assert_uint_eq(o.by_depth[2].n_tokens[HW_TOKEN_INITIAL], 1); // 90 > 80
    // 80 is not above 1000 x .08, but above it as f32 is: the stored mean is .0799999982.
    ck_assert_uint_eq(o.by_depth[2].n_tokens[HW_TOKEN_UNKNOWN], 1);
    ck_assert_uint_eq(o.by_depth[0].n_mean_prompts, 0);
    hw_outliers_free(&o);
}
END_TEST

START_TEST(E1_classes) {
    ck_assert_int_eq(hw_token_class_of("the", 3, 0), HW_TOKEN_INITIAL);
    ck_assert_int_eq(hw_token_class_of(" The", 4, 5), HW_TOKEN_WEAK);
    ck_assert_int_eq(hw_token_class_of("\n\n", 2, 5), HW_TOKEN_WEAK); // nothing is left
    ck_assert_int_eq(hw_token_class_of(" 1234", 5, 5), HW_TOKEN_WEAK);
    ck_assert_int_eq(hw_token_class_of(".", 1, 5), HW_TOKEN_STRONG);
    ck_assert_int_eq(hw_token_class_of(" ,", 2, 5), HW_TOKEN_STRONG);
    ck_assert_int_eq(hw_token_class_of(" river", 6, 5), HW_TOKEN_OTHER);
    ck_assert_int_eq(hw_token_class_of(NULL, 0, 5), HW_TOKEN_UNKNOWN);
}
END_TEST

START_TEST(E2_neurons) {
    static const enum hw_dataset recorded[] = {HW_DS_ACTIVATIONS_MLP_POST};
    struct hw_trace *trace = open_two(recorded, 1, neuron_of);
    struct hw_outliers_options options = defaults();
    struct hw_outliers o;
    struct hw_error err;
    ck_assert_msg(hw_outliers_compute(trace, &options, &o, &err) == HW_OK, "%s", err.message);
    ck_assert(o.has_neurons && !o.has_states && !o.has_attention);
    ck_assert_uint_eq(o.n_mlp_layers, 2);
    ck_assert_uint_eq(o.n_neurons, 4);
    ck_assert_uint_eq(o.n_mlp_tokens, 5);
    ck_assert_uint_eq(o.n_mlp_missing, 0);
    const struct hw_outlier_mlp *first = &o.by_mlp_layer[0];
    ck_assert_double_eq(hw_mean_value(&first->top[0]), (40 + 8) / 2.);
    ck_assert_double_eq(hw_mean_value(&first->top[1]), (12 + 7) / 2.);
    ck_assert_double_eq(hw_mean_value(&first->top[2]), (11 + 6) / 2.);
    ck_assert_double_eq(hw_mean_value(&first->median), (6 + 4) / 2.);
    ck_assert_double_eq_tol(hw_mean_value(&first->median_ratio), (40 / 6. + 2) / 2, 1e-12);
    ck_assert_int_eq(first->position, 1);
    ck_assert_int_eq(first->neuron[0], 2); // maxima 40 and 7, then 12 and 8
    ck_assert_int_eq(first->neuron[1], 3);
    ck_assert_double_eq(hw_mean_value(&o.neuron_max[0]), (9 + 5) / 2.);
    const struct hw_outlier_mlp *second = &o.by_mlp_layer[1];
    ck_assert_uint_eq(o.n_mlp_spoiled, 1);
    ck_assert_uint_eq(second->top[0].n, 1); // without the spoiled prompt
    ck_assert_double_eq(hw_mean_value(&second->median), 6);
    ck_assert_double_eq(hw_mean_value(&o.neuron_max[4 + 3]), 12);
    hw_outliers_free(&o);
    made_capture_close(&trace);
}
END_TEST

START_TEST(spoiled_states_are_counted) {
    static const enum hw_dataset recorded[] = {HW_DS_STATE_TOP_VALUE,   HW_DS_STATE_TOP_POSITION,
                                               HW_DS_STATE_TOP_CHANNEL, HW_DS_STATE_MEDIAN,
                                               HW_DS_STATE_MEAN_ABS,    HW_DS_STATE_STD};
    struct hw_trace *trace = open_two(recorded, 6, spoiled_of);
    struct hw_outliers_options options = defaults();
    struct hw_outliers o;
    struct hw_error err;
    ck_assert_msg(hw_outliers_compute(trace, &options, &o, &err) == HW_OK, "%s", err.message);
    ck_assert_uint_eq(o.n_spoiled, 1);
    ck_assert_uint_eq(o.by_depth[2].median.n, 1);
    ck_assert_uint_eq(o.by_depth[1].median.n, 2);
    hw_outliers_free(&o);
    made_capture_close(&trace);
}
END_TEST

START_TEST(E3_column_sums_of_A) {
    struct hw_outliers_options options = defaults();
    struct hw_outliers o = everything(&options);
    // Column sums 2.1, .7, .2; threshold .3: keys 0 and 1.
    ck_assert_double_eq_tol(hw_mean_value(&o.by_layer[0].top[0]), .7, 1e-6);
    ck_assert_double_eq_tol(hw_mean_value(&o.by_layer[0].top[1]), .7 / 3, 1e-6);
    ck_assert_double_eq_tol(hw_mean_value(&o.by_layer[0].median), .7 / 3, 1e-6);
    ck_assert_double_eq(hw_mean_value(&o.by_layer[0].n_keys), 2);
    ck_assert_double_eq_tol(hw_mean_value(&o.head_share[0]), 2.8 / 3, 1e-6);
    hw_outliers_free(&o);
}
END_TEST

START_TEST(massive_tokens_and_sinks_are_joined) {
    struct hw_outliers_options options = defaults();
    struct hw_outliers o = everything(&options);
    ck_assert_uint_eq(o.n_tokens, 3);
    ck_assert(o.tokens[0].is_sink && o.tokens[1].is_sink); // .7 and .35 are above .3
    ck_assert_uint_eq(o.tokens[0].n_massive, 1);
    ck_assert_uint_eq(o.tokens[0].n_outlier, 2);
    ck_assert_uint_eq(o.tokens[0].n_attention, 2); // both layers
    ck_assert_double_eq(o.tokens[0].value, -2000);
    ck_assert_double_eq(o.tokens[0].ratio, 4000);
    ck_assert_str_eq(o.tokens[0].text, "a");
    ck_assert_uint_eq(o.n_both, 1);
    ck_assert_uint_eq(o.n_massive_only, 0);
    ck_assert_uint_eq(o.n_sink_only, 1);
    hw_outliers_free(&o);
}
END_TEST

START_TEST(either_half_of_the_records_will_do) {
    static const enum hw_dataset attention[] = {HW_DS_ATTENTION_RECEIVED};
    static const enum hw_dataset states[] = {HW_DS_STATE_TOP_VALUE,   HW_DS_STATE_TOP_POSITION,
                                             HW_DS_STATE_TOP_CHANNEL, HW_DS_STATE_MEDIAN,
                                             HW_DS_STATE_MEAN_ABS,    HW_DS_STATE_STD};
    struct hw_outliers_options options = defaults();
    struct hw_outliers o = compute(&options, attention, 1);
    ck_assert(!o.has_states && o.has_attention);
    ck_assert_uint_eq(o.n_depths, 0);
    ck_assert_uint_eq(o.n_tokens, 2);
    hw_outliers_free(&o);
    o = compute(&options, states, 6);
    ck_assert(o.has_states && !o.has_attention && !o.has_norms);
    ck_assert_uint_eq(o.n_tokens, 1);
    hw_outliers_free(&o);
}
END_TEST

// |W| = [.1 .2; .1 .2; .1 2.0; .1 .2] with some signs.
static const float matrix[8] = {.1f, -.2f, .1f, .2f, -.1f, 2, .1f, .2f};

static void assert_ratios(const struct hw_weight *w) {
    struct hw_weight_ratios found;
    struct hw_error err;
    double columns[2];
    ck_assert_int_eq(hw_weight_ratios_of(w, &found, columns, &err), HW_OK);
    // 1e-6 is what the definitions print; the 1e-8 of the formula moves the ratios by 1e-7.
    ck_assert_double_eq_tol(columns[0], 1, 1e-6);
    ck_assert_double_eq_tol(columns[1], 3.076923, 1e-6);
    ck_assert_double_eq_tol(found.row_max, 1.904762, 1e-6);
    ck_assert_uint_eq(found.row, 2);
    ck_assert_double_eq_tol(found.score, 3.076923, 1e-6);
    ck_assert_uint_eq(found.column, 1);
}

START_TEST(E4_weight_ratios) {
    struct hw_weight w = {.data = matrix, .row_bytes = 8, .dtype = HW_F32, .n_out = 4, .n_in = 2};
    assert_ratios(&w);
}
END_TEST

// The same matrix as the file of a gpt2 has it, [in, out], behind one more output; and with its
// rows in another order.
START_TEST(E4_weight_ratios_of_every_layout) {
    float transposed[2][5] = {{9}, {9}};
    for (size_t o = 0; o < 4; o++) {
        for (size_t i = 0; i < 2; i++) {
            transposed[i][o + 1] = matrix[2 * o + i];
        }
    }
    struct hw_weight w = {.data = transposed,
                          .row_bytes = 20,
                          .dtype = HW_F32,
                          .n_out = 4,
                          .n_in = 2,
                          .first = 1,
                          .is_transposed = true};
    assert_ratios(&w);
    static const uint32_t map[4] = {3, 2, 0, 1};
    float mapped[4][2];
    for (size_t o = 0; o < 4; o++) {
        memcpy(mapped[map[o]], matrix + 2 * o, sizeof mapped[0]);
    }
    struct hw_weight turned = {
        .data = mapped, .row_bytes = 8, .dtype = HW_F32, .n_out = 4, .n_in = 2, .row_map = map};
    assert_ratios(&turned);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("outliers");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, C1_both_tests_and_the_ratio);
    tcase_add_test(tcase, C1_looser_thresholds_come_from_the_largest_few);
    tcase_add_test(tcase, E1_the_mean_and_the_kinds_of_tokens);
    tcase_add_test(tcase, E1_classes);
    tcase_add_test(tcase, E2_neurons);
    tcase_add_test(tcase, spoiled_states_are_counted);
    tcase_add_test(tcase, E3_column_sums_of_A);
    tcase_add_test(tcase, massive_tokens_and_sinks_are_joined);
    tcase_add_test(tcase, either_half_of_the_records_will_do);
    tcase_add_test(tcase, E4_weight_ratios);
    tcase_add_test(tcase, E4_weight_ratios_of_every_layout);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
