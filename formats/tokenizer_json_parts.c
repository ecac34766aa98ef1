// Components of tokenizer.json around the model: normalizer, pre-tokenizer, post-processor,
// decoder. What is not known is refused by name.
#include "formats/tokenizer_internal.h"

#include <string.h>

enum { MAX_SEQUENCE = 16 };

static const char *type_of(const json_t *part) {
    const char *type = json_string_value(json_object_get(part, "type"));
    return type == NULL ? "" : type;
}

static enum hw_status refuse(const char *kind, const json_t *part, const char *known,
                             struct hw_error *err) {
    char shown[80];
    const char *type = type_of(part);
    return hw_fail(err, HW_INPUT, "%s '%s' is not supported (known: %s)", kind,
                   hw_escape(shown, sizeof shown, type, strlen(type)), known);
}

// Calls `one` for a component, or for each of a Sequence of them.
static enum hw_status
each_part(struct hw_tokenizer *tokenizer, const json_t *part, const char *list,
          enum hw_status (*one)(struct hw_tokenizer *, const json_t *, struct hw_error *),
          struct hw_error *err) {
    if (part == NULL || json_is_null(part)) {
        return HW_OK;
    }
    if (strcmp(type_of(part), "Sequence") != 0) {
        return one(tokenizer, part, err);
    }
    const char *const known[] = {"type", list, NULL};
    enum hw_status status = hw_json_check_keys(part, "Sequence", known, err);
    const json_t *parts = json_object_get(part, list);
    if (status == HW_OK && (!json_is_array(parts) || json_array_size(parts) > MAX_SEQUENCE)) {
        return hw_fail(err, HW_INPUT, "Sequence.%s is not a list of at most %d", list,
                       MAX_SEQUENCE);
    }
    for (size_t i = 0; status == HW_OK && i < json_array_size(parts); i++) {
        status = one(tokenizer, json_array_get(parts, i), err);
    }
    return status;
}

static enum hw_status one_normalizer(struct hw_tokenizer *tokenizer, const json_t *part,
                                     struct hw_error *err) {
    static const char *const known[] = {"type", NULL};
    if (strcmp(type_of(part), "NFC") != 0) {
        return refuse("normalizer", part, "NFC, Sequence of it", err);
    }
    tokenizer->is_nfc = true;
    return hw_json_check_keys(part, "NFC", known, err);
}

enum hw_status hw_json_normalizer(struct hw_tokenizer *tokenizer, const json_t *part,
                                  struct hw_error *err) {
    return each_part(tokenizer, part, "normalizers", one_normalizer, err);
}

static enum hw_status split_behavior(const json_t *part, enum split_behavior *ret,
                                     struct hw_error *err) {
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"}; // in the order of the enumeration
    const char *name = json_string_value(json_object_get(part, "behavior"));
    for (int i = 0; name != NULL && i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum split_behavior)i;
            return HW_OK;
        }
    }
    char shown[80];
    return hw_fail(err, HW_INPUT, "Split.behavior '%s' is not known",
                   name == NULL ? "?" : hw_escape(shown, sizeof shown, name, strlen(name)));
}

// A literal as a pattern: punctuation escaped.
static enum hw_status quote(const char *text, char *ret, size_t ret_bytes, struct hw_error *err) {
    size_t n = 0;
    for (; *text != '\0'; text++) {
        bool is_plain = (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
                        (*text >= 'A' && *text <= 'Z') || (unsigned char)*text >= 0x80 ||
                        *text <= ' ' || *text == 0x7F;
        if (n + 3 > ret_bytes) {
            return hw_fail(err, HW_INPUT, "Split.pattern is longer than %zu bytes", ret_bytes);
        }
        if (!is_plain) {
            ret[n++] = '\\';
        }
        ret[n++] = *text;
    }
    ret[n] = '\0';
    return HW_OK;
}

static enum hw_status one_split(struct hw_tokenizer *tokenizer, const json_t *part,
                                struct hw_error *err) {
    static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
    enum split_behavior behavior = SPLIT_ISOLATED;
    bool invert = false;
    enum hw_status status;
    if ((status = hw_json_check_keys(part, "Split", known, err)) != HW_OK ||
        (status = split_behavior(part, &behavior, err)) != HW_OK ||
        (status = hw_json_bool(part, "Split", "invert", false, &invert, err)) != HW_OK) {
        return status;
    }
    const json_t *pattern = json_object_get(part, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *text = json_string_value(json_object_get(pattern, "String"));
    if (json_object_size(pattern) != 1 || (regex == NULL && text == NULL)) {
        return hw_fail(err, HW_INPUT, "Split.pattern is neither a Regex nor a String");
    }
    char quoted[1024];
    if (regex == NULL) {
        status = quote(text, quoted, sizeof quoted, err);
        regex = quoted;
    }
    return status == HW_OK ? hw_split_add_regex(tokenizer, regex, behavior, invert, err) : status;
}

// Nothing may follow it: the text is bytes in disguise from there on. `is_last` is kept in the
// state of the walk below.
static enum hw_status one_byte_level(struct hw_tokenizer *tokenizer, const json_t *part,
                                     struct hw_error *err) {
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL};
    bool add_prefix_space, trim_offsets, use_regex;
    enum hw_status status;
    if ((status = hw_json_check_keys(part, "ByteLevel", known, err)) != HW_OK ||
        (status = hw_json_bool(part, "ByteLevel", "add_prefix_space", true, &add_prefix_space,
                               err)) != HW_OK ||
        (status = hw_json_bool(part, "ByteLevel", "trim_offsets", true, &trim_offsets, err)) !=
            HW_OK ||
        (status = hw_json_bool(part, "ByteLevel", "use_regex", true, &use_regex, err)) != HW_OK) {
        return status;
    }
    if (use_regex) {
        status = hw_split_add_regex(tokenizer, hw_pattern_gpt2, SPLIT_ISOLATED, false, err);
    } else if (add_prefix_space) {
        status = hw_split_add_whole(tokenizer, err);
    }
    if (status == HW_OK && add_prefix_space) {
        tokenizer->steps[tokenizer->n_steps - 1].prefix_space = true;
    }
    return status;
}

static enum hw_status one_pre_tokenizer(struct hw_tokenizer *tokenizer, const json_t *part,
                                        struct hw_error *err) {
    static const char *const digits_known[] = {"type", "individual_digits", NULL};
    const char *type = type_of(part);
    if (strcmp(type, "ByteLevel") == 0) {
        return one_byte_level(tokenizer, part, err);
    }
    if (strcmp(type, "Split") == 0) {
        return one_split(tokenizer, part, err);
    }
    if (strcmp(type, "Digits") == 0) {
        bool individual;
        enum hw_status status = hw_json_check_keys(part, "Digits", digits_known, err);
        if (status == HW_OK) {
            status = hw_json_bool(part, "Digits", "individual_digits", false, &individual, err);
        }
        return status == HW_OK ? hw_split_add_digits(tokenizer, individual, err) : status;
    }
    return refuse("pre-tokenizer", part, "ByteLevel, Split, Digits, Sequence of them", err);
}

// The pattern's name where it is one of those that GGUF files name.
static const char *name_of_split(const json_t *part) {
    const json_t *parts = json_object_get(part, "pretokenizers");
    if (parts == NULL) {
        return "gpt-2";
    }
    const json_t *first = json_array_get(parts, 0);
    const json_t *last = json_array_get(parts, json_array_size(parts) - 1);
    if (json_array_size(parts) == 1) {
        return "gpt-2";
    }
    if (json_array_size(parts) != 2 || json_is_true(json_object_get(last, "add_prefix_space"))) {
        return "custom";
    }
    if (strcmp(type_of(first), "Digits") == 0) {
        bool is_smollm = json_is_true(json_object_get(first, "individual_digits")) &&
                         !json_is_false(json_object_get(last, "use_regex"));
        return is_smollm ? "smollm" : "custom";
    }
    const char *regex =
        json_string_value(json_object_get(json_object_get(first, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(first, "behavior"));
    bool is_plain = regex != NULL && behavior != NULL && strcmp(behavior, "Isolated") == 0 &&
                    json_is_false(json_object_get(last, "use_regex"));
    const char *const patterns[] = {hw_pattern_llama3, hw_pattern_qwen2, hw_pattern_qwen35};
    static const char *const names[] = {"llama-bpe", "qwen2", "qwen35"};
    for (size_t i = 0; is_plain && i < 3; i++) {
        if (strcmp(regex, patterns[i]) == 0) {
            return names[i];
        }
    }
    return "custom";
}

enum hw_status hw_json_pre_tokenizer(struct hw_tokenizer *tokenizer, const json_t *part,
                                     struct hw_error *err) {
    const json_t *parts = json_object_get(part, "pretokenizers");
    size_t n = json_is_array(parts) ? json_array_size(parts) : 1;
    if (n == 0) {
        return hw_fail(err, HW_INPUT,
                       "the pre-tokenizer is an empty Sequence (expected ByteLevel at its end)");
    }
    // Before ByteLevel the text is text, after it bytes in disguise: it must be there, and last.
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(parts) ? json_array_get(parts, i) : part;
        bool is_byte_level = strcmp(type_of(one), "ByteLevel") == 0;
        if (is_byte_level && i + 1 < n) {
            return hw_fail(err, HW_INPUT, "a pre-tokenizer after ByteLevel is not supported");
        }
        if (!is_byte_level && i + 1 == n) {
            return hw_fail(err, HW_INPUT,
                           "pre-tokenizer '%.40s' at the end is not supported (expected ByteLevel)",
                           type_of(one));
        }
    }
    enum hw_status status = each_part(tokenizer, part, "pretokenizers", one_pre_tokenizer, err);
    if (status == HW_OK) {
        hw_tokenizer_set_pre(tokenizer, name_of_split(part));
    }
    return status;
}

// The special token of an item of a template: its id through the template's own table.
static enum hw_status template_token(struct hw_tokenizer *tokenizer, const json_t *part,
                                     const json_t *item, struct hw_error *err) {
    const char *name =
        json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
    const json_t *entry =
        name == NULL ? NULL : json_object_get(json_object_get(part, "special_tokens"), name);
    const json_t *ids = json_object_get(entry, "ids");
    json_int_t id = json_integer_value(json_array_get(ids, 0));
    if (json_array_size(ids) != 1 || !json_is_integer(json_array_get(ids, 0)) || id < 0 ||
        id >= tokenizer->n_vocab || tokenizer->kinds[id] == TOKEN_GAP) {
        return hw_fail(err, HW_INPUT,
                       "TemplateProcessing names a special token without one valid id");
    }
    if (tokenizer->adds_bos) {
        return hw_fail(err, HW_INPUT, "TemplateProcessing puts more than one token in front");
    }
    tokenizer->adds_bos = true;
    tokenizer->bos_id = (uint32_t)id;
    return HW_OK;
}

static enum hw_status one_template(struct hw_tokenizer *tokenizer, const json_t *part,
                                   struct hw_error *err) {
    static const char *const known[] = {"type", "single", "pair", "special_tokens", NULL};
    enum hw_status status = hw_json_check_keys(part, "TemplateProcessing", known, err);
    const json_t *single = json_object_get(part, "single");
    if (status == HW_OK && !json_is_array(single)) {
        return hw_fail(err, HW_INPUT, "TemplateProcessing.single is not a list");
    }
    bool seen_text = false;
    for (size_t i = 0; status == HW_OK && i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        if (json_object_get(item, "Sequence") != NULL && !seen_text) {
            seen_text = true;
        } else if (json_object_get(item, "SpecialToken") != NULL && !seen_text) {
            status = template_token(tokenizer, part, item, err);
        } else {
            return hw_fail(err, HW_INPUT,
                           "TemplateProcessing.single has more after the text, which is not "
                           "supported (expected one token in front at most)");
        }
    }
    if (status == HW_OK && !seen_text) {
        return hw_fail(err, HW_INPUT, "TemplateProcessing.single has no place for the text");
    }
    return status;
}

static enum hw_status one_post_processor(struct hw_tokenizer *tokenizer, const json_t *part,
                                         struct hw_error *err) {
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL};
    if (strcmp(type_of(part), "ByteLevel") ==
        0) { // moves offsets only, and ours always tile the text
        return hw_json_check_keys(part, "ByteLevel", known, err);
    }
    if (strcmp(type_of(part), "TemplateProcessing") == 0) {
        return one_template(tokenizer, part, err);
    }
    return refuse("post-processor", part, "ByteLevel, TemplateProcessing, Sequence of them", err);
}

enum hw_status hw_json_post_processor(struct hw_tokenizer *tokenizer, const json_t *part,
                                      struct hw_error *err) {
    return each_part(tokenizer, part, "processors", one_post_processor, err);
}

enum hw_status hw_json_decoder(const json_t *part, struct hw_error *err) {
    if (part == NULL || json_is_null(part) || strcmp(type_of(part), "ByteLevel") == 0) {
        return HW_OK;
    }
    return refuse("decoder", part, "ByteLevel", err);
}
