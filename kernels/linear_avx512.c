// linear on the vectors of tile_avx512_internal.h; see linear_run_internal.h.
#include <string.h>

#include "kernels/ops.h"
#include "kernels/tile_avx512_internal.h"

#include "kernels/expand_internal.h"

#include "kernels/linear_run_internal.h"

static void linear_avx512(const struct hw_exec *exec, const float *x, size_t m, size_t ldx,
                          const struct hw_product *products, size_t n) {
    linear_run(exec, x, m, ldx, products, n);
}

void hw_register_linear_avx512(struct hw_ops *ops);

void hw_register_linear_avx512(struct hw_ops *ops) {
    HW_OPS_SET(ops, linear, linear_avx512);
}
