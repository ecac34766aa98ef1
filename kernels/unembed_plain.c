// unembed on the vectors of tile_plain_internal.h; see unembed_run_internal.h.
#include <string.h>

#include "kernels/ops.h"
#include "kernels/tile_plain_internal.h"

#include "kernels/expand_internal.h"

#include "kernels/unembed_run_internal.h"

static void unembed_plain(const struct hw_exec *exec, const float *x, size_t m, size_t ldx,
                          const struct hw_weight *w, const float *bias, const uint32_t *targets,
                          const struct hw_unembed_out *out) {
    struct unembed_job call = {
        .x = x, .ldx = ldx, .w = w, .bias = bias, .targets = targets, .out = out};
    unembed_run(exec, &call, m);
}

void hw_register_unembed_plain(struct hw_ops *ops);

void hw_register_unembed_plain(struct hw_ops *ops) {
    HW_OPS_SET(ops, unembed, unembed_plain);
}
