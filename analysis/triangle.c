// Lower-triangular products; see triangle.h. A sixth of the multiplications of a whole product are
// needed; blocks of 128 make it about a fifth at 2,048 rows.
#include "analysis/triangle.h"

#include <omp.h>

#include "kernels/arena.h"
#include "kernels/size.h"

enum { BLOCK = 128 };

static size_t thread_bytes(size_t n) {
    return hw_size_div_up(hw_linear_scratch(1, n), HW_ALIGN) * HW_ALIGN;
}

size_t hw_triangle_scratch(int n_threads, size_t n) {
    return (size_t)n_threads * thread_bytes(n);
}

void hw_triangle_product(const struct hw_ops *ops, const struct hw_exec *exec, const float *a,
                         const float *b, float *c, size_t n, size_t ld) {
    size_t edge = hw_size_div_up(n, BLOCK);
    size_t one_bytes = thread_bytes(n);
    size_t n_blocks = edge * (edge + 1) / 2;
#pragma omp parallel for schedule(dynamic, 1) num_threads(exec->n_threads)
    for (size_t at = 0; at < n_blocks; at++) {
        // The lowest rows first, they have the longest sums: row of blocks r has r + 1 of them.
        size_t row = edge - 1;
        size_t column = at;
        while (column > row) {
            column -= row + 1;
            row--;
        }
        size_t first = row * BLOCK;
        size_t end = hw_size_min(first + BLOCK, n);
        size_t key = column * BLOCK;
        char *scratch = (char *)exec->scratch + (size_t)omp_get_thread_num() * one_bytes;
        struct hw_exec one = {1, scratch, one_bytes};
        struct hw_weight weight = {.data = b + key * ld,
                                   .row_bytes = ld * sizeof *b,
                                   .dtype = HW_F32,
                                   .n_out = hw_size_min(BLOCK, n - key),
                                   .n_in = end - key,
                                   .first = key,
                                   .is_transposed = true};
        struct hw_product product = {&weight, NULL, c + first * ld + key, ld};
        ops->linear(&one, a + first * ld + key, end - first, ld, &product, 1);
    }
}
