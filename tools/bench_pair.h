// Paired timing: two pieces of work in the order A B B A, so that a neighbour's load meets both;
// only their ratio is quoted.
//
// A round whose CPU time falls short of the wall time of its threads was disturbed and is left out.
#ifndef HW_BENCH_PAIR_H
#define HW_BENCH_PAIR_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_BENCH_MAX_ROUNDS = 999 };

struct hw_bench_side {
    void (*run)(void *self);
    void *self;
    int n_threads; // busy during run
};

struct hw_bench_result {
    double ratio; // median over rounds of time A / time B
    double low;   // lower and upper quartile
    double high;
    double a_ms; // medians
    double b_ms;
    double cpu_share; // median of CPU time / (wall time x threads) over all runs
    size_t n_rounds;  // kept
    size_t n_disturbed;
    bool is_disturbed; // too few rounds were quiet: all are counted
};

// Runs n_rounds (at most HW_BENCH_MAX_ROUNDS) rounds after one run of each side to warm up.
void hw_bench_pair(const struct hw_bench_side *a, const struct hw_bench_side *b, size_t n_rounds,
                   struct hw_bench_result *result);

// Linear interpolation between the order statistics of n sorted values.
double hw_bench_quantile(const double *sorted, size_t n, double q);

#ifdef __cplusplus
}
#endif
#endif
