// projected_norm for one level; included after tile_*_internal.h and expand_internal.h.
//
// The threads share the pairs (run of rows, head). Each product is that of linear, bit for bit, and
// each norm that of row_norm, but neither leaves the cache.
#ifndef HW_PROJECTED_NORM_RUN_INTERNAL_H
#define HW_PROJECTED_NORM_RUN_INTERNAL_H

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/lanes.h"
#include "kernels/projected_norm_internal.h"

// Rows x [n_rows, d_head] (ld apart) through one head's factor; `out` steps over n_heads.
static void projected_norm_head(const float *x, size_t n_rows, size_t ld,
                                const struct hw_weight *factor, float *scratch, float *out,
                                size_t n_heads) {
    size_t d_head = factor->n_in;
    struct projected_norm_layout layout = projected_norm_layout(d_head);
    float *packed = scratch + layout.packed_at;
    float *tile = scratch + layout.tile_at;
    expand_panel(factor, 0, d_head, 0, d_head, scratch);
    size_t n_strips = strip_count(n_rows);
    for (size_t strip = 0; strip < n_strips; strip++) {
        size_t row = strip_row(n_rows, n_strips, strip);
        size_t n = strip_row(n_rows, n_strips, strip + 1) - row;
        strip_pack(x + row * ld, ld, n, d_head, packed);
        for (size_t o = 0; o < d_head; o += PANEL_WIDTH) {
            tile_strip(n, d_head, packed, scratch + o * d_head, tile + o, layout.width, 1);
        }
        for (size_t i = 0; i < n; i++) {
            double squares;
            HW_SUM_LANES(tile + i * layout.width, d_head, squares, multiply_add_wide(v, v, sum_));
            out[(row + i) * n_heads] = (float)sqrt(squares);
        }
    }
}

static void projected_norm_run(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                               const struct hw_head_factors *f, float *out) {
    assert(exec->scratch_bytes >= hw_projected_norm_scratch(exec->n_threads, f->d_head));
    size_t n_runs = hw_size_div_up(m, PROJECTED_NORM_ROWS);
    size_t n_floats = projected_norm_layout(f->d_head).n;
    size_t factor_bytes = f->d_head * f->d_head * sizeof(float);
#pragma omp parallel num_threads(exec->n_threads)
    {
        float *scratch = (float *)(((uintptr_t)exec->scratch + 63) / 64 * 64);
        scratch += (size_t)omp_get_thread_num() * n_floats;
#pragma omp for schedule(static)
        for (size_t i = 0; i < n_runs * f->n_heads; i++) {
            size_t h = i % f->n_heads;
            size_t row = strip_row(m, n_runs, i / f->n_heads);
            size_t n = strip_row(m, n_runs, i / f->n_heads + 1) - row;
            struct hw_weight factor = {.data = (const unsigned char *)f->factors + h * factor_bytes,
                                       .row_bytes = f->d_head * sizeof(float),
                                       .dtype = HW_F32,
                                       .n_out = f->d_head,
                                       .n_in = f->d_head};
            const float *head = x + row * ld + h * f->n_shown / f->n_heads * f->d_head;
            projected_norm_head(head, n, ld, &factor, scratch, out + row * f->n_heads + h,
                                f->n_heads);
        }
    }
}

#endif
