// rope for AVX-512; see rope_lanes.h.
#define ROPE(name) name##_avx512
#include "kernels/rope_lanes.h"

void hw_register_rope_avx512(struct hw_ops *ops);

void hw_register_rope_avx512(struct hw_ops *ops) {
    HW_OPS_SET(ops, rope, rope_avx512);
}
