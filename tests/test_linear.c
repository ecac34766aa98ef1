// linear on every level: its error against double, and its bits: the chain of ops.h, for every
// type, shape, thread count and position of a row.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_op.h"
#include "check_weight.h"
#include "kernels/ops.h"

enum { PAD = 3 }; // floats between rows that must not be written

struct job {
    struct check_weight w;
    struct check_buffer x;
    struct check_buffer y;
    struct check_buffer scratch;
    float *bias; // NULL: none
    size_t m;
    size_t ldx;
    size_t ldy;
    struct hw_exec exec;
};

static struct job job_open(struct check_weight w, size_t m, bool has_bias, int n_threads) {
    struct job job;
    uint64_t seed = m * 31 + w.weight.n_in;
    memset(&job, 0, sizeof job);
    job.w = w;
    job.m = m;
    job.ldx = w.weight.n_in + PAD;
    job.ldy = w.weight.n_out + PAD;
    job.x = check_buffer_open(m * job.ldx * sizeof(float));
    job.y = check_buffer_open(m * job.ldy * sizeof(float));
    check_random_normal(&seed, 1, m * job.ldx, job.x.data);
    if (has_bias) {
        job.bias = calloc(w.weight.n_out, sizeof(float));
        ck_assert_ptr_nonnull(job.bias);
        check_random_normal(&seed, 1, w.weight.n_out, job.bias);
    }
    size_t scratch_bytes = hw_linear_scratch(n_threads, w.weight.n_in);
    job.scratch = check_buffer_open(scratch_bytes);
    job.exec = (struct hw_exec){n_threads, job.scratch.data, scratch_bytes};
    return job;
}

static void job_run(struct job *job, const struct hw_ops *ops) {
    struct hw_product product = {&job->w.weight, job->bias, job->y.data, job->ldy};
    ops->linear(&job->exec, job->x.data, job->m, job->ldx, &product, 1);
    ck_assert_msg(check_buffer_is_intact(&job->y), "y: %s", check_op_message());
    ck_assert_msg(check_buffer_is_intact(&job->scratch), "scratch: %s", check_op_message());
    const unsigned char *bytes = job->y.data;
    for (size_t r = 0; r < job->m; r++) {
        for (size_t i = 0; i < PAD * sizeof(float); i++) {
            ck_assert_msg(bytes[(r * job->ldy + job->w.weight.n_out) * sizeof(float) + i] == 0xA5,
                          "row %zu was written beyond its end", r);
        }
    }
}

static void job_close(struct job *job) {
    check_weight_close(&job->w);
    check_buffer_close(&job->x);
    check_buffer_close(&job->y);
    check_buffer_close(&job->scratch);
    free(job->bias);
}

// One output as ops.h defines it, with the multiply-add of the level.
static float defined_output(enum hw_level level, const float *x, const float *w, size_t n_in) {
    float sum = 0;
    for (size_t k = 0; k < n_in; k += 256) {
        float part = 0;
        for (size_t i = k; i < n_in && i < k + 256; i++) {
            part = level == HW_LEVEL_PLAIN ? part + x[i] * w[i] : fmaf(x[i], w[i], part);
        }
        sum = k == 0 ? part : sum + part;
    }
    return sum;
}

// The bits of every output; and the rule of rounding errors over the whole call, where that has
// values enough for the largest of them to mean something (a hundred).
static void job_check(struct job *job, const struct hw_ops *ops, const char *name) {
    size_t n_out = job->w.weight.n_out;
    size_t n_in = job->w.weight.n_in;
    size_t n = job->m * n_out;
    float *got = calloc(n, sizeof(float));
    float *plain = calloc(n, sizeof(float));
    double *exact = calloc(n, sizeof(double));
    ck_assert(got != NULL && plain != NULL && exact != NULL);
    for (size_t at = 0; at < n; at++) {
        size_t o = at % n_out;
        const float *x = (const float *)job->x.data + at / n_out * job->ldx;
        const float *w = job->w.dense + o * n_in;
        for (size_t i = 0; i < n_in; i++) {
            plain[at] += x[i] * w[i];
            exact[at] += (double)x[i] * (double)w[i];
        }
        float defined = defined_output(ops->level, x, w, n_in);
        if (job->bias != NULL) {
            plain[at] += job->bias[o];
            exact[at] += (double)job->bias[o];
            defined += job->bias[o];
        }
        if (ops->level == HW_LEVEL_REF) {
            defined = (float)exact[at];
        }
        got[at] = ((const float *)job->y.data)[at / n_out * job->ldy + o];
        ck_assert_msg(check_same_bits(&got[at], &defined, 1), "%s, row %zu of %zu, output %zu: %s",
                      name, at / n_out, job->m, o, check_op_message());
    }
    ck_assert_msg(n < 100 || check_error_is_at_most_twice(got, plain, exact, n), "%s: %s", name,
                  check_op_message());
    free(got);
    free(plain);
    free(exact);
}

static const size_t rows[] = {1, 2, 15, 16, 17, 33};

START_TEST(shapes_have_their_bits) {
    static const struct {
        size_t n_out;
        size_t n_in;
    } shapes[] = {{1, 1},    {1, 576},    {31, 31},  {32, 64},   {33, 256}, {100, 257},
                  {100, 64}, {2048, 100}, {65, 576}, {64, 1536}, {40, 2305}};
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            struct check_weight w = check_weight_open(HW_F32, shapes[i].n_out, shapes[i].n_in,
                                                      false, false, 100 * i + r);
            struct job job = job_open(w, rows[r], r % 2 == 0, 1 + (int)(r % 3));
            job_run(&job, &ops);
            job_check(&job, &ops, "F32");
            job_close(&job);
        }
    }
}
END_TEST

START_TEST(types_have_their_bits) {
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    for (int dtype = 0; dtype < HW_N_DTYPES; dtype++) {
        if (!hw_dtype_is_weight(dtype)) {
            continue;
        }
        for (int form = 0; form < 4; form++) {
            bool is_transposed = form >= 2;
            if (is_transposed && hw_dtype_block_values(dtype) != 1) {
                continue;
            }
            struct check_weight w =
                check_weight_open(dtype, 77, 512, is_transposed, form % 2 == 1, (uint64_t)dtype);
            struct job job = job_open(w, 17, false, 2);
            job_run(&job, &ops);
            job_check(&job, &ops, hw_dtype_name(dtype));
            job_close(&job);
        }
    }
}
END_TEST

// More inputs than one group, more rows than one block.
START_TEST(large_calls_have_their_bits) {
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    struct job deep = job_open(check_weight_open(HW_Q8_0, 50, 4640, false, false, 5), 20, true, 2);
    job_run(&deep, &ops);
    job_check(&deep, &ops, "deep");
    job_close(&deep);
    struct job tall = job_open(check_weight_open(HW_F16, 97, 40, true, false, 6), 1601, true, 3);
    job_run(&tall, &ops);
    job_check(&tall, &ops, "tall");
    job_close(&tall);
}
END_TEST

// Products of one call are those of a call each, with every way of dealing rows to threads.
START_TEST(products_share_a_call) {
    static const int n_threads[] = {1, 2, 4, 5, 8};
    static const size_t n_outs[] = {192, 64, 33};
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    for (size_t t = 0; t < sizeof n_threads / sizeof *n_threads; t++) {
        struct job jobs[3];
        struct hw_product products[3];
        float *together[3];
        for (size_t p = 0; p < 3; p++) {
            jobs[p] = job_open(check_weight_open(HW_Q4_0, n_outs[p], 96, false, false, p), 800,
                               p == 1, n_threads[t]);
            struct job *job = &jobs[p];
            together[p] = calloc(job->y.n_bytes, 1);
            ck_assert_ptr_nonnull(together[p]);
            memcpy(together[p], job->y.data, job->y.n_bytes);
            products[p] = (struct hw_product){&job->w.weight, job->bias, together[p], job->ldy};
        }
        ops.linear(&jobs[0].exec, jobs[0].x.data, 800, jobs[0].ldx, products, 3);
        for (size_t p = 0; p < 3; p++) {
            struct job *job = &jobs[p];
            memcpy(job->x.data, jobs[0].x.data, job->x.n_bytes);
            job_run(job, &ops);
            ck_assert_msg(memcmp(job->y.data, together[p], job->y.n_bytes) == 0,
                          "product %zu of 3 with %d threads", p, n_threads[t]);
            free(together[p]);
        }
        for (size_t p = 0; p < 3; p++) {
            job_close(&jobs[p]);
        }
    }
}
END_TEST

START_TEST(threads_and_neighbours_change_no_bit) {
    static const int n_threads[] = {1, 2, 3, 7};
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    struct job all = job_open(check_weight_open(HW_Q4_1, 200, 288, false, false, 9), 45, true, 1);
    job_run(&all, &ops);
    size_t n_bytes = all.y.n_bytes;
    for (size_t i = 0; i < 4; i++) {
        struct job other =
            job_open(check_weight_open(HW_Q4_1, 200, 288, false, false, 9), 45, true, n_threads[i]);
        job_run(&other, &ops);
        ck_assert_msg(check_same_bits(other.y.data, all.y.data, n_bytes / 4), "%d threads: %s",
                      n_threads[i], check_op_message());
        job_close(&other);
    }
    // Each row alone, and first in a shorter call: every position in a strip.
    for (size_t r = 0; r < all.m; r++) {
        struct job part =
            job_open(check_weight_open(HW_Q4_1, 200, 288, false, false, 9), all.m - r, true, 2);
        memcpy(part.x.data, (float *)all.x.data + r * all.ldx, part.x.n_bytes);
        memcpy(part.bias, all.bias, 200 * sizeof(float));
        for (size_t m = all.m - r; m > 0; m = m > 1 ? 1 : 0) {
            part.m = m;
            memset(part.y.data, 0xA5, part.y.n_bytes);
            job_run(&part, &ops);
            ck_assert_msg(
                check_same_bits(part.y.data, (float *)all.y.data + r * all.ldy, m * all.ldy),
                "from row %zu, %zu rows: %s", r, m, check_op_message());
        }
        job_close(&part);
    }
    job_close(&all);
}
END_TEST

// Values whose partial sums overflow half-way, cancel, or are subnormal come out as the chain says.
START_TEST(adversarial_values_have_their_bits) {
    static const float values[] = {0,      -0.0F, 1e-40F,   -1e-38F,  3e18F,
                                   -3e18F, 1,     16777216, -16777216};
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    struct job job = job_open(check_weight_open(HW_F32, 70, 300, false, false, 11), 19, false, 2);
    uint64_t seed = 3;
    float *x = job.x.data;
    for (size_t i = 0; i < job.m * job.ldx; i++) {
        x[i] = values[check_random_bits(&seed) % 9];
    }
    job_run(&job, &ops);
    for (size_t r = 0; ops.level != HW_LEVEL_REF && r < job.m; r++) {
        for (size_t o = 0; o < 70; o++) {
            float want = defined_output(ops.level, x + r * job.ldx, job.w.dense + o * 300, 300);
            ck_assert_msg(check_same_bits((float *)job.y.data + r * job.ldy + o, &want, 1),
                          "row %zu output %zu: %s", r, o, check_op_message());
        }
    }
    // A row with an infinity does not touch its neighbours.
    x[5 * job.ldx] = INFINITY;
    float kept[70];
    memcpy(kept, (float *)job.y.data + 6 * job.ldy, sizeof kept);
    job_run(&job, &ops);
    ck_assert_msg(check_same_bits((float *)job.y.data + 6 * job.ldy, kept, 70), "%s",
                  check_op_message());
    job_close(&job);
}
END_TEST

START_TEST(implementation_is_of_the_level) {
    struct hw_ops ops;
    char name[64];
    hw_ops_init(&ops, _i);
    (void)snprintf(name, sizeof name, "linear_%s", hw_level_name(_i));
    ck_assert_str_eq(ops.implementation[HW_OP_linear], name);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("linear");
    TCase *tcase = tcase_create("all");
    int end = (int)hw_cpu_level() + 1;
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, shapes_have_their_bits, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, types_have_their_bits, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, large_calls_have_their_bits, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, products_share_a_call, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, threads_and_neighbours_change_no_bit, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, adversarial_values_have_their_bits, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, implementation_is_of_the_level, HW_LEVEL_REF, end);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
