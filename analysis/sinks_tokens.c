// The sink tokens of one prompt: what becomes of their values and their residual; see sinks.h.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/sinks_internal.h"
#include "kernels/size.h"

enum { MAX_SINK_TOKENS = 1 << 20 };

// Where the tokens of the running prompt begin in out->tokens.
struct span {
    const struct sinks_prompt *p;
    size_t first;
};

static bool is_key_sink(const struct sinks_work *w, const struct sinks_prompt *p, size_t key) {
    return key < p->n_eligible && w->is_sink[key];
}

// Mean of column `column` over the tokens that are no sinks and not token 0; NaN where there are
// none.
static double mean_of_others(const struct sinks_work *w, const struct sinks_prompt *p,
                             size_t stride, size_t column) {
    double sum = 0;
    size_t n = 0;
    for (size_t t = 1; t < p->n_tokens; t++) {
        if (!is_key_sink(w, p, t)) {
            sum += w->rows[t * stride + column];
            n++;
        }
    }
    return n > 0 ? sum / (double)n : NAN;
}

static void add_finite(struct hw_mean *mean, double value) {
    if (isfinite(value)) {
        hw_mean_add(mean, value);
    }
}

// A ratio of one layer and kv head joins the token's mean over them.
static void add_drain(struct hw_sink_token *token, double ratio, int32_t layer, int32_t kv_head) {
    if (!isfinite(ratio)) {
        return;
    }
    add_finite(&token->drains, ratio);
    if (!(ratio >= token->drain_min)) {
        token->drain_min = ratio;
        token->drain_layer = layer;
        token->drain_kv_head = kv_head;
    }
}

static enum hw_status add_drains(struct sinks_work *w, const struct span *s, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    size_t n_kv = out->n_kv_heads;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_VALUE_NORM, layer, s->p->prompt->first_token,
                              s->p->n_tokens, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        struct hw_mean of_layer = {0};
        for (size_t g = 0; g < n_kv; g++) {
            double others = mean_of_others(w, s->p, n_kv, g);
            size_t cell = layer * n_kv + g;
            add_finite(&of_layer, w->rows[g] / others);
            add_finite(&out->drain[cell], w->rows[g] / others);
            add_finite(&out->value_first[cell], w->rows[g]);
            add_finite(&out->value_others[cell], others);
            for (size_t i = s->first; i < out->n_tokens; i++) {
                struct hw_sink_token *token = &out->tokens[i];
                add_drain(token, w->rows[(size_t)token->position * n_kv + g] / others,
                          out->layers[layer], out->kv_heads[g]);
            }
        }
        add_finite(&out->layer_drain[layer], hw_mean_value(&of_layer));
    }
    return HW_OK;
}

static enum hw_status add_projected(struct sinks_work *w, const struct span *s,
                                    struct hw_error *err) {
    struct hw_sinks *out = w->out;
    size_t n_heads = out->n_heads;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_VALUE_NORM_PROJECTED, layer,
                              s->p->prompt->first_token, s->p->n_tokens, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        struct hw_mean of_layer = {0};
        for (size_t h = 0; h < n_heads; h++) {
            double others = mean_of_others(w, s->p, n_heads, h);
            add_finite(&of_layer, w->rows[h] / others);
            add_finite(&out->drain_projected[layer * n_heads + h], w->rows[h] / others);
            for (size_t i = s->first; i < out->n_tokens; i++) {
                struct hw_sink_token *token = &out->tokens[i];
                add_finite(&token->projected_drains,
                           w->rows[(size_t)token->position * n_heads + h] / others);
            }
        }
        add_finite(&out->layer_drain_projected[layer], hw_mean_value(&of_layer));
    }
    return HW_OK;
}

static enum hw_status add_peaks(struct sinks_work *w, const struct span *s, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    for (size_t depth = 0; depth < out->n_depths; depth++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_RESIDUAL_NORM, depth, s->p->prompt->first_token,
                              s->p->n_tokens, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        double others = mean_of_others(w, s->p, 1, 0);
        double largest = 0;
        double sum = 0;
        for (size_t t = 1; t < s->p->n_tokens; t++) {
            largest = fmax(largest, w->rows[t]);
            sum += w->rows[t];
        }
        add_finite(&out->peak[depth], w->rows[0] / others);
        add_finite(&out->peak_over_max[depth], w->rows[0] / largest);
        add_finite(&out->residual_first[depth], w->rows[0]);
        add_finite(&out->residual_excess[depth], w->rows[0] - sum / (double)(s->p->n_tokens - 1));
        for (size_t i = s->first; i < out->n_tokens; i++) {
            struct hw_sink_token *token = &out->tokens[i];
            double ratio = w->rows[token->position] / others;
            if (isfinite(ratio) && !(ratio <= token->peak)) {
                token->peak = ratio;
                token->peak_depth = out->depths[depth];
            }
        }
    }
    return HW_OK;
}

// Room doubles at every power of two.
static enum hw_status grow(struct sinks_work *w, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    if ((out->n_tokens & (out->n_tokens - 1)) != 0) {
        return HW_OK;
    }
    size_t capacity = out->n_tokens == 0 ? 1 : 2 * out->n_tokens;
    struct hw_sink_token *tokens =
        capacity <= MAX_SINK_TOKENS ? realloc(out->tokens, capacity * sizeof *tokens) : NULL;
    if (tokens == NULL) {
        return hw_fail(err, HW_RESOURCE,
                       "%s: too many sink tokens (found more than %zu); a larger epsilon or share "
                       "lists fewer",
                       hw_trace_path(w->trace), out->n_tokens);
    }
    out->tokens = tokens;
    return HW_OK;
}

static enum hw_status append_token(struct sinks_work *w, const struct sinks_prompt *p, size_t key,
                                   struct hw_error *err) {
    struct hw_sinks *out = w->out;
    double n_recorded = (double)w->n_recorded;
    enum hw_status status = grow(w, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_sink_token *token = &out->tokens[out->n_tokens++];
    *token = (struct hw_sink_token){.prompt = p->index,
                                    .position = (int32_t)key,
                                    .id = -1,
                                    .share = NAN,
                                    .top2_share = NAN,
                                    .alpha_mean = NAN,
                                    .alpha_max = NAN,
                                    .max_layer = -1,
                                    .max_head = -1,
                                    .drain_min = NAN,
                                    .drain_layer = -1,
                                    .drain_kv_head = -1,
                                    .peak = NAN,
                                    .peak_depth = -1,
                                    .birth_layer = -1,
                                    .cosine = NAN};
    if (key < p->n_eligible) {
        token->is_absolute = w->is_sink[key];
        token->is_relative = w->is_top[key];
        token->n_heads = w->over[key];
        token->share = (double)w->over[key] / n_recorded;
        token->top2_share = (double)w->top2[key] / n_recorded;
        token->alpha_mean = w->alpha_sum[key] / n_recorded;
        token->alpha_max = w->alpha_max[key];
        token->max_layer = w->max_layer[key];
        token->max_head = w->max_head[key];
    }
    if (w->has_secondary && key > 0 && w->lifetime[key] > 0) {
        token->label = hw_sinks_label(out, w->lifetime[key]);
        token->birth_layer = w->birth[key];
        token->lifetime = w->lifetime[key];
        token->cosine = w->cosine_sum[key] / (double)w->lifetime[key];
    }
    return HW_OK;
}

// Id and text of the tokens that were just appended.
static enum hw_status name_tokens(struct sinks_work *w, const struct span *s,
                                  struct hw_error *err) {
    struct hw_sinks *out = w->out;
    for (size_t i = s->first; i < out->n_tokens; i++) {
        struct hw_sink_token *token = &out->tokens[i];
        size_t row = s->p->prompt->first_token + (size_t)token->position;
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

static bool is_listed(const struct sinks_work *w, const struct sinks_prompt *p, size_t key) {
    enum hw_sinks_criterion criterion = w->out->options.criterion;
    bool is_absolute = is_key_sink(w, p, key);
    bool is_relative = key < p->n_eligible && w->is_top[key];
    return (criterion != HW_SINKS_RELATIVE && is_absolute) ||
           (criterion != HW_SINKS_ABSOLUTE && is_relative) ||
           (w->has_secondary && key > 0 &&
            hw_sinks_label(w->out, w->lifetime[key]) >= HW_SINK_SECONDARY);
}

enum hw_status hw_sinks_add_tokens(struct sinks_work *w, const struct sinks_prompt *p,
                                   struct hw_error *err) {
    struct span s = {p, w->out->n_tokens};
    enum hw_status status = HW_OK;
    for (size_t k = 0; k < p->n_tokens && status == HW_OK; k++) {
        if (is_listed(w, p, k)) {
            status = append_token(w, p, k, err);
        }
    }
    if (status == HW_OK) {
        status = name_tokens(w, &s, err);
    }
    if (status == HW_OK && hw_trace_has(w->trace, HW_DS_VALUE_NORM)) {
        status = add_drains(w, &s, err);
    }
    if (status == HW_OK && hw_trace_has(w->trace, HW_DS_VALUE_NORM_PROJECTED)) {
        status = add_projected(w, &s, err);
    }
    if (status == HW_OK && hw_trace_has(w->trace, HW_DS_RESIDUAL_NORM)) {
        status = add_peaks(w, &s, err);
    }
    return status;
}
