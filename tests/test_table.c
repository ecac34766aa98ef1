// Tables: cells line up by columns of the terminal, long cells are cut, and nothing from a file
// reaches it raw.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tools/table.h"

// The table as text; the caller frees it.
static char *print(const struct hw_table *table, int indent, enum hw_status expected) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(hw_table_print(table, out, indent, NULL), expected);
    (void)fclose(out);
    return text;
}

START_TEST(columns_line_up) {
    struct hw_table *table = hw_table_open("<name|count|>share");
    hw_table_cell(table, "a");
    hw_table_cell(table, "%d", 12345);
    hw_table_cell(table, "%.1f", .5);
    hw_table_cell(table, "longer");
    hw_table_cell(table, "%d", 1);
    hw_table_cell(table, "%.1f", 10.);
    char *text = print(table, 2, HW_OK);
    ck_assert_str_eq(text, "  name    count  share\n"
                           "  a       12345    0.5\n"
                           "  longer      1   10.0\n");
    free(text);
    hw_table_close(&table);
    ck_assert_ptr_null(table);
}
END_TEST

START_TEST(wide_characters_count_two_columns) {
    ck_assert_int_eq(hw_text_columns("ab"), 2);
    ck_assert_int_eq(hw_text_columns("\xe6\xbc\xa2"), 2); // a CJK character
    ck_assert_int_eq(hw_text_columns("e\xcc\x81"), 1);    // e and a combining accent
    struct hw_table *table = hw_table_open("<t|n");
    hw_table_cell(table, "\xe6\xbc\xa2");
    hw_table_cell(table, "1");
    hw_table_cell(table, "x");
    hw_table_cell(table, "2");
    char *text = print(table, 0, HW_OK);
    ck_assert_str_eq(text, "t   n\n\xe6\xbc\xa2  1\nx   2\n");
    free(text);
    hw_table_close(&table);
}
END_TEST

START_TEST(long_cells_are_cut_to_the_page) {
    struct hw_table *table = hw_table_open("<~text|n");
    for (int i = 0; i < 30; i++) {
        hw_table_cell(table, "%s",
                      "0123456789012345678901234567890123456789"
                      "0123456789012345678901234567890123456789012345678901234567890");
        hw_table_cell(table, "%d", i);
    }
    char *text = print(table, 0, HW_OK);
    char *line = strchr(text, '\n') + 1; // the first row
    *strchr(line, '\n') = '\0';
    ck_assert_int_eq(hw_text_columns(line), HW_TABLE_COLUMNS);
    ck_assert_ptr_nonnull(
        strstr(line, "\xe2\x80\xa6   0")); // ends with the ellipsis, then the number
    free(text);
    hw_table_close(&table);
}
END_TEST

START_TEST(columns_that_may_not_be_cut_stay_whole) {
    struct hw_table *table = hw_table_open("<text");
    hw_table_cell(table, "%090d", 7);
    char *text = print(table, 0, HW_OK);
    ck_assert_ptr_null(strstr(text, "\xe2\x80\xa6"));
    free(text);
    hw_table_close(&table);
}
END_TEST

START_TEST(control_characters_are_shown_not_sent) {
    struct hw_table *table = hw_table_open("<text");
    hw_table_cell(table, "%s", "\x1b[2Ja\nb\xff");
    char *text = print(table, 0, HW_OK);
    ck_assert_str_eq(text, "text\n\\x1b[2Ja\\x0ab\\xff\n");
    free(text);
    hw_table_close(&table);
}
END_TEST

START_TEST(no_memory_for_a_table_is_said) {
    hw_table_cell(NULL, "x");
    char *text = print(NULL, 0, HW_RESOURCE);
    ck_assert_str_eq(text, "");
    free(text);
    hw_table_close(NULL);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("table");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, columns_line_up);
    tcase_add_test(tcase, wide_characters_count_two_columns);
    tcase_add_test(tcase, long_cells_are_cut_to_the_page);
    tcase_add_test(tcase, columns_that_may_not_be_cut_stay_whole);
    tcase_add_test(tcase, control_characters_are_shown_not_sent);
    tcase_add_test(tcase, no_memory_for_a_table_is_said);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
