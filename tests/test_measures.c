// The table of measures: docs/measures.md is what it says (`test_measures --print` makes it anew),
// its records exist, its commands exist.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "analysis/measures.h"
#include "formats/commit.h"
#include "formats/schema.h"
#include "tools/command.h"
#include "tools/measures_markdown.h"

START_TEST(page_is_up_to_date) {
    char *printed = NULL, *committed = NULL;
    size_t n_printed = 0, n_committed = 0;
    struct hw_error err;
    FILE *out = open_memstream(&printed, &n_printed);
    hw_measures_markdown(out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_msg(hw_commit_read(HW_TEST_DATA "/../../docs/measures.md", 1 << 20, &committed,
                                 &n_committed, &err) == HW_OK,
                  "%s", err.message);
    ck_assert_msg(strcmp(printed, committed) == 0, "docs/measures.md is old; print it again");
    free(printed);
    free(committed);
}
END_TEST

static bool is_record(const char *name) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (strcmp(hw_schema_row((enum hw_dataset)i)->record, name) == 0) {
            return true;
        }
    }
    return false;
}

START_TEST(records_and_commands_exist) {
    size_t n;
    const struct hw_measure *measures = hw_measures(&n);
    ck_assert_uint_gt(n, 0);
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(hw_command_find(measures[i].command) != NULL, "%s: no command %s",
                      measures[i].name, measures[i].command);
        for (size_t k = 0; k < HW_MEASURE_MAX_RECORDS && measures[i].records[k] != NULL; k++) {
            ck_assert_msg(is_record(measures[i].records[k]), "%s: no record %s", measures[i].name,
                          measures[i].records[k]);
        }
        ck_assert_ptr_eq(hw_measure_find(measures[i].name), &measures[i]); // no name twice
    }
}
END_TEST

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        hw_measures_markdown(stdout);
        return EXIT_SUCCESS;
    }
    Suite *suite = suite_create("measures");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, page_is_up_to_date);
    tcase_add_test(tcase, records_and_commands_exist);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
