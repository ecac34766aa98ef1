// GGUF version 3: magic, version, tensor count 0, value count, values. See formats/gguf.h for the
// reader.
#include "tests/write_gguf.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"

static void put(struct gguf_metadata *file, const void *data, size_t n) {
    if (file->n + n > file->capacity) {
        file->capacity = 2 * (file->n + n) + 64;
        file->bytes = realloc(file->bytes, file->capacity);
        ck_assert_ptr_nonnull(file->bytes);
    }
    if (n > 0) {
        memcpy(file->bytes + file->n, data, n);
    }
    file->n += n;
}

static void put_number(struct gguf_metadata *file, uint64_t value, size_t n) {
    unsigned char bytes[8];
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (unsigned char)(value >> 8 * i);
    }
    put(file, bytes, n);
}

static void put_text(struct gguf_metadata *file, const char *text) {
    put_number(file, strlen(text), 8);
    put(file, text, strlen(text));
}

static void put_key(struct gguf_metadata *file, const char *key, enum hw_gguf_type type) {
    if (file->n == 0) {
        put(file, "GGUF", 4);
        put_number(file, 3, 4);
        put_number(file, 0, 8);
        put_number(file, 0, 8); // the count, written last
    }
    put_text(file, key);
    put_number(file, type, 4);
    file->n_values++;
}

void write_gguf_string(struct gguf_metadata *file, const char *key, const char *value) {
    put_key(file, key, HW_GGUF_STRING);
    put_text(file, value);
}

void write_gguf_u32(struct gguf_metadata *file, const char *key, uint32_t value) {
    put_key(file, key, HW_GGUF_U32);
    put_number(file, value, 4);
}

void write_gguf_bool(struct gguf_metadata *file, const char *key, int value) {
    put_key(file, key, HW_GGUF_BOOL);
    put_number(file, (uint64_t)value, 1);
}

static void put_array(struct gguf_metadata *file, const char *key, enum hw_gguf_type type,
                      size_t n) {
    put_key(file, key, HW_GGUF_ARRAY);
    put_number(file, type, 4);
    put_number(file, n, 8);
}

void write_gguf_strings(struct gguf_metadata *file, const char *key, const char *const *values,
                        size_t n) {
    put_array(file, key, HW_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) {
        put_text(file, values[i]);
    }
}

void write_gguf_i32s(struct gguf_metadata *file, const char *key, const int32_t *values, size_t n) {
    put_array(file, key, HW_GGUF_I32, n);
    for (size_t i = 0; i < n; i++) {
        put_number(file, (uint32_t)values[i], 4);
    }
}

void write_gguf_file(const struct gguf_metadata *file, const char *path) {
    FILE *out = fopen(path, "wb");
    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < 8; i++) {
        file->bytes[16 + i] = (unsigned char)(file->n_values >> 8 * i);
    }
    static const unsigned char padding[32];
    size_t n_padding = (32 - file->n % 32) % 32;
    ck_assert_uint_eq(fwrite(file->bytes, 1, file->n, out), file->n);
    ck_assert_uint_eq(fwrite(padding, 1, n_padding, out), n_padding);
    ck_assert_int_eq(fclose(out), 0);
}

void write_gguf_free(struct gguf_metadata *file) {
    free(file->bytes);
    *file = (struct gguf_metadata){0};
}
