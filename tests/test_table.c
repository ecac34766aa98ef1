// Tables: cells line up by columns of the terminal, long cells are cut there and nowhere else, and
// nothing from a file reaches it raw.
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

// The same on a terminal of that many columns (0: one that does not say).
static char *print_on_terminal(const struct hw_table *table, int columns) {
    enum { MAX_BYTES = 2000 }; // what a terminal holds before it is read
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    ck_assert_int_ge(master, 0);
    ck_assert(grantpt(master) == 0 && unlockpt(master) == 0);
    FILE *out = fopen(ptsname(master), "w");
    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(ioctl(fileno(out), TIOCSWINSZ, &size), 0);
    ck_assert_int_eq(hw_table_print(table, out, 0, NULL), HW_OK);
    ck_assert_int_eq(fflush(out), 0);
    char *text = calloc(1, MAX_BYTES + 1);
    ck_assert_ptr_nonnull(text);
    size_t n = 0;
    while (n < MAX_BYTES && strstr(text, "end") == NULL) {
        ssize_t got = read(master, text + n, MAX_BYTES - n);
        ck_assert_int_gt(got, 0);
        n += (size_t)got;
    }
    (void)fclose(out);
    (void)close(master);
    return text;
}

// One row with a text of that many digits, and a last row "end".
static struct hw_table *long_table(int n_digits) {
    struct hw_table *table = hw_table_open("<~text|n");
    hw_table_cell(table, "%0*d", n_digits, 7);
    hw_table_cell(table, "%d", 123);
    hw_table_cell(table, "end");
    hw_table_cell(table, "%d", 4);
    return table;
}

START_TEST(long_cells_are_cut_to_the_terminal) {
    static const int said[] = {0, 60, 80, 120};
    static const int columns[] = {80, 60, 80, 120};
    for (int i = 0; i < 4; i++) {
        struct hw_table *table = long_table(500);
        char *text = print_on_terminal(table, said[i]);
        char *line = strchr(text, '\n') + 1; // the first row
        *strchr(line, '\r') = '\0';
        ck_assert_int_eq(hw_text_columns(line), columns[i]);
        ck_assert_ptr_nonnull(strstr(line, "0\xe2\x80\xa6  123")); // the ellipsis, then the number
        free(text);
        hw_table_close(&table);
    }
    ck_assert_int_eq(hw_terminal_columns(-1), 0);
}
END_TEST

START_TEST(nothing_is_cut_in_a_pipe) {
    static const int lengths[] = {150, HW_TABLE_MAX_PADDED, 5000};
    for (int i = 0; i < 3; i++) {
        char want[6000];
        int padded = lengths[i] > HW_TABLE_MAX_PADDED ? 4 : lengths[i]; // 4: the heading
        struct hw_table *table = long_table(lengths[i]);
        char *text = print(table, 0, HW_OK);
        (void)snprintf(want, sizeof want, "%-*s    n\n%0*d  123\n%-*s    4\n", padded, "text",
                       lengths[i], 7, padded, "end");
        ck_assert_str_eq(text, want);
        free(text);
        hw_table_close(&table);
    }
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

START_TEST(hidden_characters_are_shown_not_sent) {
    struct hw_table *table = hw_table_open("<text");
    hw_table_cell(table, "%s", "\x1b[2Ja\nb\xff\xe2\x80\xae");
    char *text = print(table, 0, HW_OK);
    ck_assert_str_eq(text, "text\n\\x1b[2Ja\\x0ab\\xff\\u{202e}\n");
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
    tcase_add_test(tcase, long_cells_are_cut_to_the_terminal);
    tcase_add_test(tcase, nothing_is_cut_in_a_pipe);
    tcase_add_test(tcase, columns_that_may_not_be_cut_stay_whole);
    tcase_add_test(tcase, hidden_characters_are_shown_not_sent);
    tcase_add_test(tcase, no_memory_for_a_table_is_said);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
