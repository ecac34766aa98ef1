// Vectors of a fixed number of lanes, in the compiler's own vector types.
//
// The same source is compiled once per level; what a level lacks the compiler splits. Products and
// sums are never fused, so every level gives the same bits. Sums run over fixed lanes and end in a
// fixed tree, so they depend on nothing but the values.
#ifndef HW_LANES_H
#define HW_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Everything here is inlined, so the calling convention of wide vectors does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

typedef float f32x8 __attribute__((vector_size(32)));
typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef double f64x8 __attribute__((vector_size(64)));
typedef int64_t i64x8 __attribute__((vector_size(64)));
typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));

#define HW_LANES static inline __attribute__((always_inline))

HW_LANES f32x8 load8(const float *x) {
    f32x8 v;
    memcpy(&v, x, sizeof v);
    return v;
}

// The first n (< 8) values, zeros behind them.
HW_LANES f32x8 load8_part(const float *x, size_t n) {
    f32x8 v = {0};
    memcpy(&v, x, n * sizeof *x);
    return v;
}

HW_LANES void store8(float *y, f32x8 v, size_t n) {
    memcpy(y, &v, n < 8 ? n * sizeof *y : sizeof v);
}

HW_LANES f32x16 load16(const float *x) {
    f32x16 v;
    memcpy(&v, x, sizeof v);
    return v;
}

HW_LANES f32x16 load16_part(const float *x, size_t n) {
    f32x16 v = {0};
    memcpy(&v, x, n * sizeof *x);
    return v;
}

HW_LANES i32x16 magnitude16(const float *x) {
    i32x16 v;
    memcpy(&v, x, sizeof v);
    return v & 0x7FFFFFFF;
}

HW_LANES f64x8 widen8(f32x8 v) {
    return __builtin_convertvector(v, f64x8);
}

HW_LANES f32x8 narrow8(f64x8 v) {
    return __builtin_convertvector(v, f32x8);
}

HW_LANES double sum8(f64x8 v) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// Sum of f(v) over n values: `step` is an expression in f64x8 v that gives an f64x8 which is 0
// where v is padding. Four accumulators hide the latency of the additions; value c always lands in
// accumulator (c / 8) % 4.
#define HW_SUM_LANES(x, n, ret_sum, step)                                                          \
    do {                                                                                           \
        f64x8 acc_[4] = {{0}, {0}, {0}, {0}};                                                      \
        size_t c_ = 0;                                                                             \
        for (; c_ + 32 <= (n); c_ += 32) {                                                         \
            for (int k_ = 0; k_ < 4; k_++) {                                                       \
                f64x8 v = widen8(load8((x) + c_ + 8 * k_));                                        \
                acc_[k_] += (step);                                                                \
            }                                                                                      \
        }                                                                                          \
        for (int k_ = 0; c_ < (n); c_ += 8, k_++) {                                                \
            f64x8 v = widen8((n)-c_ < 8 ? load8_part((x) + c_, (n)-c_) : load8((x) + c_));         \
            acc_[k_] += (step);                                                                    \
        }                                                                                          \
        (ret_sum) = sum8((acc_[0] + acc_[1]) + (acc_[2] + acc_[3]));                               \
    } while (0)

#endif
