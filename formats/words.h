// Numbers and words of what users type, for options, edits and lists alike.
#ifndef HW_WORDS_H
#define HW_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Numbers from users and files: the whole text, no sign, no blanks, range checked.
bool hw_parse_count(const char *text, uint64_t *ret);
bool hw_parse_real(const char *text, double *ret); // finite, decimal point whatever the locale

// The candidate nearest to text (edit distance at most a third of its length, at least 1), or NULL:
// for "did you mean".
const char *hw_nearest(const char *text, const char *const *candidates, size_t n_candidates);

#ifdef __cplusplus
}
#endif
#endif
