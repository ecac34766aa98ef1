// The K types (blocks of 256 with scales of their own for every 16 or 32 values), expanded lane by
// lane as in expand_internal.h, which includes this. Scales are unpacked row by row with the scalar
// definition; there is one for 16 or more values.
#ifndef HW_EXPAND_K_INTERNAL_H
#define HW_EXPAND_K_INTERNAL_H

#include "kernels/dequantize_internal.h"

#define LANE_LOOP for (int lane = 0; lane < EXPAND_LANES; lane++)

// Where EXPAND_LANES outputs begin in the file, and where they go: dst[input * PANEL_WIDTH + lane].
struct lane_group {
    const uint8_t *start[16];
    float *dst;
};

// Factor and minimum of every run of 16 values (32 in Q4_K and Q5_K: 8 runs).
struct k_scales {
    float scale[16][EXPAND_LANES];
    float least[16][EXPAND_LANES];
};

static inline void k_scales_unpack(enum hw_dtype dtype, const uint8_t *src, int lane,
                                   struct k_scales *ret) {
    if (dtype == HW_Q4_K || dtype == HW_Q5_K) {
        float d = load_half(src);
        float dmin = load_half(src + 2);
        for (size_t run = 0; run < 8; run++) {
            uint32_t scale_bits;
            uint32_t min_bits;
            k_scale_min(src + 4, run, &scale_bits, &min_bits);
            ret->scale[run][lane] = d * (float)(int32_t)scale_bits;
            ret->least[run][lane] = dmin * (float)(int32_t)min_bits;
        }
        return;
    }
    float d = load_half(src + (dtype == HW_Q2_K ? 80 : dtype == HW_Q3_K ? 108 : 208));
    float dmin = dtype == HW_Q2_K ? load_half(src + 82) : 0;
    for (size_t run = 0; run < 16; run++) {
        if (dtype == HW_Q2_K) {
            ret->scale[run][lane] = d * (float)(src[run] & 15);
            ret->least[run][lane] = dmin * (float)(src[run] >> 4);
        } else if (dtype == HW_Q3_K) {
            ret->scale[run][lane] = d * (float)((int)q3_k_scale(src + 96, run) - 32);
        } else {
            ret->scale[run][lane] = d * (float)(int8_t)src[192 + run];
        }
    }
}

// Q4_K, Q5_K: 16 bytes of nibbles are 16 values of one run and 16 of the next.
static inline __attribute__((always_inline)) void
expand_k_nibbles(const int has_high, const struct lane_group *group, size_t at,
                 const struct k_scales *scales, float *restrict dst) {
    for (int step = 0; step < 8; step++) { // 16 bytes each
        uint32_t words[4][EXPAND_LANES];
        uint32_t high[4][EXPAND_LANES];
        load_words(group->start, at + (has_high ? 48 : 16) + 16 * (size_t)step, words);
        load_words(group->start, at + 16 + 16 * (size_t)(step % 2), high);
        int run = step / 2 * 2;
        float *out = dst + (step / 2 * 64 + step % 2 * 16) * PANEL_WIDTH;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
#pragma GCC unroll 8
            for (int shift = 0; shift < 32; shift += 4) {
                int upper = shift % 8 / 4;
                int k = 32 * upper + 4 * i + shift / 8;
                LANE_LOOP {
                    uint32_t q = (words[i][lane] >> shift) & 15u;
                    q |=
                        has_high ? ((high[i][lane] >> (shift / 8 * 8 + run + upper)) & 1u) << 4 : 0;
                    out[k * PANEL_WIDTH + lane] =
                        scales->scale[run + upper][lane] * (float)(int32_t)q -
                        scales->least[run + upper][lane];
                }
            }
        }
    }
}

// Q2_K, Q3_K: 16 bytes are 16 values of four runs that are 32 values apart.
static inline __attribute__((always_inline)) void
expand_k_pairs(const int is_q3, const struct lane_group *group, size_t at,
               const struct k_scales *scales, float *restrict dst) {
    for (int step = 0; step < 4; step++) {
        uint32_t words[4][EXPAND_LANES];
        uint32_t high[4][EXPAND_LANES];
        load_words(group->start, at + (is_q3 ? 32 : 16) + 16 * (size_t)step, words);
        load_words(group->start, at + 16 * (size_t)(step % 2), high);
        int half = step / 2;
        float *out = dst + (half * 128 + step % 2 * 16) * PANEL_WIDTH;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
#pragma GCC unroll 16
            for (int shift = 0; shift < 32; shift += 2) {
                int part = shift % 8 / 2;
                int run = half * 8 + part * 2 + step % 2;
                int k = 32 * part + 4 * i + shift / 8;
                LANE_LOOP {
                    int32_t q = (int32_t)((words[i][lane] >> shift) & 3u);
                    int32_t third =
                        (int32_t)(high[i][lane] >> (shift / 8 * 8 + half * 4 + part)) & 1;
                    q -= is_q3 ? 4 - 4 * third : 0; // a set bit subtracts nothing
                    float value = scales->scale[run][lane] * (float)q;
                    out[k * PANEL_WIDTH + lane] = is_q3 ? value : value - scales->least[run][lane];
                }
            }
        }
    }
}

// Q6_K: of 128 values the first two runs of 32 have the low nibbles of 64 bytes, the last two the
// high ones.
static inline void expand_k_six(const struct lane_group *group, size_t at,
                                const struct k_scales *scales, float *restrict dst) {
    for (int step = 0; step < 8; step++) {
        uint32_t words[4][EXPAND_LANES];
        uint32_t high[4][EXPAND_LANES];
        int half = step / 4;
        int odd = step / 2 % 2; // second 32 of the 64 bytes
        int part = step % 2;
        load_words(group->start, at + 16 * (size_t)step, words);
        load_words(group->start, at + 128 + (size_t)(half * 32 + part * 16), high);
        float *out = dst + (half * 128 + odd * 32 + part * 16) * PANEL_WIDTH;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
#pragma GCC unroll 8
            for (int shift = 0; shift < 32; shift += 4) {
                int upper = shift % 8 / 4;
                int run = half * 8 + odd * 2 + upper * 4 + part;
                int k = 64 * upper + 4 * i + shift / 8;
                LANE_LOOP {
                    uint32_t q = (words[i][lane] >> shift) & 15u;
                    q |= ((high[i][lane] >> (shift / 8 * 8 + odd * 2 + upper * 4)) & 3u) << 4;
                    out[k * PANEL_WIDTH + lane] =
                        scales->scale[run][lane] * (float)((int32_t)q - 32);
                }
            }
        }
    }
}

static inline void expand_k_blocks(const struct lane_group *group, enum hw_dtype dtype,
                                   size_t n_in) {
    for (size_t block = 0; block < n_in / 256; block++) {
        struct k_scales scales;
        size_t at = block * hw_dtype_block_bytes(dtype);
        float *dst = group->dst + 256 * block * PANEL_WIDTH;
        LANE_LOOP {
            k_scales_unpack(dtype, group->start[lane] + at, lane, &scales);
        }
        if (dtype == HW_Q4_K) {
            expand_k_nibbles(0, group, at, &scales, dst);
        } else if (dtype == HW_Q5_K) {
            expand_k_nibbles(1, group, at, &scales, dst);
        } else if (dtype == HW_Q2_K) {
            expand_k_pairs(0, group, at, &scales, dst);
        } else if (dtype == HW_Q3_K) {
            expand_k_pairs(1, group, at, &scales, dst);
        } else {
            expand_k_six(group, at, &scales, dst);
        }
    }
}

#endif
