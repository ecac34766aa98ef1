// Private parts of reading prompts, shared by prompts.c (files and lists) and prompt_object.c (one
// prompt).
#ifndef HW_PROMPTS_INTERNAL_H
#define HW_PROMPTS_INTERNAL_H

#include <jansson.h>

#include "formats/prompts.h"

enum {
    HW_MAX_PROMPT_SPANS = 1024,     // of one prompt
    HW_MAX_PROMPTS = 1 << 28,       // their structs alone are 40 GB
    HW_MAX_PROMPT_TOKENS = 1 << 28, // positions are 32 bits wide in the capture
};
#define HW_MAX_PROMPT_FILE_BYTES ((size_t)1 << 32)

struct prompt_reader {
    const struct hw_tokenizer *tokenizer;
    const struct hw_prompt_options *options;
    struct hw_prompts prompts;
    size_t capacity;
};

// A prompt being built: bytes and tokens with offsets into them.
struct prompt_build {
    const struct prompt_reader *reader;
    const json_t *object;
    struct hw_prompt *prompt;
    const char *bytes; // the text, or the bytes of the tokens given; not always UTF-8
    size_t n_bytes;
    char *owned; // what bytes points to, where it is ours
    struct hw_tokens tokens;
};

// Replaces *ret by a copy.
enum hw_status hw_prompt_set_text(char **ret, const char *text, struct hw_error *err);
// A string without NUL; where is_empty_allowed is false, not "" either.
enum hw_status hw_prompt_check_string(const json_t *value, const char *what, bool is_empty_allowed,
                                      const char **ret, struct hw_error *err);
// Reads "spans" into prompt->spans (prompt_spans.c). What is half done is freed with the prompt.
enum hw_status hw_prompt_take_spans(const struct prompt_build *build, struct hw_error *err);

// Where a prompt comes from, for messages: "file:line: ", or "".
struct prompt_place {
    const char *path;
    size_t line; // from 1
};

// Adds one prompt made of a JSON value; `json` is its compact text. What is wrong with it makes a
// failed prompt; only HW_RESOURCE is returned.
enum hw_status hw_prompt_add(struct prompt_reader *reader, const json_t *object, const char *json,
                             struct prompt_place place, struct hw_error *err);
// Adds a prompt that failed before it was parsed.
enum hw_status hw_prompt_add_failed(struct prompt_reader *reader, const char *json,
                                    struct prompt_place place, const struct hw_error *reason,
                                    struct hw_error *err);
void hw_prompt_free(struct hw_prompt *prompt);

#endif
