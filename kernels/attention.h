// The attention op: one entry for every mask, every statistic and every way of handing out maps.
//
// Scores are q.k * score_scale, then masked (causal: the query at position i sees keys 0..i). The
// forward computes
//     p[i, j] = exp(s[i, j] - row_max[i]) * row_inverse_sum[i]
// exactly so in every path, so that a map rebuilt from stored q, k, row_max and row_inverse_sum has
// the same bits. Query head h reads kv head h / (n_heads / n_kv_heads).
//
// Sums over queries (per key, offset, span) go through HW_ATTENTION_STRIPES stripes per head: the
// row blocks of a head are dealt to the stripes by their index, each stripe adds its own in rising
// order, the stripes are added in order. Which thread runs a stripe therefore changes no bit.
#ifndef HW_ATTENTION_H
#define HW_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HW_ATTENTION_STRIPES = 8,
    HW_MAP_TILE = 128, // edge of a map tile, in queries and keys
};

// Amounts of changes. The first leaves nothing of a score in float.
#define HW_BIAS_LIMIT 1e30f
#define HW_SCALE_LIMIT 1e30f

// A half-open range of key positions.
struct hw_range {
    uint32_t first;
    uint32_t end;
};

// A set of positions: n ranges in rising order, not touching.
struct hw_span {
    const struct hw_range *ranges;
    size_t n_ranges;
};

enum hw_map_dtype { HW_MAP_F32, HW_MAP_F16, HW_MAP_U16 }; // u16: round(p * 65534)

// What is wanted besides z. Every pointer may be NULL: not wanted, and then not computed.
struct hw_attention_request {
    // Per query row, [n_queries, n_heads].
    float *entropy;         // -sum_j p ln p, nats, 0 ln 0 = 0
    float *max;             // max_j p
    float *first;           // p[i, 0]
    float *logsumexp;       // ln sum_j exp(s)
    float *score_mean;      // mean of s over the keys that the query sees
    float *row_sum;         // sum_j p as computed
    float *distance;        // sum_j p |i - j|
    int32_t *argmax;        // key position of the largest s; ties: the lowest
    float *row_max;         // max_j s
    float *row_inverse_sum; // 1 / sum_j exp(s - row_max)
    // Per key, [n_keys, n_heads]; over the query rows of this call.
    float *received_sum;     // c_k = sum_i p[i, k], undivided
    float *received_max;     // max_i p[i, k]
    float *received_entropy; // -sum_i r ln r with r = p[i, k] / c_k; 0 where c_k = 0
    // Per head.
    float *offset; // [n_heads, n_offsets]: sum over i of p[i, i - o]
    size_t n_offsets;
    float *span; // [n_heads, n_spans, n_spans]: sum over queries of span a of their mass on span b
    const struct hw_span *spans;
    size_t n_spans;
    // The n_top strongest keys of every row, strongest first, ties: the lower key first; beyond the
    // keys seen: key -1, weight NaN.
    int32_t *top_key;  // [n_queries, n_heads, n_top]
    float *top_weight; // [n_queries, n_heads, n_top]
    size_t n_top;
    // Maps as tiles of HW_MAP_TILE x HW_MAP_TILE (query major), for the heads map_head_first .. +
    // map_n_heads. Tiles of one head in the order (0,0) (1,0) (1,1) (2,0) ...: tile (a, b), b <= a,
    // has index a (a + 1) / 2 + b; tiles of queries are counted from query position 0, so
    // query_first must be a multiple of HW_MAP_TILE or the rows before it are left untouched. Above
    // the diagonal inside the prompt: 0 (pattern), NaN (scores). Outside the prompt: NaN, or 65535
    // for u16.
    void *pattern; // [map_n_heads, n_tiles, 128, 128] of map_dtype
    void *scores;  // [map_n_heads, n_tiles, 128, 128] of score_dtype (f32 or f16), after scale
    enum hw_map_dtype map_dtype;
    enum hw_map_dtype score_dtype;
    size_t map_head_first;
    size_t map_n_heads;
    // One map row as plain f32, for decoding: [n_queries, n_heads, row_stride]; keys beyond the
    // row's own: untouched.
    float *rows;
    size_t row_stride;
};

// What an edit makes of the attention of some heads at some rows. Sets are bytes over positions of
// the prompt, 1: in it; NULL: all. Changes act in the order given within each of three stages:
//   scores    BIAS adds `amount` to the scores of the keys (-HW_BIAS_LIMIT and below: masks them);
//             BLOCK masks the keys; WINDOW masks what is neither among the first n_sinks keys nor
//             among the n_recent last ones that the query sees (itself counted). Scores that come
//             from q_sinks do so before the others act.
//   pattern   UNIFORM spreads the row evenly over the keys that are not masked; TO, IDENTITY and
//             PREVIOUS put all of it on key `key`, on the query itself, on the key before it (row
//             0: itself); the last of these that holds for a row wins, and a row whose one key is
//             masked or not seen is empty.
//   weights   SCALE multiplies the weights of the keys by `amount` (0 .. HW_SCALE_LIMIT); with
//             is_renormalised the row is then divided by its sum, else it sums to what it sums to.
// A row in which nothing is left is empty: z, weights, row_sum, max and entropy are 0, argmax is
// -1, row_max 0, row_inverse_sum 0, logsumexp -inf. Every statistic describes the weights as used;
// scores (score_mean, scores, row_max, logsumexp) are those after the first stage: score_mean is
// over the keys that are not masked (none: 0), `scores` NaN where a key is. Keys that are masked or
// whose weight is multiplied by 0 are not among the n_top. Weights are exp(s - row_max) times
// row_inverse_sum times the amounts, or row_inverse_sum where a change of the second stage put
// them. ln p of a weight is that of the weight itself; u16 maps hold weights above 1 as 1. A change
// that alters nothing (BIAS 0, SCALE 1, a window of full length) leaves every bit.
enum hw_attention_change_kind {
    HW_CHANGE_BIAS,
    HW_CHANGE_BLOCK,
    HW_CHANGE_WINDOW,
    HW_CHANGE_UNIFORM,
    HW_CHANGE_TO,
    HW_CHANGE_IDENTITY,
    HW_CHANGE_PREVIOUS,
    HW_CHANGE_SCALE
};

struct hw_attention_change {
    enum hw_attention_change_kind kind;
    const uint8_t *heads;   // [n_heads]
    const uint8_t *queries; // by position of the query
    const uint8_t *keys;    // by position of the key: BIAS, BLOCK, SCALE
    float amount;
    bool is_renormalised;
    size_t key;
    size_t n_sinks;
    size_t n_recent;
    // WINDOW in cache form: where not NULL, [n_queries, n_heads, d_head] with rows q_stride floats
    // apart, the queries turned to their place in the cache; the first n_sinks keys are scored with
    // these. Whoever runs makes them where is_cache_form is set; the op looks at the pointer only.
    // n_recent counts the query itself here too, so its place is min(position, n_sinks + n_recent -
    // 1).
    bool is_cache_form;
    const float *q_sinks;
};

struct hw_attention_args {
    const float *q; // [n_queries, n_heads, d_head], rows q_stride floats apart, after rotation
    const float *k; // [n_keys, n_kv_heads, d_head], rows k_stride apart, after rotation
    const float *v; // [n_keys, n_kv_heads, d_head], rows v_stride apart; not read where z is NULL
    float *z; // [n_queries, n_heads, d_head], rows z_stride apart; NULL: statistics or maps only
    size_t q_stride; // in floats
    size_t k_stride;
    size_t v_stride;
    size_t z_stride;
    size_t n_queries;
    size_t n_keys; // query_first + n_queries
    size_t n_heads;
    size_t n_kv_heads;
    size_t d_head;
    size_t query_first; // position of row 0 of q
    float score_scale;
    const struct hw_attention_change *changes; // [n_changes]
    size_t n_changes;
    // Pairs of change and row of a head that the change held for are added here; may be NULL.
    uint64_t *n_changed;
    struct hw_attention_request request;
};

#endif
