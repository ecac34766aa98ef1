// tokenizer.json of HF tokenizers: vocabulary, merges and added tokens; the other components are in
// tokenizer_json_parts.c.
//
// Every key is known or refused by name, so that nothing that changes the ids is ignored.
// truncation and padding are the exception: they describe batches, and this never cuts or pads.
#include "formats/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

enum hw_status hw_json_check_keys(const json_t *object, const char *what, const char *const *known,
                                  struct hw_error *err) {
    if (!json_is_object(object)) {
        return hw_fail(err, HW_INPUT, "%s is not an object", what);
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0) {
            i++;
        }
        if (known[i] == NULL) {
            char shown[80];
            return hw_fail(err, HW_INPUT, "%s has a key '%s' that is not known", what,
                           hw_escape(shown, sizeof shown, key, strlen(key)));
        }
    }
    return HW_OK;
}

enum hw_status hw_json_bool(const json_t *object, const char *what, const char *key, bool fallback,
                            bool *ret, struct hw_error *err) {
    const json_t *value = json_object_get(object, key);
    if (value != NULL && !json_is_null(value) && !json_is_boolean(value)) {
        return hw_fail(err, HW_INPUT, "%s.%s is neither true nor false", what, key);
    }
    *ret = json_is_boolean(value) ? json_is_true(value) : fallback;
    return HW_OK;
}

// An id: an integer in range.
static enum hw_status read_id(const json_t *value, const char *text, size_t n, uint32_t *ret,
                              struct hw_error *err) {
    char shown[80];
    if (!json_is_integer(value)) {
        return hw_fail(err, HW_INPUT, "the id of token '%s' is not an integer",
                       hw_escape(shown, sizeof shown, text, n));
    }
    json_int_t id = json_integer_value(value);
    if (id < 0 || id >= HW_MAX_VOCAB) {
        return hw_fail(err, HW_INPUT,
                       "the id of token '%s' is out of range (expected 0 to %d, found %lld)",
                       hw_escape(shown, sizeof shown, text, n), HW_MAX_VOCAB - 1, (long long)id);
    }
    *ret = (uint32_t)id;
    return HW_OK;
}

struct entries {
    struct vocab_entry *items;
    size_t n;
};

static enum hw_status read_vocab(const json_t *vocab, struct entries *entries,
                                 struct hw_error *err) {
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)vocab, text, value) {
        struct vocab_entry *entry = &entries->items[entries->n++];
        *entry = (struct vocab_entry){
            .text = text, .n = strlen(text), .kind = TOKEN_NORMAL, .is_mapped = 1};
        enum hw_status status = read_id(value, text, entry->n, &entry->id, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}

// One added token: into the vocabulary's entries and into the set that it is matched by.
static enum hw_status read_added(struct hw_tokenizer *tokenizer, const json_t *object,
                                 const json_t *id, struct entries *entries, struct hw_error *err) {
    static const char *const known[] = {"id",         "content", "single_word", "lstrip", "rstrip",
                                        "normalized", "special", "__type",      NULL};
    enum hw_status status = hw_json_check_keys(object, "an added token", known, err);
    if (status != HW_OK) {
        return status;
    }
    const json_t *content = json_object_get(object, "content");
    if (!json_is_string(content) || json_string_length(content) == 0) {
        return hw_fail(err, HW_INPUT, "an added token has no content");
    }
    struct added_token token = {.content = (char *)json_string_value(content),
                                .n = json_string_length(content)};
    bool is_special = false;
    static const char what[] = "an added token";
    if ((status = read_id(id, token.content, token.n, &token.id, err)) != HW_OK ||
        (status = hw_json_bool(object, what, "special", false, &is_special, err)) != HW_OK ||
        (status = hw_json_bool(object, what, "single_word", false, &token.single_word, err)) !=
            HW_OK ||
        (status = hw_json_bool(object, what, "lstrip", false, &token.lstrip, err)) != HW_OK ||
        (status = hw_json_bool(object, what, "rstrip", false, &token.rstrip, err)) != HW_OK ||
        (status = hw_json_bool(object, what, "normalized", !is_special, &token.normalized, err)) !=
            HW_OK) {
        return status;
    }
    entries->items[entries->n++] =
        (struct vocab_entry){.text = token.content,
                             .n = token.n,
                             .id = token.id,
                             .kind = is_special ? TOKEN_SPECIAL : TOKEN_ADDED};
    return hw_added_add(token.normalized ? &tokenizer->added_normalized : &tokenizer->added, &token,
                        err);
}

// Tokens of tokenizer_config.json that tokenizer.json lacks; what both have counts as
// tokenizer.json says.
static enum hw_status read_added_decoder(struct hw_tokenizer *tokenizer, const json_t *decoder,
                                         struct entries *entries, size_t n_added,
                                         struct hw_error *err) {
    const char *key;
    json_t *object;
    json_object_foreach((json_t *)decoder, key, object) {
        char *end;
        long long number = strtoll(key, &end, 10);
        if (end == key || *end != '\0' || strlen(key) > 10) {
            char shown[80];
            return hw_fail(err, HW_INPUT, "added_tokens_decoder has a key '%s' that is no id",
                           hw_escape(shown, sizeof shown, key, strlen(key)));
        }
        bool is_there = false;
        const char *content = json_string_value(json_object_get(object, "content"));
        for (size_t i = entries->n - n_added; content != NULL && i < entries->n && !is_there; i++) {
            is_there = (long long)entries->items[i].id == number &&
                       strcmp(entries->items[i].text, content) == 0;
        }
        if (is_there) {
            continue;
        }
        json_t *id = json_integer(number);
        enum hw_status status = id == NULL
                                    ? hw_fail(err, HW_RESOURCE, "not enough memory for a token")
                                    : read_added(tokenizer, object, id, entries, err);
        json_decref(id);
        if (status != HW_OK) {
            return status;
        }
        n_added++;
    }
    return HW_OK;
}

// "a b" or ["a", "b"].
static enum hw_status read_merge(struct hw_tokenizer *tokenizer, const json_t *merge, size_t rank,
                                 struct hw_error *err) {
    const json_t *left = json_array_get(merge, 0);
    const json_t *right = json_array_get(merge, 1);
    if (json_array_size(merge) == 2 && json_is_string(left) && json_is_string(right)) {
        return hw_merges_add(tokenizer, json_string_value(left), json_string_length(left),
                             json_string_value(right), json_string_length(right), err);
    }
    const char *text = json_string_value(merge);
    const char *blank = text == NULL ? NULL : strchr(text, ' ');
    if (blank == NULL || strchr(blank + 1, ' ') != NULL) {
        return hw_fail(err, HW_INPUT, "merge %zu is neither \"a b\" nor [\"a\", \"b\"]", rank);
    }
    return hw_merges_add(tokenizer, text, (size_t)(blank - text), blank + 1, strlen(blank + 1),
                         err);
}

// Fields of the BPE model that we take only with the value that does nothing.
static enum hw_status refuse_options(const json_t *model, struct hw_error *err) {
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *value = json_object_get(model, texts[i]);
        if (value != NULL && !json_is_null(value) &&
            json_string_length(value) + !json_is_string(value) > 0) {
            return hw_fail(err, HW_INPUT, "model.%s is not supported", texts[i]);
        }
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout != NULL && !json_is_null(dropout) &&
        !(json_is_number(dropout) && json_number_value(dropout) == 0)) {
        return hw_fail(err, HW_INPUT, "model.dropout is not supported");
    }
    bool byte_fallback;
    enum hw_status status =
        hw_json_bool(model, "model", "byte_fallback", false, &byte_fallback, err);
    if (status == HW_OK && byte_fallback) {
        return hw_fail(err, HW_INPUT, "model.byte_fallback is not supported");
    }
    return status;
}

static enum hw_status check_model(const json_t *model, struct hw_error *err) {
    static const char *const known[] = {"type",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "fuse_unk",
                                        "end_of_word_suffix",
                                        "byte_fallback",
                                        "ignore_merges",
                                        "vocab",
                                        "merges",
                                        NULL};
    const json_t *type = json_object_get(model, "type");
    if (type != NULL && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0)) {
        char shown[80] = "";
        const char *name = json_is_string(type) ? json_string_value(type) : "?";
        return hw_fail(err, HW_INPUT, "model type '%s' is not supported (known: BPE)",
                       hw_escape(shown, sizeof shown, name, strlen(name)));
    }
    enum hw_status status = hw_json_check_keys(model, "model", known, err);
    if (status != HW_OK) {
        return status;
    }
    if (!json_is_object(json_object_get(model, "vocab")) ||
        !json_is_array(json_object_get(model, "merges"))) {
        return hw_fail(err, HW_INPUT, "model has no vocab object or no merges list");
    }
    return refuse_options(model, err);
}

static enum hw_status read_model_rest(struct hw_tokenizer *tokenizer, const json_t *model,
                                      struct hw_error *err) {
    enum hw_status status;
    if ((status = hw_json_bool(model, "model", "ignore_merges", false, &tokenizer->ignore_merges,
                               err)) != HW_OK ||
        (status = hw_json_bool(model, "model", "fuse_unk", false, &tokenizer->fuse_unk, err)) !=
            HW_OK) {
        return status;
    }
    const json_t *unk = json_object_get(model, "unk_token");
    if (unk != NULL && !json_is_null(unk)) {
        if (json_is_string(unk)) {
            tokenizer->unk_id =
                hw_vocab_find(tokenizer, json_string_value(unk), json_string_length(unk));
        }
        if (tokenizer->unk_id == HW_TOKEN_NONE) {
            return hw_fail(err, HW_INPUT, "model.unk_token is not in the vocabulary");
        }
    }
    const json_t *merges = json_object_get(model, "merges");
    status = hw_merges_reserve(tokenizer, json_array_size(merges), err);
    size_t rank;
    json_t *merge;
    json_array_foreach(merges, rank, merge) {
        if (status == HW_OK) {
            status = read_merge(tokenizer, merge, rank, err);
        }
    }
    return status;
}

// A content that the model knows under another id would be found in two ways.
static enum hw_status check_added(const struct hw_tokenizer *tokenizer, const struct added_set *set,
                                  struct hw_error *err) {
    for (size_t i = 0; i < set->n; i++) {
        uint32_t id = hw_vocab_find(tokenizer, set->items[i].content, set->items[i].n);
        if (id != HW_TOKEN_NONE && id != set->items[i].id) {
            char shown[80];
            return hw_fail(err, HW_INPUT, "added token '%s' has id %u, but %u in the vocabulary",
                           hw_escape(shown, sizeof shown, set->items[i].content, set->items[i].n),
                           set->items[i].id, id);
        }
    }
    return HW_OK;
}

static enum hw_status read_tokens(struct hw_tokenizer *tokenizer,
                                  const struct tokenizer_documents *documents,
                                  struct hw_error *err) {
    const json_t *model = json_object_get(documents->tokenizer, "model");
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *added = json_object_get(documents->tokenizer, "added_tokens");
    const json_t *decoder = json_object_get(documents->tokenizer_config, "added_tokens_decoder");
    if (added != NULL && !json_is_null(added) && !json_is_array(added)) {
        return hw_fail(err, HW_INPUT, "added_tokens is not a list");
    }
    size_t n = json_object_size(vocab) + json_array_size(added) + json_object_size(decoder);
    struct entries entries = {.items = calloc(n + 1, sizeof *entries.items)};
    if (entries.items == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu tokens", n);
    }
    enum hw_status status = read_vocab(vocab, &entries, err);
    size_t i;
    json_t *object;
    json_array_foreach(added, i, object) {
        if (status == HW_OK) {
            status = read_added(tokenizer, object, json_object_get(object, "id"), &entries, err);
        }
    }
    if (status == HW_OK && decoder != NULL) {
        status = read_added_decoder(tokenizer, decoder, &entries, json_array_size(added), err);
    }
    if (status == HW_OK &&
        (status = hw_vocab_build(tokenizer, entries.items, entries.n, err)) == HW_OK &&
        (status = hw_added_sort(&tokenizer->added, err)) == HW_OK &&
        (status = hw_added_sort(&tokenizer->added_normalized, err)) == HW_OK &&
        (status = check_added(tokenizer, &tokenizer->added, err)) == HW_OK) {
        status = check_added(tokenizer, &tokenizer->added_normalized, err);
    }
    free(entries.items);
    return status;
}

enum hw_status hw_tokenizer_from_json(const struct tokenizer_documents *documents,
                                      struct hw_tokenizer **ret_tokenizer, struct hw_error *err) {
    static const char *const known[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    const json_t *root = documents->tokenizer;
    const json_t *model = json_object_get(root, "model");
    struct hw_tokenizer *tokenizer = hw_tokenizer_new(err);
    if (tokenizer == NULL) {
        return HW_RESOURCE;
    }
    enum hw_status status;
    if ((status = hw_json_check_keys(root, "the document", known, err)) == HW_OK &&
        (status = check_model(model, err)) == HW_OK &&
        (status = read_tokens(tokenizer, documents, err)) == HW_OK &&
        (status = read_model_rest(tokenizer, model, err)) == HW_OK &&
        (status = hw_json_normalizer(tokenizer, json_object_get(root, "normalizer"), err)) ==
            HW_OK &&
        (status = hw_json_pre_tokenizer(tokenizer, json_object_get(root, "pre_tokenizer"), err)) ==
            HW_OK &&
        (status = hw_json_post_processor(tokenizer, json_object_get(root, "post_processor"),
                                         err)) == HW_OK &&
        (status = hw_json_decoder(json_object_get(root, "decoder"), err)) == HW_OK) {
        status = hw_tokenizer_configure(tokenizer, documents, err);
    }
    if (status != HW_OK) {
        hw_tokenizer_close(&tokenizer);
        return status;
    }
    *ret_tokenizer = tokenizer;
    return HW_OK;
}
