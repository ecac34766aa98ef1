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

#include "formats/needle.h"
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

struct prompts_needle_options {
    const char *needles;
    const char *haystack;
    const char *lengths;
    const char *depths;
    const char *form;
    uint64_t room;
};

struct prompts_ioi_options {
    int corrupt;
    int order;
    const char *forms;
    const char *names;
    const char *places;
    const char *things;
};

struct prompts_options {
    const char *model;
    const char *out;
    bool overwrite;
    uint64_t count; // 0: not given
    uint64_t seed;
    struct prompts_repeat_options repeat;
    struct prompts_needle_options needle;
    struct prompts_ioi_options ioi;
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

#define HW_OPTIONS_PROMPTS_NEEDLE(type, field)                                                     \
    HW_OPTION_GROUP("needle: a fact in a long text, and a question"),                              \
        HW_OPTION_STRING(type, field.needles, "needles", "FILE.json", NULL,                        \
                         "List of objects with needle, question and answer, and maybe name and "   \
                         "haystack (a path beside the file); .jsonl: an object a line. Without "   \
                         "it the three of examples/needle."),                                      \
        HW_OPTION_STRING(type, field.haystack, "haystack", "PATH", NULL,                           \
                         "The text of all needles: a file, or a folder with .txt files. It is "    \
                         "repeated where it is too short."),                                       \
        HW_OPTION_STRING(type, field.lengths, "lengths", "GRID", "512:4096:5",                     \
                         "Tokens of the haystacks before they are cut to make room: "              \
                         "FIRST:LAST:N, an even grid, or numbers with commas."),                   \
        HW_OPTION_STRING(type, field.depths, "depths", "GRID", "10",                               \
                         "Where the needle goes, in per cent: N of them over 0 to 100, "           \
                         "FIRST:LAST:N, or numbers with commas. The needle moves back to the "     \
                         "end of a sentence."),                                                    \
        HW_OPTION_STRING(type, field.form, "template", "TEXT", NULL,                               \
                         "The prompt, with {context} and {question}; \\n is a new line. Without "  \
                         "it: {context}Based on the content of the book, Question: {question}, "   \
                         "a new line, Answer: (as the script has it)."),                           \
        HW_OPTION_COUNT(type, field.room, "room", "N", "200", 0, 1 << 20,                          \
                        "Haystack and needle stay N tokens below the length.")

#define HW_OPTIONS_PROMPTS_IOI(type, field)                                                        \
    HW_OPTION_GROUP("ioi: two names, and who is given something"),                                 \
        HW_OPTION_CHOICE(type, field.corrupt, "corrupt", "abc|swap|second", "abc",                 \
                         "The counterpart. abc: three other names, so that nothing repeats; "      \
                         "swap: the two names change places everywhere; second: only the "         \
                         "giver changes (the demos of TransformerLens)."),                         \
        HW_OPTION_CHOICE(                                                                          \
            type, field.order, "order", "both|abba|baba", "both",                                  \
            "Whether the giver is named second (abba) or first (baba) at the start."),             \
        HW_OPTION_STRING(type, field.forms, "forms", "LIST", NULL,                                 \
                         "Use these sentences only, by name: went, met, waited, left, talked, "    \
                         "visited, shared, back."),                                                \
        HW_OPTION_STRING(type, field.names, "names", "LIST", NULL,                                 \
                         "Names with commas between, instead of the built-in ones. What is not "   \
                         "one token with its leading blank is left out."),                         \
        HW_OPTION_STRING(type, field.places, "places", "LIST", NULL, "The same for places."),      \
        HW_OPTION_STRING(type, field.things, "things", "LIST", NULL,                               \
                         "The same for what is given.")

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

extern const struct prompts_kind hw_prompts_ioi;
extern const struct prompts_kind hw_prompts_needle;
extern const struct prompts_kind hw_prompts_repeat;

#ifdef __cplusplus
}
#endif
#endif
