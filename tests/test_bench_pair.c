// Paired timing: the ratio of known amounts of work comes out, in the order A B B A, and a sleeping
// side counts as disturbed.
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/bench_pair.h"

static char order[64];

struct work {
    char name;
    long n;
};

static void spin(void *self) {
    const struct work *work = self;
    size_t at = strlen(order);
    if (at + 1 < sizeof order) {
        order[at] = work->name;
    }
    volatile double x = 1;
    for (long i = 0; i < work->n; i++) {
        x = x * 1.0000001;
    }
}

static void sleep_a_little(void *self) {
    (void)self;
    const struct timespec pause = {0, 2000000};
    (void)nanosleep(&pause, NULL);
}

START_TEST(rounds_are_a_b_b_a_after_a_warm_up) {
    struct work work[2] = {{'a', 10}, {'b', 10}};
    struct hw_bench_side a = {spin, &work[0], 1};
    struct hw_bench_side b = {spin, &work[1], 1};
    struct hw_bench_result result;
    memset(order, 0, sizeof order);
    hw_bench_pair(&a, &b, 3, &result);
    ck_assert_str_eq(order, "ababbaabbaabba");
}
END_TEST

START_TEST(ratio_is_that_of_the_work) {
    struct work work[2] = {{'a', 3000000}, {'b', 1000000}};
    struct hw_bench_side a = {spin, &work[0], 1};
    struct hw_bench_side b = {spin, &work[1], 1};
    struct hw_bench_result result;
    hw_bench_pair(&a, &b, 9, &result);
    // Three times the steps; a neighbour may cost a half of either side before this is wrong.
    ck_assert_double_gt(result.ratio, 2);
    ck_assert_double_lt(result.ratio, 4.5);
    ck_assert_double_le(result.low, result.ratio);
    ck_assert_double_ge(result.high, result.ratio);
}
END_TEST

START_TEST(sides_that_do_not_get_the_processor_are_disturbed) {
    struct hw_bench_side side = {sleep_a_little, NULL, 1};
    struct hw_bench_result result;
    hw_bench_pair(&side, &side, 3, &result);
    ck_assert(result.is_disturbed);
    ck_assert_uint_eq(result.n_disturbed, 3);
    ck_assert_double_lt(result.cpu_share, .9);
}
END_TEST

START_TEST(quantiles_interpolate) {
    const double sorted[] = {1, 2, 3, 4};
    ck_assert_double_eq(hw_bench_quantile(sorted, 4, .5), 2.5);
    ck_assert_double_eq(hw_bench_quantile(sorted, 4, .25), 1.75);
    ck_assert_double_eq(hw_bench_quantile(sorted, 4, 1), 4);
    ck_assert_double_eq(hw_bench_quantile(sorted, 1, .25), 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("bench_pair");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, rounds_are_a_b_b_a_after_a_warm_up);
    tcase_add_test(tcase, ratio_is_that_of_the_work);
    tcase_add_test(tcase, sides_that_do_not_get_the_processor_are_disturbed);
    tcase_add_test(tcase, quantiles_interpolate);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
