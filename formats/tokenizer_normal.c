// NFC with a way back to the text given.
//
// The text is cut before every character that can neither join the one before it nor be reordered
// past it: no mark, no Hangul vowel or trailing consonant (Unicode Standard Annex 15, stable under
// concatenation). Each stretch is normalised alone and those that change are remembered, so that a
// token that touches one covers the characters it was made of. Below U+0300 nothing changes, and
// most texts stop there.
#include "formats/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static bool joins_backwards(uint32_t character) {
    if (character < 0x300) {
        return false;
    }
    if ((character >= 0x1161 && character <= 0x1175) ||
        (character >= 0x11A8 && character <= 0x11C2)) {
        return true;
    }
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)character);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
           category == UTF8PROC_CATEGORY_ME;
}

// Alone it is its own NFC: below U+0300, or without a decomposition and not waiting for a character
// before it.
static bool is_plain(uint32_t character) {
    return character < 0x300 ||
           (!joins_backwards(character) &&
            utf8proc_get_property((utf8proc_int32_t)character)->decomp_seqindex == UINT16_MAX);
}

// Where the stretch that begins at `first` ends: plain characters in a row as far as nothing joins
// the last one, or one character with all that joins it.
static size_t stretch_end(const char *text, size_t n, size_t first) {
    size_t length;
    bool all_plain = is_plain(hw_utf8_get(text + first, &length));
    size_t last = first;
    size_t end = first + length;
    while (end < n) {
        uint32_t character = hw_utf8_get(text + end, &length);
        if (joins_backwards(character)) {
            if (all_plain && last > first) {
                return last; // the last plain character begins a stretch of its own
            }
            all_plain = false;
        } else if (!all_plain || !is_plain(character)) {
            return end;
        }
        last = end;
        end += length;
    }
    return end;
}

static bool may_change(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] >= 0xCC) { // the lead byte of U+0300
            return true;
        }
    }
    return false;
}

static enum hw_status add_run(struct normal_text *normal, struct normal_run run,
                              struct hw_error *err) {
    if (normal->n_runs == normal->capacity) {
        size_t capacity =
            normal->capacity == 0 ? 16 : 2 * normal->capacity; // runs <= bytes of text
        struct normal_run *runs = realloc(normal->runs, capacity * sizeof *runs);
        if (runs == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory to normalise a text");
        }
        normal->runs = runs;
        normal->capacity = capacity;
    }
    normal->runs[normal->n_runs++] = run;
    return HW_OK;
}

// Appends the stretch text[first, end) in NFC. `room` bytes are allocated.
static enum hw_status add_stretch(struct normal_text *normal, size_t *room, const char *text,
                                  size_t first, size_t end, struct hw_error *err) {
    utf8proc_uint8_t *composed = NULL;
    size_t n_given = end - first;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text + first, (utf8proc_ssize_t)n_given, &composed,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) {
        return hw_fail(err, n == UTF8PROC_ERROR_NOMEM ? HW_RESOURCE : HW_INPUT,
                       "the text cannot be normalised at byte %zu: %s", first, utf8proc_errmsg(n));
    }
    enum hw_status status = HW_OK;
    size_t n_composed = (size_t)n;
    size_t needed = normal->n + n_composed;
    if (needed > *room) {
        size_t larger = needed + needed / 2;
        char *owned = realloc(normal->owned, larger);
        if (owned == NULL) {
            status = hw_fail(err, HW_RESOURCE, "not enough memory to normalise a text");
            goto out;
        }
        normal->owned = owned;
        *room = larger;
    }
    memcpy(normal->owned + normal->n, composed, n_composed);
    if (n_composed != n_given || memcmp(composed, text + first, n_given) != 0) {
        status = add_run(normal, (struct normal_run){normal->n, needed, first, end}, err);
    }
    normal->n = needed;
out:
    free(composed);
    return status;
}

enum hw_status hw_normal_nfc(const char *text, size_t n, struct normal_text *ret,
                             struct hw_error *err) {
    *ret = (struct normal_text){.text = text, .n = n};
    if (!may_change(text, n)) {
        return HW_OK;
    }
    struct normal_text normal = {0};
    size_t room = n + 16;
    normal.owned = malloc(room);
    if (normal.owned == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to normalise a text");
    }
    for (size_t first = 0; first < n;) {
        size_t end = stretch_end(text, n, first);
        enum hw_status status = add_stretch(&normal, &room, text, first, end, err);
        if (status != HW_OK) {
            hw_normal_free(&normal);
            return status;
        }
        first = end;
    }
    normal.text = normal.owned;
    *ret = normal;
    return HW_OK;
}

// The run that `at` lies in or the last one before it, as index + 1; 0: none.
static size_t run_at(const struct normal_text *normal, size_t at) {
    size_t low = 0;
    size_t high = normal->n_runs;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (normal->runs[middle].first <= at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void hw_normal_map(const struct normal_text *normal, size_t *first, size_t *end) {
    size_t i = run_at(normal, *first);
    if (i > 0) {
        const struct normal_run *run = &normal->runs[i - 1];
        *first = *first < run->end ? run->given_first : run->given_end + (*first - run->end);
    }
    i = *end > 0 ? run_at(normal, *end - 1) : 0;
    if (i > 0) {
        const struct normal_run *run = &normal->runs[i - 1];
        *end = *end - 1 < run->end ? run->given_end : run->given_end + (*end - run->end);
    }
}

void hw_normal_free(struct normal_text *normal) {
    free(normal->owned);
    free(normal->runs);
    *normal = (struct normal_text){0};
}
