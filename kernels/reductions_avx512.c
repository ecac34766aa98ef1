// The reductions over one row for AVX-512; see reductions_lanes.h.
#define REDUCTIONS(name) name##_avx512
#include "kernels/reductions_lanes.h"

void hw_register_reductions_avx512(struct hw_ops *ops);

void hw_register_reductions_avx512(struct hw_ops *ops) {
    HW_OPS_SET(ops, row_norm, row_norm_avx512);
    HW_OPS_SET(ops, row_abs_max, row_abs_max_avx512);
    HW_OPS_SET(ops, row_abs_median, row_abs_median_avx512);
    HW_OPS_SET(ops, row_cosine, row_cosine_avx512);
}
