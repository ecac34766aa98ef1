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

// The halves in bits `shift` (0 or 16) and up of EXPAND_LANES words.
static inline void halves_to_floats(const uint32_t *words, int shift, float *ret) {
    for (int lane = 0; lane < EXPAND_LANES; lane += 8) {
        __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)(words + lane));
        halves = _mm256_and_si256(_mm256_srli_epi32(halves, shift), _mm256_set1_epi32(0xffff));
        halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(halves, halves), 0x08);
        _mm256_storeu_ps(ret + lane, _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
    }
}

// 16 bytes at start[row] + at and start[row + 4] + at.
static inline __m256i load_halves(const uint8_t *const *start, int row, size_t at) {
    return _mm256_loadu2_m128i((const __m128i *)(const void *)(start[row + 4] + at),
                               (const __m128i *)(const void *)(start[row] + at));
}

// ret[i][lane] = word i (of 4) at start[lane] + at: 4 x 4 words transposed in each half.
static inline void load_words(const uint8_t *const *start, size_t at,
                              uint32_t (*ret)[EXPAND_LANES]) {
    for (int row = 0; row < EXPAND_LANES; row += 8) {
        __m256i a = load_halves(start, row, at);
        __m256i b = load_halves(start, row + 1, at);
        __m256i c = load_halves(start, row + 2, at);
        __m256i d = load_halves(start, row + 3, at);
        __m256i ab_low = _mm256_unpacklo_epi32(a, b);
        __m256i ab_high = _mm256_unpackhi_epi32(a, b);
        __m256i cd_low = _mm256_unpacklo_epi32(c, d);
        __m256i cd_high = _mm256_unpackhi_epi32(c, d);
        _mm256_storeu_si256((__m256i *)&ret[0][row], _mm256_unpacklo_epi64(ab_low, cd_low));
        _mm256_storeu_si256((__m256i *)&ret[1][row], _mm256_unpackhi_epi64(ab_low, cd_low));
        _mm256_storeu_si256((__m256i *)&ret[2][row], _mm256_unpacklo_epi64(ab_high, cd_high));
        _mm256_storeu_si256((__m256i *)&ret[3][row], _mm256_unpackhi_epi64(ab_high, cd_high));
    }
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
