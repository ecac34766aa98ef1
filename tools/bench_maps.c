// What the analyses of maps are measured against: the forward pass's own attention, and the linear
// op on as many multiplications.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "analysis/map_rebuild.h"
#include "analysis/triangle.h"
#include "tools/bench_cases.h"

struct maps_work {
    const struct hw_bench_setup *setup;
    struct hw_exec exec;
    struct hw_attention_args args;
    struct hw_map_rebuild *rebuild;
    enum hw_status status;
    float sum;
};

static void run_attention(void *self) {
    const struct maps_work *w = self;
    w->setup->ops.attention(&w->exec, &w->args);
}

// Looks at a value of every row, so that nothing can be left out.
static enum hw_status look(void *self, const float *rows, size_t first_row, size_t n_rows,
                           size_t stride, struct hw_error *err) {
    struct maps_work *w = self;
    for (size_t i = 0; i < n_rows; i++) {
        w->sum += rows[i * stride];
    }
    return HW_OK;
}

static void run_rebuild(void *self) {
    struct maps_work *w = self;
    size_t group = w->args.n_heads / w->args.n_kv_heads;
    for (size_t head = 0; head < w->args.n_heads && w->status == HW_OK; head++) {
        struct hw_map_vectors vectors = {.q = w->args.q + head * w->args.d_head,
                                         .k = w->args.k + head / group * w->args.d_head,
                                         .q_stride = w->args.q_stride,
                                         .k_stride = w->args.k_stride,
                                         .n_tokens = w->args.n_keys,
                                         .d_head = w->args.d_head,
                                         .score_scale = w->args.score_scale};
        w->status = hw_map_rebuild_run(w->rebuild, &vectors, look, w, NULL);
    }
}

enum hw_status hw_bench_maps(const struct hw_bench_setup *setup, size_t n_tokens,
                             struct hw_bench_row *row, struct hw_error *err) {
    const struct hw_bench_shape *s = &setup->shape;
    size_t n_q = n_tokens * s->n_heads * s->d_head;
    size_t n_kv = n_tokens * s->n_kv_heads * s->d_head;
    struct maps_work w = {.setup = setup,
                          .args = {.q = hw_bench_noise(n_q, 1),
                                   .k = hw_bench_noise(n_kv, 2),
                                   .v = hw_bench_noise(n_kv, 3),
                                   .z = hw_bench_noise(n_q, 4),
                                   .q_stride = s->n_heads * s->d_head,
                                   .k_stride = s->n_kv_heads * s->d_head,
                                   .v_stride = s->n_kv_heads * s->d_head,
                                   .z_stride = s->n_heads * s->d_head,
                                   .n_queries = n_tokens,
                                   .n_keys = n_tokens,
                                   .n_heads = s->n_heads,
                                   .n_kv_heads = s->n_kv_heads,
                                   .d_head = s->d_head,
                                   .score_scale = 1 / sqrtf((float)s->d_head)}};
    w.exec.n_threads = setup->n_threads;
    w.exec.scratch_bytes = hw_attention_scratch(setup->n_threads, &w.args);
    w.exec.scratch = hw_bench_block(w.exec.scratch_bytes);
    enum hw_status status =
        hw_map_rebuild_open(setup->ops.level, setup->n_threads, false, &w.rebuild, err);
    if (status == HW_OK && (w.args.q == NULL || w.args.k == NULL || w.args.v == NULL ||
                            w.args.z == NULL || w.exec.scratch == NULL)) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for the benchmark");
    }
    if (status == HW_OK) {
        struct hw_bench_side a = {run_attention, &w, setup->n_threads};
        struct hw_bench_side b = {run_rebuild, &w, setup->n_threads};
        row->name = "maps rebuilt";
        row->a = "attention of the forward pass";
        row->b = "all maps from queries and keys, as rows";
        (void)snprintf(row->detail, sizeof row->detail, "T=%zu", n_tokens);
        hw_bench_pair(&a, &b, setup->n_rounds, &row->result);
        status = w.status != HW_OK ? hw_fail(err, w.status, "maps cannot be rebuilt") : HW_OK;
    }
    hw_map_rebuild_close(&w.rebuild);
    free((void *)(uintptr_t)w.args.q);
    free((void *)(uintptr_t)w.args.k);
    free((void *)(uintptr_t)w.args.v);
    free(w.args.z);
    free(w.exec.scratch);
    return status;
}

struct triangle_work {
    const struct hw_bench_setup *setup;
    struct hw_exec exec;
    struct hw_weight weight;
    const float *a;
    float *c;
    size_t n;
};

static void run_linear(void *self) {
    const struct triangle_work *w = self;
    struct hw_product product = {&w->weight, NULL, w->c, w->n};
    w->setup->ops.linear(&w->exec, w->a, w->n / 6 + 1, w->n, &product, 1);
}

static void run_triangle(void *self) {
    const struct triangle_work *w = self;
    hw_triangle_product(&w->setup->ops, &w->exec, w->a, w->weight.data, w->c, w->n, w->n);
}

enum hw_status hw_bench_rollout(const struct hw_bench_setup *setup, size_t n_tokens,
                                struct hw_bench_row *row, struct hw_error *err) {
    size_t n = n_tokens;
    size_t triangle = hw_triangle_scratch(setup->n_threads, n);
    size_t linear = hw_linear_scratch(setup->n_threads, n);
    enum hw_status status = HW_OK;
    float *a = hw_bench_noise(n * n, 1);
    float *b = hw_bench_noise(n * n, 2);
    float *c = hw_bench_noise(n * n, 3);
    size_t scratch_bytes = triangle > linear ? triangle : linear;
    void *scratch = hw_bench_block(scratch_bytes);
    if (a == NULL || b == NULL || c == NULL || scratch == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for the benchmark");
        goto cleanup;
    }
    for (size_t i = 0; i < n * n; i++) {
        bool is_above = i % n > i / n;
        a[i] = is_above ? 0 : a[i];
        b[i] = is_above ? 0 : b[i];
        c[i] = 0;
    }
    struct triangle_work work = {.setup = setup,
                                 .exec = {setup->n_threads, scratch, scratch_bytes},
                                 .weight = {.data = b,
                                            .row_bytes = n * sizeof *b,
                                            .dtype = HW_F32,
                                            .n_out = n,
                                            .n_in = n,
                                            .is_transposed = true},
                                 .a = a,
                                 .c = c,
                                 .n = n};
    struct hw_bench_side floor = {run_linear, &work, setup->n_threads};
    struct hw_bench_side product = {run_triangle, &work, setup->n_threads};
    row->name = "rollout product";
    row->a = "linear on as many multiplications (a sixth of the rows)";
    row->b = "product of two triangles, one layer of rollout";
    (void)snprintf(row->detail, sizeof row->detail, "T=%zu", n);
    hw_bench_pair(&floor, &product, setup->n_rounds, &row->result);
cleanup:
    free(a);
    free(b);
    free(c);
    free(scratch);
    return status;
}
