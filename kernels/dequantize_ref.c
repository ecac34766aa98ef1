// dequantize: the scalar definition; see dequantize_internal.h.
#include "kernels/dequantize_internal.h"
#include "kernels/ops.h"

static void dequantize_ref(enum hw_dtype dtype, const void *src, size_t n, float *dst) {
    expand_values(dtype, src, n, dst);
}

void hw_register_dequantize_ref(struct hw_ops *ops);

void hw_register_dequantize_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, dequantize, dequantize_ref);
}
