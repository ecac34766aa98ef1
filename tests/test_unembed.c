// unembed on every level: its logits are those of linear, what it says of them is what double says,
// the same bits for every thread count, request and position of a row.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_op.h"
#include "check_weight.h"
#include "kernels/ops.h"

enum { N_OUT = 6 }; // log_z, target_logit, entropy, top_id, top_logit, logits

struct job {
    struct check_weight w;
    float *x;
    float *bias;
    uint32_t *targets;
    size_t m;
    size_t n_top;
    struct check_buffer out[N_OUT];
    struct hw_unembed_out view;
};

static void *make(size_t n) {
    void *made = calloc(n + 1, sizeof(float));
    ck_assert_ptr_nonnull(made);
    return made;
}

static struct job job_open(struct check_weight w, size_t m, float scale, size_t n_top) {
    struct job job;
    size_t n_vocab = w.weight.n_out;
    uint64_t seed = 7 * m + n_vocab;
    memset(&job, 0, sizeof job);
    job.w = w;
    job.m = m;
    job.n_top = n_top;
    job.x = make(m * w.weight.n_in);
    job.bias = make(n_vocab);
    job.targets = make(m);
    check_random_normal(&seed, scale / sqrtf((float)w.weight.n_in), m * w.weight.n_in, job.x);
    check_random_normal(&seed, 1, n_vocab, job.bias);
    for (size_t r = 0; r < m; r++) {
        job.targets[r] = (uint32_t)(check_random_bits(&seed) % n_vocab);
    }
    size_t n[N_OUT] = {m, m, m, m * n_top, m * n_top, m * n_vocab};
    for (int i = 0; i < N_OUT; i++) {
        job.out[i] = check_buffer_open(n[i] * sizeof(float));
    }
    job.view =
        (struct hw_unembed_out){job.out[0].data, job.out[1].data, job.out[2].data, job.out[3].data,
                                job.out[4].data, n_top,           job.out[5].data};
    return job;
}

static void job_run(struct job *job, const struct hw_ops *ops, int n_threads) {
    const struct hw_weight *w = &job->w.weight;
    size_t bytes = hw_unembed_scratch(n_threads, job->m, w->n_in, w->n_out, job->view.n_top);
    struct check_buffer scratch = check_buffer_open(bytes);
    struct hw_exec exec = {n_threads, scratch.data, bytes};
    ops->unembed(&exec, job->x, job->m, w->n_in, w, job->bias, job->targets, &job->view);
    ck_assert_msg(check_buffer_is_intact(&scratch), "scratch: %s", check_op_message());
    for (int i = 0; i < N_OUT; i++) {
        ck_assert_msg(check_buffer_is_intact(&job->out[i]), "output %d: %s", i, check_op_message());
    }
    check_buffer_close(&scratch);
}

static void job_close(struct job *job) {
    check_weight_close(&job->w);
    for (int i = 0; i < N_OUT; i++) {
        check_buffer_close(&job->out[i]);
    }
    free(job->x);
    free(job->bias);
    free(job->targets);
}

// linear and unembed agree on every logit, bit by bit.
static void check_logits(struct job *job, const struct hw_ops *ops) {
    const struct hw_weight *w = &job->w.weight;
    size_t n = job->m * w->n_out;
    float *y = make(n);
    size_t bytes = hw_linear_scratch(1, w->n_in);
    struct check_buffer scratch = check_buffer_open(bytes);
    struct hw_exec exec = {1, scratch.data, bytes};
    ops->linear(&exec, job->x, job->m, w->n_in, &(struct hw_product){w, job->bias, y, w->n_out}, 1);
    ck_assert_msg(check_same_bits(job->view.logits, y, n), "logits: %s", check_op_message());
    check_buffer_close(&scratch);
    free(y);
}

// Targets and the largest logits, by sorting.
static void check_choices(const struct job *job, size_t row) {
    size_t n_vocab = job->w.weight.n_out;
    const float *logits = job->view.logits + row * n_vocab;
    ck_assert(check_same_bits(&job->view.target_logit[row], &logits[job->targets[row]], 1));
    unsigned char *is_taken = make(n_vocab);
    for (size_t i = 0; i < job->n_top; i++) {
        size_t best = n_vocab;
        for (size_t id = 0; id < n_vocab; id++) {
            if (!is_taken[id] && (best == n_vocab || logits[id] > logits[best])) {
                best = id;
            }
        }
        uint32_t want_id = best < n_vocab ? (uint32_t)best : UINT32_MAX;
        float want = best < n_vocab ? logits[best] : -INFINITY;
        ck_assert_uint_eq(job->view.top_id[row * job->n_top + i], want_id);
        ck_assert(job->view.top_logit[row * job->n_top + i] == want);
        if (best < n_vocab) {
            is_taken[best] = 1;
        }
    }
    free(is_taken);
}

// log_z and entropy of float logits in float, in order; and of double logits in double.
static void measure_row(const float *logits, const double *exact, size_t n, float *ret_plain,
                        double *ret_exact) {
    float max = logits[0];
    double max_exact = exact[0];
    for (size_t i = 1; i < n; i++) {
        max = fmaxf(max, logits[i]);
        max_exact = fmax(max_exact, exact[i]);
    }
    float sum = 0;
    float weighted = 0;
    double sum_exact = 0;
    double weighted_exact = 0;
    for (size_t i = 0; i < n; i++) {
        float p = expf(logits[i] - max);
        sum += p;
        weighted += p > 0 ? p * (logits[i] - max) : 0; // 0 ln 0 = 0
        double p_exact = exp(exact[i] - max_exact);
        sum_exact += p_exact;
        weighted_exact += p_exact > 0 ? p_exact * (exact[i] - max_exact) : 0;
    }
    ret_plain[0] = max + logf(sum);
    ret_plain[1] = logf(sum) - weighted / sum;
    ret_exact[0] = max_exact + log(sum_exact);
    ret_exact[1] = log(sum_exact) - weighted_exact / sum_exact;
}

static void check_sums(const struct job *job) {
    size_t n_vocab = job->w.weight.n_out;
    size_t n_in = job->w.weight.n_in;
    float *plain = make(2 * job->m);
    float *logits = make(n_vocab);
    double *exact = make(4 * job->m);
    double *logits_exact = make(2 * n_vocab);
    double *own = make(2 * n_vocab);
    for (size_t r = 0; r < job->m; r++) {
        for (size_t id = 0; id < n_vocab; id++) {
            logits[id] = 0;
            logits_exact[id] = 0;
            for (size_t i = 0; i < n_in; i++) {
                logits[id] += job->x[r * n_in + i] * job->w.dense[id * n_in + i];
                logits_exact[id] +=
                    (double)job->x[r * n_in + i] * (double)job->w.dense[id * n_in + i];
            }
            logits[id] += job->bias[id];
            logits_exact[id] += (double)job->bias[id];
            own[id] = (double)job->view.logits[r * n_vocab + id];
        }
        float row_plain[2];
        double row_exact[2];
        double row_own[2];
        measure_row(logits, logits_exact, n_vocab, row_plain, row_exact);
        plain[r] = row_plain[0];
        plain[job->m + r] = row_plain[1];
        exact[r] = row_exact[0];
        exact[job->m + r] = row_exact[1];
        // Of its own logits, log_z is to be right to 1e-6 of its size, and never worse than 1e-6
        // where that is small.
        measure_row(logits, own, n_vocab, row_plain, row_own);
        ck_assert_msg(
            check_within(&job->view.log_z[r], row_own, 1, 1e-6 * fmax(1, fabs(row_own[0]))),
            "log_z: %s", check_op_message());
        check_choices(job, r);
    }
    if (job->m >= 30) { // enough rows for the largest error to mean something
        ck_assert_msg(check_error_is_at_most_twice(job->view.log_z, plain, exact, job->m),
                      "log_z: %s", check_op_message());
        ck_assert_msg(
            check_error_is_at_most_twice(job->view.entropy, plain + job->m, exact + job->m, job->m),
            "entropy: %s", check_op_message());
    }
    free(plain);
    free(logits);
    free(exact);
    free(logits_exact);
    free(own);
}

START_TEST(shapes_agree_with_double) {
    static const struct {
        size_t n_vocab;
        size_t n_in;
        size_t m;
        size_t n_top;
        float scale;
    } shapes[] = {{1, 1, 1, 3, 1},       {31, 31, 2, 1, 3},     {32, 64, 15, 5, 3},
                  {33, 256, 16, 0, 10},  {100, 257, 17, 64, 3}, {1023, 64, 30, 10, 30},
                  {1025, 64, 33, 10, 3}, {2500, 576, 33, 3, 1}};
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct check_weight w =
            check_weight_open(HW_F32, shapes[i].n_vocab, shapes[i].n_in, false, false, i);
        struct job job = job_open(w, shapes[i].m, shapes[i].scale, shapes[i].n_top);
        job_run(&job, &ops, 1 + (int)(i % 3));
        check_logits(&job, &ops);
        check_sums(&job);
        job_close(&job);
    }
}
END_TEST

START_TEST(forms_of_weights_agree_with_double) {
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    for (int form = 0; form < 4; form++) {
        struct check_weight w = check_weight_open(form < 2 ? HW_Q4_1 : HW_F16, 1500, 96, form >= 2,
                                                  form % 2 == 1, (uint64_t)form);
        struct job job = job_open(w, 31, 1, 10);
        job_run(&job, &ops, 2);
        check_logits(&job, &ops);
        check_sums(&job);
        job_close(&job);
    }
}
END_TEST

static void check_same_outputs(const struct job *got, const struct job *want, size_t row,
                               const char *what) {
    for (int i = 0; i < N_OUT; i++) {
        size_t n = got->out[i].n_bytes / 4;
        ck_assert_msg(check_same_bits(got->out[i].data,
                                      (const float *)want->out[i].data +
                                          row * (want->out[i].n_bytes / 4 / want->m),
                                      n),
                      "%s, output %d: %s", what, i, check_op_message());
    }
}

START_TEST(threads_and_neighbours_change_no_bit) {
    static const int n_threads[] = {2, 3, 7};
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    // 7 threads divide segments between strips: more than 8 strips on every level.
    struct job all = job_open(check_weight_open(HW_Q8_0, 2100, 64, false, false, 4), 130, 4, 7);
    job_run(&all, &ops, 1);
    for (size_t i = 0; i < 3; i++) {
        struct job other =
            job_open(check_weight_open(HW_Q8_0, 2100, 64, false, false, 4), 130, 4, 7);
        job_run(&other, &ops, n_threads[i]);
        check_same_outputs(&other, &all, 0, "threads");
        job_close(&other);
    }
    for (size_t r = 0; r < all.m; r += 3) {
        size_t m = r % 2 == 0 ? 1 : all.m - r;
        struct job part = job_open(check_weight_open(HW_Q8_0, 2100, 64, false, false, 4), m, 4, 7);
        memcpy(part.x, all.x + r * 64, m * 64 * sizeof(float));
        memcpy(part.targets, all.targets + r, m * sizeof(uint32_t));
        memcpy(part.bias, all.bias, 2100 * sizeof(float));
        job_run(&part, &ops, 2);
        check_same_outputs(&part, &all, r, "rows");
        job_close(&part);
    }
    job_close(&all);
}
END_TEST

START_TEST(what_is_not_asked_for_changes_nothing) {
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    struct job all = job_open(check_weight_open(HW_F32, 1100, 40, false, false, 8), 17, 2, 4);
    job_run(&all, &ops, 2);
    for (int kept = 0; kept < N_OUT; kept++) {
        struct job one = job_open(check_weight_open(HW_F32, 1100, 40, false, false, 8), 17, 2, 4);
        struct hw_unembed_out view = one.view;
        memset(&one.view, 0, sizeof one.view);
        one.view.log_z = kept == 0 ? view.log_z : NULL;
        one.view.target_logit = kept == 1 ? view.target_logit : NULL;
        one.view.entropy = kept == 2 ? view.entropy : NULL;
        one.view.top_id = kept == 3 ? view.top_id : NULL;
        one.view.top_logit = kept == 4 ? view.top_logit : NULL;
        one.view.n_top = kept == 3 || kept == 4 ? 4 : 0;
        one.view.logits = kept == 5 ? view.logits : NULL;
        job_run(&one, &ops, 2);
        for (int i = 0; i < N_OUT; i++) {
            const unsigned char *bytes = one.out[i].data;
            if (i == kept) {
                ck_assert_msg(check_same_bits(bytes, all.out[i].data, one.out[i].n_bytes / 4),
                              "%d: %s", i, check_op_message());
            }
            for (size_t b = 0; i != kept && b < one.out[i].n_bytes; b++) {
                ck_assert_int_eq(bytes[b], 0xA5);
            }
        }
        job_close(&one);
    }
    job_close(&all);
}
END_TEST

// Equal logits: the lower ids, entropy and log_z ln V. A target outside of the vocabulary: not a
// number.
START_TEST(ties_and_missing_targets) {
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    struct job job = job_open(check_weight_open(HW_F32, 1500, 33, false, false, 2), 20, 1, 64);
    memset(job.x, 0, 20 * 33 * sizeof(float));
    memset(job.bias, 0, 1500 * sizeof(float));
    job.targets[3] = UINT32_MAX;
    job.targets[4] = 1500;
    job_run(&job, &ops, 3);
    for (size_t r = 0; r < 20; r++) {
        double want[2] = {log(1500), log(1500)};
        ck_assert_msg(check_within(&job.view.log_z[r], want, 1, 1e-6 * want[0]), "%s",
                      check_op_message());
        ck_assert_msg(check_within(&job.view.entropy[r], want + 1, 1, 1e-6 * want[1]), "%s",
                      check_op_message());
        for (uint32_t i = 0; i < 64; i++) {
            ck_assert_uint_eq(job.view.top_id[r * 64 + i], i);
        }
        ck_assert(r == 3 || r == 4 ? isnan(job.view.target_logit[r])
                                   : job.view.target_logit[r] == 0);
    }
    job_close(&job);
}
END_TEST

// Logits that rise or fall through the vocabulary by hundreds, minus infinity among them, and one
// row that is not a number.
START_TEST(adversarial_logits_agree_with_double) {
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    struct job job = job_open(check_weight_open(HW_F32, 1300, 8, false, false, 3), 35, 0.1F, 9);
    for (size_t id = 0; id < 1300; id++) {
        job.bias[id] = id % 97 == 5 ? -INFINITY : 0.3F * (float)id - 200;
    }
    job_run(&job, &ops, 2);
    check_logits(&job, &ops);
    check_sums(&job);
    for (size_t id = 0; id < 1300; id++) {
        job.bias[id] = id % 97 == 5 ? -INFINITY : 3000 - 2 * (float)id;
    }
    job.x[34 * 8] = NAN;
    job_run(&job, &ops, 2);
    ck_assert(isnan(job.view.log_z[34]) && isnan(job.view.entropy[34]));
    ck_assert_uint_eq(job.view.top_id[34 * 9], UINT32_MAX);
    job.m = 34;
    check_logits(&job, &ops);
    check_sums(&job);
    job.m = 35;
    job_close(&job);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("unembed");
    TCase *tcase = tcase_create("all");
    int end = (int)hw_cpu_level() + 1;
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, shapes_agree_with_double, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, forms_of_weights_agree_with_double, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, threads_and_neighbours_change_no_bit, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, what_is_not_asked_for_changes_nothing, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, ties_and_missing_targets, HW_LEVEL_REF, end);
    tcase_add_loop_test(tcase, adversarial_logits_agree_with_double, HW_LEVEL_REF, end);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
