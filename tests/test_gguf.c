// GGUF: a good file reads as written, and every way in which one can be wrong that is known is
// refused by name.
//
// The good file is built with marks at its fields; a bad one is the good one with some fields
// overwritten, or cut.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_internal.h"
#include "gguf_writer.h"

// Where the fields of the good file are.
enum mark {
    END, // ends a list of edits; also where the file ends
    MAGIC,
    VERSION,
    N_TENSORS,
    N_VALUES,
    ARCHITECTURE_KEY,  // u64 length, bytes
    ARCHITECTURE_TYPE, // u32, then the string
    ARCHITECTURE_LENGTH,
    ALIGNMENT_TYPE, // u32, then u32
    ALIGNMENT,
    FLAG_KEY,
    FLAG_TYPE,
    FLAG,
    WORDS_KEY,
    WORDS_ELEMENT, // element type u32, count u64, then two strings
    WORDS_COUNT,
    WORDS_FIRST,
    WORDS_SECOND,
    NUMBERS_ELEMENT,
    NUMBERS_COUNT,
    FIRST_NAME, // u64 length, bytes
    FIRST_N_DIMS,
    FIRST_DIM,
    FIRST_DIM_1,
    FIRST_TYPE,
    FIRST_OFFSET,
    SECOND_NAME,
    SECOND_DIM,
    SECOND_DIM_1,
    SECOND_TYPE,
    SECOND_OFFSET,
    THIRD_NAME,
    THIRD_OFFSET,
    DATA,
    N_MARKS
};

struct good_file {
    struct byte_buffer buffer;
    size_t marks[N_MARKS];
};

static const char architecture[] = "general.architecture";
enum { ALIGNED = 32, FIRST_BYTES = 48, SECOND_BYTES = 2 * 34, THIRD_BYTES = 16 };

static void put_values(struct good_file *file) {
    struct byte_buffer *b = &file->buffer;
    size_t *marks = file->marks;
    marks[ARCHITECTURE_KEY] = b->n;
    gguf_put_value_string(b, architecture, "llama");
    marks[ARCHITECTURE_LENGTH] = b->n - 5 - 8;
    marks[ARCHITECTURE_TYPE] = marks[ARCHITECTURE_LENGTH] - 4;
    gguf_put_value_u(b, "general.alignment", HW_GGUF_U32, ALIGNED);
    marks[ALIGNMENT] = b->n - 4;
    marks[ALIGNMENT_TYPE] = b->n - 8;
    marks[FLAG_KEY] = b->n;
    gguf_put_value_u(b, "test.flag", HW_GGUF_BOOL, 1);
    marks[FLAG] = b->n - 1;
    marks[FLAG_TYPE] = b->n - 5;
    marks[WORDS_KEY] = b->n;
    gguf_put_array(b, "test.words", HW_GGUF_STRING, 2);
    marks[WORDS_COUNT] = b->n - 8;
    marks[WORDS_ELEMENT] = b->n - 12;
    marks[WORDS_FIRST] = b->n;
    gguf_put_string(b, "ab");
    marks[WORDS_SECOND] = b->n;
    gguf_put_string(b, "");
    gguf_put_array(b, "test.numbers", HW_GGUF_I16, 3);
    marks[NUMBERS_COUNT] = b->n - 8;
    marks[NUMBERS_ELEMENT] = b->n - 12;
    byte_buffer_put_u(b, 7, 2);
    byte_buffer_put_u(b, 0xFFFF, 2);
    byte_buffer_put_u(b, 9, 2);
    gguf_put_value_u(b, "test.negative", HW_GGUF_I32, 0xFFFFFFFE);
    gguf_put_value_f32(b, "test.epsilon", 0.5F);
}

static void put_tensors(struct good_file *file) {
    struct byte_buffer *b = &file->buffer;
    size_t *marks = file->marks;
    marks[FIRST_NAME] = b->n;
    gguf_put_tensor(b, "first", 2, (uint64_t[]){4, 3}, GGUF_F32, 0);
    marks[FIRST_N_DIMS] = marks[FIRST_NAME] + 8 + 5;
    marks[FIRST_DIM] = marks[FIRST_N_DIMS] + 4;
    marks[FIRST_DIM_1] = marks[FIRST_DIM] + 8;
    marks[FIRST_TYPE] = marks[FIRST_DIM_1] + 8;
    marks[FIRST_OFFSET] = marks[FIRST_TYPE] + 4;
    marks[SECOND_NAME] = b->n;
    gguf_put_tensor(b, "other", 2, (uint64_t[]){32, 2}, GGUF_Q8_0, 64);
    marks[SECOND_DIM] = marks[SECOND_NAME] + 8 + 5 + 4;
    marks[SECOND_DIM_1] = marks[SECOND_DIM] + 8;
    marks[SECOND_TYPE] = marks[SECOND_DIM_1] + 8;
    marks[SECOND_OFFSET] = marks[SECOND_TYPE] + 4;
    marks[THIRD_NAME] = b->n;
    gguf_put_tensor(b, "third", 1, (uint64_t[]){4}, GGUF_F32, 64 + 96);
    marks[THIRD_OFFSET] = b->n - 8;
    byte_buffer_pad(b, ALIGNED);
    marks[DATA] = b->n;
    for (size_t i = 0; i < 64 + 96 + THIRD_BYTES; i++) {
        byte_buffer_put_u(b, i, 1); // the last tensor's padding is left out, as some writers do
    }
    marks[END] = b->n;
}

static struct good_file good_file_new(void) {
    struct good_file file = {0};
    gguf_put_header(&file.buffer, 3, 3, 7);
    file.marks[MAGIC] = 0;
    file.marks[VERSION] = 4;
    file.marks[N_TENSORS] = 8;
    file.marks[N_VALUES] = 16;
    put_values(&file);
    put_tensors(&file);
    return file;
}

START_TEST(good_file_reads_as_written) {
    struct good_file file = good_file_new();
    struct hw_gguf *gguf = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_gguf_open_bytes("good.gguf", file.buffer.bytes, file.buffer.n, &gguf, &err) ==
                      HW_OK,
                  "%s", err.message);
    ck_assert_uint_eq(hw_gguf_n_values(gguf), 7);
    ck_assert_str_eq(hw_gguf_value(gguf, 3)->key, "test.words");
    ck_assert_ptr_null(hw_gguf_value(gguf, 7));
    ck_assert_ptr_null(hw_gguf_find(gguf, "test"));
    struct hw_bytes text;
    ck_assert_int_eq(hw_gguf_get_string(gguf, architecture, &text, &err), HW_OK);
    ck_assert_uint_eq(text.n, 5);
    ck_assert_mem_eq(text.data, "llama", 5);
    bool flag = false;
    ck_assert_int_eq(hw_gguf_get_bool(gguf, "test.flag", &flag, &err), HW_OK);
    ck_assert(flag);
    double epsilon = 0;
    ck_assert_int_eq(hw_gguf_get_f64(gguf, "test.epsilon", &epsilon, &err), HW_OK);
    ck_assert(epsilon == 0.5);
    ck_assert_int_eq(hw_gguf_get_f64(gguf, "test.negative", &epsilon, &err), HW_OK);
    ck_assert(epsilon == -2);
    uint64_t alignment = 0;
    ck_assert_int_eq(hw_gguf_get_u64(gguf, "general.alignment", &alignment, &err), HW_OK);
    ck_assert_uint_eq(alignment, ALIGNED);
    const struct hw_gguf_value *numbers = hw_gguf_find(gguf, "test.numbers");
    ck_assert_uint_eq(numbers->n, 3);
    ck_assert_int_eq(hw_gguf_integer(numbers, 1), -1);
    ck_assert(hw_gguf_number(numbers, 2) == 9);
    const struct hw_gguf_value *words = hw_gguf_find(gguf, "test.words");
    const unsigned char *cursor = words->data;
    ck_assert_uint_eq(hw_gguf_next_string(&cursor).n, 2);
    ck_assert_uint_eq(hw_gguf_next_string(&cursor).n, 0);
    ck_assert_uint_eq(hw_gguf_value_bytes(words), 8 + 2 + 8);
    hw_gguf_close(&gguf);
    byte_buffer_free(&file.buffer);
}
END_TEST

START_TEST(tensors_point_at_their_data) {
    struct good_file file = good_file_new();
    struct hw_gguf *gguf = NULL;
    ck_assert_int_eq(hw_gguf_open_bytes("good.gguf", file.buffer.bytes, file.buffer.n, &gguf, NULL),
                     HW_OK);
    ck_assert_uint_eq(hw_gguf_n_tensors(gguf), 3);
    const struct hw_tensor *first = hw_gguf_tensor(gguf, 0);
    const struct hw_tensor *second = hw_gguf_tensor(gguf, 1);
    const struct hw_tensor *third = hw_gguf_tensor(gguf, 2);
    const unsigned char *data = file.buffer.bytes + file.marks[DATA];
    ck_assert_str_eq(first->name, "first");
    ck_assert_uint_eq(first->n_dims, 2);
    ck_assert_uint_eq(first->shape[0], 3); // the slowest axis first
    ck_assert_uint_eq(first->shape[1], 4);
    ck_assert_uint_eq(first->n_bytes, FIRST_BYTES);
    ck_assert_ptr_eq(first->data, data);
    ck_assert_int_eq(second->dtype, HW_Q8_0);
    ck_assert_uint_eq(second->n_values, 64);
    ck_assert_uint_eq(second->n_bytes, SECOND_BYTES);
    ck_assert_ptr_eq(second->data, data + 64);
    ck_assert_ptr_eq(third->data, data + 160);
    ck_assert_ptr_null(hw_gguf_tensor(gguf, 3));
    hw_gguf_close(&gguf);
    byte_buffer_free(&file.buffer);
}
END_TEST

START_TEST(getters_say_what_they_wanted) {
    struct good_file file = good_file_new();
    struct hw_gguf *gguf = NULL;
    struct hw_error err;
    ck_assert_int_eq(hw_gguf_open_bytes("good.gguf", file.buffer.bytes, file.buffer.n, &gguf, &err),
                     HW_OK);
    uint64_t u = 42;
    double f = 42;
    bool b = true;
    struct hw_bytes text = {.n = 42};
    ck_assert_int_eq(hw_gguf_get_u64(gguf, "llama.block_count", &u, &err), HW_INPUT);
    ck_assert_str_eq(err.message,
                     "good.gguf: key llama.block_count is missing, expected an integer "
                     "that is not negative");
    ck_assert_int_eq(hw_gguf_get_u64(gguf, "test.negative", &u, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "found -2"));
    ck_assert_int_eq(hw_gguf_get_u64(gguf, "test.epsilon", &u, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "found type f32"));
    ck_assert_int_eq(hw_gguf_get_u64(gguf, "test.numbers", &u, &err), HW_INPUT);
    ck_assert_int_eq(hw_gguf_get_f64(gguf, architecture, &f, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "expected a number, found type string"));
    ck_assert_int_eq(hw_gguf_get_bool(gguf, "general.alignment", &b, &err), HW_INPUT);
    ck_assert_int_eq(hw_gguf_get_string(gguf, "test.flag", &text, &err), HW_INPUT);
    ck_assert_int_eq(hw_gguf_get_string(gguf, "missing", &text, NULL), HW_INPUT);
    ck_assert(u == 42 && f == 42 && b && text.n == 42);
    hw_gguf_close(&gguf);
    byte_buffer_free(&file.buffer);
}
END_TEST

// Writes `value` in `width` bytes, or the text, `shift` bytes after the mark; width CUT ends the
// file there.
enum { CUT = 0, TEXT = 100, N_EDITS = 8 };
struct edit {
    enum mark mark;
    int width;
    uint64_t value;
    const char *text;
    size_t shift;
};

#define SET_AT(mark, shift, value, width)                                                          \
    { mark, width, value, NULL, shift }
#define SET(mark, value, width) SET_AT(mark, 0, value, width)
#define PUT(mark, shift, text)                                                                     \
    { mark, TEXT, 0, text, shift }
#define CUT_AT(mark, shift)                                                                        \
    { mark, CUT, 0, NULL, shift }
static const struct bad_case {
    const char *name;
    struct edit edits[N_EDITS];
    const char *message;
} bad_cases[] = {
    {"empty", {CUT_AT(MAGIC, 0)}, "0 bytes, too short"},
    {"three bytes", {CUT_AT(MAGIC, 3)}, "3 bytes, too short"},
    {"wrong magic", {PUT(MAGIC, 0, "GGML")}, "magic \"GGML\", expected \"GGUF\""},
    {"magic of control bytes", {SET(MAGIC, 0x1B, 4)}, "magic \"\\x1b\\x00\\x00\\x00\""},
    {"no version", {CUT_AT(VERSION, 0)}, "before its version"},
    {"version 0", {SET(VERSION, 0, 4)}, "version 0, expected 2 or 3"},
    {"version 1", {SET(VERSION, 1, 4)}, "version 1, expected 2 or 3"},
    {"version 4", {SET(VERSION, 4, 4)}, "version 4, expected 2 or 3"},
    {"big-endian", {SET(VERSION, 0x03000000, 4)}, "big-endian"},
    {"2^63 tensors", {SET(N_TENSORS, 1ULL << 63, 8)}, "9223372036854775808 tensors"},
    {"2^64-1 tensors", {SET(N_TENSORS, UINT64_MAX, 8)}, "18446744073709551615 tensors"},
    {"more tensors than fit", {SET(N_TENSORS, 100, 8)}, "100 tensors"},
    {"one tensor more", {SET(N_TENSORS, 4, 8)}, "tensor name of "},
    {"2^63 values", {SET(N_VALUES, 1ULL << 63, 8)}, "9223372036854775808 metadata values"},
    {"2^64-1 values", {SET(N_VALUES, UINT64_MAX, 8)}, "18446744073709551615 metadata values"},
    {"more values than fit", {SET(N_VALUES, 100, 8)}, "100 metadata values"},
    {"key of 0 bytes", {SET(ARCHITECTURE_KEY, 0, 8)}, "key of 0 bytes, expected 1 to 65535"},
    {"key of 65536 bytes, expected 1 to 65535",
     {SET(ARCHITECTURE_KEY, 65536, 8)},
     "key of 65536 bytes, expected 1 to 65535"},
    {"key of 2^63 bytes",
     {SET(ARCHITECTURE_KEY, 1ULL << 63, 8)},
     "key of 9223372036854775808 bytes"},
    {"key past the end", {SET(ARCHITECTURE_KEY, 60000, 8)}, "key of 60000 bytes"},
    {"key not ASCII", {SET_AT(ARCHITECTURE_KEY, 8, 0xC3, 1)}, "key with byte 0xc3"},
    {"key with NUL", {SET_AT(ARCHITECTURE_KEY, 9, 0, 1)}, "key with byte 0x00"},
    {"value type 13", {SET(FLAG_TYPE, 13, 4)}, "key test.flag: value type 13, expected 0 to 12"},
    {"value type 255", {SET(FLAG_TYPE, 255, 4)}, "value type 255"},
    {"value type 2^32-1", {SET(FLAG_TYPE, UINT32_MAX, 4)}, "value type 4294967295"},
    {"bool 2", {SET(FLAG, 2, 1)}, "key test.flag: bool 2, expected 0 or 1"},
    {"string past the end", {SET(ARCHITECTURE_LENGTH, 100000, 8)}, "string of 100000 bytes"},
    {"string length that wraps",
     {SET(ARCHITECTURE_LENGTH, UINT64_MAX - 3, 8)},
     "string of 18446744073709551612 bytes"},
    {"array of arrays", {SET(WORDS_ELEMENT, HW_GGUF_ARRAY, 4)}, "an array of arrays"},
    {"array of type 13", {SET(WORDS_ELEMENT, 13, 4)}, "element type 13"},
    {"array of 2^61 strings", {SET(WORDS_COUNT, 1ULL << 61, 8)}, "2305843009213693952 strings"},
    {"array of 2^63 numbers",
     {SET(NUMBERS_COUNT, 1ULL << 63, 8)},
     "9223372036854775808 values of type i16"},
    {"array with one string more", {SET(WORDS_COUNT, 3, 8)}, "key of 12884901897 bytes"},
    {"array whose string runs over",
     {SET(WORDS_FIRST, UINT64_MAX, 8)},
     "string of 18446744073709551615"},
    {"alignment 0", {SET(ALIGNMENT, 0, 4)}, "general.alignment: 0, expected a power of two"},
    {"alignment 3", {SET(ALIGNMENT, 3, 4)}, "general.alignment: 3, expected a power of two"},
    {"alignment 2^31", {SET(ALIGNMENT, 1U << 31, 4)}, "general.alignment: 2147483648"},
    {"alignment of the wrong type",
     {SET(ALIGNMENT_TYPE, HW_GGUF_F32, 4)},
     "general.alignment: type f32, expected u32"},
    {"alignment other than the offsets",
     {SET(ALIGNMENT, 64, 4)},
     "tensor third: offset 160, expected 192"},
    {"no dimensions", {SET(FIRST_N_DIMS, 0, 4)}, "tensor first: n_dims 0, expected 1 to 4"},
    {"5 dimensions", {SET(FIRST_N_DIMS, 5, 4)}, "n_dims 5"},
    {"2^32-1 dimensions", {SET(FIRST_N_DIMS, UINT32_MAX, 4)}, "n_dims 4294967295"},
    {"dimension 0", {SET(FIRST_DIM_1, 0, 8)}, "tensor first: dimension 1 is 0"},
    {"negative dimension",
     {SET(FIRST_DIM, (uint64_t)-4, 8)},
     "dimension 0 is 18446744073709551612"},
    {"product overflows",
     {SET(FIRST_DIM, INT64_MAX, 8), SET(FIRST_DIM_1, 2, 8)},
     "tensor first: the product of its dimensions overflows"},
    {"product wraps to small",
     {SET(FIRST_DIM, 1ULL << 32, 8), SET(FIRST_DIM_1, 1ULL << 32, 8)},
     "the product of its dimensions overflows"},
    {"bytes overflow",
     {SET(FIRST_DIM, 1ULL << 61, 8), SET(FIRST_DIM_1, 3, 8)},
     "the size of 6917529027641081856 values overflows"},
    {"rows cut a block",
     {SET(SECOND_DIM, 16, 8), SET(SECOND_DIM_1, 4, 8)},
     "rows of 16 values, expected a multiple of Q8_0's block of 32"},
    {"data larger than the file",
     {SET(FIRST_DIM_1, 12, 8), SET(SECOND_OFFSET, 192, 8), SET(THIRD_OFFSET, 288, 8)},
     "tensor first: 192 bytes of data at byte"},
    {"an exabyte", {SET(FIRST_DIM_1, 1ULL << 56, 8)}, "tensor other: offset 64, expected"},
    {"type removed", {SET(FIRST_TYPE, 4, 4)}, "type 4 Q4_2 (removed from GGUF) is not supported"},
    {"type between", {SET(FIRST_TYPE, 32, 4)}, "type 32 Q4_0_4_8 (removed from GGUF)"},
    {"type MXFP4", {SET(FIRST_TYPE, 39, 4)}, "tensor first: type 39 MXFP4 is not supported"},
    {"type IQ4_XS", {SET(FIRST_TYPE, 23, 4)}, "IQ4_XS is not supported"},
    {"type TQ1_0", {SET(FIRST_TYPE, 34, 4)}, "TQ1_0 is not supported"},
    {"type unknown", {SET(FIRST_TYPE, 1000, 4)}, "type 1000 is not supported"},
    {"type 2^32-1", {SET(FIRST_TYPE, UINT32_MAX, 4)}, "type 4294967295 is not supported"},
    {"tensor twice", {PUT(SECOND_NAME, 8, "first")}, "tensor first occurs twice"},
    {"name of 0 bytes", {SET(FIRST_NAME, 0, 8)}, "tensor name of 0 bytes, expected 1 to 63"},
    {"name of 64 bytes", {SET(FIRST_NAME, 64, 8)}, "tensor name of 64 bytes, expected 1 to 63"},
    {"name of 2^64-1 bytes",
     {SET(FIRST_NAME, UINT64_MAX, 8)},
     "tensor name of 18446744073709551615"},
    {"name with NUL", {SET_AT(FIRST_NAME, 10, 0, 1)}, "tensor name fi\\x00st with a NUL"},
    {"name with escape",
     {SET_AT(FIRST_NAME, 8, 0x1B, 1), SET(FIRST_TYPE, 4, 4)},
     "tensor \\x1birst"},
    {"offset unaligned", {SET(SECOND_OFFSET, 65, 8)}, "tensor other: offset 65, expected 64"},
    {"offset past the end",
     {SET(THIRD_OFFSET, 1 << 20, 8)},
     "tensor third: offset 1048576, expected 160"},
    {"offsets overlap", {SET(SECOND_OFFSET, 32, 8)}, "tensor other: offset 32, expected 64"},
    {"offsets out of order",
     {SET(FIRST_OFFSET, 64, 8), SET(SECOND_OFFSET, 0, 8)},
     "tensor first: offset 64, expected 0"},
    {"offset 2^64-1", {SET(THIRD_OFFSET, UINT64_MAX, 8)}, "offset 18446744073709551615"},
    {"sizes wrap after padding",
     {SET(FIRST_TYPE, GGUF_I8, 4), SET(FIRST_DIM, INT64_MAX, 8), SET(FIRST_DIM_1, 1, 8),
      SET(SECOND_TYPE, GGUF_I8, 4), SET(SECOND_DIM, INT64_MAX, 8), SET(SECOND_DIM_1, 1, 8),
      SET(SECOND_OFFSET, 1ULL << 63, 8)},
     "tensor other: offset 9223372036854775808 plus 9223372036854775807 bytes overflows"},
    {"data cut by one byte", {CUT_AT(END, (size_t)-1)}, "tensor third: 16 bytes of data at byte"},
    {"no data", {CUT_AT(DATA, 0)}, "tensor first: 48 bytes of data at byte"},
    {"no data, padding cut", {CUT_AT(DATA, (size_t)-1)}, "tensor first: 48 bytes of data at byte"},
};
enum { N_BAD_CASES = sizeof bad_cases / sizeof bad_cases[0] };

static void apply(struct good_file *file, const struct edit *edits) {
    for (size_t i = 0; i < N_EDITS; i++) {
        const struct edit *edit = &edits[i];
        size_t at = file->marks[edit->mark] + edit->shift;
        if (edit->mark == END && edit->shift == 0) {
            return;
        }
        if (edit->width == CUT) {
            file->buffer.n = at;
        } else if (edit->width == TEXT) {
            memcpy(file->buffer.bytes + at, edit->text, strlen(edit->text));
        } else {
            for (int k = 0; k < edit->width; k++) {
                file->buffer.bytes[at + (size_t)k] = (unsigned char)(edit->value >> (8 * k));
            }
        }
    }
}

// Opens an exact copy and expects HW_INPUT with the fragment in the message.
static void expect_refused(const char *name, const struct byte_buffer *file, const char *message) {
    unsigned char *copy = byte_copy(file->bytes, file->n);
    struct hw_gguf *gguf = NULL;
    struct hw_error err = {0};
    enum hw_status status = hw_gguf_open_bytes("bad.gguf", copy, file->n, &gguf, &err);
    ck_assert_msg(status == HW_INPUT, "%s: status %d: %s", name, status, err.message);
    ck_assert_ptr_null(gguf);
    ck_assert_msg(strncmp(err.message, "bad.gguf: ", 10) == 0, "%s: %s", name, err.message);
    ck_assert_msg(strstr(err.message, message) != NULL, "%s: expected \"%s\" in \"%s\"", name,
                  message, err.message);
    ck_assert_int_eq(hw_gguf_open_bytes("bad.gguf", copy, file->n, &gguf, NULL), HW_INPUT);
    free(copy);
}

START_TEST(bad_file_is_refused_by_name) {
    struct good_file file = good_file_new();
    apply(&file, bad_cases[_i].edits);
    expect_refused(bad_cases[_i].name, &file.buffer, bad_cases[_i].message);
    byte_buffer_free(&file.buffer);
}
END_TEST

START_TEST(truncation_at_each_byte_is_refused) {
    struct good_file file = good_file_new();
    size_t n = file.buffer.n;
    for (size_t cut = 0; cut < n; cut++) {
        file.buffer.n = cut;
        expect_refused("truncated", &file.buffer, "");
    }
    file.buffer.n = n;
    struct hw_gguf *gguf = NULL;
    ck_assert_int_eq(hw_gguf_open_bytes("whole.gguf", file.buffer.bytes, n, &gguf, NULL), HW_OK);
    hw_gguf_close(&gguf);
    byte_buffer_free(&file.buffer);
}
END_TEST

START_TEST(key_that_occurs_twice_is_refused) {
    struct byte_buffer file = {0};
    gguf_put_header(&file, 3, 0, 3);
    gguf_put_value_u(&file, "b", HW_GGUF_U8, 1);
    gguf_put_value_u(&file, "a", HW_GGUF_U8, 1);
    gguf_put_value_u(&file, "b", HW_GGUF_U8, 1);
    expect_refused("key twice", &file, "key b occurs twice");
    byte_buffer_free(&file);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gguf");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, good_file_reads_as_written);
    tcase_add_test(tcase, tensors_point_at_their_data);
    tcase_add_test(tcase, getters_say_what_they_wanted);
    tcase_add_loop_test(tcase, bad_file_is_refused_by_name, 0, N_BAD_CASES);
    tcase_add_test(tcase, truncation_at_each_byte_is_refused);
    tcase_add_test(tcase, key_that_occurs_twice_is_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
