// Numbers and words of what users type; see words.h.
#include "formats/words.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

enum { MAX_REAL_TEXT = 64, MAX_NEAREST_TEXT = 40 };

bool hw_parse_count(const char *text, uint64_t *ret) {
    uint64_t value = 0;
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value)) {
            return false;
        }
    }
    *ret = value;
    return true;
}

bool hw_parse_real(const char *text, double *ret) {
    size_t n = strlen(text);
    bool has_digit = false;
    if (n == 0 || n > MAX_REAL_TEXT) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        has_digit |= isdigit((unsigned char)text[i]) != 0;
        if (strchr("0123456789.eE+-", text[i]) == NULL) {
            return false; // no hexadecimal, inf, nan or blanks
        }
    }
    char *end = NULL;
    double value = strtod(text, &end); // in the C locale, which the program never leaves
    if (!has_digit || *end != '\0' || !isfinite(value)) {
        return false;
    }
    *ret = value;
    return true;
}

// Edit distance of two short texts, exchanged neighbours counting one (optimal string alignment),
// with three rows of the table.
static size_t edit_distance(const char *a, const char *b) {
    size_t rows[3][MAX_NEAREST_TEXT + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) {
        rows[0][j] = j;
    }
    size_t i = 1;
    for (; a[i - 1] != '\0'; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = hw_size_min(replaced, hw_size_min(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = hw_size_min(row[j], rows[(i - 2) % 3][j - 2] + 1);
            }
        }
    }
    return rows[(i - 1) % 3][n];
}

const char *hw_nearest(const char *text, const char *const *candidates, size_t n_candidates) {
    size_t length = strlen(text);
    if (length == 0 || length > MAX_NEAREST_TEXT) {
        return NULL;
    }
    const char *nearest = NULL;
    size_t least = hw_size_max(1, length / 3) + 1;
    for (size_t i = 0; i < n_candidates; i++) {
        if (strlen(candidates[i]) <= MAX_NEAREST_TEXT) {
            size_t distance = edit_distance(text, candidates[i]);
            if (distance < least) {
                least = distance;
                nearest = candidates[i];
            }
        }
    }
    return nearest;
}
