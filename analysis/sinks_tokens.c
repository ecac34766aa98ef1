// The sink tokens of one prompt: what becomes of their values and their residual; see sinks.h.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/sinks_internal.h"
#include "kernels/size.h"

enum { MAX_SINK_TOKENS = 1 << 20 };

// The prompt that is looked at.
struct span {
    const struct hw_trace_prompt *prompt;
    size_t n_keys;     // keys that could be sinks
    size_t first_sink; // its tokens in out->tokens: first_sink .. out->n_tokens - 1
};

// Mean of column `column` over the tokens that are no sinks and not token 0; NaN where there are
// none.
static double mean_of_others(const struct sinks_work *w, const struct span *s, size_t stride,
                             size_t column) {
    double sum = 0;
    size_t n = 0;
    for (size_t t = 1; t < s->prompt->n_prompt_tokens; t++) {
        if (t >= s->n_keys || !w->is_sink[t]) {
            sum += w->rows[t * stride + column];
            n++;
        }
    }
    return n > 0 ? sum / (double)n : NAN;
}

static enum hw_status add_drains(struct sinks_work *w, const struct span *s, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    const int32_t *kv_heads = hw_trace_layout(w->trace)->groups[HW_GROUP_ROOT].kv_heads;
    size_t n_kv = out->n_kv_heads;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_VALUE_NORM, layer, s->prompt->first_token,
                              s->prompt->n_prompt_tokens, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        for (size_t g = 0; g < n_kv; g++) {
            double others = mean_of_others(w, s, n_kv, g);
            double first = w->rows[g] / others;
            if (isfinite(first)) {
                out->layer_drain[layer] += first;
                w->drain_counts[layer]++;
            }
            for (size_t i = s->first_sink; i < out->n_tokens; i++) {
                struct hw_sink_token *token = &out->tokens[i];
                double ratio = w->rows[(size_t)token->position * n_kv + g] / others;
                token->drain += ratio / (double)(out->n_layers * n_kv);
                if (!(ratio >= token->drain_min)) {
                    token->drain_min = ratio;
                    token->drain_layer = out->layers[layer];
                    token->drain_kv_head = kv_heads[g];
                }
            }
        }
    }
    return HW_OK;
}

static enum hw_status add_peaks(struct sinks_work *w, const struct span *s, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    for (size_t depth = 0; depth < out->n_depths; depth++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_RESIDUAL_NORM, depth, s->prompt->first_token,
                              s->prompt->n_prompt_tokens, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        double others = mean_of_others(w, s, 1, 0);
        double first = w->rows[0] / others;
        if (isfinite(first)) {
            out->depth_peak[depth] += first;
            w->peak_counts[depth]++;
        }
        for (size_t i = s->first_sink; i < out->n_tokens; i++) {
            struct hw_sink_token *token = &out->tokens[i];
            double ratio = w->rows[token->position] / others;
            if (ratio > token->peak) {
                token->peak = ratio;
                token->peak_depth = out->depths[depth];
            }
        }
    }
    return HW_OK;
}

static enum hw_status append_token(struct sinks_work *w, size_t prompt, size_t key,
                                   struct hw_error *err) {
    struct hw_sinks *out = w->out;
    bool has_drain = hw_trace_has(w->trace, HW_DS_VALUE_NORM);
    bool has_peak = hw_trace_has(w->trace, HW_DS_RESIDUAL_NORM);
    // Room doubles at every power of two.
    if ((out->n_tokens & (out->n_tokens - 1)) == 0) {
        size_t capacity = out->n_tokens == 0 ? 1 : 2 * out->n_tokens;
        struct hw_sink_token *tokens =
            capacity <= MAX_SINK_TOKENS ? realloc(out->tokens, capacity * sizeof *tokens) : NULL;
        if (tokens == NULL) {
            return hw_fail(err, HW_RESOURCE,
                           "%s: too many sink tokens (found more than %zu); a "
                           "larger epsilon or share lists fewer",
                           hw_trace_path(w->trace), out->n_tokens);
        }
        out->tokens = tokens;
    }
    double n_recorded = (double)w->n_recorded;
    out->tokens[out->n_tokens++] = (struct hw_sink_token){
        .prompt = prompt,
        .position = (int32_t)key,
        .id = -1,
        .n_heads = w->over[key],
        .share = (double)w->over[key] / n_recorded,
        .top2_share = (double)w->top2[key] / n_recorded,
        .alpha_mean = w->alpha_sum[key] / n_recorded,
        .alpha_max = w->alpha_max[key],
        .max_layer = w->max_layer[key],
        .max_head = w->max_head[key],
        .drain = has_drain ? 0 : NAN,
        .drain_min = has_drain ? INFINITY : NAN,
        .drain_layer = -1,
        .drain_kv_head = -1,
        .peak = has_peak ? 0 : NAN,
        .peak_depth = -1,
    };
    return HW_OK;
}

// Id and text of the tokens that were just appended.
static enum hw_status name_tokens(struct sinks_work *w, const struct span *s,
                                  struct hw_error *err) {
    struct hw_sinks *out = w->out;
    for (size_t i = s->first_sink; i < out->n_tokens; i++) {
        struct hw_sink_token *token = &out->tokens[i];
        size_t row = s->prompt->first_token + (size_t)token->position;
        enum hw_status status =
            hw_trace_read_i32(w->trace, HW_DS_TOKEN_ID, 0, row, 1, &token->id, err);
        if (status != HW_OK) {
            return status;
        }
        char **texts = NULL;
        if (hw_trace_has(w->trace, HW_DS_TOKEN_TEXT)) {
            status = hw_trace_read_text(w->trace, HW_DS_TOKEN_TEXT, row, 1, &texts, err);
            if (status != HW_OK) {
                return status;
            }
        }
        token->text = strdup(texts != NULL ? texts[0] : "");
        hw_trace_free_text(texts, texts != NULL ? 1 : 0);
        if (token->text == NULL) {
            return hw_fail(err, HW_RESOURCE, "%s: not enough memory for the sink tokens",
                           hw_trace_path(w->trace));
        }
    }
    return HW_OK;
}

enum hw_status hw_sinks_add_tokens(struct sinks_work *work, size_t prompt, size_t n_keys,
                                   struct hw_error *err) {
    struct span s = {hw_trace_prompt(work->trace, prompt), n_keys, work->out->n_tokens};
    enum hw_status status = HW_OK;
    for (size_t k = 0; k < n_keys && status == HW_OK; k++) {
        if (work->is_sink[k]) {
            status = append_token(work, prompt, k, err);
        }
    }
    if (status == HW_OK) {
        status = name_tokens(work, &s, err);
    }
    if (status == HW_OK && hw_trace_has(work->trace, HW_DS_VALUE_NORM)) {
        status = add_drains(work, &s, err);
    }
    if (status == HW_OK && hw_trace_has(work->trace, HW_DS_RESIDUAL_NORM)) {
        status = add_peaks(work, &s, err);
    }
    return status;
}
