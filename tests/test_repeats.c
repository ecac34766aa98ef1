// Scores of heads on repeated tokens: the worked numbers of the definitions (H4, K1, K2, K5), the
// patterns, and the means over prompts.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/head_scores.h"
#include "analysis/repeats.h"

// The worked values have six decimals or are exact; maps are f32.
static const double tolerance = 1e-6;

static const float map_a[3][3] = {{1, 0, 0}, {.6f, .4f, 0}, {.5f, .3f, .2f}};

static struct hw_repeat open_repeat(const int32_t *ids, size_t n, size_t period, size_t first) {
    struct hw_repeat repeat;
    struct hw_error err;
    enum hw_status status = hw_repeat_open(ids, n, period, first, &repeat, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    return repeat;
}

static void score(const struct hw_repeat *repeat, const float *map, size_t n,
                  struct hw_repeat_exclusions exclusions, double ret[HW_N_REPEAT_MEASURES]) {
    struct hw_repeat_sums sums = {0};
    // In two blocks, as maps come.
    hw_repeat_add_rows(repeat, map, n, 0, 1, &sums);
    hw_repeat_add_rows(repeat, map + n, n, 1, n - 1, &sums);
    hw_repeat_scores(repeat, &sums, &exclusions, ret);
}

START_TEST(h4_echo_and_induction) {
    static const int32_t ids[4] = {5, 6, 5, 6};
    static const float map[4][4] = {
        {1, 0, 0, 0}, {.5f, .5f, 0, 0}, {.5f, .3f, .2f, 0}, {.1f, .6f, .2f, .1f}};
    double scores[HW_N_REPEAT_MEASURES];
    struct hw_repeat repeat = open_repeat(ids, 4, 2, 0);
    score(&repeat, map[0], 4, (struct hw_repeat_exclusions){false, false}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_ECHO], .55, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_INDUCTION], .25, tolerance);
    hw_repeat_close(&repeat);
}
END_TEST

START_TEST(h4_drops_the_row_and_column_of_the_first_token) {
    static const int32_t ids[5] = {1, 5, 6, 5, 6};
    static const float map[5][5] = {{1, 0, 0, 0, 0},
                                    {.5f, .5f, 0, 0, 0},
                                    {.3f, .4f, .3f, 0, 0},
                                    {0, .5f, .3f, .2f, 0},
                                    {0, .1f, .6f, .2f, .1f}};
    double scores[HW_N_REPEAT_MEASURES];
    struct hw_repeat repeat = open_repeat(ids, 5, 2, 1);
    score(&repeat, map[0], 5, (struct hw_repeat_exclusions){false, false}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_ECHO], .55, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_INDUCTION], .25, tolerance);
    hw_repeat_close(&repeat);
}
END_TEST

START_TEST(k1_previous_token_scores) {
    static const int32_t ids[3] = {7, 7, 7}; // what repeats does not matter to this pattern
    double scores[HW_N_REPEAT_MEASURES];
    struct hw_repeat repeat = open_repeat(ids, 3, 1, 0);
    score(&repeat, map_a[0], 3, (struct hw_repeat_exclusions){false, false}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_PREVIOUS_MUL], .3, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_PREVIOUS_ABS], -.067, 1e-9); // rounded by definition
    score(&repeat, map_a[0], 3, (struct hw_repeat_exclusions){true, false}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_PREVIOUS_MUL], 1. / 3, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_PREVIOUS_ABS], .567, 1e-9);
    // Both: A keeps .3 at (2,1) only, all of it in the pattern; sum |A - P| = .7.
    score(&repeat, map_a[0], 3, (struct hw_repeat_exclusions){true, true}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_PREVIOUS_MUL], 1, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_PREVIOUS_ABS], .767, 1e-9);
    hw_repeat_close(&repeat);
}
END_TEST

// Tokens [BOS, 5, 9, 5]: duplicate (3,1), induction (3,2). A map of powers of two tells entries.
START_TEST(k1_patterns_are_over_equal_ids) {
    static const int32_t ids[4] = {1, 5, 9, 5};
    float map[4][4] = {{0}};
    double scores[HW_N_REPEAT_MEASURES];
    struct hw_repeat repeat = open_repeat(ids, 4, 2, 1);
    ck_assert_uint_eq(repeat.n_same, 1);
    ck_assert_uint_eq(repeat.n_next, 1);
    for (int i = 0, bit = 1; i < 4; i++) {
        for (int j = 0; j <= i; j++, bit *= 2) {
            map[i][j] = (float)bit;
        }
    }
    score(&repeat, map[0], 4, (struct hw_repeat_exclusions){false, false}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_DUPLICATE_MUL] * 1023, 128, 1e-9); // (3,1) is bit 7
    ck_assert_double_eq_tol(scores[HW_REPEAT_INDUCTION_MUL] * 1023, 256, 1e-9); // (3,2) is bit 8
    hw_repeat_close(&repeat);
}
END_TEST

START_TEST(k1_induction_lies_on_the_diagonal_where_adjacent_ids_are_equal) {
    static const int32_t ids[3] = {4, 4, 4};
    double scores[HW_N_REPEAT_MEASURES];
    struct hw_repeat repeat = open_repeat(ids, 3, 1, 0);
    // Duplicates (1,0) (2,0) (2,1); induction (1,1) (2,1) (2,2).
    ck_assert_uint_eq(repeat.n_same, 3);
    ck_assert_uint_eq(repeat.n_same_first, 2);
    ck_assert_uint_eq(repeat.n_next_diagonal, 2);
    score(&repeat, map_a[0], 3, (struct hw_repeat_exclusions){false, false}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_DUPLICATE_MUL], 1.4 / 3, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_INDUCTION_MUL], .9 / 3, tolerance);
    // Without column and diagonal A keeps .3 at (2,1): induction keeps (2,1), duplicate too.
    score(&repeat, map_a[0], 3, (struct hw_repeat_exclusions){true, true}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_INDUCTION_ABS], .767, 1e-9);
    ck_assert_double_eq_tol(scores[HW_REPEAT_DUPLICATE_ABS], .767, 1e-9);
    hw_repeat_close(&repeat);
}
END_TEST

// S = 3: induction entries (2,0) (3,1) (4,2) (5,3), the first of which is no induction.
START_TEST(k2_stripes) {
    static const int32_t ids[6] = {1, 2, 3, 1, 2, 3};
    float map[6][6] = {{0}};
    double scores[HW_N_REPEAT_MEASURES];
    map[2][0] = .8f;
    map[3][1] = .4f;
    map[4][2] = .2f;
    map[5][3] = .1f;
    map[3][0] = .3f;
    map[1][0] = .5f;
    struct hw_repeat repeat = open_repeat(ids, 6, 3, 0);
    ck_assert(repeat.is_plain);
    score(&repeat, map[0], 6, (struct hw_repeat_exclusions){false, false}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_STRIPE_INDUCTION], 1.5 / 4, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_INDUCTION], .7 / 3, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_STRIPE_DUPLICATE], .1, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_STRIPE_PREVIOUS], .1, tolerance);
    hw_repeat_close(&repeat);
}
END_TEST

// Three periods of two: query 4 has copies 2 and 0, query 5 has 3 and 1.
START_TEST(k5_sum_mean_and_pairs_differ_beyond_two_periods) {
    static const int32_t ids[6] = {1, 2, 1, 2, 1, 2};
    float map[6][6] = {{0}};
    double scores[HW_N_REPEAT_MEASURES];
    map[2][1] = .1f;
    map[3][2] = .2f;
    map[4][3] = .3f;
    map[4][1] = .4f;
    map[5][4] = .5f;
    map[5][2] = .1f;
    struct hw_repeat repeat = open_repeat(ids, 6, 2, 0);
    score(&repeat, map[0], 6, (struct hw_repeat_exclusions){false, false}, scores);
    ck_assert_double_eq_tol(scores[HW_REPEAT_INDUCTION], 1.6 / 4, tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_INDUCTION_COPIES], (.1 + .2 + .35 + .3) / 4,
                            tolerance);
    ck_assert_double_eq_tol(scores[HW_REPEAT_INDUCTION_PAIRS], 1.6 / 6, tolerance);
    hw_repeat_close(&repeat);
}
END_TEST

START_TEST(an_id_twice_in_a_period_is_not_plain) {
    static const int32_t twice[6] = {1, 2, 2, 1, 2, 2};
    static const int32_t first_again[5] = {2, 1, 2, 1, 2};
    struct hw_repeat repeat = open_repeat(twice, 6, 3, 0);
    ck_assert(!repeat.is_plain);
    ck_assert_uint_eq(repeat.n_same, 1 + 6);
    ck_assert_uint_eq(repeat.n_same_first, 1);
    ck_assert_uint_eq(repeat.n_next_diagonal, 2);
    hw_repeat_close(&repeat);
    repeat = open_repeat(first_again, 5, 2, 1);
    ck_assert(!repeat.is_plain);
    hw_repeat_close(&repeat);
}
END_TEST

START_TEST(rows_of_generated_tokens_do_not_count) {
    static const int32_t ids[4] = {1, 2, 1, 2};
    static const float map[6][6] = {{1}, {1}, {1}, {0, 0, 1, 0}, {9, 9, 9, 9, 9, 9}, {9, 9, 9, 9}};
    struct hw_repeat repeat = open_repeat(ids, 4, 2, 0);
    struct hw_repeat_sums sums = {0};
    hw_repeat_add_rows(&repeat, map[0], 6, 0, 6, &sums);
    ck_assert_double_eq(sums.all, 4);
    ck_assert_double_eq(sums.column, 3);
    hw_repeat_close(&repeat);
}
END_TEST

START_TEST(what_does_not_repeat_is_refused) {
    static const int32_t ids[4] = {1, 2, 1, 3};
    struct hw_repeat repeat;
    struct hw_error err;
    ck_assert_int_eq(hw_repeat_open(ids, 4, 2, 0, &repeat, &err), HW_INPUT);
    ck_assert_str_eq(err.message,
                     "tokens do not repeat every 2 (expected id 2 at position 3, found 3)");
    ck_assert_int_eq(hw_repeat_open(ids, 2, 2, 0, &repeat, &err), HW_INPUT);
    ck_assert_str_eq(err.message, "no token is repeated (expected more than 2 tokens, found 2)");
    ck_assert_int_eq(hw_repeat_open(ids, 3, SIZE_MAX, 1, &repeat, &err), HW_INPUT);
    ck_assert_int_eq(hw_repeat_open(ids, 0, 1, 0, &repeat, &err), HW_INPUT);
}
END_TEST

START_TEST(means_over_prompts_leave_nan_out) {
    struct hw_head_scores scores = {.n_measures = 1, .n_layers = 1, .n_heads = 3};
    struct hw_arena arena;
    hw_arena_measure(&arena);
    hw_head_scores_take(&scores, &arena);
    ck_assert_int_eq(hw_arena_open(&arena, arena.used_bytes, NULL), HW_OK);
    hw_head_scores_take(&scores, &arena);
    hw_head_scores_add(&scores, 0, 0, 1);
    hw_head_scores_add(&scores, 0, 0, NAN);
    hw_head_scores_add(&scores, 0, 0, 4);
    hw_head_scores_add(&scores, 0, 0, 4);
    hw_head_scores_add(&scores, 0, 1, 7);
    hw_head_scores_finish(&scores);
    ck_assert_double_eq(scores.mean[0], 3);
    ck_assert_double_eq_tol(scores.se[0], 1, 1e-12); // variance 3, of three
    ck_assert_int_eq(scores.n[0], 3);
    ck_assert_double_eq(scores.mean[1], 7);
    ck_assert(isnan(scores.se[1]));
    ck_assert(isnan(scores.mean[2]));
    static const size_t group[3] = {0, 0, 1};
    double best[2];
    hw_head_scores_group_max(&scores, 0, group, 2, best);
    ck_assert_double_eq(best[0], 7);
    ck_assert(isnan(best[1]));
    hw_arena_close(&arena);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("repeats");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, h4_echo_and_induction);
    tcase_add_test(tcase, h4_drops_the_row_and_column_of_the_first_token);
    tcase_add_test(tcase, k1_previous_token_scores);
    tcase_add_test(tcase, k1_patterns_are_over_equal_ids);
    tcase_add_test(tcase, k1_induction_lies_on_the_diagonal_where_adjacent_ids_are_equal);
    tcase_add_test(tcase, k2_stripes);
    tcase_add_test(tcase, k5_sum_mean_and_pairs_differ_beyond_two_periods);
    tcase_add_test(tcase, an_id_twice_in_a_period_is_not_plain);
    tcase_add_test(tcase, rows_of_generated_tokens_do_not_count);
    tcase_add_test(tcase, what_does_not_repeat_is_refused);
    tcase_add_test(tcase, means_over_prompts_leave_nan_out);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
