// rope for the compiler's baseline; see rope_lanes.h.
#define ROPE(name) name##_plain
#include "kernels/rope_lanes.h"

void hw_register_rope_plain(struct hw_ops *ops);

void hw_register_rope_plain(struct hw_ops *ops) {
    HW_OPS_SET(ops, rope, rope_plain);
}
