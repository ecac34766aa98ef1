// The two products of attention as register tiles, included once by each architecture that has the
// vectors VEC of WIDTH floats: SCORE_ROWS rows by two vectors of keys for q k^T, VALUE_ROWS rows by
// VALUE_VECS vectors of channels for p v.
//
// Every score is one chain of multiply-adds over the channels in rising order, and every output one
// chain over the keys in rising order, so that their bits depend on no tile, block or chunk.
#ifndef HW_ATTENTION_TILES_H
#define HW_ATTENTION_TILES_H

#include "kernels/attention_internal.h"

#define INLINE static inline __attribute__((always_inline))

// The most keys that one of the rows sees.
static size_t most_seen(const struct attention_row *rows, size_t n_rows) {
    size_t most = rows[0].n_seen;
    for (size_t r = 1; r < n_rows; r++) {
        most = hw_size_max(most, rows[r].n_seen);
    }
    return most;
}

// The operands of q k^T for one panel of keys.
struct score_operands {
    const float *q;
    const float *panel;
    float *score;
    VEC *max;
    const struct attention_row *rows;
    size_t d;
    size_t ld;
    size_t n_rows;
    size_t first; // key of the panel
};

// Scores of `rows` rows from row r and vecs * WIDTH keys from key x of the panel; raises the rows'
// maxima too where all of the keys are seen.
INLINE void score_tile(const struct score_operands *at, size_t r0, size_t x, const int rows,
                       const int vecs, const bool is_seen) {
    const float *q = at->q + r0 * at->d;
    const float *k = at->panel + x;
    float *score = at->score + r0 * at->ld + x;
    VEC sum[SCORE_ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++) {
            sum[r][v] = vec_zero();
        }
    }
    for (size_t c = 0; c < at->d; c++) {
        VEC key[2];
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++) {
            key[v] = vec_load(k + c * ATTENTION_PANEL + (size_t)v * WIDTH);
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            VEC y = vec_set(q[(size_t)r * at->d + c]);
#pragma GCC unroll 2
            for (int v = 0; v < vecs; v++) {
                sum[r][v] = vec_fma(y, key[v], sum[r][v]);
            }
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        if (is_seen) {
            at->max[r0 + (size_t)r] =
                vec_max(at->max[r0 + (size_t)r], vec_max(sum[r][0], sum[r][1]));
        }
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++) {
            vec_store(score + (size_t)r * at->ld + (size_t)v * WIDTH, sum[r][v]);
        }
    }
}

// Scores of `rows` rows from row r and the whole panel, or its part that one of the rows sees.
INLINE void score_rows(const struct score_operands *at, size_t r, const int rows,
                       const bool is_seen) {
    if (is_seen) {
        for (size_t x = 0; x < ATTENTION_PANEL; x += 2 * WIDTH) {
            score_tile(at, r, x, rows, 2, true);
        }
        return;
    }
    size_t most = most_seen(at->rows + r, (size_t)rows);
    size_t end = most > at->first ? hw_size_min(most - at->first, ATTENTION_PANEL) : 0;
    size_t x = 0;
    for (; x + WIDTH < end; x += 2 * WIDTH) {
        score_tile(at, r, x, rows, 2, false);
    }
    if (x < end) {
        score_tile(at, r, x, rows, 1, false);
    }
}

// Scores of all rows and one panel.
INLINE void score_panel(const struct score_operands *at, const bool is_seen) {
    size_t r = 0;
    for (; at->n_rows - r >= SCORE_ROWS; r += SCORE_ROWS) {
        score_rows(at, r, SCORE_ROWS, is_seen);
    }
    for (; at->n_rows - r >= 4; r += 4) {
        score_rows(at, r, 4, is_seen);
    }
    switch (at->n_rows - r) {
    case 3:
        score_rows(at, r, 3, is_seen);
        break;
    case 2:
        score_rows(at, r, 2, is_seen);
        break;
    case 1:
        score_rows(at, r, 1, is_seen);
        break;
    default:
        break;
    }
}

// The operands of p v for one chunk of keys.
struct value_operands {
    const float *weight;
    const float *values;
    float *z;
    const struct attention_row *rows;
    size_t ld;
    size_t ld_values;
    size_t ld_z;
    size_t n_rows;
    size_t first; // key of the chunk
    size_t n;     // keys
};

// z[rows, vecs * WIDTH] += weight[rows, n] values[n, vecs * WIDTH]; from zero where is_first is
// set.
INLINE void value_tile(const struct value_operands *at, size_t r0, size_t c, size_t n,
                       const int rows, const int vecs) {
    const float *weight = at->weight + r0 * at->ld;
    const float *values = at->values + c;
    float *z = at->z + r0 * at->ld_z + c;
    bool is_first = at->first == 0;
    VEC sum[VALUE_ROWS][VALUE_VECS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int x = 0; x < vecs; x++) {
            sum[r][x] =
                is_first ? vec_zero() : vec_load(z + (size_t)r * at->ld_z + (size_t)x * WIDTH);
        }
    }
    for (size_t j = 0; j < n; j++) {
        VEC v[VALUE_VECS];
#pragma GCC unroll 4
        for (int x = 0; x < vecs; x++) {
            v[x] = vec_load(values + j * at->ld_values + (size_t)x * WIDTH);
        }
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            VEC p = vec_set(weight[(size_t)r * at->ld + j]);
#pragma GCC unroll 4
            for (int x = 0; x < vecs; x++) {
                sum[r][x] = vec_fma(p, v[x], sum[r][x]);
            }
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int x = 0; x < vecs; x++) {
            vec_store(z + (size_t)r * at->ld_z + (size_t)x * WIDTH, sum[r][x]);
        }
    }
}

// `rows` rows from row r and `vecs` vectors of channels from channel c, over the keys that one of
// the rows sees.
INLINE void value_rows(const struct value_operands *at, size_t r, size_t c, const int rows,
                       const int vecs) {
    size_t most = most_seen(at->rows + r, (size_t)rows);
    size_t n = most > at->first ? hw_size_min(most - at->first, at->n) : 0;
    value_tile(at, r, c, n, rows, vecs);
}

// All rows and `vecs` vectors of channels from channel c.
INLINE void value_columns(const struct value_operands *at, size_t c, const int vecs) {
    size_t r = 0;
    for (; at->n_rows - r >= VALUE_ROWS; r += VALUE_ROWS) {
        value_rows(at, r, c, VALUE_ROWS, vecs);
    }
    switch (at->n_rows - r) {
    case 5:
        value_rows(at, r, c, 5, vecs);
        break;
    case 4:
        value_rows(at, r, c, 4, vecs);
        break;
    case 3:
        value_rows(at, r, c, 3, vecs);
        break;
    case 2:
        value_rows(at, r, c, 2, vecs);
        break;
    case 1:
        value_rows(at, r, c, 1, vecs);
        break;
    default:
        break;
    }
}

// z += weight values for all rows and channels; the vectors of channels are spread evenly over the
// tiles.
static void value_chunk(const struct value_operands *at, size_t d_pad) {
    size_t n_left = d_pad / WIDTH;
    size_t n_tiles = hw_size_div_up(n_left, VALUE_VECS);
    for (size_t c = 0; n_tiles > 0; n_tiles--) {
        size_t vecs = hw_size_div_up(n_left, n_tiles);
        switch (vecs) {
#if VALUE_VECS > 2
        case 4:
            value_columns(at, c, 4);
            break;
        case 3:
            value_columns(at, c, 3);
            break;
#endif
        case 2:
            value_columns(at, c, 2);
            break;
        default:
            value_columns(at, c, 1);
            break;
        }
        c += vecs * WIDTH;
        n_left -= vecs;
    }
}

#endif
