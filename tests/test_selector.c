// Selectors of layers and heads: every form, the order kept, and what does not exist named with
// what does.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/selector.h"
#include "tests/byte_buffer.h"

enum { N_LAYERS = 12, N_HEADS = 8 };

// The selected layers as "0 1 2".
static const char *layers(const char *text) {
    static char out[256];
    bool selected[N_LAYERS];
    struct hw_error err = {0};
    if (hw_selector_layers(text, "layer", N_LAYERS, selected, &err) != HW_OK) {
        ck_assert_int_eq(err.status, HW_USAGE);
        (void)snprintf(out, sizeof out, "%.200s", err.message);
        return out;
    }
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < N_LAYERS; i++) {
        if (selected[i]) {
            n += (size_t)snprintf(out + n, sizeof out - n, "%s%zu", n == 0 ? "" : " ", i);
        }
    }
    return out;
}

START_TEST(layers_are_numbers_and_ranges) {
    ck_assert_str_eq(layers("3"), "3");
    ck_assert_str_eq(layers("0-4,7"), "0 1 2 3 4 7");
    ck_assert_str_eq(layers("7,0-2,1"), "0 1 2 7");
    ck_assert_str_eq(layers("all"), "0 1 2 3 4 5 6 7 8 9 10 11");
    ck_assert_str_eq(layers("^0-9"), "10 11");
    ck_assert_str_eq(layers("^all"), "");
    ck_assert_str_eq(layers("11-11"), "11");
}
END_TEST

START_TEST(bad_layers_are_named) {
    ck_assert_str_eq(layers("12"), "there is no layer 12 (this model has layers 0 to 11)");
    ck_assert_str_eq(layers("3-14"), "there is no layer 14 (this model has layers 0 to 11)");
    ck_assert_str_eq(layers("5-2"), "the range 5-2 runs backwards");
    ck_assert_str_eq(layers(""), "'': expected a number at ''");
    ck_assert_str_eq(layers("1,"), "'1,': expected a comma or the end at ','");
    ck_assert_str_eq(layers(",1"), "',1': expected a number at ',1'");
    ck_assert_str_eq(layers("1;2"), "'1;2': expected a comma or the end at ';2'");
    ck_assert_str_eq(layers("-1"), "'-1': expected a number at '-1'");
    ck_assert_str_eq(layers("99999999999999999999"),
                     "'99999999999999999999': expected a number at '99999999999999999999'");
    ck_assert_str_eq(layers("2."), "'2.': expected a comma or the end at '.'");
    bool depths[3] = {true, false, true};
    struct hw_error err;
    ck_assert_int_eq(hw_selector_layers("0,3", "depth", 3, depths, &err), HW_USAGE);
    ck_assert_str_eq(err.message, "there is no depth 3 (this model has depths 0 to 2)");
    ck_assert(depths[0] && !depths[1] && depths[2]); // untouched
}
END_TEST

// The selected heads in the order written, as "9.6 9.7"; the bitmap must hold the same ones.
static const char *heads(const char *text) {
    static char out[2048];
    uint32_t *order = NULL;
    size_t n_order = 0;
    bool selected[N_LAYERS * N_HEADS];
    struct hw_error err = {0};
    enum hw_status status =
        hw_selector_heads_ordered(text, N_LAYERS, N_HEADS, &order, &n_order, &err);
    ck_assert_int_eq(hw_selector_heads(text, N_LAYERS, N_HEADS, selected, NULL), status);
    if (status != HW_OK) {
        ck_assert_int_eq(err.status, status);
        (void)snprintf(out, sizeof out, "%d: %.1000s", (int)status, err.message);
        return out;
    }
    size_t n = 0;
    size_t n_selected = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n_order; i++) {
        ck_assert(selected[order[i]]);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%u.%u", n == 0 ? "" : " ",
                              order[i] / N_HEADS, order[i] % N_HEADS);
    }
    for (size_t i = 0; i < N_LAYERS * N_HEADS; i++) {
        n_selected += selected[i];
    }
    ck_assert_uint_eq(n_selected, n_order);
    free(order);
    return out;
}

START_TEST(heads_are_layer_dot_head) {
    ck_assert_str_eq(heads("9.6"), "9.6");
    ck_assert_str_eq(heads("9.6,9.1"), "9.6 9.1"); // in the order written
    ck_assert_str_eq(heads("9.6,9.6"), "9.6");
    ck_assert_str_eq(heads("10"), "10.0 10.1 10.2 10.3 10.4 10.5 10.6 10.7");
    ck_assert_str_eq(heads("10.0-3"), "10.0 10.1 10.2 10.3");
    ck_assert_str_eq(heads("10-11.7"), "10.7 11.7");
    ck_assert_str_eq(heads("^0-10,11.1-7"), "11.0");
    ck_assert_str_eq(heads("^all"), "");
    bool selected[N_LAYERS * N_HEADS];
    ck_assert_int_eq(hw_selector_heads("all", N_LAYERS, N_HEADS, selected, NULL), HW_OK);
    for (size_t i = 0; i < N_LAYERS * N_HEADS; i++) {
        ck_assert(selected[i]);
    }
    ck_assert_int_eq(hw_selector_heads("^9.6", N_LAYERS, N_HEADS, selected, NULL), HW_OK);
    for (size_t i = 0; i < N_LAYERS * N_HEADS; i++) {
        ck_assert_int_eq(selected[i], i != 9 * N_HEADS + 6);
    }
}
END_TEST

START_TEST(bad_heads_are_named) {
    ck_assert_str_eq(heads("9.8"), "2: there is no head 8 (this model has heads 0 to 7)");
    ck_assert_str_eq(heads("12.0"), "2: there is no layer 12 (this model has layers 0 to 11)");
    ck_assert_str_eq(heads("9."), "2: '9.': expected a number at ''");
    ck_assert_str_eq(heads("9.6.1"), "2: '9.6.1': expected a comma or the end at '.1'");
    ck_assert_str_eq(heads(""), "2: '': expected a number at ''");
    ck_assert_str_eq(heads("^"), "2: '': expected a number at ''");
    ck_assert_str_eq(heads("head"), "2: 'head': expected a number at 'head'");
    ck_assert_ptr_nonnull(strstr(heads("@/nonexistent.json"), "3: /nonexistent.json"));
}
END_TEST

static const char *heads_of_file(const char *json, bool is_complement) {
    char *folder = temp_folder_new();
    char *path = temp_file(folder, "h.json", json, strlen(json));
    char text[600];
    (void)snprintf(text, sizeof text, "%s@%s", is_complement ? "^" : "", path);
    const char *found = heads(text);
    const char *name = strstr(found, "h.json"); // without the folder
    free(path);
    temp_folder_remove(&folder);
    return name == NULL ? found : name;
}

START_TEST(released_lists_are_ordered_by_their_mean) {
    ck_assert_str_eq(heads_of_file("{\"1-2\": [0.5, 0.0], \"0-3\": [1.0, 0.5], \"4-0\": [0, 0], "
                                   "\"3-7\": [0.25, 0.25]}",
                                   false),
                     "0.3 1.2 3.7 4.0");
    ck_assert_ptr_nonnull(strstr(heads_of_file("{\"1-2\": []}", false), "\"1-2\": expected"));
    ck_assert_ptr_nonnull(strstr(heads_of_file("{\"1-2\": [\"a\"]}", false), "expected a list"));
    ck_assert_ptr_nonnull(strstr(heads_of_file("{\"model\": [1]}", false), "\"model\": expected"));
    ck_assert_ptr_nonnull(strstr(heads_of_file("{\"12-0\": [1]}", false), "there is no layer 12"));
}
END_TEST

START_TEST(files_hold_lists_of_heads) {
    ck_assert_str_eq(heads_of_file("[\"11-2\", \"3.4\", [5, 6]]", false), "11.2 3.4 5.6");
    ck_assert_str_eq(
        heads_of_file(
            "{\"heads\": [{\"layer\": 1, \"head\": 2, \"score\": 0.5}, {\"head\": \"0.1\"}], "
            "\"model\": \"m\"}",
            false),
        "1.2 0.1");
    ck_assert_str_eq(heads_of_file("[]", false), "");
    ck_assert_uint_eq(strlen(heads_of_file("[\"0.0\"]", true)), strlen(heads("^0.0")));
}
END_TEST

START_TEST(bad_files_of_heads_are_named) {
    ck_assert_str_eq(heads_of_file("{}", false),
                     "h.json: expected a list of heads, or an object with one under \"heads\"");
    static const char *const bad[] = {"[\"3\"]",          "[\"3.4.5\"]", "[\"a.b\"]",  "[[1]]",
                                      "[[1, 2, 3]]",      "[[1, -2]]",   "[[1, 2.0]]", "[5]",
                                      "[{\"layer\": 1}]", "[null]",      "[[1, 1e9]]", "[\"\"]",
                                      "[\"-1.2\"]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(strncmp(heads_of_file(bad[i], false), "h.json: item 0 is no head", 25) == 0,
                      "%s", bad[i]);
    }
    ck_assert_str_eq(heads_of_file("[\"1.1\", \"12.0\"]", false),
                     "h.json: item 1: there is no layer 12 (this model has layers 0 to 11)");
    ck_assert_ptr_nonnull(strstr(heads_of_file("[\"1.1\"", false), "line 1"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("selector");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, layers_are_numbers_and_ranges);
    tcase_add_test(tcase, bad_layers_are_named);
    tcase_add_test(tcase, heads_are_layer_dot_head);
    tcase_add_test(tcase, bad_heads_are_named);
    tcase_add_test(tcase, files_hold_lists_of_heads);
    tcase_add_test(tcase, released_lists_are_ordered_by_their_mean);
    tcase_add_test(tcase, bad_files_of_heads_are_named);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
