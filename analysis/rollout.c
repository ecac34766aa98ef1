// Rollout; see rollout.h.
#include "analysis/rollout.h"

#include <stdlib.h>
#include <string.h>

#include "analysis/triangle.h"
#include "kernels/arena.h"
#include "kernels/size.h"

enum { STRIDE_PAD = 16 }; // floats

struct buffers {
    struct hw_arena arena;
    double *sum;      // [n, n] the map as it is made
    float *map;       // [n, stride]
    float *rolled[2]; // [n, stride] of this layer and the one before
    void *scratch;
    size_t stride;
};

// False where sizes overflow.
static bool carve(struct buffers *b, size_t n, int n_threads) {
    size_t n_squared;
    size_t n_values;
    if (!hw_size_round_up(n, STRIDE_PAD, &b->stride) || !hw_size_mul(n, n, &n_squared) ||
        !hw_size_mul(n, b->stride, &n_values)) {
        return false;
    }
    b->sum = hw_arena_take(&b->arena, n_squared, sizeof *b->sum);
    b->map = hw_arena_take(&b->arena, n_values, sizeof *b->map);
    for (int i = 0; i < 2; i++) {
        b->rolled[i] = hw_arena_take(&b->arena, n_values, sizeof *b->map);
    }
    b->scratch = hw_arena_take(&b->arena, hw_triangle_scratch(n_threads, n), 1);
    return !b->arena.is_overflown;
}

static size_t buffers_bytes(size_t n, int n_threads) {
    struct buffers b;
    hw_arena_measure(&b.arena);
    return carve(&b, n, n_threads) ? b.arena.used_bytes : SIZE_MAX;
}

size_t hw_rollout_bytes(const struct hw_map_source *source, size_t n_tokens, int n_threads) {
    size_t bytes = buffers_bytes(n_tokens, n_threads);
    return hw_size_add(bytes, hw_map_source_bytes(source, n_tokens), &bytes) ? bytes : SIZE_MAX;
}

// [n, n] doubles to [n, stride] floats, 0 in what pads the rows.
static void narrow(const double *from, float *to, size_t n, size_t stride) {
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            to[i * stride + j] = (float)from[i * n + j];
        }
        memset(to + i * stride + n, 0, (stride - n) * sizeof *to);
    }
}

enum hw_status hw_rollout_run(struct hw_map_source *source, size_t prompt,
                              const struct hw_layer_map_options *options, int n_threads,
                              hw_rollout_fn look, void *self, struct hw_error *err) {
    size_t n = hw_map_source_n_tokens(source, prompt);
    struct hw_ops ops;
    struct buffers b;
    size_t bytes = buffers_bytes(n, n_threads);
    if (bytes == SIZE_MAX) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a rollout of %zu tokens", n);
    }
    enum hw_status status = hw_arena_open(&b.arena, bytes, err);
    if (status != HW_OK) {
        return status;
    }
    (void)carve(&b, n, n_threads);
    hw_ops_init(&ops, hw_cpu_level());
    struct hw_exec exec = {n_threads, b.scratch, hw_triangle_scratch(n_threads, n)};
    for (int i = 0; i < 2; i++) {
        memset(b.rolled[i], 0, n * b.stride * sizeof *b.map);
    }
    for (size_t layer = 0; layer < hw_map_source_n_layers(source) && status == HW_OK; layer++) {
        float *rolled = b.rolled[layer % 2];
        status = hw_layer_map(source, prompt, layer, options, b.sum, err);
        if (status != HW_OK) {
            break;
        }
        narrow(b.sum, layer == 0 ? rolled : b.map, n, b.stride);
        if (layer > 0) {
            hw_triangle_product(&ops, &exec, b.map, b.rolled[1 - layer % 2], rolled, n, b.stride);
        }
        status = look(self, layer, rolled, n, b.stride, err);
    }
    hw_arena_close(&b.arena);
    return status;
}
