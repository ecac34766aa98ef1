// The tokenizer vectors of tests/golden/tokenizer, and how an encoding is compared with them.
#ifndef HW_TESTS_TOKENIZER_VECTORS_H
#define HW_TESTS_TOKENIZER_VECTORS_H

#include <jansson.h>

#include "formats/tokenizer.h"

// A JSON document of the folder (NUL allowed in strings); fails the test where it cannot be read.
json_t *vectors_load(const char *name);

// The path of a file in the folder, valid until the next call.
const char *vectors_path(const char *name);

// Text i of strings.json, expanded; the caller frees it.
char *vectors_text(const json_t *strings, size_t i, size_t *ret_n);

// `at` moved to the border of a character, up or down: HF tokenizers counts in characters.
size_t vectors_widen(const char *text, size_t n, size_t at, bool up);

// "" where the tokenizer gives what the vector says, else what differs (valid until the next call).
// `with_offsets` compares the offsets as well.
const char *vectors_compare(const struct hw_tokenizer *tokenizer, const char *text, size_t n,
                            const json_t *vector, bool with_offsets);

// Compares all texts, prints the first few that differ, and returns how many do.
int vectors_run(const struct hw_tokenizer *tokenizer, const char *name);

#endif
