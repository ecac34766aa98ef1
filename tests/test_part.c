// Part files: what the library reads back is what was appended, however the part was built; nothing
// is left of a part that failed.
#include <check.h>
#include <dirent.h>
#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/part.h"
#include "synthetic.h"

static char folder[64];
static json_t *attributes;

static void setup(void) {
    (void)snprintf(folder, sizeof folder, "/tmp/hw-part-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    attributes = json_pack("{s:s, s:i}", "title", "synthetic", "seed", 3);
}

static size_t count_files(bool is_removing) {
    DIR *dir = opendir(folder);
    size_t n = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            n++;
            char path[400];
            (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            if (is_removing) {
                ck_assert_int_eq(unlink(path), 0);
            }
        }
    }
    (void)closedir(dir);
    return n;
}

static void teardown(void) {
    (void)count_files(true);
    ck_assert_int_eq(rmdir(folder), 0);
    json_decref(attributes);
}

static enum hw_status make(const struct hw_layout *layout, uint64_t planned_bytes, int n_threads,
                           int32_t first, int32_t end, struct hw_part_info *info,
                           struct hw_error *err) {
    struct hw_provenance provenance = {attributes, attributes, NULL, NULL, NULL, NULL};
    struct hw_part_options options = {folder,        layout, &provenance, first, n_threads,
                                      planned_bytes, 0};
    struct hw_part *part = NULL;
    ck_assert_msg(hw_part_open(&options, &part, err) == HW_OK, "%s", err->message);
    synthetic_play(hw_part_base(part), layout, first, end);
    ck_assert_uint_eq(hw_part_n_prompts(part), (size_t)(end - first));
    enum hw_status status = hw_part_commit(&part, info, err);
    ck_assert_ptr_null(part);
    return status;
}

static hid_t open_part(int32_t first, int32_t last) {
    char *path = hw_part_path(folder, first, last);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    free(path);
    return file;
}

// The whole of a dataset of n floats.
static float *read_floats(hid_t file, const char *name, size_t n) {
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(dataset);
    ck_assert_uint_eq((size_t)H5Sget_simple_extent_npoints(space), n);
    float *values = malloc(n * sizeof *values);
    ck_assert_int_ge(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
    H5Sclose(space);
    H5Dclose(dataset);
    return values;
}

static void check_map(hid_t file) {
    enum { P = 5, L = 2, H = 4, T = 257 };
    float *pattern = read_floats(file, "attention/pattern", (size_t)P * L * H * T * T);
    for (size_t p = 0; p < P; p++) {
        size_t n = (size_t)synthetic_n_tokens((int32_t)p + 1);
        for (size_t i = 0; i < T; i += 7) {
            for (size_t j = 0; j < T; j += 3) {
                float found = pattern[(((p * L + 1) * H + 2) * T + i) * T + j];
                if (i >= n || j >= n) {
                    ck_assert(isnan(found));
                } else if (j > i) {
                    ck_assert(found == 0);
                } else if (i < 20 || i > 250) {
                    ck_assert(found == synthetic_pattern((int32_t)p + 1, 2, 2, i, j));
                }
            }
        }
    }
    free(pattern);
}

static void check_rows(hid_t file) {
    enum { T = 130 + 1 + 17 + 257, L = 3, H = 4 };
    float *entropy = read_floats(file, "attention_entropy", (size_t)T * L * H);
    size_t row = 0;
    for (int32_t p = 1; p < 6; p++) {
        for (size_t t = 0; t < (size_t)synthetic_n_tokens(p); t++, row++) {
            for (size_t i = 0; i < L * H; i++) {
                ck_assert(entropy[row * L * H + i] ==
                          synthetic_value(HW_DS_ATTENTION_ENTROPY, p, i / H, t, i % H));
            }
        }
    }
    free(entropy);
    float *offset = read_floats(file, "attention_offset", 5 * 3 * 4 * 4);
    ck_assert(offset[((4 * 3 + 2) * 4 + 1) * 4 + 3] ==
              synthetic_value(HW_DS_ATTENTION_OFFSET, 5, 2, 0, 1 * 4 + 3));
    ck_assert(isnan(offset[2 * 3 * 4 * 4])); // of the failed prompt
    free(offset);
    float *value = read_floats(file, "activations/value", (size_t)T * 3 * 2 * 2);
    ck_assert(value[((131 * 3 + 1) * 2 + 1) * 2] ==
              synthetic_value(HW_DS_ACTIVATIONS_VALUE, 4, 1, 0, 2));
    free(value);
}

START_TEST(rows_come_back_from_both_drivers) {
    struct hw_layout layout;
    struct hw_part_info info;
    struct hw_error err;
    static const uint64_t planned[2] = {1000, (uint64_t)1 << 40};
    synthetic_layout(&layout, HW_ELEMENT_F4);
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(make(&layout, planned[i], 2, 1, 6, &info, &err) == HW_OK, "%s", err.message);
        ck_assert_int_eq(info.first, 1);
        ck_assert_int_eq(info.last, 5);
        ck_assert_uint_eq(count_files(false), 1);
        char hex[65], *path = hw_part_path(folder, 1, 5);
        uint64_t n_bytes = 0;
        ck_assert_int_eq(hw_commit_hash(path, hex, &n_bytes, NULL), HW_OK);
        ck_assert_str_eq(hex, info.sha256);
        ck_assert_uint_eq(n_bytes, info.n_bytes);
        free(path);
        hid_t file = open_part(1, 5);
        check_map(file);
        check_rows(file);
        H5Fclose(file);
        (void)count_files(true);
    }
}
END_TEST

// The file in memory does not even depend on the number of threads.
START_TEST(threads_do_not_change_a_byte) {
    struct hw_layout layout;
    struct hw_part_info one, three;
    struct hw_error err;
    synthetic_layout(&layout, HW_ELEMENT_F2);
    ck_assert_int_eq(make(&layout, 1000, 1, 4, 6, &one, &err), HW_OK);
    (void)count_files(true);
    ck_assert_int_eq(make(&layout, 1000, 3, 4, 6, &three, &err), HW_OK);
    ck_assert_str_eq(one.sha256, three.sha256);
}
END_TEST

START_TEST(full_disk_leaves_nothing) {
    static const char *const faults[] = {"part-built:1:full", "part-written:1:full",
                                         "part-synced:1:full"};
    static const uint64_t planned[2] = {1000, (uint64_t)1 << 40};
    struct hw_layout layout;
    struct hw_part_info info;
    struct hw_error err;
    synthetic_layout(&layout, HW_ELEMENT_F2);
    for (size_t i = 0; i < 6; i++) {
        ck_assert_int_eq(hw_fault_arm(faults[i / 2], &err), HW_OK);
        ck_assert_int_eq(make(&layout, planned[i % 2], 1, 0, 2, &info, &err), HW_OUTPUT);
        ck_assert_ptr_nonnull(strstr(err.message, "No space left"));
        ck_assert_uint_eq(count_files(false), 0);
    }
}
END_TEST

START_TEST(nothing_is_replaced) {
    struct hw_layout layout;
    struct hw_part_info info;
    struct hw_error err;
    synthetic_layout(&layout, HW_ELEMENT_F2);
    char *path = hw_part_path(folder, 0, 1);
    ck_assert_int_eq(hw_commit_write(path, "mine", 4, &err), HW_OK);
    ck_assert_int_eq(make(&layout, 1000, 1, 0, 2, &info, &err), HW_OUTPUT);
    ck_assert_uint_eq(count_files(false), 1);
    char *text = NULL;
    size_t n = 0;
    ck_assert_int_eq(hw_commit_read(path, 100, &text, &n, &err), HW_OK);
    ck_assert_str_eq(text, "mine");
    free(text);
    free(path);
}
END_TEST

START_TEST(missing_folder_is_said) {
    struct hw_layout layout;
    struct hw_error err;
    struct hw_part_info info;
    struct hw_part *part = NULL;
    synthetic_layout(&layout, HW_ELEMENT_F2);
    struct hw_part_options options = {
        "/tmp/no-such-folder-of-ours", &layout, NULL, 0, 1, (uint64_t)1 << 40, 0};
    ck_assert_int_eq(hw_part_open(&options, &part, &err), HW_OUTPUT);
    ck_assert_ptr_null(part);
    options.planned_bytes = 0;
    ck_assert_int_eq(hw_part_open(&options, &part, &err), HW_OK);
    synthetic_play(hw_part_base(part), &layout, 0, 1);
    ck_assert_int_eq(hw_part_commit(&part, &info, &err), HW_OUTPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "no-such-folder"));
}
END_TEST

// A limit on the size of files makes the library's own writes fail, as a full disk does, in the
// middle of a part.
START_TEST(failed_writes_of_the_library_are_survived) {
    struct hw_layout layout;
    struct hw_error err;
    struct hw_part *part = NULL;
    struct rlimit limit, small;
    hw_layout_init(&layout);
    layout.has[HW_DS_LOGITS_LOGITS] = true;
    layout.n_vocab = 20000;
    layout.max_tokens = 4096;
    float *rows = calloc(64 * layout.n_vocab, sizeof *rows);
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 6 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct hw_part_options options = {folder, &layout, NULL, 0, 1, (uint64_t)1 << 40, 0};
    ck_assert_int_eq(hw_part_open(&options, &part, &err), HW_OK);
    ck_assert_int_eq(hw_destination_begin_prompt(hw_part_base(part), 0, &err), HW_OK);
    enum hw_status status = HW_OK;
    for (int i = 0; i < 64 && status == HW_OK; i++) {
        status = hw_destination_append(hw_part_base(part), HW_DS_LOGITS_LOGITS, 0, 64, rows, &err);
        status = status != HW_OK ? status : hw_destination_flush(hw_part_base(part), &err);
    }
    ck_assert_int_eq(status, HW_OUTPUT);
    hw_part_close(&part);
    ck_assert_uint_eq(count_files(false), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    free(rows);
    // The library is fit for work after it.
    struct hw_part_info info;
    synthetic_layout(&layout, HW_ELEMENT_F2);
    ck_assert_msg(make(&layout, (uint64_t)1 << 40, 1, 0, 2, &info, &err) == HW_OK, "%s",
                  err.message);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("part");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, rows_come_back_from_both_drivers);
    tcase_add_test(tcase, threads_do_not_change_a_byte);
    tcase_add_test(tcase, full_disk_leaves_nothing);
    tcase_add_test(tcase, failed_writes_of_the_library_are_survived);
    tcase_add_test(tcase, nothing_is_replaced);
    tcase_add_test(tcase, missing_folder_is_said);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
