// Heads of a capture made of the matrices A and B of the definitions: the worked numbers of L1-L3,
// N1, N2, D5 and K1, from statistics and from maps, and the types.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/head_distances.h"
#include "analysis/heads.h"
#include "made_capture.h"

enum { T = 3, H = 2, O = 4 };

// The worked values have six decimals; maps and statistics are f32.
static const double tolerance = 1e-6;

static const double maps[H][T][T] = {{{1, 0, 0}, {.6, .4, 0}, {.5, .3, .2}},
                                     {{1, 0, 0}, {.2, .8, 0}, {.1, .6, .3}}};
static const char *const spans[] = {"all",         "first",     "last", "special",
                                    "punctuation", "generated", "tail"};
enum { S = 7 };

static double entropy(const double *p, size_t n, size_t stride) {
    double h = 0;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += p[i * stride];
    }
    for (size_t i = 0; i < n; i++) {
        double q = p[i * stride] / sum;
        h -= q > 0 ? q * log(q) : 0;
    }
    return h;
}

static double row_value(enum hw_dataset dataset, const double map[T][T], size_t row) {
    const double *a = map[row];
    double distance = 0;
    double largest = 0;
    for (size_t j = 0; j <= row; j++) {
        distance += a[j] * (double)(row - j);
        largest = fmax(largest, a[j]);
    }
    switch (dataset) {
    case HW_DS_ATTENTION_ENTROPY:
        return entropy(a, T, 1);
    case HW_DS_ATTENTION_MAX:
        return largest;
    case HW_DS_ATTENTION_FIRST:
        return a[0];
    case HW_DS_ATTENTION_ROW_SUM:
        return 1;
    case HW_DS_ATTENTION_DISTANCE:
        return distance;
    case HW_DS_ATTENTION_RECEIVED_ENTROPY:
        return entropy(&map[0][row], T, T);
    default:
        return 0;
    }
}

static bool is_spoiled; // a negative weight in head 1, an infinite mean in head 0

static double value(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row, size_t i) {
    size_t n = prompt == 0 ? T : 1;
    (void)slab;
    if (is_spoiled && dataset == HW_DS_ATTENTION_PATTERN && n == T && i == T && row == 2) {
        return -.3;
    }
    if (is_spoiled && dataset == HW_DS_ATTENTION_DISTANCE_MEAN && i == 0) {
        return INFINITY;
    }
    if (dataset == HW_DS_ATTENTION_PATTERN) {
        return n == 1 ? 1 : maps[i / n][row][i % n];
    }
    if (dataset == HW_DS_ATTENTION_OFFSET) {
        double sum = 0;
        for (size_t q = i % O; q < T; q++) {
            sum += maps[i / O][q][q - i % O];
        }
        return n > i % O ? sum / (double)(T - i % O) : NAN;
    }
    if (dataset == HW_DS_ATTENTION_SPAN) {
        // Only "all" asks; token 2 is punctuation, none is special.
        double mass = 0;
        for (size_t q = 0; q < T; q++) {
            mass += i % S == 4 || i % S == 6 ? maps[i / (S * S)][q][2] : 0;
        }
        return i / S % S == 0 && i % S != 3 ? mass / T : NAN;
    }
    if (hw_schema_row(dataset)->axes[0] == HW_AXIS_PROMPT) { // means follow their statistic
        double sum = 0;
        for (size_t q = 0; q < n; q++) {
            sum += row_value((enum hw_dataset)(dataset - 1), maps[i], q);
        }
        return sum / (double)n;
    }
    return row_value(dataset, maps[i], row);
}

static struct hw_trace *open_capture(bool has_maps) {
    static const int32_t lengths[] = {T, 0, 1};
    static const enum hw_dataset recorded[] = {HW_DS_ATTENTION_ENTROPY,
                                               HW_DS_ATTENTION_ENTROPY_MEAN,
                                               HW_DS_ATTENTION_MAX,
                                               HW_DS_ATTENTION_MAX_MEAN,
                                               HW_DS_ATTENTION_FIRST,
                                               HW_DS_ATTENTION_FIRST_MEAN,
                                               HW_DS_ATTENTION_ROW_SUM,
                                               HW_DS_ATTENTION_ROW_SUM_MEAN,
                                               HW_DS_ATTENTION_DISTANCE,
                                               HW_DS_ATTENTION_DISTANCE_MEAN,
                                               HW_DS_ATTENTION_RECEIVED_ENTROPY,
                                               HW_DS_ATTENTION_RECEIVED_ENTROPY_MEAN,
                                               HW_DS_ATTENTION_SPAN,
                                               HW_DS_ATTENTION_OFFSET,
                                               HW_DS_ATTENTION_PATTERN};
    struct made_capture made = {.n_layers = 1,
                                .n_heads = H,
                                .n_kv_heads = H,
                                .n_offsets = O,
                                .span_names = spans,
                                .n_spans = S,
                                .n_prompts = 3,
                                .lengths = lengths,
                                .recorded = recorded,
                                .n_recorded = sizeof recorded / sizeof *recorded - !has_maps,
                                .value = value};
    return made_capture_open(&made);
}

static const struct hw_heads_rules rules = {.5, .5, 3.8, .6, .6, .6};

static struct hw_heads compute(struct hw_trace *trace, struct hw_heads_options options) {
    struct hw_heads heads;
    struct hw_error err;
    ck_assert_msg(hw_heads_compute(trace, &options, &heads, &err) == HW_OK, "%s", err.message);
    return heads;
}

static double of(const struct hw_heads *heads, size_t measure, size_t head) {
    return heads->scores.mean[measure * H + head];
}

START_TEST(l1_n1_d5_k1_from_statistics) {
    struct hw_trace *trace = open_capture(false);
    struct hw_heads heads =
        compute(trace, (struct hw_heads_options){.rules = rules, .top_p = .9, .reads_maps = true});
    ck_assert_uint_eq(heads.n_prompts, 1);
    ck_assert_uint_eq(heads.n_skipped, 2);
    ck_assert_uint_eq(heads.max_tokens, 3);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_SELF, 0), 1.6 / 3, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_PREVIOUS, 0), .3, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_PREVIOUS_DIAGONAL, 0), .45, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_PREVIOUS_MUL, 0), .3, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_PREVIOUS_ABS, 0), -.067, 1e-9);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_FIRST, 0), .7, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_ENTROPY, 0), .567555, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_ENTROPY_NORMALISED, 0), .636060, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_COLUMN_ENTROPY, 0), .985228, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_DISTANCE, 0), (.6 + 1.3) / 3, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_PUNCTUATION, 1), .1, tolerance);
    // No special tokens, no maps, no prompt with that span: nothing to say.
    ck_assert(isnan(of(&heads, HW_HEADS_SPECIAL, 0)));
    ck_assert(isnan(of(&heads, HW_HEADS_TOP_P, 0)));
    ck_assert_ptr_null(heads.maps);
    ck_assert_uint_eq(heads.n_measures, HW_N_HEADS_MEASURES + 1);
    ck_assert_str_eq(heads.span_names[0], "tail");
    ck_assert(isnan(of(&heads, HW_N_HEADS_MEASURES, 0)));
    ck_assert_int_eq(heads.best_offset[0], 0); // .533, .45, .5
    ck_assert_int_eq(heads.best_offset[1], 0);
    ck_assert(isnan(heads.offsets.mean[3 * H]));          // no prompt is that long
    ck_assert_int_eq(heads.type[0], HW_HEADS_TYPE_FIRST); // over self
    ck_assert_int_eq(heads.type[1], HW_HEADS_TYPE_SELF);
    hw_heads_free(&heads);
    made_capture_close(&trace);
}
END_TEST

START_TEST(l2_n2_from_maps) {
    struct hw_trace *trace = open_capture(true);
    struct hw_heads heads =
        compute(trace, (struct hw_heads_options){
                           .rules = rules, .top_p = .75, .reads_maps = true, .n_threads = 1});
    ck_assert_str_eq(heads.maps, "attention_maps");
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_ENTROPY_SMOOTHED, 0), .567930, tolerance);
    // .75 of the row: 1, .6 .4 (2), .5 .3 (2); of B 1, .8 (1), .6 .3 (2).
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_TOP_P, 0), 5. / 3, tolerance);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_TOP_P, 1), 4. / 3, tolerance);
    ck_assert_double_eq(of(&heads, HW_HEADS_SPARSITY, 0), 0);
    hw_heads_free(&heads);
    static const bool second[H] = {false, true};
    heads = compute(
        trace,
        (struct hw_heads_options){
            .rules = rules, .top_p = .75, .reads_maps = true, .n_threads = 1, .is_wanted = second});
    ck_assert(isnan(of(&heads, HW_HEADS_TOP_P, 0)));
    ck_assert(isnan(of(&heads, HW_HEADS_ENTROPY, 0)));
    ck_assert_int_eq(heads.type[0], HW_N_HEADS_TYPES);
    ck_assert_int_eq(heads.best_offset[0], -1);
    ck_assert_double_eq_tol(of(&heads, HW_HEADS_TOP_P, 1), 4. / 3, tolerance);
    hw_heads_free(&heads);
    made_capture_close(&trace);
}
END_TEST

START_TEST(n2_counts_are_right_whatever_the_order_and_the_buckets) {
    enum { N = 100 };
    static float row[N * N];
    static float scratch[N];
    // Row N - 1: weights 1 / 4950 .. 99 / 4950, and zero, in a scattered order.
    for (size_t j = 0; j < N; j++) {
        row[(N - 1) * N + j] = (float)(j * 37 % N) / 4950;
    }
    struct hw_heads_map_sums sums = {0};
    struct hw_heads_row_options how = {N, .5, scratch};
    hw_heads_add_rows(&how, row + (N - 1) * N, N, N - 1, 5, &sums); // 4 rows beyond T
    ck_assert_uint_eq(sums.n_rows, 1);
    // 99 + 98 + ... + 71 = 2465 and one more is past 2475.
    ck_assert_double_eq(sums.top_p, 30);
    ck_assert_double_eq(sums.sparse, 1); // the zero; 1 / 99 is above 1 %
    ck_assert_double_eq(sums.entries, 100);
    sums = (struct hw_heads_map_sums){0};
    how.top_p = 1;
    hw_heads_add_rows(&how, row + (N - 1) * N, N, N - 1, 1, &sums);
    ck_assert_double_ge(sums.top_p, 99);
    sums = (struct hw_heads_map_sums){0};
    how.top_p = 0;
    hw_heads_add_rows(&how, row + (N - 1) * N, N, N - 1, 1, &sums);
    ck_assert_double_eq(sums.top_p, 0);
}
END_TEST

START_TEST(what_no_softmax_gives_is_left_out_and_counted) {
    is_spoiled = true;
    struct hw_trace *trace = open_capture(true);
    struct hw_heads heads =
        compute(trace, (struct hw_heads_options){.rules = rules, .top_p = .9, .reads_maps = true});
    ck_assert_uint_eq(heads.n_infinite, 1);
    ck_assert_uint_eq(heads.n_bad_maps, 1);
    ck_assert(isnan(of(&heads, HW_HEADS_DISTANCE, 0)) && !isnan(of(&heads, HW_HEADS_DISTANCE, 1)));
    ck_assert(isnan(of(&heads, HW_HEADS_TOP_P, 1)) && !isnan(of(&heads, HW_HEADS_TOP_P, 0)));
    hw_heads_free(&heads);
    struct hw_distances_options options = {.max_rows = 512, .memory_bytes = 1, .n_threads = 1};
    struct hw_distances distances;
    struct hw_error err;
    ck_assert_int_eq(hw_distances_compute(trace, &options, &distances, &err), HW_OK);
    ck_assert(isnan(distances.distance[1]));
    ck_assert_uint_eq(distances.per_row[1].n, 1); // the prompt of one token
    ck_assert_uint_eq(distances.n_bad_prompts, 1);
    hw_distances_free(&distances);
    made_capture_close(&trace);
    is_spoiled = false;
}
END_TEST

START_TEST(l3_divergence_of_a_and_b) {
    struct hw_trace *trace = open_capture(true);
    struct hw_distances_options options = {.max_rows = 512, .memory_bytes = 1, .n_threads = 1};
    struct hw_distances distances;
    struct hw_error err;
    ck_assert_msg(hw_distances_compute(trace, &options, &distances, &err) == HW_OK, "%s",
                  err.message);
    // Row after row, since no more fits; the prompt of one token adds a row of equal weights.
    ck_assert_double_eq_tol(distances.distance[1], .189218, tolerance);
    ck_assert_double_eq(distances.distance[1], distances.distance[2]);
    ck_assert_double_eq(distances.distance[0], 0);
    ck_assert_uint_eq(distances.work.n_rows, 4);
    ck_assert_uint_eq(distances.work.n_pairs, 1);
    ck_assert_double_eq(distances.work.n_terms, 6 + 1);
    double one_by_one = distances.distance[1];
    // A row of each prompt: of the first a third of its sum, of the second 0.
    ck_assert_uint_eq(distances.per_row[1].n, 2);
    ck_assert_double_eq_tol(hw_mean_value(&distances.per_row[1]), .189218 / 3 / 2, tolerance);
    ck_assert_double_eq_tol(hw_mean_se(&distances.per_row[2]), .189218 / 3 / 2, tolerance);
    ck_assert_uint_eq(distances.n_bad_prompts, 0);
    hw_distances_free(&distances);
    options.memory_bytes = 1 << 20;
    ck_assert_int_eq(hw_distances_compute(trace, &options, &distances, &err), HW_OK);
    ck_assert_double_eq_tol(distances.distance[1], one_by_one, 1e-15); // order of adding rows
    hw_distances_free(&distances);
    // The middle one of three rows stands for all.
    options.max_rows = 1;
    ck_assert_int_eq(hw_distances_compute(trace, &options, &distances, &err), HW_OK);
    ck_assert_uint_eq(distances.work.n_sampled, 1);
    float p[2];
    float q[2];
    hw_distances_smooth((const float[]){.6f, .4f}, 2, 3, p);
    hw_distances_smooth((const float[]){.2f, .8f}, 2, 3, q);
    ck_assert_double_eq_tol(
        distances.distance[1],
        3 * hw_distances_divergence(p, q, 2, hw_distances_sum(p, 2), hw_distances_sum(q, 2)),
        1e-12);
    hw_distances_free(&distances);
    static const bool one[H] = {true, false};
    options.is_wanted = one;
    ck_assert_int_eq(hw_distances_compute(trace, &options, &distances, &err), HW_INPUT);
    made_capture_close(&trace);
}
END_TEST

START_TEST(sampled_rows_are_spread_evenly) {
    ck_assert_uint_eq(hw_distances_row(2, 3, 3), 2);
    ck_assert_uint_eq(hw_distances_row(0, 2, 8), 2);
    ck_assert_uint_eq(hw_distances_row(1, 2, 8), 6);
    for (size_t r = 1; r < 512; r++) {
        ck_assert_uint_gt(hw_distances_row(r, 512, 513), hw_distances_row(r - 1, 512, 513));
    }
    ck_assert_uint_lt(hw_distances_row(511, 512, 513), 513);
}
END_TEST

START_TEST(l4_the_last_rule_that_holds_gives_the_type) {
    double values[HW_N_HEADS_MEASURES];
    for (size_t m = 0; m < HW_N_HEADS_MEASURES; m++) {
        values[m] = NAN;
    }
    ck_assert_int_eq(hw_heads_classify(&rules, values), HW_HEADS_TYPE_OTHER);
    values[HW_HEADS_PREVIOUS] = .5; // not above
    ck_assert_int_eq(hw_heads_classify(&rules, values), HW_HEADS_TYPE_OTHER);
    values[HW_HEADS_PREVIOUS] = .51;
    ck_assert_int_eq(hw_heads_classify(&rules, values), HW_HEADS_TYPE_PREVIOUS);
    values[HW_HEADS_ENTROPY] = 3.9;
    ck_assert_int_eq(hw_heads_classify(&rules, values), HW_HEADS_TYPE_BROAD);
    values[HW_HEADS_FIRST] = .7;
    values[HW_HEADS_SPECIAL] = .7;
    ck_assert_int_eq(hw_heads_classify(&rules, values), HW_HEADS_TYPE_SPECIAL);
    values[HW_HEADS_PUNCTUATION] = .7;
    ck_assert_int_eq(hw_heads_classify(&rules, values), HW_HEADS_TYPE_PUNCTUATION);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("heads");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, l1_n1_d5_k1_from_statistics);
    tcase_add_test(tcase, l2_n2_from_maps);
    tcase_add_test(tcase, n2_counts_are_right_whatever_the_order_and_the_buckets);
    tcase_add_test(tcase, what_no_softmax_gives_is_left_out_and_counted);
    tcase_add_test(tcase, l3_divergence_of_a_and_b);
    tcase_add_test(tcase, sampled_rows_are_spread_evenly);
    tcase_add_test(tcase, l4_the_last_rule_that_holds_gives_the_type);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
