// Status messages: context goes in front, cuts never overflow, and text from files is printed
// harmlessly.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/status.h"

START_TEST(message_carries_context_in_front) {
    struct hw_error err;
    ck_assert_int_eq(hw_fail(&err, HW_INPUT, "expected %d, found %d", 1, 2), HW_INPUT);
    ck_assert_int_eq(hw_fail_context(&err, HW_INTERNAL, "%s: ", "a.gguf"), HW_INPUT);
    ck_assert_str_eq(err.message, "a.gguf: expected 1, found 2");
}
END_TEST

START_TEST(long_message_is_cut) {
    struct hw_error err;
    char long_text[3000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    (void)hw_fail(&err, HW_INPUT, "%s", long_text);
    (void)hw_fail_context(&err, HW_INPUT, "%s: ", long_text);
    ck_assert_uint_eq(strlen(err.message), HW_ERROR_BYTES - 1);
}
END_TEST

START_TEST(escape_hides_control_characters) {
    char text[64];
    ck_assert_str_eq(hw_escape(text, sizeof text, "a\x1b[1m\xff\xc3\xa9", 8),
                     "a\\x1b[1m\\xff\xc3\xa9");
    ck_assert_str_eq(hw_escape(text, 8, "abcdefghij", 10), "abcd...");
    ck_assert_str_eq(hw_escape(text, sizeof text, "\xc2\x9b", 2), "\\xc2\\x9b");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("status");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, message_carries_context_in_front);
    tcase_add_test(tcase, long_message_is_cut);
    tcase_add_test(tcase, escape_hides_control_characters);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
