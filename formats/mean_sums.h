// The values of /means: exact sums of rows by group of prompts, and the means they give.
//
// Sums are integers of 2^-30, so sums of parts, of shards and of captures add up to the sum over
// all prompts whatever the order: a mean has the same bits however a run was cut. The sums stand in
// the file beside their means (<name>_sum), and whoever joins files adds them and divides once.
//
// To read a capture's means: hw_trace_layout(trace)->mean_groups names the rows of the group axis,
// means_by the key they come from; hw_trace_read_f32(trace, HW_DS_MEANS_Z, slab, group, 1, values)
// gives [heads, d_head] of one group and the slab of a layer (hw_trace_find in HW_GROUP_MEANS;
// depth for the residual stream), HW_DS_MEANS_POSITION_Z [n_mean_positions, heads, d_head]. NaN: no
// row of the group, or a head that was not recorded.
#ifndef HW_MEAN_SUMS_H
#define HW_MEAN_SUMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/schema.h"
#include "kernels/status.h"

// Means and sums of a layout, as its file has them.
struct hw_mean_sums {
    const struct hw_layout *layout;
    void *values[HW_N_DATASETS]; // float or int64_t, [n_mean_groups, ...]; NULL: not recorded
};

// Bytes that open takes, SIZE_MAX beyond what can be addressed; 0 where the layout has no means.
size_t hw_mean_sums_bytes(const struct hw_layout *layout);
// Zeros, and the layout's values behind layout->fixed; the layout must outlive the sums.
// HW_RESOURCE.
enum hw_status hw_mean_sums_open(struct hw_layout *layout, struct hw_mean_sums *ret_sums,
                                 struct hw_error *err);
void hw_mean_sums_close(struct hw_mean_sums *sums);

// Whether the dataset holds sums; its means are the dataset before it.
bool hw_dataset_is_mean_sum(enum hw_dataset dataset);
// Whether the dataset counts rows of sums.
bool hw_dataset_is_mean_count(enum hw_dataset dataset);
// Whether it has an axis of positions, as long as the longest prompt.
bool hw_dataset_is_by_position(enum hw_dataset dataset);
// Sums of one group and slab: [n_mean_positions, ...] or [...]; counts (slab 0): one value or
// [n_mean_positions]. *ret_n: values.
int64_t *hw_mean_sums_at(const struct hw_mean_sums *sums, enum hw_dataset dataset, size_t group,
                         size_t slab, size_t *ret_n);
// Back to zeros.
void hw_mean_sums_clear(struct hw_mean_sums *sums);
// Adds values; HW_INPUT where a sum leaves 63 bits.
enum hw_status hw_mean_sums_add(int64_t *to, const int64_t *more, size_t n, struct hw_error *err);
// Means from sums and counts.
void hw_mean_sums_finish(struct hw_mean_sums *sums);

// sum / (2^30 count) in double: the integer is rounded to double, divided, then rounded to float.
// NaN where nothing was counted.
float hw_mean_of_sum(int64_t sum, int64_t count);

#endif
