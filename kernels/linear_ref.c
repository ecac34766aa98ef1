// linear: one double accumulator per output, inputs in rising order, bias last, rounded once.
#include <assert.h>
#include <omp.h>

#include "kernels/ops.h"
#include "kernels/weight_internal.h"

static void linear_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ldx,
                       const struct hw_weight *w, const float *bias, float *y, size_t ldy) {
    assert(exec->scratch_bytes >= hw_linear_scratch(exec->n_threads, w->n_in));
#pragma omp parallel num_threads(exec->n_threads)
    {
        float *row = (float *)exec->scratch + (size_t)omp_get_thread_num() * w->n_in;
#pragma omp for schedule(static)
        for (size_t o = 0; o < w->n_out; o++) {
            weight_expand_output(w, o, row);
            for (size_t r = 0; r < m; r++) {
                const float *input = x + r * ldx;
                double sum = 0;
                for (size_t i = 0; i < w->n_in; i++) {
                    sum += (double)input[i] * (double)row[i];
                }
                y[r * ldy + o] = (float)(bias != NULL ? sum + (double)bias[o] : sum);
            }
        }
    }
}

void hw_register_linear_ref(struct hw_ops *ops);

void hw_register_linear_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, linear, linear_ref);
}
