// Retrieval heads as arrays and as JSON; see retrieval_report.h.
#include "tools/retrieval_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/result_fill.h"

static const char *const measures[] = {"hits", "set", "positions"};
static const char *const states[] = {"kept", "wrong", "needle not found", "no trial", "failed"};
static const double strong = .5; // the paper's "strong" retrieval heads

struct retrieval_shares retrieval_count(const struct hw_retrieval *r, int measure,
                                        double threshold) {
    struct retrieval_shares shares = {0};
    size_t n_cells = r->n_layers * r->n_heads;
    for (size_t i = 0; i < n_cells; i++) {
        double score = r->score[(size_t)measure * n_cells + i];
        shares.n_heads += !isnan(score);
        shares.n_retrieval += score >= threshold;
        shares.n_strong += score >= strong;
        shares.n_zero += score == 0;
    }
    return shares;
}

static void fill_scores(const struct hw_retrieval *r, int measure, struct hw_result *result) {
    const size_t n_cells = r->n_layers * r->n_heads;
    hw_result_axis(result, "measure", HW_RETRIEVAL_N_MEASURES, NULL, measures,
                   "definition of the score");
    hw_result_axis(result, "layer", r->n_layers, r->layers, NULL, "layer");
    hw_result_axis(result, "head", r->n_heads, r->heads, NULL, "query head");
    struct hw_result_field score = {
        "head_score",
        HW_RESULT_REAL,
        {"measure", "layer", "head"},
        "retrieval score",
        "1",
        "Mean of the trial scores over kept trials. hits: steps whose strongest key is the "
        "needle's "
        "token that is emitted, over the needle's tokens; set: distinct ids hit over the needle's "
        "distinct ids; positions: distinct positions hit over the needle's tokens."};
    hw_result_add_mean(result, &score, r->score, r->se, r->n_scored);
    struct hw_result_field trial = {"trial_score",
                                    HW_RESULT_REAL,
                                    {"prompt", "layer", "head"},
                                    "score of the trial",
                                    "1",
                                    "The chosen measure (attribute measure) of each trial; NaN "
                                    "where the trial is not kept."};
    hw_result_add(result, &trial, r->trial_score + (size_t)measure * r->n_prompts * n_cells);
    struct hw_result_field hits = {"n_hits",
                                   HW_RESULT_INTEGER,
                                   {"layer", "head"},
                                   "hits",
                                   "1",
                                   "Steps of kept trials that are hits."};
    hw_result_add(result, &hits, r->n_hits);
    struct hw_result_field hit_trials = {"n_hit_trials",
                                         HW_RESULT_INTEGER,
                                         {"layer", "head"},
                                         "trials with a hit",
                                         "1",
                                         "Kept trials in which the head has a hit."};
    hw_result_add(result, &hit_trials, r->n_hit_trials);
}

static void add_integers(struct hw_result *result, const char *name, const char *axis,
                         const char *long_name, const char *description, const int64_t *values) {
    struct hw_result_field field = {name, HW_RESULT_INTEGER, {axis}, long_name, "1", description};
    hw_result_add(result, &field, values);
}

static void add_count(struct hw_result *result, const char *name, const char *long_name,
                      const char *description, size_t n) {
    const int64_t value = (int64_t)n;
    add_integers(result, name, NULL, long_name, description, &value);
}

// One column of the trials; `column` 0 .. 5.
static void trial_integers(struct hw_trace *trace, const struct hw_retrieval *r, int column,
                           int64_t *values) {
    for (size_t i = 0; i < r->n_prompts; i++) {
        const struct hw_retrieval_trial *t = &r->trials[i];
        values[i] = column == 0   ? t->length
                    : column == 1 ? t->depth
                    : column == 2 ? (int64_t)t->first
                    : column == 3 ? (int64_t)t->end
                    : column == 4 ? (int64_t)t->n_steps
                                  : (int64_t)hw_trace_prompt(trace, i)->n_prompt_tokens;
    }
}

static bool fill_trials(struct hw_trace *trace, const struct hw_retrieval *r,
                        struct hw_result *result) {
    static const struct {
        const char *name, *long_name, *description;
    } columns[] = {
        {"trial_length", "length", "Length of the haystack that the prompt asked for; -1: none."},
        {"trial_depth", "depth", "Depth of the needle in per cent; -1: none."},
        {"needle_first", "first token of the needle", "Position of the needle's first token."},
        {"needle_end", "end of the needle",
         "Position after the needle's last token; 0: no needle."},
        {"n_steps", "steps", "Decode steps that count."},
        {"n_prompt_tokens", "tokens of the prompt", "T of the prompt."},
    };
    double *rouge = calloc(r->n_prompts + 1, sizeof *rouge);
    int64_t *values = calloc(r->n_prompts + 1, sizeof *values);
    int32_t *prompts = calloc(r->n_prompts + 1, sizeof *prompts);
    const char **texts = calloc(r->n_prompts + 1, sizeof *texts);
    bool is_good = rouge != NULL && values != NULL && prompts != NULL && texts != NULL;
    for (size_t i = 0; is_good && i < r->n_prompts; i++) {
        prompts[i] = hw_trace_prompt(trace, i)->prompt;
        rouge[i] = r->trials[i].rouge;
        texts[i] = states[r->trials[i].state];
    }
    if (is_good) {
        hw_result_axis(result, "prompt", r->n_prompts, prompts, NULL, "prompt of the capture");
        struct hw_result_field field = {
            "trial_rouge", HW_RESULT_REAL,
            {"prompt"},    "ROUGE-1 recall",
            "%",           "Words of the answer found in the response, stemmed."};
        hw_result_add(result, &field, rouge);
        struct hw_result_field state = {"trial_state",
                                        HW_RESULT_TEXT,
                                        {"prompt"},
                                        "what became of the trial",
                                        "1",
                                        "kept; wrong: ROUGE at most min_rouge; needle not found; "
                                        "no trial: no answer with the prompt; failed."};
        hw_result_add(result, &state, texts);
        for (size_t c = 0; c < HW_LENGTH(columns); c++) {
            trial_integers(trace, r, (int)c, values);
            add_integers(result, columns[c].name, "prompt", columns[c].long_name,
                         columns[c].description, values);
        }
    }
    free(rouge);
    free(values);
    free(prompts);
    free(texts);
    return is_good;
}

#define HIT(name, kind, member, long_name, units, description)                                     \
    { name, kind, offsetof(struct hw_retrieval_hit, member), long_name, units, description }

static const struct hw_column hit_columns[] = {
    HIT("prompt", HW_COLUMN_INT, prompt, "prompt of the hit", "1",
        "Value of the prompt coordinate."),
    HIT("step", HW_COLUMN_INT, step, "step of the hit", "1",
        "0 is the row of the last prompt token."),
    HIT("layer", HW_COLUMN_INT, layer, "layer of the hit", "1", "Layer of the head."),
    HIT("head", HW_COLUMN_INT, head, "head of the hit", "1", "Query head."),
    HIT("key", HW_COLUMN_INT, key, "key of the hit", "1",
        "Position that the head attends to most."),
    HIT("token", HW_COLUMN_INT, token, "token of the hit", "1",
        "Id emitted, which stands at the key."),
    HIT("weight", HW_COLUMN_REAL, weight, "attention of the hit", "1",
        "Attention of the step's row to the key."),
};

enum hw_status retrieval_fill(struct hw_trace *trace, const struct retrieval_options *opt,
                              const struct hw_retrieval *r, struct hw_result *result,
                              struct hw_error *err) {
    struct retrieval_shares shares = retrieval_count(r, opt->measure, opt->threshold);
    hw_result_set_real(result, "min_rouge", opt->min_rouge);
    hw_result_set_text(result, "span", opt->span == 1 ? "given" : "find");
    hw_result_set_text(result, "stop", opt->stop);
    hw_result_set_text(result, "measure", measures[opt->measure]);
    hw_result_set_real(result, "threshold", opt->threshold);
    add_count(result, "n_trials", "trials", "Trials of the capture, answered or not.",
              r->n_kept + r->n_wrong + r->n_not_found);
    add_count(result, "n_kept", "kept trials", "Trials with ROUGE-1 recall above min_rouge.",
              r->n_kept);
    add_count(result, "n_retrieval_heads", "retrieval heads",
              "Heads with a score of at least the threshold.", shares.n_retrieval);
    add_count(result, "n_strong_heads", "strong retrieval heads",
              "Heads with a score of at least .5.", shares.n_strong);
    add_count(result, "n_zero_heads", "heads without a hit", "Heads with a score of zero.",
              shares.n_zero);
    if (!fill_trials(trace, r, result)) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the result");
    }
    fill_scores(r, opt->measure, result);
    return hw_result_add_table(result, "hit", r->hits, r->n_log, sizeof *r->hits, hit_columns,
                               HW_LENGTH(hit_columns), err);
}

json_t *retrieval_published(const struct hw_retrieval *r, int measure) {
    json_t *document = json_object();
    size_t n_cells = r->n_layers * r->n_heads;
    for (size_t cell = 0; cell < n_cells; cell++) {
        char key[32];
        json_t *list = json_array();
        for (size_t p = 0; p < r->n_prompts; p++) {
            double score = r->trial_score[((size_t)measure * r->n_prompts + p) * n_cells + cell];
            if (!isnan(score)) {
                (void)json_array_append_new(list, hw_json_real(score));
            }
        }
        (void)snprintf(key, sizeof key, "%" PRId32 "-%" PRId32, r->layers[cell / r->n_heads],
                       r->heads[cell % r->n_heads]);
        if (json_array_size(list) > 0) {
            (void)json_object_set_new(document, key, list);
        } else {
            json_decref(list);
        }
    }
    return document;
}

static json_t *trials_json(struct hw_trace *trace, const struct hw_retrieval *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_prompts; i++) {
        const struct hw_retrieval_trial *t = &r->trials[i];
        const struct hw_trace_prompt *prompt = hw_trace_prompt(trace, i);
        (void)json_array_append_new(
            list, json_pack("{s:i, s:o, s:s, s:I, s:I, s:I, s:o, s:o}", "prompt", prompt->prompt,
                            "name", hw_json_text(prompt->name), "state", states[t->state], "T",
                            (json_int_t)prompt->n_prompt_tokens, "length", (json_int_t)t->length,
                            "depth", (json_int_t)t->depth, "rouge", hw_json_real(t->rouge),
                            "response", hw_json_text(t->response != NULL ? t->response : "")));
    }
    return list;
}

json_t *retrieval_json(struct hw_trace *trace, const struct retrieval_options *opt,
                       const struct hw_retrieval *r, const struct hw_result *result) {
    size_t n_cells = r->n_layers * r->n_heads;
    json_t *document = hw_result_json(result);
    double *scores = calloc(n_cells + 1, sizeof *scores);
    for (size_t i = 0; scores != NULL && i < n_cells; i++) {
        double score = r->score[(size_t)opt->measure * n_cells + i];
        scores[i] = score >= opt->threshold ? score : NAN;
    }
    if (scores != NULL) {
        (void)json_object_set_new(
            document, "heads", hw_heads_json(scores, r->layers, r->n_layers, r->heads, r->n_heads));
    }
    free(scores);
    (void)json_object_set_new(document, "trials", trials_json(trace, r));
    return document;
}
