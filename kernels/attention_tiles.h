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

// Scores of `rows` rows and 2 * WIDTH keys of a panel; raises the rows' maxima too where with_max
// is set.
INLINE void score_tile(const float *q, size_t d, const float *panel, float *score, size_t ld,
                       VEC *max, const int rows, const bool with_max) {
    VEC sum[SCORE_ROWS][2];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        sum[r][0] = vec_zero();
        sum[r][1] = vec_zero();
    }
    for (size_t c = 0; c < d; c++) {
        VEC k0 = vec_load(panel + c * ATTENTION_PANEL);
        VEC k1 = vec_load(panel + c * ATTENTION_PANEL + WIDTH);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            VEC x = vec_set(q[(size_t)r * d + c]);
            sum[r][0] = vec_fma(x, k0, sum[r][0]);
            sum[r][1] = vec_fma(x, k1, sum[r][1]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        if (with_max) {
            max[r] = vec_max(max[r], vec_max(sum[r][0], sum[r][1]));
        }
        vec_store(score + (size_t)r * ld, sum[r][0]);
        vec_store(score + (size_t)r * ld + WIDTH, sum[r][1]);
    }
}

// Scores of n_rows rows and one panel.
INLINE void score_panel(const float *q, size_t d, const float *panel, float *score, size_t ld,
                        VEC *max, size_t n_rows, const bool with_max) {
#define TILE(rows)                                                                                 \
    score_tile(q + r * d, d, panel + x, score + r * ld + x, ld, max + r, rows, with_max);          \
    r += rows
    for (size_t x = 0; x < ATTENTION_PANEL; x += 2 * WIDTH) {
        size_t r = 0;
        while (n_rows - r >= SCORE_ROWS) {
            TILE(SCORE_ROWS);
        }
        while (n_rows - r >= 4) {
            TILE(4);
        }
        switch (n_rows - r) {
        case 3:
            TILE(3);
            break;
        case 2:
            TILE(2);
            break;
        case 1:
            TILE(1);
            break;
        default:
            break;
        }
    }
#undef TILE
}

// z[rows, vecs * WIDTH] += weight[rows, n] values[n, vecs * WIDTH]; from zero where is_first is
// set.
INLINE void value_tile(const float *weight, size_t ld, const float *values, size_t ld_values,
                       size_t n, float *z, size_t ld_z, const int rows, const int vecs,
                       bool is_first) {
    VEC sum[VALUE_ROWS][VALUE_VECS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int x = 0; x < vecs; x++) {
            sum[r][x] = is_first ? vec_zero() : vec_load(z + (size_t)r * ld_z + (size_t)x * WIDTH);
        }
    }
    for (size_t j = 0; j < n; j++) {
        VEC v[VALUE_VECS];
#pragma GCC unroll 4
        for (int x = 0; x < vecs; x++) {
            v[x] = vec_load(values + j * ld_values + (size_t)x * WIDTH);
        }
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            VEC p = vec_set(weight[(size_t)r * ld + j]);
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
            vec_store(z + (size_t)r * ld_z + (size_t)x * WIDTH, sum[r][x]);
        }
    }
}

// The operands of p v for one chunk of keys.
struct value_operands {
    const float *weight;
    const float *values;
    float *z;
    size_t ld;
    size_t ld_values;
    size_t ld_z;
    size_t n_rows;
    size_t n; // keys
    bool is_first;
};

// All rows and `vecs` vectors of channels from channel c.
INLINE void value_columns(const struct value_operands *at, size_t c, const int vecs) {
#define TILE(rows)                                                                                 \
    value_tile(at->weight + r * at->ld, at->ld, at->values + c, at->ld_values, at->n,              \
               at->z + r * at->ld_z + c, at->ld_z, rows, vecs, at->is_first)
    size_t r = 0;
    for (; at->n_rows - r >= VALUE_ROWS; r += VALUE_ROWS) {
        TILE(VALUE_ROWS);
    }
    switch (at->n_rows - r) {
    case 5:
        TILE(5);
        break;
    case 4:
        TILE(4);
        break;
    case 3:
        TILE(3);
        break;
    case 2:
        TILE(2);
        break;
    case 1:
        TILE(1);
        break;
    default:
        break;
    }
#undef TILE
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
