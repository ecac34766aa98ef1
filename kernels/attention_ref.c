// Attention by its definition, in double, one row after another. Every other implementation is
// measured against this one.
//
// Changes act on logarithms: a masked key's is -inf, a factor is added as its logarithm, and the
// weights of a row are the softmax of what results, over the sum that it was last divided by.
#include "kernels/attention_internal.h"

void hw_register_attention_ref(struct hw_ops *ops);

// Of the head at work: its row, and its sums over the query rows.
struct ref_head {
    const struct hw_attention_args *args;
    size_t head;
    double *score;   // [n_keys] of the row; masked keys: -inf
    double *rank;    // [n_keys] of the row: ln of its weights before they are divided by a sum
    double *p;       // [n_keys] of the row, 0 beyond the keys seen
    double *sum;     // [n_keys]
    double *max;     // [n_keys]
    double *p_log_p; // [n_keys]
    double *offset;  // [n_offsets]
    double *span;    // [n_spans, n_spans]
};

size_t hw_attention_ref_scratch(const struct hw_attention_args *args) {
    const struct hw_attention_request *request = &args->request;
    size_t n = 6 * args->n_keys + request->n_offsets + request->n_spans * request->n_spans;
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

// What the weights of a row are divided by, and what is left to say about them.
struct ref_row {
    size_t best;      // key of the largest weight
    bool is_empty;    // no key has any
    double score_max; // of the keys that are not masked
    double score_sum; // of exp(score - score_max)
    double zero;      // rank of a weight of 1 before it is divided: score_max, or 0 if put there
    double max;       // weights are exp(rank - max) / sum
    double sum;
    bool is_divided; // they sum to 1
};

static size_t best_of(const double *x, size_t n) {
    size_t best = 0;
    for (size_t j = 0; j < n; j++) {
        best = x[j] > x[best] ? j : best;
    }
    return best;
}

static double sum_of_exp(const double *x, size_t n, double max) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        sum += exp(x[j] - max);
    }
    return sum;
}

static bool is_changing(const struct ref_head *at, size_t c, size_t i) {
    const struct hw_attention_args *args = at->args;
    return attention_change_holds(&args->changes[c], at->head, args->query_first + i);
}

// Scores of row i with the first n keys.
static void dot_keys(const struct ref_head *at, const float *queries, size_t i, size_t n) {
    const struct hw_attention_args *args = at->args;
    size_t kv_head = at->head / (args->n_heads / args->n_kv_heads);
    const float *q = queries + i * args->q_stride + at->head * args->d_head;
    for (size_t j = 0; j < n; j++) {
        const float *k = args->k + j * args->k_stride + kv_head * args->d_head;
        double dot = 0;
        for (size_t c = 0; c < args->d_head; c++) {
            dot += (double)q[c] * k[c];
        }
        at->score[j] = dot * args->score_scale;
    }
}

static void change_scores(const struct ref_head *at, size_t i) {
    const struct hw_attention_args *args = at->args;
    size_t n = attention_keys_seen(args, i);
    for (size_t c = 0; c < args->n_changes; c++) {
        const struct hw_attention_change *change = &args->changes[c];
        if (is_changing(at, c, i) && change->kind == HW_CHANGE_WINDOW && change->q_sinks != NULL) {
            dot_keys(at, change->q_sinks, i, hw_size_min(change->n_sinks, n));
        }
    }
    for (size_t c = 0; c < args->n_changes; c++) {
        const struct hw_attention_change *change = &args->changes[c];
        for (size_t j = 0; is_changing(at, c, i) && j < n; j++) {
            bool is_meant = change->keys == NULL || change->keys[j] != 0;
            bool is_outside = j >= change->n_sinks && j + change->n_recent < n;
            if (attention_change_masks(change) ? is_meant
                                               : change->kind == HW_CHANGE_WINDOW && is_outside) {
                at->score[j] = -INFINITY;
            } else if (change->kind == HW_CHANGE_BIAS && is_meant) {
                at->score[j] += fminf(change->amount, HW_BIAS_LIMIT);
            }
        }
    }
}

// All of the row on one key, or evenly on those that are not masked.
static void override(const struct ref_head *at, const struct hw_attention_change *change,
                     size_t n) {
    for (size_t j = 0; j < n; j++) {
        bool is_meant = change->kind == HW_CHANGE_UNIFORM ||
                        (change->kind == HW_CHANGE_TO && j == change->key) ||
                        (change->kind == HW_CHANGE_IDENTITY && j == n - 1) ||
                        (change->kind == HW_CHANGE_PREVIOUS && j == (n > 1 ? n - 2 : 0));
        at->rank[j] = is_meant && at->score[j] != -INFINITY ? 0 : -INFINITY;
    }
}

static void divide_by_sum(const struct ref_head *at, size_t n, struct ref_row *row) {
    row->max = at->rank[best_of(at->rank, n)];
    row->sum = sum_of_exp(at->rank, n, row->max);
    row->is_divided = true;
}

static void change_weights(const struct ref_head *at, size_t i, struct ref_row *row) {
    const struct hw_attention_args *args = at->args;
    size_t n = attention_keys_seen(args, i);
    const struct hw_attention_change *last = NULL;
    for (size_t c = 0; c < args->n_changes; c++) {
        enum hw_attention_change_kind kind = args->changes[c].kind;
        bool is_override = kind == HW_CHANGE_UNIFORM || kind == HW_CHANGE_TO ||
                           kind == HW_CHANGE_IDENTITY || kind == HW_CHANGE_PREVIOUS;
        last = is_override && is_changing(at, c, i) ? &args->changes[c] : last;
    }
    if (last != NULL) {
        override(at, last, n);
        divide_by_sum(at, n, row);
        row->zero = 0;
    }
    for (size_t c = 0; c < args->n_changes; c++) {
        const struct hw_attention_change *change = &args->changes[c];
        if (change->kind != HW_CHANGE_SCALE || !is_changing(at, c, i)) {
            continue;
        }
        for (size_t j = 0; j < n; j++) {
            bool is_meant = change->keys == NULL || change->keys[j] != 0;
            at->rank[j] += is_meant ? log(change->amount) : 0;
        }
        row->is_divided = row->is_divided && change->amount == 1;
        if (change->is_renormalised) {
            divide_by_sum(at, n, row);
        }
    }
}

// Fills score, rank and p of row i.
static void row_softmax(const struct ref_head *at, size_t i, struct ref_row *row) {
    const struct hw_attention_args *args = at->args;
    size_t n = attention_keys_seen(args, i);
    dot_keys(at, args->q, i, n);
    change_scores(at, i);
    memcpy(at->rank, at->score, n * sizeof *at->rank);
    divide_by_sum(at, n, row);
    row->score_max = row->zero = row->max;
    row->score_sum = row->sum;
    change_weights(at, i, row);
    row->best = best_of(at->rank, n);
    row->is_empty = at->rank[row->best] == -INFINITY;
    for (size_t j = 0; j < args->n_keys; j++) {
        bool is_there = j < n && !row->is_empty;
        at->p[j] = is_there ? exp(at->rank[j] - row->max) * (1 / row->sum) : 0;
    }
}

static void store(float *out, size_t index, double value) {
    if (out != NULL) {
        out[index] = (float)value;
    }
}

static void row_statistics(const struct ref_head *at, size_t i, const struct ref_row *row) {
    const struct hw_attention_args *args = at->args;
    const struct hw_attention_request *request = &args->request;
    size_t n = attention_keys_seen(args, i);
    size_t out = i * args->n_heads + at->head;
    size_t n_kept = 0;
    double entropy = 0, score_sum = 0, row_sum = 0, distance = 0;
    for (size_t j = 0; j < n; j++) {
        entropy -= plogp(at->p[j]);
        score_sum += at->score[j] != -INFINITY ? at->score[j] : 0;
        n_kept += at->score[j] != -INFINITY;
        row_sum += at->p[j];
        distance += at->p[j] * (double)(n - 1 - j);
    }
    store(request->entropy, out, row->is_divided ? fmax(entropy, 0) : entropy);
    store(request->max, out, at->p[row->best]);
    store(request->first, out, at->p[0]);
    store(request->logsumexp, out,
          row->is_empty ? -INFINITY : row->score_max + log(row->score_sum));
    store(request->score_mean, out, n_kept > 0 ? score_sum / (double)n_kept : 0);
    store(request->row_sum, out, row_sum);
    store(request->distance, out, distance);
    store(request->row_max, out, row->is_empty ? 0 : row->score_max);
    store(request->row_inverse_sum, out,
          row->is_empty ? 0 : 1 / row->sum * exp(row->zero - row->max));
    if (request->argmax != NULL) {
        request->argmax[out] = row->is_empty ? -1 : (int32_t)row->best;
    }
}

// Selection, one place after another: the largest rank below the one before, ties by key.
static void row_top(const struct ref_head *at, size_t i) {
    const struct hw_attention_request *request = &at->args->request;
    size_t n = attention_keys_seen(at->args, i);
    size_t out = (i * at->args->n_heads + at->head) * request->n_top;
    size_t last = n;
    for (size_t rank = 0; rank < request->n_top; rank++) {
        size_t best = n;
        for (size_t j = 0; j < n; j++) {
            bool is_after = last == n || at->rank[j] < at->rank[last] ||
                            (at->rank[j] == at->rank[last] && j > last);
            if (is_after && (best == n || at->rank[j] > at->rank[best])) {
                best = j;
            }
        }
        bool is_there = rank < n && best < n && at->rank[best] != -INFINITY;
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
                                j < n && at->score[j] != -INFINITY ? (float)at->score[j] : NAN);
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
                          .rank = base + n,
                          .p = base + 2 * n,
                          .sum = base + 3 * n,
                          .max = base + 4 * n,
                          .p_log_p = base + 5 * n,
                          .offset = base + 6 * n,
                          .span = base + 6 * n + request->n_offsets};
    for (at.head = 0; at.head < args->n_heads; at.head++) {
        memset(base, 0, hw_attention_ref_scratch(args) - sizeof(double));
        for (size_t i = 0; i < args->n_queries; i++) {
            struct ref_row row;
            row_softmax(&at, i, &row);
            row_statistics(&at, i, &row);
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
    hw_attention_count_changed(args);
}

void hw_register_attention_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, attention, attention_ref);
}
