// The arithmetic ceiling of this processor: independent chains of fused multiply-adds and nothing
// else.
#ifndef HW_BENCH_FMA_H
#define HW_BENCH_FMA_H

#include "kernels/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

// Runs at least `flops` floating point operations, shared by n_threads, with the widest vectors of
// `level`.
void hw_bench_fma(enum hw_level level, int n_threads, double flops);

#ifdef __cplusplus
}
#endif
#endif
