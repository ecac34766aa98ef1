// Reads and compares the vectors that make_tokenizer_vectors.py writes; their form is described
// there.
#include "tests/tokenizer_vectors.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "formats/sha256.h"

const char *vectors_path(const char *name) {
    static char path[1024];
    (void)snprintf(path, sizeof path, "%s/tokenizer/%s", HW_TEST_DATA, name);
    return path;
}

json_t *vectors_load(const char *name) {
    json_error_t error;
    json_t *json = json_load_file(vectors_path(name), JSON_ALLOW_NUL, &error);
    ck_assert_msg(json != NULL, "%s: %s", name, error.text);
    return json;
}

char *vectors_text(const json_t *strings, size_t i, size_t *ret_n) {
    const json_t *text = json_array_get(strings, i);
    size_t n = 0;
    size_t n_parts = json_is_string(text) ? 1 : json_array_size(text);
    char *out = NULL;
    for (size_t part = 0; part < n_parts; part++) {
        const json_t *pair = json_array_get(text, part);
        const json_t *value = json_is_string(text) ? text : json_array_get(pair, 0);
        size_t repeat =
            json_is_string(text) ? 1 : (size_t)json_integer_value(json_array_get(pair, 1));
        size_t n_value = json_string_length(value);
        out = realloc(out, n + repeat * n_value + 1);
        ck_assert_ptr_nonnull(out);
        for (size_t r = 0; r < repeat; r++) {
            memcpy(out + n, json_string_value(value), n_value);
            n += n_value;
        }
    }
    ck_assert_ptr_nonnull(out);
    out[n] = '\0';
    *ret_n = n;
    return out;
}

static void hash_number(struct hw_sha256 *hash, uint32_t value) {
    const unsigned char bytes[4] = {(unsigned char)value, (unsigned char)(value >> 8),
                                    (unsigned char)(value >> 16), (unsigned char)(value >> 24)};
    hw_sha256_update(hash, bytes, 4);
}

static char message[512];

static const char *compare_ids(const struct hw_tokens *tokens, const json_t *expected) {
    if (json_is_string(expected)) {
        struct hw_sha256 hash;
        hw_sha256_init(&hash);
        for (size_t i = 0; i < tokens->n; i++) {
            hash_number(&hash, tokens->items[i].id);
        }
        char hex[65];
        hw_sha256_hex(&hash, hex);
        char found[100];
        (void)snprintf(found, sizeof found, "%zu:%s", tokens->n, hex);
        (void)snprintf(message, sizeof message, "ids %s, expected %s", found,
                       json_string_value(expected));
        return strcmp(found, json_string_value(expected)) == 0 ? "" : message;
    }
    for (size_t i = 0; i < tokens->n || i < json_array_size(expected); i++) {
        long long want = json_is_integer(json_array_get(expected, i))
                             ? (long long)json_integer_value(json_array_get(expected, i))
                             : -1;
        long long found = i < tokens->n ? (long long)tokens->items[i].id : -1;
        if (want != found) {
            (void)snprintf(message, sizeof message,
                           "token %zu is %lld, expected %lld (%zu of %zu tokens)", i, found, want,
                           tokens->n, json_array_size(expected));
            return message;
        }
    }
    return "";
}

size_t vectors_widen(const char *text, size_t n, size_t at, bool up) {
    while (at > 0 && at < n && ((unsigned char)text[at] & 0xC0) == 0x80) {
        at = up ? at + 1 : at - 1;
    }
    return at;
}

static const char *compare_offsets(const struct hw_tokens *tokens, const char *text, size_t n,
                                   const json_t *expected) {
    struct hw_sha256 hash;
    hw_sha256_init(&hash);
    for (size_t i = 0; i < tokens->n; i++) {
        hash_number(&hash, (uint32_t)vectors_widen(text, n, tokens->items[i].first, false));
        hash_number(&hash, (uint32_t)vectors_widen(text, n, tokens->items[i].end, true));
    }
    char hex[65];
    hw_sha256_hex(&hash, hex);
    if (strncmp(hex, json_string_value(expected), 16) == 0) {
        return "";
    }
    (void)snprintf(message, sizeof message, "offsets differ");
    return message;
}

static const char *compare_decoded(const struct hw_tokenizer *tokenizer,
                                   const struct hw_tokens *tokens, const char *text, size_t n,
                                   const json_t *expected) {
    if (json_is_integer(expected) && json_integer_value(expected) == 0) {
        return ""; // not UTF-8, which HF tokenizers cannot show
    }
    uint32_t *ids = malloc((tokens->n + 1) * sizeof *ids);
    ck_assert_ptr_nonnull(ids);
    for (size_t i = 0; i < tokens->n; i++) {
        ids[i] = tokens->items[i].id;
    }
    char *bytes = NULL;
    size_t n_bytes = 0;
    ck_assert_int_eq(hw_tokenizer_decode(tokenizer, ids, tokens->n, &bytes, &n_bytes, NULL), HW_OK);
    utf8proc_uint8_t *composed = NULL;
    const char *want = text;
    size_t n_want = n;
    if (json_is_string(expected)) {
        want = json_string_value(expected);
        n_want = json_string_length(expected);
    } else if (json_integer_value(expected) == 2) {
        n_want = (size_t)utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n,
                                      &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        want = (const char *)composed;
    }
    bool same = n_bytes == n_want && memcmp(bytes, want, n_want) == 0;
    if (!same) {
        char shown[200];
        (void)snprintf(message, sizeof message, "decodes to '%s'",
                       hw_escape(shown, sizeof shown, bytes, n_bytes));
    }
    free(composed);
    free(bytes);
    free(ids);
    return same ? "" : message;
}

const char *vectors_compare(const struct hw_tokenizer *tokenizer, const char *text, size_t n,
                            const json_t *vector, bool with_offsets) {
    struct hw_tokens tokens = {0};
    struct hw_error err;
    if (hw_tokenizer_encode(tokenizer, text, n, HW_BOS_NO, &tokens, &err) != HW_OK) {
        (void)snprintf(message, sizeof message, "%.400s", err.message);
        return message;
    }
    const char *found = compare_ids(&tokens, json_array_get(vector, 0));
    if (*found == '\0' && with_offsets && json_is_string(json_array_get(vector, 1))) {
        found = compare_offsets(&tokens, text, n, json_array_get(vector, 1));
    }
    if (*found == '\0') {
        found = compare_decoded(tokenizer, &tokens, text, n, json_array_get(vector, 2));
    }
    hw_tokens_free(&tokens);
    return found;
}

int vectors_run(const struct hw_tokenizer *tokenizer, const char *name) {
    char file[64];
    (void)snprintf(file, sizeof file, "%s.vectors.json", name);
    json_t *vectors = vectors_load(file);
    json_t *strings = vectors_load("strings.json");
    ck_assert_uint_eq(json_array_size(vectors), json_array_size(strings));
    ck_assert_uint_ge(json_array_size(strings), 400);
    int n_wrong = 0;
    for (size_t i = 0; i < json_array_size(strings); i++) {
        size_t n;
        char *text = vectors_text(strings, i, &n);
        const char *found = vectors_compare(tokenizer, text, n, json_array_get(vectors, i), true);
        if (*found != '\0' && n_wrong++ < 10) {
            char shown[200];
            printf("%s, text %zu '%s': %s\n", name, i, hw_escape(shown, sizeof shown, text, n),
                   found);
        }
        free(text);
    }
    json_decref(vectors);
    json_decref(strings);
    return n_wrong;
}
