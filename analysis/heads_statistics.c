// Measures of heads from the recorded statistics of one prompt and layer; see heads.h.
#include <math.h>
#include <string.h>

#include "analysis/heads_internal.h"
#include "analysis/normalised_entropy.h"
#include "analysis/repeats.h"

// Adds measure by measure the means over rows that the capture holds for every prompt.
static enum hw_status add_means(struct heads_work *w, size_t prompt, size_t layer,
                                struct hw_error *err) {
    static const struct {
        enum hw_heads_measure measure;
        enum hw_dataset dataset;
    } rows[] = {
        {HW_HEADS_ENTROPY, HW_DS_ATTENTION_ENTROPY_MEAN},
        {HW_HEADS_FIRST, HW_DS_ATTENTION_FIRST_MEAN},
        {HW_HEADS_DISTANCE, HW_DS_ATTENTION_DISTANCE_MEAN},
        {HW_HEADS_LARGEST, HW_DS_ATTENTION_MAX_MEAN},
    };
    struct hw_heads *out = w->out;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum hw_status status =
            hw_trace_read_f32(w->trace, rows[i].dataset, layer, prompt, 1, w->means, err);
        if (status != HW_OK) {
            return status;
        }
        for (size_t head = 0; head < out->n_heads; head++) {
            hw_head_scores_add(&out->scores, rows[i].measure, layer * out->n_heads + head,
                               w->means[head]);
        }
    }
    return HW_OK;
}

// Previous token, self, and the whole curve, from attention_offset.
static enum hw_status add_offsets(struct heads_work *w, size_t prompt, size_t layer,
                                  struct hw_error *err) {
    struct hw_heads *out = w->out;
    size_t n_tokens = hw_trace_prompt(w->trace, prompt)->n_prompt_tokens;
    double t = (double)n_tokens;
    enum hw_status status =
        hw_trace_read_f32(w->trace, HW_DS_ATTENTION_OFFSET, layer, prompt, 1, w->offsets, err);
    if (status == HW_OK) {
        status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_ROW_SUM_MEAN, layer, prompt, 1,
                                   w->means, err);
    }
    for (size_t head = 0; head < out->n_heads && status == HW_OK; head++) {
        const float *offsets = w->offsets + head * out->n_offsets;
        size_t cell = layer * out->n_heads + head;
        double all = w->means[head] * t;
        for (size_t o = 0; o < out->n_offsets; o++) {
            hw_head_scores_add(&out->offsets, o, cell, offsets[o]);
        }
        hw_head_scores_add(&out->scores, HW_HEADS_SELF, cell, offsets[0]);
        if (out->n_offsets < 2) {
            continue;
        }
        double previous = offsets[1] * (t - 1);
        hw_head_scores_add(&out->scores, HW_HEADS_PREVIOUS, cell, previous / t);
        hw_head_scores_add(&out->scores, HW_HEADS_PREVIOUS_DIAGONAL, cell, offsets[1]);
        hw_head_scores_add(&out->scores, HW_HEADS_PREVIOUS_MUL, cell,
                           hw_detector_mul(previous, all));
        hw_head_scores_add(&out->scores, HW_HEADS_PREVIOUS_ABS, cell,
                           hw_detector_abs(previous, all, n_tokens - 1, n_tokens));
    }
    return status;
}

// Attention to spans, from all queries; Clark et al. also from and not from special tokens.
static enum hw_status add_spans(struct heads_work *w, size_t prompt, size_t layer,
                                struct hw_error *err) {
    struct hw_heads *out = w->out;
    size_t n_spans = w->n_spans;
    size_t special = w->span_special;
    double t = (double)hw_trace_prompt(w->trace, prompt)->n_prompt_tokens;
    size_t n_special = w->n_special;
    enum hw_status status =
        hw_trace_read_f32(w->trace, HW_DS_ATTENTION_SPAN, layer, prompt, 1, w->spans, err);
    for (size_t head = 0; head < out->n_heads && status == HW_OK; head++) {
        const float *matrix = w->spans + head * n_spans * n_spans;
        const float *all = matrix + w->span_all * n_spans;
        size_t cell = layer * out->n_heads + head;
        if (special != SIZE_MAX) {
            // The mass from others is what is left of all of it.
            double inside = n_special > 0 ? matrix[special * n_spans + special] : NAN;
            double mass = all[special] * t - (n_special > 0 ? inside * (double)n_special : 0);
            hw_head_scores_add(&out->scores, HW_HEADS_SPECIAL, cell, all[special]);
            hw_head_scores_add(&out->scores, HW_HEADS_SPECIAL_FROM_SPECIAL, cell, inside);
            hw_head_scores_add(&out->scores, HW_HEADS_SPECIAL_FROM_OTHERS, cell,
                               t > (double)n_special ? mass / (t - (double)n_special) : NAN);
        }
        if (w->span_punctuation != SIZE_MAX) {
            hw_head_scores_add(&out->scores, HW_HEADS_PUNCTUATION, cell, all[w->span_punctuation]);
        }
        for (size_t i = 0; i < out->n_measures - HW_N_HEADS_MEASURES; i++) {
            hw_head_scores_add(&out->scores, HW_N_HEADS_MEASURES + i, cell,
                               w->is_span_here[i] ? all[w->user_spans[i]] : NAN);
        }
    }
    return status;
}

// What needs every row: normalised entropies of rows and columns.
static enum hw_status add_rows(struct heads_work *w, size_t prompt, size_t layer,
                               struct hw_error *err) {
    struct hw_heads *out = w->out;
    const struct hw_trace_prompt *p = hw_trace_prompt(w->trace, prompt);
    size_t n_tokens = p->n_prompt_tokens;
    size_t n_heads = out->n_heads;
    enum hw_status status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_ENTROPY, layer,
                                              p->first_token, n_tokens, w->rows, err);
    if (status == HW_OK) {
        status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_ROW_SUM, layer, p->first_token,
                                   n_tokens, w->row_sums, err);
    }
    for (size_t head = 0; head < n_heads && status == HW_OK; head++) {
        hw_head_scores_add(&out->scores, HW_HEADS_ENTROPY_NORMALISED, layer * n_heads + head,
                           hw_entropy_rows(w->rows + head, w->row_sums + head, n_heads, n_tokens));
    }
    if (status == HW_OK) {
        status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_RECEIVED_ENTROPY, layer,
                                   p->first_token, n_tokens, w->rows, err);
    }
    for (size_t head = 0; head < n_heads && status == HW_OK; head++) {
        hw_head_scores_add(&out->scores, HW_HEADS_COLUMN_ENTROPY, layer * n_heads + head,
                           hw_entropy_columns(w->rows + head, n_heads, n_tokens));
    }
    return status;
}

enum hw_status hw_heads_begin_prompt(struct heads_work *work, size_t prompt, struct hw_error *err) {
    struct hw_heads *out = work->out;
    const struct hw_trace_prompt *p = hw_trace_prompt(work->trace, prompt);
    size_t n_user = out->n_measures - HW_N_HEADS_MEASURES;
    memset(work->is_span_here, 0, n_user * sizeof *work->is_span_here);
    for (size_t i = 0; i < hw_trace_n_spans(work->trace); i++) {
        const struct hw_trace_span *span = hw_trace_span(work->trace, i);
        for (size_t u = 0; u < n_user && span->prompt == p->prompt; u++) {
            work->is_span_here[u] |=
                span->end > span->first && strcmp(span->name, out->span_names[u]) == 0;
        }
    }
    enum hw_status status = hw_trace_read_i32(work->trace, HW_DS_TOKEN_IS_SPECIAL, 0,
                                              p->first_token, p->n_prompt_tokens, work->ids, err);
    work->n_special = 0;
    for (size_t t = 0; t < p->n_prompt_tokens && status == HW_OK; t++) {
        work->n_special += work->ids[t] != 0;
    }
    return status;
}

enum hw_status hw_heads_add_layer(struct heads_work *work, size_t prompt, size_t layer,
                                  struct hw_error *err) {
    enum hw_status status = add_means(work, prompt, layer, err);
    status = status == HW_OK ? add_offsets(work, prompt, layer, err) : status;
    if (status == HW_OK && hw_trace_has(work->trace, HW_DS_ATTENTION_SPAN) &&
        work->span_all != SIZE_MAX) {
        status = add_spans(work, prompt, layer, err);
    }
    if (status == HW_OK && hw_trace_has(work->trace, HW_DS_ATTENTION_ENTROPY)) {
        status = add_rows(work, prompt, layer, err);
    }
    return status;
}
