// The kinds of prompts that `headwater prompts` makes: one file prompts_<kind>.c each, one row in
// the table of cmd_prompts.c.
//
// A kind is made for one model: ids and lengths are counted with its tokenizer. The frame opens the
// model, checks that every option given belongs to the kind, and writes the lines that the kind
// emits: to the file of --out, which appears whole or not at all, or to stdout.
#ifndef HW_PROMPTS_KINDS_H
#define HW_PROMPTS_KINDS_H

#include <stdio.h>

#include <jansson.h>

#include "formats/tokenizer.h"
#include "tools/command.h"
#include "tracer/model.h"

#ifdef __cplusplus
extern "C" {
#endif

struct prompts_repeat_options {
    int preset;
    uint64_t n;
    uint64_t repeats;
    const char *ids;
    const char *first;
    bool is_distinct;
};

struct prompts_options {
    const char *model;
    const char *out;
    bool overwrite;
    uint64_t count; // 0: not given
    uint64_t seed;
    struct prompts_repeat_options repeat;
};

// The rows of a kind's options; what is not given keeps zero or NULL and falls back to the preset.
#define HW_OPTIONS_PROMPTS_REPEAT(type, field)                                                     \
    HW_OPTION_GROUP("repeat: random ids, repeated"),                                               \
        HW_OPTION_CHOICE(type, field.preset, "preset", "stripe|ioi-code|olsson|razor", "stripe",   \
                         "What the options below fall back to. stripe: no first token, 50 ids "    \
                         "of 1000-9999, twice, 10 prompts (the demos of TransformerLens); "        \
                         "ioi-code: 100 ids of 1000-9999, twice, 4 prompts; olsson: BOS, 25 "      \
                         "distinct ids, 4 times, 10 prompts; razor: BOS, 2500 ids of "             \
                         "10000-12500, 4 times, one prompt (RazorAttention)."),                    \
        HW_OPTION_COUNT(type, field.n, "n", "N", NULL, 1, 1 << 20, "Ids of one repetition."),      \
        HW_OPTION_COUNT(type, field.repeats, "repeats", "R", NULL, 2, 1 << 16,                     \
                        "How often they stand in the prompt."),                                    \
        HW_OPTION_STRING(type, field.ids, "ids", "LO-HI", NULL,                                    \
                         "Draw from these ids, both ends included; special tokens and ids "        \
                         "without text are never drawn."),                                         \
        HW_OPTION_STRING(type, field.first, "first", "none|bos|ID", NULL,                          \
                         "What stands in front: nothing, the model's BOS or an id. It is not "     \
                         "repeated."),                                                             \
        HW_OPTION_FLAG(type, field.is_distinct, "distinct",                                        \
                       "No id twice in one repetition; otherwise ids are drawn with "              \
                       "replacement.")

struct prompts_job {
    const struct hw_invocation *in;
    const struct prompts_options *options;
    const struct hw_model *model;
    const struct hw_tokenizer *tokenizer;
    size_t n_vocab; // ids below it exist in the model and in the tokenizer
    FILE *file;     // where emitted lines go
    size_t n_lines;
    size_t min_tokens; // of the lines that say how many tokens they have
    size_t max_tokens;
};

struct prompts_kind {
    const char *name;
    const char *const *options; // names it honours beside --model, --out, --overwrite; NULL at the
                                // end
    enum hw_status (*make)(struct prompts_job *job, struct hw_error *err);
};

// Writes one prompt, an object as docs/prompts.md describes it, as one line; takes it over (NULL:
// HW_RESOURCE). n_tokens: its length with the model's tokenizer, for the summary.
enum hw_status hw_prompts_emit(struct prompts_job *job, json_t *object, size_t n_tokens,
                               struct hw_error *err);

extern const struct prompts_kind hw_prompts_repeat;

#ifdef __cplusplus
}
#endif
#endif
