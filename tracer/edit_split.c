// A spec taken apart: REPLACEMENT or a preset, then key=value with colons between, each key once.
// Values hold no colon, but for the path of source=, which goes on to the next `:key=` that is one.
#include <stdlib.h>
#include <string.h>

#include "formats/words.h"
#include "tracer/edit_internal.h"

static const struct {
    const char *word;
    unsigned replacements;
    const char *goes_with;
} keys[] = {
#define EDIT_KEY_ROW(id, word, replacements, goes_with) {word, replacements, goes_with},
    EDIT_KEYS(EDIT_KEY_ROW)
#undef EDIT_KEY_ROW
};

static const char *const replacement_words[] = {
#define REPLACEMENT_WORD(id, word, point, text) word,
    HW_REPLACEMENTS(REPLACEMENT_WORD)
#undef REPLACEMENT_WORD
};

const char *edit_key_word(enum edit_key key) {
    return keys[key].word;
}

const char *edit_replacement_word(enum hw_replacement replacement) {
    return replacement_words[replacement];
}

void edit_fields_free(struct edit_fields *fields) {
    for (int key = 0; key < EDIT_N_KEYS; key++) {
        free(fields->values[key]);
        fields->values[key] = NULL;
    }
}

// The key that text[0..n) is, or EDIT_N_KEYS.
static enum edit_key find_key(const char *text, size_t n) {
    int key = 0;
    while (key < EDIT_N_KEYS &&
           (strlen(keys[key].word) != n || memcmp(keys[key].word, text, n) != 0)) {
        key++;
    }
    return (enum edit_key)key;
}

static enum hw_status fail_unknown(const char *text, size_t n, struct hw_error *err) {
    char shown[60], word[44] = "";
    const char *words[EDIT_N_KEYS];
    for (int key = 0; key < EDIT_N_KEYS; key++) {
        words[key] = keys[key].word;
    }
    if (n < sizeof word) {
        memcpy(word, text, n);
    }
    const char *nearest = hw_nearest(word, words, EDIT_N_KEYS);
    (void)hw_escape(shown, sizeof shown, text, n);
    if (nearest != NULL) {
        return hw_fail(err, HW_USAGE, "unknown key '%s' (did you mean %s=?)", shown, nearest);
    }
    return hw_fail(err, HW_USAGE,
                   "unknown key '%s' (expected a target, at, rows, or an option of the "
                   "replacement)",
                   shown);
}

// Where the value at `at` ends.
static const char *value_end(enum edit_key key, const char *at) {
    const char *end = at + strcspn(at, ":");
    while (key == EDIT_KEY_SOURCE && *end == ':') {
        size_t n = strcspn(end + 1, ":=");
        if (end[1 + n] == '=' && find_key(end + 1, n) != EDIT_N_KEYS) {
            break;
        }
        end += 1 + strcspn(end + 1, ":");
    }
    return end;
}

// key=value of text into fields; those that are there already are an error unless is_under, which
// leaves them.
static enum hw_status take_pairs(const char *text, bool is_under, struct edit_fields *fields,
                                 struct hw_error *err) {
    for (const char *at = text; *at != '\0';) {
        char shown[60];
        size_t n = strcspn(at, ":=");
        if (at[n] != '=') {
            return hw_fail(err, HW_USAGE, "'%s': expected key=value",
                           hw_escape(shown, sizeof shown, at, n));
        }
        enum edit_key key = find_key(at, n);
        if (key == EDIT_N_KEYS) {
            return fail_unknown(at, n, err);
        }
        const char *value = at + n + 1;
        const char *end = value_end(key, value);
        if (end == value) {
            return hw_fail(err, HW_USAGE, "%s= has no value", keys[key].word);
        }
        if (fields->values[key] != NULL && !is_under) {
            return hw_fail(err, HW_USAGE, "%s= is given twice", keys[key].word);
        }
        if (fields->values[key] == NULL &&
            (fields->values[key] = strndup(value, (size_t)(end - value))) == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
        }
        if (*end == ':' && end[1] == '\0') {
            return hw_fail(err, HW_USAGE, "expected key=value behind the last colon");
        }
        at = end + (*end == ':');
    }
    return HW_OK;
}

static bool find_replacement(const char *text, size_t n, enum hw_replacement *ret) {
    for (int i = 0; i < HW_N_REPLACEMENTS; i++) {
        if (strlen(replacement_words[i]) == n && memcmp(replacement_words[i], text, n) == 0) {
            *ret = (enum hw_replacement)i;
            return true;
        }
    }
    return false;
}

static const struct hw_edit_preset *find_preset(const char *text, size_t n) {
    for (const struct hw_edit_preset *p = hw_edit_presets; p->name != NULL; p++) {
        if (strlen(p->name) == n && memcmp(p->name, text, n) == 0) {
            return p;
        }
    }
    return NULL;
}

static enum hw_status fail_replacement(const char *text, size_t n, struct hw_error *err) {
    enum { MAX_WORDS = 128 };
    const char *words[MAX_WORDS];
    size_t n_words = 0;
    char shown[60], word[44] = "";
    for (int i = 0; i < HW_N_REPLACEMENTS; i++) {
        words[n_words++] = replacement_words[i];
    }
    for (const struct hw_edit_preset *p = hw_edit_presets; p->name != NULL; p++) {
        if (n_words < MAX_WORDS) {
            words[n_words++] = p->name;
        }
    }
    if (n < sizeof word) {
        memcpy(word, text, n);
    }
    const char *nearest = hw_nearest(word, words, n_words);
    (void)hw_escape(shown, sizeof shown, text, n);
    if (nearest != NULL) {
        return hw_fail(err, HW_USAGE, "'%s' is no replacement (did you mean %s?)", shown, nearest);
    }
    return hw_fail(err, HW_USAGE, "'%s' is no replacement (headwater list edits prints them)",
                   shown);
}

// The options of a preset where the user gave none: "scale:%s:at=pattern" without scale and %s.
static enum hw_status lay_over(const struct hw_edit_preset *preset, struct edit_fields *fields,
                               struct hw_error *err) {
    size_t n = strcspn(preset->expands_to, ":");
    const char *rest = strstr(preset->expands_to, "%s");
    if (rest == NULL || !find_replacement(preset->expands_to, n, &fields->replacement)) {
        return hw_fail(err, HW_INTERNAL, "the preset %s is '%s'", preset->name, preset->expands_to);
    }
    rest += strlen("%s");
    return take_pairs(rest + (*rest == ':'), true, fields, err);
}

enum hw_status edit_fields_split(const char *spec, struct edit_fields *fields,
                                 struct hw_error *err) {
    size_t n = strcspn(spec, ":");
    memset(fields, 0, sizeof *fields);
    if (strnlen(spec, HW_MAX_EDIT_TEXT + 1) > HW_MAX_EDIT_TEXT) {
        return hw_fail(err, HW_USAGE, "an edit of more than %d bytes", (int)HW_MAX_EDIT_TEXT);
    }
    const struct hw_edit_preset *preset = NULL;
    if (!find_replacement(spec, n, &fields->replacement) &&
        (preset = find_preset(spec, n)) == NULL) {
        return fail_replacement(spec, n, err);
    }
    enum hw_status status = HW_OK;
    if (spec[n] == ':' && spec[n + 1] == '\0') {
        return hw_fail(err, HW_USAGE, "expected a target behind the colon");
    }
    if (spec[n] == ':') {
        status = take_pairs(spec + n + 1, false, fields, err);
    }
    if (status == HW_OK && preset != NULL) {
        status = lay_over(preset, fields, err);
    }
    for (int key = 0; status == HW_OK && key < EDIT_N_KEYS; key++) {
        if (fields->values[key] != NULL &&
            (keys[key].replacements & (1u << fields->replacement)) == 0) {
            return hw_fail(err, HW_USAGE, "%s= goes with %s (found %s)", keys[key].word,
                           keys[key].goes_with, replacement_words[fields->replacement]);
        }
    }
    return status;
}
