// Prompts: what the user wants to run, from files and options to token ids, names and spans.
//
// Three kinds of files: JSON lines (.jsonl, or "-" for stdin; an object a line), text (.txt, a
// prompt a line), and token files (ids separated by blanks, a prompt a line). Empty lines are
// skipped, a byte order mark at the start is too. What cannot be read or parsed as a whole is
// HW_INPUT before anything runs; one bad prompt is kept in its place, marked failed with the
// reason, and the others go on.
#ifndef HW_PROMPTS_H
#define HW_PROMPTS_H

#include <stddef.h>
#include <stdint.h>

#include "formats/tokenizer.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HW_PROMPT_OK = 0,
    HW_PROMPT_TRUNCATED = 1,
    HW_PROMPT_FAILED = 2
}; // as prompt_status of a capture

// Tokens [first, end) of the prompt that share a byte with the substring the user named. A part
// beyond the cut of a truncated prompt is left out: first = end = n_ids where nothing of the span
// is left.
struct hw_prompt_span {
    char *name;
    int32_t first;
    int32_t end;
};

// Strings are valid UTF-8 without NUL, never NULL, and "" where the user gave nothing.
struct hw_prompt {
    uint32_t *ids; // [n_ids], with BOS where added; NULL and 0 for a failed prompt
    size_t n_ids;
    char *name; // the user's, else the prompt's index
    char *text; // the user's, else what the tokens decode to (in the printable alphabet where that
                // is not UTF-8)
    char *json; // the user's object, compact; {"text": ...} or {"tokens": [...]} where it was not
                // JSON
    char *domain; // free grouping
    char *target; // text of the next token that is right; of several tokens the first one counts
    char *foil;   // text of the next token that is wrong
    char *counterpart; // the corrupted text
    int64_t target_id; // -1: none
    int64_t foil_id;   // -1: none
    struct hw_prompt_span *spans;
    size_t n_spans;
    uint8_t status; // HW_PROMPT_OK ...
    char *error;    // why it failed, else ""
};

struct hw_prompts {
    struct hw_prompt *items;
    size_t n;
};

// Where prompts come from; read in this order: files, texts, token files. All paths and texts are
// the caller's.
struct hw_prompt_source {
    const char *const *files; // .jsonl, .txt, "-"
    size_t n_files;
    const char *const *texts;
    size_t n_texts;
    const char *const *token_files;
    size_t n_token_files;
};

struct hw_prompt_options {
    enum hw_add_bos add_bos; // applies to texts; token lists are taken as they are
    size_t max_tokens;       // longer prompts are cut to this and marked; 0: never
    size_t hard_limit;       // what is longer after that fails (learned positions); 0: none
};

// Reads and tokenises everything. HW_INPUT names file, line and reason; no prompt at all is
// HW_INPUT too. The caller frees *ret_prompts with hw_prompts_free, which takes an empty one as
// well.
enum hw_status hw_prompts_read(const struct hw_prompt_source *source,
                               const struct hw_tokenizer *tokenizer,
                               const struct hw_prompt_options *options,
                               struct hw_prompts *ret_prompts, struct hw_error *err);
void hw_prompts_free(struct hw_prompts *prompts);

// SHA-256 of the ids of one prompt as little-endian u4: prompt_sha256 of a capture.
void hw_prompt_sha256(const struct hw_prompt *prompt, char ret_hex[65]);
// SHA-256 of everything that was read, in order (ids, status, names, spans, targets, objects):
// prompts_sha256 of a capture.
void hw_prompts_sha256(const struct hw_prompts *prompts, char ret_hex[65]);

#ifdef __cplusplus
}
#endif
#endif
