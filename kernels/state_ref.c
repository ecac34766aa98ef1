// The definition of the reductions over a whole state [m, width]. Magnitudes are compared as bit
// patterns without the sign (see reductions_ref.c).
#include <math.h>
#include <string.h>

#include "kernels/ops.h"

void hw_register_state_ref(struct hw_ops *ops);

static uint32_t magnitude_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFF;
}

static size_t count_up_to(const float *x, size_t m, size_t ld, size_t width, uint32_t limit) {
    size_t n = 0;
    for (size_t r = 0; r < m; r++) {
        for (size_t c = 0; c < width; c++) {
            n += magnitude_bits(x[r * ld + c]) <= limit;
        }
    }
    return n;
}

// By halving the range of bit patterns: the smallest one that at least half of the values do not
// exceed.
static float abs_median(const float *x, size_t m, size_t ld, size_t width) {
    size_t want = (m * width + 1) / 2;
    uint32_t low = 0;
    uint32_t high = 0x7FFFFFFF;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (count_up_to(x, m, ld, width, middle) >= want) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    float median;
    memcpy(&median, &low, sizeof median);
    return median;
}

static void state_stats_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                            size_t width, float *median, float *mean_abs, float *std) {
    double n = (double)m * (double)width;
    double sum = 0;
    double sum_abs = 0;
    for (size_t r = 0; r < m; r++) {
        for (size_t c = 0; c < width; c++) {
            sum += (double)x[r * ld + c];
            sum_abs += fabs((double)x[r * ld + c]);
        }
    }
    double squares = 0;
    for (size_t r = 0; r < m; r++) {
        for (size_t c = 0; c < width; c++) {
            double deviation = (double)x[r * ld + c] - sum / n;
            squares += deviation * deviation;
        }
    }
    *median = n > 0 ? abs_median(x, m, ld, width) : NAN;
    *mean_abs = (float)(sum_abs / n);
    *std = (float)sqrt(squares / n);
}

static void state_top_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                          size_t width, size_t n, struct hw_top_value *out) {
    size_t n_found = 0;
    for (size_t r = 0; r < m; r++) {
        for (size_t c = 0; c < width; c++) {
            float value = x[r * ld + c];
            size_t at = n_found;
            while (at > 0 && magnitude_bits(out[at - 1].value) < magnitude_bits(value)) {
                at--;
            }
            if (at == n) {
                continue;
            }
            n_found += n_found < n;
            memmove(out + at + 1, out + at, (n_found - at - 1) * sizeof *out);
            out[at] = (struct hw_top_value){value, (uint32_t)r, (uint32_t)c};
        }
    }
    for (size_t i = n_found; i < n; i++) {
        out[i] = (struct hw_top_value){NAN, UINT32_MAX, UINT32_MAX};
    }
}

static size_t state_events_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                               size_t width, float floor, float least, size_t limit,
                               struct hw_top_value *out) {
    size_t n = 0;
    for (size_t r = 0; r < m; r++) {
        for (size_t c = 0; c < width; c++) {
            float value = x[r * ld + c];
            if (fabsf(value) > floor && fabsf(value) >= least) {
                if (n < limit) {
                    out[n] = (struct hw_top_value){value, (uint32_t)r, (uint32_t)c};
                }
                n++;
            }
        }
    }
    return n;
}

void hw_register_state_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, state_stats, state_stats_ref);
    HW_OPS_SET(ops, state_top, state_top_ref);
    HW_OPS_SET(ops, state_events, state_events_ref);
}
