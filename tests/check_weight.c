// See check_weight.h.
#include "check_weight.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXTRA = 5 }; // file rows before those used

// Where a block holds half-precision factors; -1: nowhere.
static void factor_places(enum hw_dtype dtype, int ret_at[2]) {
    ret_at[0] = 0;
    ret_at[1] = -1;
    switch (dtype) {
    case HW_Q4_1:
    case HW_Q5_1:
    case HW_Q4_K:
    case HW_Q5_K:
        ret_at[1] = 2;
        break;
    case HW_Q2_K:
        ret_at[0] = 80;
        ret_at[1] = 82;
        break;
    case HW_Q3_K:
        ret_at[0] = 108;
        break;
    case HW_Q6_K:
        ret_at[0] = 208;
        break;
    default:
        break;
    }
}

// A half of magnitude 2^-7 .. 2^-3, either sign.
static uint16_t random_half(uint64_t *seed) {
    uint64_t bits = check_random_bits(seed);
    return (uint16_t)((bits & 0x83ff) | (8 + (bits >> 16) % 4) << 10);
}

static void fill(enum hw_dtype dtype, unsigned char *data, size_t n_values, uint64_t *seed) {
    size_t n_blocks = n_values / hw_dtype_block_values(dtype);
    size_t block_bytes = hw_dtype_block_bytes(dtype);
    for (size_t block = 0; block < n_blocks; block++) {
        unsigned char *at = data + block * block_bytes;
        if (dtype == HW_F32 || dtype == HW_BF16) {
            float value;
            check_random_normal(seed, 1, 1, &value);
            memcpy(at, (const char *)&value + (dtype == HW_BF16 ? 2 : 0), block_bytes);
            continue;
        }
        for (size_t i = 0; i < block_bytes; i++) {
            at[i] = (unsigned char)check_random_bits(seed);
        }
        int places[2];
        factor_places(dtype, places);
        for (int i = 0; i < 2 && places[i] >= 0; i++) {
            uint16_t half = random_half(seed);
            memcpy(at + places[i], &half, sizeof half);
        }
    }
}

static uint32_t *scrambled_rows(size_t n_out, uint64_t *seed) {
    uint32_t *map = calloc(n_out, sizeof *map);
    ck_assert_ptr_nonnull(map);
    for (size_t i = 0; i < n_out; i++) {
        map[i] = (uint32_t)(i + EXTRA);
    }
    for (size_t i = n_out - 1; i > 0; i--) {
        size_t other = check_random_bits(seed) % (i + 1);
        uint32_t kept = map[i];
        map[i] = map[other];
        map[other] = kept;
    }
    return map;
}

struct check_weight check_weight_open(enum hw_dtype dtype, size_t n_out, size_t n_in,
                                      bool is_transposed, bool is_mapped, uint64_t seed) {
    struct check_weight made;
    struct hw_ops ref;
    hw_ops_init(&ref, HW_LEVEL_REF);
    memset(&made, 0, sizeof made);
    size_t n_lines = n_out + EXTRA + 1;
    size_t n_rows = is_transposed ? n_in : n_lines;
    size_t n_columns = is_transposed ? n_lines : n_in;
    size_t row_bytes = 0;
    ck_assert(hw_dtype_bytes(dtype, n_columns, &row_bytes));
    made.file = check_buffer_open(n_rows * row_bytes + 1);
    unsigned char *data = (unsigned char *)made.file.data + 1;
    fill(dtype, data, n_rows * n_columns, &seed);
    uint32_t *map = is_mapped ? scrambled_rows(n_out, &seed) : NULL;
    made.weight = (struct hw_weight){data, row_bytes,    dtype, n_out, n_in, is_mapped ? 0 : EXTRA,
                                     map,  is_transposed};
    made.dense = calloc(n_out * n_in + 1, sizeof(float));
    float *row = calloc(n_columns + 1, sizeof(float));
    ck_assert(made.dense != NULL && row != NULL);
    for (size_t r = 0; r < n_rows; r++) {
        ref.dequantize(dtype, data + r * row_bytes, n_columns, row);
        for (size_t o = 0; o < n_out; o++) {
            size_t line = map != NULL ? map[o] : o + EXTRA;
            if (is_transposed) {
                made.dense[o * n_in + r] = row[line];
            } else if (line == r) {
                memcpy(made.dense + o * n_in, row, n_in * sizeof(float));
            }
        }
    }
    free(row);
    return made;
}

void check_weight_close(struct check_weight *weight) {
    check_buffer_close(&weight->file);
    free(weight->dense);
    free((void *)(uintptr_t)weight->weight.row_map);
    memset(weight, 0, sizeof *weight);
}
