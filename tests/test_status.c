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
    ck_assert_str_eq(hw_escape(text, sizeof text, "\x7f\t\0", 3), "\\x7f\\x09\\x00");
}
END_TEST

// Code points and categories of UnicodeData.txt and DerivedCoreProperties.txt.
START_TEST(escape_names_hidden_characters) {
    static const struct {
        const char *bytes;
        const char *shown;
    } cases[] = {
        {"\xc2\x9b", "\\u{009b}"},                           // a control character of eight bits
        {"\xc2\xad", "\\u{00ad}"},                           // soft hyphen
        {"\xe2\x80\x8b", "\\u{200b}"},                       // zero width space
        {"\xe2\x80\xa8", "\\u{2028}"},                       // line separator
        {"\xe2\x80\xa9", "\\u{2029}"},                       // paragraph separator
        {"\xe2\x80\xae", "\\u{202e}"},                       // right-to-left override
        {"\xe2\x81\xa6", "\\u{2066}"},                       // left-to-right isolate
        {"\xe3\x85\xa4", "\\u{3164}"},                       // a letter that is a blank
        {"\xee\x80\x80", "\\u{e000}"},                       // private use
        {"\xef\xb8\x8f", "\\u{fe0f}"},                       // variation selector
        {"\xef\xbf\xb9", "\\u{fff9}"},                       // interlinear annotation
        {"\xef\xbb\xbf", "\\u{feff}"},                       // byte order mark
        {"\xef\xbf\xbf", "\\u{ffff}"},                       // no character
        {"\xf3\xa0\x81\x81", "\\u{e0041}"},                  // tag
        {"\xf4\x8f\xbf\xbf", "\\u{10ffff}"},                 // the last code point
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},                 // half of a surrogate pair
        {"\xc0\x80", "\\xc0\\x80"},                          // overlong
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},        // beyond the last
        {"e\xcc\x81 \xe6\xbc\xa2 \xd7\x90\xc4\xa0\xc2\xa0",  // marks, wide and Hebrew letters, and
         "e\xcc\x81 \xe6\xbc\xa2 \xd7\x90\xc4\xa0\xc2\xa0"}, // blanks are seen
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[64];
        size_t n = strlen(cases[i].bytes);
        ck_assert_str_eq(hw_escape(text, sizeof text, cases[i].bytes, n), cases[i].shown);
        ck_assert_uint_le(strlen(text), 4 * n);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("status");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, message_carries_context_in_front);
    tcase_add_test(tcase, long_message_is_cut);
    tcase_add_test(tcase, escape_hides_control_characters);
    tcase_add_test(tcase, escape_names_hidden_characters);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
