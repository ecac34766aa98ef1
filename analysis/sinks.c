// Attention sinks; see sinks.h. One prompt and one layer at a time, so memory grows with the
// longest prompt only.
#include "analysis/sinks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/sinks_internal.h"
#include "kernels/size.h"

void hw_sinks_free(struct hw_sinks *sinks) {
    for (size_t i = 0; i < sinks->n_tokens; i++) {
        free(sinks->tokens[i].text);
    }
    free(sinks->tokens);
    hw_arena_close(&sinks->arena);
    memset(sinks, 0, sizeof *sinks);
}

// Takes every array from the arena; the same code measures.
static void take_arrays(struct sinks_work *w, struct hw_arena *arena, size_t longest) {
    struct hw_sinks *out = w->out;
    size_t n_cells =
        out->n_layers * out->n_heads; // both far below 2^32: the axes of a checked file
    size_t widest = hw_size_max(hw_size_max(out->n_heads, out->n_kv_heads), 1);
    size_t n_values;
    if (!hw_size_mul(longest, widest, &n_values)) {
        arena->is_overflown = 1;
        return;
    }
    w->rows = hw_arena_take(arena, n_values, sizeof *w->rows);
    w->over = hw_arena_take(arena, longest, sizeof *w->over);
    w->top2 = hw_arena_take(arena, longest, sizeof *w->top2);
    w->alpha_sum = hw_arena_take(arena, longest, sizeof *w->alpha_sum);
    w->alpha_max = hw_arena_take(arena, longest, sizeof *w->alpha_max);
    w->max_layer = hw_arena_take(arena, longest, sizeof *w->max_layer);
    w->max_head = hw_arena_take(arena, longest, sizeof *w->max_head);
    w->is_sink = hw_arena_take(arena, longest, sizeof *w->is_sink);
    w->hits = hw_arena_take(arena, n_cells, sizeof *w->hits);
    w->counts = hw_arena_take(arena, n_cells, sizeof *w->counts);
    w->any = hw_arena_take(arena, out->n_layers, sizeof *w->any);
    w->drain_counts = hw_arena_take(arena, out->n_layers, sizeof *w->drain_counts);
    w->peak_counts = hw_arena_take(arena, out->n_depths, sizeof *w->peak_counts);
    out->alpha = hw_arena_take(arena, n_cells, sizeof *out->alpha);
    out->alpha_rate = hw_arena_take(arena, n_cells, sizeof *out->alpha_rate);
    out->layer_first = hw_arena_take(arena, out->n_layers, sizeof *out->layer_first);
    out->layer_any = hw_arena_take(arena, out->n_layers, sizeof *out->layer_any);
    out->layer_drain = hw_arena_take(arena, out->n_layers, sizeof *out->layer_drain);
    out->depth_peak = hw_arena_take(arena, out->n_depths, sizeof *out->depth_peak);
}

static enum hw_status open_arrays(struct sinks_work *w, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    const struct hw_group_axes *axes = &hw_trace_layout(w->trace)->groups[HW_GROUP_ROOT];
    size_t longest = 1;
    for (size_t i = 0; i < hw_trace_n_prompts(w->trace); i++) {
        longest = hw_size_max(longest, hw_trace_prompt(w->trace, i)->n_tokens);
    }
    out->n_layers = axes->n_layers;
    out->n_heads = axes->n_heads;
    out->n_kv_heads = axes->n_kv_heads;
    out->n_depths = axes->n_depths;
    out->layers = axes->layers;
    out->heads = axes->heads;
    out->depths = axes->depths;
    struct hw_arena measure;
    hw_arena_measure(&measure);
    take_arrays(w, &measure, longest);
    if (measure.is_overflown) {
        return hw_fail(err, HW_RESOURCE, "%s: too large for the memory of this machine",
                       hw_trace_path(w->trace));
    }
    enum hw_status status = hw_arena_open(&out->arena, measure.used_bytes, err);
    if (status == HW_OK) {
        take_arrays(w, &out->arena, longest); // zero, as fresh pages are
    }
    return status;
}

// Keys that enough queries see are 0 .. n_eligible - 1. Key 0 always counts.
static size_t n_eligible(const struct hw_sinks_options *options, size_t n_prompt_tokens) {
    size_t rows = hw_size_max(1, options->least_rows);
    return n_prompt_tokens > rows ? n_prompt_tokens - rows + 1 : 1;
}

// The two largest of n values that stand `stride` apart; ties: the lower key.
static void two_strongest(const float *alpha, size_t stride, size_t n, size_t *ret_first,
                          size_t *ret_second) {
    size_t first = 0;
    size_t second = SIZE_MAX;
    for (size_t k = 1; k < n; k++) {
        if (alpha[k * stride] > alpha[first * stride]) {
            second = first;
            first = k;
        } else if (second == SIZE_MAX || alpha[k * stride] > alpha[second * stride]) {
            second = k;
        }
    }
    *ret_first = first;
    *ret_second = second;
}

// Adds one head of one layer, whose alphas stand in column `head` of rows.
static void add_head(struct sinks_work *w, size_t layer, size_t head, size_t n_keys) {
    struct hw_sinks *out = w->out;
    size_t stride = out->n_heads;
    size_t cell = layer * out->n_heads + head;
    const float *alpha = w->rows + head;
    if (isnan(alpha[0])) {
        return; // not recorded
    }
    // Compared in f32, as the reference does: a stored .3 is not above .3.
    float epsilon = (float)out->options.epsilon;
    bool has_any = false;
    for (size_t k = 0; k < n_keys; k++) {
        float a = alpha[k * stride];
        bool is_over = a > epsilon;
        w->alpha_sum[k] += a;
        w->over[k] += is_over;
        has_any |= is_over;
        if (a > w->alpha_max[k]) {
            w->alpha_max[k] = a;
            w->max_layer[k] = out->layers[layer];
            w->max_head[k] = out->heads[head];
        }
    }
    size_t first;
    size_t second;
    two_strongest(alpha, stride, n_keys, &first, &second);
    w->top2[first]++;
    if (second != SIZE_MAX) {
        w->top2[second]++;
    }
    w->n_recorded++;
    w->counts[cell]++;
    w->hits[cell] += alpha[0] > epsilon;
    w->any[layer] += has_any;
    out->alpha[cell] += alpha[0];
}

// The alphas of every head over the first n_keys keys of a prompt.
static enum hw_status add_alphas(struct sinks_work *w, size_t first_token, size_t n_keys,
                                 struct hw_error *err) {
    struct hw_sinks *out = w->out;
    memset(w->over, 0, n_keys * sizeof *w->over);
    memset(w->top2, 0, n_keys * sizeof *w->top2);
    memset(w->alpha_sum, 0, n_keys * sizeof *w->alpha_sum);
    memset(w->alpha_max, 0, n_keys * sizeof *w->alpha_max);
    w->n_recorded = 0;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        enum hw_status status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_RECEIVED, layer,
                                                  first_token, n_keys, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        for (size_t head = 0; head < out->n_heads; head++) {
            add_head(w, layer, head, n_keys);
        }
    }
    for (size_t k = 0; k < n_keys; k++) {
        w->is_sink[k] =
            w->over[k] > 0 && (double)w->over[k] >= out->options.share * (double)w->n_recorded;
    }
    return HW_OK;
}

// Where only the sink score was kept (--detail prompt): alpha of key 0, one row a prompt.
static enum hw_status add_scores(struct sinks_work *w, size_t prompt, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_SINK_SCORE, layer, prompt, 1, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        for (size_t head = 0; head < out->n_heads; head++) {
            add_head(w, layer, head, 1);
        }
    }
    return HW_OK;
}

// Sink rates over the first rows only: the running mean of attention to key 0.
static enum hw_status add_lengths(struct sinks_work *w, const struct hw_trace_prompt *prompt,
                                  struct hw_error *err) {
    struct hw_sinks *out = w->out;
    size_t n_heads = out->n_heads;
    size_t n_rows = 0;
    for (size_t i = 0; i < out->options.n_lengths; i++) {
        if (out->options.lengths[i] <= prompt->n_prompt_tokens) {
            n_rows = hw_size_max(n_rows, out->options.lengths[i]);
        }
    }
    for (size_t layer = 0; layer < out->n_layers && n_rows > 0; layer++) {
        enum hw_status status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_FIRST, layer,
                                                  prompt->first_token, n_rows, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        for (size_t head = 0; head < n_heads; head++) {
            double sum = 0;
            for (size_t row = 0; row < n_rows && !isnan(w->rows[head]); row++) {
                sum += w->rows[row * n_heads + head];
                for (size_t i = 0; i < out->options.n_lengths; i++) {
                    if (out->options.lengths[i] == row + 1) {
                        w->length_seen[i]++;
                        w->length_hits[i] +=
                            (float)(sum / (double)(row + 1)) > (float)out->options.epsilon;
                    }
                }
            }
        }
    }
    for (size_t i = 0; i < out->options.n_lengths; i++) {
        out->length_prompts[i] += out->options.lengths[i] <= prompt->n_prompt_tokens;
    }
    return HW_OK;
}

static double ratio_or_nan(double sum, size_t n) {
    return n > 0 ? sum / (double)n : NAN;
}

// Turns sums into means.
static void finish(struct sinks_work *w) {
    struct hw_sinks *out = w->out;
    size_t hits = 0;
    size_t any = 0;
    size_t seen = 0;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        size_t layer_hits = 0;
        size_t layer_seen = 0;
        for (size_t head = 0; head < out->n_heads; head++) {
            size_t cell = layer * out->n_heads + head;
            out->alpha[cell] = ratio_or_nan(out->alpha[cell], w->counts[cell]);
            out->alpha_rate[cell] = ratio_or_nan((double)w->hits[cell], w->counts[cell]);
            out->n_recorded += w->counts[cell] > 0;
            layer_hits += w->hits[cell];
            layer_seen += w->counts[cell];
        }
        out->layer_first[layer] = ratio_or_nan((double)layer_hits, layer_seen);
        out->layer_any[layer] = ratio_or_nan((double)w->any[layer], layer_seen);
        out->layer_drain[layer] = ratio_or_nan(out->layer_drain[layer], w->drain_counts[layer]);
        hits += layer_hits;
        any += w->any[layer];
        seen += layer_seen;
    }
    out->first_rate = ratio_or_nan((double)hits, seen);
    out->any_rate = ratio_or_nan((double)any, seen);
    for (size_t depth = 0; depth < out->n_depths; depth++) {
        out->depth_peak[depth] = ratio_or_nan(out->depth_peak[depth], w->peak_counts[depth]);
    }
    for (size_t i = 0; i < out->options.n_lengths; i++) {
        out->length_rates[i] = ratio_or_nan((double)w->length_hits[i], w->length_seen[i]);
    }
}

static enum hw_status add_prompt(struct sinks_work *w, size_t index, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    const struct hw_trace_prompt *prompt = hw_trace_prompt(w->trace, index);
    size_t n = prompt->n_prompt_tokens;
    if (n < 2 || n > prompt->n_tokens) {
        out->n_skipped++; // failed, or a single token, which can only see itself
        return HW_OK;
    }
    size_t n_keys = n_eligible(&out->options, n);
    enum hw_status status = out->has_tokens ? add_alphas(w, prompt->first_token, n_keys, err)
                                            : add_scores(w, index, err);
    if (status == HW_OK && out->has_tokens) {
        status = hw_sinks_add_tokens(w, index, n_keys, err);
    }
    if (status == HW_OK && out->options.n_lengths > 0) {
        status = add_lengths(w, prompt, err);
    }
    out->min_tokens = out->n_prompts == 0 ? n : hw_size_min(out->min_tokens, n);
    out->max_tokens = hw_size_max(out->max_tokens, n);
    out->n_prompts++;
    return status;
}

enum hw_status hw_sinks_compute(struct hw_trace *trace, const struct hw_sinks_options *options,
                                struct hw_sinks *ret_sinks, struct hw_error *err) {
    struct hw_sinks sinks = {.options = *options,
                             .has_tokens = hw_trace_has(trace, HW_DS_ATTENTION_RECEIVED)};
    struct sinks_work work = {.trace = trace, .out = &sinks};
    if (!sinks.has_tokens && !hw_trace_has(trace, HW_DS_SINK_SCORE)) {
        return hw_fail(err, HW_INPUT,
                       "%s: no attention statistics (expected attention_received or sink_score: "
                       "capture with --record attention)",
                       hw_trace_path(trace));
    }
    if (options->n_lengths > 0 && !hw_trace_has(trace, HW_DS_ATTENTION_FIRST)) {
        return hw_fail(err, HW_INPUT,
                       "%s: no attention_first, which shorter lengths need (capture with --record "
                       "attention and --detail token)",
                       hw_trace_path(trace));
    }
    enum hw_status status = open_arrays(&work, err);
    for (size_t i = 0; i < hw_trace_n_prompts(trace) && status == HW_OK; i++) {
        status = add_prompt(&work, i, err);
    }
    if (status != HW_OK) {
        hw_sinks_free(&sinks);
        return status;
    }
    finish(&work);
    *ret_sinks = sinks;
    return HW_OK;
}
