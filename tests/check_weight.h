// Random weights of every type for tests of linear and unembed.
#ifndef HW_CHECK_WEIGHT_H
#define HW_CHECK_WEIGHT_H

#include "check_op.h"
#include "kernels/ops.h"

struct check_weight {
    struct hw_weight weight; // data is a guarded buffer's, shifted off any alignment by one byte
    struct check_buffer file;
    float *dense; // [n_out, n_in], what the weight means, expanded by the reference
};

// n_rows_file file rows of which the weight uses rows first .. first + n_out, or (is_mapped) n_out
// of them in a scrambled order.
struct check_weight check_weight_open(enum hw_dtype dtype, size_t n_out, size_t n_in,
                                      bool is_transposed, bool is_mapped, uint64_t seed);
void check_weight_close(struct check_weight *weight);

#endif
