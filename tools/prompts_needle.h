// Needles and their haystacks, for `headwater prompts needle`: from the user's files, or those of
// examples/needle, which the program carries.
#ifndef HW_PROMPTS_NEEDLE_H
#define HW_PROMPTS_NEEDLE_H

#include <stddef.h>

#include "formats/needle.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct needle_item {
    char *name;
    struct hw_needle needle; // of texts that belong to the item
    char *haystack;          // its text
};

struct needle_set {
    struct needle_item *items;
    size_t n;
};

// path: .json, a list of objects, or .jsonl, an object a line; NULL: the shipped ones. Keys:
// needle, question, answer (or real_needle, as in the published file), name, haystack (a path
// beside the file). haystack_path: a text file, or a folder with .txt files, which are read in the
// order of their names, for all needles; NULL: each needle's own. HW_INPUT names file, item and
// key.
enum hw_status hw_needle_set_load(const char *path, const char *haystack_path,
                                  struct needle_set *ret_set, struct hw_error *err);
void hw_needle_set_free(struct needle_set *set);

// Lengths and depths: "FIRST:LAST:N", an even grid, or numbers with commas between. "N" alone is
// that many depths over 0 .. 100 where `is_depth`, else one length. HW_USAGE.
enum hw_status hw_needle_parse_grid(const char *text, bool is_depth, size_t **ret_values,
                                    size_t *ret_n, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
