// The reductions over one row for AVX2; see reductions_lanes.h.
#define REDUCTIONS(name) name##_avx2
#include "kernels/reductions_lanes.h"

void hw_register_reductions_avx2(struct hw_ops *ops);

void hw_register_reductions_avx2(struct hw_ops *ops) {
    HW_OPS_SET(ops, row_norm, row_norm_avx2);
    HW_OPS_SET(ops, row_abs_max, row_abs_max_avx2);
    HW_OPS_SET(ops, row_abs_median, row_abs_median_avx2);
    HW_OPS_SET(ops, row_cosine, row_cosine_avx2);
}
