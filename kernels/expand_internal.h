// Weights expanded into packed panels [input, PANEL_WIDTH], EXPAND_LANES outputs side by side;
// included after a tile_*_internal.h.
//
// Quantised blocks are not expanded row by row and transposed: one 32-bit word of each of
// EXPAND_LANES rows is put into the lanes of a vector, and shifting it by the same number in all
// lanes yields the same input of every output, ready to be stored. The loops over lanes are left to
// the vectoriser. The order of float operations is that of dequantize_internal.h.
#ifndef HW_EXPAND_INTERNAL_H
#define HW_EXPAND_INTERNAL_H

#include "kernels/expand_k_internal.h"
#include "kernels/weight_internal.h"

// What the blocks of 32 values differ in.
struct block_form {
    int n_bytes;
    int has_min;
    int has_high;  // 32 fifth bits follow the factors
    int values_at; // offset of the nibbles
    int zero;      // what is subtracted from a value
};

static inline __attribute__((always_inline)) void
expand_nibble_blocks(const struct block_form form, const struct lane_group *group, size_t n_in) {
    for (size_t block = 0; block < n_in / 32; block++) {
        uint32_t high[EXPAND_LANES];
        uint32_t head[4][EXPAND_LANES];
        uint32_t words[4][EXPAND_LANES];
        size_t at = block * (size_t)form.n_bytes;
        load_words(group->start, at, head);
        load_words(group->start, at + (size_t)form.values_at, words);
        LANE_LOOP {
            high[lane] = form.has_min ? head[1][lane] : head[0][lane] >> 16 | head[1][lane] << 16;
        }
        float d[EXPAND_LANES];
        float least[EXPAND_LANES];
        halves_to_floats(head[0], 0, d);
        if (form.has_min) {
            halves_to_floats(head[0], 16, least);
        }
        float *restrict dst = group->dst + 32 * block * PANEL_WIDTH;
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
#pragma GCC unroll 8
            for (int shift = 0; shift < 32; shift += 4) {
                int k = 4 * i + shift / 8 + shift % 8 * 4; // low nibbles are inputs 0-15
                LANE_LOOP {
                    uint32_t q = (words[i][lane] >> shift) & 15u;
                    q |= form.has_high ? ((high[lane] >> k) & 1u) << 4 : 0;
                    float value = d[lane] * (float)((int32_t)q - form.zero);
                    dst[k * PANEL_WIDTH + lane] = form.has_min ? value + least[lane] : value;
                }
            }
        }
    }
}

static inline void expand_byte_blocks(const struct lane_group *group, size_t n_in) {
    for (size_t block = 0; block < n_in / 32; block++) {
        uint32_t head[4][EXPAND_LANES];
        uint32_t words[8][EXPAND_LANES];
        load_words(group->start, block * 34, head);
        load_words(group->start, block * 34 + 2, words);
        load_words(group->start, block * 34 + 18, words + 4);
        float d[EXPAND_LANES];
        halves_to_floats(head[0], 0, d);
        float *restrict dst = group->dst + 32 * block * PANEL_WIDTH;
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
#pragma GCC unroll 4
            for (int byte = 0; byte < 4; byte++) {
                LANE_LOOP {
                    int32_t q = (int32_t)(words[i][lane] << (24 - 8 * byte)) >> 24;
                    dst[(4 * i + byte) * PANEL_WIDTH + lane] = (float)q * d[lane];
                }
            }
        }
    }
}

static inline void expand_plain(const struct lane_group *group, enum hw_dtype dtype, size_t n_in) {
    size_t value_bytes = hw_dtype_block_bytes(dtype);
    size_t k = 0;
    for (; k + 16 <= n_in; k += 16) {
        const uint8_t *src[EXPAND_LANES];
        LANE_LOOP {
            src[lane] = group->start[lane] + k * value_bytes;
        }
        float *dst = group->dst + k * PANEL_WIDTH;
        if (dtype == HW_F32) {
            transpose_f32(src, dst, PANEL_WIDTH);
        } else if (dtype == HW_F16) {
            transpose_f16(src, dst, PANEL_WIDTH);
        } else {
            transpose_bf16(src, dst, PANEL_WIDTH);
        }
    }
    for (; k < n_in; k++) {
        LANE_LOOP {
            expand_values(dtype, group->start[lane] + k * value_bytes, 1,
                          group->dst + k * PANEL_WIDTH + lane);
        }
    }
}

// The file has [in, out]: outputs that follow one another are copied, others are picked.
static inline void expand_transposed(const struct lane_group *group, const struct hw_weight *w,
                                     size_t n_in) {
    size_t value_bytes = hw_dtype_block_bytes(w->dtype);
    int is_run = 1;
    for (int lane = 1; lane < EXPAND_LANES; lane++) {
        is_run = is_run && group->start[lane] == group->start[lane - 1] + value_bytes;
    }
    for (size_t k = 0; k < n_in; k++) {
        float *dst = group->dst + k * PANEL_WIDTH;
        if (is_run) {
            expand_values(w->dtype, group->start[0] + k * w->row_bytes, EXPAND_LANES, dst);
            continue;
        }
        LANE_LOOP {
            expand_values(w->dtype, group->start[lane] + k * w->row_bytes, 1, dst + lane);
        }
    }
}

static inline void expand_group(const struct lane_group *group, const struct hw_weight *w,
                                size_t n_in) {
    static const struct block_form q4_0 = {18, 0, 0, 2, 8};
    static const struct block_form q4_1 = {20, 1, 0, 4, 0};
    static const struct block_form q5_0 = {22, 0, 1, 6, 16};
    static const struct block_form q5_1 = {24, 1, 1, 8, 0};
    if (w->is_transposed) {
        expand_transposed(group, w, n_in);
        return;
    }
    switch (w->dtype) {
    case HW_F32:
    case HW_F16:
    case HW_BF16:
        expand_plain(group, w->dtype, n_in);
        break;
    case HW_Q4_0:
        expand_nibble_blocks(q4_0, group, n_in);
        break;
    case HW_Q4_1:
        expand_nibble_blocks(q4_1, group, n_in);
        break;
    case HW_Q5_0:
        expand_nibble_blocks(q5_0, group, n_in);
        break;
    case HW_Q5_1:
        expand_nibble_blocks(q5_1, group, n_in);
        break;
    case HW_Q8_0:
        expand_byte_blocks(group, n_in);
        break;
    default:
        expand_k_blocks(group, w->dtype, n_in);
        break;
    }
}

// Outputs first .. first + n_out, inputs k .. k + n_in (k a multiple of
// 256), into consecutive panels of PANEL_WIDTH outputs, n_in * PANEL_WIDTH floats each. Lanes
// beyond the last output repeat it.
static inline void expand_panel(const struct hw_weight *w, size_t first, size_t n_out, size_t k,
                                size_t n_in, float *dst) {
    size_t k_bytes = w->is_transposed
                         ? k * w->row_bytes
                         : k / hw_dtype_block_values(w->dtype) * hw_dtype_block_bytes(w->dtype);
    size_t n_lanes = hw_size_div_up(n_out, PANEL_WIDTH) * PANEL_WIDTH;
    for (size_t lane0 = 0; lane0 < n_lanes; lane0 += EXPAND_LANES) {
        struct lane_group group;
        LANE_LOOP {
            size_t output = hw_size_min(lane0 + (size_t)lane, n_out - 1);
            group.start[lane] = weight_start(w, first + output) + k_bytes;
        }
        group.dst = dst + lane0 / PANEL_WIDTH * PANEL_WIDTH * n_in + lane0 % PANEL_WIDTH;
        expand_group(&group, w, n_in);
    }
}

#endif
