// JSON with one meaning is read; everything else is refused with its place.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "byte_buffer.h"
#include "formats/json.h"

static enum hw_status parse(const char *text, size_t n, json_t **ret_json, struct hw_error *err) {
    char *copy = (char *)byte_copy(text, n); // exact: a read past the end is seen
    enum hw_status status = hw_json_parse("a.json", copy, n, ret_json, err);
    free(copy);
    return status;
}

START_TEST(good_document_reads) {
    static const char text[] =
        "{\"b\": [1, 2.5, true, null, \"x\\u00e9\\\"[[[\"], \"a\": {\"c\": -1}} \n ";
    json_t *json = NULL;
    struct hw_error err = {0};
    ck_assert_msg(parse(text, sizeof text - 1, &json, &err) == HW_OK, "%s", err.message);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(json, "a"), "c")), -1);
    ck_assert_uint_eq(json_array_size(json_object_get(json, "b")), 5);
    json_decref(json);
}
END_TEST

START_TEST(bad_document_is_refused_with_its_place) {
    static const struct {
        const char *text;
        size_t n; // 0: strlen
        const char *message;
    } cases[] = {
        {"", 0, "line 1, column 0"},
        {"{", 0, "line 1, column 1"},
        {"7", 0, "'[' or '{' expected"},
        {"{\"a\": 1, \"a\": 2}", 0, "duplicate object key"},
        {"{\n\"a\": 1,\n\"\\u0061\": 2}", 0, "line 3"}, // the same key written otherwise
        {"{\"a\": 1} x", 0, "end of file expected"},
        {"{\"a\": 1}\0", 9, "end of file expected"},
        {"{\"a\\u0000b\": 1}", 0, "\\u0000"},
        {"{\"a\": \"\\u0000\"}", 0, "\\u0000"},
        {"{\"a\0b\": 1}", 10, "control character"},
        {"{\"a\": \"\\ud800\"}", 0, "invalid Unicode"},
        {"{\"a\": \"\\udc00x\"}", 0, "invalid Unicode"},
        {"{\"a\": \"\xff\"}", 0, "unable to decode byte 0xff"},
        {"{\"a\": \"\xed\xa0\x80\"}", 0, "unable to decode byte 0xed"},
        {"{\"a\": 18446744073709551616}", 0, "too big integer"},
        {"{\"a\": 1e999}", 0, "real number overflow"},
        {"{\"a\": NaN}", 0, "invalid token"},
        {"{\"a\": 1,}", 0, "string or '}' expected"},
        {"{'a': 1}", 0, "string or '}' expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = cases[i].n != 0 ? cases[i].n : strlen(cases[i].text);
        json_t *json = NULL;
        struct hw_error err = {0};
        enum hw_status status = parse(cases[i].text, n, &json, &err);
        ck_assert_msg(status == HW_INPUT, "%s: status %d", cases[i].text, status);
        ck_assert_ptr_null(json);
        ck_assert_msg(strncmp(err.message, "a.json: line ", 13) == 0, "%s", err.message);
        ck_assert_msg(strstr(err.message, cases[i].message) != NULL, "%s: %s", cases[i].text,
                      err.message);
        ck_assert_int_eq(parse(cases[i].text, n, &json, NULL), HW_INPUT);
    }
}
END_TEST

START_TEST(depth_is_capped) {
    for (size_t depth = HW_MAX_JSON_DEPTH - 1; depth <= 1000000; depth = depth * 3 / 2) {
        char *text = malloc(2 * depth);
        for (size_t i = 0; i < depth; i++) {
            text[i] = '[';
            text[2 * depth - 1 - i] = ']';
        }
        json_t *json = NULL;
        struct hw_error err = {0};
        enum hw_status status = parse(text, 2 * depth, &json, &err);
        ck_assert_int_eq(status, depth <= HW_MAX_JSON_DEPTH ? HW_OK : HW_INPUT);
        ck_assert(status == HW_OK ||
                  strstr(err.message, "a.json: byte 32: JSON nested deeper than 32"));
        json_decref(json);
        free(text);
    }
}
END_TEST

START_TEST(truncation_at_each_byte_is_refused) {
    static const char text[] = "{\"b\": [1, 2.5, true, \"x\\u00e9\\\"\"], \"a\": {\"c\": -1}}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        json_t *json = NULL;
        ck_assert_int_eq(parse(text, n, &json, NULL), HW_INPUT);
    }
}
END_TEST

START_TEST(file_over_the_limit_is_refused) {
    char *folder = temp_folder_new();
    char *path = temp_file(folder, "a.json", "{\"a\": 1}", 8);
    json_t *json = NULL;
    struct hw_error err = {0};
    ck_assert_int_eq(hw_json_load(path, 7, &json, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "a.json: 8 bytes, expected at most 7"));
    ck_assert_int_eq(hw_json_load(path, 8, &json, &err), HW_OK);
    json_decref(json);
    free(path);
    temp_folder_remove(&folder);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("json");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, good_document_reads);
    tcase_add_test(tcase, bad_document_is_refused_with_its_place);
    tcase_add_test(tcase, depth_is_capped);
    tcase_add_test(tcase, truncation_at_each_byte_is_refused);
    tcase_add_test(tcase, file_over_the_limit_is_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
