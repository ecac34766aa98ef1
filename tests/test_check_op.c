// The comparisons of op tests fail where they must.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check_op.h"

START_TEST(one_bit_is_a_difference) {
    float a[3] = {1, 0.0F, 3};
    float b[3] = {1, 0.0F, 3};
    ck_assert(check_same_bits(a, b, 3));
    b[1] = -0.0F;
    ck_assert(!check_same_bits(a, b, 3));
    ck_assert(strstr(check_op_message(), "value 1 of 3") != NULL);
}
END_TEST

START_TEST(written_guards_are_seen) {
    struct check_buffer buffer = check_buffer_open(10);
    ck_assert(check_buffer_is_intact(&buffer));
    char *data = buffer.data;
    char kept = data[10];
    data[10] = 0;
    ck_assert(!check_buffer_is_intact(&buffer));
    data[10] = kept;
    data[-1] = 0;
    ck_assert(!check_buffer_is_intact(&buffer));
    check_buffer_close(&buffer);
}
END_TEST

START_TEST(more_than_twice_the_error_fails) {
    double exact[2] = {1, 2};
    float plain[2] = {1, 2.001F};
    float got[2] = {1.0019F, 2};
    ck_assert(check_error_is_at_most_twice(got, plain, exact, 2));
    got[0] = 1.0021F;
    ck_assert(!check_error_is_at_most_twice(got, plain, exact, 2));
    got[0] = NAN;
    ck_assert(!check_error_is_at_most_twice(got, plain, exact, 2));
}
END_TEST

START_TEST(errors_everywhere_fail_where_the_largest_is_allowed) {
    double exact[100];
    float plain[100];
    float got[100];
    for (int i = 0; i < 100; i++) {
        exact[i] = 1;
        plain[i] = i == 0 ? 1.001F : 1;
        got[i] = 1.0015F;
    }
    ck_assert(!check_error_is_at_most_twice(got, plain, exact, 100));
}
END_TEST

START_TEST(limits_and_not_a_number_are_kept) {
    double want[2] = {1, NAN};
    float got[2] = {1.25F, NAN};
    ck_assert(check_within(got, want, 2, 0.25));
    ck_assert(!check_within(got, want, 2, 0.24));
    got[1] = 1;
    ck_assert(!check_within(got, want, 2, 0.25));
    want[1] = 1;
    got[1] = NAN;
    ck_assert(!check_within(got, want, 2, 0.25));
}
END_TEST

START_TEST(random_numbers_are_spread) {
    uint64_t state = 1;
    float values[4000];
    check_random_normal(&state, 2, 4000, values);
    double mean = 0;
    double square = 0;
    for (int i = 0; i < 4000; i++) {
        mean += (double)values[i] / 4000;
        square += (double)values[i] * (double)values[i] / 4000;
    }
    ck_assert(fabs(mean) < 0.2);       // 6 standard errors of 2 / sqrt(4000)
    ck_assert(fabs(square - 4) < 0.6); // 6 standard errors of 4 sqrt(2 / 4000)
}
END_TEST

int main(void) {
    Suite *suite = suite_create("check_op");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, one_bit_is_a_difference);
    tcase_add_test(tcase, written_guards_are_seen);
    tcase_add_test(tcase, more_than_twice_the_error_fails);
    tcase_add_test(tcase, errors_everywhere_fail_where_the_largest_is_allowed);
    tcase_add_test(tcase, limits_and_not_a_number_are_kept);
    tcase_add_test(tcase, random_numbers_are_spread);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
