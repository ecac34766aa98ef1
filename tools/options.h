// Option tables: one table per command gives the parsing, the help text, the man page and the
// completion.
//
// An option is a row: its name, the kind of its value, and the field of the command's own struct
// that it fills. A command file:
//
//     // headwater count: how many words the files have.
//     #include "tools/command.h"
//
//     struct count_options {
//         uint64_t least;
//         struct hw_strings words;
//         bool is_sorted;
//         int order;
//     };
//
//     enum { ORDER_NAME, ORDER_SIZE };
//
//     static const struct hw_option options[] = {
//         HW_OPTION_GROUP("Choosing"),
//         HW_OPTION_COUNT(struct count_options, least, "least", "N", "1", 1, 1000, "Fewest letters
//         of a word."), HW_OPTION_LIST(struct count_options, words, "word", "WORD", "A word to
//         count; may be repeated."), HW_OPTION_FLAG(struct count_options, is_sorted, "sorted",
//         "Sort the words."), HW_OPTION_CHOICE(struct count_options, order, "order", "name|size",
//         "name", "What to sort by."),
//     };
//
//     static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
//         const struct count_options *opt = in->options;
//         ... in->arguments[0 .. in->n_arguments), in->common.json, hw_invocation_has(in, "least")
//         ... return HW_OK; // or hw_fail(err, HW_INPUT, "%s: what is wrong (expected ..., found
//         ...)", file, ...)
//     }
//
//     const struct hw_command hw_command_count = {
//         .name = "count",
//         .summary = "count words",
//         .arguments = "FILE...",
//         .min_arguments = 1,
//         .max_arguments = HW_ANY_NUMBER,
//         .description = "One paragraph.\n\nAnother.",
//         .examples = "headwater count --least 3 a.txt\n",
//         .common = HW_COMMON_JSON | HW_COMMON_QUIET,
//         .options = options,
//         .n_options = HW_LENGTH(options),
//         .options_bytes = sizeof(struct count_options),
//         .run = run,
//     };
//
// and the name `count` in the list of tools/meson.build. Nothing else: main() parses, calls run,
// prints err->message as one line on stderr and turns the status into the exit code. stdout is for
// results only; its errors are found by main.
#ifndef HW_OPTIONS_H
#define HW_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/words.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum hw_option_kind {
    HW_KIND_GROUP,  // a heading in the help text
    HW_KIND_FLAG,   // bool
    HW_KIND_STRING, // const char *, NULL where not given and without default
    HW_KIND_LIST,   // struct hw_strings: may be given many times
    HW_KIND_COUNT,  // uint64_t within least .. most
    HW_KIND_SIZE,   // uint64_t bytes: 400M, 1.6G
    HW_KIND_REAL,   // double within least .. most
    HW_KIND_CHOICE, // int: index of the word in `argument`, "auto|bar|json|none"
};

struct hw_strings {
    const char **items; // point into argv
    size_t n;
};

struct hw_option {
    enum hw_option_kind kind;
    const char *name;         // without the dashes; of a group: its title
    const char *argument;     // placeholder, or the words of a choice; NULL for flags
    const char *default_text; // parsed as if it were given; NULL: zero, NULL, empty
    const char *help;         // sentences; wrapped for printing; NULL: not shown to users
    size_t offset;            // of the field in the command's struct
    double least;
    double most;
};

#define HW_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

// offsetof, and a warning where the field does not have the type that the kind needs.
#define HW_FIELD(type, field, wanted)                                                              \
    (offsetof(type, field) + 0 * sizeof(&((type *)0)->field == (wanted *)0))

#define HW_OPTION_GROUP(title)                                                                     \
    { HW_KIND_GROUP, title, NULL, NULL, NULL, 0, 0, 0 }
#define HW_OPTION_FLAG(type, field, name, help)                                                    \
    { HW_KIND_FLAG, name, NULL, NULL, help, HW_FIELD(type, field, bool), 0, 0 }
#define HW_OPTION_STRING(type, field, name, argument, fallback, help)                              \
    { HW_KIND_STRING, name, argument, fallback, help, HW_FIELD(type, field, const char *), 0, 0 }
#define HW_OPTION_LIST(type, field, name, argument, help)                                          \
    { HW_KIND_LIST, name, argument, NULL, help, HW_FIELD(type, field, struct hw_strings), 0, 0 }
#define HW_OPTION_COUNT(type, field, name, argument, fallback, least, most, help)                  \
    { HW_KIND_COUNT, name, argument, fallback, help, HW_FIELD(type, field, uint64_t), least, most }
#define HW_OPTION_SIZE(type, field, name, argument, fallback, help)                                \
    { HW_KIND_SIZE, name, argument, fallback, help, HW_FIELD(type, field, uint64_t), 0, 0 }
#define HW_OPTION_REAL(type, field, name, argument, fallback, least, most, help)                   \
    { HW_KIND_REAL, name, argument, fallback, help, HW_FIELD(type, field, double), least, most }
#define HW_OPTION_CHOICE(type, field, name, words, fallback, help)                                 \
    { HW_KIND_CHOICE, name, words, fallback, help, HW_FIELD(type, field, int), 0, 0 }

// A table and the struct that it fills.
struct hw_option_set {
    const struct hw_option *options;
    size_t n_options;
    void *values; // zeroed by the caller
    bool *given;  // [n_options], set where the option stood on the command line
};

// Fills the fields from default_text. HW_INTERNAL names a table row with a default that cannot be
// parsed.
enum hw_status hw_options_default(const struct hw_option_set *set, struct hw_error *err);

// Reads argv[1 ..): `--name value`, `--name=value`, `--` ends the options, everything else is an
// argument and stays, in order, in arguments[] (room for argc). The sets are searched in order.
// HW_USAGE with one sentence.
enum hw_status hw_options_parse(const struct hw_option_set *sets, size_t n_sets, int argc,
                                const char *const *argv, const char **arguments,
                                size_t *ret_n_arguments, struct hw_error *err);

// Frees what the lists of a set own.
void hw_options_free(const struct hw_option_set *set);

// True where `flag` ("--help") stands among the options, before any `--`.
bool hw_options_contain(int argc, const char *const *argv, const char *flag);

// Counts separated by commas, each within least .. most, at most max_n of them; false where one is
// wrong or there are none.
bool hw_parse_counts(const char *text, uint64_t least, uint64_t most, size_t max_n, size_t *ret,
                     size_t *ret_n);
// Bytes: digits with up to 6 decimals and K, M, G, T (powers of 1024, also KiB ...) or kB, MB, GB,
// TB (powers of 1000).
bool hw_parse_size(const char *text, uint64_t *ret);

// The text with \n, \t and \\ replaced by what they stand for, from malloc: options that take text
// with new lines need no quoting of the shell. NULL without memory.
char *hw_unescape(const char *text);

// Bytes for people: "95.3 MB" (powers of 1000). Returns text.
const char *hw_format_bytes(char *text, size_t text_bytes, uint64_t n_bytes);

// The word of `words` ("a|b|c") with this index, and its length; NULL beyond the last.
const char *hw_choice_word(const char *words, int index, size_t *ret_length);

#ifdef __cplusplus
}
#endif
#endif
