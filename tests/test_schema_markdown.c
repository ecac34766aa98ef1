// docs/recorded.md is what the table says. `test_schema_markdown --print > docs/recorded.md` makes
// it anew.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "formats/commit.h"
#include "tools/schema_markdown.h"

START_TEST(page_is_up_to_date) {
    char *printed = NULL, *committed = NULL;
    size_t n_printed = 0, n_committed = 0;
    struct hw_error err;
    FILE *out = open_memstream(&printed, &n_printed);
    hw_schema_markdown(out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_msg(hw_commit_read(HW_TEST_DATA "/../../docs/recorded.md", 1 << 20, &committed,
                                 &n_committed, &err) == HW_OK,
                  "%s", err.message);
    ck_assert_msg(strcmp(printed, committed) == 0, "docs/recorded.md is old; print it again");
    free(printed);
    free(committed);
}
END_TEST

START_TEST(every_dataset_has_a_line) {
    char *printed = NULL;
    size_t n_printed = 0;
    FILE *out = open_memstream(&printed, &n_printed);
    hw_schema_markdown(out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_ptr_nonnull(strstr(printed, "| `attention_entropy` * | f4[token, layer, head] | nat "
                                          "| -sum_j A[i,j] ln A[i,j] of query i. |"));
    ck_assert_ptr_nonnull(strstr(printed, "\\|W_O,h v\\| of query head h."));
    ck_assert_ptr_null(strstr(printed, "`attention_entropy_mean`"));
    free(printed);
}
END_TEST

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        hw_schema_markdown(stdout);
        return EXIT_SUCCESS;
    }
    Suite *suite = suite_create("schema_markdown");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, page_is_up_to_date);
    tcase_add_test(tcase, every_dataset_has_a_line);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
