// See gguf_vocabulary.h; the container is gguf_writer's.
#include "gguf_vocabulary.h"

#include "gguf_writer.h"

static void put_strings(struct byte_buffer *file, const char *key, const char *const *strings,
                        size_t n) {
    gguf_put_array(file, key, HW_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) {
        gguf_put_string(file, strings[i]);
    }
}

// Writes what is there and returns how many values that is.
static uint64_t put_values(struct byte_buffer *file, const struct gguf_vocabulary *v) {
    uint64_t n = 1;
    gguf_put_value_string(file, "general.architecture", "llama");
    if (v->model != NULL) {
        gguf_put_value_string(file, "tokenizer.ggml.model", v->model);
        n++;
    }
    if (v->pre != NULL) {
        gguf_put_value_string(file, "tokenizer.ggml.pre", v->pre);
        n++;
    }
    if (v->tokens != NULL) {
        put_strings(file, "tokenizer.ggml.tokens", v->tokens, v->n_tokens);
        n++;
    }
    if (v->types != NULL) {
        gguf_put_array(file, "tokenizer.ggml.token_type", HW_GGUF_I32, v->n_types);
        for (size_t i = 0; i < v->n_types; i++) {
            byte_buffer_put_u(file, (uint32_t)v->types[i], 4);
        }
        n++;
    }
    if (v->merges != NULL) {
        put_strings(file, "tokenizer.ggml.merges", v->merges, v->n_merges);
        n++;
    }
    if (v->bos >= 0) {
        gguf_put_value_u(file, "tokenizer.ggml.bos_token_id", HW_GGUF_U32, (uint64_t)v->bos);
        n++;
    }
    if (v->eos >= 0) {
        gguf_put_value_u(file, "tokenizer.ggml.eos_token_id", HW_GGUF_U32, (uint64_t)v->eos);
        n++;
    }
    if (v->add_bos >= 0) {
        gguf_put_value_u(file, "tokenizer.ggml.add_bos_token", HW_GGUF_BOOL, (uint64_t)v->add_bos);
        n++;
    }
    if (v->set_flag != NULL) {
        gguf_put_value_u(file, v->set_flag, HW_GGUF_BOOL, 1);
        n++;
    }
    return n;
}

void gguf_vocabulary_put(struct byte_buffer *file, const struct gguf_vocabulary *vocabulary) {
    struct byte_buffer values = {0};
    uint64_t n = put_values(&values, vocabulary);
    gguf_put_header(file, 3, 0, n);
    byte_buffer_put(file, values.bytes, values.n);
    byte_buffer_pad(file, 32);
    byte_buffer_free(&values);
}
