// The definition of the reductions over one row. Magnitudes are compared as bit patterns without
// the sign, which for floats is the order of |x| with NaN above infinity: so a NaN is never hidden.
#include <math.h>
#include <string.h>

#include "kernels/ops.h"

void hw_register_reductions_ref(struct hw_ops *ops);

static uint32_t magnitude_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFF;
}

static float magnitude_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void row_norm_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                         size_t n_groups, size_t width, float *out) {
    for (size_t r = 0; r < m; r++) {
        for (size_t g = 0; g < n_groups; g++) {
            const float *run = x + r * ld + g * width;
            double sum = 0;
            for (size_t c = 0; c < width; c++) {
                sum += (double)run[c] * (double)run[c];
            }
            out[r * n_groups + g] = (float)sqrt(sum);
        }
    }
}

static void row_abs_max_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                            size_t width, float *out) {
    for (size_t r = 0; r < m; r++) {
        uint32_t largest = 0;
        for (size_t c = 0; c < width; c++) {
            uint32_t bits = magnitude_bits(x[r * ld + c]);
            largest = bits > largest ? bits : largest;
        }
        out[r] = magnitude_of(largest);
    }
}

// The lower median is the smallest value that is at least as large as (width + 1) / 2 of the
// values, counting itself.
static void row_abs_median_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                               size_t width, float *out) {
    for (size_t r = 0; r < m; r++) {
        const float *row = x + r * ld;
        uint32_t best = 0x7FFFFFFF;
        for (size_t c = 0; c < width; c++) {
            uint32_t bits = magnitude_bits(row[c]);
            size_t n_below = 0;
            for (size_t other = 0; other < width; other++) {
                n_below += magnitude_bits(row[other]) <= bits;
            }
            if (n_below >= (width + 1) / 2 && bits < best) {
                best = bits;
            }
        }
        out[r] = magnitude_of(best);
    }
}

static void row_cosine_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                           size_t width, const float *reference, float *out) {
    for (size_t r = 0; r < m; r++) {
        double dot = 0;
        double squares = 0;
        double reference_squares = 0;
        for (size_t c = 0; c < width; c++) {
            double a = (double)x[r * ld + c];
            double b = (double)reference[c];
            dot += a * b;
            squares += a * a;
            reference_squares += b * b;
        }
        bool is_zero = squares == 0 || reference_squares == 0;
        out[r] = is_zero ? 0 : (float)(dot / (sqrt(squares) * sqrt(reference_squares)));
    }
}

void hw_register_reductions_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, row_norm, row_norm_ref);
    HW_OPS_SET(ops, row_abs_max, row_abs_max_ref);
    HW_OPS_SET(ops, row_abs_median, row_abs_median_ref);
    HW_OPS_SET(ops, row_cosine, row_cosine_ref);
}
