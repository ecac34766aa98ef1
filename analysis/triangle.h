// The product of two lower-triangular matrices.
#ifndef HW_TRIANGLE_H
#define HW_TRIANGLE_H

#include <stddef.h>

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// Bytes of exec->scratch.
size_t hw_triangle_scratch(int n_threads, size_t n);

// c = a b, all [n, n] and 0 above the diagonal (c: before and after), rows ld floats apart, by the
// linear op on the blocks below it. The result does not depend on the number of threads.
void hw_triangle_product(const struct hw_ops *ops, const struct hw_exec *exec, const float *a,
                         const float *b, float *c, size_t n, size_t ld);

#ifdef __cplusplus
}
#endif
#endif
