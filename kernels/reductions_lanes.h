// The reductions over one row for every vector level; included after defining REDUCTIONS(name).
// Sums in double lanes; magnitudes as integers (see reductions_ref.c), which makes maxima and
// medians exact.
#include <math.h>

#include "kernels/lanes.h"
#include "kernels/ops.h"
#include "kernels/select_lanes.h"

static void REDUCTIONS(row_norm)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                 size_t n_groups, size_t width, float *out) {
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (m > 1)
    for (size_t r = 0; r < m; r++) {
        for (size_t g = 0; g < n_groups; g++) {
            double squares;
            HW_SUM_LANES(x + r * ld + g * width, width, squares, multiply_add_wide(v, v, sum_));
            out[r * n_groups + g] = (float)sqrt(squares);
        }
    }
}

static void REDUCTIONS(row_abs_max)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                    size_t width, float *out) {
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (m > 1)
    for (size_t r = 0; r < m; r++) {
        out[r] = float_of(largest_magnitude(x + r * ld, width));
    }
}

static void REDUCTIONS(row_abs_median)(const struct hw_exec *exec, const float *x, size_t m,
                                       size_t ld, size_t width, float *out) {
#pragma omp parallel num_threads(exec->n_threads) if (m > 1)
    {
        int32_t hint = 0;
#pragma omp for schedule(static)
        for (size_t r = 0; r < m; r++) {
            hint = median_magnitude(x + r * ld, width, hint);
            out[r] = float_of(hint);
        }
    }
}

static double row_dot(const float *x, const float *y, size_t n) {
    struct sums sums = {0};
    size_t c = 0;
    for (; c + N_SUMS <= n; c += N_SUMS) {
        for (int k = 0; k < N_ACCUMULATORS; k++) {
            size_t at = c + N_WIDE * (size_t)k;
            sums.part[k] = multiply_add_wide(load_wide(x + at), load_wide(y + at), sums.part[k]);
        }
    }
    for (int k = 0; c < n; c += N_WIDE, k++) {
        size_t rest = n - c < N_WIDE ? n - c : N_WIDE;
        sums.part[k] = multiply_add_wide(load_wide_part(x + c, rest), load_wide_part(y + c, rest),
                                         sums.part[k]);
    }
    return sums_total(&sums);
}

static void REDUCTIONS(row_cosine)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                   size_t width, const float *reference, float *out) {
    double reference_norm = sqrt(row_dot(reference, reference, width));
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (m > 1)
    for (size_t r = 0; r < m; r++) {
        const float *row = x + r * ld;
        double norms = sqrt(row_dot(row, row, width)) * reference_norm;
        out[r] = norms == 0 ? 0 : (float)(row_dot(row, reference, width) / norms);
    }
}
