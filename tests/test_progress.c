// Progress: the bar fits its line at every width, and what goes to a pipe is lines, not a bar.
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "tools/progress.h"

START_TEST(bar_shows_share_rate_and_time_left) {
    char text[256];
    struct hw_progress p = {
        .what = "capture", .unit = "tokens", .done = 1000, .total = 4000, .rate = 1234};
    ck_assert_str_eq(
        hw_progress_bar(&p, 80, text, sizeof text),
        "capture  25% [######---------------------] 1000/4000 tokens  1.23k/s  0:02 left");
}
END_TEST

START_TEST(bar_never_reaches_the_last_column) {
    char text[256];
    struct hw_progress p = {
        .what = "capture", .unit = "tokens", .done = 123456, .total = 9999999, .rate = 12};
    for (int columns = 20; columns < 200; columns++) {
        ck_assert_uint_lt(strlen(hw_progress_bar(&p, columns, text, sizeof text)), (size_t)columns);
    }
}
END_TEST

START_TEST(unknown_total_and_nothing_done_are_no_division) {
    char text[256];
    struct hw_progress p = {.what = "merge", .unit = "parts"};
    ck_assert_str_eq(hw_progress_bar(&p, 80, text, sizeof text), "merge   0% 0/0 parts");
}
END_TEST

START_TEST(seconds_for_people) {
    char text[32];
    ck_assert_str_eq(hw_format_seconds(text, sizeof text, 0), "0:00");
    ck_assert_str_eq(hw_format_seconds(text, sizeof text, 59.6), "1:00");
    ck_assert_str_eq(hw_format_seconds(text, sizeof text, 723), "12:03");
    ck_assert_str_eq(hw_format_seconds(text, sizeof text, 3723), "1:02:03");
    ck_assert_str_eq(hw_format_seconds(text, sizeof text, 1e30), "1000:00:00");
    ck_assert_str_eq(hw_format_seconds(text, sizeof text, -1), "0:00");
}
END_TEST

// Runs a whole progress with stderr in a file and returns what it said.
static char *said(int kind, size_t *ret_n) {
    static char text[4096];
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    int saved = dup(STDERR_FILENO);
    (void)fflush(stderr);
    ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
    struct hw_progress p;
    hw_progress_begin(&p, kind, "capture", "tokens", 10);
    hw_progress_update(&p, 5);
    hw_progress_update(&p, 10);
    hw_progress_end(&p);
    hw_progress_end(&p); // twice does no harm
    (void)fflush(stderr);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    rewind(file);
    *ret_n = fread(text, 1, sizeof text - 1, file);
    text[*ret_n] = '\0';
    (void)fclose(file);
    return text;
}

START_TEST(json_is_one_object_a_line) {
    size_t n;
    char *text = said(HW_PROGRESS_JSON, &n);
    size_t n_lines = 0;
    json_t *last = NULL;
    for (char *line = text; *line != '\0';) {
        char *end = strchr(line, '\n');
        ck_assert_ptr_nonnull(end);
        json_decref(last);
        last = json_loadb(line, (size_t)(end - line), 0, NULL);
        ck_assert_ptr_nonnull(last);
        n_lines++;
        line = end + 1;
    }
    ck_assert_uint_eq(n_lines, 2); // the beginning and the end: nothing between in so short a time
    ck_assert_str_eq(json_string_value(json_object_get(last, "event")), "end");
    ck_assert_int_eq(json_integer_value(json_object_get(last, "done")), 10);
    json_decref(last);
}
END_TEST

START_TEST(quiet_kinds_say_nothing_about_short_work) {
    size_t n;
    (void)said(HW_PROGRESS_NONE, &n);
    ck_assert_uint_eq(n, 0);
    (void)said(HW_PROGRESS_AUTO, &n); // a file is no terminal
    ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(bar_ends_its_line) {
    size_t n;
    char *text = said(HW_PROGRESS_BAR, &n);
    ck_assert_uint_gt(n, 0);
    ck_assert_int_eq(text[0], '\r');
    ck_assert_int_eq(text[n - 1], '\n');
}
END_TEST

int main(void) {
    Suite *suite = suite_create("progress");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, bar_shows_share_rate_and_time_left);
    tcase_add_test(tcase, bar_never_reaches_the_last_column);
    tcase_add_test(tcase, unknown_total_and_nothing_done_are_no_division);
    tcase_add_test(tcase, seconds_for_people);
    tcase_add_test(tcase, json_is_one_object_a_line);
    tcase_add_test(tcase, quiet_kinds_say_nothing_about_short_work);
    tcase_add_test(tcase, bar_ends_its_line);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
