// Attention in plain C, on the compiler's vectors of four floats: 6 x 8 scores and 6 x 8 outputs to
// a register tile. Without fused multiply-adds.
#include "kernels/attention_internal.h"
#include "kernels/exp_plain.h"

void hw_register_attention_plain(struct hw_ops *ops);

typedef float four __attribute__((vector_size(16)));
typedef int32_t four_bits __attribute__((vector_size(16)));

#define VEC four
#define MASK four_bits
enum {
    WIDTH = 4,
    SCORE_ROWS = 6,
    VALUE_ROWS = 6,
    COLUMN_VECS = 2,
};
#define VALUE_VECS 2

#define vec_add(a, b) ((a) + (b))
#define vec_sub(a, b) ((a) - (b))
#define vec_mul(a, b) ((a) * (b))
#define vec_fma(a, b, c) ((a) * (b) + (c))

static inline four vec_set(float x) {
    return (four){x, x, x, x};
}

static inline four vec_zero(void) {
    return vec_set(0);
}

static inline four vec_load(const float *from) {
    four x;
    memcpy(&x, from, sizeof x);
    return x;
}

static inline void vec_store(float *to, four x) {
    memcpy(to, &x, sizeof x);
}

static inline four vec_pick(four_bits mask, four a, four b) {
    return (four)((mask & (four_bits)a) | (~mask & (four_bits)b));
}

static inline four vec_max(four a, four b) {
    return vec_pick(a > b, a, b);
}

// 0, 1, 2, 3
static inline four vec_count(void) {
    return (four){0, 1, 2, 3};
}

// The first n lanes.
static inline four_bits vec_first(size_t n) {
    return vec_count() < vec_set(n < 4 ? (float)n : 4);
}

static inline four vec_exp(four x) {
    return (four){exp_plain(x[0]), exp_plain(x[1]), exp_plain(x[2]), exp_plain(x[3])};
}

// The sums of the lanes of 4 vectors.
static inline void vec_sums(const four *x, float *ret) {
    for (size_t i = 0; i < 4; i++) {
        ret[i] = (x[i][0] + x[i][2]) + (x[i][1] + x[i][3]);
    }
}

static inline float vec_highest(four x) {
    float a = x[0] > x[2] ? x[0] : x[2];
    float b = x[1] > x[3] ? x[1] : x[3];
    return a > b ? a : b;
}

static inline unsigned mask_bits(four_bits mask) {
    return (unsigned)((mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8));
}

static inline unsigned vec_equal_bits(four a, four b) {
    return mask_bits(a == b);
}

static inline unsigned vec_above_bits(four a, four b) {
    return mask_bits(a > b);
}

static inline void vec_store_half(uint16_t *to, four x) {
    for (size_t i = 0; i < 4; i++) {
        to[i] = attention_half(x[i]);
    }
}

static inline void vec_store_u16(uint16_t *to, four x) {
    for (size_t i = 0; i < 4; i++) {
        to[i] = (uint16_t)rintf(fminf(x[i], UINT16_MAX)); // changed weights may be above 1
    }
}

#include "kernels/attention_block.h"

static void attention_plain(const struct hw_exec *exec, const struct hw_attention_args *args) {
    hw_attention_run(exec, args, attention_block);
}

void hw_register_attention_plain(struct hw_ops *ops) {
    HW_OPS_SET(ops, attention, attention_plain);
}
