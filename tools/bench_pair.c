// Paired timing; see bench_pair.h.
#include "tools/bench_pair.h"

#include <stdlib.h>
#include <time.h>

static const double QUIET_SHARE = .9; // below it somebody else had the processor
enum { LEAST_QUIET = 3 };

struct lap {
    double wall_s;
    double cpu_share;
};

static double seconds(clockid_t clock) {
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct lap time_side(const struct hw_bench_side *side) {
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    double wall = seconds(CLOCK_MONOTONIC);
    side->run(side->self);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = wall > 1e-9 ? wall : 1e-9;
    return (struct lap){wall, cpu / (wall * side->n_threads)};
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double hw_bench_quantile(const double *sorted, size_t n, double q) {
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    if (i + 1 >= n) {
        return sorted[n - 1];
    }
    return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, compare);
    return hw_bench_quantile(values, n, .5);
}

void hw_bench_pair(const struct hw_bench_side *a, const struct hw_bench_side *b, size_t n_rounds,
                   struct hw_bench_result *result) {
    static double ratios[2][HW_BENCH_MAX_ROUNDS]; // of quiet rounds, of all
    static double a_s[HW_BENCH_MAX_ROUNDS];
    static double b_s[HW_BENCH_MAX_ROUNDS];
    static double shares[HW_BENCH_MAX_ROUNDS];
    size_t n_quiet = 0;
    a->run(a->self);
    b->run(b->self);
    for (size_t i = 0; i < n_rounds; i++) {
        struct lap laps[4] = {time_side(a), time_side(b), time_side(b), time_side(a)};
        double least = laps[0].cpu_share;
        for (size_t j = 1; j < 4; j++) {
            least = laps[j].cpu_share < least ? laps[j].cpu_share : least;
        }
        a_s[i] = (laps[0].wall_s + laps[3].wall_s) / 2;
        b_s[i] = (laps[1].wall_s + laps[2].wall_s) / 2;
        shares[i] = least;
        ratios[1][i] = a_s[i] / b_s[i];
        if (least >= QUIET_SHARE) {
            ratios[0][n_quiet++] = ratios[1][i];
        }
    }
    bool is_disturbed = n_quiet < LEAST_QUIET;
    double *kept = ratios[is_disturbed];
    size_t n_kept = is_disturbed ? n_rounds : n_quiet;
    *result = (struct hw_bench_result){
        .ratio = median(kept, n_kept), // sorts
        .low = hw_bench_quantile(kept, n_kept, .25),
        .high = hw_bench_quantile(kept, n_kept, .75),
        .a_ms = median(a_s, n_rounds) * 1e3,
        .b_ms = median(b_s, n_rounds) * 1e3,
        .cpu_share = median(shares, n_rounds),
        .n_rounds = n_kept,
        .n_disturbed = n_rounds - n_quiet,
        .is_disturbed = is_disturbed,
    };
}
