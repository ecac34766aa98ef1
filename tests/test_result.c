// A result: what is added is there, results are stacked by their axes, a file appears whole or not
// at all.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hdf5.h>

#include "formats/result.h"

static const int32_t layers[2] = {3, 5};

static const struct hw_result_field score = {.name = "score",
                                             .type = HW_RESULT_REAL,
                                             .axes = {"layer", "head"},
                                             .long_name = "a score",
                                             .units = "1",
                                             .description = "Of a head."};

// n_prompts prompts, n_rows rows of a table; every value tells its place.
static struct hw_result *make(size_t n_prompts, size_t n_rows, double base) {
    struct hw_result *r = NULL;
    int32_t prompts[8];
    double values[64];
    int64_t numbers[8];
    const char *texts[8];
    ck_assert_int_eq(hw_result_open("demo", &r, NULL), HW_OK);
    for (size_t i = 0; i < 64; i++) {
        values[i] = base + (double)i;
        if (i < 8) {
            prompts[i] = (int32_t)(10 + i);
            numbers[i] = (int64_t)(base + (double)i);
            texts[i] = i % 2 == 0 ? "even" : "odd";
        }
    }
    hw_result_axis(r, "layer", 2, layers, NULL, "layer");
    hw_result_axis(r, "head", 3, (const int32_t[]){0, 1, 2}, NULL, "query head");
    hw_result_axis(r, "prompt", n_prompts, prompts, NULL, "prompt");
    hw_result_axis(r, "sink_token", n_rows, NULL, NULL, "");
    hw_result_add_mean(r, &score, values, values, (const int64_t[]){1, 2, 3, 4, 5, 6});
    struct hw_result_field trial = score;
    trial.name = "trial";
    trial.axes[0] = "prompt";
    trial.axes[1] = "layer";
    hw_result_add(r, &trial, values);
    trial.name = "by_layer";
    trial.axes[0] = "layer";
    trial.axes[1] = "prompt";
    hw_result_add(r, &trial, values);
    hw_result_set_integer(r, "prompts", (int64_t)n_prompts);
    struct hw_result_field row = {.name = "token",
                                  .type = HW_RESULT_TEXT,
                                  .axes = {"sink_token"},
                                  .long_name = "token",
                                  .units = "1",
                                  .description = "Text."};
    hw_result_add(r, &row, texts);
    row.name = "position";
    row.type = HW_RESULT_INTEGER;
    hw_result_add(r, &row, numbers);
    hw_result_set_real(r, "epsilon", .3);
    hw_result_set_text(r, "labels", base > 0 ? "step=2" : "step=1");
    return r;
}

static struct hw_result_array_view find(const struct hw_result *r, const char *name) {
    for (size_t i = 0; i < hw_result_n_arrays(r); i++) {
        if (strcmp(hw_result_array_at(r, i).field.name, name) == 0) {
            return hw_result_array_at(r, i);
        }
    }
    ck_abort_msg("no array %s", name);
    return (struct hw_result_array_view){0};
}

START_TEST(what_is_added_is_there) {
    struct hw_result *r = make(2, 3, 0);
    ck_assert_int_eq(hw_result_status(r, NULL), HW_OK);
    ck_assert_uint_eq(hw_result_n_axes(r), 4);
    ck_assert_uint_eq(hw_result_n_arrays(r), 7); // a mean is three
    struct hw_result_array_view a = find(r, "score");
    ck_assert_uint_eq(a.n_axes, 2);
    ck_assert_uint_eq(a.dims[0] * a.dims[1], a.n_values);
    ck_assert_double_eq(((const double *)a.values)[5], 5);
    ck_assert_int_eq(find(r, "score_n").field.type, HW_RESULT_INTEGER);
    ck_assert_str_eq(((const char *const *)find(r, "token").values)[1], "odd");
    hw_result_close(&r);
    ck_assert_ptr_null(r);
}
END_TEST

START_TEST(a_failure_is_remembered) {
    struct hw_error err;
    struct hw_result *r = make(1, 1, 0);
    hw_result_add(r, &score, (const double[6]){0});
    hw_result_set_text(r, "later", "is not added");
    ck_assert_int_eq(hw_result_status(r, &err), HW_INTERNAL);
    ck_assert_ptr_nonnull(strstr(err.message, "score"));
    ck_assert_uint_eq(hw_result_n_attributes(r), 3);
    ck_assert_int_eq(hw_result_write(r, "/nowhere", false, &err), HW_INTERNAL);
    hw_result_close(&r);
}
END_TEST

START_TEST(results_are_stacked) {
    struct hw_result *both[2] = {make(2, 3, 0), make(3, 2, 100)};
    struct hw_result *r = NULL;
    ck_assert_int_eq(hw_result_stack(both, 2, &r, NULL), HW_OK);
    struct hw_result_array_view a = find(r, "score");
    ck_assert_str_eq(a.field.axes[0], "run");
    ck_assert_uint_eq(a.n_values, 12);
    ck_assert_double_eq(((const double *)a.values)[7], 101);
    a = find(r, "trial"); // [run, prompt, layer], the shorter run padded
    ck_assert_uint_eq(a.dims[1], 3);
    const double *trial = a.values;
    ck_assert_double_eq(trial[3], 3);
    ck_assert(isnan(trial[4]) && isnan(trial[5]));
    ck_assert_double_eq(trial[6 + 5], 105);
    a = find(r, "by_layer"); // [run, layer, prompt]: rows of 2 stand in rows of 3
    const double *by_layer = a.values;
    ck_assert_double_eq(by_layer[1], 1);
    ck_assert(isnan(by_layer[2]) && isnan(by_layer[5]));
    ck_assert_double_eq(by_layer[3], 2);
    ck_assert_double_eq(by_layer[6 + 3], 103);
    a = find(r, "prompts"); // differs, so it is no attribute of the whole
    ck_assert_str_eq(a.field.axes[0], "run");
    ck_assert_double_eq(((const double *)a.values)[1], 3);
    a = find(r, "position"); // 3 rows, then 2
    ck_assert_uint_eq(a.n_values, 5);
    ck_assert_int_eq(((const int64_t *)a.values)[3], 100);
    ck_assert_int_eq(((const int64_t *)find(r, "sink_token_run").values)[2], 0);
    ck_assert_int_eq(((const int64_t *)find(r, "sink_token_run").values)[3], 1);
    ck_assert_uint_eq(hw_result_n_attributes(r), 2);
    ck_assert_str_eq(hw_result_attribute_at(r, 1).text, "step=1\nstep=2");
    hw_result_close(&r);
    for (size_t i = 0; i < 2; i++) {
        hw_result_close(&both[i]);
    }
}
END_TEST

START_TEST(axes_that_differ_are_named) {
    struct hw_error err;
    struct hw_result *r = NULL;
    struct hw_result *both[2] = {make(1, 1, 0), NULL};
    ck_assert_int_eq(hw_result_open("demo", &both[1], NULL), HW_OK);
    hw_result_axis(both[1], "layer", 2, (const int32_t[]){3, 6}, NULL, "layer");
    for (size_t i = 0; i < hw_result_n_arrays(both[0]); i++) {
        struct hw_result_field field = {.name = hw_result_array_at(both[0], i).field.name,
                                        .axes = {"layer"}};
        hw_result_add(both[1], &field, (const double[2]){0});
    }
    ck_assert_int_eq(hw_result_stack(both, 2, &r, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "axis layer"));
    ck_assert_ptr_null(r);
    hw_result_close(&both[0]);
    hw_result_close(&both[1]);
}
END_TEST

START_TEST(a_file_is_written_whole) {
    struct hw_error err;
    char path[] = "/tmp/headwater-result-XXXXXX";
    char file[sizeof path + 8];
    ck_assert_ptr_nonnull(mkdtemp(path));
    (void)snprintf(file, sizeof file, "%s/r.h5", path);
    struct hw_result *r = make(2, 0, 0); // a table without rows too
    ck_assert_msg(hw_result_write(r, file, false, &err) == HW_OK, "%s", err.message);
    ck_assert_int_eq(hw_result_write(r, file, false, &err), HW_OUTPUT);
    ck_assert_int_eq(hw_result_write(r, file, true, &err), HW_OK);
    hid_t id = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t dataset = H5Dopen2(id, "score", H5P_DEFAULT);
    double values[6];
    ck_assert_int_ge(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
    ck_assert_double_eq(values[4], 4);
    ck_assert_int_gt(H5Aexists(dataset, "description"), 0);
    ck_assert_int_gt(H5Aexists(id, "epsilon"), 0);
    (void)H5Dclose(dataset);
    (void)H5Fclose(id);
    struct hw_result *back = NULL;
    ck_assert_msg(hw_result_read(file, &back, &err) == HW_OK, "%s", err.message);
    ck_assert_str_eq(hw_result_command(back), "demo");
    ck_assert_uint_eq(hw_result_n_arrays(back), hw_result_n_arrays(r));
    struct hw_result_array_view trial = find(back, "trial");
    ck_assert_str_eq(trial.field.axes[0], "prompt");
    ck_assert_mem_eq(trial.values, find(r, "trial").values, trial.n_values * sizeof(double));
    hw_result_close(&back);
    hw_result_close(&r);
    ck_assert_int_eq(truncate(file, 3000), 0);
    ck_assert_int_eq(hw_result_read(file, &back, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, file));
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(rmdir(path), 0); // and nothing else was left
}
END_TEST

int main(void) {
    Suite *suite = suite_create("result");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, what_is_added_is_there);
    tcase_add_test(tcase, a_failure_is_remembered);
    tcase_add_test(tcase, results_are_stacked);
    tcase_add_test(tcase, axes_that_differ_are_named);
    tcase_add_test(tcase, a_file_is_written_whole);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
