// Means are exact: no order of prompts and no cut into parts changes a bit, what does not fit is an
// error, and a mean is within half a unit of 2^-30 of the true one.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "probes/means.h"

enum { N_ROWS = 37, WIDTH = 5, LD = 7 };

// Values over many magnitudes, with the signs mixed: sums in floating point depend on the order.
static void fill(float *rows) {
    uint32_t state = 12345;
    for (size_t i = 0; i < (size_t)N_ROWS * LD; i++) {
        state = state * 1664525u + 1013904223u;
        int exponent = (int)(state >> 24) % 24 - 14;
        float sign = (state >> 8 & 1u) != 0 ? -1.0f : 1.0f;
        rows[i] = sign * ldexpf(1.0f + (float)(state & 0xffffu) / 65536.0f, exponent);
    }
}

static struct hw_means *open_means(size_t n_groups, size_t n_rows) {
    struct hw_means *means = NULL;
    struct hw_error err;
    ck_assert_int_eq(hw_means_open(n_groups, n_rows, WIDTH, &means, &err), HW_OK);
    return means;
}

static void add(struct hw_means *means, size_t group, size_t first, size_t n, const float *rows) {
    struct hw_error err;
    ck_assert_int_eq(hw_means_add(means, group, first, n, rows, LD, &err), HW_OK);
}

START_TEST(order_and_cuts_change_no_bit) {
    float rows[N_ROWS * LD];
    float whole[WIDTH];
    fill(rows);
    struct hw_means *means = open_means(1, 1);
    add(means, 0, 0, N_ROWS, rows);
    hw_means_get(means, 0, whole);
    int64_t sums[WIDTH];
    memcpy(sums, hw_means_sums(means, 0), sizeof sums);
    hw_means_close(&means);
    for (size_t cut = 1; cut < N_ROWS; cut++) {
        float parts[WIDTH];
        means = open_means(1, 1);
        for (size_t i = N_ROWS; i-- > cut;) { // the end first, backwards, row by row
            add(means, 0, i, 1, rows + i * LD);
        }
        add(means, 0, 0, cut, rows);
        hw_means_get(means, 0, parts);
        ck_assert_mem_eq(parts, whole, sizeof whole);
        ck_assert_mem_eq(hw_means_sums(means, 0), sums, sizeof sums);
        ck_assert_int_eq(hw_means_count(means, 0, 0), N_ROWS);
        hw_means_close(&means);
    }
}
END_TEST

// 2^-31 for each value's rounding (they do not add up in the mean), and a float's own.
START_TEST(means_are_those_of_long_double) {
    float rows[N_ROWS * LD];
    float mean[WIDTH];
    fill(rows);
    struct hw_means *means = open_means(1, 1);
    add(means, 0, 0, N_ROWS, rows);
    hw_means_get(means, 0, mean);
    hw_means_close(&means);
    for (size_t c = 0; c < WIDTH; c++) {
        long double sum = 0.0L;
        for (size_t i = 0; i < N_ROWS; i++) {
            sum += rows[i * LD + c];
        }
        double expected = (double)(sum / N_ROWS);
        ck_assert_double_le(fabs((double)mean[c] - expected),
                            ldexp(1.0, -31) + fabs(expected) * ldexp(1.0, -24));
    }
}
END_TEST

START_TEST(positions_and_groups_are_apart) {
    float rows[N_ROWS * LD];
    float got[3 * WIDTH];
    fill(rows);
    struct hw_means *means = open_means(2, 3);
    add(means, 1, 0, 2, rows);
    add(means, 1, 1, 1, rows + 5 * LD);
    hw_means_get(means, 1, got);
    for (size_t c = 0; c < WIDTH; c++) {
        ck_assert_float_eq(got[c], rows[c]);
        ck_assert_float_eq_tol(got[WIDTH + c], (rows[LD + c] + rows[5 * LD + c]) / 2.0f, 1e-6f);
        ck_assert_float_nan(got[2 * WIDTH + c]);
    }
    hw_means_get(means, 0, got);
    ck_assert_float_nan(got[0]);
    ck_assert_int_eq(hw_means_count(means, 1, 0), 1);
    ck_assert_int_eq(hw_means_count(means, 1, 1), 2);
    ck_assert_int_eq(hw_means_count(means, 1, 2), 0);
    hw_means_close(&means);
}
END_TEST

START_TEST(what_does_not_fit_is_an_error) {
    static const float bad[] = {8.6e9f, -8.6e9f, INFINITY, NAN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        float row[WIDTH] = {0};
        struct hw_error err;
        row[3] = bad[i];
        struct hw_means *means = open_means(1, 1);
        ck_assert_int_eq(hw_means_add(means, 0, 7, 1, row, WIDTH, &err), HW_INPUT);
        ck_assert_ptr_nonnull(strstr(err.message, "position 7, channel 3"));
        hw_means_close(&means);
    }
    // Each fits, the sum of two does not.
    for (int sign = -1; sign <= 1; sign += 2) {
        float row[WIDTH] = {0};
        row[0] = 5e9f * (float)sign;
        struct hw_means *means = open_means(1, 1);
        ck_assert_int_eq(hw_means_add(means, 0, 0, 1, row, WIDTH, NULL), HW_OK);
        ck_assert_int_eq(hw_means_add(means, 0, 1, 1, row, WIDTH, NULL), HW_INPUT);
        hw_means_close(&means);
    }
}
END_TEST

START_TEST(sizes_that_overflow_are_refused) {
    struct hw_means *means = NULL;
    ck_assert_uint_eq(hw_means_bytes(SIZE_MAX / 2, 3, 1), SIZE_MAX);
    ck_assert_int_eq(hw_means_open(SIZE_MAX / 2, 3, 1, &means, NULL), HW_RESOURCE);
    ck_assert_ptr_null(means);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("means");
    TCase *tests = tcase_create("means");
    tcase_add_test(tests, order_and_cuts_change_no_bit);
    tcase_add_test(tests, means_are_those_of_long_double);
    tcase_add_test(tests, positions_and_groups_are_apart);
    tcase_add_test(tests, what_does_not_fit_is_an_error);
    tcase_add_test(tests, sizes_that_overflow_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
