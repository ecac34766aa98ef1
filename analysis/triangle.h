// The product of two lower-triangular matrices.
#ifndef HW_TRIANGLE_H
#define HW_TRIANGLE_H

#include <stddef.h>

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// Scratch of one thread's part, in bytes.
size_t hw_triangle_scratch(size_t n);

// c = a b, all [n, n] and 0 above the diagonal (c: before and after), rows ld floats apart, by the
// linear op on blocks that lie below it. scratch: n_threads times hw_triangle_scratch. The result
// does not depend on n_threads.
void hw_triangle_product(const struct hw_ops *ops, int n_threads, void *scratch, const float *a,
                         const float *b, float *c, size_t n, size_t ld);

#ifdef __cplusplus
}
#endif
#endif
