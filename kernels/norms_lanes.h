// rms_norm and layer_norm for every vector level; norms_plain.c, norms_avx2.c and norms_avx512.c
// include this after defining NORMS(name), the name of the level's function. Statistics of a row
// are in double, what is written is rounded from float.
#include <math.h>

#include "kernels/lanes.h"
#include "kernels/ops.h"

static void rms_row(const float *x, size_t d, const float *weight, float eps, float *y,
                    float *scale) {
    double squares;
    HW_SUM_LANES(x, d, squares, v * v);
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
HW_LANES f32x8 layer_step(f32x8 x, double mean, float factor, const float *weight,
                          const float *bias, size_t c, size_t n) {
    f32x8 y = narrow8(widen8(x) - mean) * factor;
    if (weight != NULL) {
        y *= n < 8 ? load8_part(weight + c, n) : load8(weight + c);
    }
    if (bias != NULL) {
        y += n < 8 ? load8_part(bias + c, n) : load8(bias + c);
    }
    return y;
}

static void layer_row(const float *x, size_t d, const float *weight, const float *bias, float eps,
                      float *y, float *scale) {
    double sum;
    HW_SUM_LANES(x, d, sum, v);
    double mean = sum / (double)d;
    size_t whole = d - d % 8;
    double squares;
    HW_SUM_LANES(x, whole, squares, (v - mean) * (v - mean));
    for (size_t c = whole; c < d; c++) {
        squares += ((double)x[c] - mean) * ((double)x[c] - mean);
    }
    float factor = (float)(1 / sqrt(squares / (double)d + (double)eps));
    for (size_t c = 0; c < whole; c += 8) {
        store8(y + c, layer_step(load8(x + c), mean, factor, weight, bias, c, 8), 8);
    }
    if (whole < d) {
        size_t n = d - whole;
        f32x8 last = load8_part(x + whole, n);
        store8(y + whole, layer_step(last, mean, factor, weight, bias, whole, n), n);
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
