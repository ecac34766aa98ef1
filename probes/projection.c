// Norms of what a head writes without writing it: |W_O,h x| = |R_h x| with W_O,h = Q_h R_h, Q_h
// orthonormal.
//
// R comes from modified Gram-Schmidt in double over the d_head columns of W_O,h [d_model, d_head];
// a column that depends on the ones before it gets a zero row, which is what the identity needs.
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/engine_internal.h"

void hw_weight_expand(const struct hw_ops *ops, const struct hw_weight *w, float *row, float *ret) {
    const unsigned char *data = w->data;
    if (!w->is_transposed) {
        for (size_t o = 0; o < w->n_out; o++) {
            size_t at = w->row_map != NULL ? w->row_map[o] : w->first + o;
            ops->dequantize(w->dtype, data + at * w->row_bytes, w->n_in, ret + o * w->n_in);
        }
        return;
    }
    size_t columns = w->row_bytes / hw_dtype_block_bytes(w->dtype);
    for (size_t i = 0; i < w->n_in; i++) {
        ops->dequantize(w->dtype, data + i * w->row_bytes, columns, row);
        for (size_t o = 0; o < w->n_out; o++) {
            ret[o * w->n_in + i] = row[w->row_map != NULL ? w->row_map[o] : w->first + o];
        }
    }
}

// One source for every processor: eight partial sums in a fixed order, so that wider vectors change
// no bit.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#else
#define WIDEST
#endif

WIDEST static double dot(const double *restrict a, const double *restrict b, size_t n) {
    double sums[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            sums[j] += a[i + j] * b[i + j];
        }
    }
    for (; i < n; i++) {
        sums[i % 8] += a[i] * b[i];
    }
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

WIDEST static void subtract(double *restrict a, const double *restrict q, double r, size_t n) {
    for (size_t c = 0; c < n; c++) {
        a[c] -= r * q[c];
    }
}

// columns [d_head, d_model] in, R out.
static void factorise(double *columns, size_t d_head, size_t d_model, float *ret_r) {
    memset(ret_r, 0, d_head * d_head * sizeof(float));
    for (size_t j = 0; j < d_head; j++) {
        double *q = columns + j * d_model;
        double norm = sqrt(dot(q, q, d_model));
        ret_r[j * d_head + j] = (float)norm;
        if (!(norm > 0.0)) {
            continue;
        }
        for (size_t c = 0; c < d_model; c++) {
            q[c] /= norm;
        }
        for (size_t k = j + 1; k < d_head; k++) {
            double *a = columns + k * d_model;
            double r = dot(q, a, d_model);
            ret_r[j * d_head + k] = (float)r;
            subtract(a, q, r, d_model);
        }
    }
}

// The factors of one layer's heads; false where memory is short.
static bool factorise_layer(const struct hw_ops *ops, const struct hw_weight *o, size_t n_heads,
                            size_t d_head, float *ret_factors) {
    size_t d_model = o->n_out;
    size_t n_in = n_heads * d_head;
    size_t row = hw_size_max(o->n_in, o->row_bytes / hw_dtype_block_bytes(o->dtype) *
                                          hw_dtype_block_values(o->dtype));
    float *dense = malloc((n_in * d_model + row) * sizeof(float));
    double *columns = malloc(d_head * d_model * sizeof(double));
    bool is_done = dense != NULL && columns != NULL;
    if (is_done) {
        hw_weight_expand(ops, o, dense + n_in * d_model, dense);
    }
    for (size_t h = 0; h < n_heads && is_done; h++) {
        for (size_t c = 0; c < d_model; c++) {
            for (size_t i = 0; i < d_head; i++) {
                columns[i * d_model + c] = (double)dense[c * n_in + h * d_head + i];
            }
        }
        factorise(columns, d_head, d_model, ret_factors + h * d_head * d_head);
    }
    free(dense);
    free(columns);
    return is_done;
}

enum hw_status hw_projection_factors(const struct hw_ops *ops, const struct hw_model *model,
                                     int n_threads, float *ret_factors, struct hw_error *err) {
    const struct hw_model_desc *d = &model->desc;
    size_t n_layer = d->n_heads * d->d_head * d->d_head;
    bool is_done = true;
#pragma omp parallel for schedule(dynamic, 1) num_threads(n_threads) reduction(&& : is_done)
    for (size_t layer = 0; layer < d->n_layers; layer++) {
        bool is_layer_done = factorise_layer(ops, &model->layers[layer].o.w, d->n_heads, d->d_head,
                                             ret_factors + layer * n_layer);
        is_done = is_done && is_layer_done;
    }
    return is_done ? HW_OK
                   : hw_fail(err, HW_RESOURCE,
                             "not enough memory to factorise output projections of %zu x %zu",
                             d->d_model, d->n_heads * d->d_head);
}
