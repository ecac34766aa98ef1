// linear: one double accumulator per output, inputs in rising order, bias last, rounded once.
#include <assert.h>
#include <omp.h>

#include "kernels/ops.h"
#include "kernels/weight_internal.h"

// One output of a product for every row; `row` is room for its weights.
static void one_output(const float *x, size_t m, size_t ldx, const struct hw_product *p, size_t o,
                       float *row) {
    weight_expand_output(p->w, o, row);
    for (size_t r = 0; r < m; r++) {
        const float *input = x + r * ldx;
        double sum = 0;
        for (size_t i = 0; i < p->w->n_in; i++) {
            sum += (double)input[i] * (double)row[i];
        }
        p->y[r * p->ldy + o] = (float)(p->bias != NULL ? sum + (double)p->bias[o] : sum);
    }
}

static void linear_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ldx,
                       const struct hw_product *products, size_t n) {
    size_t n_in = products->w->n_in;
    assert(exec->scratch_bytes >= hw_linear_scratch(exec->n_threads, n_in));
#pragma omp parallel num_threads(exec->n_threads)
    {
        float *row = (float *)exec->scratch + (size_t)omp_get_thread_num() * n_in;
        for (size_t p = 0; p < n; p++) {
#pragma omp for schedule(static) nowait
            for (size_t o = 0; o < products[p].w->n_out; o++) {
                one_output(x, m, ldx, &products[p], o, row);
            }
        }
    }
}

void hw_register_linear_ref(struct hw_ops *ops);

void hw_register_linear_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, linear, linear_ref);
}
