// Inside of the GGUF reader: shared by gguf.c (files), gguf_metadata.c (values) and gguf_tensors.c
// (directory).
#ifndef HW_GGUF_INTERNAL_H
#define HW_GGUF_INTERNAL_H

#include "formats/filemap.h"
#include "formats/gguf.h"
#include "formats/tensor_table.h"

enum {
    HW_GGUF_MAX_KEY_BYTES = 65535,
    HW_GGUF_MAX_NAME_BYTES = 63,
    HW_GGUF_MAX_ALIGNMENT = 1 << 20,
    HW_GGUF_MAX_FILES = 10000,
    HW_GGUF_DEFAULT_ALIGNMENT = 32,
    // The smallest record a file can hold: key length, one byte, type, one byte of value; and name
    // length, one byte, one dimension, type, offset. A count above bytes left / smallest is a lie.
    HW_GGUF_MIN_VALUE_BYTES = 8 + 1 + 4 + 1,
    HW_GGUF_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
};

struct hw_gguf_values {
    struct hw_gguf_value *items; // in the order of the file; keys are own copies
    size_t n;
    size_t capacity;
    size_t *by_key; // [n] positions in items, sorted by key
};

struct hw_gguf_file {
    struct hw_filemap *map;
    size_t header_bytes; // everything before the tensor data, padding included where it is there
};

struct hw_gguf {
    struct hw_gguf_file *files; // of a split set in order
    size_t n_files;
    struct hw_gguf_values values; // of the first file
    struct hw_tensor_table tensors;
};

// Reads n values at the reader, checks and sorts them.
enum hw_status hw_gguf_values_read(struct hw_reader *reader, uint64_t n,
                                   struct hw_gguf_values *ret_values, struct hw_error *err);
const struct hw_gguf_value *hw_gguf_values_find(const struct hw_gguf_values *values,
                                                const char *key);
void hw_gguf_values_free(struct hw_gguf_values *values);
// Bytes of a value in its file, from value->data on.
size_t hw_gguf_value_bytes(const struct hw_gguf_value *value);
// An integer of any width, signed or not, that is not negative.
bool hw_gguf_value_u64(const struct hw_gguf_value *value, uint64_t *ret);
const char *hw_gguf_type_name(enum hw_gguf_type type);

// Reads n tensor records at the reader and points the tensors into the data that follow;
// *ret_header_bytes is where they begin.
enum hw_status hw_gguf_tensors_read(struct hw_reader *reader, uint64_t n, size_t alignment,
                                    struct hw_tensor_table *table, size_t *ret_header_bytes,
                                    struct hw_error *err);

// hw_gguf_open of bytes in memory (not split): for tests and fuzzing.
enum hw_status hw_gguf_open_bytes(const char *path, const void *bytes, size_t n_bytes,
                                  struct hw_gguf **ret_gguf, struct hw_error *err);

#endif
