// alpha of every head and key of one prompt, and who is a sink; see sinks.h.
#include <math.h>
#include <string.h>

#include "analysis/sinks_internal.h"
#include "kernels/size.h"

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

// The keys that were asked for by name.
static void keep_keys(struct sinks_work *w, const struct sinks_prompt *p, size_t layer, size_t head,
                      size_t n_keys) {
    struct hw_sinks *out = w->out;
    size_t n_cells = out->n_layers * out->n_heads;
    size_t cell = layer * out->n_heads + head;
    for (size_t i = 0; i < out->options.n_keys; i++) {
        size_t key = out->options.keys[i];
        if (key >= n_keys) {
            continue;
        }
        float alpha = w->rows[key * out->n_heads + head];
        hw_mean_add(&out->alpha[i * n_cells + cell], alpha);
        if (out->alpha_prompts != NULL) {
            out->alpha_prompts[(p->index * out->options.n_keys + i) * n_cells + cell] = alpha;
        }
        if (i == 0) {
            w->hits[cell] += alpha > (float)out->options.epsilons[0];
        }
    }
}

// Adds one head of one layer, whose alphas stand in column `head` of rows; true where it was
// recorded. n_keys are known, n_eligible of them are looked at.
static bool add_head(struct sinks_work *w, const struct sinks_prompt *p, size_t layer, size_t head,
                     size_t n_keys, bool *ret_has_any) {
    struct hw_sinks *out = w->out;
    size_t n_eligible = hw_size_min(p->n_eligible, n_keys);
    size_t stride = out->n_heads;
    const float *alpha = w->rows + head;
    *ret_has_any = false;
    if (isnan(alpha[0])) {
        return false;
    }
    for (size_t e = 0; e < out->options.n_epsilons; e++) {
        // Compared in f32, as the reference does: a stored .3 is not above .3.
        float epsilon = (float)out->options.epsilons[e];
        size_t *over = w->over + e * w->longest;
        bool has_any = false;
        for (size_t k = 0; k < n_eligible; k++) {
            bool is_over = alpha[k * stride] > epsilon;
            over[k] += is_over;
            has_any |= is_over;
        }
        *ret_has_any |= has_any && e == 0;
    }
    for (size_t k = 0; k < n_eligible; k++) {
        float a = alpha[k * stride];
        w->alpha_sum[k] += a;
        if (a > w->alpha_max[k]) {
            w->alpha_max[k] = a;
            w->max_layer[k] = out->layers[layer];
            w->max_head[k] = out->heads[head];
        }
    }
    size_t first;
    size_t second;
    two_strongest(alpha, stride, n_eligible, &first, &second);
    w->top2[first]++;
    if (second != SIZE_MAX) {
        w->top2[second]++;
    }
    w->counts[layer * out->n_heads + head]++;
    keep_keys(w, p, layer, head, n_keys);
    return true;
}

static void clear(struct sinks_work *w, size_t n_keys) {
    for (size_t e = 0; e < w->out->options.n_epsilons; e++) {
        memset(w->over + e * w->longest, 0, n_keys * sizeof *w->over);
    }
    memset(w->top2, 0, n_keys * sizeof *w->top2);
    memset(w->alpha_sum, 0, n_keys * sizeof *w->alpha_sum);
    memset(w->alpha_max, 0, n_keys * sizeof *w->alpha_max);
    w->n_recorded = 0;
    w->n_any = 0;
}

// The heads of one layer, whose alphas are in rows.
static void add_layer(struct sinks_work *w, const struct sinks_prompt *p, size_t layer,
                      size_t n_keys) {
    struct hw_sinks *out = w->out;
    float epsilon = (float)out->options.epsilons[0];
    size_t n_recorded = 0;
    size_t n_first = 0;
    size_t n_any = 0;
    for (size_t head = 0; head < out->n_heads; head++) {
        bool has_any;
        if (add_head(w, p, layer, head, n_keys, &has_any)) {
            n_recorded++;
            n_first += w->rows[head] > epsilon;
            n_any += has_any;
        }
    }
    if (n_recorded > 0) {
        hw_mean_add(&out->layer_first[layer], (double)n_first / (double)n_recorded);
        hw_mean_add(&out->layer_any[layer], (double)n_any / (double)n_recorded);
    }
    w->n_recorded += n_recorded;
    w->n_any += n_any;
}

static void finish(struct sinks_work *w, size_t n_keys) {
    struct hw_sinks *out = w->out;
    double n_recorded = (double)w->n_recorded;
    double least = out->options.share * n_recorded;
    if (w->n_recorded == 0) {
        memset(w->is_sink, 0, n_keys * sizeof *w->is_sink);
        memset(w->is_top, 0, n_keys * sizeof *w->is_top);
        return;
    }
    for (size_t k = 0; k < n_keys; k++) {
        for (size_t e = 0; e < out->options.n_epsilons; e++) {
            hw_mean_add(&out->rates[e * out->n_positions + k],
                        (double)w->over[e * w->longest + k] / n_recorded);
        }
        w->is_sink[k] = w->over[k] > 0 && (double)w->over[k] >= least;
        w->is_top[k] = w->top2[k] > 0 && (double)w->top2[k] >= least;
    }
    hw_mean_add(&out->first_rate, (double)w->over[0] / n_recorded);
    hw_mean_add(&out->any_rate, (double)w->n_any / n_recorded);
}

enum hw_status hw_sinks_add_alphas(struct sinks_work *w, const struct sinks_prompt *p,
                                   struct hw_error *err) {
    clear(w, p->n_eligible);
    for (size_t layer = 0; layer < w->out->n_layers; layer++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_ATTENTION_RECEIVED, layer, p->prompt->first_token,
                              p->n_tokens, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        add_layer(w, p, layer, p->n_tokens);
    }
    finish(w, p->n_eligible);
    return HW_OK;
}

enum hw_status hw_sinks_add_scores(struct sinks_work *w, const struct sinks_prompt *p,
                                   struct hw_error *err) {
    clear(w, 1);
    for (size_t layer = 0; layer < w->out->n_layers; layer++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_SINK_SCORE, layer, p->index, 1, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        add_layer(w, p, layer, 1);
    }
    finish(w, 1);
    return HW_OK;
}
