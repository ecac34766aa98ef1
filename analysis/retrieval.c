// Retrieval heads of a capture; see retrieval.h. One prompt and one layer at a time.
#include "analysis/retrieval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/mean.h"
#include "analysis/measures.h"
#include "analysis/retrieval_internal.h"
#include "kernels/size.h"

void hw_retrieval_free(struct hw_retrieval *retrieval) {
    for (size_t i = 0; retrieval->trials != NULL && i < retrieval->n_prompts; i++) {
        free(retrieval->trials[i].response);
    }
    free(retrieval->hits);
    hw_arena_close(&retrieval->arena);
    memset(retrieval, 0, sizeof *retrieval);
}

static void take_arrays(struct retrieval_work *w, struct hw_arena *arena) {
    struct hw_retrieval *out = w->out;
    size_t n_cells = out->n_layers * out->n_heads; // axes of a checked file
    size_t n_scores = n_cells * HW_RETRIEVAL_N_MEASURES;
    size_t n_trial_scores, n_rows, n_scratch;
    if (!hw_size_mul(n_scores, out->n_prompts, &n_trial_scores) ||
        !hw_size_mul(w->most_steps, out->n_heads, &n_rows) ||
        !hw_size_mul(w->longest, 2, &n_scratch)) {
        arena->is_overflown = 1;
        return;
    }
    w->step_prompts = hw_arena_take(arena, w->n_all_steps, sizeof *w->step_prompts);
    w->ids = hw_arena_take(arena, w->longest, sizeof *w->ids);
    w->answer = hw_arena_take(arena, w->longest, sizeof *w->answer);
    w->outputs = hw_arena_take(arena, w->most_steps, sizeof *w->outputs);
    w->keys = hw_arena_take(arena, n_rows, sizeof *w->keys);
    w->weights = hw_arena_take(arena, n_rows, sizeof *w->weights);
    w->is_hit = hw_arena_take(arena, n_rows, sizeof *w->is_hit);
    w->scratch = hw_arena_take(arena, n_scratch, sizeof *w->scratch);
    out->trials = hw_arena_take(arena, out->n_prompts, sizeof *out->trials);
    out->trial_score = hw_arena_take(arena, n_trial_scores, sizeof *out->trial_score);
    out->score = hw_arena_take(arena, n_scores, sizeof *out->score);
    out->se = hw_arena_take(arena, n_scores, sizeof *out->se);
    out->n_scored = hw_arena_take(arena, n_scores, sizeof *out->n_scored);
    out->n_hits = hw_arena_take(arena, n_cells, sizeof *out->n_hits);
    out->n_hit_trials = hw_arena_take(arena, n_cells, sizeof *out->n_hit_trials);
}

static enum hw_status open_arrays(struct retrieval_work *w, struct hw_error *err) {
    struct hw_retrieval *out = w->out;
    const struct hw_group_axes *axes = &hw_trace_layout(w->trace)->groups[HW_GROUP_DECODE];
    out->n_prompts = hw_trace_n_prompts(w->trace);
    out->n_layers = axes->n_layers;
    out->n_heads = axes->n_heads;
    out->layers = axes->layers;
    out->heads = axes->heads;
    w->n_all_steps = hw_trace_n_rows(w->trace, HW_DS_DECODE_PROMPT);
    w->longest = 1;
    w->most_steps = 1;
    for (size_t i = 0; i < out->n_prompts; i++) {
        w->longest = hw_size_max(w->longest, hw_trace_prompt(w->trace, i)->n_prompt_tokens);
    }
    int32_t *step_prompts = calloc(w->n_all_steps + 1, sizeof *step_prompts);
    if (step_prompts == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu decode rows", w->n_all_steps);
    }
    enum hw_status status =
        hw_trace_read_i32(w->trace, HW_DS_DECODE_PROMPT, 0, 0, w->n_all_steps, step_prompts, err);
    for (size_t i = 0, run = 0; i < w->n_all_steps && status == HW_OK; i++) {
        run = i > 0 && step_prompts[i] == step_prompts[i - 1] ? run + 1 : 1;
        w->most_steps = hw_size_max(w->most_steps, run);
    }
    struct hw_arena measure;
    hw_arena_measure(&measure);
    take_arrays(w, &measure);
    if (status == HW_OK && measure.is_overflown) {
        status = hw_fail(err, HW_RESOURCE, "%s: too large for the memory of this machine",
                         hw_trace_path(w->trace));
    }
    status = status == HW_OK ? hw_arena_open(&out->arena, measure.used_bytes, err) : status;
    if (status == HW_OK) {
        take_arrays(w, &out->arena); // zero, as fresh pages are
        memcpy(w->step_prompts, step_prompts, w->n_all_steps * sizeof *step_prompts);
    }
    free(step_prompts);
    return status;
}

static size_t score_at(const struct hw_retrieval *out, size_t measure, size_t prompt, size_t layer,
                       size_t head) {
    return ((measure * out->n_prompts + prompt) * out->n_layers + layer) * out->n_heads + head;
}

static enum hw_status log_hit(struct retrieval_work *w, struct hw_retrieval_hit hit,
                              struct hw_error *err) {
    struct hw_retrieval *out = w->out;
    if (out->n_log == w->log_capacity) {
        size_t capacity = w->log_capacity > 0 ? 2 * w->log_capacity : 1024, n_bytes;
        struct hw_retrieval_hit *hits = NULL;
        if (hw_size_mul(capacity, sizeof *hits, &n_bytes)) {
            hits = realloc(out->hits, n_bytes);
        }
        if (hits == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for the log of %zu hits", capacity);
        }
        out->hits = hits;
        w->log_capacity = capacity;
    }
    out->hits[out->n_log++] = hit;
    return HW_OK;
}

// Hits of one layer into the log, by step.
static enum hw_status log_layer(struct retrieval_work *w, size_t index, size_t layer,
                                size_t n_steps, struct hw_error *err) {
    struct hw_retrieval *out = w->out;
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < n_steps * out->n_heads && status == HW_OK; i++) {
        size_t step = i / out->n_heads, head = i % out->n_heads;
        if (w->is_hit[head * n_steps + step]) {
            struct hw_retrieval_hit hit = {.prompt = hw_trace_prompt(w->trace, index)->prompt,
                                           .step = (int32_t)step,
                                           .layer = out->layers[layer],
                                           .head = out->heads[head],
                                           .key = w->keys[i],
                                           .token = w->outputs[step],
                                           .weight = (double)w->weights[i]};
            status = log_hit(w, hit, err);
        }
    }
    return status;
}

static enum hw_status score_layer(struct retrieval_work *w, size_t index, size_t layer,
                                  struct hw_error *err) {
    struct hw_retrieval *out = w->out;
    const struct hw_retrieval_trial *trial = &out->trials[index];
    size_t n = trial->n_steps;
    enum hw_status status =
        hw_trace_read_i32(w->trace, HW_DS_DECODE_TOP_KEY, layer, w->first_step, n, w->keys, err);
    status = status == HW_OK ? hw_trace_read_f32(w->trace, HW_DS_DECODE_TOP_WEIGHT, layer,
                                                 w->first_step, n, w->weights, err)
                             : status;
    if (status != HW_OK) {
        return status;
    }
    memset(w->is_hit, 0, n * out->n_heads * sizeof *w->is_hit);
    for (size_t head = 0; head < out->n_heads && n > 0; head++) {
        if (isnan(w->weights[head])) {
            continue; // not recorded
        }
        struct hw_retrieval_rows rows = {.keys = w->keys + head,
                                         .stride = out->n_heads,
                                         .outputs = w->outputs,
                                         .n_steps = n,
                                         .prompt = w->ids,
                                         .n_prompt =
                                             hw_trace_prompt(w->trace, index)->n_prompt_tokens,
                                         .first = trial->first,
                                         .end = trial->end};
        double scores[HW_RETRIEVAL_N_MEASURES];
        size_t n_hits = hw_retrieval_score(&rows, w->scratch, scores, w->is_hit + head * n);
        for (size_t m = 0; m < HW_RETRIEVAL_N_MEASURES; m++) {
            out->trial_score[score_at(out, m, index, layer, head)] = scores[m];
        }
        out->n_hits[layer * out->n_heads + head] += (int64_t)n_hits;
        out->n_hit_trials[layer * out->n_heads + head] += n_hits > 0;
    }
    return log_layer(w, index, layer, n, err);
}

static void count_trial(struct retrieval_work *w, size_t index) {
    struct hw_retrieval *out = w->out;
    size_t n_tokens = hw_trace_prompt(w->trace, index)->n_prompt_tokens;
    switch (out->trials[index].state) {
    case HW_RETRIEVAL_FAILED:
        out->n_failed++;
        return;
    case HW_RETRIEVAL_NO_TRIAL:
        out->n_no_trial++;
        return;
    case HW_RETRIEVAL_NOT_FOUND:
        out->n_not_found++;
        return;
    case HW_RETRIEVAL_WRONG:
        out->n_wrong++;
        break;
    case HW_RETRIEVAL_KEPT:
        out->n_kept++;
        break;
    }
    bool is_first = out->n_kept + out->n_wrong == 1;
    out->min_tokens = is_first ? n_tokens : hw_size_min(out->min_tokens, n_tokens);
    out->max_tokens = hw_size_max(out->max_tokens, n_tokens);
}

static enum hw_status add_prompt(struct retrieval_work *w, size_t index, struct hw_error *err) {
    struct hw_retrieval *out = w->out;
    enum hw_status status = hw_retrieval_read_trial(w, index, err);
    if (status != HW_OK) {
        return status;
    }
    for (size_t m = 0; m < HW_RETRIEVAL_N_MEASURES; m++) {
        for (size_t cell = 0; cell < out->n_layers * out->n_heads; cell++) {
            out->trial_score[score_at(out, m, index, 0, 0) + cell] = NAN;
        }
    }
    count_trial(w, index);
    for (size_t layer = 0;
         layer < out->n_layers && status == HW_OK && out->trials[index].state == HW_RETRIEVAL_KEPT;
         layer++) {
        status = score_layer(w, index, layer, err);
    }
    return status;
}

// Mean, standard error and count over the kept trials.
static void finish(struct hw_retrieval *out) {
    size_t n_cells = out->n_layers * out->n_heads;
    for (size_t i = 0; i < n_cells * HW_RETRIEVAL_N_MEASURES; i++) {
        const double *scores = out->trial_score + score_at(out, i / n_cells, 0, 0, 0) + i % n_cells;
        struct hw_mean mean = {0};
        for (size_t p = 0; p < out->n_prompts; p++) {
            if (!isnan(scores[p * n_cells])) {
                hw_mean_add(&mean, scores[p * n_cells]);
            }
        }
        out->score[i] = hw_mean_value(&mean);
        out->se[i] = hw_mean_se(&mean);
        out->n_scored[i] = (int64_t)mean.n;
        out->n_recorded += i < n_cells && mean.n > 0;
    }
}

static enum hw_status check_capture(struct retrieval_work *w, struct hw_error *err) {
    const char *record = NULL;
    enum hw_status status = hw_measure_require(w->trace, "retrieval", &record, err);
    if (status != HW_OK || w->out->options.vocabulary != NULL) {
        w->vocabulary = w->out->options.vocabulary;
        return status;
    }
    if (hw_trace_n_rows(w->trace, HW_DS_VOCABULARY_BYTE_START) == 0) {
        return hw_fail(err, HW_INPUT,
                       "%s: has no vocabulary, which the responses are read with (expected a "
                       "capture made with a tokenizer)",
                       hw_trace_path(w->trace));
    }
    status = hw_vocabulary_from_trace(w->trace, &w->copy, err);
    w->vocabulary = &w->copy.view;
    return status == HW_OK ? status : hw_fail_context(err, status, "%s: ", hw_trace_path(w->trace));
}

enum hw_status hw_retrieval_compute(struct hw_trace *trace,
                                    const struct hw_retrieval_options *options,
                                    struct hw_retrieval *ret_retrieval, struct hw_error *err) {
    struct hw_retrieval out = {.options = *options};
    struct retrieval_work work = {.trace = trace, .out = &out};
    enum hw_status status = check_capture(&work, err);
    status = status == HW_OK ? open_arrays(&work, err) : status;
    for (size_t i = 0; i < out.n_prompts && status == HW_OK; i++) {
        status = add_prompt(&work, i, err);
    }
    if (status == HW_OK && out.n_no_trial > 0 && out.n_kept + out.n_wrong + out.n_not_found == 0) {
        status =
            hw_fail(err, HW_INPUT,
                    "%s: no prompt is a trial (expected the keys answer and %s, as `headwater "
                    "prompts needle` writes them%s)",
                    hw_trace_path(trace), options->is_span_given ? "spans.needle" : "answer_tokens",
                    options->is_span_given ? "" : "; --span given takes spans.needle");
    }
    hw_vocabulary_free(&work.copy);
    if (status != HW_OK) {
        hw_retrieval_free(&out);
        return status;
    }
    finish(&out);
    out.options.vocabulary = NULL;
    *ret_retrieval = out;
    return HW_OK;
}
