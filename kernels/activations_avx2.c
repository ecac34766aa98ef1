// activate and add for AVX2; see activations_lanes.h.
#define ACTIVATIONS(name) name##_avx2
#include "kernels/activations_lanes.h"

void hw_register_activations_avx2(struct hw_ops *ops);

void hw_register_activations_avx2(struct hw_ops *ops) {
    HW_OPS_SET(ops, activate, activate_avx2);
    HW_OPS_SET(ops, add, add_avx2);
}
