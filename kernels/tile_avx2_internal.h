// AVX2 vectors for tile_internal.h and expand_internal.h: 6 x 16 tiles, 12 of 16 registers
// accumulate.
#ifndef HW_TILE_AVX2_INTERNAL_H
#define HW_TILE_AVX2_INTERNAL_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/exp_avx2.h"

#define LANES 8
enum { STRIP_ROWS = 6, EXPAND_LANES = 16 };
typedef __m256 vf;

static inline vf vf_set1(float value) {
    return _mm256_set1_ps(value);
}

static inline vf vf_load(const float *src) {
    return _mm256_loadu_ps(src);
}

static inline void vf_store(float *dst, vf value) {
    _mm256_storeu_ps(dst, value);
}

static inline vf vf_multiply_add(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}

// The larger; `b` where either is not a number.
static inline vf vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}

static inline vf vf_exp(vf x) { // x within [-105, 0]
    return exp_avx2(x);
}

// Lane i is set where a[i] > b[i].
static inline uint32_t vf_greater(vf a, vf b) {
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ));
}

static inline void halves_to_floats(const uint16_t *halves, float *ret) {
    _mm256_storeu_ps(ret, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)halves)));
    _mm256_storeu_ps(ret + 8, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(halves + 8))));
}

// dst[i * stride + lane] = element i of rows[lane], 8 x 8 in registers.
static inline void transpose_rows(const __m256 *rows, float *dst, size_t stride) {
    __m256 t[8];
    __m256 u[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vf_store(dst + (size_t)i * stride, _mm256_permute2f128_ps(u[i], u[4 + i], 0x20));
        vf_store(dst + (size_t)(4 + i) * stride, _mm256_permute2f128_ps(u[i], u[4 + i], 0x31));
    }
}

enum plain_kind { KIND_F32, KIND_F16, KIND_BF16 };

static inline __attribute__((always_inline)) void
transpose_kind(const enum plain_kind kind, const uint8_t *const *src, float *dst, size_t stride) {
    for (size_t lane = 0; lane < 16; lane += 8) {
        for (size_t i = 0; i < 16; i += 8) {
            __m256 rows[8];
#pragma GCC unroll 8
            for (size_t row = 0; row < 8; row++) {
                const uint8_t *at = src[lane + row] + i * (kind == KIND_F32 ? 4 : 2);
                if (kind == KIND_F32) {
                    rows[row] = _mm256_loadu_ps((const float *)(const void *)at);
                } else {
                    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)at);
                    rows[row] = kind == KIND_F16 ? _mm256_cvtph_ps(half)
                                                 : _mm256_castsi256_ps(_mm256_slli_epi32(
                                                       _mm256_cvtepu16_epi32(half), 16));
                }
            }
            transpose_rows(rows, dst + i * stride + lane, stride);
        }
    }
}

static inline void transpose_f32(const uint8_t *const *src, float *dst, size_t stride) {
    transpose_kind(KIND_F32, src, dst, stride);
}

static inline void transpose_f16(const uint8_t *const *src, float *dst, size_t stride) {
    transpose_kind(KIND_F16, src, dst, stride);
}

static inline void transpose_bf16(const uint8_t *const *src, float *dst, size_t stride) {
    transpose_kind(KIND_BF16, src, dst, stride);
}

#include "kernels/tile_internal.h"

#endif
