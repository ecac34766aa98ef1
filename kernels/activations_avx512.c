// activate and add for AVX-512; see activations_lanes.h.
#define ACTIVATIONS(name) name##_avx512
#include "kernels/activations_lanes.h"

void hw_register_activations_avx512(struct hw_ops *ops);

void hw_register_activations_avx512(struct hw_ops *ops) {
    HW_OPS_SET(ops, activate, activate_avx512);
    HW_OPS_SET(ops, add, add_avx512);
}
