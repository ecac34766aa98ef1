// What the statistics of single rows and keys say about the sink: its rate over the first rows
// only, dormancy (Guo et al., D1), normalised entropies (D5), and the score gap over the keys that
// a query sees; see sinks.h. Heads are shared out to the threads: each has its own sums, so no
// figure depends on how many there are.
#include <math.h>
#include <string.h>

#include "analysis/normalised_entropy.h"
#include "analysis/sinks_internal.h"
#include "kernels/size.h"

static enum hw_status read(struct sinks_work *w, const struct sinks_prompt *p,
                           enum hw_dataset dataset, size_t layer, float *ret,
                           struct hw_error *err) {
    return hw_trace_read_f32(w->trace, dataset, layer, p->prompt->first_token, p->n_tokens, ret,
                             err);
}

// The running mean of A[i, 0] of one head, whose rows stand in column `head`.
static void add_lengths(struct sinks_work *w, const struct sinks_prompt *p, size_t head,
                        size_t hits[][HW_SINKS_MAX_LENGTHS]) {
    struct hw_sinks *out = w->out;
    double sum = 0;
    for (size_t row = 0; row < p->n_tokens; row++) {
        sum += w->rows[row * out->n_heads + head];
        for (size_t i = 0; i < out->options.n_lengths; i++) {
            for (size_t e = 0; e < out->options.n_epsilons && out->options.lengths[i] == row + 1;
                 e++) {
                hits[e][i] += (float)(sum / (double)(row + 1)) > (float)out->options.epsilons[e];
            }
        }
    }
}

// Dormancy of one head: the mean over the queries that are no triggers, and over those that are.
static void add_dormancy(struct sinks_work *w, const struct sinks_prompt *p, size_t layer,
                         size_t head) {
    struct hw_sinks *out = w->out;
    size_t cell = (w->domain_of[p->index] * out->n_layers + layer) * out->n_heads + head;
    double sums[2] = {0};
    size_t n[2] = {0};
    for (size_t row = 0; row < p->n_tokens; row++) {
        sums[w->is_trigger[row]] += w->rows[row * out->n_heads + head];
        n[w->is_trigger[row]]++;
    }
    if (n[0] > 0) {
        hw_mean_add(&out->dormancy[cell], sums[0] / (double)n[0]);
    }
    if (n[1] > 0 && out->dormancy_trigger != NULL) {
        hw_mean_add(&out->dormancy_trigger[cell], sums[1] / (double)n[1]);
    }
}

// s[i, 0] = ln A[i, 0] + logsumexp; the mean over the others from the mean over all i + 1 keys. A
// weight of 0 in f32 hides the score, so such queries are left out.
static void add_seen_gap(struct sinks_work *w, const struct sinks_prompt *p, size_t layer,
                         size_t head) {
    struct hw_sinks *out = w->out;
    double sum = 0;
    size_t n = 0;
    for (size_t row = 1; row < p->n_tokens; row++) {
        size_t at = row * out->n_heads + head;
        double first = log((double)w->rows[at]) + (double)w->second[at];
        double others = ((double)(row + 1) * (double)w->third[at] - first) / (double)row;
        if (isfinite(first - others)) {
            sum += first - others;
            n++;
        }
    }
    if (n > 0) {
        hw_mean_add(&out->gap[HW_SINKS_GAP_SEEN][layer * out->n_heads + head], sum / (double)n);
    }
}

// Rows of attention_first in `rows`; logsumexp and score mean in `second` and `third` where wanted.
static enum hw_status add_first(struct sinks_work *w, const struct sinks_prompt *p,
                                struct hw_error *err) {
    struct hw_sinks *out = w->out;
    size_t hits[HW_SINKS_MAX_EPSILONS][HW_SINKS_MAX_LENGTHS] = {{0}};
    size_t n_seen = 0;
    bool has_gap = out->gap[HW_SINKS_GAP_SEEN] != NULL;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        enum hw_status status = read(w, p, HW_DS_ATTENTION_FIRST, layer, w->rows, err);
        if (status == HW_OK && has_gap) {
            status = read(w, p, HW_DS_ATTENTION_LOGSUMEXP, layer, w->second, err);
        }
        if (status == HW_OK && has_gap) {
            status = read(w, p, HW_DS_ATTENTION_SCORE_MEAN, layer, w->third, err);
        }
        if (status != HW_OK) {
            return status;
        }
        for (size_t head = 0; head < out->n_heads; head++) {
            bool is_recorded = !isnan(w->rows[head]);
            n_seen += is_recorded;
            if (is_recorded && out->options.n_lengths > 0) {
                add_lengths(w, p, head, hits);
            }
        }
#pragma omp parallel for num_threads(out->options.n_threads)
        for (size_t head = 0; head < out->n_heads; head++) {
            if (isnan(w->rows[head])) {
                continue;
            }
            add_dormancy(w, p, layer, head);
            if (has_gap) {
                add_seen_gap(w, p, layer, head);
            }
        }
    }
    for (size_t i = 0; i < out->options.n_lengths && n_seen > 0; i++) {
        for (size_t e = 0; e < out->options.n_epsilons && out->options.lengths[i] <= p->n_tokens;
             e++) {
            hw_mean_add(&out->length_rates[e][i], (double)hits[e][i] / (double)n_seen);
        }
    }
    return HW_OK;
}

// Without rows: the mean of A[i, 0] over all of them is the sink score.
static enum hw_status add_score(struct sinks_work *w, const struct sinks_prompt *p,
                                struct hw_error *err) {
    struct hw_sinks *out = w->out;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, HW_DS_SINK_SCORE, layer, p->index, 1, w->rows, err);
        if (status != HW_OK) {
            return status;
        }
        size_t first = (w->domain_of[p->index] * out->n_layers + layer) * out->n_heads;
        for (size_t head = 0; head < out->n_heads; head++) {
            if (!isnan(w->rows[head])) {
                hw_mean_add(&out->dormancy[first + head], w->rows[head]);
            }
        }
    }
    return HW_OK;
}

static enum hw_status add_row_entropy(struct sinks_work *w, const struct sinks_prompt *p,
                                      size_t layer, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    bool has_sum = hw_trace_has(w->trace, HW_DS_ATTENTION_ROW_SUM);
    enum hw_status status = read(w, p, HW_DS_ATTENTION_ENTROPY, layer, w->rows, err);
    if (status == HW_OK && has_sum) {
        status = read(w, p, HW_DS_ATTENTION_ROW_SUM, layer, w->second, err);
    }
    size_t n_heads = status == HW_OK ? out->n_heads : 0;
#pragma omp parallel for num_threads(out->options.n_threads)
    for (size_t head = 0; head < n_heads; head++) {
        double h = hw_entropy_rows(w->rows + head, has_sum ? w->second + head : NULL, out->n_heads,
                                   p->n_tokens);
        if (isfinite(h)) { // else the head was not recorded, or the capture is spoiled
            hw_mean_add(&out->entropy_row[layer * out->n_heads + head], h);
        }
    }
    return status;
}

static enum hw_status add_column_entropy(struct sinks_work *w, const struct sinks_prompt *p,
                                         size_t layer, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    enum hw_status status = read(w, p, HW_DS_ATTENTION_RECEIVED_ENTROPY, layer, w->rows, err);
    size_t n_heads = status == HW_OK ? out->n_heads : 0;
#pragma omp parallel for num_threads(out->options.n_threads)
    for (size_t head = 0; head < n_heads; head++) {
        double h = hw_entropy_columns(w->rows + head, out->n_heads, p->n_tokens);
        if (isfinite(h)) {
            hw_mean_add(&out->entropy_column[layer * out->n_heads + head], h);
        }
    }
    return status;
}

enum hw_status hw_sinks_add_rows(struct sinks_work *w, const struct sinks_prompt *p,
                                 struct hw_error *err) {
    bool has_first = hw_trace_has(w->trace, HW_DS_ATTENTION_FIRST);
    enum hw_status status = HW_OK;
    if (has_first) {
        status = add_first(w, p, err);
    } else if (hw_trace_has(w->trace, HW_DS_SINK_SCORE)) {
        status = add_score(w, p, err);
    }
    bool has_rows = hw_trace_has(w->trace, HW_DS_ATTENTION_ENTROPY);
    bool has_columns = hw_trace_has(w->trace, HW_DS_ATTENTION_RECEIVED_ENTROPY);
    for (size_t layer = 0; layer < w->out->n_layers && status == HW_OK; layer++) {
        if (has_rows) {
            status = add_row_entropy(w, p, layer, err);
        }
        if (status == HW_OK && has_columns) {
            status = add_column_entropy(w, p, layer, err);
        }
    }
    return status;
}
