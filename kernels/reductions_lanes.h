// The reductions over one row for every vector level; included after defining REDUCTIONS(name).
// Sums in double lanes; magnitudes as integers (see reductions_ref.c), which makes maxima and
// medians exact.
#include <math.h>

#include "kernels/lanes.h"
#include "kernels/ops.h"

static void REDUCTIONS(row_norm)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                 size_t n_groups, size_t width, float *out) {
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (m > 1)
    for (size_t r = 0; r < m; r++) {
        for (size_t g = 0; g < n_groups; g++) {
            double squares;
            HW_SUM_LANES(x + r * ld + g * width, width, squares, v * v);
            out[r * n_groups + g] = (float)sqrt(squares);
        }
    }
}

static int32_t largest16(i32x16 v) {
    int32_t largest = 0;
    for (int i = 0; i < 16; i++) {
        largest = v[i] > largest ? v[i] : largest;
    }
    return largest;
}

HW_LANES i32x16 magnitude16_part(const float *x, size_t n) {
    i32x16 v = {0};
    memcpy(&v, x, n * sizeof *x);
    return v & 0x7FFFFFFF;
}

static int32_t row_largest(const float *x, size_t n) {
    i32x16 largest = {0};
    for (size_t c = 0; c < n; c += 16) {
        i32x16 v = n - c < 16 ? magnitude16_part(x + c, n - c) : magnitude16(x + c);
        i32x16 is_larger = v > largest;
        largest = (v & is_larger) | (largest & ~is_larger);
    }
    return largest16(largest);
}

static float float_of(int32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void REDUCTIONS(row_abs_max)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                    size_t width, float *out) {
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (m > 1)
    for (size_t r = 0; r < m; r++) {
        out[r] = float_of(row_largest(x + r * ld, width));
    }
}

// How many of n values have a magnitude of at most `limit`.
static size_t count_up_to(const float *x, size_t n, int32_t limit) {
    i32x16 counts[2] = {{0}, {0}};
    size_t c = 0;
    for (; c + 32 <= n; c += 32) {
        counts[0] -= magnitude16(x + c) <= limit; // a true lane is -1
        counts[1] -= magnitude16(x + c + 16) <= limit;
    }
    counts[0] += counts[1];
    size_t total = 0;
    for (int i = 0; i < 16; i++) {
        total += (size_t)counts[0][i];
    }
    for (; c < n; c++) {
        int32_t bits;
        memcpy(&bits, x + c, sizeof bits);
        total += (bits & 0x7FFFFFFF) <= limit;
    }
    return total;
}

// The smallest bit pattern that at least half of the values do not exceed, by halving the range of
// patterns: at most 31 counts of a row that stays in the cache, without a copy and without
// unpredictable branches.
static float row_median(const float *x, size_t n) {
    size_t want = n / 2 + n % 2;
    int32_t low = 0;
    int32_t high = row_largest(x, n);
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (count_up_to(x, n, middle) >= want) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return float_of(low);
}

static void REDUCTIONS(row_abs_median)(const struct hw_exec *exec, const float *x, size_t m,
                                       size_t ld, size_t width, float *out) {
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (m > 1)
    for (size_t r = 0; r < m; r++) {
        out[r] = row_median(x + r * ld, width);
    }
}

static double row_dot(const float *x, const float *y, size_t n) {
    f64x8 acc[4] = {{0}, {0}, {0}, {0}};
    size_t c = 0;
    for (; c + 32 <= n; c += 32) {
        for (int k = 0; k < 4; k++) {
            acc[k] += widen8(load8(x + c + 8 * k)) * widen8(load8(y + c + 8 * k));
        }
    }
    for (int k = 0; c < n; c += 8, k++) {
        size_t rest = n - c < 8 ? n - c : 8;
        acc[k] += widen8(load8_part(x + c, rest)) * widen8(load8_part(y + c, rest));
    }
    return sum8((acc[0] + acc[1]) + (acc[2] + acc[3]));
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
