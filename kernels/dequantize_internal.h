// The number formats of weights, expanded to f32: the scalar definition, compiled for every
// architecture.
//
// Block layouts are those of GGUF; the order of the float operations is that of gguf.dequantize
// (gguf-py, quants.py), so with contraction off every architecture gives its bits. Blocks may lie
// at any address.
#ifndef HW_DEQUANTIZE_INTERNAL_H
#define HW_DEQUANTIZE_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "kernels/dtype.h"

static inline float half_to_float(uint16_t half) {
#if defined(__F16C__)
    return _cvtsh_ss(half);
#else
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 31u;
    uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0) { // zero and subnormal: mantissa * 2^-24, exact in f32
        float value = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    uint32_t bits =
        sign | (mantissa << 13) | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
#endif
}

static inline float bf16_to_float(uint16_t high) {
    uint32_t bits = (uint32_t)high << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t load_u16(const uint8_t *src) {
    uint16_t value;
    memcpy(&value, src, sizeof value);
    return value;
}

static inline uint32_t load_u32(const uint8_t *src) {
    uint32_t value;
    memcpy(&value, src, sizeof value);
    return value;
}

static inline float load_half(const uint8_t *src) {
    return half_to_float(load_u16(src));
}

static inline void expand_f16(const uint8_t *src, size_t n, float *dst) {
    for (size_t i = 0; i < n; i++) {
        dst[i] = load_half(src + 2 * i);
    }
}

static inline void expand_bf16(const uint8_t *src, size_t n, float *dst) {
    for (size_t i = 0; i < n; i++) {
        dst[i] = bf16_to_float(load_u16(src + 2 * i));
    }
}

// d, 16 bytes of two nibbles: value i is the low nibble of byte i, value 16 + i the high one.
static inline void expand_q4_0(const uint8_t *src, float *dst) {
    float d = load_half(src);
    for (size_t i = 0; i < 16; i++) {
        uint8_t q = src[2 + i];
        dst[i] = d * (float)((int)(q & 15) - 8);
        dst[16 + i] = d * (float)((int)(q >> 4) - 8);
    }
}

// d, m, nibbles.
static inline void expand_q4_1(const uint8_t *src, float *dst) {
    float d = load_half(src);
    float m = load_half(src + 2);
    for (size_t i = 0; i < 16; i++) {
        uint8_t q = src[4 + i];
        dst[i] = d * (float)(q & 15) + m;
        dst[16 + i] = d * (float)(q >> 4) + m;
    }
}

// d, 32 fifth bits, nibbles.
static inline void expand_q5_0(const uint8_t *src, float *dst) {
    float d = load_half(src);
    uint32_t high = load_u32(src + 2);
    for (size_t i = 0; i < 16; i++) {
        uint8_t q = src[6 + i];
        uint32_t low_value = (q & 15u) | (((high >> i) & 1u) << 4);
        uint32_t high_value = (q >> 4) | (((high >> (16 + i)) & 1u) << 4);
        dst[i] = d * (float)((int)low_value - 16);
        dst[16 + i] = d * (float)((int)high_value - 16);
    }
}

// d, m, 32 fifth bits, nibbles.
static inline void expand_q5_1(const uint8_t *src, float *dst) {
    float d = load_half(src);
    float m = load_half(src + 2);
    uint32_t high = load_u32(src + 4);
    for (size_t i = 0; i < 16; i++) {
        uint8_t q = src[8 + i];
        dst[i] = d * (float)((q & 15u) | (((high >> i) & 1u) << 4)) + m;
        dst[16 + i] = d * (float)((q >> 4) | (((high >> (16 + i)) & 1u) << 4)) + m;
    }
}

// d, 32 signed bytes.
static inline void expand_q8_0(const uint8_t *src, float *dst) {
    float d = load_half(src);
    for (size_t i = 0; i < 32; i++) {
        dst[i] = (float)(int8_t)src[2 + i] * d;
    }
}

// The two bits of value i in 64 bytes: runs of 32 bytes hold 128 values, four shifts after one
// another.
static inline uint32_t k_two_bits(const uint8_t *qs, size_t i) {
    return (uint32_t)(qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3u;
}

// 16 scales (low nibble scale, high nibble minimum), 64 bytes of two bits, d, dmin.
static inline void expand_q2_k(const uint8_t *src, float *dst) {
    float d = load_half(src + 80);
    float dmin = load_half(src + 82);
    for (size_t block = 0; block < 16; block++) {
        float scale = d * (float)(src[block] & 15);
        float least = dmin * (float)(src[block] >> 4);
        for (size_t i = 16 * block; i < 16 * block + 16; i++) {
            dst[i] = scale * (float)k_two_bits(src + 16, i) - least;
        }
    }
}

// Scale `block` of 16 in the 12 bytes of a Q3_K block, 0..63.
static inline uint32_t q3_k_scale(const uint8_t *scales, size_t block) {
    uint32_t low = block < 8 ? scales[block] & 15u : scales[block - 8] >> 4;
    uint32_t high = (uint32_t)(scales[8 + block % 4] >> (block / 4 * 2)) & 3u;
    return low | (high << 4);
}

// 32 bytes of third bits (set: nothing is subtracted), 64 bytes of two bits, 12 bytes of six-bit
// scales, d.
static inline void expand_q3_k(const uint8_t *src, float *dst) {
    float d = load_half(src + 108);
    for (size_t block = 0; block < 16; block++) {
        float scale = d * (float)((int)q3_k_scale(src + 96, block) - 32);
        for (size_t i = 16 * block; i < 16 * block + 16; i++) {
            int is_set = (src[i % 32] >> (i / 32)) & 1;
            dst[i] = scale * (float)((int)k_two_bits(src + 32, i) - (is_set ? 0 : 4));
        }
    }
}

// Scale and minimum `block` of 8 in the 12 bytes of a Q4_K or Q5_K block, 0..63 each.
static inline void k_scale_min(const uint8_t *scales, size_t block, uint32_t *ret_scale,
                               uint32_t *ret_min) {
    if (block < 4) {
        *ret_scale = scales[block] & 63u;
        *ret_min = scales[4 + block] & 63u;
    } else {
        *ret_scale = (scales[4 + block] & 15u) | ((scales[block - 4] >> 2) & 0x30u);
        *ret_min = (uint32_t)(scales[4 + block] >> 4) | ((scales[block] >> 2) & 0x30u);
    }
}

// d, dmin, 12 bytes of scales and minima, 128 bytes of nibbles: 32 bytes hold 64 values, low
// nibbles first.
static inline void expand_q4_k(const uint8_t *src, float *dst) {
    float d = load_half(src);
    float dmin = load_half(src + 2);
    for (size_t block = 0; block < 8; block++) {
        uint32_t scale_bits;
        uint32_t min_bits;
        k_scale_min(src + 4, block, &scale_bits, &min_bits);
        float scale = d * (float)scale_bits;
        float least = dmin * (float)min_bits;
        const uint8_t *qs = src + 16 + block / 2 * 32;
        for (size_t i = 0; i < 32; i++) {
            dst[32 * block + i] = scale * (float)((qs[i] >> (block % 2 * 4)) & 15) - least;
        }
    }
}

// As Q4_K with 32 bytes of fifth bits before the nibbles: bit b of byte i belongs to value 32 b +
// i.
static inline void expand_q5_k(const uint8_t *src, float *dst) {
    float d = load_half(src);
    float dmin = load_half(src + 2);
    for (size_t block = 0; block < 8; block++) {
        uint32_t scale_bits;
        uint32_t min_bits;
        k_scale_min(src + 4, block, &scale_bits, &min_bits);
        float scale = d * (float)scale_bits;
        float least = dmin * (float)min_bits;
        const uint8_t *high = src + 16;
        const uint8_t *qs = src + 48 + block / 2 * 32;
        for (size_t i = 0; i < 32; i++) {
            uint32_t low = (uint32_t)(qs[i] >> (block % 2 * 4)) & 15u;
            uint32_t q = low | (((uint32_t)(high[i] >> block) & 1u) << 4);
            dst[32 * block + i] = scale * (float)q - least;
        }
    }
}

// 128 bytes of nibbles (64 bytes hold 128 values, low nibbles first), 64 bytes of upper two bits,
// 16 signed scales, d.
static inline void expand_q6_k(const uint8_t *src, float *dst) {
    float d = load_half(src + 208);
    for (size_t block = 0; block < 16; block++) {
        float scale = d * (float)(int8_t)src[192 + block];
        for (size_t i = 16 * block; i < 16 * block + 16; i++) {
            uint32_t low = (uint32_t)(src[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4)) & 15u;
            uint32_t q = low | (k_two_bits(src + 128, i) << 4);
            dst[i] = scale * (float)((int)q - 32);
        }
    }
}

// n values (a multiple of the block) of a weight type.
static inline void expand_values(enum hw_dtype dtype, const uint8_t *src, size_t n, float *dst) {
#define HW_EXPAND_BLOCKS(function, values, bytes)                                                  \
    for (size_t i = 0; i < n / (values); i++) {                                                    \
        function(src + i * (bytes), dst + i * (values));                                           \
    }                                                                                              \
    break
    switch (dtype) {
    case HW_F32:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case HW_F16:
        expand_f16(src, n, dst);
        break;
    case HW_BF16:
        expand_bf16(src, n, dst);
        break;
    case HW_Q4_0:
        HW_EXPAND_BLOCKS(expand_q4_0, 32, 18);
    case HW_Q4_1:
        HW_EXPAND_BLOCKS(expand_q4_1, 32, 20);
    case HW_Q5_0:
        HW_EXPAND_BLOCKS(expand_q5_0, 32, 22);
    case HW_Q5_1:
        HW_EXPAND_BLOCKS(expand_q5_1, 32, 24);
    case HW_Q8_0:
        HW_EXPAND_BLOCKS(expand_q8_0, 32, 34);
    case HW_Q2_K:
        HW_EXPAND_BLOCKS(expand_q2_k, 256, 84);
    case HW_Q3_K:
        HW_EXPAND_BLOCKS(expand_q3_k, 256, 110);
    case HW_Q4_K:
        HW_EXPAND_BLOCKS(expand_q4_k, 256, 144);
    case HW_Q5_K:
        HW_EXPAND_BLOCKS(expand_q5_k, 256, 176);
    case HW_Q6_K:
        HW_EXPAND_BLOCKS(expand_q6_k, 256, 210);
    default: // hw_dtype_is_weight is false: no caller gets here
        break;
    }
#undef HW_EXPAND_BLOCKS
}

#endif
