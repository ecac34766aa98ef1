// Vectors of four floats in plain C (the compiler's vector extension: SSE2, NEON or scalars) for
// tile_internal.h and expand_internal.h: 6 x 8 tiles, a product and a sum instead of an FMA.
#ifndef HW_TILE_PLAIN_INTERNAL_H
#define HW_TILE_PLAIN_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/dequantize_internal.h"
#include "kernels/exp_plain.h"

#define LANES 4
enum { STRIP_ROWS = 6, EXPAND_LANES = 8 };
typedef float vf __attribute__((vector_size(16)));

static inline vf vf_set1(float value) {
    return (vf){value, value, value, value};
}

static inline vf vf_load(const float *src) {
    vf value;
    memcpy(&value, src, sizeof value);
    return value;
}

static inline void vf_store(float *dst, vf value) {
    memcpy(dst, &value, sizeof value);
}

static inline vf vf_multiply_add(vf a, vf b, vf c) {
    return a * b + c;
}

// The larger; `b` where either is not a number.
static inline vf vf_max(vf a, vf b) {
    for (int i = 0; i < LANES; i++) {
        b[i] = a[i] > b[i] ? a[i] : b[i];
    }
    return b;
}

static inline vf vf_exp(vf x) { // x within [-105, 0]
    for (int i = 0; i < LANES; i++) {
        x[i] = exp_plain(x[i]);
    }
    return x;
}

// Lane i is set where a[i] > b[i].
static inline uint32_t vf_greater(vf a, vf b) {
    uint32_t mask = 0;
    for (int i = 0; i < LANES; i++) {
        mask |= (uint32_t)(a[i] > b[i]) << i;
    }
    return mask;
}

// The halves in bits `shift` (0 or 16) and up of EXPAND_LANES words.
static inline void halves_to_floats(const uint32_t *words, int shift, float *ret) {
    for (int lane = 0; lane < EXPAND_LANES; lane++) {
        ret[lane] = half_to_float((uint16_t)(words[lane] >> shift));
    }
}

// ret[i][lane] = word i (of 4) at start[lane] + at.
static inline void load_words(const uint8_t *const *start, size_t at,
                              uint32_t (*ret)[EXPAND_LANES]) {
    for (int lane = 0; lane < EXPAND_LANES; lane++) {
        for (int i = 0; i < 4; i++) {
            ret[i][lane] = load_u32(start[lane] + at + 4 * i);
        }
    }
}

// dst[i * stride + lane] = element i (of 16) at src[lane].
static inline void transpose_f32(const uint8_t *const *src, float *dst, size_t stride) {
    for (size_t lane = 0; lane < EXPAND_LANES; lane++) {
        for (size_t i = 0; i < 16; i++) {
            memcpy(dst + i * stride + lane, src[lane] + 4 * i, sizeof *dst);
        }
    }
}

static inline void transpose_f16(const uint8_t *const *src, float *dst, size_t stride) {
    for (size_t lane = 0; lane < EXPAND_LANES; lane++) {
        for (size_t i = 0; i < 16; i++) {
            dst[i * stride + lane] = load_half(src[lane] + 2 * i);
        }
    }
}

static inline void transpose_bf16(const uint8_t *const *src, float *dst, size_t stride) {
    for (size_t lane = 0; lane < EXPAND_LANES; lane++) {
        for (size_t i = 0; i < 16; i++) {
            dst[i * stride + lane] = bf16_to_float(load_u16(src[lane] + 2 * i));
        }
    }
}

#include "kernels/tile_internal.h"

#endif
