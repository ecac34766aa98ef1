// What comparing captures and comparing results share.
#ifndef HW_COMPARE_INTERNAL_H
#define HW_COMPARE_INTERNAL_H

#include "analysis/compare.h"

// A new line at the end; NULL without memory.
struct hw_compare_line *hw_compare_add_line(struct hw_compare *compare);

// Takes one pair of values into a line; true where it is the largest difference so far, and the
// caller writes its place.
bool hw_compare_take(struct hw_compare_line *line, double a, double b);

// Ranks of n heads with their scores in both.
enum hw_status hw_compare_ranks(struct hw_compare_line *line, const double *a, const double *b,
                                size_t n, size_t top_k, struct hw_error *err);

enum hw_status hw_compare_traces(const char *a, const char *b,
                                 const struct hw_compare_options *options,
                                 struct hw_compare *compare, struct hw_error *err);
enum hw_status hw_compare_results(const char *a, const char *b,
                                  const struct hw_compare_options *options,
                                  struct hw_compare *compare, struct hw_error *err);

#endif
