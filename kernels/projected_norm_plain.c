// projected_norm on the vectors of tile_plain_internal.h; see projected_norm_run_internal.h.
#include <string.h>

#include "kernels/ops.h"
#include "kernels/tile_plain_internal.h"

#include "kernels/expand_internal.h"

#include "kernels/projected_norm_run_internal.h"

static void projected_norm_plain(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                 const struct hw_head_factors *factors, float *out) {
    projected_norm_run(exec, x, m, ld, factors, out);
}

void hw_register_projected_norm_plain(struct hw_ops *ops);

void hw_register_projected_norm_plain(struct hw_ops *ops) {
    HW_OPS_SET(ops, projected_norm, projected_norm_plain);
}
