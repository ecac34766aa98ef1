// Means of activations over prompts: by group, over all positions or at each one.
//
// Sums are integers of 2^-30, so that adding is exact and neither the order of prompts nor the cut
// into parts changes a bit; the mean is their sum over the count, in double, rounded once. A value
// whose sum leaves 63 bits (|x| > 8.6e9 in all) is an error.
#ifndef HW_MEANS_H
#define HW_MEANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

// Adds a row [n] to sums [n] of 2^-30; `position` is for the message. HW_INPUT, the sums spoiled.
enum hw_status hw_mean_add_row(int64_t *sums, const float *row, size_t n, size_t position,
                               struct hw_error *err);

struct hw_means;

// n_rows: 1 (over all positions) or the longest prompt (per position); width: floats of a row. Sums
// [n_groups, n_rows, width] and counts [n_groups, n_rows].
size_t hw_means_bytes(size_t n_groups, size_t n_rows, size_t width);
enum hw_status hw_means_open(size_t n_groups, size_t n_rows, size_t width,
                             struct hw_means **ret_means, struct hw_error *err);
void hw_means_close(struct hw_means **means);

// Adds rows [n, width] (ld apart) at positions first .. of a prompt of the group.
enum hw_status hw_means_add(struct hw_means *means, size_t group, size_t first, size_t n,
                            const float *rows, size_t ld, struct hw_error *err);
// Writes the means of a group: [n_rows, width]; NaN where nothing was counted.
void hw_means_get(const struct hw_means *means, size_t group, float *ret_rows);
int64_t hw_means_count(const struct hw_means *means, size_t group, size_t row);
const int64_t *hw_means_sums(const struct hw_means *means, size_t group); // [n_rows, width]

#endif
