// Direct logit attribution; see attribution.h.
#include "probes/attribution.h"

#include <math.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/engine_internal.h"

void hw_attribution_take(struct hw_attribution *a, const struct hw_model *model,
                         struct hw_arena *arena) {
    const struct hw_model_desc *d = &model->desc;
    size_t width = d->n_heads * d->d_head;
    a->model = model;
    a->z = hw_arena_take(arena, d->n_layers * width, sizeof(float));
    a->mlp = hw_arena_take(arena, d->n_layers * d->d_model, sizeof(float));
    a->resid = hw_arena_take(arena, (d->n_layers + 1) * d->d_model, sizeof(float));
    a->head = hw_arena_take(arena, d->n_layers * d->n_heads, sizeof(float));
    a->mlp_share = hw_arena_take(arena, d->n_layers, sizeof(float));
    a->lens_logit = hw_arena_take(arena, d->n_layers + 1, sizeof(float));
    a->lens_rank = hw_arena_take(arena, d->n_layers + 1, sizeof(int32_t));
    a->direction = hw_arena_take(arena, d->d_model, sizeof(double));
    a->through = hw_arena_take(arena, width, sizeof(double));
    a->weights = hw_arena_take(arena, d->d_model * width, sizeof(float));
    a->row = hw_arena_take(arena, hw_size_max(width, d->d_model), sizeof(float));
    a->lens = hw_arena_take(arena, HW_LENS_ROWS * d->d_model, sizeof(float));
    a->logits = hw_arena_take(arena, HW_LENS_ROWS * d->n_vocab, sizeof(float));
}

void hw_attribution_see(struct hw_attribution *a, enum hw_site site, size_t layer,
                        const float *row) {
    const struct hw_model_desc *d = &a->model->desc;
    size_t width = d->n_heads * d->d_head;
    if (site == HW_SITE_Z) {
        memcpy(a->z + layer * width, row, width * sizeof(float));
    } else if (site == HW_SITE_MLP_OUT) {
        memcpy(a->mlp + layer * d->d_model, row, d->d_model * sizeof(float));
    } else {
        size_t depth = site == HW_SITE_EMBED ? 0 : layer + 1;
        memcpy(a->resid + depth * d->d_model, row, d->d_model * sizeof(float));
    }
}

// Row `id` of the unembedding as floats, times sign, added to the direction; its bias.
static double add_unembedding(struct hw_attribution *a, const struct hw_ops *ops, uint32_t id,
                              double sign) {
    const struct hw_linear_weights *unembed = &a->model->unembed;
    // One output of the matrix, whichever way the file has it.
    struct hw_weight w = unembed->w;
    uint32_t row = w.row_map != NULL ? w.row_map[id] : (uint32_t)w.first + id;
    w.row_map = &row;
    w.first = 0;
    w.n_out = 1;
    hw_weight_expand(ops, &w, a->row, a->lens);
    for (size_t c = 0; c < a->model->desc.d_model; c++) {
        a->direction[c] += sign * (double)a->lens[c];
    }
    return unembed->bias != NULL ? sign * (double)unembed->bias[id] : 0.0;
}

// 1 / denominator of the final norm for the row, in double.
static double norm_scale(const struct hw_model_desc *d, const float *x) {
    double mean = 0.0;
    double squares = 0.0;
    for (size_t c = 0; c < d->d_model; c++) {
        mean += (double)x[c];
    }
    mean = d->norm == HW_NORM_LAYER ? mean / (double)d->d_model : 0.0;
    for (size_t c = 0; c < d->d_model; c++) {
        double centred = (double)x[c] - mean;
        squares += centred * centred;
    }
    return 1.0 / sqrt(squares / (double)d->d_model + (double)d->norm_eps);
}

// Turns u into d of the header; returns what the biases of norm and unembedding give.
static double set_direction(struct hw_attribution *a, const struct hw_ops *ops, int64_t target,
                            int64_t foil) {
    const struct hw_model_desc *d = &a->model->desc;
    const struct hw_norm_weights *norm = &a->model->final_norm;
    memset(a->direction, 0, d->d_model * sizeof *a->direction);
    double bias = add_unembedding(a, ops, (uint32_t)target, 1.0);
    bias += foil >= 0 ? add_unembedding(a, ops, (uint32_t)foil, -1.0) : 0.0;
    double scale = norm_scale(d, a->resid + d->n_layers * d->d_model);
    double mean = 0.0;
    for (size_t c = 0; c < d->d_model; c++) {
        bias += norm->bias != NULL ? a->direction[c] * (double)norm->bias[c] : 0.0;
        a->direction[c] *= scale * (norm->weight != NULL ? (double)norm->weight[c] : 1.0);
        mean += a->direction[c];
    }
    mean = d->norm == HW_NORM_LAYER ? mean / (double)d->d_model : 0.0;
    for (size_t c = 0; c < d->d_model; c++) {
        a->direction[c] -= mean;
    }
    return bias;
}

static double along(const struct hw_attribution *a, const float *x) {
    double sum = 0.0;
    for (size_t c = 0; c < a->model->desc.d_model; c++) {
        sum += a->direction[c] * (double)x[c];
    }
    return sum;
}

// What each head of a layer gives: (W_O^T d) . z, head by head.
static void attribute_heads(struct hw_attribution *a, const struct hw_ops *ops, size_t layer) {
    const struct hw_model_desc *d = &a->model->desc;
    size_t width = d->n_heads * d->d_head;
    hw_weight_expand(ops, &a->model->layers[layer].o.w, a->row, a->weights);
    memset(a->through, 0, width * sizeof *a->through);
    for (size_t c = 0; c < d->d_model; c++) {
        const float *w = a->weights + c * width;
        for (size_t i = 0; i < width; i++) {
            a->through[i] += a->direction[c] * (double)w[i];
        }
    }
    const float *z = a->z + layer * width;
    for (size_t h = 0; h < d->n_heads; h++) {
        double sum = 0.0;
        for (size_t i = h * d->d_head; i < (h + 1) * d->d_head; i++) {
            sum += a->through[i] * (double)z[i];
        }
        a->head[layer * d->n_heads + h] = (float)sum;
    }
}

// The depths first .. first + n through the final norm and the unembedding.
static void look_through(struct hw_attribution *a, const struct hw_session *session, size_t first,
                         size_t n, const int64_t ids[2]) {
    const struct hw_model_desc *d = &a->model->desc;
    const struct hw_ops *ops = hw_session_ops(session);
    const struct hw_exec *exec = hw_session_exec(session);
    const struct hw_norm_weights *norm = &a->model->final_norm;
    const struct hw_linear_weights *unembed = &a->model->unembed;
    const float *x = a->resid + first * d->d_model;
    if (d->norm == HW_NORM_RMS) {
        ops->rms_norm(exec, x, n, d->d_model, norm->weight, d->norm_eps, a->lens, NULL);
    } else {
        ops->layer_norm(exec, x, n, d->d_model, norm->weight, norm->bias, d->norm_eps, a->lens,
                        NULL);
    }
    uint32_t targets[HW_LENS_ROWS] = {0};
    struct hw_unembed_out out = {.logits = a->logits};
    ops->unembed(exec, a->lens, n, d->d_model, &unembed->w, unembed->bias, targets, &out);
    for (size_t i = 0; i < n; i++) {
        const float *logits = a->logits + i * d->n_vocab;
        int32_t rank = 0;
        for (size_t v = 0; v < d->n_vocab; v++) {
            rank += logits[v] > logits[ids[0]];
        }
        a->lens_logit[first + i] = logits[ids[0]] - (ids[1] >= 0 ? logits[ids[1]] : 0);
        a->lens_rank[first + i] = rank;
    }
}

static void set_missing(struct hw_attribution *a) {
    const struct hw_model_desc *d = &a->model->desc;
    for (size_t i = 0; i < d->n_layers * d->n_heads; i++) {
        a->head[i] = NAN;
    }
    for (size_t i = 0; i <= d->n_layers; i++) {
        a->lens_logit[i] = NAN;
        a->lens_rank[i] = -1;
        if (i < d->n_layers) {
            a->mlp_share[i] = NAN;
        }
    }
    a->embedding = a->bias = a->logit = NAN;
}

void hw_attribution_finish(struct hw_attribution *a, const struct hw_session *session,
                           int64_t target, int64_t foil) {
    const struct hw_model_desc *d = &a->model->desc;
    const struct hw_ops *ops = hw_session_ops(session);
    if (target < 0) {
        set_missing(a);
        return;
    }
    double bias = set_direction(a, ops, target, foil);
    for (size_t layer = 0; layer < d->n_layers; layer++) {
        attribute_heads(a, ops, layer);
        a->mlp_share[layer] = (float)along(a, a->mlp + layer * d->d_model);
        const float *output_bias = a->model->layers[layer].o.bias;
        bias += output_bias != NULL ? along(a, output_bias) : 0.0;
    }
    a->embedding = (float)along(a, a->resid);
    a->bias = (float)bias;
    const int64_t ids[2] = {target, foil};
    for (size_t first = 0; first <= d->n_layers; first += HW_LENS_ROWS) {
        look_through(a, session, first, hw_size_min(d->n_layers + 1 - first, HW_LENS_ROWS), ids);
    }
    a->logit = a->lens_logit[d->n_layers];
}
