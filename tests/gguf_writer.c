// GGUF files for tests; see gguf_writer.h.
#include "gguf_writer.h"

#include <string.h>

void gguf_put_header(struct byte_buffer *file, uint32_t version, uint64_t n_tensors,
                     uint64_t n_values) {
    byte_buffer_put(file, "GGUF", 4);
    byte_buffer_put_u(file, version, 4);
    byte_buffer_put_u(file, n_tensors, 8);
    byte_buffer_put_u(file, n_values, 8);
}

void gguf_put_string(struct byte_buffer *file, const char *text) {
    byte_buffer_put_u(file, strlen(text), 8);
    byte_buffer_put(file, text, strlen(text));
}

void gguf_put_key(struct byte_buffer *file, const char *key, uint32_t type) {
    gguf_put_string(file, key);
    byte_buffer_put_u(file, type, 4);
}

void gguf_put_value_u(struct byte_buffer *file, const char *key, enum hw_gguf_type type,
                      uint64_t value) {
    static const size_t widths[] = {
        [HW_GGUF_U8] = 1,  [HW_GGUF_I8] = 1,  [HW_GGUF_U16] = 2, [HW_GGUF_I16] = 2,
        [HW_GGUF_U32] = 4, [HW_GGUF_I32] = 4, [HW_GGUF_F32] = 4, [HW_GGUF_BOOL] = 1,
        [HW_GGUF_U64] = 8, [HW_GGUF_I64] = 8, [HW_GGUF_F64] = 8};
    gguf_put_key(file, key, type);
    byte_buffer_put_u(file, value, widths[type]);
}

void gguf_put_value_f32(struct byte_buffer *file, const char *key, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    gguf_put_value_u(file, key, HW_GGUF_F32, bits);
}

void gguf_put_value_string(struct byte_buffer *file, const char *key, const char *text) {
    gguf_put_key(file, key, HW_GGUF_STRING);
    gguf_put_string(file, text);
}

void gguf_put_array(struct byte_buffer *file, const char *key, uint32_t element_type, uint64_t n) {
    gguf_put_key(file, key, HW_GGUF_ARRAY);
    byte_buffer_put_u(file, element_type, 4);
    byte_buffer_put_u(file, n, 8);
}

void gguf_put_tensor(struct byte_buffer *file, const char *name, uint32_t n_dims,
                     const uint64_t *dims, uint32_t type, uint64_t offset) {
    gguf_put_string(file, name);
    byte_buffer_put_u(file, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) {
        byte_buffer_put_u(file, dims[i], 8);
    }
    byte_buffer_put_u(file, type, 4);
    byte_buffer_put_u(file, offset, 8);
}
