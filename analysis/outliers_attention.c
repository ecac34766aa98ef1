// Attention outliers (E3); see outliers.h. The column sum of a key is what the recorded statistic
// divided by the queries that see it.
#include <math.h>
#include <stdlib.h>

#include "analysis/outliers_internal.h"

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

// Column sums, meant over the recorded heads, of one layer's rows; false where none is recorded.
static bool sum_columns(struct outliers_work *w, size_t n_tokens) {
    size_t n_heads = w->out->n_heads;
    size_t n_recorded = 0;
    for (size_t h = 0; h < n_heads; h++) {
        n_recorded += !isnan(w->rows[h]);
    }
    for (size_t k = 0; k < n_tokens && n_recorded > 0; k++) {
        double sum = 0;
        for (size_t h = 0; h < n_heads; h++) {
            if (!isnan(w->rows[h])) {
                sum += w->rows[k * n_heads + h];
            }
        }
        w->columns[k] = sum * (double)hw_queries_of_key(n_tokens, k) / (double)n_recorded;
        w->sorted[k] = w->columns[k];
    }
    return n_recorded > 0;
}

// Share of each head's attention on the outliers, column sums again.
static void add_head_shares(struct outliers_work *w, size_t layer, size_t n_tokens, double least) {
    struct hw_outliers *out = w->out;
    for (size_t h = 0; h < out->n_heads; h++) {
        double on_outliers = 0;
        double total = 0;
        for (size_t k = 0; k < n_tokens; k++) {
            double sum = w->rows[k * out->n_heads + h] * (double)hw_queries_of_key(n_tokens, k);
            total += sum;
            on_outliers += w->columns[k] >= least ? sum : 0;
        }
        if (total > 0) {
            hw_mean_add(&out->head_share[layer * out->n_heads + h], on_outliers / total);
        }
    }
}

enum hw_status hw_outliers_add_attention(struct outliers_work *w, const struct outliers_prompt *p,
                                         struct hw_error *err) {
    struct hw_outliers *out = w->out;
    double n = (double)p->n_tokens;
    double least = out->options.attention_share * n;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        struct hw_outlier_layer *of = &out->by_layer[layer];
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_ATTENTION_RECEIVED, layer, p->prompt->first_token,
                              p->n_tokens, w->rows, err);
        size_t n_keys = 0;
        if (status != HW_OK) {
            return status;
        }
        if (!sum_columns(w, p->n_tokens)) {
            continue;
        }
        for (size_t k = 0; k < p->n_tokens; k++) {
            bool is_outlier = w->columns[k] >= least;
            n_keys += is_outlier;
            w->notes[k].n_attention += is_outlier;
        }
        qsort(w->sorted, p->n_tokens, sizeof *w->sorted, ascending);
        hw_mean_add(&of->top[0], w->sorted[p->n_tokens - 1] / n);
        hw_mean_add(&of->top[1], w->sorted[p->n_tokens - 2] / n); // there are two tokens at least
        hw_mean_add(&of->median, w->sorted[(p->n_tokens - 1) / 2] / n);
        hw_mean_add(&of->n_keys, (double)n_keys);
        add_head_shares(w, layer, p->n_tokens, least);
    }
    return HW_OK;
}
