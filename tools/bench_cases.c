// What `headwater bench` times; see bench_cases.h.
//
// Inputs are reproducible noise: q and k of unit variance give scores of moderate spread after the
// scale, as ordinary text does.
#include "tools/bench_cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/arena.h"
#include "kernels/size.h"
#include "tools/bench_fma.h"

enum { N_OFFSETS = 64, N_SPANS = 6, N_RANKS = 8, UNEMBED_COLUMNS = 2048, PUNCTUATION_EVERY = 9 };

// Fills with noise of unit variance: the sum of four uniform numbers, from a fixed generator.
static void fill_noise(float *x, size_t n, uint64_t seed) {
    uint64_t state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        for (int part = 0; part < 4; part++) {
            sum += (float)(state >> (16 * part) & 0xFFFF) / 65536.0f - .5f;
        }
        x[i] = sum * 1.7320508f;
    }
}

static enum hw_status fail_memory(struct hw_error *err) {
    return hw_fail(err, HW_RESOURCE, "not enough memory for the benchmark");
}

float *hw_bench_noise(size_t n, uint64_t seed) {
    size_t n_bytes;
    float *x = NULL;
    if (hw_size_mul(n, sizeof *x, &n_bytes) && hw_size_round_up(n_bytes, HW_ALIGN, &n_bytes)) {
        x = aligned_alloc(HW_ALIGN, n_bytes);
    }
    if (x != NULL) {
        fill_noise(x, n, seed);
    }
    return x;
}

void *hw_bench_block(size_t n_bytes) {
    void *block =
        hw_size_round_up(n_bytes + 1, HW_ALIGN, &n_bytes) ? aligned_alloc(HW_ALIGN, n_bytes) : NULL;
    if (block != NULL) {
        memset(block, 0, n_bytes); // pages are there before anything is timed
    }
    return block;
}

struct linear_work {
    const struct hw_bench_setup *setup;
    struct hw_exec exec;
    struct hw_weight weight;
    const float *x;
    float *y;
    size_t m;
    double flops;
};

static void run_linear(void *self) {
    const struct linear_work *w = self;
    struct hw_product product = {&w->weight, NULL, w->y, w->weight.n_out};
    w->setup->ops.linear(&w->exec, w->x, w->m, w->weight.n_in, &product, 1);
}

static void run_fma(void *self) {
    const struct linear_work *w = self;
    hw_bench_fma(w->setup->ops.level, w->setup->n_threads, w->flops);
}

// Random bytes make valid blocks of Q4_1 once the two halves in front of each are ordinary numbers.
static void fill_weight(unsigned char *data, size_t n_bytes, enum hw_dtype dtype) {
    if (dtype == HW_F32) {
        fill_noise((float *)(void *)data, n_bytes / sizeof(float), 2);
        return;
    }
    uint32_t state = 1;
    for (size_t i = 0; i < n_bytes; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (unsigned char)(state >> 24);
    }
    static const unsigned char halves[4] = {0x00, 0x28, 0x00, 0xA8}; // .03125 and -.03125
    for (size_t i = 0; i < n_bytes; i += hw_dtype_block_bytes(dtype)) {
        memcpy(data + i, halves, sizeof halves);
    }
}

enum hw_status hw_bench_linear(const struct hw_bench_setup *setup, size_t m, size_t n_in,
                               size_t n_out, enum hw_dtype dtype, struct hw_bench_row *row,
                               struct hw_error *err) {
    size_t row_bytes = 0;
    size_t weight_bytes = 0;
    enum hw_status status = HW_OK;
    if (!hw_dtype_bytes(dtype, n_in, &row_bytes) || !hw_size_mul(row_bytes, n_out, &weight_bytes)) {
        return hw_fail(err, HW_USAGE, "%s needs a multiple of %zu inputs (found %zu)",
                       hw_dtype_name(dtype), hw_dtype_block_values(dtype), n_in);
    }
    float *x = hw_bench_noise(m * n_in, 1);
    float *y = hw_bench_noise(m * n_out, 3);
    unsigned char *data = hw_bench_block(weight_bytes);
    size_t scratch_bytes = hw_linear_scratch(setup->n_threads, n_in);
    void *scratch = hw_bench_block(scratch_bytes);
    if (x == NULL || y == NULL || data == NULL || scratch == NULL) {
        status = fail_memory(err);
        goto cleanup;
    }
    fill_weight(data, weight_bytes, dtype);
    struct linear_work work = {
        .setup = setup,
        .exec = {setup->n_threads, scratch, scratch_bytes},
        .weight =
            {.data = data, .row_bytes = row_bytes, .dtype = dtype, .n_out = n_out, .n_in = n_in},
        .x = x,
        .y = y,
        .m = m,
        .flops = 2.0 * (double)m * (double)n_in * (double)n_out,
    };
    struct hw_bench_side fma = {run_fma, &work, setup->n_threads};
    struct hw_bench_side linear = {run_linear, &work, setup->n_threads};
    row->name = dtype == HW_F32 ? "linear F32" : "linear Q4_1";
    row->a = "multiply-add ceiling";
    row->b = "linear";
    (void)snprintf(row->detail, sizeof row->detail, "%zux%zu->%zu", m, n_in, n_out);
    hw_bench_pair(&fma, &linear, setup->n_rounds, &row->result);
cleanup:
    free(x);
    free(y);
    free(data);
    free(scratch);
    return status;
}

struct attention_work {
    const struct hw_bench_setup *setup;
    struct hw_exec exec;
    struct hw_attention_args args;
    struct hw_range all;
    struct hw_range first;
    struct hw_range last;
    struct hw_range *punctuation;
    struct hw_span spans[N_SPANS];
    float *statistics;
    struct hw_bench_products products;
};

static void run_attention(void *self) {
    const struct attention_work *w = self;
    w->setup->ops.attention(&w->exec, &w->args);
}

// Everything of the default record, carved out of one block: floats a row and head, and what is per
// head.
enum { N_ROW_STATISTICS = 11 };

static size_t statistics_floats(const struct hw_attention_args *a) {
    return a->n_queries * a->n_heads * N_ROW_STATISTICS +
           a->n_heads * (N_OFFSETS + N_SPANS * N_SPANS);
}

static void request_statistics(struct attention_work *w) {
    struct hw_attention_args *a = &w->args;
    struct hw_attention_request *r = &a->request;
    float *at = w->statistics;
    size_t n = a->n_queries * a->n_heads;
    float **const rows[] = {
        &r->entropy, &r->max,      &r->first,        &r->logsumexp,    &r->score_mean,
        &r->row_sum, &r->distance, &r->received_sum, &r->received_max, &r->received_entropy};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        *rows[i] = at;
        at += n;
    }
    r->argmax = (int32_t *)(void *)at;
    at += n;
    r->offset = at;
    r->n_offsets = N_OFFSETS;
    at += a->n_heads * N_OFFSETS;
    r->span = at;
    r->spans = w->spans;
    r->n_spans = N_SPANS;
}

// The built-in spans: all, first, last, special (none here), punctuation (every ninth), generated
// (none).
static void set_spans(struct attention_work *w, size_t n_tokens) {
    size_t n_marks = 0;
    w->all = (struct hw_range){0, (uint32_t)n_tokens};
    w->first = (struct hw_range){0, 1};
    w->last = (struct hw_range){(uint32_t)n_tokens - 1, (uint32_t)n_tokens};
    for (size_t i = PUNCTUATION_EVERY; i < n_tokens; i += PUNCTUATION_EVERY) {
        w->punctuation[n_marks++] = (struct hw_range){(uint32_t)i, (uint32_t)i + 1};
    }
    w->spans[0] = (struct hw_span){&w->all, 1};
    w->spans[1] = (struct hw_span){&w->first, 1};
    w->spans[2] = (struct hw_span){&w->last, 1};
    w->spans[4] = (struct hw_span){w->punctuation, n_marks};
}

static void close_attention(struct attention_work *w) {
    free((void *)(uintptr_t)w->args.q);
    free((void *)(uintptr_t)w->args.k);
    free((void *)(uintptr_t)w->args.v);
    free(w->args.z);
    free(w->statistics);
    free(w->punctuation);
    free(w->exec.scratch);
    free(w->products.scores);
}

static enum hw_status open_attention(const struct hw_bench_setup *setup, size_t n_tokens,
                                     struct attention_work *w, struct hw_error *err) {
    const struct hw_bench_shape *s = &setup->shape;
    size_t n_q = n_tokens * s->n_heads * s->d_head;
    size_t n_kv = n_tokens * s->n_kv_heads * s->d_head;
    *w = (struct attention_work){
        .setup = setup,
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
                 .score_scale = 1 / sqrtf((float)s->d_head)},
    };
    w->statistics = hw_bench_noise(statistics_floats(&w->args), 5);
    w->punctuation = calloc(n_tokens + 1, sizeof *w->punctuation);
    if (w->args.q == NULL || w->args.k == NULL || w->args.v == NULL || w->args.z == NULL ||
        w->statistics == NULL || w->punctuation == NULL) {
        return fail_memory(err);
    }
    set_spans(w, n_tokens);
    request_statistics(w); // the larger scratch
    w->exec.n_threads = setup->n_threads;
    w->exec.scratch_bytes = hw_attention_scratch(setup->n_threads, &w->args);
    w->exec.scratch = hw_bench_block(w->exec.scratch_bytes);
    return w->exec.scratch != NULL ? HW_OK : fail_memory(err);
}

enum hw_status hw_bench_attention_statistics(const struct hw_bench_setup *setup, size_t n_tokens,
                                             struct hw_bench_row *row, struct hw_error *err) {
    struct attention_work with;
    enum hw_status status = open_attention(setup, n_tokens, &with, err);
    if (status == HW_OK) {
        struct attention_work without = with; // shares every array; they never run at once
        memset(&without.args.request, 0, sizeof without.args.request);
        struct hw_bench_side a = {run_attention, &with, setup->n_threads};
        struct hw_bench_side b = {run_attention, &without, setup->n_threads};
        row->name = "attention stats";
        row->a = "attention with all default statistics";
        row->b = "attention without";
        (void)snprintf(row->detail, sizeof row->detail, "T=%zu", n_tokens);
        hw_bench_pair(&a, &b, setup->n_rounds, &row->result);
    }
    close_attention(&with);
    return status;
}

enum hw_status hw_bench_attention_library(const struct hw_bench_setup *setup, size_t n_tokens,
                                          struct hw_bench_row *row, struct hw_error *err) {
    struct attention_work with;
    enum hw_status status = open_attention(setup, n_tokens, &with, err);
    if (status == HW_OK) {
        const struct hw_attention_args *a = &with.args;
        with.products = (struct hw_bench_products){
            a->q,     a->k,       a->v,          a->z,      NULL,
            n_tokens, a->n_heads, a->n_kv_heads, a->d_head, setup->n_threads};
        with.products.scores =
            hw_bench_noise((size_t)setup->n_threads * HW_BENCH_BLOCK * n_tokens, 6);
        status = with.products.scores != NULL ? HW_OK : fail_memory(err);
    }
    if (status == HW_OK) {
        struct hw_bench_side a = {run_attention, &with, setup->n_threads};
        struct hw_bench_side b = {hw_bench_library_products, &with.products, setup->n_threads};
        row->name = "attention library";
        row->a = "attention with all default statistics";
        row->b = "oneDNN products alone, causal blocks";
        (void)snprintf(row->detail, sizeof row->detail, "T=%zu", n_tokens);
        hw_bench_pair(&a, &b, setup->n_rounds, &row->result);
    }
    close_attention(&with);
    return status;
}

struct unembed_work {
    struct linear_work linear;
    struct hw_unembed_out out;
    const uint32_t *targets;
};

static void run_unembed(void *self) {
    const struct unembed_work *w = self;
    const struct linear_work *l = &w->linear;
    l->setup->ops.unembed(&l->exec, l->x, l->m, l->weight.n_in, &l->weight, NULL, w->targets,
                          &w->out);
}

// The product in blocks of columns into one warm buffer, as unembed itself has to do it.
static void run_columns(void *self) {
    const struct unembed_work *w = self;
    const struct linear_work *l = &w->linear;
    struct hw_weight block = l->weight;
    for (size_t first = 0; first < l->weight.n_out; first += UNEMBED_COLUMNS) {
        block.first = first;
        block.n_out = hw_size_min(UNEMBED_COLUMNS, l->weight.n_out - first);
        struct hw_product product = {&block, NULL, l->y, UNEMBED_COLUMNS};
        l->setup->ops.linear(&l->exec, l->x, l->m, block.n_in, &product, 1);
    }
}

enum hw_status hw_bench_unembed(const struct hw_bench_setup *setup, size_t m,
                                struct hw_bench_row *row, struct hw_error *err) {
    size_t n_in = setup->shape.d_model;
    size_t n_vocab = setup->shape.n_vocab;
    enum hw_status status = HW_OK;
    float *x = hw_bench_noise(m * n_in, 1);
    float *y = hw_bench_noise(m * UNEMBED_COLUMNS, 2);
    float *data = hw_bench_noise(n_vocab * n_in, 3);
    float *out = hw_bench_noise(m * (3 + 2 * N_RANKS), 4);
    uint32_t *targets = calloc(m + 1, sizeof *targets);
    size_t scratch_bytes =
        hw_size_max(hw_unembed_scratch(setup->n_threads, m, n_in, n_vocab, N_RANKS),
                    hw_linear_scratch(setup->n_threads, n_in));
    void *scratch = hw_bench_block(scratch_bytes);
    if (x == NULL || y == NULL || data == NULL || out == NULL || targets == NULL ||
        scratch == NULL) {
        status = fail_memory(err);
        goto cleanup;
    }
    for (size_t i = 0; i < m; i++) {
        targets[i] = (uint32_t)(i * 7919 % n_vocab);
    }
    struct unembed_work work = {
        .linear = {.setup = setup,
                   .exec = {setup->n_threads, scratch, scratch_bytes},
                   .weight = {.data = data,
                              .row_bytes = n_in * sizeof(float),
                              .dtype = HW_F32,
                              .n_out = n_vocab,
                              .n_in = n_in},
                   .x = x,
                   .y = y,
                   .m = m},
        .out = {.log_z = out,
                .target_logit = out + m,
                .entropy = out + 2 * m,
                .top_logit = out + 3 * m,
                .n_top = N_RANKS,
                .top_id = (uint32_t *)(void *)(out + (3 + N_RANKS) * m)},
        .targets = targets,
    };
    struct hw_bench_side a = {run_unembed, &work, setup->n_threads};
    struct hw_bench_side b = {run_columns, &work, setup->n_threads};
    row->name = "unembed";
    row->a = "unembed with loss, entropy, 8 ranks";
    row->b = "linear in blocks of 2048 columns";
    (void)snprintf(row->detail, sizeof row->detail, "%zux%zu->%zu", m, n_in, n_vocab);
    hw_bench_pair(&a, &b, setup->n_rounds, &row->result);
cleanup:
    free(x);
    free(y);
    free(data);
    free(out);
    free(targets);
    free(scratch);
    return status;
}
