// What the implementations of attention share: how maps are laid out and numbers stored in them,
// the plan of a call, and the buffers that one block of rows works in.
//
// A block is up to ATTENTION_ROWS query rows against all keys that they see. Its scores and weights
// lie in two buffers [row, key] that stay in the second-level cache: scores, exact softmax, z and
// every statistic are taken there, chunk by chunk of keys.
#ifndef HW_ATTENTION_INTERNAL_H
#define HW_ATTENTION_INTERNAL_H

#include <math.h>
#include <string.h>

#include "kernels/ops.h"
#include "kernels/size.h"

// Keys that query row i of the call sees: 0 .. this - 1.
static inline size_t attention_keys_seen(const struct hw_attention_args *args, size_t i) {
    return args->query_first + i + 1;
}

// Index of value (query, key) of a head's tiles; both are positions, key's tile is not right of the
// query's.
static inline size_t attention_tile_index(size_t query, size_t key) {
    size_t a = query / HW_MAP_TILE;
    size_t tile = a * (a + 1) / 2 + key / HW_MAP_TILE;
    return (tile * HW_MAP_TILE + query % HW_MAP_TILE) * HW_MAP_TILE + key % HW_MAP_TILE;
}

// Values in the tiles of one head.
static inline size_t attention_map_values(const struct hw_attention_args *args) {
    size_t n = hw_size_div_up(args->n_keys, HW_MAP_TILE);
    return n * (n + 1) / 2 * HW_MAP_TILE * HW_MAP_TILE;
}

static inline size_t attention_map_value_bytes(enum hw_map_dtype dtype) {
    return dtype == HW_MAP_F32 ? 4 : 2;
}

// Whether the head's maps were asked for, and which one it is among them.
static inline bool attention_map_head(const struct hw_attention_request *request, size_t head,
                                      size_t *ret_index) {
    *ret_index = head - request->map_head_first;
    return head >= request->map_head_first && *ret_index < request->map_n_heads;
}

// The first value of the tiles of one of the heads of a map; NULL where there is no map.
static inline void *attention_map_of(const struct hw_attention_args *args, void *map,
                                     enum hw_map_dtype dtype, size_t map_head) {
    if (map == NULL) {
        return NULL;
    }
    return (char *)map + map_head * attention_map_values(args) * attention_map_value_bytes(dtype);
}

// IEEE half, round to nearest, ties to even.
static inline uint16_t attention_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00);
    }
    if (magnitude >= 0x477ff000) { // rounds past the largest half
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude < 0x38800000) { // subnormal: adding 0.5 leaves the rounded value in the low bits
        float shifted;
        memcpy(&shifted, &magnitude, sizeof shifted);
        shifted += 0.5f;
        memcpy(&magnitude, &shifted, sizeof magnitude);
        return (uint16_t)(sign | (magnitude - 0x3f000000));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

// Stores x at map[at]; in u16 NaN becomes 65535 and what is above 1 counts as 1.
static inline void attention_map_store(void *map, enum hw_map_dtype dtype, size_t at, float x) {
    if (dtype == HW_MAP_F32) {
        ((float *)map)[at] = x;
    } else if (dtype == HW_MAP_F16) {
        ((uint16_t *)map)[at] = attention_half(x);
    } else {
        ((uint16_t *)map)[at] = isnan(x) ? UINT16_MAX : (uint16_t)rintf(fminf(x, 1) * 65534.0f);
    }
}

// Whether the change holds for the head at the position of a query.
static inline bool attention_change_holds(const struct hw_attention_change *change, size_t head,
                                          size_t position) {
    return (change->heads == NULL || change->heads[head] != 0) &&
           (change->queries == NULL || change->queries[position] != 0);
}

// Whether it masks the keys that it names: a bias that no score comes back from does too.
static inline bool attention_change_masks(const struct hw_attention_change *change) {
    return change->kind == HW_CHANGE_BLOCK ||
           (change->kind == HW_CHANGE_BIAS && change->amount <= -HW_BIAS_LIMIT);
}

enum {
    ATTENTION_ROWS = 24,   // rows of a block at most
    ATTENTION_PANEL = 32,  // keys of a panel: packed keys are [panel, d_head, 32]
    ATTENTION_CHUNK = 128, // keys that z and the key statistics take at a time
    ATTENTION_LANES = 16,  // channels of packed values are padded to a multiple of this
    ATTENTION_MARK =
        128, // keys from mark to mark of the rows' maxima so far, for finding them again
    ATTENTION_LONG = 8192, // beyond this many keys blocks have half the rows
};

// What the inner loops are specialised for.
struct attention_wants {
    bool row_statistics; // sums along the rows besides the one of the softmax
    bool log_sum;        // of a row's exponentials
    bool top;
    bool maps;
    bool offsets;
    bool spans;
    bool key_sum; // the next two include it
    bool key_max; // the next one includes it
    bool key_entropy;
};

struct attention_plan {
    const struct hw_attention_args *args;
    struct attention_wants wants;
    size_t n_rows;     // query rows of a block
    size_t n_blocks;   // of a head
    size_t n_stripes;  // that have blocks
    size_t group;      // query heads of a kv head
    size_t n_together; // heads of a group that one block takes, > 1 only where all query rows fit
                       // beside each other
    size_t n_batch;    // kv heads in work at a time
    size_t n_keys_pad; // n_keys up to a whole number of panels
    size_t d_pad;      // d_head up to a whole number of lanes
    size_t ld;         // floats from row to row of the block buffers
    bool is_packed;    // keys and values are packed once, for all blocks
    bool changes_weights; // changes act after the softmax
    bool is_apart;        // scores are needed beside the weights
};

// Sums over the query rows of one stripe of one head. What is not wanted is NULL.
struct attention_sums {
    float *sum;     // [n_keys_pad] sum of p
    float *max;     // [n_keys_pad] max of p
    float *p_log_p; // [n_keys_pad] sum of p ln p
    double *offset; // [n_offsets]
    double *span;   // [n_spans, n_spans]
};

// One thread's buffers and the task that it is at.
struct attention_work {
    float *score;      // [n_rows, ld]; the same as weight where plan->is_apart is not set
    float *weight;     // [n_rows, ld] exp(s - row_max)
    float *q;          // [n_rows, d_head] scaled
    float *z;          // [n_rows, d_pad]
    float *panel;      // [d_head, ATTENTION_PANEL], where keys are packed on the way
    float *chunk;      // [ATTENTION_CHUNK, d_pad], where values are padded on the way
    float *span_sum;   // [n_spans, n_keys_pad] sum of p over the rows of a span
    size_t *span_end;  // [n_spans] keys that span_sum holds sums of
    float *offset_sum; // [n_offsets] of the rows of a head in a block, the largest offset first
    int32_t *top_key;  // [ATTENTION_ROWS, n_top]
    float *top_score;  // [ATTENTION_ROWS, n_top]
    float *marks; // [mark, ATTENTION_ROWS, ATTENTION_LANES] maxima of the keys before each mark,
                  // lane by lane
    const float *keys;   // of the kv head, packed
    const float *values; // of the kv head, packed
    size_t head_first;   // of the task's n_heads heads
    size_t n_heads;
    struct attention_sums sums[ATTENTION_ROWS]; // of the task's heads
};

// One row of a block while it is in work.
struct attention_row {
    size_t n_seen;
    size_t out;   // index in [n_queries, n_heads]
    size_t query; // row of the call
    size_t head;
    float max;         // of the scores
    float inverse_sum; // 1 / sum exp(s - max)
    float log_sum;     // ln sum exp(s - max)
    // Where a change holds, else as follows.
    bool is_changed;
    size_t n_kept;    // keys that are seen and not masked: n_seen
    float score_mean; // over these; not set where n_kept is n_seen
    float peak;       // the largest weight: exp(0) = 1
    float whole;      // what the row is meant to sum to: 1
};

// The rows of a block: of each head of the task the query rows first .. first + n_per_head.
struct attention_block {
    size_t first;
    size_t n_per_head;
    size_t n_rows;
    size_t n_seen; // keys that its last row sees
    size_t end;    // n_seen up to a whole number of panels
    size_t n_marks;
    struct attention_row rows[ATTENTION_ROWS];
};

// Does everything for block number `block` of the task's heads.
typedef void (*attention_block_fn)(const struct attention_plan *plan,
                                   const struct attention_work *work, size_t block);

// Runs a call: packs, deals the blocks to the threads and merges the stripes.
void hw_attention_run(const struct hw_exec *exec, const struct hw_attention_args *args,
                      attention_block_fn block);

// Packs a panel of keys, [d_head, ATTENTION_PANEL], zero beyond the last key.
void hw_attention_pack_keys(const struct hw_attention_args *args, size_t kv_head, size_t first,
                            float *panel);

// Pads rows of values to [n, d_pad], zero beyond d_head and beyond the last key.
void hw_attention_pack_values(const struct hw_attention_args *args, size_t kv_head, size_t first,
                              size_t n, size_t d_pad, float *values);

// Fills in which rows a block has, and their places.
void hw_attention_block_rows(const struct attention_plan *plan, const struct attention_work *work,
                             size_t block, struct attention_block *ret);

// Masked scores, and where they begin: far below every score and finite, so that a weight of 0
// times anything made from them stays 0.
#define ATTENTION_MASKED (-0x1p120f)
#define ATTENTION_MASK_END (-0x1p119f)

// Whether a change holds for row i of the call in this head.
bool hw_attention_is_changed(const struct hw_attention_args *args, size_t head, size_t i);

// Whether changes act after the softmax in any row of the call.
bool hw_attention_changes_weights(const struct hw_attention_args *args);

// Adds the pairs of change and row to args->n_changed.
void hw_attention_count_changed(const struct hw_attention_args *args);

// Biases and masks the row's scores.
void hw_attention_change_scores(const struct hw_attention_args *args,
                                const struct attention_row *row, float *score);

// Mean of the scores that are not masked; 0 where all are.
float hw_attention_kept_mean(const float *score, size_t n);

// The change that decides where all weight of the row goes, or NULL.
const struct hw_attention_change *hw_attention_override(const struct hw_attention_args *args,
                                                        const struct attention_row *row);

// Gives the keys that it chooses weight 1 and the score row->max, masks all others.
void hw_attention_place(const struct hw_attention_change *change, const struct attention_row *row,
                        float *score, float *weight);

// Multiplies weights by the change's amount and adds its logarithm to their scores.
void hw_attention_scale(const struct hw_attention_change *change, const struct attention_row *row,
                        float *score, float *weight);

// Marks the masked keys of a row in its head's scores, and stores weights that may be above 1
// again.
void hw_attention_mark_scores(const struct hw_attention_args *args, const struct attention_row *row,
                              const float *score);
void hw_attention_clip_pattern(const struct hw_attention_args *args,
                               const struct attention_row *row, const float *weight);

// Whether the span holds every query position of the call.
bool hw_attention_span_is_all(const struct hw_attention_args *args, const struct hw_span *span);

// Index of the first range of the span that ends behind the position; n_ranges where there is none.
size_t hw_attention_span_range(const struct hw_span *span, size_t position);

// Adds what the span sums hold to the head's pairs of spans, and forgets it.
void hw_attention_spans_finish(const struct attention_plan *plan, const struct attention_work *work,
                               const struct attention_sums *sums);

// Merges the stripes of a head, whose sums lie in stripes[n_stripes]: first the key statistics of
// the keys first .. end, which leaves key sums of the whole head in the first stripe; then, once
// all keys are there, offsets and spans.
void hw_attention_merge_keys(const struct attention_plan *plan,
                             const struct attention_sums *stripes, size_t head, size_t first,
                             size_t end);
void hw_attention_merge_head(const struct attention_plan *plan,
                             const struct attention_sums *stripes, size_t head);

// Fills the rows of the last tiles that lie behind the prompt.
void hw_attention_pad_tiles(const struct hw_attention_args *args, void *map,
                            enum hw_map_dtype dtype);

// Scratch of the reference.
size_t hw_attention_ref_scratch(const struct hw_attention_args *args);

#endif
