// Exact sums of activations; see means.h.
//
// A float x is rounded to the nearest multiple q of 2^-30 (ties to even) once, when it is added:
// |x - q| <= 2^-31, an error that does not grow with the number of rows. From there on everything
// is integer.
#include "probes/means.h"

#include <math.h>
#include <stdlib.h>

#include "formats/mean_sums.h"
#include "kernels/size.h"

static const double unit = 1073741824.0;           // 2^30
static const double limit = 9223372036854774784.0; // the largest double below 2^63

struct hw_means {
    size_t n_groups;
    size_t n_rows;
    size_t width;
    int64_t *sums;   // [n_groups, n_rows, width]
    int64_t *counts; // [n_groups, n_rows]
};

// Elements of sums; false where sizes overflow.
static bool sizes_of(size_t n_groups, size_t n_rows, size_t width, size_t *ret_counts,
                     size_t *ret_sums, size_t *ret_bytes) {
    size_t all;
    return hw_size_mul(n_groups, n_rows, ret_counts) && hw_size_mul(*ret_counts, width, ret_sums) &&
           hw_size_add(*ret_sums, *ret_counts, &all) && hw_size_mul(all, sizeof(int64_t), &all) &&
           hw_size_add(all, sizeof(struct hw_means), ret_bytes);
}

size_t hw_means_bytes(size_t n_groups, size_t n_rows, size_t width) {
    size_t n_counts;
    size_t n_sums;
    size_t bytes;
    return sizes_of(n_groups, n_rows, width, &n_counts, &n_sums, &bytes) ? bytes : SIZE_MAX;
}

enum hw_status hw_means_open(size_t n_groups, size_t n_rows, size_t width,
                             struct hw_means **ret_means, struct hw_error *err) {
    size_t n_counts;
    size_t n_sums;
    size_t bytes;
    struct hw_means *means = NULL;
    if (sizes_of(n_groups, n_rows, width, &n_counts, &n_sums, &bytes)) {
        means = calloc(1, sizeof *means);
    }
    if (means != NULL) {
        *means = (struct hw_means){.n_groups = n_groups, .n_rows = n_rows, .width = width};
        means->sums = calloc(n_sums + 1, sizeof *means->sums);
        means->counts = calloc(n_counts + 1, sizeof *means->counts);
    }
    if (means == NULL || means->sums == NULL || means->counts == NULL) {
        hw_means_close(&means);
        return hw_fail(err, HW_RESOURCE,
                       "not enough memory for means of %zu groups x %zu positions x %zu values",
                       n_groups, n_rows, width);
    }
    *ret_means = means;
    return HW_OK;
}

void hw_means_close(struct hw_means **means) {
    if (means != NULL && *means != NULL) {
        free((*means)->sums);
        free((*means)->counts);
        free(*means);
        *means = NULL;
    }
}

enum hw_status hw_mean_add_row(int64_t *sums, const float *row, size_t n, size_t position,
                               struct hw_error *err) {
    for (size_t c = 0; c < n; c++) {
        // Both factors are exact in double; what is no number fails the comparison.
        double scaled = (double)row[c] * unit;
        int64_t sum = 0;
        if (!(fabs(scaled) <= limit) ||
            __builtin_add_overflow(sums[c], (int64_t)rint(scaled), &sum)) {
            return hw_fail(err, HW_INPUT,
                           "a mean of activations cannot be kept: value %g at position %zu, "
                           "channel %zu (expected sums below 8.6e9)",
                           (double)row[c], position, c);
        }
        sums[c] = sum;
    }
    return HW_OK;
}

enum hw_status hw_means_add(struct hw_means *means, size_t group, size_t first, size_t n,
                            const float *rows, size_t ld, struct hw_error *err) {
    bool is_single = means->n_rows == 1;
    if (group >= means->n_groups || (!is_single && first + n > means->n_rows)) {
        return hw_fail(err, HW_INTERNAL, "means of group %zu, position %zu (of %zu and %zu)", group,
                       first + n, means->n_groups, means->n_rows);
    }
    for (size_t i = 0; i < n; i++) {
        size_t at = group * means->n_rows + (is_single ? 0 : first + i);
        enum hw_status status = hw_mean_add_row(means->sums + at * means->width, rows + i * ld,
                                                means->width, first + i, err);
        if (status != HW_OK) {
            return status;
        }
        means->counts[at]++;
    }
    return HW_OK;
}

void hw_means_get(const struct hw_means *means, size_t group, float *ret_rows) {
    for (size_t r = 0; r < means->n_rows; r++) {
        size_t at = group * means->n_rows + r;
        const int64_t *sums = means->sums + at * means->width;
        for (size_t c = 0; c < means->width; c++) {
            ret_rows[r * means->width + c] = hw_mean_of_sum(sums[c], means->counts[at]);
        }
    }
}

int64_t hw_means_count(const struct hw_means *means, size_t group, size_t row) {
    return means->counts[group * means->n_rows + row];
}

const int64_t *hw_means_sums(const struct hw_means *means, size_t group) {
    return means->sums + group * means->n_rows * means->width;
}
