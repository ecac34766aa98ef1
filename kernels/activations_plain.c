// activate and add for the compiler's baseline; see activations_lanes.h.
#define ACTIVATIONS(name) name##_plain
#include "kernels/activations_lanes.h"

void hw_register_activations_plain(struct hw_ops *ops);

void hw_register_activations_plain(struct hw_ops *ops) {
    HW_OPS_SET(ops, activate, activate_plain);
    HW_OPS_SET(ops, add, add_plain);
}
