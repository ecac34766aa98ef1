// Parsing from option tables; see options.h.
//
// Every value goes through one checked parser of its kind, and the same parser reads the defaults,
// so that help text and behaviour cannot differ.
#include "tools/options.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

enum { SIZE_DECIMALS = 6 };

bool hw_parse_counts(const char *text, uint64_t least, uint64_t most, size_t max_n, size_t *ret,
                     size_t *ret_n) {
    size_t n = 0;
    for (;;) {
        char word[24];
        size_t length = strcspn(text, ",");
        uint64_t value;
        if (n == max_n || length >= sizeof word) {
            return false;
        }
        memcpy(word, text, length);
        word[length] = '\0';
        if (!hw_parse_count(word, &value) || value < least || value > most) {
            return false;
        }
        ret[n++] = (size_t)value;
        if (text[length] == '\0') {
            break;
        }
        text += length + 1;
    }
    *ret_n = n;
    return true;
}

// Bytes of a unit that follows the number, 0 for an unknown one.
static uint64_t unit_bytes(const char *unit) {
    static const char letters[] = "KMGT";
    if (*unit == '\0' || strcmp(unit, "B") == 0) {
        return 1;
    }
    const char *letter = strchr(letters, toupper((unsigned char)unit[0]));
    if (letter == NULL || *letter == '\0') {
        return 0;
    }
    const char *rest = unit + 1;
    bool is_thousand = strcmp(rest, "B") == 0;
    if (!is_thousand && *rest != '\0' && strcmp(rest, "iB") != 0) {
        return 0;
    }
    uint64_t bytes = 1;
    for (const char *power = letters; power <= letter; power++) {
        bytes *= is_thousand ? 1000 : 1024;
    }
    return bytes;
}

bool hw_parse_size(const char *text, uint64_t *ret) {
    uint64_t whole = 0;
    uint64_t decimals = 0;
    uint64_t scale = 1;
    const char *at = text;
    for (; isdigit((unsigned char)*at); at++) {
        if (__builtin_mul_overflow(whole, (uint64_t)10, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(*at - '0'), &whole)) {
            return false;
        }
    }
    if (at == text) {
        return false;
    }
    if (*at == '.') {
        int n_decimals = 0;
        for (at++; isdigit((unsigned char)*at); at++, n_decimals++) {
            if (n_decimals == SIZE_DECIMALS) {
                return false;
            }
            decimals = decimals * 10 + (uint64_t)(*at - '0');
            scale *= 10;
        }
        if (n_decimals == 0) {
            return false;
        }
    }
    uint64_t unit = unit_bytes(at);
    uint64_t bytes;
    // At most 10^6 x 2^40, which fits.
    if (unit == 0 || __builtin_mul_overflow(whole, unit, &bytes) ||
        __builtin_add_overflow(bytes, decimals * unit / scale, &bytes)) {
        return false;
    }
    *ret = bytes;
    return true;
}

char *hw_unescape(const char *text) {
    char *out = strdup(text), *to = out;
    for (const char *from = text; out != NULL && *from != '\0'; from++) {
        bool is_escape = from[0] == '\\' && (from[1] == 'n' || from[1] == 't' || from[1] == '\\');
        from += is_escape;
        *to++ = !is_escape ? *from : *from == 'n' ? '\n' : *from == 't' ? '\t' : '\\';
    }
    if (out != NULL) {
        *to = '\0';
    }
    return out;
}

const char *hw_format_bytes(char *text, size_t text_bytes, uint64_t n_bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)n_bytes;
    size_t unit = 0;
    // The step comes before rounding would show "1000.0".
    while (value >= (unit == 0 ? 1000 : 999.95) && unit + 1 < HW_LENGTH(units)) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(text, text_bytes, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

const char *hw_choice_word(const char *words, int index, size_t *ret_length) {
    const char *word = words;
    for (; index > 0; index--) {
        word = strchr(word, '|');
        if (word == NULL) {
            return NULL;
        }
        word++;
    }
    *ret_length = strcspn(word, "|");
    return word;
}

static bool parse_choice(const char *words, const char *text, int *ret) {
    size_t n = 0;
    const char *word;
    for (int i = 0; (word = hw_choice_word(words, i, &n)) != NULL; i++) {
        if (strlen(text) == n && memcmp(word, text, n) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static enum hw_status append_string(struct hw_strings *list, const char *text,
                                    struct hw_error *err) {
    size_t n_bytes;
    const char **items = NULL;
    if (hw_size_mul(list->n + 1, sizeof *items, &n_bytes)) {
        items = realloc(list->items, n_bytes);
    }
    if (items == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the command line");
    }
    items[list->n] = text;
    list->items = items;
    list->n++;
    return HW_OK;
}

static enum hw_status fail_value(const struct hw_option *option, const char *text,
                                 const char *expected, struct hw_error *err) {
    char shown[120];
    return hw_fail(err, HW_USAGE, "option --%s: wrong value (expected %s, found '%s')",
                   option->name, expected, hw_escape(shown, sizeof shown, text, strlen(text)));
}

static enum hw_status fail_range(const struct hw_option *option, const char *text, const char *what,
                                 struct hw_error *err) {
    char expected[120];
    (void)snprintf(expected, sizeof expected, "%s from %.10g to %.10g", what, option->least,
                   option->most);
    return fail_value(option, text, expected, err);
}

// Reads one value into the field.
static enum hw_status set_value(const struct hw_option *option, void *values, const char *text,
                                struct hw_error *err) {
    void *field = (unsigned char *)values + option->offset;
    switch (option->kind) {
    case HW_KIND_GROUP:
        return hw_fail(err, HW_INTERNAL, "'%s' is a heading", option->name);
    case HW_KIND_FLAG:
        *(bool *)field = true;
        return HW_OK;
    case HW_KIND_STRING:
        *(const char **)field = text;
        return HW_OK;
    case HW_KIND_LIST:
        return append_string(field, text, err);
    case HW_KIND_COUNT: {
        uint64_t value;
        if (!hw_parse_count(text, &value) || (double)value < option->least ||
            (double)value > option->most) {
            return fail_range(option, text, "a whole number", err);
        }
        *(uint64_t *)field = value;
        return HW_OK;
    }
    case HW_KIND_SIZE:
        if (!hw_parse_size(text, field)) {
            return fail_value(option, text, "a size such as 400M or 1.6G", err);
        }
        return HW_OK;
    case HW_KIND_REAL: {
        double value;
        if (!hw_parse_real(text, &value) || value < option->least || value > option->most) {
            return fail_range(option, text, "a number", err);
        }
        *(double *)field = value;
        return HW_OK;
    }
    case HW_KIND_CHOICE:
        if (!parse_choice(option->argument, text, field)) {
            char expected[200];
            (void)snprintf(expected, sizeof expected, "one of %s", option->argument);
            return fail_value(option, text, expected, err);
        }
        return HW_OK;
    }
    return hw_fail(err, HW_INTERNAL, "option --%s has an unknown kind", option->name);
}

enum hw_status hw_options_default(const struct hw_option_set *set, struct hw_error *err) {
    for (size_t i = 0; i < set->n_options; i++) {
        const struct hw_option *option = &set->options[i];
        if (option->default_text != NULL &&
            set_value(option, set->values, option->default_text, err) != HW_OK) {
            return hw_fail(err, HW_INTERNAL, "option --%s: its default '%s' cannot be parsed",
                           option->name, option->default_text);
        }
    }
    return HW_OK;
}

// The row that `name` (name_length bytes) stands for, or NULL.
static const struct hw_option *find_option(const struct hw_option_set *sets, size_t n_sets,
                                           const char *name, size_t name_length,
                                           const struct hw_option_set **ret_set) {
    for (size_t s = 0; s < n_sets; s++) {
        for (size_t i = 0; i < sets[s].n_options; i++) {
            const struct hw_option *option = &sets[s].options[i];
            if (option->kind != HW_KIND_GROUP && strlen(option->name) == name_length &&
                memcmp(option->name, name, name_length) == 0) {
                *ret_set = &sets[s];
                return option;
            }
        }
    }
    return NULL;
}

static enum hw_status fail_unknown(const struct hw_option_set *sets, size_t n_sets,
                                   const char *name, size_t name_length, struct hw_error *err) {
    const char *names[256] = {"help", "version"};
    size_t n_names = 2;
    for (size_t s = 0; s < n_sets; s++) {
        for (size_t i = 0; i < sets[s].n_options && n_names < HW_LENGTH(names); i++) {
            if (sets[s].options[i].kind != HW_KIND_GROUP) {
                names[n_names++] = sets[s].options[i].name;
            }
        }
    }
    char shown[100];
    (void)hw_escape(shown, sizeof shown, name, name_length);
    const char *nearest = hw_nearest(shown, names, n_names);
    if (nearest != NULL) {
        return hw_fail(err, HW_USAGE, "unknown option --%s (did you mean --%s?)", shown, nearest);
    }
    return hw_fail(err, HW_USAGE, "unknown option --%s (see --help)", shown);
}

// One `--name[=value]` at argv[i]; *ret_used says how many words it took.
static enum hw_status parse_one(const struct hw_option_set *sets, size_t n_sets,
                                const char *const *words, int n_words, int *ret_used,
                                struct hw_error *err) {
    const char *name = words[0] + 2;
    size_t name_length = strcspn(name, "=");
    const char *value = name[name_length] == '=' ? name + name_length + 1 : NULL;
    const struct hw_option_set *set = NULL;
    const struct hw_option *option = find_option(sets, n_sets, name, name_length, &set);
    if (option == NULL) {
        return fail_unknown(sets, n_sets, name, name_length, err);
    }
    *ret_used = 1;
    if (option->kind == HW_KIND_FLAG) {
        if (value != NULL) {
            return hw_fail(err, HW_USAGE, "option --%s takes no value (expected --%s alone)",
                           option->name, option->name);
        }
    } else if (value == NULL) {
        if (n_words < 2 || strncmp(words[1], "--", 2) == 0) {
            char shown[100];
            const char *found = n_words < 2
                                    ? "the end of the command line"
                                    : hw_escape(shown, sizeof shown, words[1], strlen(words[1]));
            return hw_fail(err, HW_USAGE, "option --%s needs a value (expected --%s %s, found %s)",
                           option->name, option->name, option->argument, found);
        }
        value = words[1];
        *ret_used = 2;
    }
    enum hw_status status = set_value(option, set->values, value, err);
    if (status == HW_OK && set->given != NULL) {
        set->given[option - set->options] = true;
    }
    return status;
}

enum hw_status hw_options_parse(const struct hw_option_set *sets, size_t n_sets, int argc,
                                const char *const *argv, const char **arguments,
                                size_t *ret_n_arguments, struct hw_error *err) {
    size_t n_arguments = 0;
    bool is_ended = false;
    for (int i = 1; i < argc;) {
        const char *word = argv[i];
        if (is_ended || word[0] != '-' || word[1] == '\0') {
            arguments[n_arguments++] = word; // `-` alone is standard input
            i++;
        } else if (strcmp(word, "--") == 0) {
            is_ended = true;
            i++;
        } else if (word[1] != '-') {
            char shown[100];
            (void)hw_escape(shown, sizeof shown, word, strlen(word));
            return hw_fail(err, HW_USAGE, "unknown option %s (options have two dashes; see --help)",
                           shown);
        } else {
            int n_used = 1;
            enum hw_status status = parse_one(sets, n_sets, argv + i, argc - i, &n_used, err);
            if (status != HW_OK) {
                return status;
            }
            i += n_used;
        }
    }
    *ret_n_arguments = n_arguments;
    return HW_OK;
}

void hw_options_free(const struct hw_option_set *set) {
    for (size_t i = 0; i < set->n_options && set->values != NULL; i++) {
        if (set->options[i].kind == HW_KIND_LIST) {
            struct hw_strings *list = (struct hw_strings *)(void *)((unsigned char *)set->values +
                                                                    set->options[i].offset);
            free(list->items);
            list->items = NULL;
            list->n = 0;
        }
    }
}

bool hw_options_contain(int argc, const char *const *argv, const char *flag) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], flag) == 0) {
            return true;
        }
    }
    return false;
}
