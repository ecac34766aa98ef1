// rms_norm and layer_norm for the compiler's baseline; see norms_lanes.h.
#define NORMS(name) name##_plain
#include "kernels/norms_lanes.h"

void hw_register_norms_plain(struct hw_ops *ops);

void hw_register_norms_plain(struct hw_ops *ops) {
    HW_OPS_SET(ops, rms_norm, rms_norm_plain);
    HW_OPS_SET(ops, layer_norm, layer_norm_plain);
}
