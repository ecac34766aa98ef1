// Attention by its definition, in double, one row after another. Every other implementation is
// measured against this one.
#include "kernels/attention_internal.h"

void hw_register_attention_ref(struct hw_ops *ops);

// Of the head at work: its row, and its sums over the query rows.
struct ref_head {
    const struct hw_attention_args *args;
    size_t head;
    double *score;   // [n_keys] of the row
    double *p;       // [n_keys] of the row, 0 beyond the keys seen
    double *sum;     // [n_keys]
    double *max;     // [n_keys]
    double *p_log_p; // [n_keys]
    double *offset;  // [n_offsets]
    double *span;    // [n_spans, n_spans]
};

size_t hw_attention_ref_scratch(const struct hw_attention_args *args) {
    const struct hw_attention_request *request = &args->request;
    size_t n = 5 * args->n_keys + request->n_offsets + request->n_spans * request->n_spans;
    return (n + 1) * sizeof(double);
}

static double plogp(double p) {
    return p > 0 ? p * log(p) : 0;
}

static bool holds(const struct hw_span *span, size_t position) {
    for (size_t r = 0; r < span->n_ranges; r++) {
        if (position >= span->ranges[r].first && position < span->ranges[r].end) {
            return true;
        }
    }
    return false;
}

// Fills score and p of row i; returns the position of the largest score.
static size_t row_softmax(struct ref_head *at, size_t i, double *ret_sum) {
    const struct hw_attention_args *args = at->args;
    size_t n = attention_keys_seen(args, i);
    size_t kv_head = at->head / (args->n_heads / args->n_kv_heads);
    const float *q = args->q + i * args->q_stride + at->head * args->d_head;
    size_t best = 0;
    for (size_t j = 0; j < n; j++) {
        const float *k = args->k + j * args->k_stride + kv_head * args->d_head;
        double dot = 0;
        for (size_t c = 0; c < args->d_head; c++) {
            dot += (double)q[c] * k[c];
        }
        at->score[j] = dot * args->score_scale;
        if (at->score[j] > at->score[best]) {
            best = j;
        }
    }
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        at->p[j] = exp(at->score[j] - at->score[best]);
        sum += at->p[j];
    }
    for (size_t j = 0; j < args->n_keys; j++) {
        at->p[j] = j < n ? at->p[j] * (1 / sum) : 0;
    }
    *ret_sum = sum;
    return best;
}

static void store(float *out, size_t index, double value) {
    if (out != NULL) {
        out[index] = (float)value;
    }
}

static void row_statistics(const struct ref_head *at, size_t i, size_t best, double sum) {
    const struct hw_attention_args *args = at->args;
    const struct hw_attention_request *request = &args->request;
    size_t n = attention_keys_seen(args, i);
    size_t out = i * args->n_heads + at->head;
    double entropy = 0, score_sum = 0, row_sum = 0, distance = 0;
    for (size_t j = 0; j < n; j++) {
        entropy -= plogp(at->p[j]);
        score_sum += at->score[j];
        row_sum += at->p[j];
        distance += at->p[j] * (double)(n - 1 - j);
    }
    store(request->entropy, out, fmax(entropy, 0));
    store(request->max, out, at->p[best]);
    store(request->first, out, at->p[0]);
    store(request->logsumexp, out, at->score[best] + log(sum));
    store(request->score_mean, out, score_sum / (double)n);
    store(request->row_sum, out, row_sum);
    store(request->distance, out, distance);
    store(request->row_max, out, at->score[best]);
    store(request->row_inverse_sum, out, 1 / sum);
    if (request->argmax != NULL) {
        request->argmax[out] = (int32_t)best;
    }
}

// Selection, one rank after another: the largest score below the one before, ties by key.
static void row_top(const struct ref_head *at, size_t i) {
    const struct hw_attention_request *request = &at->args->request;
    size_t n = attention_keys_seen(at->args, i);
    size_t out = (i * at->args->n_heads + at->head) * request->n_top;
    size_t last = n;
    for (size_t rank = 0; rank < request->n_top; rank++) {
        size_t best = n;
        for (size_t j = 0; j < n; j++) {
            bool is_after = last == n || at->score[j] < at->score[last] ||
                            (at->score[j] == at->score[last] && j > last);
            if (is_after && (best == n || at->score[j] > at->score[best])) {
                best = j;
            }
        }
        bool is_there = rank < n && best < n;
        if (request->top_key != NULL) {
            request->top_key[out + rank] = is_there ? (int32_t)best : -1;
        }
        store(request->top_weight, out + rank, is_there ? at->p[best] : (double)NAN);
        last = best;
    }
}

static void row_maps(const struct ref_head *at, size_t i) {
    const struct hw_attention_args *args = at->args;
    const struct hw_attention_request *request = &args->request;
    size_t n = attention_keys_seen(args, i);
    size_t map_head;
    if (request->rows != NULL) {
        for (size_t j = 0; j < n; j++) {
            request->rows[(i * args->n_heads + at->head) * request->row_stride + j] =
                (float)at->p[j];
        }
    }
    if (!attention_map_head(request, at->head, &map_head)) {
        return;
    }
    void *pattern = attention_map_of(args, request->pattern, request->map_dtype, map_head);
    void *scores = attention_map_of(args, request->scores, request->score_dtype, map_head);
    size_t end = ((n - 1) / HW_MAP_TILE + 1) * HW_MAP_TILE;
    for (size_t j = 0; j < end; j++) {
        size_t index = attention_tile_index(n - 1, j);
        if (pattern != NULL) {
            attention_map_store(pattern, request->map_dtype, index,
                                j < args->n_keys ? (float)at->p[j] : NAN);
        }
        if (scores != NULL) {
            attention_map_store(scores, request->score_dtype, index,
                                j < n ? (float)at->score[j] : NAN);
        }
    }
}

static void row_sums(const struct ref_head *at, size_t i) {
    const struct hw_attention_request *request = &at->args->request;
    size_t n = attention_keys_seen(at->args, i);
    for (size_t j = 0; j < n; j++) {
        at->sum[j] += at->p[j];
        at->max[j] = fmax(at->max[j], at->p[j]);
        at->p_log_p[j] += plogp(at->p[j]);
    }
    for (size_t o = 0; o < request->n_offsets && o < n; o++) {
        at->offset[o] += at->p[n - 1 - o];
    }
    for (size_t a = 0; a < request->n_spans; a++) {
        for (size_t b = 0; holds(&request->spans[a], n - 1) && b < request->n_spans; b++) {
            for (size_t j = 0; j < n; j++) {
                if (holds(&request->spans[b], j)) {
                    at->span[a * request->n_spans + b] += at->p[j];
                }
            }
        }
    }
}

static void row_output(const struct ref_head *at, size_t i) {
    const struct hw_attention_args *args = at->args;
    size_t kv_head = at->head / (args->n_heads / args->n_kv_heads);
    for (size_t c = 0; args->z != NULL && c < args->d_head; c++) {
        double z = 0;
        for (size_t j = 0; j < attention_keys_seen(args, i); j++) {
            z += at->p[j] * args->v[j * args->v_stride + kv_head * args->d_head + c];
        }
        args->z[i * args->z_stride + at->head * args->d_head + c] = (float)z;
    }
}

static void head_statistics(const struct ref_head *at) {
    const struct hw_attention_args *args = at->args;
    const struct hw_attention_request *request = &args->request;
    for (size_t j = 0; j < args->n_keys; j++) {
        size_t out = j * args->n_heads + at->head;
        double c = at->sum[j];
        store(request->received_sum, out, c);
        store(request->received_max, out, at->max[j]);
        // -sum r ln r with r = p / c is ln c - (sum p ln p) / c.
        store(request->received_entropy, out, c > 0 ? fmax(log(c) - at->p_log_p[j] / c, 0) : 0);
    }
    for (size_t o = 0; o < request->n_offsets; o++) {
        store(request->offset, at->head * request->n_offsets + o, at->offset[o]);
    }
    size_t n_pairs = request->n_spans * request->n_spans;
    for (size_t s = 0; s < n_pairs; s++) {
        store(request->span, at->head * n_pairs + s, at->span[s]);
    }
}

static void attention_ref(const struct hw_exec *exec, const struct hw_attention_args *args) {
    const struct hw_attention_request *request = &args->request;
    size_t n = args->n_keys;
    size_t misfit = (uintptr_t)exec->scratch % sizeof(double);
    double *base = (double *)((char *)exec->scratch + (misfit > 0 ? sizeof(double) - misfit : 0));
    struct ref_head at = {.args = args,
                          .score = base,
                          .p = base + n,
                          .sum = base + 2 * n,
                          .max = base + 3 * n,
                          .p_log_p = base + 4 * n,
                          .offset = base + 5 * n,
                          .span = base + 5 * n + request->n_offsets};
    for (at.head = 0; at.head < args->n_heads; at.head++) {
        memset(base, 0, hw_attention_ref_scratch(args) - sizeof(double));
        for (size_t i = 0; i < args->n_queries; i++) {
            double sum;
            size_t best = row_softmax(&at, i, &sum);
            row_statistics(&at, i, best, sum);
            if (request->n_top > 0) {
                row_top(&at, i);
            }
            row_maps(&at, i);
            row_sums(&at, i);
            row_output(&at, i);
        }
        head_statistics(&at);
    }
    hw_attention_pad_tiles(args, request->pattern, request->map_dtype);
    hw_attention_pad_tiles(args, request->scores, request->score_dtype);
}

void hw_register_attention_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, attention, attention_ref);
}
