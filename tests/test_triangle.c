// Products of lower-triangular matrices against the sum in double.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/triangle.h"

static float *noise(size_t n, size_t ld, uint32_t state) {
    float *x = calloc(n * ld + 1, sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            state = state * 1664525u + 1013904223u;
            x[i * ld + j] = (float)(state >> 8) / 16777216.0f;
        }
    }
    return x;
}

// Rows of n terms in [0, 1]: single precision sums are within n 2^-24 of each other relatively.
START_TEST(products_are_those_in_double) {
    static const size_t sizes[] = {1, 2, 5, 127, 128, 129, 300};
    size_t n = sizes[_i];
    size_t ld = (n + 15) / 16 * 16;
    struct hw_ops ops;
    hw_ops_init(&ops, hw_cpu_level());
    float *a = noise(n, ld, 1);
    float *b = noise(n, ld, 2);
    float *c[3];
    for (int t = 0; t < 3; t++) {
        size_t n_bytes = hw_triangle_scratch(t + 1, n);
        void *scratch = malloc(n_bytes);
        struct hw_exec exec = {t + 1, scratch, n_bytes};
        c[t] = calloc(n * ld + 1, sizeof **c);
        ck_assert(scratch != NULL && c[t] != NULL);
        hw_triangle_product(&ops, &exec, a, b, c[t], n, ld);
        ck_assert_mem_eq(c[t], c[0], n * ld * sizeof **c);
        free(scratch);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t k = j; k <= i; k++) {
                sum += (double)a[i * ld + k] * (double)b[k * ld + j];
            }
            double found = (double)c[0][i * ld + j];
            if (fabs(found - sum) > sum * (double)n * 0x1p-24 || (j > i && found != 0)) {
                ck_abort_msg("n = %zu: %zu, %zu is %g, expected %g", n, i, j, found, sum);
            }
        }
    }
    for (int t = 0; t < 3; t++) {
        free(c[t]);
    }
    free(a);
    free(b);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("triangle");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, products_are_those_in_double, 0, 7);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
