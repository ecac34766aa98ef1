// Builds GGUF files without tensors, for tests of what their metadata mean.
#ifndef HW_TESTS_WRITE_GGUF_H
#define HW_TESTS_WRITE_GGUF_H

#include <stddef.h>
#include <stdint.h>

struct gguf_metadata {
    unsigned char *bytes; // header and values
    size_t n;
    size_t capacity;
    uint64_t n_values;
};

void write_gguf_string(struct gguf_metadata *file, const char *key, const char *value);
void write_gguf_u32(struct gguf_metadata *file, const char *key, uint32_t value);
void write_gguf_bool(struct gguf_metadata *file, const char *key, int value);
void write_gguf_strings(struct gguf_metadata *file, const char *key, const char *const *values,
                        size_t n);
void write_gguf_i32s(struct gguf_metadata *file, const char *key, const int32_t *values, size_t n);
// Writes the file to `path` and aborts the test where that fails.
void write_gguf_file(const struct gguf_metadata *file, const char *path);
void write_gguf_free(struct gguf_metadata *file);

#endif
