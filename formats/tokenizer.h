// Text to token ids and back, byte-exact, from GGUF metadata or from tokenizer.json.
//
// Kinds: byte-level BPE with the GPT-2, NeoX, Llama-3, Qwen2 and SmolLM patterns. What a file asks
// for and this does not know is refused by name.
#ifndef HW_TOKENIZER_H
#define HW_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/checkpoint.h"
#include "kernels/status.h"

struct hw_tokenizer;

// One token of an encoded text. first and end are byte offsets into the text given (end exclusive);
// a BOS that was added has 0, 0.
struct hw_token {
    uint32_t id;
    uint32_t first;
    uint32_t end;
};

struct hw_tokens {
    struct hw_token *items;
    size_t n;
    size_t capacity;
};

enum hw_add_bos { HW_BOS_AUTO, HW_BOS_YES, HW_BOS_NO };

// The tokenizer that belongs to a checkpoint. HW_INPUT names the file and what is not known or
// wrong.
enum hw_status hw_tokenizer_open(const struct hw_checkpoint *checkpoint,
                                 struct hw_tokenizer **ret_tokenizer, struct hw_error *err);
enum hw_status hw_tokenizer_open_json(const char *tokenizer_path,
                                      const char *config_path /* or NULL */,
                                      struct hw_tokenizer **ret_tokenizer, struct hw_error *err);
enum hw_status hw_tokenizer_open_gguf(const struct hw_gguf *gguf,
                                      struct hw_tokenizer **ret_tokenizer, struct hw_error *err);
void hw_tokenizer_close(struct hw_tokenizer **tokenizer);

// Appends the tokens of n_bytes of text. Special tokens written in the text are recognised. AUTO
// adds BOS where the model's tokenizer does so and the text does not begin with it already. Invalid
// UTF-8 is HW_INPUT with the byte offset.
enum hw_status hw_tokenizer_encode(const struct hw_tokenizer *tokenizer, const char *text,
                                   size_t n_bytes, enum hw_add_bos add_bos,
                                   struct hw_tokens *tokens, struct hw_error *err);
void hw_tokens_free(struct hw_tokens *tokens);

// The bytes of n ids, specials as their text; the caller frees *ret_bytes (NUL after the n bytes).
// HW_INPUT names an id out of range.
enum hw_status hw_tokenizer_decode(const struct hw_tokenizer *tokenizer, const uint32_t *ids,
                                   size_t n, char **ret_bytes, size_t *ret_n_bytes,
                                   struct hw_error *err);

size_t hw_tokenizer_n_vocab(const struct hw_tokenizer *tokenizer); // largest id + 1
const char *hw_tokenizer_text(const struct hw_tokenizer *tokenizer,
                              uint32_t id); // printable alphabet, valid UTF-8; "" for a gap
const char *hw_tokenizer_bytes(const struct hw_tokenizer *tokenizer, uint32_t id, size_t *ret_n);
bool hw_tokenizer_is_special(const struct hw_tokenizer *tokenizer,
                             uint32_t id); // control or added special token
bool hw_tokenizer_is_punctuation(
    const struct hw_tokenizer *tokenizer,
    uint32_t id); // its text without blanks is punctuation or symbols only
bool hw_tokenizer_is_end(const struct hw_tokenizer *tokenizer,
                         uint32_t id); // end of text / end of turn: generation stops
int64_t hw_tokenizer_bos(const struct hw_tokenizer *tokenizer); // -1: none
bool hw_tokenizer_adds_bos(const struct hw_tokenizer *tokenizer);
const char *hw_tokenizer_kind(const struct hw_tokenizer *tokenizer); // "bpe"
const char *hw_tokenizer_pre(
    const struct hw_tokenizer *tokenizer); // "gpt-2", "smollm", "llama-bpe", "qwen2", ...
void hw_tokenizer_sha256(
    const struct hw_tokenizer *tokenizer,
    char ret_hex[65]); // of ids, bytes and kinds of the whole vocabulary and merges

#endif
