// rope for every vector level; included after defining ROPE(name). One row and head at a time; the
// cosines and sines of a row serve all its heads from the first-level cache.
#include "kernels/ops.h"

static void rotate_halves(float *restrict first, float *restrict second, size_t n_pairs,
                          const float *restrict cosine, const float *restrict sine) {
    for (size_t i = 0; i < n_pairs; i++) {
        float a = first[i];
        float b = second[i];
        first[i] = a * cosine[i] - b * sine[i];
        second[i] = b * cosine[i] + a * sine[i];
    }
}

static void rotate_neighbours(float *restrict x, size_t n_pairs, const float *restrict cosine,
                              const float *restrict sine) {
    for (size_t i = 0; i < n_pairs; i++) {
        float a = x[2 * i];
        float b = x[2 * i + 1];
        x[2 * i] = a * cosine[i] - b * sine[i];
        x[2 * i + 1] = b * cosine[i] + a * sine[i];
    }
}

static void ROPE(rope)(const struct hw_exec *exec, float *x, size_t m, size_t ld, size_t n_heads,
                       size_t d_head, size_t n_rot, bool is_interleaved, const float *cosine,
                       const float *sine) {
    size_t n_pairs = n_rot / 2;
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (m > 1)
    for (size_t r = 0; r < m; r++) {
        const float *row_cosine = cosine + r * n_pairs;
        const float *row_sine = sine + r * n_pairs;
        for (size_t head = 0; head < n_heads; head++) {
            float *at = x + r * ld + head * d_head;
            if (is_interleaved) {
                rotate_neighbours(at, n_pairs, row_cosine, row_sine);
            } else {
                rotate_halves(at, at + n_pairs, n_pairs, row_cosine, row_sine);
            }
        }
    }
}
