// The definition of rms_norm and layer_norm: every sum and every product in double, rounded once.
#include <math.h>

#include "kernels/ops.h"

void hw_register_norms_ref(struct hw_ops *ops);

static void rms_norm_ref(const struct hw_exec *exec, const float *x, size_t m, size_t d,
                         const float *weight, float eps, float *y, float *scale) {
    for (size_t r = 0; r < m; r++) {
        const float *row = x + r * d;
        double sum = 0;
        for (size_t c = 0; c < d; c++) {
            sum += (double)row[c] * (double)row[c];
        }
        double factor = 1 / sqrt(sum / (double)d + (double)eps);
        for (size_t c = 0; c < d; c++) {
            double gain = weight != NULL ? (double)weight[c] : 1;
            y[r * d + c] = (float)((double)row[c] * factor * gain);
        }
        if (scale != NULL) {
            scale[r] = (float)factor;
        }
    }
}

static void layer_norm_ref(const struct hw_exec *exec, const float *x, size_t m, size_t d,
                           const float *weight, const float *bias, float eps, float *y,
                           float *scale) {
    for (size_t r = 0; r < m; r++) {
        const float *row = x + r * d;
        double sum = 0;
        for (size_t c = 0; c < d; c++) {
            sum += (double)row[c];
        }
        double mean = sum / (double)d;
        double squares = 0;
        for (size_t c = 0; c < d; c++) {
            double deviation = (double)row[c] - mean;
            squares += deviation * deviation;
        }
        double factor = 1 / sqrt(squares / (double)d + (double)eps);
        for (size_t c = 0; c < d; c++) {
            double gain = weight != NULL ? (double)weight[c] : 1;
            double shift = bias != NULL ? (double)bias[c] : 0;
            y[r * d + c] = (float)(((double)row[c] - mean) * factor * gain + shift);
        }
        if (scale != NULL) {
            scale[r] = (float)factor;
        }
    }
}

void hw_register_norms_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, rms_norm, rms_norm_ref);
    HW_OPS_SET(ops, layer_norm, layer_norm_ref);
}
