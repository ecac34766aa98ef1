// The vector exponentials against exp in double, on a grid over all normal results and at the
// edges.
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "kernels/cpu.h"
#include "kernels/exp_plain.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#include "kernels/exp_avx2.h"

static void run_avx2(const float *x, float *y) {
    for (int i = 0; i < 16; i += 8) {
        _mm256_storeu_ps(y + i, exp_avx2(_mm256_loadu_ps(x + i)));
    }
}
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
#include "kernels/exp_avx512.h"

static void run_avx512(const float *x, float *y) {
    _mm512_storeu_ps(y, exp_avx512(_mm512_loadu_ps(x)));
}

static void run_nonpositive(const float *x, float *y) {
    _mm512_storeu_ps(y, exp_avx512_nonpositive(_mm512_loadu_ps(x)));
}
#pragma GCC pop_options
#endif

static void run_plain(const float *x, float *y) {
    for (int i = 0; i < 16; i++) {
        y[i] = exp_plain(x[i]);
    }
}

static const struct {
    void (*run)(const float *x, float *y); // 16 values
    enum hw_level level;
    float most; // largest argument
} cases[] = {
    {run_plain, HW_LEVEL_PLAIN, 88.7f},
#if defined(__x86_64__)
    {run_avx2, HW_LEVEL_AVX2, 88.7f},
    {run_avx512, HW_LEVEL_AVX512, 88.7f},
    {run_nonpositive, HW_LEVEL_AVX512, 0},
#endif
};

enum { N_CASES = sizeof cases / sizeof cases[0] };

START_TEST(relative_error_is_within_the_promise) {
    if (cases[_i].level > hw_cpu_level()) {
        return;
    }
    // ln 2^-126 is -87.34; the step is no simple fraction of ln 2.
    double worst = 0;
    for (double start = -87.3; start < cases[_i].most; start += 16 * 1.7e-4) {
        float x[16], y[16];
        for (int i = 0; i < 16; i++) {
            x[i] = fminf((float)(start + i * 1.7e-4), cases[_i].most);
        }
        cases[_i].run(x, y);
        for (int i = 0; i < 16; i++) {
            worst = fmax(worst, fabs(y[i] / exp((double)x[i]) - 1));
        }
    }
    ck_assert_double_le(worst, 1e-7); // as the headers say
    ck_assert_double_gt(worst, 1e-8); // as any float function has it: something was measured
}
END_TEST

START_TEST(edges_are_exact) {
    if (cases[_i].level > hw_cpu_level()) {
        return;
    }
    float x[16] = {0, -0.0f, -104.5f, -1e30f, -INFINITY, -3e38f}, y[16];
    cases[_i].run(x, y);
    ck_assert(y[0] == 1 && y[1] == 1);
    for (int i = 2; i < 6; i++) {
        ck_assert(y[i] == 0);
    }
    if (cases[_i].most > 0) {
        float large[16] = {89, 1e30f, INFINITY, NAN};
        cases[_i].run(large, y);
        ck_assert(isinf(y[0]) && isinf(y[1]) && isinf(y[2]) && isnan(y[3]));
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("exp");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, relative_error_is_within_the_promise, 0, N_CASES);
    tcase_add_loop_test(tcase, edges_are_exact, 0, N_CASES);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
