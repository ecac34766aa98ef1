// dequantize: the scalar definition, left to the vectoriser; see dequantize_internal.h.
#include "kernels/dequantize_internal.h"
#include "kernels/ops.h"

static void dequantize_avx2(enum hw_dtype dtype, const void *src, size_t n, float *dst) {
    expand_values(dtype, src, n, dst);
}

void hw_register_dequantize_avx2(struct hw_ops *ops);

void hw_register_dequantize_avx2(struct hw_ops *ops) {
    HW_OPS_SET(ops, dequantize, dequantize_avx2);
}
