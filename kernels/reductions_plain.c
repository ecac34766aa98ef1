// The reductions over one row for the compiler's baseline; see reductions_lanes.h.
#define REDUCTIONS(name) name##_plain
#include "kernels/reductions_lanes.h"

void hw_register_reductions_plain(struct hw_ops *ops);

void hw_register_reductions_plain(struct hw_ops *ops) {
    HW_OPS_SET(ops, row_norm, row_norm_plain);
    HW_OPS_SET(ops, row_abs_max, row_abs_max_plain);
    HW_OPS_SET(ops, row_abs_median, row_abs_median_plain);
    HW_OPS_SET(ops, row_cosine, row_cosine_plain);
}
