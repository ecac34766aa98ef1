// The journal keeps its lines whatever a crash leaves of the last one, and one writer at a time.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/journal.h"
#include "trace_folder.h"

static const char *folder;
static char path[200];

static void setup(void) {
    folder = trace_folder_make();
    (void)snprintf(path, sizeof path, "%s/journal-2.jsonl", folder);
}

static void teardown(void) {
    trace_folder_remove();
}

static struct hw_journal *open_journal(void) {
    struct hw_journal *journal = NULL;
    struct hw_error err;
    ck_assert_msg(hw_journal_open(folder, 2, &journal, &err) == HW_OK, "%s", err.message);
    return journal;
}

static struct hw_part_info make(int32_t first, int32_t last) {
    struct hw_part_info part = {first, last, 1000, ""};
    memset(part.sha256, 'a', 64);
    return part;
}

START_TEST(lines_come_back) {
    struct hw_part_info a = make(0, 63), b = make(64, 70), again = make(0, 63);
    again.n_bytes = 5;
    struct hw_journal *journal = open_journal();
    ck_assert_int_eq(hw_journal_append(journal, &a, NULL), HW_OK);
    ck_assert_int_eq(hw_journal_append(journal, &b, NULL), HW_OK);
    hw_journal_close(&journal);
    journal = open_journal();
    ck_assert_uint_eq(hw_journal_n_parts(journal), 2);
    ck_assert_int_eq(hw_journal_part(journal, 1)->last, 70);
    ck_assert_int_eq(hw_journal_append(journal, &again, NULL), HW_OK);
    ck_assert_uint_eq(hw_journal_find(journal, 0, 63)->n_bytes, 5);
    ck_assert_ptr_null(hw_journal_find(journal, 0, 62));
    hw_journal_close(&journal);
}
END_TEST

START_TEST(cut_lines_are_dropped) {
    struct hw_part_info a = make(0, 63), b = make(64, 70);
    struct hw_journal *journal = open_journal();
    ck_assert_int_eq(hw_journal_append(journal, &a, NULL), HW_OK);
    ck_assert_int_eq(hw_journal_append(journal, &b, NULL), HW_OK);
    hw_journal_close(&journal);
    char *text = NULL;
    size_t n = 0;
    ck_assert_int_eq(hw_commit_read(path, 10000, &text, &n, NULL), HW_OK);
    for (size_t cut = 0; cut <= n; cut++) {
        size_t n_lines = 0;
        for (size_t i = 0; i < cut; i++) {
            n_lines += text[i] == '\n';
        }
        (void)unlink(path);
        ck_assert_int_eq(hw_commit_write(path, text, cut, NULL), HW_OK);
        journal = open_journal();
        ck_assert_uint_eq(hw_journal_n_parts(journal),
                          n_lines > 0 ? n_lines - 1 : 0); // the first names the process
        ck_assert_int_eq(hw_journal_append(journal, &b, NULL), HW_OK);
        hw_journal_close(&journal);
        journal = open_journal();
        ck_assert_ptr_nonnull(hw_journal_find(journal, 64, 70));
        hw_journal_close(&journal);
    }
    free(text);
}
END_TEST

START_TEST(foreign_lines_are_refused) {
    static const char *const lines[] = {
        "hello\n",
        "{}\n",
        "[1]\n",
        "{\"first\": 5, \"last\": 3, \"bytes\": 1, \"sha256\": \"a\"}\n",
        "{\"first\": -1, \"last\": 3, \"bytes\": 1, \"sha256\": \"a\"}\n",
        "{\"first\": 1, \"last\": 99999999999, \"bytes\": 1, \"sha256\": \"a\"}\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct hw_journal *journal = NULL;
        struct hw_error err;
        (void)unlink(path);
        ck_assert_int_eq(hw_commit_write(path, lines[i], strlen(lines[i]), NULL), HW_OK);
        ck_assert_int_eq(hw_journal_open(folder, 2, &journal, &err), HW_INPUT);
        ck_assert_msg(strstr(err.message, "line 1 is no journal entry") != NULL, "%s", err.message);
        ck_assert_ptr_null(journal);
    }
}
END_TEST

START_TEST(one_writer_at_a_time) {
    struct hw_journal *first = open_journal(), *second = NULL, *other = NULL;
    struct hw_error err;
    ck_assert_int_eq(hw_journal_open(folder, 2, &second, &err), HW_OUTPUT);
    char pid[40];
    (void)snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    ck_assert_msg(strstr(err.message, pid) != NULL, "%s", err.message);
    ck_assert_int_eq(hw_journal_open(folder, 3, &other, &err), HW_OK);
    hw_journal_close(&other);
    hw_journal_close(&first);
    second = open_journal();
    hw_journal_close(&second);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("journal");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, lines_come_back);
    tcase_add_test(tcase, cut_lines_are_dropped);
    tcase_add_test(tcase, foreign_lines_are_refused);
    tcase_add_test(tcase, one_writer_at_a_time);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
