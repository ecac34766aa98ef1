// Rows that the reader unpacks itself are those that the library reads: kept chunks, long ranges,
// ends inside of chunks, chunks that are not stored; and it is the codec that meets a broken one.
#include <check.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"
#include "formats/trace_reader.h"
#include "synthetic.h"
#include "trace_folder.h"

enum { N_ROWS = 445, CHUNK_ROWS = 64, MAX_SLABS = 8 };

static struct hw_layout layout;
static char path[200];
static size_t n_slabs;
static size_t n_inner;

static void setup(void) {
    (void)trace_folder_make();
    synthetic_layout(&layout, HW_ELEMENT_F2);
    (void)snprintf(path, sizeof path, "%s", trace_folder_part(&layout, 1, 7));
}

static void teardown(void) {
    trace_folder_remove();
}

// A number of its own for every value, with some that deflate well and some that do not.
static float value(size_t row, size_t slab, size_t i) {
    return (float)(row % 100 < 50 ? slab * 10 + i : (row * 7919 + slab * 104729 + i * 31) % 65521);
}

// attention_entropy anew, in chunks of 64 rows that the library filters; rows from `end` on are not
// written. Open afterwards.
static hid_t rechunk(size_t end, hid_t *ret_file) {
    hw_h5_init();
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t old = H5Dopen2(file, "attention_entropy", H5P_DEFAULT);
    hid_t space = H5Dget_space(old);
    hsize_t dims[3];
    ck_assert_int_eq(H5Sget_simple_extent_dims(space, dims, NULL), 3);
    H5Dclose(old);
    H5Sclose(space);
    n_slabs = dims[1];
    n_inner = dims[2];
    ck_assert(dims[0] == N_ROWS && n_slabs >= 2 && n_slabs <= MAX_SLABS);
    hsize_t chunk[3] = {CHUNK_ROWS, 1, n_inner};
    hsize_t limits[3] = {H5S_UNLIMITED, dims[1], dims[2]};
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, 3, chunk);
    H5Pset_shuffle(creation);
    H5Pset_deflate(creation, 1);
    ck_assert_int_ge(H5Ldelete(file, "attention_entropy", H5P_DEFAULT), 0);
    space = H5Screate_simple(3, dims, limits);
    hid_t id = H5Dcreate2(file, "attention_entropy", H5T_IEEE_F32LE, space, H5P_DEFAULT, creation,
                          H5P_DEFAULT);
    ck_assert_int_ge(id, 0);
    hsize_t start[3] = {0}, count[3] = {end, dims[1], dims[2]};
    hid_t memory = H5Screate_simple(3, count, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    float *values = malloc(end * n_slabs * n_inner * sizeof *values);
    for (size_t v = 0; v < end * n_slabs * n_inner; v++) {
        values[v] = value(v / n_inner / n_slabs, v / n_inner % n_slabs, v % n_inner);
    }
    ck_assert_int_ge(H5Dwrite(id, H5T_IEEE_F32LE, memory, space, H5P_DEFAULT, values), 0);
    free(values);
    H5Sclose(memory);
    H5Sclose(space);
    H5Pclose(creation);
    *ret_file = file;
    return id;
}

static struct hw_trace *open_trace(bool is_kept) {
    struct hw_trace *trace = NULL;
    struct hw_error err;
    ck_assert_msg(hw_trace_open(path, &trace, &err) == HW_OK, "%s", err.message);
    ck_assert_int_eq(hw_trace_set_threads(trace, 3, &err), HW_OK);
    if (is_kept) {
        hw_trace_keep_chunks(trace, HW_DS_ATTENTION_ENTROPY);
    }
    return trace;
}

// All slabs of rows first .. first + n; rows from `end` on are 0, what the library fills with.
static void expect_rows(struct hw_trace *trace, size_t first, size_t n, size_t end) {
    float *rows = malloc((n * n_inner + 1) * sizeof *rows);
    for (size_t slab = 0; slab < n_slabs; slab++) {
        struct hw_error err;
        rows[n * n_inner] = -1;
        ck_assert_msg(
            hw_trace_read_f32(trace, HW_DS_ATTENTION_ENTROPY, slab, first, n, rows, &err) == HW_OK,
            "%s", err.message);
        for (size_t v = 0; v < n * n_inner; v++) {
            size_t row = first + v / n_inner;
            ck_assert_float_eq(rows[v], row < end ? value(row, slab, v % n_inner) : 0);
        }
        ck_assert_float_eq(rows[n * n_inner], -1);
    }
    free(rows);
}

// Ranges within a chunk, over the border of two, over many, whole chunks and parts of them; each
// as the first read, and one after another as an analysis reads.
static const size_t ranges[][2] = {{0, 1},   {0, 64},   {63, 2},   {60, 68},  {64, 64},
                                   {1, 200}, {64, 192}, {70, 375}, {0, 445},  {384, 61},
                                   {444, 1}, {128, 64}, {300, 10}, {310, 100}};

static void expect_all(size_t end) {
    for (int is_kept = 0; is_kept < 2; is_kept++) {
        struct hw_trace *trace = open_trace(is_kept);
        for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
            expect_rows(trace, ranges[i][0], ranges[i][1], end);
            struct hw_trace *fresh = open_trace(is_kept);
            expect_rows(fresh, ranges[i][0], ranges[i][1], end);
            hw_trace_close(&fresh);
        }
        hw_trace_close(&trace);
    }
}

START_TEST(rows_are_those_of_the_library) {
    hid_t file;
    H5Dclose(rechunk(N_ROWS, &file));
    H5Fclose(file);
    expect_all(N_ROWS);
}
END_TEST

START_TEST(chunks_not_stored_are_left_to_the_library) {
    hid_t file;
    H5Dclose(rechunk(3 * CHUNK_ROWS, &file));
    H5Fclose(file);
    expect_all(3 * CHUNK_ROWS);
}
END_TEST

// The message is the codec's: were the library asked, it would be another.
START_TEST(broken_chunk_is_named) {
    hid_t file;
    hid_t id = rechunk(N_ROWS, &file);
    hsize_t offset[3] = {2 * CHUNK_ROWS, 1, 0};
    ck_assert_int_ge(H5Dwrite_chunk(id, H5P_DEFAULT, 0, offset, 9, "no stream"), 0);
    H5Dclose(id);
    H5Fclose(file);
    for (int is_kept = 0; is_kept < 2; is_kept++) {
        struct hw_trace *trace = open_trace(is_kept);
        struct hw_error err;
        float rows[3 * CHUNK_ROWS * 16];
        ck_assert_uint_le(n_inner, 16);
        expect_rows(trace, 0, 2 * CHUNK_ROWS, N_ROWS);
        ck_assert_int_eq(hw_trace_read_f32(trace, HW_DS_ATTENTION_ENTROPY, 1, CHUNK_ROWS,
                                           2 * CHUNK_ROWS, rows, &err),
                         HW_INPUT);
        ck_assert_msg(strstr(err.message, "attention_entropy cannot be read: broken deflate "
                                          "stream of 9 bytes") != NULL,
                      "%s", err.message);
        expect_rows(trace, 3 * CHUNK_ROWS, 10, N_ROWS);
        hw_trace_close(&trace);
    }
}
END_TEST

START_TEST(tiles_are_unpacked_by_the_codec) {
    hw_h5_init();
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t id = H5Dopen2(file, "attention/pattern", H5P_DEFAULT);
    hsize_t offset[5] = {4, 1, 3, 0, 0};
    ck_assert_int_ge(H5Dwrite_chunk(id, H5P_DEFAULT, 0, offset, 9, "no stream"), 0);
    H5Dclose(id);
    H5Fclose(file);
    struct hw_trace *trace = open_trace(false);
    struct hw_error err;
    float *tile = malloc(128 * 128 * sizeof *tile);
    struct hw_map_place place = {HW_DS_ATTENTION_PATTERN, 4, 1, 3};
    ck_assert_int_eq(hw_trace_read_tile(trace, &place, 0, 0, tile, &err), HW_INPUT);
    ck_assert_msg(strstr(err.message, "broken deflate stream of 9 bytes") != NULL, "%s",
                  err.message);
    ck_assert_int_eq(hw_trace_read_tile(trace, &place, 1, 0, tile, &err), HW_OK);
    free(tile);
    hw_trace_close(&trace);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("trace_rows");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, rows_are_those_of_the_library);
    tcase_add_test(tcase, chunks_not_stored_are_left_to_the_library);
    tcase_add_test(tcase, broken_chunk_is_named);
    tcase_add_test(tcase, tiles_are_unpacked_by_the_codec);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
