// rms_norm and layer_norm for every vector level; norms_plain.c, norms_avx2.c and norms_avx512.c
// include this after defining NORMS(name), the name of the level's function. Statistics of a row
// are in double, what is written is rounded from float.
#include <math.h>

#include "kernels/lanes.h"
#include "kernels/ops.h"

static void rms_row(const float *x, size_t d, const float *weight, float eps, float *y,
                    float *scale) {
    double squares;
    HW_SUM_LANES(x, d, squares, multiply_add_wide(v, v, sum_));
    float factor = (float)(1 / sqrt(squares / (double)d + (double)eps));
    if (weight != NULL) {
        for (size_t c = 0; c < d; c++) {
            y[c] = x[c] * factor * weight[c];
        }
    } else {
        for (size_t c = 0; c < d; c++) {
            y[c] = x[c] * factor;
        }
    }
    if (scale != NULL) {
        *scale = factor;
    }
}

static void NORMS(rms_norm)(const struct hw_exec *exec, const float *x, size_t m, size_t d,
                            const float *weight, float eps, float *y, float *scale) {
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (m > 1)
    for (size_t r = 0; r < m; r++) {
        rms_row(x + r * d, d, weight, eps, y + r * d, scale != NULL ? scale + r : NULL);
    }
}

// The mean is taken off in double: where it is large against the deviations, rounding it to float
// would move every output.
HW_LANES lanes layer_step(lanes x, double mean, float factor) {
    return narrow(widen_low(x) - mean, widen_high(x) - mean) * factor;
}

static void layer_row(const float *x, size_t d, const float *weight, const float *bias, float eps,
                      float *y, float *scale) {
    double sum;
    HW_SUM_LANES(x, d, sum, sum_ + v);
    double mean = sum / (double)d;
    size_t whole = d - d % N_SUMS; // behind it, padding would count as values
    double squares;
    HW_SUM_LANES(x, whole, squares, multiply_add_wide(v - mean, v - mean, sum_));
    for (size_t c = whole; c < d; c++) {
        squares += ((double)x[c] - mean) * ((double)x[c] - mean);
    }
    float factor = (float)(1 / sqrt(squares / (double)d + (double)eps));
    whole = d - d % N_LANES;
    for (size_t c = 0; c < whole; c += N_LANES) {
        store_lanes(y + c, layer_step(load_lanes(x + c), mean, factor));
    }
    if (whole < d) {
        lanes last = load_lanes_part(x + whole, d - whole);
        store_lanes_part(y + whole, layer_step(last, mean, factor), d - whole);
    }
    for (size_t c = 0; weight != NULL && c < d; c++) {
        y[c] *= weight[c];
    }
    for (size_t c = 0; bias != NULL && c < d; c++) {
        y[c] += bias[c];
    }
    if (scale != NULL) {
        *scale = factor;
    }
}

static void NORMS(layer_norm)(const struct hw_exec *exec, const float *x, size_t m, size_t d,
                              const float *weight, const float *bias, float eps, float *y,
                              float *scale) {
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (m > 1)
    for (size_t r = 0; r < m; r++) {
        layer_row(x + r * d, d, weight, bias, eps, y + r * d, scale != NULL ? scale + r : NULL);
    }
}
