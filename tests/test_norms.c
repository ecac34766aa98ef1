// rms_norm and layer_norm against the reference: error at most twice that of the same formula in
// plain float.
#include "check_rows.h"

static const size_t widths[] = {1, 2, 7, 8, 9, 16, 31, 32, 33, 64, 100, 576, 577, 768};
enum { N_WIDTHS = sizeof widths / sizeof widths[0], M = 5 };

static void plain_float(bool is_rms, const float *x, size_t d, const float *w, const float *b,
                        float eps, float *y) {
    float mean = 0;
    for (size_t c = 0; c < d && !is_rms; c++) {
        mean += x[c] / (float)d;
    }
    float squares = 0;
    for (size_t c = 0; c < d; c++) {
        squares += (x[c] - mean) * (x[c] - mean);
    }
    float factor = 1 / sqrtf(squares / (float)d + eps);
    for (size_t c = 0; c < d; c++) {
        y[c] = (x[c] - mean) * factor * w[c] + (is_rms ? 0 : b[c]);
    }
}

static double row_error(const float *got, const float *want, size_t d) {
    double worst = 0;
    for (size_t c = 0; c < d; c++) {
        worst = fmax(worst, fabs((double)got[c] - (double)want[c]));
    }
    return worst;
}

static void check_norm(bool is_rms, size_t d, int fill) {
    struct hw_ops ref;
    struct hw_ops ops;
    struct hw_exec exec = {1, NULL, 0};
    float *x = guarded_open(M * d);
    float *w = guarded_open(d);
    float *b = guarded_open(d);
    float *want = guarded_open(M * d);
    float *got = guarded_open(M * d);
    float *plain = guarded_open(M * d);
    float want_scale[M];
    float scale[M];
    fill_rows(x, M * d, fill, d);
    fill_rows(w, d, 0, d + 1);
    fill_rows(b, d, 0, d + 2);
    hw_ops_init(&ref, HW_LEVEL_REF);
    if (is_rms) {
        ref.rms_norm(&exec, x, M, d, w, 1e-5f, want, want_scale);
    } else {
        ref.layer_norm(&exec, x, M, d, w, b, 1e-5f, want, want_scale);
    }
    for (size_t r = 0; r < M; r++) {
        plain_float(is_rms, x + r * d, d, w, b, 1e-5f, plain + r * d);
    }
    FOR_EACH_LEVEL(ops) {
        for (exec.n_threads = 1; exec.n_threads <= 3; exec.n_threads++) {
            memcpy(got, x, M * d * sizeof *x); // in place
            if (is_rms) {
                ops.rms_norm(&exec, got, M, d, w, 1e-5f, got, scale);
            } else {
                ops.layer_norm(&exec, got, M, d, w, b, 1e-5f, got, scale);
            }
            for (size_t r = 0; r < M; r++) {
                double limit = 2 * row_error(plain + r * d, want + r * d, d);
                double unit =
                    0; // of the last place of the row's largest value: what rounding alone may cost
                for (size_t c = 0; c < d; c++) {
                    unit = fmax(unit, fabs((double)want[r * d + c]) * 0x1p-23);
                }
                ck_assert_double_le(row_error(got + r * d, want + r * d, d), limit + unit);
                ck_assert_double_le(ulps_between(scale[r], (double)want_scale[r]), 1);
            }
        }
    }
    guarded_close(plain, M * d);
    guarded_close(got, M * d);
    guarded_close(want, M * d);
    guarded_close(b, d);
    guarded_close(w, d);
    guarded_close(x, M * d);
}

START_TEST(norms_equal_their_definition) {
    for (size_t i = 0; i < N_WIDTHS; i++) {
        for (int fill = 0; fill < N_FILLS; fill++) {
            check_norm(true, widths[i], fill);
            check_norm(false, widths[i], fill);
        }
    }
}
END_TEST

START_TEST(a_row_has_the_same_bits_alone_and_with_any_threads) {
    enum { D = 77, ROWS = 40 };
    static float x[ROWS * D], all[ROWS * D], one[D];
    struct hw_ops ops;
    fill_rows(x, ROWS * D, 1, 3);
    FOR_EACH_LEVEL(ops) {
        for (int n_threads = 1; n_threads <= 4; n_threads++) {
            struct hw_exec exec = {n_threads, NULL, 0};
            ops.layer_norm(&exec, x, ROWS, D, NULL, NULL, 1e-6f, all, NULL);
            ops.layer_norm(&exec, x + 17 * D, 1, D, NULL, NULL, 1e-6f, one, NULL);
            ck_assert_mem_eq(all + 17 * D, one, sizeof one);
            ops.rms_norm(&exec, x, ROWS, D, NULL, 1e-6f, all, NULL);
            ops.rms_norm(&exec, x + 17 * D, 1, D, NULL, 1e-6f, one, NULL);
            ck_assert_mem_eq(all + 17 * D, one, sizeof one);
        }
    }
}
END_TEST

// Worked by hand: x = (3, 4), mean square 12.5; deviations (-.5, .5), variance .25.
START_TEST(small_numbers_by_hand) {
    struct hw_ops ops;
    struct hw_exec exec = {1, NULL, 0};
    const float x[2] = {3, 4};
    for (int level = HW_LEVEL_REF; level <= (int)hw_cpu_level(); level++) {
        float y[2];
        float scale;
        hw_ops_init(&ops, (enum hw_level)level);
        ops.rms_norm(&exec, x, 1, 2, NULL, 0, y, &scale);
        ck_assert_float_eq_tol(y[0], 0.8485281f, 1e-6f); // 3 / sqrt 12.5; 1e-6: the digits given
        ck_assert_float_eq_tol(scale, 0.2828427f, 1e-6f);
        ops.layer_norm(&exec, x, 1, 2, (const float[]){2, 3}, (const float[]){10, 20}, 0, y,
                       &scale);
        ck_assert_float_eq(y[0], 8);
        ck_assert_float_eq(y[1], 23);
        ck_assert_float_eq(scale, 2);
    }
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, norms_equal_their_definition);
    tcase_add_test(tcase, a_row_has_the_same_bits_alone_and_with_any_threads);
    tcase_add_test(tcase, small_numbers_by_hand);
    return run_suite("norms", tcase);
}
