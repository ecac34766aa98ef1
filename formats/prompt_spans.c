// Named spans of a prompt: from a substring or a range to tokens.
//
// A span given as text becomes the tokens that share a byte with it, by the offsets of the
// tokenizer (which tile the text); so "John" inside " John" is the token " John". Occurrences are
// counted from 1 and do not overlap.
#include <stdlib.h>
#include <string.h>

#include "formats/prompts_internal.h"

// The occurrence-th place of needle, from 1; false where there are fewer.
static bool find_text(const struct prompt_build *build, const char *needle, json_int_t occurrence,
                      size_t *ret_first) {
    size_t n = strlen(needle);
    const char *from = build->bytes;
    const char *end = build->bytes + build->n_bytes;
    for (json_int_t i = 1;; i++) {
        const char *found = memmem(from, (size_t)(end - from), needle, n);
        if (found == NULL || i == occurrence) {
            *ret_first = found == NULL ? 0 : (size_t)(found - build->bytes);
            return found != NULL;
        }
        from = found + n;
    }
}

// The tokens that share a byte with bytes [first, end).
static enum hw_status tokens_of_bytes(const struct prompt_build *build, const char *name,
                                      size_t first, size_t end, struct hw_prompt_span *span,
                                      struct hw_error *err) {
    size_t n = build->tokens.n;
    size_t low = 0;
    while (low < n && build->tokens.items[low].end <= first) {
        low++;
    }
    size_t high = low;
    while (high < n && build->tokens.items[high].first < end) {
        high++;
    }
    if (low == high) {
        return hw_fail(err, HW_INPUT, "span '%s' has no token in this vocabulary", name);
    }
    span->first = (int32_t)low; // n <= HW_MAX_PROMPT_TOKENS
    span->end = (int32_t)high;
    return HW_OK;
}

static enum hw_status span_by_text(const struct prompt_build *build, const char *name,
                                   const json_t *value, struct hw_prompt_span *span,
                                   struct hw_error *err) {
    const json_t *text = value;
    json_int_t occurrence = 1;
    if (json_is_object(value)) {
        text = json_object_get(value, "text");
        const json_t *given = json_object_get(value, "occurrence");
        if (given != NULL) {
            occurrence = json_is_integer(given) ? json_integer_value(given) : 0;
        }
        if (occurrence < 1 || json_object_size(value) != 1 + (given != NULL)) {
            return hw_fail(err, HW_INPUT,
                           "span '%s' is not {\"text\": TEXT, \"occurrence\": 1 or more}", name);
        }
    }
    const char *needle = "";
    enum hw_status status = hw_prompt_check_string(text, "the text", false, &needle, err);
    if (status != HW_OK) {
        return hw_fail_context(err, status, "span '%s': ", name);
    }
    size_t first;
    if (!find_text(build, needle, occurrence, &first)) {
        char shown[80];
        return hw_fail(err, HW_INPUT, "span '%s': '%s' does not occur %lld time%s in the text",
                       name, hw_escape(shown, sizeof shown, needle, strlen(needle)),
                       (long long)occurrence, occurrence == 1 ? "" : "s");
    }
    return tokens_of_bytes(build, name, first, first + strlen(needle), span, err);
}

static enum hw_status span_by_range(const struct prompt_build *build, const char *name,
                                    const json_t *value, struct hw_prompt_span *span,
                                    struct hw_error *err) {
    const json_t *first = json_array_get(value, 0);
    const json_t *end = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(first) || !json_is_integer(end) ||
        json_integer_value(first) < 0 || json_integer_value(first) >= json_integer_value(end) ||
        (uint64_t)json_integer_value(end) > build->tokens.n) {
        char *found = json_dumps(value, JSON_COMPACT);
        char shown[80];
        (void)hw_escape(shown, sizeof shown, found != NULL ? found : "",
                        found != NULL ? strlen(found) : 0);
        free(found);
        return hw_fail(err, HW_INPUT,
                       "span '%s' is not [first, end] with 0 <= first < end <= %zu tokens (found "
                       "%s)",
                       name, build->tokens.n, shown);
    }
    span->first = (int32_t)json_integer_value(first);
    span->end = (int32_t)json_integer_value(end);
    return HW_OK;
}

static enum hw_status check_span_name(const char *name, struct hw_error *err) {
    // The spans that every capture has, and the words that a selector of positions takes.
    static const char *const reserved[] = {"all",         "first",     "last",    "special",
                                           "punctuation", "generated", "prefill", "decode"};
    if (name[0] == '\0') {
        return hw_fail(err, HW_INPUT, "a span has an empty name");
    }
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strcmp(name, reserved[i]) == 0) {
            return hw_fail(err, HW_INPUT, "a span is named '%s', which every prompt has already",
                           name);
        }
    }
    return HW_OK;
}

enum hw_status hw_prompt_take_spans(const struct prompt_build *build, struct hw_error *err) {
    json_t *spans = json_object_get(build->object, "spans");
    struct hw_prompt *prompt = build->prompt;
    if (spans == NULL || json_is_null(spans)) {
        return HW_OK;
    }
    if (!json_is_object(spans) || json_object_size(spans) > HW_MAX_PROMPT_SPANS) {
        return hw_fail(err, HW_INPUT, "spans is not an object of at most %d names",
                       HW_MAX_PROMPT_SPANS);
    }
    prompt->spans = calloc(json_object_size(spans) + 1, sizeof *prompt->spans);
    if (prompt->spans == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the prompts");
    }
    const char *name;
    json_t *value;
    json_object_foreach(spans, name, value) {
        struct hw_prompt_span *span = &prompt->spans[prompt->n_spans];
        char shown[80];
        hw_escape(shown, sizeof shown, name, strlen(name));
        enum hw_status status = check_span_name(name, err);
        if (status == HW_OK) {
            status = json_is_array(value) ? span_by_range(build, shown, value, span, err)
                                          : span_by_text(build, shown, value, span, err);
        }
        if (status == HW_OK) {
            status = hw_prompt_set_text(&span->name, name, err);
        }
        if (status != HW_OK) {
            return status;
        }
        prompt->n_spans++;
    }
    return HW_OK;
}
