// Two partings merge to equal files, a master reads as the merged file does, captures join, and the
// comparison finds differences.
#include <check.h>
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/h5.h"
#include "formats/merge.h"
#include "formats/run.h"
#include "formats/trace_equal.h"
#include "formats/trace_reader.h"
#include "synthetic.h"
#include "trace_folder.h"

static struct hw_layout layout;
static const char *folder;
static json_t *manifest;

static void setup(void) {
    folder = trace_folder_make();
    manifest = json_pack("{s:s}", "model", "tiny");
    synthetic_layout(&layout, HW_ELEMENT_F2);
}

static void teardown(void) {
    json_decref(manifest);
    trace_folder_remove();
}

static void expect_ok(enum hw_status status, const struct hw_error *err) {
    ck_assert_msg(status == HW_OK, "%s", err->message);
}

static char *in_folder(const char *name) {
    char *path = malloc(200);
    (void)snprintf(path, 200, "%s/%s", folder, name);
    return path;
}

// Captures prompts 0 .. n_prompts into NAME; with shards the parts stay unmerged.
static void capture(const char *name, size_t n_prompts, size_t every, size_t n_shards) {
    struct hw_error err;
    char *path = in_folder(name);
    for (size_t shard = 0; shard < n_shards; shard++) {
        struct hw_run_options options = {
            .out_path = path,
            .layout = &layout,
            .manifest = manifest,
            .config_json = "{}",
            .n_prompts = n_prompts,
            .commit_every = every,
            .shard = shard,
            .n_shards = n_shards,
            .n_threads = 2,
        };
        struct hw_run *run = NULL;
        bool is_complete = false;
        expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
        size_t first, end;
        while (hw_run_next(run, &first, &end)) {
            struct hw_destination *destination = NULL;
            expect_ok(hw_run_begin_part(run, first, 1000, &destination, &err), &err);
            synthetic_play(destination, &layout, (int32_t)first, (int32_t)end);
            expect_ok(hw_run_commit_part(run, end, &err), &err);
        }
        expect_ok(hw_run_finish(run, &err), &err);
        hw_run_close(&run);
    }
    free(path);
}

static struct hw_trace *open_trace(const char *name) {
    struct hw_error err;
    struct hw_trace *trace = NULL;
    char *path = in_folder(name);
    expect_ok(hw_trace_open(path, &trace, &err), &err);
    free(path);
    return trace;
}

static void check_values(struct hw_trace *trace) {
    struct hw_error err;
    float *map = malloc(257 * 257 * sizeof *map);
    expect_ok(hw_trace_read_map(trace, &(struct hw_map_place){HW_DS_ATTENTION_PATTERN, 5, 1, 2},
                                map, 257, &err),
              &err);
    for (size_t i = 0; i < 257; i += 32) {
        for (size_t j = 0; j < 257; j++) {
            // Rounding of a weight below 1 to half.
            ck_assert(fabs(map[i * 257 + j] - synthetic_pattern(5, 2, 2, i, j)) <= 0x1p-12);
        }
    }
    free(map);
    float row[4];
    size_t first = hw_trace_prompt(trace, 6)->first_token;
    ck_assert_uint_eq(first, 5 + 130 + 1 + 17 + 257);
    expect_ok(hw_trace_read_f32(trace, HW_DS_ATTENTION_ENTROPY, 1, first + 2, 1, row, &err), &err);
    ck_assert(row[3] == synthetic_value(HW_DS_ATTENTION_ENTROPY, 6, 1, 2, 3));
    expect_ok(hw_trace_read_f32(trace, HW_DS_SINK_SCORE, 2, 6, 1, row, &err), &err);
    ck_assert(row[1] == synthetic_value(HW_DS_SINK_SCORE, 6, 2, 0, 1));
    int64_t tokens[7];
    ck_assert_uint_eq(hw_trace_n_rows(trace, HW_DS_MASSIVE_TOKEN), 7);
    expect_ok(hw_trace_read_i64(trace, HW_DS_MASSIVE_TOKEN, 0, 0, 7, tokens, &err), &err);
    ck_assert_int_eq(tokens[6], (int64_t)hw_trace_prompt(trace, 7)->first_token);
    int64_t dropped = 0;
    expect_ok(hw_trace_attribute_integer(trace, HW_GROUP_MASSIVE, "n_dropped", &dropped, &err),
              &err);
    ck_assert_int_eq(dropped, 7);
}

START_TEST(partings_merge_to_equal_files) {
    struct hw_error err;
    capture("a.h5", 8, 3, 1);
    capture("b.h5", 8, 1, 1);
    char *a = in_folder("a.h5"), *b = in_folder("b.h5");
    expect_ok(hw_trace_equal(a, b, &err), &err);
    struct hw_trace *trace = open_trace("b.h5");
    check_values(trace);
    hw_trace_close(&trace);
    free(a);
    free(b);
}
END_TEST

START_TEST(master_reads_as_the_merged_file) {
    struct hw_error err;
    capture("run.h5", 8, 3, 2);
    char *parts = in_folder("run.h5.parts"), *master = in_folder("run.h5");
    struct hw_merge_options options = {.out_path = master, .is_virtual = true, .n_threads = 1};
    expect_ok(hw_merge_folder(parts, &options, &err), &err);
    ck_assert_int_eq(chdir("/"), 0); // relative names are relative to the master
    struct hw_trace *trace = open_trace("run.h5");
    ck_assert(hw_trace_is_virtual(trace));
    check_values(trace);
    hw_trace_close(&trace);
    // HDF5 would hand out fill values.
    char *part = in_folder("run.h5.parts/part-00000003-00000005.h5");
    ck_assert_int_eq(unlink(part), 0);
    ck_assert_int_eq(hw_trace_open(master, &trace, &err), HW_INPUT);
    ck_assert_msg(strstr(err.message, "part-00000003-00000005.h5 is missing") != NULL, "%s",
                  err.message);
    free(part);
    free(parts);
    free(master);
}
END_TEST

START_TEST(captures_join) {
    struct hw_error err;
    capture("a.h5", 2, 8, 1);
    capture("b.h5", 6, 8, 1);
    char *a = in_folder("a.h5"), *b = in_folder("b.h5"), *joined = in_folder("joined.h5");
    const char *const paths[] = {a, b};
    struct hw_merge_options options = {.out_path = joined, .n_threads = 1};
    // decode/pattern has as many keys as the longest prompt planned, which is the same here.
    expect_ok(hw_merge_captures(paths, 2, &options, &err), &err);
    struct hw_trace *trace = open_trace("joined.h5");
    ck_assert_uint_eq(hw_trace_n_prompts(trace), 8);
    ck_assert_int_eq(hw_trace_prompt(trace, 2)->prompt, 2); // the second's 0
    ck_assert_str_eq(hw_trace_prompt(trace, 3)->name, "prompt 1");
    int32_t numbers[2];
    size_t first = hw_trace_prompt(trace, 3)->first_token;
    expect_ok(hw_trace_read_i32(trace, HW_DS_TOKEN_PROMPT, 0, first, 2, numbers, &err), &err);
    ck_assert_int_eq(numbers[0], 3);
    ck_assert_int_eq(hw_trace_span(trace, 1)->prompt, 3);
    hw_trace_close(&trace);
    ck_assert_int_eq(hw_merge_captures(paths, 2, &options, &err), HW_OUTPUT); // exists
    options.is_overwrite = true;
    expect_ok(hw_merge_captures(paths, 2, &options, &err), &err);
    free(a);
    free(b);
    free(joined);
}
END_TEST

START_TEST(other_layouts_do_not_join) {
    struct hw_error err;
    capture("a.h5", 2, 8, 1);
    layout.has[HW_DS_FINAL_NORM] = false;
    capture("b.h5", 2, 8, 1);
    char *a = in_folder("a.h5"), *b = in_folder("b.h5"), *joined = in_folder("joined.h5");
    const char *const paths[] = {a, b};
    struct hw_merge_options options = {.out_path = joined, .n_threads = 1};
    ck_assert_int_eq(hw_merge_captures(paths, 2, &options, &err), HW_INPUT);
    ck_assert_msg(strstr(err.message, "b.h5: records /final_norm in another way") != NULL, "%s",
                  err.message);
    free(a);
    free(b);
    free(joined);
}
END_TEST

static void change_value(hid_t file) {
    float row[3 * 4] = {0};
    hsize_t start[3] = {200, 0, 0}, count[3] = {1, 3, 4};
    hid_t id = H5Dopen2(file, "attention_max", H5P_DEFAULT);
    hid_t space = H5Dget_space(id), memory = H5Screate_simple(3, count, NULL);
    ck_assert_int_ge(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), 0);
    ck_assert_int_ge(H5Dwrite(id, H5T_IEEE_F32LE, memory, space, H5P_DEFAULT, row), 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(id);
}

static void change_attribute(hid_t file) {
    hid_t id = H5Dopen2(file, "attention_max", H5P_DEFAULT);
    H5Adelete(id, "units");
    ck_assert_int_eq(hw_h5_set_text(id, "units", "km", NULL), HW_OK);
    H5Dclose(id);
}

static void change_name(hid_t file) {
    ck_assert_int_ge(
        H5Lmove(file, "attention_max", file, "attention_min", H5P_DEFAULT, H5P_DEFAULT), 0);
}

static void change_text(hid_t file) {
    H5Ldelete(file, "provenance/config_json", H5P_DEFAULT);
    hid_t group = H5Gopen2(file, "provenance", H5P_DEFAULT);
    ck_assert_int_eq(hw_h5_write_text(group, "config_json", "{ }", NULL), HW_OK);
    H5Gclose(group);
}

static void change_date(hid_t file) {
    H5Adelete(file, "date_created");
    ck_assert_int_eq(hw_h5_set_text(file, "date_created", "never", NULL), HW_OK);
}

START_TEST(comparison_finds_what_differs) {
    static const struct {
        void (*change)(hid_t);
        const char *place;
    } changes[] = {{change_value, "/attention_max: rows"},
                   {change_attribute, "/attention_max: attribute units differs"},
                   {change_name, "object attention_max against attention_max_mean"},
                   {change_text, "/provenance/config_json"},
                   {change_date, NULL}};
    struct hw_error err;
    layout.has[HW_DS_ATTENTION_PATTERN] = false;
    layout.has[HW_DS_ATTENTION_SCORES] = false;
    capture("a.h5", 8, 8, 1);
    char *a = in_folder("a.h5"), *b = in_folder("b.h5");
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        capture("b.h5", 8, 8, 1);
        hid_t file = H5Fopen(b, H5F_ACC_RDWR, H5P_DEFAULT);
        changes[i].change(file);
        H5Fclose(file);
        enum hw_status status = hw_trace_equal(a, b, &err);
        ck_assert_int_eq(status, changes[i].place != NULL ? HW_WRONG : HW_OK);
        ck_assert_msg(changes[i].place == NULL || strstr(err.message, changes[i].place) != NULL,
                      "%s", err.message);
        ck_assert_int_eq(unlink(b), 0);
    }
    free(a);
    free(b);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("merge");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 200);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, partings_merge_to_equal_files);
    tcase_add_test(tcase, master_reads_as_the_merged_file);
    tcase_add_test(tcase, captures_join);
    tcase_add_test(tcase, other_layouts_do_not_join);
    tcase_add_test(tcase, comparison_finds_what_differs);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
