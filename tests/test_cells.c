// Cells come back bit for bit, whatever a crash leaves of the last line; what is another run's is
// refused.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/cells.h"
#include "formats/commit.h"
#include "trace_folder.h"

static const char *folder;
static char out[200];

static void setup(void) {
    folder = trace_folder_make();
    (void)snprintf(out, sizeof out, "%s/a.h5", folder);
}

static void teardown(void) {
    trace_folder_remove();
}

static enum hw_status open_as(const char *edit, bool is_overwriting, struct hw_cells **ret_cells,
                              bool *ret_is_complete, struct hw_error *err) {
    json_t *manifest = json_pack("{s:s, s:s}", "command", "ablate", "edit", edit);
    struct hw_cells_options options = {out, manifest, 10, is_overwriting};
    enum hw_status status = hw_cells_open(&options, ret_cells, ret_is_complete, err);
    json_decref(manifest);
    return status;
}

static struct hw_cells *open_cells(void) {
    struct hw_cells *cells = NULL;
    bool is_complete = true;
    struct hw_error err;
    ck_assert_msg(open_as("zero", false, &cells, &is_complete, &err) == HW_OK, "%s", err.message);
    ck_assert(!is_complete);
    return cells;
}

static void commit_three(struct hw_cells *cells) {
    const double a[3] = {1.0 / 3, -0.0, NAN}, b[1] = {INFINITY};
    const struct hw_cell done[] = {{4, a, 3}, {9, b, 1}, {0, NULL, 0}};
    ck_assert_int_eq(hw_cells_commit(cells, done, 2, NULL), HW_OK);
    ck_assert_int_eq(hw_cells_commit(cells, done + 2, 1, NULL), HW_OK);
}

static void check_three(const struct hw_cells *cells, size_t n_expected) {
    const double a[2] = {1.0 / 3, -0.0};
    size_t n;
    ck_assert_uint_eq(hw_cells_n_done(cells), n_expected);
    const double *values = hw_cells_find(cells, 4, &n);
    ck_assert_uint_eq(n, 3);
    ck_assert_mem_eq(values, a, sizeof a);
    ck_assert(isnan(values[2]));
    ck_assert(isinf(hw_cells_find(cells, 9, &n)[0]));
    ck_assert_ptr_null(hw_cells_find(cells, 5, &n));
}

static void finish(struct hw_cells *cells) {
    struct hw_result *result = NULL;
    ck_assert_int_eq(hw_result_open("ablate", &result, NULL), HW_OK);
    struct hw_error err;
    ck_assert_msg(hw_cells_finish(cells, result, &err) == HW_OK, "%s", err.message);
    hw_result_close(&result);
}

START_TEST(cells_come_back) {
    struct hw_cells *cells = open_cells();
    commit_three(cells);
    check_three(cells, 3);
    hw_cells_close(&cells);
    cells = open_cells();
    check_three(cells, 3);
    hw_cells_close(&cells);
}
END_TEST

START_TEST(cut_lines_are_dropped) {
    struct hw_cells *cells = open_cells();
    commit_three(cells);
    hw_cells_close(&cells);
    char path[260];
    char *text = NULL;
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s.parts/journal-0.jsonl", out);
    ck_assert_int_eq(hw_commit_read(path, 1 << 20, &text, &n, NULL), HW_OK);
    size_t last = n - 1;
    while (text[last - 1] != '\n') {
        last--;
    }
    free(text);
    for (size_t cut = n - 1; cut > last; cut--) {
        ck_assert_int_eq(truncate(path, (off_t)cut), 0);
        cells = open_cells();
        check_three(cells, 2);
        hw_cells_close(&cells);
        // The opening wrote a line of its own; the next cut is of the same text.
        FILE *file = fopen(path, "r+b");
        ck_assert_int_eq(ftruncate(fileno(file), (off_t)last), 0);
        ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
        for (size_t i = last; i < n; i++) {
            (void)fputc('x', file);
        }
        ck_assert_int_eq(fclose(file), 0);
    }
}
END_TEST

START_TEST(others_are_refused) {
    struct hw_cells *cells = open_cells(), *other = NULL;
    bool is_complete;
    struct hw_error err;
    commit_three(cells);
    ck_assert_int_eq(open_as("zero", false, &other, &is_complete, &err), HW_OUTPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "is being written by process"));
    hw_cells_close(&cells);
    ck_assert_int_eq(open_as("mean", false, &other, &is_complete, &err), HW_OUTPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "edit is \"zero\" there and \"mean\" here"));
    cells = open_cells();
    check_three(cells, 3);
    finish(cells);
    hw_cells_close(&cells);
    ck_assert_int_eq(open_as("zero", false, &cells, &is_complete, &err), HW_OK);
    ck_assert(is_complete);
    ck_assert_int_eq(open_as("mean", false, &cells, &is_complete, &err), HW_OUTPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "--overwrite"));
    ck_assert_int_eq(open_as("mean", true, &cells, &is_complete, &err), HW_OK);
    ck_assert(!is_complete);
    ck_assert_uint_eq(hw_cells_n_done(cells), 0);
    finish(cells);
    hw_cells_close(&cells);
    ck_assert_int_eq(open_as("mean", false, &cells, &is_complete, &err), HW_OK);
    ck_assert(is_complete);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cells");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, cells_come_back);
    tcase_add_test(tcase, cut_lines_are_dropped);
    tcase_add_test(tcase, others_are_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
