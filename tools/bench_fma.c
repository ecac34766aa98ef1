// The arithmetic ceiling; see bench_fma.h.
//
// Twelve chains hide the latency of four cycles at two multiply-adds a cycle with room to spare.
// The values stay 1 (1 * 0 + 1), so nothing becomes denormal or infinite. The empty asm keeps the
// compiler from seeing that.
#include "tools/bench_fma.h"

#include <stddef.h>

enum { CHAINS = 12 };

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define START(c) vector sum##c = one;
#if defined(__x86_64__)
#define STEP(c) __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(sum##c) : "v"(zero), "v"(one));
#define KEEP(c) __asm__ volatile("" : : "v"(sum##c));
#define BURST(name, flags, vector_bytes)                                                           \
    __attribute__((target(flags), noinline)) static void name(size_t n) {                          \
        typedef float vector __attribute__((vector_size(vector_bytes)));                           \
        vector zero = {0};                                                                         \
        vector one = zero + 1.0f;                                                                  \
        EACH(START)                                                                                \
        for (size_t i = 0; i < n; i++) {                                                           \
            EACH(STEP)                                                                             \
        }                                                                                          \
        EACH(KEEP)                                                                                 \
    }
// clang-format off
BURST(burst_avx512, "avx512f", 64)
BURST(burst_avx2, "avx2,fma", 32)
// clang-format on
#endif

// Without fused operations: multiply, then add, in vectors that every machine has.
static void burst_plain(size_t n) {
    typedef float vector __attribute__((vector_size(16)));
    vector zero = {0};
    vector one = zero + 1.0f;
    __asm__ volatile("" : "+m"(zero), "+m"(one)); // their values are unknown from here on
#define MULTIPLY_ADD(c) sum##c = sum##c * one + zero;
#define STORE(c) __asm__ volatile("" : : "m"(sum##c));
    EACH(START)
    for (size_t i = 0; i < n; i++) {
        EACH(MULTIPLY_ADD)
    }
    EACH(STORE)
}

void hw_bench_fma(enum hw_level level, int n_threads, double flops) {
    size_t lanes = level == HW_LEVEL_AVX512 ? 16 : level == HW_LEVEL_AVX2 ? 8 : 4;
    size_t n = (size_t)(flops / n_threads / (double)(2 * CHAINS * lanes)) + 1;
#pragma omp parallel num_threads(n_threads)
    {
#if defined(__x86_64__)
        if (level == HW_LEVEL_AVX512) {
            burst_avx512(n);
        } else if (level == HW_LEVEL_AVX2) {
            burst_avx2(n);
        } else
#endif
        {
            burst_plain(n);
        }
    }
}
