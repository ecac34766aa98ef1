// Ranks by hand: section I3's example, ties, NaN.
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "analysis/rank.h"

START_TEST(i3_ranks_of_ties) {
    static const double values[3] = {.1, .1, .3};
    double ranks[3];
    ck_assert_int_eq(hw_rank(values, 3, HW_RANK_DENSE, ranks, NULL), HW_OK);
    ck_assert_double_eq(ranks[0], 1);
    ck_assert_double_eq(ranks[1], 1);
    ck_assert_double_eq(ranks[2], 2);
    ck_assert_int_eq(hw_rank(values, 3, HW_RANK_AVERAGE, ranks, NULL), HW_OK);
    ck_assert_double_eq(ranks[0], 1.5);
    ck_assert_double_eq(ranks[1], 1.5);
    ck_assert_double_eq(ranks[2], 3);
}
END_TEST

START_TEST(spearman_is_pearson_of_ranks) {
    static const double a[5] = {1, 2, 3, 4, NAN};
    static const double b[5] = {10, 30, 20, 40, 5};
    static const double tied[4] = {1, 1, 2, 3};
    double rho;
    size_t n;
    ck_assert_int_eq(hw_rank_spearman(a, b, 5, HW_RANK_AVERAGE, &rho, &n, NULL), HW_OK);
    ck_assert_uint_eq(n, 4);
    ck_assert_double_eq_tol(rho, .8, 1e-15); // 1 - 6 * 2 / (4 * 15)
    // Ranks 1.5 1.5 3 4 and 1 1 2 3 against 1 2 3 4: by hand, Pearson's formula.
    ck_assert_int_eq(hw_rank_spearman(tied, a, 4, HW_RANK_AVERAGE, &rho, NULL, NULL), HW_OK);
    ck_assert_double_eq_tol(rho, 4.5 / sqrt(4.5 * 5), 1e-15);
    ck_assert_int_eq(hw_rank_spearman(tied, a, 4, HW_RANK_DENSE, &rho, NULL, NULL), HW_OK);
    ck_assert_double_eq_tol(rho, 3.5 / sqrt(2.75 * 5), 1e-15);
    ck_assert_int_eq(hw_rank_spearman(a, a, 1, HW_RANK_DENSE, &rho, NULL, NULL), HW_OK);
    ck_assert(isnan(rho));
    double ones[20];
    double rising[20];
    for (int i = 0; i < 20; i++) {
        ones[i] = 1;
        rising[i] = i;
    }
    ck_assert_int_eq(hw_rank_spearman(ones, rising, 20, HW_RANK_AVERAGE, &rho, NULL, NULL), HW_OK);
    ck_assert(isnan(rho));
    static const double constant[4] = {2, 2, 2, 2};
    ck_assert_int_eq(hw_rank_spearman(a, constant, 4, HW_RANK_DENSE, &rho, NULL, NULL), HW_OK);
    ck_assert(isnan(rho));
}
END_TEST

START_TEST(overlap_counts_places) {
    static const double a[5] = {5, 4, NAN, 1, 0};
    static const double b[5] = {0, 9, 8, NAN, 10};
    size_t common;
    ck_assert_int_eq(hw_rank_overlap(a, b, 5, 2, &common, NULL), HW_OK);
    ck_assert_uint_eq(common, 1); // {0, 1} and {4, 1}
    ck_assert_int_eq(hw_rank_overlap(a, b, 5, 99, &common, NULL), HW_OK);
    ck_assert_uint_eq(common, 5);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rank");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, i3_ranks_of_ties);
    tcase_add_test(tcase, spearman_is_pearson_of_ranks);
    tcase_add_test(tcase, overlap_counts_places);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
