// Reductions over rows and over a state, against the reference. Selections (maxima, medians, lists,
// counts) are exact; sums are in double and differ from the reference's order by less than one unit
// in the last place of a float.
#include "check_rows.h"
#include "kernels/state.h"

static const size_t widths[] = {1, 2, 3, 15, 16, 17, 31, 33, 64, 100, 257};
enum { N_WIDTHS = sizeof widths / sizeof widths[0], GAP = 5 };

static bool same(const float *a, const float *b, size_t n) {
    return memcmp(a, b, n * sizeof *a) == 0;
}

static void check_rows(size_t width, int fill) {
    enum { M = 6, G = 3 };
    size_t ld = G * width + GAP;
    struct hw_ops ref;
    struct hw_ops ops;
    struct hw_exec exec = {1, NULL, 0};
    float *x = guarded_open(M * ld);
    float *reference = guarded_open(width);
    float *want = guarded_open(M * G);
    float *got = guarded_open(M * G);
    fill_rows(x, M * ld, fill, width);
    fill_rows(reference, width, fill, width + 9);
    memset(x + ld, 0, width * sizeof *x); // a row of zeros
    x[2 * ld] = NAN;
    hw_ops_init(&ref, HW_LEVEL_REF);
    FOR_EACH_LEVEL(ops) {
        for (exec.n_threads = 1; exec.n_threads <= 3; exec.n_threads++) {
            ref.row_norm(&exec, x, M, ld, G, width, want);
            ops.row_norm(&exec, x, M, ld, G, width, got);
            for (size_t i = 0; i < M * G; i++) {
                ck_assert_double_le(ulps_between(got[i], (double)want[i]), 1);
            }
            ref.row_abs_max(&exec, x, M, ld, width, want);
            ops.row_abs_max(&exec, x, M, ld, width, got);
            ck_assert(same(got, want, M) && isnan(got[2]));
            ref.row_abs_median(&exec, x, M, ld, width, want);
            ops.row_abs_median(&exec, x, M, ld, width, got);
            ck_assert(same(got, want, M));
            ref.row_cosine(&exec, x, M, ld, width, reference, want);
            ops.row_cosine(&exec, x, M, ld, width, reference, got);
            ck_assert(got[1] == 0 && isnan(got[2]));
            for (size_t i = 0; i < M; i++) {
                // Double sums: far below one unit of 1, the largest cosine.
                ck_assert(i == 2 || fabsf(got[i] - want[i]) <= 0x1p-23f);
            }
        }
    }
    guarded_close(got, M * G);
    guarded_close(want, M * G);
    guarded_close(reference, width);
    guarded_close(x, M * ld);
}

START_TEST(row_reductions_equal_their_definition) {
    for (size_t i = 0; i < N_WIDTHS; i++) {
        for (int fill = 0; fill < N_FILLS; fill++) {
            check_rows(widths[i], fill);
        }
    }
}
END_TEST

static bool same_list(const struct hw_top_value *a, const struct hw_top_value *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!same(&a[i].value, &b[i].value, 1) || a[i].row != b[i].row ||
            a[i].channel != b[i].channel) {
            return false;
        }
    }
    return true;
}

static void check_state(size_t m, size_t width, int fill, void *scratch, size_t scratch_bytes) {
    size_t ld = width + GAP;
    struct hw_ops ref;
    struct hw_ops ops;
    struct hw_exec exec = {1, scratch, scratch_bytes};
    float *x = guarded_open(m * ld);
    float first[3];
    fill_rows(x, m * ld, fill, m * width);
    hw_ops_init(&ref, HW_LEVEL_REF);
    float want[3];
    ref.state_stats(&exec, x, m, ld, width, &want[0], &want[1], &want[2]);
    FOR_EACH_LEVEL(ops) {
        for (exec.n_threads = 1; exec.n_threads <= 3; exec.n_threads++) {
            float got[3];
            ops.state_stats(&exec, x, m, ld, width, &got[0], &got[1], &got[2]);
            ck_assert(same(got, want, 1));
            ck_assert_double_le(ulps_between(got[1], (double)want[1]), 1);
            ck_assert_double_le(ulps_between(got[2], (double)want[2]), 1);
            if (exec.n_threads > 1) {
                ck_assert(same(got, first, 3));
            }
            memcpy(first, got, sizeof got);
            for (size_t n = 1; n <= HW_STATE_TOP; n += 21) {
                struct hw_top_value want_top[HW_STATE_TOP];
                struct hw_top_value top[HW_STATE_TOP + 1];
                top[n].row = 77;
                ref.state_top(&exec, x, m, ld, width, n, want_top);
                ops.state_top(&exec, x, m, ld, width, n, top);
                ck_assert(same_list(top, want_top, n));
                ck_assert_uint_eq(top[n].row, 77);
            }
            for (size_t limit = 0; limit < 40; limit += 13) {
                struct hw_top_value want_events[40];
                struct hw_top_value events[41];
                events[limit].row = 77;
                size_t n =
                    ops.state_events(&exec, x, m, ld, width, want[0], 2 * want[1], limit, events);
                ck_assert_uint_eq(n, ref.state_events(&exec, x, m, ld, width, want[0], 2 * want[1],
                                                      limit, want_events));
                ck_assert(same_list(events, want_events, n < limit ? n : limit));
                ck_assert_uint_eq(events[limit].row, 77);
            }
        }
    }
    guarded_close(x, m * ld);
}

START_TEST(state_reductions_equal_their_definition) {
    static const size_t rows[] = {1, 63, 65, 150};
    size_t scratch_bytes = hw_state_scratch(3);
    void *scratch = malloc(scratch_bytes);
    ck_assert_ptr_nonnull(scratch);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t w = 0; w < N_WIDTHS; w += 3) {
            for (int fill = 0; fill < N_FILLS; fill++) {
                check_state(rows[i], widths[w], fill, scratch, scratch_bytes);
            }
        }
    }
    free(scratch);
}
END_TEST

// Every tenth row, the ones a sample of evenly spaced rows would take, is far below the others: the
// guess of the median is wrong.
START_TEST(a_misleading_sample_costs_time_only) {
    enum { ROWS = 1280, WIDTH = 40 };
    static float x[ROWS * WIDTH];
    struct hw_ops ref;
    struct hw_ops ops;
    struct hw_exec exec = {2, malloc(hw_state_scratch(2)), hw_state_scratch(2)};
    ck_assert_ptr_nonnull(exec.scratch);
    fill_rows(x, ROWS * WIDTH, 0, 5);
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        x[i] *= i / WIDTH % 10 == 0 ? 1e-6f : 1;
    }
    hw_ops_init(&ref, HW_LEVEL_REF);
    float want[3];
    ref.state_stats(&exec, x, ROWS, WIDTH, WIDTH, &want[0], &want[1], &want[2]);
    ck_assert_float_gt(want[0], 0.1f);
    FOR_EACH_LEVEL(ops) {
        float got[3];
        ops.state_stats(&exec, x, ROWS, WIDTH, WIDTH, &got[0], &got[1], &got[2]);
        ck_assert(same(got, want, 1));
    }
    free(exec.scratch);
}
END_TEST

// By hand: |x| = 1 2 3 3, lower median 2; mean 2.25; x = 1 -2 3 -3, mean -.25, squares 23,
// variance 5.6875.
START_TEST(small_numbers_by_hand) {
    const float x[4] = {1, -2, 3, -3};
    struct hw_ops ops;
    void *scratch = malloc(hw_state_scratch(1));
    struct hw_exec exec = {1, scratch, hw_state_scratch(1)};
    for (int level = HW_LEVEL_REF; level <= (int)hw_cpu_level(); level++) {
        float median, mean_abs, std, out[2];
        struct hw_top_value top[5];
        hw_ops_init(&ops, (enum hw_level)level);
        ops.state_stats(&exec, x, 2, 2, 2, &median, &mean_abs, &std);
        ck_assert_float_eq(median, 2);
        ck_assert_float_eq(mean_abs, 2.25f);
        ck_assert_float_eq(std, sqrtf(5.6875f));
        ops.state_top(&exec, x, 2, 2, 2, 5, top);
        ck_assert_float_eq(top[0].value,
                           3); // of two equal magnitudes the lower channel comes first
        ck_assert_float_eq(top[1].value, -3);
        ck_assert_uint_eq(top[1].channel, 1);
        ck_assert(isnan(top[4].value) && top[4].row == UINT32_MAX && top[4].channel == UINT32_MAX);
        ck_assert_uint_eq(ops.state_events(&exec, x, 2, 2, 2, 2, 2, 5, top),
                          2); // 2 is not above the floor of 2
        ck_assert_uint_eq(ops.state_events(&exec, x, 2, 2, 2, 1, 2, 5, top),
                          3); // but 2 is at least 2
        ck_assert_float_eq(top[0].value, -2);
        ops.row_abs_median(&exec, x, 2, 2, 2, out);
        ck_assert_float_eq(out[0], 1); // the lower of two
        ops.row_norm(&exec, (const float[]){3, 4, 1e30f, 0}, 1, 4, 2, 2, out);
        ck_assert_float_eq(out[0], 5);
        ck_assert_float_eq(out[1], 1e30f); // squares do not overflow
    }
    free(scratch);
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, row_reductions_equal_their_definition);
    tcase_add_test(tcase, state_reductions_equal_their_definition);
    tcase_add_test(tcase, a_misleading_sample_costs_time_only);
    tcase_add_test(tcase, small_numbers_by_hand);
    return run_suite("reductions", tcase);
}
