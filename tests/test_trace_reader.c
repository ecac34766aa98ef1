// Captures read back as they were written; broken and hostile files are refused with a message,
// never a crash.
#include <check.h>
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/h5.h"
#include "formats/trace_reader.h"
#include "synthetic.h"
#include "trace_folder.h"

static struct hw_layout layout;
static char path[200];

static void setup(void) {
    (void)trace_folder_make();
    synthetic_layout(&layout, HW_ELEMENT_F2);
    (void)snprintf(path, sizeof path, "%s", trace_folder_part(&layout, 1, 7));
}

static void teardown(void) {
    trace_folder_remove();
}

static struct hw_trace *open_good(void) {
    struct hw_trace *trace = NULL;
    struct hw_error err;
    ck_assert_msg(hw_trace_open(path, &trace, &err) == HW_OK, "%s", err.message);
    return trace;
}

START_TEST(layout_comes_back) {
    struct hw_trace *trace = open_good();
    const struct hw_layout *found = hw_trace_layout(trace);
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        ck_assert_msg(hw_trace_has(trace, dataset) == hw_layout_has(&layout, dataset), "%s",
                      hw_schema_row(dataset)->name);
        ck_assert_int_eq(hw_layout_has(found, dataset), hw_layout_has(&layout, dataset));
        if (hw_layout_has(&layout, dataset)) {
            ck_assert_int_eq(hw_layout_element(found, dataset),
                             hw_layout_element(&layout, dataset));
            ck_assert_uint_eq(hw_layout_row_bytes(found, dataset),
                              hw_layout_row_bytes(&layout, dataset));
        }
    }
    ck_assert_uint_eq(found->groups[HW_GROUP_ATTENTION].n_layers, 2);
    ck_assert_int_eq(found->groups[HW_GROUP_ATTENTION].layers[1], 2);
    ck_assert_uint_eq(found->max_tokens, 257);
    ck_assert_uint_eq(found->n_kv_heads, 2);
    ck_assert_str_eq(found->span_names[6], "needle");
    ck_assert_int_eq(hw_trace_find(trace, HW_GROUP_ATTENTION, HW_AXIS_LAYER, 2), 1);
    ck_assert_int_eq(hw_trace_find(trace, HW_GROUP_ATTENTION, HW_AXIS_LAYER, 1), -1);
    ck_assert(!hw_trace_is_complete(trace));
    ck_assert_float_eq(((const float *)found->fixed[HW_DS_ATTENTION_VECTORS_SCORE_SCALE])[2], 0.5f);
    ck_assert_str_eq(found->fixed[HW_DS_ATTENTION_VECTORS_EDITS_JSON], "[]");
    hw_trace_close(&trace);
}
END_TEST

START_TEST(prompts_and_spans_come_back) {
    struct hw_trace *trace = open_good();
    ck_assert_uint_eq(hw_trace_n_prompts(trace), 6);
    ck_assert_uint_eq(hw_trace_n_tokens(trace), 130 + 1 + 17 + 257 + 40);
    const struct hw_trace_prompt *prompt = hw_trace_prompt(trace, 3);
    ck_assert_int_eq(prompt->prompt, 4);
    ck_assert_uint_eq(prompt->first_token, 131);
    ck_assert_uint_eq(prompt->n_tokens, 17);
    ck_assert_uint_eq(prompt->n_prompt_tokens, 15);
    ck_assert_str_eq(prompt->name, "prompt 4");
    ck_assert_str_eq(prompt->domain, "prose");
    ck_assert_uint_eq(strlen(prompt->sha256), 64);
    ck_assert_int_eq(hw_trace_prompt(trace, 2)->status, 2);
    ck_assert_str_eq(hw_trace_prompt(trace, 2)->error, "no tokens");
    ck_assert_uint_eq(hw_trace_n_spans(trace), 2);
    ck_assert_int_eq(hw_trace_span(trace, 1)->prompt, 5);
    ck_assert_str_eq(hw_trace_span(trace, 1)->name, "needle");
    ck_assert_int_eq(hw_trace_span(trace, 1)->end, 3);
    char *text = NULL;
    ck_assert_int_eq(hw_trace_attribute(trace, HW_GROUP_ROOT, "run_id", &text, NULL), HW_OK);
    ck_assert_str_eq(text, "a run");
    free(text);
    hw_trace_close(&trace);
}
END_TEST

START_TEST(rows_come_back_widened) {
    struct hw_trace *trace = open_good();
    struct hw_error err;
    float rows[5 * 4];
    ck_assert_int_eq(hw_trace_read_f32(trace, HW_DS_ATTENTION_ENTROPY, 2, 131, 5, rows, &err),
                     HW_OK);
    for (size_t i = 0; i < 20; i++) {
        ck_assert(rows[i] == synthetic_value(HW_DS_ATTENTION_ENTROPY, 4, 2, i / 4, i % 4));
    }
    ck_assert_int_eq(hw_trace_read_f32(trace, HW_DS_ATTENTION_ARGMAX, 1, 131, 5, rows, &err),
                     HW_OK);
    ck_assert(rows[7] == synthetic_value(HW_DS_ATTENTION_ARGMAX, 4, 1, 1, 3));
    int32_t positions[3];
    ck_assert_int_eq(hw_trace_read_i32(trace, HW_DS_TOKEN_POSITION, 0, 130, 3, positions, &err),
                     HW_OK);
    ck_assert(positions[0] == 0 && positions[1] == 0 && positions[2] == 1);
    int64_t wide[2];
    ck_assert_int_eq(hw_trace_read_i64(trace, HW_DS_TOKEN_PROMPT, 0, 130, 2, wide, &err), HW_OK);
    ck_assert(wide[0] == 2 && wide[1] == 4);
    char **texts = NULL;
    ck_assert_int_eq(hw_trace_read_text(trace, HW_DS_TOKEN_TEXT, 0, 10, &texts, &err), HW_OK);
    ck_assert(strlen(texts[9]) >= 5);
    hw_trace_free_text(texts, 10);
    ck_assert_int_eq(hw_trace_read_f32(trace, HW_DS_ATTENTION_ENTROPY, 3, 0, 1, rows, &err),
                     HW_INPUT);
    ck_assert_int_eq(hw_trace_read_f32(trace, HW_DS_ATTENTION_ENTROPY, 0, 440, 6, rows, &err),
                     HW_INPUT);
    ck_assert_int_eq(hw_trace_read_f32(trace, HW_DS_ATTENTION_ENTROPY, 0, SIZE_MAX, 2, rows, &err),
                     HW_INPUT);
    hw_trace_close(&trace);
}
END_TEST

START_TEST(maps_come_back_in_every_width) {
    static const enum hw_element elements[3] = {HW_ELEMENT_F4, HW_ELEMENT_F2, HW_ELEMENT_U2};
    // Rounding of a weight below 1: half has 11 bits, u2 half a step of 1/65534; f4 is exact.
    static const double tolerance[3] = {0, 0x1p-12, 0.51 / 65534};
    float *map = malloc(257 * 257 * sizeof *map);
    for (int e = 0; e < 3; e++) {
        struct hw_error err;
        struct hw_trace *trace = NULL;
        synthetic_layout(&layout, elements[e]);
        (void)unlink(path);
        ck_assert_int_eq(hw_trace_open(trace_folder_part(&layout, 1, 7), &trace, &err), HW_OK);
        ck_assert_int_eq(hw_trace_read_map(trace,
                                           &(struct hw_map_place){HW_DS_ATTENTION_PATTERN, 4, 1, 3},
                                           map, 257, &err),
                         HW_OK);
        for (size_t i = 0; i < 257; i += 16) {
            for (size_t j = 0; j < 257; j++) {
                ck_assert(fabs(map[i * 257 + j] - synthetic_pattern(5, 2, 3, i, j)) <=
                          tolerance[e]);
            }
        }
        float *tile = malloc(128 * 128 * sizeof *tile);
        ck_assert_int_eq(
            hw_trace_read_tile(trace, &(struct hw_map_place){HW_DS_ATTENTION_PATTERN, 5, 0, 0}, 0,
                               0, tile, &err),
            HW_OK);
        ck_assert(tile[39 * 128 + 1] > 0 && tile[1 * 128 + 39] == 0 && isnan(tile[40 * 128]));
        ck_assert_int_eq(
            hw_trace_read_tile(trace, &(struct hw_map_place){HW_DS_ATTENTION_PATTERN, 5, 0, 0}, 2,
                               0, tile, &err),
            HW_OK);
        ck_assert(isnan(tile[0])); // not stored
        ck_assert_int_eq(
            hw_trace_read_tile(trace, &(struct hw_map_place){HW_DS_ATTENTION_PATTERN, 5, 0, 0}, 3,
                               0, tile, &err),
            HW_INPUT);
        ck_assert_int_eq(hw_trace_read_tile(trace,
                                            &(struct hw_map_place){HW_DS_ATTENTION_SCORES, 4, 1, 3},
                                            0, 0, tile, &err),
                         HW_OK);
        ck_assert(isnan(tile[1]) && tile[128] < 0);
        free(tile);
        hw_trace_close(&trace);
    }
    free(map);
}
END_TEST

// Opens the good file for a change by plain HDF5.
static hid_t change(void) {
    hw_h5_init();
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    ck_assert_int_ge(file, 0);
    return file;
}

static void expect_refusal(hid_t file, const char *reason) {
    struct hw_trace *trace = NULL;
    struct hw_error err = {HW_OK, ""};
    if (file >= 0) {
        H5Fclose(file);
    }
    ck_assert_int_eq(hw_trace_open(path, &trace, &err), HW_INPUT);
    ck_assert_msg(strstr(err.message, reason) != NULL, "%s", err.message);
    ck_assert_ptr_null(trace);
}

// Replaces a dataset by one of the given type, dimensions and creation properties.
static void replace(hid_t file, const char *name, hid_t type, int rank, const hsize_t *dims,
                    hid_t creation) {
    ck_assert_int_ge(H5Ldelete(file, name, H5P_DEFAULT), 0);
    hid_t space = H5Screate_simple(rank, dims, NULL);
    hid_t id = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    ck_assert_int_ge(id, 0);
    H5Dclose(id);
    H5Sclose(space);
}

START_TEST(links_that_lead_out_are_refused) {
    hid_t file = change();
    ck_assert_int_ge(H5Lcreate_soft("/n_tokens", file, "innocent", H5P_DEFAULT, H5P_DEFAULT), 0);
    expect_refusal(file, "link innocent");
    file = change();
    ck_assert_int_ge(H5Ldelete(file, "innocent", H5P_DEFAULT), 0);
    ck_assert_int_ge(
        H5Lcreate_external("/etc/passwd", "/", file, "other", H5P_DEFAULT, H5P_DEFAULT), 0);
    expect_refusal(file, "link other");
}
END_TEST

START_TEST(external_storage_is_refused) {
    hid_t file = change();
    hsize_t dims[1] = {445};
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(creation, "/etc/passwd", 0, 445 * 4);
    replace(file, "final_norm", H5T_IEEE_F32LE, 1, dims, creation);
    H5Pclose(creation);
    expect_refusal(file, "final_norm: is stored in another file");
}
END_TEST

START_TEST(virtual_dataset_is_refused) {
    hid_t file = change();
    hsize_t dims[1] = {445};
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, dims, NULL);
    H5Pset_virtual(creation, space, "/tmp/other.h5", "x", space);
    replace(file, "final_norm", H5T_IEEE_F32LE, 1, dims, creation);
    H5Pclose(creation);
    H5Sclose(space);
    expect_refusal(file, "final_norm: is virtual");
}
END_TEST

START_TEST(foreign_filter_is_refused) {
    hid_t file = change();
    hsize_t dims[1] = {445};
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, 1, dims);
    H5Pset_scaleoffset(creation, H5Z_SO_INT, 0);
    replace(file, "token_id", H5T_STD_I32LE, 1, dims, creation);
    H5Pclose(creation);
    expect_refusal(file, "token_id: filter 6");
}
END_TEST

START_TEST(foreign_type_is_refused) {
    hsize_t dims[1] = {445};
    hid_t file = change();
    replace(file, "final_norm", H5T_IEEE_F64LE, 1, dims, H5P_DEFAULT);
    expect_refusal(file, "final_norm: type: expected f4, found float of 8 bytes");
    file = change();
    replace(file, "final_norm", H5T_IEEE_F32BE, 1, dims, H5P_DEFAULT);
    expect_refusal(file, "final_norm: type: expected f4");
}
END_TEST

START_TEST(size_from_nothing_is_refused) {
    hsize_t dims[3] = {445, (hsize_t)1 << 29, (hsize_t)1 << 29};
    hid_t file = change();
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk[3] = {1, 1, 4};
    H5Pset_chunk(creation, 3, chunk);
    replace(file, "attention_entropy", H5T_IEEE_F32LE, 3, dims, creation);
    expect_refusal(file, "attention_entropy");
    // Everything agrees, and nothing is behind it.
    file = change();
    dims[1] = 3;
    dims[2] = 4;
    replace(file, "attention_entropy", H5T_IEEE_F32LE, 3, dims, creation);
    H5Pclose(creation);
    hsize_t rows[2] = {(hsize_t)1 << 29, 2};
    creation = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t row_chunk[2] = {1024, 2};
    H5Pset_chunk(creation, 2, row_chunk);
    replace(file, "next_top_id", H5T_STD_I32LE, 2, rows, creation);
    H5Pclose(creation);
    expect_refusal(file, "next_top_id: axis token has 536870912 places");
}
END_TEST

START_TEST(wide_chunk_is_refused) {
    hsize_t dims[1] = {445}, limit[1] = {H5S_UNLIMITED}, chunk[1] = {(hsize_t)1 << 29};
    hid_t file = change();
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, 1, chunk);
    H5Ldelete(file, "final_norm", H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, dims, limit);
    hid_t id =
        H5Dcreate2(file, "final_norm", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    ck_assert_int_ge(id, 0);
    H5Dclose(id);
    H5Sclose(space);
    H5Pclose(creation);
    expect_refusal(file, "final_norm: a chunk is larger");
}
END_TEST

START_TEST(lengths_that_disagree_are_refused) {
    hsize_t dims[1] = {444};
    hid_t file = change();
    replace(file, "final_norm", H5T_IEEE_F32LE, 1, dims, H5P_DEFAULT);
    expect_refusal(file,
                   "final_norm: axis token has 444 places, other datasets of the group have 445");
}
END_TEST

START_TEST(missing_scale_is_refused) {
    hid_t file = change();
    H5Ldelete(file, "layer", H5P_DEFAULT);
    expect_refusal(file, "layer: the scale of the axis is missing");
}
END_TEST

START_TEST(newer_format_is_refused) {
    hid_t file = change();
    H5Adelete(file, "format_version");
    ck_assert_int_eq(hw_h5_set_text(file, "format_version", "2.0", NULL), HW_OK);
    expect_refusal(file, "format version 2.0");
}
END_TEST

START_TEST(tokens_that_do_not_add_up_are_refused) {
    hid_t file = change();
    int32_t wrong[6] = {130, 1, 0, 17, 257, 41};
    hid_t id = H5Dopen2(file, "n_tokens", H5P_DEFAULT);
    ck_assert_int_ge(H5Dwrite(id, H5T_STD_I32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, wrong), 0);
    H5Dclose(id);
    expect_refusal(file, "prompts have 446 tokens");
}
END_TEST

START_TEST(truncated_files_are_refused) {
    char *bytes = NULL;
    size_t n = 0;
    struct hw_error err;
    ck_assert_int_eq(hw_commit_read(path, (size_t)1 << 30, &bytes, &n, &err), HW_OK);
    static const double parts[] = {0, 0.00001, 0.001, 0.1, 0.5, 0.9, 0.999};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        (void)unlink(path);
        ck_assert_int_eq(hw_commit_write(path, bytes, (size_t)(parts[i] * (double)n), &err), HW_OK);
        expect_refusal(-1, path);
    }
    free(bytes);
}
END_TEST

// Any byte may be wrong: the answer is data or a message, and this process lives.
START_TEST(flipped_bytes_never_crash) {
    char *bytes = NULL;
    size_t n = 0;
    struct hw_error err;
    ck_assert_int_eq(hw_commit_read(path, (size_t)1 << 30, &bytes, &n, &err), HW_OK);
    uint32_t x = 12345;
    size_t n_refused = 0;
    for (int trial = 0; trial < 60; trial++) {
        size_t at[3];
        for (int k = 0; k < 3; k++) {
            x = x * 1664525u + 1013904223u;
            // Metadata are dense at the start and the end; data lie between.
            at[k] = trial % 3 == 0 ? x % 4096 : trial % 3 == 1 ? n - 1 - x % (n / 4) : x % n;
            bytes[at[k]] ^= 0x55;
        }
        (void)unlink(path);
        ck_assert_int_eq(hw_commit_write(path, bytes, n, &err), HW_OK);
        struct hw_trace *trace = NULL;
        if (hw_trace_open(path, &trace, &err) == HW_OK) {
            hw_trace_close(&trace);
        } else {
            n_refused++;
        }
        for (int k = 0; k < 3; k++) {
            bytes[at[k]] ^= 0x55;
        }
    }
    // A third of the trials strike the first metadata, which have checksums and few unused bytes.
    ck_assert_uint_gt(n_refused, 60 / 4);
    free(bytes);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("trace_reader");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, layout_comes_back);
    tcase_add_test(tcase, prompts_and_spans_come_back);
    tcase_add_test(tcase, rows_come_back_widened);
    tcase_add_test(tcase, maps_come_back_in_every_width);
    tcase_add_test(tcase, links_that_lead_out_are_refused);
    tcase_add_test(tcase, external_storage_is_refused);
    tcase_add_test(tcase, virtual_dataset_is_refused);
    tcase_add_test(tcase, foreign_filter_is_refused);
    tcase_add_test(tcase, foreign_type_is_refused);
    tcase_add_test(tcase, size_from_nothing_is_refused);
    tcase_add_test(tcase, wide_chunk_is_refused);
    tcase_add_test(tcase, lengths_that_disagree_are_refused);
    tcase_add_test(tcase, missing_scale_is_refused);
    tcase_add_test(tcase, newer_format_is_refused);
    tcase_add_test(tcase, tokens_that_do_not_add_up_are_refused);
    tcase_add_test(tcase, truncated_files_are_refused);
    tcase_add_test(tcase, flipped_bytes_never_crash);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
