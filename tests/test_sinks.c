// The sink analysis on captures made up for it: the worked matrices, strictness, drains, peaks, and
// prompts that do not count.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/sinks.h"
#include "formats/part.h"
#include "trace_folder.h"

enum { L = 2, H = 2, LONG = 40 };

static const char *folder;
static struct hw_trace *trace;
static struct hw_layout layout;
static int32_t layers[L] = {3, 5}; // numbers of the model, not positions
static int32_t depths[L + 1] = {0, 4, 6};
static int32_t heads[H] = {0, 2};
static int32_t kv_heads[1] = {0};

// alpha[layer][head][key] of prompt 0: A and B of the definitions, then two more.
static const float small_alpha[L][H][3] = {{{.7f, .35f, .2f}, {13.f / 30, .7f, .3f}},
                                           {{.75f, .5f, .25f}, {.25f, .875f, .125f}}};
static const float small_value[L][3] = {{1, 2, 4}, {3, 3, 2}};
static const float small_residual[L + 1][3] = {{1, 1, 1}, {8, 1, 2}, {1, 6, 3}};

static void play_prompt(struct hw_destination *d, int32_t prompt, int32_t n, const uint32_t *ids,
                        const char *const *texts) {
    static float rows[LONG * H];
    static const uint8_t special[LONG];
    struct hw_error err;
    ck_assert_int_eq(hw_destination_begin_prompt(d, prompt, &err), HW_OK);
    for (size_t l = 0; l < L && n > 0; l++) {
        float score[H];
        for (int32_t k = 0; k < n; k++) {
            for (size_t h = 0; h < H; h++) {
                // The long prompt: keys 0 and 5 are sinks of every head, the last key's diagonal is
                // large.
                rows[(size_t)k * H + h] = n == 3          ? small_alpha[l][h][k]
                                          : k == 0        ? .5f
                                          : k == 5        ? .4f
                                          : k == LONG - 1 ? .9f
                                                          : .01f;
            }
        }
        memcpy(score, rows, sizeof score);
        ck_assert_int_eq(
            hw_destination_append(d, HW_DS_ATTENTION_RECEIVED, l, (size_t)n, rows, &err), HW_OK);
        ck_assert_int_eq(hw_destination_append(d, HW_DS_SINK_SCORE, l, 1, score, &err), HW_OK);
        for (int32_t k = 0; k < n; k++) {
            // Rows 0 and 1 put all on key 0, the others nothing: the mean over T rows is 2 / T.
            rows[(size_t)k * H] = rows[(size_t)k * H + 1] = k < 2;
        }
        ck_assert_int_eq(hw_destination_append(d, HW_DS_ATTENTION_FIRST, l, (size_t)n, rows, &err),
                         HW_OK);
        for (int32_t k = 0; k < n; k++) {
            rows[k] = n == 3 ? small_value[l][k] : k == 0 ? 1 : k == 5 ? 2 : 10;
        }
        ck_assert_int_eq(hw_destination_append(d, HW_DS_VALUE_NORM, l, (size_t)n, rows, &err),
                         HW_OK);
    }
    for (size_t depth = 0; depth <= L && n > 0; depth++) {
        for (int32_t k = 0; k < n; k++) {
            rows[k] = n == 3 ? small_residual[depth][k] : k == 0 && depth == 1 ? 300 : 3;
        }
        ck_assert_int_eq(
            hw_destination_append(d, HW_DS_RESIDUAL_NORM, depth, (size_t)n, rows, &err), HW_OK);
    }
    struct hw_prompt_record record = {.prompt = prompt,
                                      .n_tokens = n,
                                      .n_prompt_tokens = n,
                                      .name = n == 3 ? "small" : "other",
                                      .json = "{}",
                                      .domain = "",
                                      .target = "",
                                      .foil = "",
                                      .status = n == 0 ? 2 : 0,
                                      .error = n == 0 ? "no tokens" : "",
                                      .token_ids = ids,
                                      .token_is_special = special,
                                      .token_text = texts};
    enum hw_status status = hw_destination_end_prompt(d, &record, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
}

static void open_trace(void) {
    static const int32_t lengths[] = {3, 0, 1, LONG};
    uint32_t ids[LONG];
    const char *texts[LONG];
    for (uint32_t i = 0; i < LONG; i++) {
        ids[i] = 100 + i;
        texts[i] = i == 5 ? "five" : "t";
    }
    folder = trace_folder_make();
    hw_layout_init(&layout);
    static const enum hw_dataset recorded[] = {HW_DS_ATTENTION_RECEIVED, HW_DS_ATTENTION_FIRST,
                                               HW_DS_SINK_SCORE, HW_DS_VALUE_NORM,
                                               HW_DS_RESIDUAL_NORM};
    for (size_t i = 0; i < sizeof recorded / sizeof recorded[0]; i++) {
        layout.has[recorded[i]] = true;
    }
    for (int g = 0; g < HW_N_GROUPS; g++) {
        layout.groups[g] =
            (struct hw_group_axes){layers, L, depths, L + 1, heads, H, kv_heads, 1, NULL};
    }
    layout.n_heads = 3;
    layout.n_kv_heads = 1;
    layout.max_tokens = LONG;
    layout.has_token_text = true;
    json_t *attributes = json_pack("{s:s}", "run_id", "a run");
    struct hw_provenance provenance = {attributes, attributes, NULL, NULL, NULL, NULL};
    struct hw_part_options options = {.folder = folder,
                                      .layout = &layout,
                                      .provenance = &provenance,
                                      .n_threads = 1,
                                      .planned_bytes = 1000};
    struct hw_part *part = NULL;
    struct hw_part_info info;
    struct hw_error err;
    ck_assert_msg(hw_part_open(&options, &part, &err) == HW_OK, "%s", err.message);
    for (int32_t i = 0; i < 4; i++) {
        play_prompt(hw_part_base(part), i, lengths[i], ids, texts);
    }
    ck_assert_msg(hw_part_commit(&part, &info, &err) == HW_OK, "%s", err.message);
    char *path = hw_part_path(folder, info.first, info.last);
    ck_assert_msg(hw_trace_open(path, &trace, &err) == HW_OK, "%s", err.message);
    free(path);
    json_decref(attributes);
}

static void close_trace(void) {
    hw_trace_close(&trace);
    trace_folder_remove();
}

static struct hw_sinks compute(struct hw_sinks_options options) {
    struct hw_sinks sinks;
    struct hw_error err;
    ck_assert_msg(hw_sinks_compute(trace, &options, &sinks, &err) == HW_OK, "%s", err.message);
    return sinks;
}

static const struct hw_sink_token *find(const struct hw_sinks *sinks, size_t prompt,
                                        int32_t position) {
    for (size_t i = 0; i < sinks->n_tokens; i++) {
        if (sinks->tokens[i].prompt == prompt && sinks->tokens[i].position == position) {
            return &sinks->tokens[i];
        }
    }
    return NULL;
}

START_TEST(failed_and_single_token_prompts_do_not_count) {
    struct hw_sinks sinks =
        compute((struct hw_sinks_options){.epsilons = {.3}, .n_epsilons = 1, .least_rows = 1});
    ck_assert_uint_eq(sinks.n_prompts, 2);
    ck_assert_uint_eq(sinks.n_skipped, 2);
    ck_assert_uint_eq(sinks.min_tokens, 3);
    ck_assert_uint_eq(sinks.max_tokens, LONG);
    ck_assert_uint_eq(sinks.n_recorded, L * H);
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(worked_matrices_at_three_tenths) {
    struct hw_sinks sinks = compute(
        (struct hw_sinks_options){.epsilons = {.3}, .n_epsilons = 1, .share = .5, .least_rows = 1});
    const struct hw_sink_token *first = find(&sinks, 0, 0);
    const struct hw_sink_token *second = find(&sinks, 0, 1);
    ck_assert_ptr_nonnull(first);
    ck_assert_uint_eq(first->n_heads, 3); // .7, .433, .75, not .25
    ck_assert_double_eq(first->share, .75);
    // Two strongest keys: A 0 1, B 1 0, then 0 1 and 1 0: both keys always.
    ck_assert_double_eq(first->top2_share, 1);
    ck_assert_double_eq_tol(first->alpha_mean, (.7 + 13. / 30 + .75 + .25) / 4, 1e-7); // f32 inputs
    ck_assert_int_eq(first->max_layer, 5);
    ck_assert_int_eq(first->max_head, 0);
    ck_assert_ptr_nonnull(second);
    ck_assert_uint_eq(second->n_heads, 4);
    ck_assert_int_eq(second->max_head, 2);
    ck_assert_ptr_null(find(&sinks, 0, 2)); // .3 of B is not above .3
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(epsilon_is_strict) {
    struct hw_sinks sinks = compute((struct hw_sinks_options){
        .epsilons = {.75}, .n_epsilons = 1, .share = .01, .least_rows = 1});
    ck_assert_ptr_null(find(&sinks, 0, 0)); // the largest is .75 itself
    ck_assert_uint_eq(find(&sinks, 0, 1)->n_heads, 1);
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(rates_count_heads_and_prompts) {
    struct hw_sinks sinks = compute((struct hw_sinks_options){
        .epsilons = {.3}, .n_epsilons = 1, .share = .5, .least_rows = 16});
    // Key 0: three of four heads in the small prompt, all four in the long one.
    ck_assert_double_eq(hw_mean_value(&sinks.first_rate), 7. / 8);
    ck_assert_double_eq(hw_mean_value(&sinks.layer_first[0]), 1);
    ck_assert_double_eq(hw_mean_value(&sinks.layer_first[1]), .75);
    // With 16 rows needed only key 0 of the small prompt counts.
    ck_assert_double_eq(hw_mean_value(&sinks.any_rate), 7. / 8);
    ck_assert_double_eq_tol(hw_mean_value(&sinks.alpha[0]), (.7 + .5) / 2, 1e-7);
    ck_assert_double_eq(sinks.alpha_rate[3], .5);
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(keys_that_few_queries_see_are_left_out) {
    struct hw_sinks all = compute(
        (struct hw_sinks_options){.epsilons = {.3}, .n_epsilons = 1, .share = .5, .least_rows = 1});
    ck_assert_ptr_nonnull(find(&all, 3, LONG - 1));
    hw_sinks_free(&all);
    struct hw_sinks most = compute(
        (struct hw_sinks_options){.epsilons = {.3}, .n_epsilons = 1, .share = .5, .least_rows = 2});
    ck_assert_ptr_null(find(&most, 3, LONG - 1));
    ck_assert_uint_eq(most.n_tokens, 4); // 0 and 1 of the small prompt, 0 and 5 of the long one
    hw_sinks_free(&most);
}
END_TEST

START_TEST(drains_and_peaks_are_ratios_to_the_others) {
    struct hw_sinks sinks = compute(
        (struct hw_sinks_options){.epsilons = {.3}, .n_epsilons = 1, .share = .5, .least_rows = 2});
    const struct hw_sink_token *small = find(&sinks, 0, 0);
    // The only other token is 2: 1 / 4 and 3 / 2.
    ck_assert_double_eq(hw_mean_value(&small->drains), (.25 + 1.5) / 2);
    ck_assert_double_eq(small->drain_min, .25);
    ck_assert_int_eq(small->drain_layer, 3);
    ck_assert_double_eq(small->peak, 4);
    ck_assert_int_eq(small->peak_depth, 4);
    const struct hw_sink_token *five = find(&sinks, 3, 5);
    ck_assert_double_eq(hw_mean_value(&five->drains), .2); // 2 over 10
    ck_assert_double_eq(five->peak, 1);
    ck_assert_str_eq(five->text, "five");
    ck_assert_int_eq(five->id, 105);
    ck_assert_double_eq(hw_mean_value(&sinks.layer_drain[0]),
                        (.25 + .1) / 2); // of token 0, both prompts
    ck_assert_double_eq(hw_mean_value(&sinks.peak[1]), (4. + 100) / 2);
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(first_token_is_no_other_even_where_it_is_no_sink) {
    // Only token 1 of the small prompt is a sink at .75, so token 0 could be taken for one of the
    // others; the only one is token 2: 2 / 4 and 3 / 2 of the value, 6 / 3 of the residual.
    struct hw_sinks sinks = compute((struct hw_sinks_options){
        .epsilons = {.75}, .n_epsilons = 1, .share = .01, .least_rows = 1});
    ck_assert_ptr_null(find(&sinks, 0, 0));
    const struct hw_sink_token *second = find(&sinks, 0, 1);
    ck_assert_double_eq(hw_mean_value(&second->drains), (.5 + 1.5) / 2);
    ck_assert_double_eq(second->drain_min, .5);
    ck_assert_double_eq(second->peak, 2);
    ck_assert_int_eq(second->peak_depth, 6);
    hw_sinks_free(&sinks);
}
END_TEST

START_TEST(shorter_lengths_come_from_the_first_rows) {
    struct hw_sinks sinks = compute((struct hw_sinks_options){.epsilons = {.3},
                                                              .n_epsilons = 1,
                                                              .least_rows = 1,
                                                              .lengths = {2, 3, 8, 41},
                                                              .n_lengths = 4});
    ck_assert_double_eq(hw_mean_value(&sinks.length_rates[0][0]), 1);
    ck_assert_double_eq(hw_mean_value(&sinks.length_rates[0][1]), 1); // 2 / 3
    ck_assert_uint_eq(sinks.length_rates[0][1].n, 2);
    ck_assert_double_eq(hw_mean_value(&sinks.length_rates[0][2]), 0); // 2 / 8, the long prompt only
    ck_assert_uint_eq(sinks.length_rates[0][2].n, 1);
    ck_assert(isnan(hw_mean_value(&sinks.length_rates[0][3])));
    hw_sinks_free(&sinks);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sinks");
    TCase *tcase = tcase_create("all");
    tcase_add_unchecked_fixture(tcase, open_trace, close_trace);
    tcase_add_test(tcase, failed_and_single_token_prompts_do_not_count);
    tcase_add_test(tcase, worked_matrices_at_three_tenths);
    tcase_add_test(tcase, epsilon_is_strict);
    tcase_add_test(tcase, rates_count_heads_and_prompts);
    tcase_add_test(tcase, keys_that_few_queries_see_are_left_out);
    tcase_add_test(tcase, drains_and_peaks_are_ratios_to_the_others);
    tcase_add_test(tcase, first_token_is_no_other_even_where_it_is_no_sink);
    tcase_add_test(tcase, shorter_lengths_come_from_the_first_rows);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); // one open trace for all
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
