// Numbers are taken whole or not at all; the nearest word is near.
#include <check.h>
#include <stdlib.h>

#include "formats/words.h"

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

START_TEST(numbers_are_whole_texts) {
    uint64_t n = 99;
    double x = 99;
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "1e3", "18446744073709551616"};
    for (size_t i = 0; i < LENGTH(bad); i++) {
        ck_assert_msg(!hw_parse_count(bad[i], &n), "%s", bad[i]);
    }
    ck_assert(hw_parse_count("18446744073709551615", &n) && n == UINT64_MAX);
    static const char *const bad_real[] = {"",   "nan", "inf", "0x1p3", "1,5",
                                           " 1", "1 ",  "e",   "1e999", "--1"};
    for (size_t i = 0; i < LENGTH(bad_real); i++) {
        ck_assert_msg(!hw_parse_real(bad_real[i], &x), "%s", bad_real[i]);
    }
    ck_assert_double_eq(x, 99);
    ck_assert(hw_parse_real("-.5e1", &x) && x == -5);
}
END_TEST

START_TEST(nearest_is_near) {
    static const char *const names[] = {"capture", "info", "sinks"};
    ck_assert_str_eq(hw_nearest("captrue", names, 3), "capture");
    ck_assert_str_eq(hw_nearest("sink", names, 3), "sinks");
    ck_assert_ptr_null(hw_nearest("zzz", names, 3));
    ck_assert_ptr_null(hw_nearest("", names, 3));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("words");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, numbers_are_whole_texts);
    tcase_add_test(tcase, nearest_is_near);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
