// Vectors of as many lanes as the level's registers have, in the compiler's own vector types.
//
// The same source is compiled once per level. Sums run over 32 lanes in double, whatever the level,
// and end in a fixed tree, so they depend on nothing but the values. Products and sums are fused
// where multiply_add says so and the level can.
#ifndef HW_LANES_H
#define HW_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

// Everything here is inlined, so the calling convention of wide vectors does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

// N floats or 32-bit integers fill a register of the level, M = N / 2 doubles do so too. Wider
// vectors than the level has would be taken apart lane by lane where they are compared.
#if defined(__AVX512F__)
enum { N_LANES = 16 };
#define HW_LOW_HALF 0, 1, 2, 3, 4, 5, 6, 7
#define HW_HIGH_HALF 8, 9, 10, 11, 12, 13, 14, 15
#elif defined(__AVX2__)
enum { N_LANES = 8 };
#define HW_LOW_HALF 0, 1, 2, 3
#define HW_HIGH_HALF 4, 5, 6, 7
#else
enum { N_LANES = 4 };
#define HW_LOW_HALF 0, 1
#define HW_HIGH_HALF 2, 3
#endif
enum { N_WIDE = N_LANES / 2, N_SUMS = 32, N_ACCUMULATORS = N_SUMS / N_WIDE };

typedef float lanes __attribute__((vector_size(4 * N_LANES)));
typedef int32_t int_lanes __attribute__((vector_size(4 * N_LANES)));
typedef uint32_t uint_lanes __attribute__((vector_size(4 * N_LANES)));
typedef float half_lanes __attribute__((vector_size(2 * N_LANES)));
typedef double wide_lanes __attribute__((vector_size(4 * N_LANES)));
typedef int64_t wide_int_lanes __attribute__((vector_size(4 * N_LANES)));

#define HW_LANES static inline __attribute__((always_inline))

HW_LANES lanes load_lanes(const float *x) {
    lanes v;
    memcpy(&v, x, sizeof v);
    return v;
}

// The first n (< N_LANES) values, zeros behind them.
HW_LANES lanes load_lanes_part(const float *x, size_t n) {
    lanes v = {0};
    memcpy(&v, x, n * sizeof *x);
    return v;
}

HW_LANES void store_lanes(float *y, lanes v) {
    memcpy(y, &v, sizeof v);
}

HW_LANES void store_lanes_part(float *y, lanes v, size_t n) {
    memcpy(y, &v, n * sizeof *y);
}

// Bits of |x|.
HW_LANES int_lanes load_magnitudes(const float *x) {
    int_lanes v;
    memcpy(&v, x, sizeof v);
    return v & 0x7FFFFFFF;
}

// Bit i is set where lane i of a comparison's result is true.
HW_LANES uint32_t lane_mask(int_lanes v) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)v, (__m512i)v);
#elif defined(__AVX2__)
    return (uint32_t)_mm256_movemask_ps((__m256)v);
#else
    return (uint32_t)((v[0] & 1) | (v[1] & 2) | (v[2] & 4) | (v[3] & 8));
#endif
}

HW_LANES wide_lanes widen(half_lanes v) {
#if defined(__AVX512F__)
    return _mm512_cvtps_pd(v); // the compiler's own conversion goes through two halves
#else
    return __builtin_convertvector(v, wide_lanes);
#endif
}

HW_LANES half_lanes narrow_half(wide_lanes v) {
#if defined(__AVX512F__)
    return _mm512_cvtpd_ps(v);
#else
    return __builtin_convertvector(v, half_lanes);
#endif
}

// a * b + c, rounded once where the level can.
HW_LANES lanes multiply_add(lanes a, lanes b, lanes c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}

HW_LANES wide_lanes multiply_add_wide(wide_lanes a, wide_lanes b, wide_lanes c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(__AVX2__)
    return _mm256_fmadd_pd(a, b, c);
#else
    return a * b + c;
#endif
}

HW_LANES lanes all_lanes(float x) {
    return (lanes){0} + x;
}

HW_LANES wide_lanes all_wide(double x) {
    return (wide_lanes){0} + x;
}

HW_LANES wide_lanes load_wide(const float *x) {
    half_lanes v;
    memcpy(&v, x, sizeof v);
    return widen(v);
}

HW_LANES wide_lanes load_wide_part(const float *x, size_t n) {
    half_lanes v = {0};
    memcpy(&v, x, n * sizeof *x);
    return widen(v);
}

HW_LANES wide_lanes widen_low(lanes v) {
    return widen(__builtin_shufflevector(v, v, HW_LOW_HALF));
}

HW_LANES wide_lanes widen_high(lanes v) {
    return widen(__builtin_shufflevector(v, v, HW_HIGH_HALF));
}

HW_LANES lanes narrow(wide_lanes low, wide_lanes high) {
    return __builtin_shufflevector(narrow_half(low), narrow_half(high), HW_LOW_HALF, HW_HIGH_HALF);
}

HW_LANES lanes select_lanes(int_lanes is_first, lanes first, lanes second) {
    return (lanes)((is_first & (int_lanes)first) | (~is_first & (int_lanes)second));
}

HW_LANES lanes magnitude(lanes x) {
    return (lanes)((int_lanes)x & 0x7FFFFFFF);
}

// 32 running sums in double, whatever the width of a register is: value c of a row belongs to sum c
// % 32.
struct sums {
    wide_lanes part[N_ACCUMULATORS];
};

// The 32 sums in a fixed tree.
HW_LANES double sums_total(const struct sums *sums) {
    double s[N_SUMS];
    memcpy(s, sums->part, sizeof s);
    for (int n = N_SUMS / 2; n > 0; n /= 2) {
        for (int i = 0; i < n; i++) {
            s[i] += s[i + n];
        }
    }
    return s[0];
}

// Runs sum_ = `step` over n values: an expression in wide_lanes sum_ and v (values of x, zeros
// behind the last).
#define HW_SUM_LANES(x, n, ret_sum, step)                                                          \
    do {                                                                                           \
        struct sums sums_ = {0};                                                                   \
        size_t at_ = 0;                                                                            \
        for (; at_ + N_SUMS <= (n); at_ += N_SUMS) {                                               \
            for (int k_ = 0; k_ < N_ACCUMULATORS; k_++) {                                          \
                wide_lanes v = load_wide((x) + at_ + N_WIDE * k_);                                 \
                wide_lanes sum_ = sums_.part[k_];                                                  \
                sums_.part[k_] = (step);                                                           \
            }                                                                                      \
        }                                                                                          \
        for (int k_ = 0; at_ < (n); at_ += N_WIDE, k_++) {                                         \
            size_t rest_ = (n)-at_;                                                                \
            wide_lanes v =                                                                         \
                rest_ < N_WIDE ? load_wide_part((x) + at_, rest_) : load_wide((x) + at_);          \
            wide_lanes sum_ = sums_.part[k_];                                                      \
            sums_.part[k_] = (step);                                                               \
        }                                                                                          \
        (ret_sum) = sums_total(&sums_);                                                            \
    } while (0)

#endif
