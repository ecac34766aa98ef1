// JSON of results: floats are as short as they can be and come back as they were, and no value
// makes invalid JSON.
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report.h"

START_TEST(floats_come_back_as_they_were) {
    static const float values[] = {0.f,     1.f,     -.1f,   1.f / 3,  3.14159274f,
                                   FLT_MAX, FLT_MIN, 1e-45f, 22500.25f};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        json_t *number = hw_json_float(values[i]);
        ck_assert_float_eq((float)json_real_value(number), values[i]);
        json_decref(number);
    }
}
END_TEST

START_TEST(floats_are_short) {
    json_t *number = hw_json_float(.1f);
    char *text = json_dumps(number, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    ck_assert_str_eq(text, "0.1");
    free(text);
    json_decref(number);
}
END_TEST

START_TEST(what_json_does_not_have_is_null) {
    json_t *values[] = {hw_json_real(NAN), hw_json_real(INFINITY), hw_json_float(NAN),
                        hw_json_float(-INFINITY)};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        ck_assert(json_is_null(values[i]));
        json_decref(values[i]);
    }
}
END_TEST

START_TEST(texts_that_are_not_utf8_are_escaped) {
    json_t *good = hw_json_text("\xc3\xa9\n");
    json_t *bad = hw_json_text("a\xff\x01");
    ck_assert_str_eq(json_string_value(good), "\xc3\xa9\n");
    ck_assert_str_eq(json_string_value(bad), "a\\xff\\x01");
    json_decref(good);
    json_decref(bad);
}
END_TEST

START_TEST(no_document_is_no_memory) {
    ck_assert_int_eq(hw_json_print(NULL, NULL), HW_RESOURCE);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("report");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, floats_come_back_as_they_were);
    tcase_add_test(tcase, floats_are_short);
    tcase_add_test(tcase, what_json_does_not_have_is_null);
    tcase_add_test(tcase, texts_that_are_not_utf8_are_escaped);
    tcase_add_test(tcase, no_document_is_no_memory);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
