// Retrieval heads: the worked numbers of definitions H1, what counts and what does not, and the
// decode rows of the reference script on SmolLM2, replayed.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/retrieval.h"
#include "decode_trace.h"
#include "formats/json.h"

// Definitions H1: needle at 3 .. 6.
static const uint32_t prompt[] = {1, 2, 3, 7, 8, 9, 7, 4};
enum { N_PROMPT = 8, N_STEPS = 4 };

START_TEST(h1_worked_numbers) {
    static const int32_t keys[] = {3, 3, 5, 6}, outputs[] = {7, 7, 8, 7};
    struct hw_retrieval_rows rows = {.keys = keys,
                                     .stride = 1,
                                     .outputs = outputs,
                                     .n_steps = 4,
                                     .prompt = prompt,
                                     .n_prompt = N_PROMPT,
                                     .first = 3,
                                     .end = 7};
    bool scratch[8], is_hit[4];
    double scores[HW_RETRIEVAL_N_MEASURES];
    ck_assert_uint_eq(hw_retrieval_score(&rows, scratch, scores, is_hit), 3);
    ck_assert_double_eq(scores[HW_RETRIEVAL_HITS], .75);
    ck_assert_double_eq(scores[HW_RETRIEVAL_SET], 1. / 3);
    ck_assert_double_eq(scores[HW_RETRIEVAL_POSITIONS], .5);
    ck_assert(is_hit[0] && is_hit[1] && !is_hit[2] && is_hit[3]);
}
END_TEST

START_TEST(h1_hits_can_pass_one_and_end_is_excluded) {
    static const int32_t keys[] = {2, 2, 2, 7, 3, -1, 100}, outputs[] = {3, 3, 3, 4, 7, 7, 7};
    struct hw_retrieval_rows rows = {.keys = keys,
                                     .stride = 1,
                                     .outputs = outputs,
                                     .n_steps = 7,
                                     .prompt = prompt,
                                     .n_prompt = N_PROMPT,
                                     .first = 2,
                                     .end = 3};
    bool scratch[40];
    double scores[HW_RETRIEVAL_N_MEASURES];
    ck_assert_uint_eq(hw_retrieval_score(&rows, scratch, scores, NULL), 3);
    ck_assert_double_eq(scores[HW_RETRIEVAL_HITS], 3);
    ck_assert_double_eq(scores[HW_RETRIEVAL_SET], 1);
    ck_assert_double_eq(scores[HW_RETRIEVAL_POSITIONS], 1);
    rows.first = 6; // the end lies beyond the prompt; key 100 is no token of it
    rows.end = 16;
    ck_assert_uint_eq(hw_retrieval_score(&rows, scratch, scores, NULL), 1);
    ck_assert_double_eq(scores[HW_RETRIEVAL_HITS], .1);
}
END_TEST

// Ids 0 .. 9 with a text each; 10 is special.
static struct hw_vocabulary vocabulary(void) {
    static const uint32_t ids[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    static const char *const texts[] = {"zero", " one",   " two",   " three", " four", "\n",
                                        " six", " seven", " eight", " nine",  "<end>"};
    static const uint8_t special[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    return decode_vocabulary(ids, texts, special, 11);
}

// Two layers of two heads; head 0.0 hits at each step that emits 7 or 8, head 1.1 is not recorded.
static const int32_t keys_of[N_STEPS * 4] = {3, 0, 1, -1, 4, 4, 1, -1, 6, 0, 1, -1, 3, 0, 1, -1};
static const char *const json =
    "{\"answer\": \"Seven eight, nine: seven.\", \"answer_tokens\": [7, 8, 9, 7], \"length\": 64, "
    "\"depth\": 50}";

static struct hw_retrieval compute(const struct decode_prompt *prompts, size_t n,
                                   struct hw_retrieval_options options) {
    struct hw_retrieval found;
    struct hw_error err;
    struct hw_vocabulary v = vocabulary();
    struct hw_trace *trace = decode_trace_open(prompts, n, 2, 2);
    options.vocabulary = &v;
    enum hw_status status = hw_retrieval_compute(trace, &options, &found, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    decode_trace_close(&trace); // axes are not looked at afterwards
    decode_vocabulary_free(&v);
    return found;
}

START_TEST(trials_are_kept_by_rouge) {
    static const int32_t right[] = {7, 8, 7, 10}, half[] = {7, 8, 4, 4}, wrong[] = {4, 4, 7, 4};
    const struct decode_prompt prompts[] = {
        {prompt, N_PROMPT, right, keys_of, N_STEPS, "right", json, 3, 7},
        {prompt, N_PROMPT, half, keys_of, N_STEPS, "half", json, 3, 7},
        {prompt, N_PROMPT, wrong, keys_of, N_STEPS, "wrong", json, 3, 7},
        {NULL, 0, NULL, NULL, 0, "failed", "{}", 0, 0},
        {prompt, N_PROMPT, right, keys_of, N_STEPS, "other", "{}", 0, 0},
        {prompt, 3, right, keys_of, N_STEPS, "no needle", json, 0, 0},
        {prompt, N_PROMPT, half, keys_of, N_STEPS, "again", json, 3, 7},
    };
    struct hw_retrieval r = compute(prompts, 7, (struct hw_retrieval_options){.min_rouge = 50});
    ck_assert_uint_eq(r.n_kept, 1);
    ck_assert_uint_eq(r.n_wrong, 3); // 50 is not above 50
    ck_assert_uint_eq(r.n_failed, 1);
    ck_assert_uint_eq(r.n_no_trial, 1);
    ck_assert_uint_eq(r.n_not_found, 1);
    ck_assert_double_eq(r.trials[0].rouge, 75); // seven eight seven of four
    ck_assert_double_eq(r.trials[1].rouge, 50);
    ck_assert_double_eq(r.trials[2].rouge, 25);
    ck_assert_str_eq(r.trials[0].response, "seven eight seven"); // <end> is special
    ck_assert_int_eq(r.trials[0].length, 64);
    ck_assert_int_eq(r.trials[0].depth, 50);
    // The window 2 .. 5 holds all ids of the answer already.
    ck_assert_uint_eq(r.trials[0].first, 2);
    ck_assert_uint_eq(r.trials[0].end, 6);
    // Head 0.0: keys 3 4 6 3 with 7 8 7 end; key 6 is beyond the needle as found.
    ck_assert_double_eq(r.score[0], .5);
    ck_assert_double_eq(r.score[1], .25); // head 0.1: key 4 with 8
    ck_assert_double_eq(r.score[2], 0);
    ck_assert(isnan(r.score[3]));
    ck_assert(isnan(r.se[0])); // one trial
    ck_assert_int_eq(r.n_scored[0], 1);
    ck_assert_int_eq(r.n_scored[3], 0);
    ck_assert_uint_eq(r.n_recorded, 3);
    ck_assert(isnan(r.trial_score[4])); // of a trial that is not kept
    ck_assert_uint_eq(r.n_log, 3);
    ck_assert_int_eq(r.hits[1].step, 1);
    ck_assert_int_eq(r.hits[1].key, 4);
    ck_assert_int_eq(r.hits[1].token, 8);
    hw_retrieval_free(&r);
}
END_TEST

START_TEST(means_are_over_kept_trials) {
    static const int32_t right[] = {7, 8, 7, 10}, half[] = {7, 8, 4, 4};
    const struct decode_prompt prompts[] = {
        {prompt, N_PROMPT, right, keys_of, N_STEPS, "right", json, 3, 7},
        {prompt, N_PROMPT, half, keys_of, N_STEPS, "half", json, 3, 7},
    };
    struct hw_retrieval r =
        compute(prompts, 2, (struct hw_retrieval_options){.min_rouge = -1, .is_span_given = true});
    ck_assert_uint_eq(r.n_kept, 2);
    ck_assert_uint_eq(r.trials[0].first, 3);
    ck_assert_uint_eq(r.trials[0].end, 7);
    // Head 0.0 has 3 of 4 and 2 of 4: mean .625, se = sqrt(2 * .125^2 / 1 / 2).
    ck_assert_double_eq_tol(r.score[0], .625, 1e-15);
    ck_assert_double_eq_tol(r.se[0], .125, 1e-15);
    ck_assert_int_eq(r.n_hits[0], 5);
    ck_assert_int_eq(r.n_hit_trials[0], 2);
    // set: {7, 8} of {7, 8, 9} in both; positions: 3 of 4 and 2 of 4.
    ck_assert_double_eq(r.score[4], 2. / 3);
    ck_assert_double_eq(r.score[8], .625);
    hw_retrieval_free(&r);
}
END_TEST

START_TEST(steps_after_the_stop_do_not_count) {
    static const int32_t outputs[] = {7, 5, 7, 7};
    const struct decode_prompt one = {prompt, N_PROMPT, outputs, keys_of, N_STEPS, "p", json, 3, 7};
    struct hw_retrieval r = compute(&one, 1, (struct hw_retrieval_options){.min_rouge = -1});
    ck_assert_uint_eq(r.trials[0].n_steps, 4);
    ck_assert_int_eq(r.n_hits[0], 2); // keys 3 and 3; key 6 is beyond
    hw_retrieval_free(&r);
    r = compute(&one, 1, (struct hw_retrieval_options){.min_rouge = -1, .stop = "\n"});
    ck_assert_uint_eq(r.trials[0].n_steps, 2);
    ck_assert_int_eq(r.n_hits[0], 1);
    ck_assert_str_eq(r.trials[0].response, "seven");
    hw_retrieval_free(&r);
}
END_TEST

START_TEST(captures_that_hold_no_trial_are_refused) {
    static const int32_t outputs[] = {7, 5, 7, 7};
    struct hw_retrieval_options options = {.min_rouge = 50};
    struct hw_retrieval r;
    struct hw_error err;
    struct hw_vocabulary v = vocabulary();
    const struct decode_prompt one = {prompt, N_PROMPT, outputs, keys_of, N_STEPS, "p", "{}", 3, 7};
    struct hw_trace *trace = decode_trace_open(&one, 1, 2, 2);
    ck_assert_int_eq(hw_retrieval_compute(trace, &options, &r, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "has no vocabulary"));
    options.vocabulary = &v;
    ck_assert_int_eq(hw_retrieval_compute(trace, &options, &r, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "no prompt is a trial (expected the keys answer and "
                                              "answer_tokens"));
    v.n_ids = 6; // 7 was emitted
    const struct decode_prompt other = {prompt, N_PROMPT, outputs, keys_of, N_STEPS,
                                        "p",    json,     3,       7};
    decode_trace_close(&trace);
    trace = decode_trace_open(&other, 1, 2, 2);
    ck_assert_int_eq(hw_retrieval_compute(trace, &options, &r, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "decode/output holds 7 (expected 0 to 5)"));
    decode_trace_close(&trace);
    decode_vocabulary_free(&v);
}
END_TEST

// The golden: tests/golden/analysis/retrieval.py.
struct replay {
    struct decode_prompt *prompts;
    char **names;
    size_t n;
    uint32_t *ids; // of all outputs, with their texts
    const char **texts;
    uint8_t *special;
    size_t n_ids;
};

static const json_t *member(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(value != NULL, "the golden lacks %s", key);
    return value;
}

static int32_t *integers(const json_t *list) {
    int32_t *values = calloc(json_array_size(list) + 1, sizeof *values);
    for (size_t i = 0; i < json_array_size(list); i++) {
        values[i] = (int32_t)json_integer_value(json_array_get(list, i));
    }
    return values;
}

// Three hex digits a key, [step, layer, head].
static int32_t *read_keys(const json_t *steps, size_t n_cells) {
    int32_t *keys = calloc(json_array_size(steps) * n_cells + 1, sizeof *keys);
    for (size_t s = 0; s < json_array_size(steps); s++) {
        const char *digits = json_string_value(json_array_get(steps, s));
        ck_assert_uint_eq(strlen(digits), 3 * n_cells);
        for (size_t c = 0; c < n_cells; c++) {
            char digit[4] = {digits[3 * c], digits[3 * c + 1], digits[3 * c + 2], '\0'};
            keys[s * n_cells + c] = (int32_t)strtol(digit, NULL, 16);
        }
    }
    return keys;
}

static struct replay open_replay(const json_t *golden, size_t n_cells) {
    const json_t *trials = member(golden, "trials");
    struct replay r = {.n = json_array_size(trials)};
    r.prompts = calloc(r.n, sizeof *r.prompts);
    r.ids = calloc(r.n * 64, sizeof *r.ids);
    r.texts = calloc(r.n * 64, sizeof *r.texts);
    r.special = calloc(r.n * 64, 1);
    for (size_t i = 0; i < r.n; i++) {
        const json_t *t = json_array_get(trials, i);
        const json_t *outputs = member(t, "outputs");
        r.prompts[i] = (struct decode_prompt){
            .ids = (uint32_t *)integers(member(t, "prompt")),
            .n_ids = json_array_size(member(t, "prompt")),
            .outputs = integers(outputs),
            .keys = read_keys(member(t, "keys"), n_cells),
            .n_steps = json_array_size(outputs),
            .name = json_string_value(member(t, "name")),
            .json = json_dumps(t, JSON_COMPACT),
            .span_first = (int32_t)json_integer_value(json_array_get(member(t, "needle"), 0)),
            .span_end = (int32_t)json_integer_value(json_array_get(member(t, "needle"), 1))};
        for (size_t s = 0; s < r.prompts[i].n_steps; s++, r.n_ids++) {
            ck_assert_uint_lt(r.n_ids, r.n * 64);
            r.ids[r.n_ids] = (uint32_t)r.prompts[i].outputs[s];
            r.texts[r.n_ids] = json_string_value(json_array_get(member(t, "output_texts"), s));
            r.special[r.n_ids] =
                json_integer_value(json_array_get(member(t, "output_special"), s)) != 0;
        }
    }
    return r;
}

static void close_replay(struct replay *r) {
    for (size_t i = 0; i < r->n; i++) {
        free((void *)r->prompts[i].ids);
        free((void *)r->prompts[i].outputs);
        free((void *)r->prompts[i].keys);
        free((void *)r->prompts[i].json);
    }
    free(r->prompts);
    free(r->ids);
    free(r->texts);
    free(r->special);
}

static void check_trial(const struct hw_retrieval *found, size_t i, const json_t *t) {
    const struct hw_retrieval_trial *trial = &found->trials[i];
    bool is_kept = json_real_value(member(t, "rouge")) > 50;
    ck_assert_uint_eq(trial->first, json_integer_value(json_array_get(member(t, "needle"), 0)));
    ck_assert_uint_eq(trial->end, json_integer_value(json_array_get(member(t, "needle"), 1)));
    ck_assert_str_eq(trial->response, json_string_value(member(t, "response")));
    ck_assert_double_eq(trial->rouge, json_real_value(member(t, "rouge")));
    ck_assert_int_eq(trial->state, is_kept ? HW_RETRIEVAL_KEPT : HW_RETRIEVAL_WRONG);
    size_t n_cells = found->n_layers * found->n_heads;
    for (size_t cell = 0; cell < n_cells; cell++) {
        char key[48];
        (void)snprintf(key, sizeof key, "%zu-%zu", cell / found->n_heads, cell % found->n_heads);
        double want = json_real_value(json_object_get(member(t, "score"), key));
        double got = found->trial_score[i * n_cells + cell];
        // The script adds 1 / length once a hit: as many roundings as there are hits.
        ck_assert_msg(is_kept ? fabs(got - want) < 1e-14 : isnan(got), "trial %zu, head %s: %g %g",
                      i, key, got, want);
    }
}

START_TEST(the_script_is_replayed) {
    json_t *golden = NULL;
    struct hw_error err;
    struct hw_retrieval found;
    enum hw_status status =
        hw_json_load(HW_TEST_DATA "/analysis/retrieval.json", HW_MAX_CONFIG_BYTES, &golden, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    size_t n_layers = (size_t)json_integer_value(member(golden, "n_layers"));
    size_t n_heads = (size_t)json_integer_value(member(golden, "n_heads"));
    struct replay r = open_replay(golden, n_layers * n_heads);
    struct hw_vocabulary v = decode_vocabulary(r.ids, r.texts, r.special, r.n_ids);
    struct hw_trace *trace = decode_trace_open(r.prompts, r.n, n_layers, n_heads);
    for (int given = 0; given < 2; given++) {
        struct hw_retrieval_options options = {
            .min_rouge = 50, .is_span_given = given == 1, .stop = "\n", .vocabulary = &v};
        status = hw_retrieval_compute(trace, &options, &found, &err);
        ck_assert_msg(status == HW_OK, "%s", err.message);
        ck_assert_uint_gt(found.n_kept, 1);
        ck_assert_uint_gt(found.n_wrong, 0); // the filter is seen to work
        for (size_t i = 0; i < r.n; i++) {
            check_trial(&found, i, json_array_get(member(golden, "trials"), i));
        }
        hw_retrieval_free(&found);
    }
    decode_trace_close(&trace);
    decode_vocabulary_free(&v);
    close_replay(&r);
    json_decref(golden);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("retrieval");
    TCase *tcase = tcase_create("H1");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, h1_worked_numbers);
    tcase_add_test(tcase, h1_hits_can_pass_one_and_end_is_excluded);
    tcase_add_test(tcase, trials_are_kept_by_rouge);
    tcase_add_test(tcase, means_are_over_kept_trials);
    tcase_add_test(tcase, steps_after_the_stop_do_not_count);
    tcase_add_test(tcase, captures_that_hold_no_trial_are_refused);
    tcase_add_test(tcase, the_script_is_replayed);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
