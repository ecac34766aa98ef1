// safetensors: a good file reads as written; files with two meanings, or none, are refused by name.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "safetensors_writer.h"

// Reads an exact copy; the table is left to the caller only on success.
static enum hw_status read_copy(const struct byte_buffer *file, unsigned char **ret_copy,
                                struct hw_tensor_table *table, struct hw_error *err) {
    unsigned char *copy = byte_copy(file->bytes, file->n);
    struct hw_filemap *map = NULL;
    size_t header_bytes = 0;
    ck_assert_int_eq(hw_filemap_borrow("a.safetensors", copy, file->n, &map, err), HW_OK);
    enum hw_status status = hw_safetensors_read(map, table, &header_bytes, err);
    if (status == HW_OK) {
        status = hw_tensor_table_index(table, err);
    }
    if (status == HW_OK) {
        ck_assert_uint_eq(header_bytes,
                          8 + file->bytes[0] + 256 * file->bytes[1] + 65536UL * file->bytes[2]);
        *ret_copy = copy;
    } else {
        hw_tensor_table_free(table);
        free(copy);
    }
    hw_filemap_close(&map);
    return status;
}

// Out of order in the header, a scalar, and two empty tensors in one place.
static const char good_header[] =
    "{\"b\":{\"dtype\":\"F16\",\"shape\":[3,2],\"data_offsets\":[8,20]},"
    "\"__metadata__\":{\"format\":\"pt\"},"
    "\"e2\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]},"
    "\"a\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
    "\"e1\":{\"dtype\":\"I8\",\"shape\":[4,0,1],\"data_offsets\":[8,8]}}   ";

START_TEST(good_file_reads_as_written) {
    struct byte_buffer file = {0};
    struct hw_tensor_table table = {0};
    struct hw_error err = {0};
    unsigned char *copy = NULL;
    safetensors_put(&file, good_header, 20);
    ck_assert_msg(read_copy(&file, &copy, &table, &err) == HW_OK, "%s", err.message);
    static const char *const names[] = {"a", "e1", "e2", "b"}; // in the order of the data
    ck_assert_uint_eq(table.n, 4);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_str_eq(table.items[i].name, names[i]);
        ck_assert_ptr_eq(hw_tensor_table_find(&table, names[i]), &table.items[i]);
    }
    const struct hw_tensor *a = &table.items[0];
    const struct hw_tensor *b = &table.items[3];
    ck_assert_uint_eq(a->n_dims, 0);
    ck_assert_uint_eq(a->n_values, 1);
    ck_assert_uint_eq(table.items[1].n_values, 0);
    ck_assert_int_eq(b->dtype, HW_F16);
    ck_assert_uint_eq(b->shape[0], 3);
    ck_assert_uint_eq(b->shape[1], 2);
    ck_assert_uint_eq(b->n_bytes, 12);
    ck_assert_int_eq(((const unsigned char *)b->data)[0], 8);
    ck_assert_ptr_null(hw_tensor_table_find(&table, "c"));
    hw_tensor_table_free(&table);
    free(copy);
    byte_buffer_free(&file);
}
END_TEST

START_TEST(file_without_tensors_reads) {
    struct byte_buffer file = {0};
    struct hw_tensor_table table = {0};
    unsigned char *copy = NULL;
    safetensors_put(&file, "{}", 0);
    ck_assert_int_eq(read_copy(&file, &copy, &table, NULL), HW_OK);
    ck_assert_uint_eq(table.n, 0);
    ck_assert_ptr_null(hw_tensor_table_find(&table, ""));
    hw_tensor_table_free(&table);
    free(copy);
    byte_buffer_free(&file);
}
END_TEST

static void expect_refused(const char *name, const struct byte_buffer *file, const char *message) {
    struct hw_tensor_table table = {0};
    struct hw_error err = {0};
    unsigned char *copy = NULL;
    enum hw_status status = read_copy(file, &copy, &table, &err);
    ck_assert_msg(status == HW_INPUT, "%s: status %d: %s", name, status, err.message);
    ck_assert_msg(strstr(err.message, message) != NULL, "%s: expected \"%s\" in \"%s\"", name,
                  message, err.message);
    ck_assert_int_eq(read_copy(file, &copy, &table, NULL), HW_INPUT);
}

#define ONE(dtype, shape, offsets)                                                                 \
    "{\"w\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(first, second)                                                                         \
    "{\"v\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":" first "},"                          \
    "\"w\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":" second "}}"
#define DEEP4 "[[[["
#define DEEP16 DEEP4 DEEP4 DEEP4 DEEP4

static const struct {
    const char *name;
    const char *header;
    size_t n_data;
    const char *message;
} bad_headers[] = {
    {"an array", "[]", 0, "header begins with 0x5b, expected {"},
    {"a blank first", " {}", 0, "header begins with 0x20, expected {"},
    {"text after", "{}x", 0, "end of file expected"},
    {"invalid UTF-8", "{\"\xc3\x28\":1}", 0, "unable to decode"},
    {"lone surrogate", "{\"\\ud800\":1}", 0, "invalid Unicode"},
    {"NUL in a name", "{\"a\\u0000\":1}", 0, "\\u0000"},
    {"depth bomb", "{\"a\":" DEEP16 DEEP16 DEEP16, 0, "nested deeper than 32"},
    {"tensor twice",
     "{\"w\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"w\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
     1, "duplicate object key"},
    {"field twice",
     "{\"w\":{\"dtype\":\"I8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "duplicate object key"},
    {"tensor not an object", "{\"w\":7}", 0, "tensor w: expected an object"},
    {"no name", "{\"\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "without a name"},
    {"no dtype", "{\"w\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor w: dtype is missing"},
    {"no shape", "{\"w\":{\"dtype\":\"I8\",\"data_offsets\":[0,1]}}", 1,
     "tensor w: shape is missing"},
    {"no offsets", "{\"w\":{\"dtype\":\"I8\",\"shape\":[1]}}", 1,
     "data_offsets are not two integers"},
    {"a field more", "{\"w\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1,
     "tensor w: 4 fields"},
    {"dtype F8_E4M3", ONE("F8_E4M3", "[1]", "[0,1]"), 1,
     "tensor w: dtype F8_E4M3 is not supported"},
    {"dtype F4", ONE("F4", "[2]", "[0,1]"), 1, "dtype F4 is not supported"},
    {"dtype F6_E2M3", ONE("F6_E2M3", "[4]", "[0,3]"), 3, "dtype F6_E2M3 is not supported"},
    {"dtype F8_E8M0", ONE("F8_E8M0", "[1]", "[0,1]"), 1, "dtype F8_E8M0 is not supported"},
    {"dtype U32", ONE("U32", "[1]", "[0,4]"), 4, "dtype U32 is not supported"},
    {"dtype of GGUF", ONE("Q8_0", "[32]", "[0,34]"), 34, "dtype Q8_0 is not supported"},
    {"dtype unknown", ONE("\\u001b[2J", "[1]", "[0,1]"), 1, "dtype \\x1b[2J is not supported"},
    {"5 dimensions", ONE("I8", "[1,1,1,1,1]", "[0,1]"), 1, "5 dimensions, expected at most 4"},
    {"dimension 1e3", ONE("I8", "[1e3]", "[0,1000]"), 1000, "dimension 0 is not an integer"},
    {"dimension -1", ONE("I8", "[-1]", "[0,1]"), 1, "dimension 0 is not an integer"},
    {"dimension 1.5", ONE("I8", "[1,1.5]", "[0,1]"), 1, "dimension 1 is not an integer"},
    {"dimension 2^64", ONE("I8", "[18446744073709551616]", "[0,1]"), 1, "too big integer"},
    {"dimension 2^63", ONE("I8", "[9223372036854775808]", "[0,1]"), 1, "too big integer"},
    {"dimension text", ONE("I8", "[\"1\"]", "[0,1]"), 1, "dimension 0 is not an integer"},
    {"product overflows", ONE("I8", "[9223372036854775807,3]", "[0,1]"), 1,
     "product of its shape overflows"},
    {"product wraps to 0", ONE("I8", "[4294967296,4294967296]", "[0,0]"), 0,
     "product of its shape overflows"},
    {"bytes overflow", ONE("F64", "[4611686018427387904]", "[0,0]"), 0,
     "the size of 4611686018427387904 values"},
    {"offset -1", ONE("I8", "[1]", "[-1,0]"), 1, "data_offsets are not two integers"},
    {"offset 1.0", ONE("I8", "[1]", "[0,1.0]"), 1, "data_offsets are not two integers"},
    {"three offsets", ONE("I8", "[1]", "[0,1,1]"), 1, "data_offsets are not two integers"},
    {"offset 2^63-1", ONE("I8", "[1]", "[9223372036854775806,9223372036854775807]"), 1,
     "data_offsets [9223372036854775806, 9223372036854775807], the file has 1 bytes of data"},
    {"begin after end", ONE("I8", "[1]", "[1,0]"), 1, "data_offsets [1, 0] go backwards"},
    {"past the end", ONE("I8", "[2]", "[0,2]"), 1, "the file has 1 bytes of data"},
    {"too few bytes for the shape", ONE("F32", "[2]", "[0,4]"), 4,
     "expected 8 bytes for its shape and dtype"},
    {"too many bytes for the shape", ONE("F32", "[1]", "[0,8]"), 8,
     "expected 4 bytes for its shape and dtype"},
    {"hole at the start", ONE("I8", "[1]", "[1,2]"), 2,
     "tensor w: data begin at 1, expected 0 (a hole)"},
    {"hole", TWO("[0,4]", "[5,9]"), 9, "tensor w: data begin at 5, expected 4 (a hole)"},
    {"overlap", TWO("[0,4]", "[3,7]"), 7, "tensor w: data begin at 3, expected 4 (an overlap)"},
    {"the same bytes", TWO("[0,4]", "[0,4]"), 4, "(an overlap)"},
    {"trailing bytes", TWO("[0,4]", "[4,8]"), 9, "end at byte 8 of the data, the file has 9"},
    {"only trailing bytes", "{}", 1, "end at byte 0 of the data, the file has 1"},
    {"metadata not an object", "{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
    {"metadata not text", "{\"__metadata__\":{\"a\":1}}", 0,
     "__metadata__: the value of a is not a string"},
};

START_TEST(bad_header_is_refused_by_name) {
    struct byte_buffer file = {0};
    safetensors_put(&file, bad_headers[_i].header, bad_headers[_i].n_data);
    expect_refused(bad_headers[_i].name, &file, bad_headers[_i].message);
    byte_buffer_free(&file);
}
END_TEST

START_TEST(bad_header_length_is_refused) {
    static const struct {
        uint64_t n;
        const char *message;
    } cases[] = {{0, "header of 0 bytes, expected 2 to 100000000"},
                 {1, "header of 1 bytes, expected 2"},
                 {3, "header of 3 bytes, 2 are left"},
                 {1ULL << 32, "header of 4294967296 bytes, expected"},
                 {1ULL << 63, "header of 9223372036854775808 bytes, expected"},
                 {UINT64_MAX, "header of 18446744073709551615 bytes, expected"},
                 {UINT64_MAX - 7, "header of 18446744073709551608 bytes, expected"},
                 {100000000, "header of 100000000 bytes, 2 are left"},
                 {100000001, "header of 100000001 bytes, expected"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct byte_buffer file = {0};
        byte_buffer_put_u(&file, cases[i].n, 8);
        byte_buffer_put(&file, "{}", 2);
        expect_refused("header length", &file, cases[i].message);
        byte_buffer_free(&file);
    }
}
END_TEST

START_TEST(truncation_at_each_byte_is_refused) {
    struct byte_buffer file = {0};
    safetensors_put(&file, good_header, 20);
    size_t n = file.n;
    for (file.n = 0; file.n < n; file.n++) {
        expect_refused("truncated", &file, "");
    }
    byte_buffer_free(&file);
}
END_TEST

START_TEST(many_empty_tensors_read) {
    enum { N = 100000 };
    struct byte_buffer header = {0};
    for (int i = 0; i < N; i++) {
        char text[96];
        int n = snprintf(text, sizeof text,
                         "%c\"%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                         i == 0 ? '{' : ',', i);
        byte_buffer_put(&header, text, (size_t)n);
    }
    byte_buffer_put(&header, "}", 2);
    struct byte_buffer file = {0};
    struct hw_tensor_table table = {0};
    unsigned char *copy = NULL;
    safetensors_put(&file, (const char *)header.bytes, 0);
    ck_assert_int_eq(read_copy(&file, &copy, &table, NULL), HW_OK);
    ck_assert_uint_eq(table.n, N);
    ck_assert_ptr_nonnull(hw_tensor_table_find(&table, "99999"));
    hw_tensor_table_free(&table);
    free(copy);
    byte_buffer_free(&file);
    byte_buffer_free(&header);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("safetensors");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, good_file_reads_as_written);
    tcase_add_test(tcase, file_without_tensors_reads);
    tcase_add_loop_test(tcase, bad_header_is_refused_by_name, 0,
                        sizeof bad_headers / sizeof bad_headers[0]);
    tcase_add_test(tcase, bad_header_length_is_refused);
    tcase_add_test(tcase, truncation_at_each_byte_is_refused);
    tcase_add_test(tcase, many_empty_tensors_read);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
