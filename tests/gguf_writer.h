// A small GGUF writer for tests, which writes wrong files as willingly as right ones: the caller
// states every count, type and offset.
#ifndef HW_TESTS_GGUF_WRITER_H
#define HW_TESTS_GGUF_WRITER_H

#include "byte_buffer.h"
#include "formats/gguf.h"

// ggml's numbers of the types that tests write.
enum { GGUF_F32 = 0, GGUF_Q4_1 = 3, GGUF_Q8_0 = 8, GGUF_I8 = 24 };

void gguf_put_header(struct byte_buffer *file, uint32_t version, uint64_t n_tensors,
                     uint64_t n_values);
void gguf_put_string(struct byte_buffer *file, const char *text); // u64 length, bytes
void gguf_put_key(struct byte_buffer *file, const char *key, uint32_t type);
void gguf_put_value_u(struct byte_buffer *file, const char *key, enum hw_gguf_type type,
                      uint64_t value);
void gguf_put_value_f32(struct byte_buffer *file, const char *key, float value);
void gguf_put_value_string(struct byte_buffer *file, const char *key, const char *text);
void gguf_put_array(struct byte_buffer *file, const char *key, uint32_t element_type,
                    uint64_t n); // elements follow
// Dimensions as in the file: the fastest first.
void gguf_put_tensor(struct byte_buffer *file, const char *name, uint32_t n_dims,
                     const uint64_t *dims, uint32_t type, uint64_t offset);

#endif
