// A call of attention with all its inputs and outputs, for test_attention.c and
// test_attention_change.c.
#ifndef HW_CHECK_ATTENTION_H
#define HW_CHECK_ATTENTION_H

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check_op.h"
#include "kernels/attention_internal.h"

// The definition once more, in float: the plain version of the same precision that errors are
// measured by.
#define double float
#define hw_attention_ref_scratch float_scratch
size_t float_scratch(const struct hw_attention_args *args);
#define attention_ref attention_float
#define hw_register_attention_ref register_attention_float
#include "kernels/attention_ref.c"
#undef double
#undef hw_attention_ref_scratch

// As ck_assert, which writes a line to a file each time and is too slow for loops over values.
#define REQUIRE(claim)                                                                             \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            ck_abort_msg("%s", #claim);                                                            \
        }                                                                                          \
    } while (0)

// Everything that an op can hand out.
enum output {
    Z,
    ENTROPY,
    MAX,
    FIRST,
    LOGSUMEXP,
    SCORE_MEAN,
    ROW_SUM,
    DISTANCE,
    ROW_MAX,
    ROW_INVERSE_SUM,
    RECEIVED_SUM,
    RECEIVED_MAX,
    RECEIVED_ENTROPY,
    OFFSET,
    SPAN,
    TOP_WEIGHT,
    ROWS,
    PATTERN,
    SCORES,
    N_FLOATS,
    ARGMAX = N_FLOATS,
    TOP_KEY,
    N_OUTPUTS
};

enum { N_TOP = 5, N_OFFSETS = 20, N_SPANS = 5 };

enum { ALL = (1 << N_OUTPUTS) - 1, ALL_BUT_MAPS = ALL & ~(1 << PATTERN) & ~(1 << SCORES) };

static const struct hw_range everything[] = {{0, 100000}}, first_key[] = {{0, 1}},
                             scattered[] = {{1, 2},   {3, 5},   {24, 25},
                                            {47, 50}, {60, 61}, {90, 130}},
                             middle[] = {{20, 70}};
static const struct hw_span spans[N_SPANS] = {
    {everything, 1}, {first_key, 1}, {scattered, 6}, {NULL, 0}, {middle, 1}};

// A call with all its inputs and outputs.
struct call {
    struct hw_attention_args args;
    struct check_buffer outputs[N_OUTPUTS];
    float *q, *k, *v;
};

// What the numbers are like.
enum kind { NORMAL, PEAKED, EQUAL, HUGE_SCORES, DOMINATED, N_KINDS };

struct shape {
    size_t n_queries, query_first, n_heads, n_kv_heads, d_head;
};

static void *output_slot(struct hw_attention_args *args, enum output id) {
    struct hw_attention_request *r = &args->request;
    void *slots[N_OUTPUTS] = {
        [Z] = &args->z,
        [ENTROPY] = &r->entropy,
        [MAX] = &r->max,
        [FIRST] = &r->first,
        [LOGSUMEXP] = &r->logsumexp,
        [SCORE_MEAN] = &r->score_mean,
        [ROW_SUM] = &r->row_sum,
        [DISTANCE] = &r->distance,
        [ROW_MAX] = &r->row_max,
        [ROW_INVERSE_SUM] = &r->row_inverse_sum,
        [RECEIVED_SUM] = &r->received_sum,
        [RECEIVED_MAX] = &r->received_max,
        [RECEIVED_ENTROPY] = &r->received_entropy,
        [OFFSET] = &r->offset,
        [SPAN] = &r->span,
        [TOP_WEIGHT] = &r->top_weight,
        [ROWS] = &r->rows,
        [PATTERN] = &r->pattern,
        [SCORES] = &r->scores,
        [ARGMAX] = &r->argmax,
        [TOP_KEY] = &r->top_key,
    };
    return slots[id];
}

static size_t output_size(const struct hw_attention_args *args, enum output id) {
    switch (id) {
    case Z:
        return args->n_queries * args->z_stride;
    case RECEIVED_SUM:
    case RECEIVED_MAX:
    case RECEIVED_ENTROPY:
        return args->n_keys * args->n_heads;
    case OFFSET:
        return args->n_heads * N_OFFSETS;
    case SPAN:
        return args->n_heads * N_SPANS * N_SPANS;
    case TOP_WEIGHT:
    case TOP_KEY:
        return args->n_queries * args->n_heads * N_TOP;
    case ROWS:
        return args->n_queries * args->n_heads * args->request.row_stride;
    case PATTERN:
    case SCORES:
        return args->request.map_n_heads * attention_map_values(args);
    default:
        return args->n_queries * args->n_heads;
    }
}

static void fill_inputs(struct call *call, enum kind kind, uint64_t seed) {
    struct hw_attention_args *args = &call->args;
    float scale = kind == PEAKED ? 3 : 1;
    check_random_normal(&seed, scale, args->n_queries * args->q_stride, call->q);
    check_random_normal(&seed, scale, args->n_keys * args->k_stride, call->k);
    check_random_normal(&seed, 1, args->n_keys * args->v_stride, call->v);
    for (size_t i = 0; kind == EQUAL && i < args->n_keys * args->k_stride; i++) {
        call->k[i] = call->k[i % args->k_stride];
    }
    // Integers whose products and sums are exact, so that rounding does not decide between
    // neighbours.
    for (size_t i = 0; kind == HUGE_SCORES && i < args->n_queries * args->q_stride; i++) {
        call->q[i] = 100 * rintf(3 * call->q[i]);
    }
    for (size_t i = 0; kind == HUGE_SCORES && i < args->n_keys * args->k_stride; i++) {
        call->k[i] = rintf(3 * call->k[i]);
    }
    // One key that every query sees strongly, and one that it shuns.
    for (size_t c = 0; kind == DOMINATED && c < args->k_stride; c++) {
        call->k[args->n_keys / 2 * args->k_stride + c] *= 100;
        call->k[args->n_keys / 3 * args->k_stride + c] *= -100;
    }
}

// With room for the outputs in the set.
static void call_open(struct call *call, struct shape shape, enum kind kind, unsigned set) {
    struct hw_attention_args *args = &call->args;
    enum { GAP = 3 };
    *args = (struct hw_attention_args){
        .n_queries = shape.n_queries,
        .n_keys = shape.query_first + shape.n_queries,
        .n_heads = shape.n_heads,
        .n_kv_heads = shape.n_kv_heads,
        .d_head = shape.d_head,
        .query_first = shape.query_first,
        .score_scale = kind == HUGE_SCORES ? 1 : 1 / sqrtf((float)shape.d_head)};
    args->q_stride = args->z_stride = shape.n_heads * shape.d_head + GAP;
    args->k_stride = args->v_stride = shape.n_kv_heads * shape.d_head + GAP;
    args->request.n_offsets = N_OFFSETS;
    args->request.n_spans = N_SPANS;
    args->request.spans = spans;
    args->request.n_top = N_TOP;
    args->request.row_stride = args->n_keys + 2;
    args->request.map_head_first = shape.n_heads > 1 ? 1 : 0;
    args->request.map_n_heads = shape.n_heads > 1 ? shape.n_heads - 1 : 1;
    call->q = malloc(args->n_queries * args->q_stride * sizeof(float));
    call->k = malloc(args->n_keys * args->k_stride * sizeof(float));
    call->v = malloc(args->n_keys * args->v_stride * sizeof(float));
    ck_assert(call->q != NULL && call->k != NULL && call->v != NULL);
    fill_inputs(call, kind, shape.n_queries * 131 + shape.d_head);
    args->q = call->q;
    args->k = call->k;
    args->v = call->v;
    for (int id = 0; id < N_OUTPUTS; id++) {
        call->outputs[id] = check_buffer_open((set >> id & 1) * output_size(args, id) * 4);
    }
}

static void call_close(struct call *call) {
    for (int id = 0; id < N_OUTPUTS; id++) {
        check_buffer_close(&call->outputs[id]);
    }
    free(call->q);
    free(call->k);
    free(call->v);
}

// Runs the op for the outputs in the set, which have room.
static void call_run(struct call *call, hw_attention_fn attention, int n_threads, unsigned set) {
    for (int id = 0; id < N_OUTPUTS; id++) {
        void *data = (set >> id & 1) != 0 ? call->outputs[id].data : NULL;
        memset(call->outputs[id].data, 0xA5, call->outputs[id].n_bytes);
        memcpy(output_slot(&call->args, id), &data, sizeof data);
    }
    struct check_buffer scratch = check_buffer_open(hw_attention_scratch(n_threads, &call->args));
    struct hw_exec exec = {n_threads, scratch.data, scratch.n_bytes};
    attention(&exec, &call->args);
    ck_assert_msg(check_buffer_is_intact(&scratch), "scratch: %s", check_op_message());
    check_buffer_close(&scratch);
    for (int id = 0; id < N_OUTPUTS; id++) {
        if (!check_buffer_is_intact(&call->outputs[id])) {
            ck_abort_msg("output %d: %s", id, check_op_message());
        }
    }
}

static hw_attention_fn attention_of(enum hw_level level) {
    struct hw_ops ops;
    hw_ops_init(&ops, level);
    return ops.attention;
}

static inline void check_same_outputs(const struct call *a, const struct call *b, unsigned set) {
    for (int id = 0; id < N_OUTPUTS; id++) {
        if ((set >> id & 1) != 0) {
            ck_assert_msg(check_same_bits(a->outputs[id].data, b->outputs[id].data,
                                          a->outputs[id].n_bytes / 4),
                          "output %d: %s", id, check_op_message());
        }
    }
}

// Values of one output over many calls, beside the exact ones.
struct pool {
    float *got, *plain;
    double *exact;
    size_t n;
};

static inline void pool_add(struct pool *pool, const struct call *got, const struct call *plain,
                            const struct call *exact, enum output id) {
    size_t n = exact->outputs[id].n_bytes / 4;
    const float *x = got->outputs[id].data;
    const float *y = plain->outputs[id].data;
    const float *want = exact->outputs[id].data;
    const float *received = exact->outputs[RECEIVED_SUM].data;
    pool->got = realloc(pool->got, (pool->n + n) * sizeof(float));
    pool->plain = realloc(pool->plain, (pool->n + n) * sizeof(float));
    pool->exact = realloc(pool->exact, (pool->n + n) * sizeof(double));
    ck_assert(pool->got != NULL && pool->plain != NULL && pool->exact != NULL);
    for (size_t i = 0; i < n; i++) {
        REQUIRE(isnan(x[i]) == isnan(want[i]));
        REQUIRE(!isinf(want[i]) || x[i] == want[i]);
        // Below 1e-30 a key's weights run out of bits, and so does what they are divided by.
        bool is_vague = id == RECEIVED_ENTROPY && received[i] < 1e-30f;
        if (isfinite(want[i]) && !is_vague) {
            pool->got[pool->n] = x[i];
            pool->plain[pool->n] = y[i];
            pool->exact[pool->n++] = want[i];
        }
    }
}

// All outputs by the rule for rounding errors; leaves the pools empty. `name` is for the message.
static inline void check_pools(struct pool *pools, int name) {
    for (int id = 0; id < N_FLOATS; id++) {
        ck_assert_msg(check_error_is_at_most_twice(pools[id].got, pools[id].plain, pools[id].exact,
                                                   pools[id].n),
                      "case %d, output %d: %s", name, id, check_op_message());
        free(pools[id].got);
        free(pools[id].plain);
        free(pools[id].exact);
        pools[id] = (struct pool){0};
    }
}

#endif
