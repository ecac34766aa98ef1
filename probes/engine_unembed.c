// What the declarations at the unembedding do: loss, strongest predictions, logits.
//
// The prediction made at row i is scored against the token at i + 1. For the last row of a pass
// that token is not there yet; generation is greedy, so it will be the strongest one.
#include <math.h>
#include <string.h>

#include "probes/engine_internal.h"

bool hw_engine_unembed(void *self, const struct hw_site_event *rows, struct hw_unembed_out *out) {
    struct hw_engine *e = self;
    size_t at = rows->row_first - rows->pass_first;
    bool is_scored = e->has[HW_REDUCE_LOGPROB] || e->has[HW_REDUCE_NEXT_ENTROPY] ||
                     e->has[HW_REDUCE_NEXT_TOP] || e->has[HW_REDUCE_PROMPT_LOSS];
    if (is_scored) {
        out->log_z = e->log_z + at;
        out->target_logit = e->target_logit + at;
        out->entropy = e->next_entropy + at;
        out->n_top = e->config.layout->n_rank > 0 ? e->config.layout->n_rank : 1;
        out->top_id = e->next_top_id + at * out->n_top;
        out->top_logit = e->next_top_logit + at * out->n_top;
    }
    if (e->has[HW_REDUCE_LOGITS]) {
        bool is_wanted = e->config.positions == NULL;
        for (size_t i = 0; i < rows->n_rows && !is_wanted; i++) {
            is_wanted = e->is_recorded[rows->row_first + i];
        }
        out->logits = is_wanted ? e->logits : NULL;
    }
    return is_scored || out->logits != NULL;
}

static enum hw_status append(struct hw_engine *e, enum hw_dataset dataset, size_t n,
                             const void *rows, struct hw_error *err) {
    if (!e->config.layout->has[dataset]) {
        return HW_OK;
    }
    return e->destination->ops->append(e->destination, dataset, 0, n, rows, err);
}

static enum hw_status put_scores(struct hw_engine *e, const struct hw_site_event *rows,
                                 struct hw_error *err) {
    size_t n = rows->n_tokens;
    size_t n_top = e->config.layout->n_rank > 0 ? e->config.layout->n_rank : 1;
    double sum = 0.0;
    e->logprob[0] = rows->pass_first == 0 ? NAN : e->next_logprob;
    for (size_t i = 1; i < n; i++) {
        e->logprob[i] = e->target_logit[i - 1] - e->log_z[i - 1];
        sum += (double)e->logprob[i];
    }
    e->next_logprob = e->next_top_logit[(n - 1) * n_top] - e->log_z[n - 1];
    enum hw_status status = append(e, HW_DS_TOKEN_LOGPROB, n, e->logprob, err);
    status = status == HW_OK ? append(e, HW_DS_NEXT_ENTROPY, n, e->next_entropy, err) : status;
    status = status == HW_OK ? append(e, HW_DS_NEXT_TOP_ID, n, e->next_top_id, err) : status;
    status = status == HW_OK ? append(e, HW_DS_NEXT_TOP_LOGIT, n, e->next_top_logit, err) : status;
    if (status == HW_OK && rows->pass_first == 0) {
        float loss = n > 1 ? (float)(-sum / (double)(n - 1)) : NAN;
        status = append(e, HW_DS_PROMPT_LOSS, 1, &loss, err);
    }
    return status;
}

enum hw_status hw_engine_unembed_done(void *self, const struct hw_site_event *rows,
                                      const struct hw_unembed_out *out, struct hw_error *err) {
    struct hw_engine *e = self;
    enum hw_status status = HW_OK;
    if (out->logits != NULL) {
        struct hw_put put = {.dataset = HW_DS_LOGITS_LOGITS,
                             .first = rows->row_first,
                             .n = rows->n_rows,
                             .ld = e->config.layout->n_vocab,
                             .data = e->logits,
                             .is_narrowed = true};
        status = hw_engine_put(e, &put, err);
    }
    bool is_last = rows->row_first + rows->n_rows == rows->pass_first + rows->n_tokens;
    if (status == HW_OK && is_last && out->log_z != NULL) {
        status = put_scores(e, rows, err);
    }
    return status;
}
