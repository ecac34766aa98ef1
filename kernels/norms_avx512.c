// rms_norm and layer_norm for AVX-512; see norms_lanes.h.
#define NORMS(name) name##_avx512
#include "kernels/norms_lanes.h"

void hw_register_norms_avx512(struct hw_ops *ops);

void hw_register_norms_avx512(struct hw_ops *ops) {
    HW_OPS_SET(ops, rms_norm, rms_norm_avx512);
    HW_OPS_SET(ops, layer_norm, layer_norm_avx512);
}
