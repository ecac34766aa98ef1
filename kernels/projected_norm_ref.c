// projected_norm: products and squares in double, rounded once.
#include <math.h>

#include "kernels/ops.h"
#include "kernels/projected_norm_internal.h"

size_t hw_projected_norm_scratch(int n_threads, size_t d_head) {
    return (size_t)n_threads * projected_norm_layout(d_head).n * sizeof(float) + 64;
}

static void projected_norm_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                               const struct hw_head_factors *f, float *out) {
#pragma omp parallel for schedule(static) num_threads(exec->n_threads)
    for (size_t r = 0; r < m; r++) {
        for (size_t h = 0; h < f->n_heads; h++) {
            const float *head = x + r * ld + h * f->n_shown / f->n_heads * f->d_head;
            const float *factor = f->factors + h * f->d_head * f->d_head;
            double squares = 0;
            for (size_t o = 0; o < f->d_head; o++) {
                double sum = 0;
                for (size_t i = 0; i < f->d_head; i++) {
                    sum += (double)factor[o * f->d_head + i] * (double)head[i];
                }
                squares += sum * sum;
            }
            out[r * f->n_heads + h] = (float)sqrt(squares);
        }
    }
}

void hw_register_projected_norm_ref(struct hw_ops *ops);

void hw_register_projected_norm_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, projected_norm, projected_norm_ref);
}
