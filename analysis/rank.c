// Ranks; see rank.h.
#include "analysis/rank.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "kernels/size.h"

struct placed {
    double value;
    size_t place;
};

static int rising(const void *a, const void *b) {
    const struct placed *x = a;
    const struct placed *y = b;
    if (x->value != y->value) {
        return x->value < y->value ? -1 : 1;
    }
    return (x->place > y->place) - (x->place < y->place);
}

// NaN last.
static int falling(const void *a, const void *b) {
    const struct placed *x = a;
    const struct placed *y = b;
    bool is_x = !isnan(x->value);
    bool is_y = !isnan(y->value);
    if (is_x != is_y) {
        return is_x ? -1 : 1;
    }
    if (is_x && x->value != y->value) {
        return x->value > y->value ? -1 : 1;
    }
    return (x->place > y->place) - (x->place < y->place);
}

// The values with their places, sorted; NULL without memory.
static struct placed *sort(const double *values, size_t n,
                           int (*compare)(const void *, const void *)) {
    struct placed *sorted = calloc(n + 1, sizeof *sorted);
    for (size_t i = 0; sorted != NULL && i < n; i++) {
        sorted[i] = (struct placed){values[i], i};
    }
    if (sorted != NULL) {
        qsort(sorted, n, sizeof *sorted, compare);
    }
    return sorted;
}

enum hw_status hw_rank(const double *values, size_t n, enum hw_rank_ties ties, double *ret_ranks,
                       struct hw_error *err) {
    struct placed *sorted = sort(values, n, rising);
    if (sorted == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to rank %zu values", n);
    }
    size_t n_distinct = 0;
    for (size_t first = 0; first < n;) {
        size_t end = first + 1;
        while (end < n && sorted[end].value == sorted[first].value) {
            end++;
        }
        n_distinct++;
        // Places first .. end - 1 take up the ranks first + 1 .. end.
        double rank = ties == HW_RANK_DENSE ? (double)n_distinct : (double)(first + 1 + end) / 2.0;
        for (size_t i = first; i < end; i++) {
            ret_ranks[sorted[i].place] = rank;
        }
        first = end;
    }
    free(sorted);
    return HW_OK;
}

static double pearson(const double *a, const double *b, size_t n) {
    double mean_a = 0;
    double mean_b = 0;
    for (size_t i = 0; i < n; i++) {
        mean_a += a[i];
        mean_b += b[i];
    }
    mean_a /= (double)n; // sums of ranks are exact, so equal ranks leave no rest
    mean_b /= (double)n;
    double ab = 0;
    double aa = 0;
    double bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (a[i] - mean_a) * (b[i] - mean_b);
        aa += (a[i] - mean_a) * (a[i] - mean_a);
        bb += (b[i] - mean_b) * (b[i] - mean_b);
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

enum hw_status hw_rank_spearman(const double *a, const double *b, size_t n, enum hw_rank_ties ties,
                                double *ret_rho, size_t *ret_n, struct hw_error *err) {
    double *kept = calloc(4 * n + 1, sizeof *kept); // a, b, ranks of a, ranks of b
    if (kept == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to rank %zu values", n);
    }
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isnan(a[i]) && !isnan(b[i])) {
            kept[m] = a[i];
            kept[n + m] = b[i];
            m++;
        }
    }
    enum hw_status status = hw_rank(kept, m, ties, kept + 2 * n, err);
    status = status == HW_OK ? hw_rank(kept + n, m, ties, kept + 3 * n, err) : status;
    if (status == HW_OK) {
        *ret_rho = m < 2 ? NAN : pearson(kept + 2 * n, kept + 3 * n, m);
        if (ret_n != NULL) {
            *ret_n = m;
        }
    }
    free(kept);
    return status;
}

enum hw_status hw_rank_overlap(const double *a, const double *b, size_t n, size_t k,
                               size_t *ret_common, struct hw_error *err) {
    struct placed *first = sort(a, n, falling);
    struct placed *second = sort(b, n, falling);
    uint8_t *is_top = calloc(n + 1, 1);
    enum hw_status status = HW_OK;
    if (first == NULL || second == NULL || is_top == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory to rank %zu values", n);
    } else {
        size_t common = 0;
        for (size_t i = 0; i < hw_size_min(n, k); i++) {
            is_top[first[i].place] = 1;
        }
        for (size_t i = 0; i < hw_size_min(n, k); i++) {
            common += is_top[second[i].place];
        }
        *ret_common = common;
    }
    free(first);
    free(second);
    free(is_top);
    return status;
}
