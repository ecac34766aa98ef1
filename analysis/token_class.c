// Kinds of tokens; see token_class.h.
#include "analysis/token_class.h"

#include <stdbool.h>
#include <string.h>

static const char *const delimiters[] = {".",
                                         ",",
                                         ";",
                                         ":",
                                         "!",
                                         "?",
                                         "(",
                                         ")",
                                         "[",
                                         "]",
                                         "{",
                                         "}",
                                         "\"",
                                         "'",
                                         "`",
                                         "-",
                                         "/",
                                         "|",
                                         "--",
                                         "..",
                                         "...",
                                         "\\",
                                         "\xe2\x80\x93",
                                         "\xe2\x80\x94",
                                         "\xe2\x80\xa6",
                                         "\xe2\x80\x98",
                                         "\xe2\x80\x99",
                                         "\xe2\x80\x9c",
                                         "\xe2\x80\x9d",
                                         "\xe3\x80\x82",
                                         "\xe3\x80\x81",
                                         "\xef\xbc\x8c"};
static const char *const weak_words[] = {
    "",      "a",      "an",   "the",  "of",    "to",    "in",    "on",    "at",    "by",
    "for",   "from",   "with", "as",   "into",  "and",   "or",    "but",   "nor",   "if",
    "so",    "than",   "that", "this", "these", "those", "it",    "its",   "he",    "she",
    "they",  "we",     "you",  "i",    "his",   "her",   "their", "our",   "your",  "my",
    "is",    "are",    "was",  "were", "be",    "been",  "being", "am",    "do",    "does",
    "did",   "has",    "have", "had",  "will",  "would", "can",   "could", "may",   "might",
    "shall", "should", "not",  "no",   "who",   "which", "what",  "when",  "where", "there"};

const char *hw_token_class_name(enum hw_token_class token_class) {
    static const char *const names[HW_N_TOKEN_CLASSES] = {"initial", "strong delimiter",
                                                          "weak semantic", "other", "unknown"};
    return names[token_class];
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_among(const char *text, size_t n, const char *const *words, size_t n_words) {
    for (size_t i = 0; i < n_words; i++) {
        if (strlen(words[i]) == n && memcmp(words[i], text, n) == 0) {
            return true;
        }
    }
    return false;
}

enum hw_token_class hw_token_class_of(const char *bytes, size_t n, size_t position) {
    enum { LONGEST = 16 };
    char lower[LONGEST];
    bool is_number = n > 0;
    if (position == 0) {
        return HW_TOKEN_INITIAL;
    }
    if (bytes == NULL) {
        return HW_TOKEN_UNKNOWN;
    }
    for (; n > 0 && is_blank(bytes[0]); n--) {
        bytes++;
    }
    for (; n > 0 && is_blank(bytes[n - 1]); n--) {
    }
    if (is_among(bytes, n, delimiters, sizeof delimiters / sizeof *delimiters)) {
        return HW_TOKEN_STRONG;
    }
    for (size_t i = 0; i < n; i++) {
        is_number = is_number && bytes[i] >= '0' && bytes[i] <= '9';
        if (i < LONGEST) {
            lower[i] = bytes[i] >= 'A' && bytes[i] <= 'Z' ? (char)(bytes[i] - 'A' + 'a') : bytes[i];
        }
    }
    bool is_weak =
        n <= LONGEST && is_among(lower, n, weak_words, sizeof weak_words / sizeof *weak_words);
    return is_weak || (is_number && n > 0) ? HW_TOKEN_WEAK : HW_TOKEN_OTHER;
}
