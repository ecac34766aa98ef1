// Selectors of positions, resolved for prompts of different lengths.
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/selector.h"

// The selected positions of a prompt of n_ids tokens and n_generated more, as "0 3 4".
static const char *resolve(const char *text, size_t n_ids, size_t n_generated) {
    static char out[256];
    static struct hw_prompt_span spans[] = {{"needle", 2, 4}, {"S2", 5, 6}};
    const struct hw_prompt prompt = {.n_ids = n_ids, .spans = spans, .n_spans = 2};
    struct hw_positions *positions = NULL;
    struct hw_error err = {0};
    bool selected[32];
    enum hw_status status = hw_positions_parse(text, &positions, &err);
    if (status != HW_OK) {
        ck_assert_int_eq(status, HW_USAGE);
        ck_assert_ptr_null(positions);
        (void)snprintf(out, sizeof out, "%.200s", err.message);
        return out;
    }
    memset(selected, 1, sizeof selected);
    size_t n_selected = hw_positions_resolve(positions, &prompt, n_ids + n_generated, selected);
    size_t n = 0;
    out[0] = '\0';
    for (size_t t = 0; t < n_ids + n_generated; t++) {
        if (selected[t]) {
            n += (size_t)snprintf(out + n, sizeof out - n, "%s%zu", n == 0 ? "" : " ", t);
            n_selected--;
        }
    }
    ck_assert_uint_eq(n_selected, 0);
    hw_positions_close(&positions);
    ck_assert_ptr_null(positions);
    return out;
}

START_TEST(words_ranges_and_spans_select) {
    ck_assert_str_eq(resolve("all", 3, 2), "0 1 2 3 4");
    ck_assert_str_eq(resolve("first", 3, 2), "0");
    ck_assert_str_eq(resolve("last", 3, 2), "2"); // of the prompt
    ck_assert_str_eq(resolve("generated", 3, 2), "3 4");
    ck_assert_str_eq(resolve("generated", 3, 0), "");
    ck_assert_str_eq(resolve("prefill", 3, 2), "0 1 2");
    ck_assert_str_eq(resolve("decode", 3, 2), "2 3 4"); // what is fed one token at a time
    ck_assert_str_eq(resolve("decode", 3, 0), "2");
    ck_assert_str_eq(resolve("decode", 0, 2), "");
    ck_assert_str_eq(resolve("prefill,generated", 2, 1), "0 1 2");
    ck_assert_str_eq(resolve("3-7", 10, 0), "3 4 5 6 7");
    ck_assert_str_eq(resolve("3-7", 5, 0), "3 4");
    ck_assert_str_eq(resolve("7", 5, 0), "");
    ck_assert_str_eq(resolve("needle", 10, 0), "2 3");
    ck_assert_str_eq(resolve("first,S2,needle,last", 10, 0), "0 2 3 5 9");
    ck_assert_str_eq(resolve("nobody", 10, 0), "");
    ck_assert_str_eq(resolve("last", 0, 0), "");
    ck_assert_str_eq(resolve("lastly", 3, 0), "");
}
END_TEST

START_TEST(bad_positions_are_named) {
    ck_assert_str_eq(resolve("", 3, 0), "'': expected a position, a range, or the name of a span");
    ck_assert_str_eq(resolve("first,,last", 3, 0),
                     "'first,,last': expected a position, a range, or the name of a span");
    ck_assert_str_eq(resolve("first,", 3, 0), "'first,': expected a comma or the end at ','");
    ck_assert_str_eq(resolve("7-3", 3, 0), "the range 7-3 runs backwards");
    ck_assert_str_eq(resolve("3x", 3, 0), "'3x': expected a comma or the end at 'x'");
    ck_assert_str_eq(resolve("3-", 3, 0), "'3-': expected a number at ''");
}
END_TEST

START_TEST(span_names_are_listed) {
    struct hw_positions *positions = NULL;
    ck_assert_int_eq(hw_positions_parse("a,first,3-4,b", &positions, NULL), HW_OK);
    ck_assert_str_eq(hw_positions_span(positions, 0), "a");
    ck_assert_str_eq(hw_positions_span(positions, 1), "b");
    ck_assert_ptr_null(hw_positions_span(positions, 2));
    ck_assert_str_eq(hw_positions_text(positions), "a,first,3-4,b");
    hw_positions_close(&positions);
    hw_positions_close(&positions); // closed already
}
END_TEST

int main(void) {
    Suite *suite = suite_create("positions");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, words_ranges_and_spans_select);
    tcase_add_test(tcase, bad_positions_are_named);
    tcase_add_test(tcase, span_names_are_listed);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
