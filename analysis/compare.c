// The frame of a comparison; see compare.h.
#include "analysis/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/compare_internal.h"
#include "analysis/rank.h"
#include "formats/result.h"
#include "kernels/size.h"

void hw_compare_free(struct hw_compare *compare) {
    free(compare->lines);
    memset(compare, 0, sizeof *compare);
}

struct hw_compare_line *hw_compare_add_line(struct hw_compare *compare) {
    struct hw_compare_line *grown = realloc(compare->lines, (compare->n_lines + 1) * sizeof *grown);
    if (grown == NULL) {
        return NULL;
    }
    compare->lines = grown;
    struct hw_compare_line *line = &grown[compare->n_lines++];
    memset(line, 0, sizeof *line);
    return line;
}

bool hw_compare_take(struct hw_compare_line *line, double a, double b) {
    line->n_values++;
    if (a == b || (isnan(a) && isnan(b))) {
        return false;
    }
    line->n_different++;
    double difference = fabs(a - b);
    difference = isnan(difference) ? INFINITY : difference;
    if (difference <= line->largest) {
        return false;
    }
    line->largest = difference;
    line->a = a;
    line->b = b;
    return true;
}

enum hw_status hw_compare_ranks(struct hw_compare_line *line, const double *a, const double *b,
                                size_t n, size_t top_k, struct hw_error *err) {
    enum hw_status status =
        hw_rank_spearman(a, b, n, HW_RANK_AVERAGE, &line->spearman, &line->n_heads, err);
    line->top_k = hw_size_min(top_k, line->n_heads);
    status = status == HW_OK ? hw_rank_overlap(a, b, n, line->top_k, &line->n_common, err) : status;
    line->has_ranks = status == HW_OK && line->n_heads > 1;
    return status;
}

enum hw_status hw_compare_files(const char *a, const char *b,
                                const struct hw_compare_options *options,
                                struct hw_compare *ret_compare, struct hw_error *err) {
    bool is_result = hw_result_is_file(a);
    bool is_other = hw_result_is_file(b);
    struct hw_compare compare = {.is_results = is_result, .is_same_model = true};
    enum hw_status status;
    if (is_result && is_other) {
        status = hw_compare_results(a, b, options, &compare, err);
    } else {
        status = hw_compare_traces(a, b, options, &compare, err);
        if (status == HW_INPUT && is_result != is_other) {
            status =
                hw_fail(err, HW_INPUT,
                        "%s is a result and %s is none (expected two captures, or two results)",
                        is_result ? a : b, is_result ? b : a);
        }
    }
    if (status != HW_OK) {
        hw_compare_free(&compare);
        return status;
    }
    *ret_compare = compare;
    return HW_OK;
}
