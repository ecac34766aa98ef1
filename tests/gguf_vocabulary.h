// A GGUF file that holds nothing but a tokenizer, right or wrong.
#ifndef HW_TESTS_GGUF_VOCABULARY_H
#define HW_TESTS_GGUF_VOCABULARY_H

#include "byte_buffer.h"

// What is NULL or negative is left out of the file.
struct gguf_vocabulary {
    const char *model;
    const char *pre;
    const char *const *tokens; // [n_tokens]
    size_t n_tokens;
    const int32_t *types; // [n_types]
    size_t n_types;
    const char *const *merges; // [n_merges]
    size_t n_merges;
    int64_t bos;
    int64_t eos;
    int add_bos;          // 0 or 1
    const char *set_flag; // a key that is true
};

void gguf_vocabulary_put(struct byte_buffer *file, const struct gguf_vocabulary *vocabulary);

#endif
