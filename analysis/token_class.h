// What kind of token a text is, for counts of outliers by kind (An et al. 2025, arXiv 2502.06415,
// whose fixed lists are not published in full; these are ours).
#ifndef HW_TOKEN_CLASS_H
#define HW_TOKEN_CLASS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Kinds in the order in which they are tried, the text without blanks around it: position 0;
// delimiters; function words, digits and nothing at all, whatever the case; everything else.
// Unknown: the capture does not say what the token's bytes are.
enum hw_token_class {
    HW_TOKEN_INITIAL,
    HW_TOKEN_STRONG,
    HW_TOKEN_WEAK,
    HW_TOKEN_OTHER,
    HW_TOKEN_UNKNOWN,
    HW_N_TOKEN_CLASSES
};

// "initial", "strong delimiter", "weak semantic", "other", "unknown".
const char *hw_token_class_name(enum hw_token_class token_class);

// bytes [n], the text that the token stands for; NULL: unknown.
enum hw_token_class hw_token_class_of(const char *bytes, size_t n, size_t position);

#ifdef __cplusplus
}
#endif
#endif
