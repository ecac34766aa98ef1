// The worked numbers of the definitions, each test named after its section: one prompt of 3 tokens
// with the maps A and B, others with chosen norms, scores and vectors.
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "analysis/sinks.h"
#include "made_capture.h"

// A, B and the strict one (with a third row that keeps alpha at .75, .5): [head][query][key].
static const double maps[3][3][3] = {
    {{1}, {.6, .4}, {.5, .3, .2}}, {{1}, {.2, .8}, {.1, .6, .3}}, {{1}, {.5, .5}, {.75, .25, 0}}};
static const double keys_of_gap[4] = {5, 1, 2, 9};

static double entropy(const double *p, size_t n, size_t stride) {
    double sum = 0;
    double h = 0;
    for (size_t i = 0; i < n; i++) {
        sum += p[i * stride];
    }
    for (size_t i = 0; i < n && sum > 0; i++) {
        double x = p[i * stride] / sum;
        h -= x > 0 ? x * log(x) : 0;
    }
    return h;
}

static double alpha(size_t head, size_t key) {
    double sum = 0;
    for (size_t i = key; i < 3; i++) {
        sum += maps[head][i][key];
    }
    return sum / (double)(3 - key);
}

static double map_value(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row,
                        size_t head) {
    switch (dataset) {
    case HW_DS_ATTENTION_RECEIVED:
        return alpha(head, row);
    case HW_DS_ATTENTION_FIRST:
        return maps[head][row][0];
    case HW_DS_SINK_SCORE:
        return alpha(head, 0);
    case HW_DS_ATTENTION_ENTROPY:
        return entropy(maps[head][row], row + 1, 1);
    case HW_DS_ATTENTION_ROW_SUM:
        return 1;
    case HW_DS_ATTENTION_RECEIVED_ENTROPY:
        return entropy(&maps[head][row][row], 3 - row, 3);
    default:
        return 0;
    }
}

static struct hw_trace *open_maps(void) {
    static const int32_t lengths[] = {3};
    static const enum hw_dataset recorded[] = {
        HW_DS_ATTENTION_RECEIVED, HW_DS_ATTENTION_FIRST,   HW_DS_SINK_SCORE,
        HW_DS_ATTENTION_ENTROPY,  HW_DS_ATTENTION_ROW_SUM, HW_DS_ATTENTION_RECEIVED_ENTROPY};
    struct made_capture made = {.n_layers = 1,
                                .n_heads = 3,
                                .n_kv_heads = 1,
                                .n_prompts = 1,
                                .lengths = lengths,
                                .recorded = recorded,
                                .n_recorded = 6,
                                .value = map_value};
    return made_capture_open(&made);
}

static struct hw_sinks compute(struct hw_trace *trace, const struct hw_sinks_options *options) {
    struct hw_sinks sinks;
    struct hw_error err;
    ck_assert_msg(hw_sinks_compute(trace, options, &sinks, &err) == HW_OK, "%s", err.message);
    return sinks;
}

static struct hw_sinks_options defaults(void) {
    struct hw_sinks_options options;
    hw_sinks_defaults(&options);
    options.least_rows = 1;
    return options;
}

static void assert_near(double found, double expected) {
    ck_assert_double_eq_tol(found, expected, 1e-6); // what the definitions print
}

// A alone would be [100, 100, 0] at .3 and [100, 0, 0] at .4; B has [.433, .7, .3] and the third
// [.75, .375, 0].
START_TEST(A1_sink_rate_of_every_position) {
    struct hw_trace *trace = open_maps();
    struct hw_sinks_options options = defaults();
    options.epsilons[1] = .4;
    options.epsilons[2] = .75;
    options.n_epsilons = 3;
    options.n_keys = 3;
    options.keys[1] = 1;
    options.keys[2] = 2;
    options.is_every_prompt_kept = true;
    struct hw_sinks sinks = compute(trace, &options);
    static const double alpha_of_a[3] = {.7, .35, .2};
    for (size_t k = 0; k < 3; k++) {
        assert_near(hw_mean_value(&sinks.alpha[k * 3]), alpha_of_a[k]);
        assert_near(sinks.alpha_prompts[k * 3], alpha_of_a[k]);
    }
    ck_assert_uint_eq(sinks.n_positions, 3);
    static const double expected[3][3] = {{1, 1, 0}, {1, 1. / 3, 0}, {0, 0, 0}};
    for (size_t e = 0; e < 3; e++) {
        for (size_t k = 0; k < 3; k++) {
            // .75 at .75 is not above it; B's .3 at .3 neither.
            assert_near(hw_mean_value(&sinks.rates[e * 3 + k]), expected[e][k]);
        }
    }
    hw_sinks_free(&sinks);
    made_capture_close(&trace);
}
END_TEST

START_TEST(D1_the_two_strongest_keys_are_the_relative_criterion) {
    struct hw_trace *trace = open_maps();
    struct hw_sinks_options options = defaults();
    options.criterion = HW_SINKS_RELATIVE;
    options.epsilons[0] = .9;
    struct hw_sinks sinks = compute(trace, &options);
    ck_assert_uint_eq(sinks.n_tokens, 2); // keys 0 and 1 of every head, whatever epsilon says
    ck_assert(sinks.tokens[0].is_relative && !sinks.tokens[0].is_absolute);
    assert_near(sinks.tokens[1].top2_share, 1);
    hw_sinks_free(&sinks);
    made_capture_close(&trace);
}
END_TEST

START_TEST(D1_dormancy_leaves_triggers_out) {
    struct hw_trace *trace = open_maps();
    struct hw_sinks_options options = defaults();
    options.triggers[0] = 101; // the token at position 1
    options.n_triggers = 1;
    struct hw_sinks sinks = compute(trace, &options);
    assert_near(hw_mean_value(&sinks.dormancy[0]), (1 + .5) / 2); // row 0 counts
    assert_near(hw_mean_value(&sinks.dormancy_trigger[0]), .6);
    hw_sinks_free(&sinks);
    options.n_triggers = 0;
    sinks = compute(trace, &options);
    assert_near(hw_mean_value(&sinks.dormancy[0]), .7);
    ck_assert_ptr_null(sinks.dormancy_trigger);
    hw_sinks_free(&sinks);
    made_capture_close(&trace);
}
END_TEST

START_TEST(D5_normalised_entropies_of_A) {
    struct hw_trace *trace = open_maps();
    struct hw_sinks_options options = defaults();
    struct hw_sinks sinks = compute(trace, &options);
    assert_near(hw_mean_value(&sinks.entropy_row[0]), .636060);
    assert_near(hw_mean_value(&sinks.entropy_column[0]), .985228);
    hw_sinks_free(&sinks);
    made_capture_close(&trace);
}
END_TEST

// Scores of the last query are [5, 1, 2, 9], of the others zero. As a map, and as vectors with
// q = 1 for the last query only.
static double gap_value(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row,
                        size_t i) {
    double lse = log(exp(5) + exp(1) + exp(2) + exp(9));
    switch (dataset) {
    case HW_DS_ATTENTION_SCORES:
        return row == 3 ? keys_of_gap[i] : 0;
    case HW_DS_ATTENTION_VECTORS_QUERY:
        return row == 3;
    case HW_DS_ATTENTION_VECTORS_KEY:
        return keys_of_gap[row];
    case HW_DS_ATTENTION_FIRST:
        return row == 3 ? exp(5 - lse) : 1. / (double)(row + 1);
    case HW_DS_ATTENTION_LOGSUMEXP:
        return row == 3 ? lse : log((double)(row + 1));
    case HW_DS_ATTENTION_SCORE_MEAN:
        return row == 3 ? 17. / 4 : 0;
    default:
        return .1;
    }
}

static struct hw_sinks gaps_of(const enum hw_dataset *recorded, size_t n) {
    static const int32_t lengths[] = {4};
    struct made_capture made = {.n_layers = 1,
                                .n_heads = 1,
                                .n_kv_heads = 1,
                                .d_head = 1,
                                .n_prompts = 1,
                                .lengths = lengths,
                                .recorded = recorded,
                                .n_recorded = n,
                                .value = gap_value};
    struct hw_trace *trace = made_capture_open(&made);
    struct hw_sinks_options options = defaults();
    struct hw_sinks sinks = compute(trace, &options);
    made_capture_close(&trace);
    return sinks;
}

static const enum hw_dataset with_scores[] = {HW_DS_ATTENTION_RECEIVED, HW_DS_ATTENTION_SCORES};
static const enum hw_dataset with_vectors[] = {
    HW_DS_ATTENTION_RECEIVED,
    HW_DS_ATTENTION_VECTORS_QUERY,
    HW_DS_ATTENTION_VECTORS_KEY,
    HW_DS_ATTENTION_VECTORS_ROW_MAX,
    HW_DS_ATTENTION_VECTORS_ROW_INVERSE_SUM,
    HW_DS_ATTENTION_VECTORS_SCORE_SCALE,
    HW_DS_ATTENTION_VECTORS_WINDOW,
};
static const enum hw_dataset with_rows[] = {HW_DS_ATTENTION_RECEIVED, HW_DS_ATTENTION_FIRST,
                                            HW_DS_ATTENTION_LOGSUMEXP, HW_DS_ATTENTION_SCORE_MEAN};

START_TEST(D4_logit_gaps_from_scores) {
    struct hw_sinks sinks = gaps_of(with_scores, 2);
    // Queries 2 (gap 0) and 3: 5 - mean(1, 2).
    assert_near(hw_mean_value(&sinks.gap[HW_SINKS_GAP_TOY][0]), 3.5 / 2);
    ck_assert_ptr_null(sinks.gap[HW_SINKS_GAP_LLM]); // future keys are not in the map
    ck_assert_ptr_nonnull(sinks.gap_why_not[HW_SINKS_GAP_LLM]);
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(D4_logit_gaps_from_vectors) {
    struct hw_sinks sinks = gaps_of(with_vectors, sizeof with_vectors / sizeof *with_vectors);
    assert_near(hw_mean_value(&sinks.gap[HW_SINKS_GAP_TOY][0]), 3.5 / 2);
    // Four queries: 5 - mean(5, 1, 2, 9).
    assert_near(hw_mean_value(&sinks.gap[HW_SINKS_GAP_LLM][0]), .75 / 4);
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(D4_gap_over_the_keys_seen) {
    struct hw_sinks sinks = gaps_of(with_rows, 4);
    // Queries 1, 2 (0) and 3: 5 - mean(1, 2, 9).
    assert_near(hw_mean_value(&sinks.gap[HW_SINKS_GAP_SEEN][0]), 1. / 3);
    ck_assert_ptr_null(sinks.gap[HW_SINKS_GAP_TOY]);
    hw_sinks_free(&sinks);
}
END_TEST

// n = [1, 2, 50, 52, 55, 10] of token 0, the last after the final norm.
static double norm_value(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row,
                         size_t i) {
    static const double n[] = {.5, 1, 2, 50, 52, 55, 700};
    // Token 2 follows the first in blocks 2 and 4, with either sign; token 3 is at the threshold.
    static const double cosine[][4] = {{1, 0, 1, 1},    {1, 0, 1, 1},   {1, 0, 0, 1},
                                       {1, 0, .95, .9}, {1, 0, .2, .9}, {1, .5, -.99, .9},
                                       {1, 0, 1, 1}};
    switch (dataset) {
    case HW_DS_RESIDUAL_NORM:
        return row == 0 ? n[slab] : row == 1 ? 2 : 4;
    case HW_DS_FINAL_NORM:
        return row == 0 ? 10 : 4;
    case HW_DS_RESIDUAL_COSINE_FIRST:
        return cosine[slab][row];
    case HW_DS_VALUE_NORM:
        return row == 0 ? 1 : row == 1 ? 5 : 15;
    case HW_DS_VALUE_NORM_PROJECTED:
        return row == 0 ? 2 : 4;
    default:
        return .1;
    }
}

static struct hw_sinks norms(size_t first_lifetime, size_t least_lifetime) {
    static const int32_t lengths[] = {4};
    static const enum hw_dataset recorded[] = {
        HW_DS_ATTENTION_RECEIVED, HW_DS_RESIDUAL_NORM, HW_DS_RESIDUAL_COSINE_FIRST,
        HW_DS_FINAL_NORM,         HW_DS_VALUE_NORM,    HW_DS_VALUE_NORM_PROJECTED};
    struct made_capture made = {.n_layers = 6,
                                .n_heads = 2,
                                .n_kv_heads = 1,
                                .n_prompts = 1,
                                .lengths = lengths,
                                .recorded = recorded,
                                .n_recorded = 6,
                                .value = norm_value};
    struct hw_trace *trace = made_capture_open(&made);
    struct hw_sinks_options options = defaults();
    options.first_lifetime = first_lifetime;
    options.least_lifetime = least_lifetime;
    struct hw_sinks sinks = compute(trace, &options);
    made_capture_close(&trace);
    return sinks;
}

START_TEST(F_window_and_secondary_sinks) {
    struct hw_sinks sinks = norms(3, 2);
    ck_assert_ptr_null(sinks.secondary.why_not);
    ck_assert_int_eq(sinks.secondary.reference[0], 0);
    ck_assert_int_eq(sinks.secondary.first_layer[0], 2);
    ck_assert_int_eq(sinks.secondary.end_layer[0], 5); // layers 2, 3, 4
    ck_assert_int_eq(sinks.secondary.counts[2 * 7 + 2], 1);
    ck_assert_uint_eq(sinks.secondary.n_tokens[HW_SINK_SECONDARY], 1);
    ck_assert_uint_eq(sinks.n_tokens, 1); // .1 is no sink by alpha; .9 is not above .9
    ck_assert_int_eq(sinks.tokens[0].position, 2);
    ck_assert_int_eq(sinks.tokens[0].birth_layer, 2);
    ck_assert_int_eq(sinks.tokens[0].lifetime, 2);
    ck_assert_int_eq(sinks.tokens[0].label, HW_SINK_SECONDARY);
    assert_near(sinks.tokens[0].cosine, (.95 - .99) / 2);
    hw_sinks_free(&sinks);
    sinks = norms(2, 1);
    ck_assert_int_eq(sinks.tokens[0].label, HW_SINK_LIKE_FIRST);
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(F_labels_need_more_layers_than_the_margin) {
    struct hw_sinks sinks = norms(0, 5);
    ck_assert(!sinks.secondary.has_labels);
    ck_assert_uint_eq(sinks.n_tokens, 0);
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(D2_D3_drains_and_peaks) {
    struct hw_sinks sinks = norms(3, 2);
    assert_near(hw_mean_value(&sinks.drain[0]), 1 / ((5 + 15 + 15) / 3.));
    assert_near(hw_mean_value(&sinks.value_first[0]), 1);
    assert_near(hw_mean_value(&sinks.drain_projected[1]), .5);
    assert_near(hw_mean_value(&sinks.layer_drain_projected[0]), .5);
    assert_near(hw_mean_value(&sinks.peak[4]), 52 / (10. / 3));
    assert_near(hw_mean_value(&sinks.peak_over_max[4]), 52. / 4); // LLM: the maximum of the others
    assert_near(hw_mean_value(&sinks.residual_first[4]), 52);
    assert_near(hw_mean_value(&sinks.residual_excess[4]), 52 - 10. / 3); // toy
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(means_have_standard_errors) {
    struct hw_mean mean = {0};
    ck_assert(isnan(hw_mean_value(&mean)));
    hw_mean_add(&mean, 1);
    ck_assert(isnan(hw_mean_se(&mean)));
    hw_mean_add(&mean, 2);
    hw_mean_add(&mean, 6);
    ck_assert_double_eq_tol(hw_mean_value(&mean), 3, 1e-15);
    ck_assert_double_eq_tol(hw_mean_se(&mean), sqrt(7. / 3), 1e-15); // s^2 = (4 + 1 + 9) / 2
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sinks_worked");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, A1_sink_rate_of_every_position);
    tcase_add_test(tcase, D1_the_two_strongest_keys_are_the_relative_criterion);
    tcase_add_test(tcase, D1_dormancy_leaves_triggers_out);
    tcase_add_test(tcase, D5_normalised_entropies_of_A);
    tcase_add_test(tcase, D4_logit_gaps_from_scores);
    tcase_add_test(tcase, D4_logit_gaps_from_vectors);
    tcase_add_test(tcase, D4_gap_over_the_keys_seen);
    tcase_add_test(tcase, F_window_and_secondary_sinks);
    tcase_add_test(tcase, F_labels_need_more_layers_than_the_margin);
    tcase_add_test(tcase, D2_D3_drains_and_peaks);
    tcase_add_test(tcase, means_have_standard_errors);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
