// The published logit gaps of the sink (Guo et al., D4); see enum hw_sinks_gap. From
// /attention_vectors both need O(T d) work: the mean of q_i k_j over keys j is q_i times the mean
// key.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/sinks_internal.h"
#include "kernels/size.h"

enum { TILE = 128, BLOCK = 128 };

void hw_sinks_plan_gaps(struct sinks_work *w) {
    struct hw_sinks *out = w->out;
    const struct hw_trace *trace = w->trace;
    bool has_vectors = hw_trace_has(trace, HW_DS_ATTENTION_VECTORS_QUERY) &&
                       hw_trace_has(trace, HW_DS_ATTENTION_VECTORS_KEY) &&
                       hw_trace_has(trace, HW_DS_ATTENTION_VECTORS_SCORE_SCALE);
    if (!out->options.is_gap_wanted) {
        for (int g = 0; g < HW_SINKS_N_GAPS; g++) {
            out->gap_why_not[g] = "not asked for";
        }
        return;
    }
    if (!has_vectors && !hw_trace_has(trace, HW_DS_ATTENTION_SCORES)) {
        out->gap_why_not[HW_SINKS_GAP_TOY] = "needs --record attention_scores or attention_vectors";
    }
    if (!has_vectors) {
        out->gap_why_not[HW_SINKS_GAP_LLM] = "needs --record attention_vectors";
    }
    if (!hw_trace_has(trace, HW_DS_ATTENTION_FIRST) ||
        !hw_trace_has(trace, HW_DS_ATTENTION_LOGSUMEXP) ||
        !hw_trace_has(trace, HW_DS_ATTENTION_SCORE_MEAN)) {
        out->gap_why_not[HW_SINKS_GAP_SEEN] =
            "needs attention statistics of single tokens (--record attention)";
    }
}

static void add_mean(struct hw_sinks *out, enum hw_sinks_gap gap, size_t layer, size_t head,
                     double sum, size_t n) {
    if (n > 0 && isfinite(sum)) {
        hw_mean_add(&out->gap[gap][layer * out->n_heads + head], sum / (double)n);
    }
}

// One head's score map, a row of tiles at a time.
static enum hw_status add_map(struct sinks_work *w, const struct sinks_prompt *p,
                              const struct hw_map_place *place, float *tile, double *ret_sum,
                              struct hw_error *err) {
    double total = 0;
    for (size_t a = 0; a * TILE < p->n_tokens; a++) {
        double first[TILE] = {0};
        double sums[TILE] = {0};
        size_t n_rows = hw_size_min(TILE, p->n_tokens - a * TILE);
        for (size_t b = 0; b <= a; b++) {
            enum hw_status status = hw_trace_read_tile(w->trace, place, a, b, tile, err);
            if (status != HW_OK) {
                return status;
            }
            for (size_t r = 0; r < n_rows; r++) {
                for (size_t c = 0; c < TILE && b * TILE + c < a * TILE + r; c++) {
                    double score = (double)tile[r * TILE + c];
                    if (b * TILE + c == 0) {
                        first[r] = score;
                    } else {
                        sums[r] += score;
                    }
                }
            }
        }
        for (size_t r = 0; r < n_rows; r++) {
            size_t i = a * TILE + r;
            total += i >= 2 ? first[r] - sums[r] / (double)(i - 1) : 0;
        }
    }
    *ret_sum = total;
    return HW_OK;
}

static enum hw_status add_maps(struct sinks_work *w, const struct sinks_prompt *p,
                               struct hw_error *err) {
    struct hw_sinks *out = w->out;
    enum hw_status status = HW_OK;
    float *tile = malloc(TILE * TILE * sizeof *tile);
    if (tile == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a tile");
    }
    for (size_t i = 0; i < out->n_layers * out->n_heads && status == HW_OK; i++) {
        size_t layer = i / out->n_heads;
        size_t head = i % out->n_heads;
        int64_t at_layer =
            hw_trace_find(w->trace, HW_GROUP_ATTENTION, HW_AXIS_LAYER, out->layers[layer]);
        int64_t at_head =
            hw_trace_find(w->trace, HW_GROUP_ATTENTION, HW_AXIS_HEAD, out->heads[head]);
        double sum;
        if (at_layer < 0 || at_head < 0) {
            continue;
        }
        struct hw_map_place place = {HW_DS_ATTENTION_SCORES, p->index, (size_t)at_layer,
                                     (size_t)at_head};
        status = add_map(w, p, &place, tile, &sum, err);
        if (status == HW_OK && p->n_tokens > 2) {
            add_mean(out, HW_SINKS_GAP_TOY, layer, head, sum, p->n_tokens - 2);
        }
    }
    free(tile);
    return status;
}

// One layer's vectors of one prompt, and what is summed over them.
struct vectors {
    size_t layer; // on the axis of the vectors
    size_t n_heads;
    size_t n_kv_heads;
    size_t width;  // of a head
    float *query;  // [BLOCK, n_heads, width]
    size_t *kv_of; // [n_heads] the key/value head that a head reads
    float *key;    // [BLOCK, n_kv_heads, width]
    double *first; // [n_kv_heads, width] k_0
    double *mean;  // mean over all keys
    double *sum;   // over keys 1 .. i - 1
    double *toy;   // [n_heads] sums over queries
    double *llm;
};

static void free_vectors(struct vectors *v) {
    free(v->query);
    free(v->kv_of);
    free(v->first);
}

// A narrowed record may lack the kv head of a head: n_kv_heads then.
static void find_kv_heads(struct sinks_work *w, const struct hw_group_axes *axes,
                          struct vectors *v) {
    const struct hw_layout *layout = hw_trace_layout(w->trace);
    size_t group = hw_size_max(1, layout->n_heads / hw_size_max(1, layout->n_kv_heads));
    for (size_t h = 0; h < v->n_heads; h++) {
        int64_t at = hw_trace_find(w->trace, HW_GROUP_ATTENTION_VECTORS, HW_AXIS_KV_HEAD,
                                   (int32_t)((size_t)axes->heads[h] / group));
        v->kv_of[h] = at < 0 ? v->n_kv_heads : (size_t)at;
    }
}

static enum hw_status open_vectors(struct sinks_work *w, struct vectors *v, struct hw_error *err) {
    const struct hw_group_axes *axes =
        &hw_trace_layout(w->trace)->groups[HW_GROUP_ATTENTION_VECTORS];
    size_t n_query = hw_trace_n_inner(w->trace, HW_DS_ATTENTION_VECTORS_QUERY);
    size_t n_key = hw_trace_n_inner(w->trace, HW_DS_ATTENTION_VECTORS_KEY);
    size_t n_block;
    v->n_heads = axes->n_heads;
    v->n_kv_heads = axes->n_kv_heads;
    v->width = n_key / hw_size_max(1, v->n_kv_heads);
    if (v->width == 0 || n_query != v->n_heads * v->width || n_key != v->n_kv_heads * v->width) {
        return hw_fail(err, HW_INPUT,
                       "%s: query and key vectors do not agree (expected %zu and %zu values, "
                       "found %zu and %zu)",
                       hw_trace_path(w->trace), v->n_heads * v->width, v->n_kv_heads * v->width,
                       n_query, n_key);
    }
    if (hw_size_mul(n_query + n_key, BLOCK, &n_block)) {
        v->query = calloc(n_block, sizeof *v->query);
        v->first = calloc(3 * n_key + 2 * v->n_heads, sizeof *v->first);
        v->kv_of = calloc(v->n_heads + 1, sizeof *v->kv_of);
    }
    if (v->query == NULL || v->first == NULL || v->kv_of == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the vectors of %d tokens",
                       (int)BLOCK);
    }
    v->key = v->query + n_query * BLOCK;
    v->mean = v->first + n_key;
    v->sum = v->mean + n_key;
    v->toy = v->sum + n_key;
    v->llm = v->toy + v->n_heads;
    find_kv_heads(w, axes, v);
    return HW_OK;
}

static enum hw_status read_means(struct sinks_work *w, const struct sinks_prompt *p,
                                 struct vectors *v, struct hw_error *err) {
    size_t n_key = v->n_kv_heads * v->width;
    memset(v->mean, 0, n_key * sizeof *v->mean);
    for (size_t row = 0; row < p->n_tokens; row += BLOCK) {
        size_t n = hw_size_min(BLOCK, p->n_tokens - row);
        enum hw_status status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_VECTORS_KEY, v->layer,
                                                  p->prompt->first_token + row, n, v->key, err);
        if (status != HW_OK) {
            return status;
        }
        for (size_t i = 0; i < n * n_key; i++) {
            if (row == 0 && i < n_key) {
                v->first[i] = (double)v->key[i];
            }
            v->mean[i % n_key] += (double)v->key[i];
        }
    }
    for (size_t i = 0; i < n_key; i++) {
        v->mean[i] /= (double)p->n_tokens;
    }
    return HW_OK;
}

// The gaps of query i, whose vectors are row r of the block; then key i joins the sum.
static void add_query(struct vectors *v, size_t i, size_t r) {
    size_t n_key = v->n_kv_heads * v->width;
    for (size_t h = 0; h < v->n_heads; h++) {
        const float *q = v->query + (r * v->n_heads + h) * v->width;
        size_t at = v->kv_of[h] * v->width;
        if (v->kv_of[h] == v->n_kv_heads) {
            continue;
        }
        double first = 0;
        double mean = 0;
        double sum = 0;
        for (size_t c = 0; c < v->width; c++) {
            first += (double)q[c] * v->first[at + c];
            mean += (double)q[c] * v->mean[at + c];
            sum += (double)q[c] * v->sum[at + c];
        }
        v->llm[h] += first - mean;
        v->toy[h] += i >= 2 ? first - sum / (double)(i - 1) : 0;
    }
    for (size_t c = 0; c < n_key && i >= 1; c++) {
        v->sum[c] += (double)v->key[r * n_key + c];
    }
}

static enum hw_status add_layer(struct sinks_work *w, const struct sinks_prompt *p,
                                struct vectors *v, struct hw_error *err) {
    enum hw_status status = read_means(w, p, v, err);
    memset(v->sum, 0, v->n_kv_heads * v->width * sizeof *v->sum);
    memset(v->toy, 0, 2 * v->n_heads * sizeof *v->toy);
    for (size_t row = 0; row < p->n_tokens && status == HW_OK; row += BLOCK) {
        size_t n = hw_size_min(BLOCK, p->n_tokens - row);
        size_t at = p->prompt->first_token + row;
        status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_VECTORS_QUERY, v->layer, at, n,
                                   v->query, err);
        if (status == HW_OK) {
            status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_VECTORS_KEY, v->layer, at, n,
                                       v->key, err);
        }
        for (size_t r = 0; r < n && status == HW_OK; r++) {
            add_query(v, row + r, r);
        }
    }
    return status;
}

// Whether scores are plain products: no soft cap, no window, no slopes. The scale is theirs.
static enum hw_status read_scale(struct sinks_work *w, const struct vectors *v, float *ret_scale,
                                 bool *ret_is_plain, struct hw_error *err) {
    size_t layer = v->layer;
    float cap = 0;
    int32_t window = 0;
    bool has_slopes = false;
    enum hw_status status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_VECTORS_SCORE_SCALE, 0,
                                              layer, 1, ret_scale, err);
    if (status == HW_OK && hw_trace_has(w->trace, HW_DS_ATTENTION_VECTORS_SOFT_CAP)) {
        status =
            hw_trace_read_f32(w->trace, HW_DS_ATTENTION_VECTORS_SOFT_CAP, 0, layer, 1, &cap, err);
    }
    if (status == HW_OK && hw_trace_has(w->trace, HW_DS_ATTENTION_VECTORS_WINDOW)) {
        status =
            hw_trace_read_i32(w->trace, HW_DS_ATTENTION_VECTORS_WINDOW, 0, layer, 1, &window, err);
    }
    if (status == HW_OK && hw_trace_has(w->trace, HW_DS_ATTENTION_VECTORS_ALIBI_SLOPE)) {
        status = hw_trace_read_f32(w->trace, HW_DS_ATTENTION_VECTORS_ALIBI_SLOPE, 0, layer, 1,
                                   v->query, err);
        for (size_t h = 0; h < v->n_heads && status == HW_OK; h++) {
            has_slopes |= v->query[h] != 0;
        }
    }
    *ret_is_plain = cap == 0 && window == 0 && !has_slopes;
    return status;
}

static enum hw_status add_vectors(struct sinks_work *w, const struct sinks_prompt *p, bool has_toy,
                                  struct hw_error *err) {
    struct hw_sinks *out = w->out;
    const struct hw_group_axes *axes =
        &hw_trace_layout(w->trace)->groups[HW_GROUP_ATTENTION_VECTORS];
    struct vectors v = {0};
    enum hw_status status = open_vectors(w, &v, err);
    for (size_t layer = 0; layer < out->n_layers && status == HW_OK; layer++) {
        int64_t at =
            hw_trace_find(w->trace, HW_GROUP_ATTENTION_VECTORS, HW_AXIS_LAYER, out->layers[layer]);
        float scale = 0;
        bool is_plain = false;
        if (at < 0) {
            continue;
        }
        v.layer = (size_t)at;
        status = read_scale(w, &v, &scale, &is_plain, err);
        if (status == HW_OK && is_plain) {
            status = add_layer(w, p, &v, err);
        }
        for (size_t h = 0; h < v.n_heads && is_plain && status == HW_OK; h++) {
            int64_t head = hw_trace_find(w->trace, HW_GROUP_ROOT, HW_AXIS_HEAD, axes->heads[h]);
            if (head < 0 || v.kv_of[h] == v.n_kv_heads) {
                continue;
            }
            add_mean(out, HW_SINKS_GAP_LLM, layer, (size_t)head, (double)scale * v.llm[h],
                     p->n_tokens);
            if (has_toy && p->n_tokens > 2) {
                add_mean(out, HW_SINKS_GAP_TOY, layer, (size_t)head, (double)scale * v.toy[h],
                         p->n_tokens - 2);
            }
        }
    }
    free_vectors(&v);
    return status;
}

enum hw_status hw_sinks_add_gaps(struct sinks_work *w, const struct sinks_prompt *p,
                                 struct hw_error *err) {
    bool has_scores = hw_trace_has(w->trace, HW_DS_ATTENTION_SCORES);
    enum hw_status status = HW_OK;
    if (w->out->gap[HW_SINKS_GAP_TOY] != NULL && has_scores) {
        status = add_maps(w, p, err);
    }
    if (status == HW_OK && w->out->gap[HW_SINKS_GAP_LLM] != NULL) {
        status = add_vectors(w, p, !has_scores, err);
    }
    return status;
}
