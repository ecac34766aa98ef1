// Split patterns of tokenizer files, compiled with PCRE2.
//
// The files are written for Oniguruma. Two things differ and are translated (measured with HF
// tokenizers, tests/golden/tokenizer): \s there is 9-D, 85 and the separators, without U+180E; and
// under (?i:) a letter of ASCII there matches its own two cases and what folds to it, as here.
// Whatever is not known to mean the same in both is refused.
#include "formats/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

const char hw_pattern_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char hw_pattern_llama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char hw_pattern_qwen2[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                                " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char hw_pattern_qwen35[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

#define SPACE_SET                                                                                  \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"

// What may follow a backslash and means the same in both: escaped punctuation, and these letters.
static bool is_same_escape(char c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~') || c == 'r' || c == 'n' || c == 't' || c == 'f' || c == 'v';
}

// Copies \p{...} or \P{...} and returns its length, 0 where it is not a general category.
static size_t property_length(const char *at) {
    static const char *const known[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn",
                                        "Mc", "Me", "N",  "Nd", "Nl", "No", "P",  "Pc",
                                        "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
                                        "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Han"};
    if (at[2] != '{') {
        return 0;
    }
    const char *close = strchr(at + 3, '}');
    for (size_t i = 0; close != NULL && i < sizeof known / sizeof known[0]; i++) {
        size_t n = strlen(known[i]);
        if ((size_t)(close - (at + 3)) == n && memcmp(at + 3, known[i], n) == 0) {
            return n + 4;
        }
    }
    return 0;
}

struct translation {
    char *out;
    size_t n;
    bool in_class;
};

static void put(struct translation *to, const char *text, size_t n) {
    memcpy(to->out + to->n, text, n);
    to->n += n;
}

static enum hw_status refuse(const char *pattern, const char *at, struct hw_error *err) {
    char shown[24], whole[160];
    return hw_fail(err, HW_INPUT, "'%s' at byte %zu of the pattern '%s' is not supported",
                   hw_escape(shown, sizeof shown, at, strnlen(at, 4)), (size_t)(at - pattern),
                   hw_escape(whole, sizeof whole, pattern, strlen(pattern)));
}

// One escape; returns its length in the pattern, 0 where it is not known.
static size_t translate_escape(struct translation *to, const char *at) {
    if (at[1] == 's') {
        if (to->in_class) {
            put(to, SPACE_SET, strlen(SPACE_SET));
        } else {
            put(to, "[" SPACE_SET "]", strlen(SPACE_SET) + 2);
        }
        return 2;
    }
    if (at[1] == 'S' && !to->in_class) {
        put(to, "[^" SPACE_SET "]", strlen(SPACE_SET) + 3);
        return 2;
    }
    if (at[1] == 'p' || at[1] == 'P') {
        size_t n = property_length(at);
        put(to, at, n);
        return n;
    }
    if (is_same_escape(at[1])) {
        put(to, at, 2);
        return 2;
    }
    return 0;
}

// Groups: plain, (?:, (?i:, (?=, (?!, (?<=, (?<!. Anything else after (? is not known.
static bool is_known_group(const char *at) {
    static const char *const known[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!"};
    if (at[1] == '*') {
        return false; // a verb of PCRE2
    }
    if (at[1] != '?') {
        return true;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strncmp(at, known[i], strlen(known[i])) == 0) {
            return true;
        }
    }
    return false;
}

// `out` has room for strlen(SPACE_SET) + 4 bytes for every byte of the pattern.
static enum hw_status translate(const char *pattern, char *out, size_t *ret_n,
                                struct hw_error *err) {
    struct translation to = {.out = out};
    for (const char *at = pattern; *at != '\0';) {
        if (*at == '\\') {
            size_t n = translate_escape(&to, at);
            if (n == 0) {
                return refuse(pattern, at, err);
            }
            at += n;
            continue;
        }
        if (to.in_class) {
            // Set operations and nested sets are Oniguruma's alone.
            if (*at == '[' || (at[0] == '&' && at[1] == '&')) {
                return refuse(pattern, at, err);
            }
            to.in_class = *at != ']';
        } else if (*at == '[') {
            to.in_class = true;
            if (at[1] == ']' || (at[1] == '^' && at[2] == ']')) {
                return refuse(pattern, at, err);
            }
        } else if (*at == '(' && !is_known_group(at)) {
            return refuse(pattern, at, err);
        } else if (*at == '^' || *at == '$') {
            return refuse(pattern, at, err); // lines there, the whole text here
        } else if (*at == '{' && at[1] == ',') {
            return refuse(pattern, at, err); // {,n} is text here
        } else if (*at == '}' && (at[1] == '+' || at[1] == '?')) {
            return refuse(pattern, at, err); // possessive and lazy here, something else there
        }
        put(&to, at, 1);
        at++;
    }
    *ret_n = to.n;
    return HW_OK;
}

enum hw_status hw_pattern_compile(const char *pattern, pcre2_code **ret_code,
                                  struct hw_error *err) {
    size_t n = strlen(pattern);
    if (n == 0 || n > HW_MAX_PATTERN_BYTES || hw_utf8_check(pattern, n) != n) {
        return hw_fail(err, HW_INPUT,
                       "a split pattern of %zu bytes (expected UTF-8, 1 to %d bytes)", n,
                       HW_MAX_PATTERN_BYTES);
    }
    char *translated = malloc(n * (strlen(SPACE_SET) + 4));
    if (translated == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to compile a split pattern");
    }
    pcre2_code *code = NULL;
    size_t n_translated = 0;
    enum hw_status status = translate(pattern, translated, &n_translated, err);
    if (status != HW_OK) {
        goto out;
    }
    int number;
    PCRE2_SIZE offset;
    char shown[160];
    code = pcre2_compile((PCRE2_SPTR)translated, n_translated,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &number, &offset, NULL);
    if (code == NULL) {
        PCRE2_UCHAR message[120];
        (void)pcre2_get_error_message(number, message, sizeof message);
        status = hw_fail(err, HW_INPUT, "the split pattern '%s' does not compile: %s",
                         hw_escape(shown, sizeof shown, pattern, n), (const char *)message);
        goto out;
    }
    uint32_t matches_empty = 0;
    (void)pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty) {
        status = hw_fail(err, HW_INPUT, "the split pattern '%s' can match nothing",
                         hw_escape(shown, sizeof shown, pattern, n));
        goto out;
    }
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); // without it matching is slower, no more
    *ret_code = code;
    code = NULL;
out:
    pcre2_code_free(code);
    free(translated);
    return status;
}
