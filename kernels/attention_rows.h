// What is done along one row of scores: softmax, the row's statistics, top keys, maps.
// Included once by each architecture, after its vectors.
#ifndef HW_ATTENTION_ROWS_H
#define HW_ATTENTION_ROWS_H

#include "kernels/attention_tiles.h"

enum { BATCH_ROWS = 32 }; // ATTENTION_ROWS, up to a multiple of every width

static void store(float *out, size_t index, float value) {
    if (out != NULL) {
        out[index] = value;
    }
}

// Sums of the rows of a block over the keys that they see, lane by lane; unused rows are 0.
struct row_lanes {
    VEC weight[BATCH_ROWS];   // of e = exp(s - max)
    VEC entropy[BATCH_ROWS];  // of e (s - max)
    VEC score[BATCH_ROWS];    // of s
    VEC distance[BATCH_ROWS]; // of e (distance of the key)
};

// The rows' results as floats.
struct row_sums {
    float weight[BATCH_ROWS];
    float entropy[BATCH_ROWS];
    float score[BATCH_ROWS];
    float distance[BATCH_ROWS];
};

// One row of the block's buffers; weight may be score.
struct softmax_row {
    float *score;
    float *weight;
    size_t n;   // keys that it sees
    size_t end; // keys in the buffers, a whole number of panels
    float max;  // of the scores
};

// The sums of a row; even and odd vectors have sums of their own.
struct row_state {
    VEC sum[2];     // of e = exp(s - max)
    VEC far[2];     // of the sums before each step
    VEC entropy[2]; // of e (s - max)
    VEC total[2];   // of s
};

// Adds one vector: its exponentials, s - max, and scores, all 0 for keys that are not seen.
INLINE void row_add(struct row_state *state, int x, VEC e, VEC t, VEC s,
                    const bool with_statistics) {
    if (with_statistics) {
        state->far[x] = vec_add(state->far[x], state->sum[x]);
        state->total[x] = vec_add(state->total[x], s);
        state->entropy[x] = vec_fma(e, t, state->entropy[x]);
    }
    state->sum[x] = vec_add(state->sum[x], e);
}

// The end of a row from key j, where less than a step of two vectors is left to see: weights, and 0
// up to at->end. Unseen scores become finite, since the key statistics multiply them by 0.
INLINE void row_tail(const struct softmax_row *at, size_t j, struct row_state *state,
                     const bool with_statistics, const bool is_given) {
    const VEC m = vec_set(at->max);
    for (int x = 0; x < 2 && (x > 0 || j < at->n); x++, j += WIDTH) {
        MASK is_seen = vec_first(j < at->n ? at->n - j : 0);
        VEC s = vec_load(at->score + j);
        VEC t = vec_pick(is_seen, vec_sub(s, m), vec_zero());
        VEC e = vec_pick(is_seen, is_given ? vec_load(at->weight + j) : vec_exp(t), vec_zero());
        row_add(state, x, e, t, vec_pick(is_seen, s, vec_zero()), with_statistics);
        if (at->score != at->weight) {
            vec_store(at->score + j, vec_pick(is_seen, s, m));
        }
        vec_store(at->weight + j, e);
    }
    for (; j < at->end; j += WIDTH) {
        if (at->score != at->weight) {
            vec_store(at->score + j, m);
        }
        vec_store(at->weight + j, vec_zero());
    }
}

// weight = exp(score - max) for all keys that the row sees, 0 beyond; its sums go to row r of ret.
// With is_given the weights are there already, beside the scores, and only the sums are taken.
//
// Distances cost additions only: before a step of two vectors is added, the sums so far are added
// to `far`; so what lies b steps before the last is there b times, and only the place within a step
// is left to multiply by.
INLINE void row_softmax(const struct softmax_row *at, const bool with_statistics,
                        const bool is_given, struct row_lanes *ret, size_t r) {
    const VEC m = vec_set(at->max);
    struct row_state state;
    for (int x = 0; x < 2; x++) {
        state.sum[x] = state.far[x] = state.entropy[x] = state.total[x] = vec_zero();
    }
    size_t j = 0;
    for (; j + 2 * WIDTH <= at->n; j += 2 * WIDTH) {
#pragma GCC unroll 2
        for (int x = 0; x < 2; x++) {
            VEC s = vec_load(at->score + j + (size_t)x * WIDTH);
            VEC t = vec_sub(s, m);
            VEC e = is_given ? vec_load(at->weight + j + (size_t)x * WIDTH) : vec_exp(t);
            row_add(&state, x, e, t, s, with_statistics);
            vec_store(at->weight + j + (size_t)x * WIDTH, e);
        }
    }
    row_tail(at, j, &state, with_statistics, is_given);
    ret->weight[r] = vec_add(state.sum[0], state.sum[1]);
    if (with_statistics) {
        size_t n_steps = hw_size_div_up(at->n, 2 * WIDTH);
        float last = (float)(at->n - 1) - (float)((n_steps - 1) * 2 * WIDTH);
        VEC near0 = vec_mul(state.sum[0], vec_sub(vec_set(last), vec_count()));
        VEC near1 = vec_mul(state.sum[1], vec_sub(vec_set(last - WIDTH), vec_count()));
        ret->distance[r] = vec_fma(vec_set((float)(2 * WIDTH)), vec_add(state.far[0], state.far[1]),
                                   vec_add(near0, near1));
        ret->entropy[r] = vec_add(state.entropy[0], state.entropy[1]);
        ret->score[r] = vec_add(state.total[0], state.total[1]);
    }
}

static struct softmax_row softmax_row_of(const struct attention_plan *plan,
                                         const struct attention_work *work,
                                         const struct attention_block *block, size_t r) {
    return (struct softmax_row){.score = work->score + r * plan->ld,
                                .weight = work->weight + r * plan->ld,
                                .n = block->rows[r].n_seen,
                                .end = block->end,
                                .max = block->rows[r].max};
}

// The sums of all rows' lanes.
static void lane_sums(const VEC *lanes, float *ret) {
    for (size_t r = 0; r < BATCH_ROWS; r += WIDTH) {
        vec_sums(lanes + r, ret + r);
    }
}

// Bits of the 64 scores that equal m.
INLINE uint64_t equal_of_64(const float *score, VEC m) {
    uint64_t equal = 0;
    for (size_t x = 0; x < 64; x += WIDTH) {
        equal |= (uint64_t)vec_equal_bits(vec_load(score + x), m) << x;
    }
    return equal;
}

// The lowest key whose score is the largest. Maxima only grow from mark to mark, so the number of
// marks without it leads there, and no branch has to be guessed on the way.
static size_t row_argmax(const float *score, size_t n, float max, const float *marks,
                         size_t n_marks) {
    const VEC m = vec_set(max);
    size_t n_without = 0;
    for (size_t i = 0; i < n_marks; i++) {
        VEC mark = vec_load(marks + i * ATTENTION_ROWS * ATTENTION_LANES);
        n_without += vec_equal_bits(mark, m) == 0;
    }
    size_t j = n_without * ATTENTION_MARK;
    if (n_without < n_marks) {
        uint64_t low = equal_of_64(score + j, m);
        uint64_t high = equal_of_64(score + j + 64, m);
        // The highest bit keeps the count defined; a score that the mark saw is always found
        // before.
        size_t in_low = (size_t)__builtin_ctzll(low | 1ull << 63);
        size_t in_high = (size_t)__builtin_ctzll(high | 1ull << 63);
        return j + (low != 0 ? in_low : 64 + in_high);
    }
    for (; j < n; j += WIDTH) {
        unsigned equal = vec_equal_bits(vec_load(score + j), m);
        if (equal != 0) {
            return j + (size_t)__builtin_ctz(equal);
        }
    }
    return 0; // scores that are no numbers
}

// The n_top largest scores and their keys, sorted; whole vectors are passed over where none is
// above the least of those.
static void row_top(const float *score, size_t n, size_t n_top, int32_t *key, float *value) {
    size_t n_have = 0;
    float least = -INFINITY;
    for (size_t j = 0; j < n; j += WIDTH) {
        VEC s = vec_pick(vec_first(n - j), vec_load(score + j), vec_set(-INFINITY));
        unsigned above = n_have < n_top ? (1u << (n - j < WIDTH ? n - j : WIDTH)) - 1
                                        : vec_above_bits(s, vec_set(least));
        for (; above != 0; above &= above - 1) {
            size_t at = j + (size_t)__builtin_ctz(above);
            if (n_have == n_top && !(score[at] > least)) {
                continue;
            }
            size_t place = n_have < n_top ? n_have++ : n_top - 1;
            for (; place > 0 && value[place - 1] < score[at]; place--) {
                value[place] = value[place - 1];
                key[place] = key[place - 1];
            }
            value[place] = score[at];
            key[place] = (int32_t)at;
            least = n_have == n_top ? value[n_top - 1] : -INFINITY;
        }
    }
    for (; n_have < n_top; n_have++) {
        value[n_have] = NAN;
        key[n_have] = -1;
    }
}

// The keys of row r that its scores single out: the strongest, and the n_top strongest.
static void row_keys(const struct attention_plan *plan, const struct attention_work *work,
                     const struct attention_row *row, size_t r, size_t n_marks) {
    const struct hw_attention_request *request = &plan->args->request;
    const float *score = work->score + r * plan->ld;
    if (request->argmax != NULL) {
        const float *marks = work->marks + r * ATTENTION_LANES;
        size_t argmax = row_argmax(score, row->n_seen, row->max, marks, n_marks);
        request->argmax[row->out] = (int32_t)argmax;
    }
    if (plan->wants.top) {
        int32_t *key = work->top_key + r * request->n_top;
        float *value = work->top_score + r * request->n_top;
        row_top(score, row->n_seen, request->n_top, key, value);
        for (size_t rank = 0; row->is_changed && rank < request->n_top; rank++) {
            key[rank] = value[rank] <= ATTENTION_MASK_END ? -1 : key[rank];
        }
    }
}

// One row of one tile: n values times factor, then zeros or NaN up to the tile's edge.
INLINE void tile_row(void *tile, const float *x, VEC factor, size_t n, bool is_nan_after,
                     const enum hw_map_dtype dtype) {
    size_t j = 0;
    for (; j < n; j += WIDTH) {
        VEC p = vec_mul(vec_load(x + j), factor);
        if (dtype == HW_MAP_F32) {
            vec_store((float *)tile + j, p);
        } else if (dtype == HW_MAP_F16) {
            vec_store_half((uint16_t *)tile + j, p);
        } else {
            vec_store_u16((uint16_t *)tile + j, vec_mul(p, vec_set(65534.0f)));
        }
    }
    size_t bytes = attention_map_value_bytes(dtype);
    memset((char *)tile + j * bytes, 0, (HW_MAP_TILE - j) * bytes);
    for (size_t after = n; is_nan_after && after < HW_MAP_TILE; after++) {
        attention_map_store(tile, dtype, after, NAN);
    }
}

// The row's part of all its tiles. x holds the row, of which n_seen keys are seen; zeros follow up
// to a whole vector where they matter.
static void map_row(const struct hw_attention_args *args, void *map, enum hw_map_dtype dtype,
                    const float *x, float factor, size_t n_seen, bool is_score) {
    VEC f = vec_set(factor);
    size_t bytes = attention_map_value_bytes(dtype);
    for (size_t first = 0; first < n_seen; first += HW_MAP_TILE) {
        char *tile = (char *)map + attention_tile_index(n_seen - 1, first) * bytes;
        size_t n = hw_size_min(n_seen - first, HW_MAP_TILE);
        if (dtype == HW_MAP_F32) {
            tile_row(tile, x + first, f, n, is_score, HW_MAP_F32);
        } else if (dtype == HW_MAP_F16) {
            tile_row(tile, x + first, f, n, is_score, HW_MAP_F16);
        } else {
            tile_row(tile, x + first, f, n, is_score, HW_MAP_U16);
        }
        for (size_t j = args->n_keys - first; j < HW_MAP_TILE; j++) {
            attention_map_store(tile, dtype, j, NAN);
        }
    }
}

#endif
