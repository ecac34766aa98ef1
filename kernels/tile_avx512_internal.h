// AVX-512 vectors for tile_internal.h and expand_internal.h: 14 x 32 tiles, 28 of 32 registers
// accumulate.
#ifndef HW_TILE_AVX512_INTERNAL_H
#define HW_TILE_AVX512_INTERNAL_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/exp_avx512.h"

#define LANES 16
enum { STRIP_ROWS = 14, EXPAND_LANES = 16 };
typedef __m512 vf;

static inline vf vf_set1(float value) {
    return _mm512_set1_ps(value);
}

static inline vf vf_load(const float *src) {
    return _mm512_loadu_ps(src);
}

static inline void vf_store(float *dst, vf value) {
    _mm512_storeu_ps(dst, value);
}

static inline vf vf_multiply_add(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}

// The larger; `b` where either is not a number.
static inline vf vf_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}

static inline vf vf_exp(vf x) { // x within [-105, 0]
    return exp_avx512_clamped(x);
}

// Lane i is set where a[i] > b[i].
static inline uint32_t vf_greater(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

// The halves in bits `shift` (0 or 16) and up of EXPAND_LANES words.
static inline void halves_to_floats(const uint32_t *words, int shift, float *ret) {
    __m512i halves = _mm512_srli_epi32(_mm512_loadu_si512(words), (unsigned)shift);
    _mm512_storeu_ps(ret, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(halves)));
}

// 16 bytes at start[row], start[row + 4], ... + at, in the four parts of a vector.
static inline __m512i load_quarters(const uint8_t *const *start, int row, size_t at) {
    const __m128i *src[4];
    for (int i = 0; i < 4; i++) {
        src[i] = (const __m128i *)(const void *)(start[row + 4 * i] + at);
    }
    __m512i value = _mm512_castsi128_si512(_mm_loadu_si128(src[0]));
    value = _mm512_inserti32x4(value, _mm_loadu_si128(src[1]), 1);
    value = _mm512_inserti32x4(value, _mm_loadu_si128(src[2]), 2);
    return _mm512_inserti32x4(value, _mm_loadu_si128(src[3]), 3);
}

// ret[i][lane] = word i (of 4) at start[lane] + at: 4 x 4 words transposed in each part.
static inline void load_words(const uint8_t *const *start, size_t at,
                              uint32_t (*ret)[EXPAND_LANES]) {
    __m512i a = load_quarters(start, 0, at);
    __m512i b = load_quarters(start, 1, at);
    __m512i c = load_quarters(start, 2, at);
    __m512i d = load_quarters(start, 3, at);
    __m512i ab_low = _mm512_unpacklo_epi32(a, b);
    __m512i ab_high = _mm512_unpackhi_epi32(a, b);
    __m512i cd_low = _mm512_unpacklo_epi32(c, d);
    __m512i cd_high = _mm512_unpackhi_epi32(c, d);
    _mm512_storeu_si512(ret[0], _mm512_unpacklo_epi64(ab_low, cd_low));
    _mm512_storeu_si512(ret[1], _mm512_unpackhi_epi64(ab_low, cd_low));
    _mm512_storeu_si512(ret[2], _mm512_unpacklo_epi64(ab_high, cd_high));
    _mm512_storeu_si512(ret[3], _mm512_unpackhi_epi64(ab_high, cd_high));
}

// dst[i * stride + lane] = element i of rows[lane]: 16 x 16 in registers, doubling the group of
// rows that stand together.
static inline void transpose_rows(__m512 *rows, float *dst, size_t stride) {
    __m512 t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        for (int half = 0; half < 2; half++) {
            __m512d low = _mm512_castps_pd(t[i + half]);
            __m512d high = _mm512_castps_pd(t[i + 2 + half]);
            rows[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            rows[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { // element i of every 4, of rows 0-3, 4-7, 8-11, 12-15
        __m512 a = _mm512_shuffle_f32x4(rows[i], rows[4 + i], 0x88);
        __m512 b = _mm512_shuffle_f32x4(rows[i], rows[4 + i], 0xdd);
        __m512 c = _mm512_shuffle_f32x4(rows[8 + i], rows[12 + i], 0x88);
        __m512 d = _mm512_shuffle_f32x4(rows[8 + i], rows[12 + i], 0xdd);
        vf_store(dst + (size_t)i * stride, _mm512_shuffle_f32x4(a, c, 0x88));
        vf_store(dst + (size_t)(4 + i) * stride, _mm512_shuffle_f32x4(b, d, 0x88));
        vf_store(dst + (size_t)(8 + i) * stride, _mm512_shuffle_f32x4(a, c, 0xdd));
        vf_store(dst + (size_t)(12 + i) * stride, _mm512_shuffle_f32x4(b, d, 0xdd));
    }
}

static inline void transpose_f32(const uint8_t *const *src, float *dst, size_t stride) {
    __m512 rows[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        rows[i] = _mm512_loadu_ps(src[i]);
    }
    transpose_rows(rows, dst, stride);
}

static inline void transpose_f16(const uint8_t *const *src, float *dst, size_t stride) {
    __m512 rows[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        rows[i] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)src[i]));
    }
    transpose_rows(rows, dst, stride);
}

static inline void transpose_bf16(const uint8_t *const *src, float *dst, size_t stride) {
    __m512 rows[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)src[i]);
        rows[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
    }
    transpose_rows(rows, dst, stride);
}

#include "kernels/tile_internal.h"

#endif
