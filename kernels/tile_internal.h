// The product of a strip of packed rows with a packed panel of weights, written once for every
// width of vector.
//
// An including file (tile_plain_internal.h, tile_avx2_internal.h, tile_avx512_internal.h) defines
// before:
//   LANES       floats of a vector; a panel is PANEL_WIDTH = 2 vectors of outputs
//   STRIP_ROWS  most rows of a strip, up to 14: 2 accumulators a row, so that rows, panel and one
//   factor fill the registers vf          the vector type vf_set1, vf_load, vf_store,
//   vf_multiply_add   the last is an FMA, or a product and a sum where there is none
//
// Packed rows: [input, row of the strip]. Packed panel: [input, PANEL_WIDTH]. Each output is the
// sum, in order, of partial sums over blocks of HW_LINEAR_BLOCK inputs, each a chain from zero in
// rising order: the same chain wherever the row or the output stands, so bits depend on nothing
// else.
#ifndef HW_TILE_INTERNAL_H
#define HW_TILE_INTERNAL_H

#include "kernels/linear_internal.h"

enum { PANEL_WIDTH = 2 * LANES };

// One block of inputs: c[rows, PANEL_WIDTH] = or += partial sums. `rows` is a constant in every
// call.
static inline __attribute__((always_inline)) void
tile_block(const int rows, size_t n_k, const float *restrict a, const float *restrict b,
           float *restrict c, size_t ldc, int is_first) {
    vf left[14];
    vf right[14];
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++) {
        left[i] = vf_set1(0);
        right[i] = vf_set1(0);
    }
    for (size_t k = 0; k < n_k; k++) {
        vf b_left = vf_load(b);
        vf b_right = vf_load(b + LANES);
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++) {
            vf factor = vf_set1(a[i]);
            left[i] = vf_multiply_add(factor, b_left, left[i]);
            right[i] = vf_multiply_add(factor, b_right, right[i]);
        }
        a += rows;
        b += PANEL_WIDTH;
    }
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++) {
        float *out = c + (size_t)i * ldc;
        if (!is_first) {
            left[i] = vf_load(out) + left[i];
            right[i] = vf_load(out + LANES) + right[i];
        }
        vf_store(out, left[i]);
        vf_store(out + LANES, right[i]);
    }
}

#define HW_TILE_FUNCTION(rows)                                                                     \
    static void tile_##rows(size_t n_k, const float *a, const float *b, float *c, size_t ldc,      \
                            int is_first) {                                                        \
        tile_block(rows, n_k, a, b, c, ldc, is_first);                                             \
    }
HW_TILE_FUNCTION(1)
HW_TILE_FUNCTION(2)
HW_TILE_FUNCTION(3)
HW_TILE_FUNCTION(4)
HW_TILE_FUNCTION(5)
HW_TILE_FUNCTION(6)
#if LANES == 16
HW_TILE_FUNCTION(7)
HW_TILE_FUNCTION(8)
HW_TILE_FUNCTION(9)
HW_TILE_FUNCTION(10)
HW_TILE_FUNCTION(11)
HW_TILE_FUNCTION(12)
HW_TILE_FUNCTION(13)
HW_TILE_FUNCTION(14)
#endif

typedef void (*tile_fn)(size_t n_k, const float *a, const float *b, float *c, size_t ldc,
                        int is_first);

static const tile_fn tile_functions[STRIP_ROWS] = {
    tile_1, tile_2, tile_3, tile_4,  tile_5,  tile_6,
#if LANES == 16
    tile_7, tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14,
#endif
};

// A whole strip with n_in packed inputs, added to what c holds unless is_first.
static inline void tile_strip(size_t n_rows, size_t n_in, const float *a, const float *b, float *c,
                              size_t ldc, int is_first) {
    for (size_t k = 0; k < n_in; k += HW_LINEAR_BLOCK) {
        size_t n_k = hw_size_min(HW_LINEAR_BLOCK, n_in - k);
        tile_functions[n_rows - 1](n_k, a + k * n_rows, b + k * PANEL_WIDTH, c, ldc,
                                   is_first && k == 0);
    }
}

// Rows are dealt to strips evenly: strip s of n_strips holds rows strip_row(s) .. strip_row(s + 1).
static inline size_t strip_count(size_t n_rows) {
    return hw_size_div_up(n_rows, STRIP_ROWS);
}

static inline size_t strip_row(size_t n_rows, size_t n_strips, size_t strip) {
    return n_rows / n_strips * strip + hw_size_min(strip, n_rows % n_strips);
}

// Packs rows x[n_rows, n_in] of one strip as [input, row]. Sixteen inputs at a time are transposed
// in registers, and stored in whole vectors that the next input's overwrite, as long as what
// follows in the strip leaves room for that.
static inline void strip_pack(const float *x, size_t ldx, size_t n_rows, size_t n_in,
                              float *packed) {
    size_t k = 0;
    for (; n_rows > 2 && k + 16 <= n_in && (n_in - k - 16) * n_rows >= EXPAND_LANES; k += 16) {
        _Alignas(64) float tile[16 * EXPAND_LANES];
        const uint8_t *src[EXPAND_LANES];
        for (size_t row = 0; row < EXPAND_LANES; row++) {
            src[row] = (const uint8_t *)(x + hw_size_min(row, n_rows - 1) * ldx + k);
        }
        transpose_f32(src, tile, EXPAND_LANES);
        for (size_t i = 0; i < 16; i++) {
            for (size_t lane = 0; lane < n_rows; lane += LANES) {
                vf_store(packed + (k + i) * n_rows + lane, vf_load(tile + i * EXPAND_LANES + lane));
            }
        }
    }
    for (; k < n_in; k++) {
        for (size_t row = 0; row < n_rows; row++) {
            packed[k * n_rows + row] = x[row * ldx + k];
        }
    }
}

#endif
