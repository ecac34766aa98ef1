// One prompt: from the user's JSON object to ids, spans and names.
#include "formats/prompts_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/utf8.h"
#include "kernels/size.h"

void hw_prompt_free(struct hw_prompt *prompt) {
    free(prompt->ids);
    free(prompt->name);
    free(prompt->text);
    free(prompt->json);
    free(prompt->domain);
    free(prompt->target);
    free(prompt->foil);
    free(prompt->counterpart);
    free(prompt->error);
    for (size_t i = 0; i < prompt->n_spans; i++) {
        free(prompt->spans[i].name);
    }
    free(prompt->spans);
    *prompt = (struct hw_prompt){0};
}

static enum hw_status no_memory(struct hw_error *err) {
    return hw_fail(err, HW_RESOURCE, "not enough memory for the prompts");
}

// Replaces *ret by a copy.
enum hw_status hw_prompt_set_text(char **ret, const char *text, struct hw_error *err) {
    char *copy = strdup(text);
    if (copy == NULL) {
        return no_memory(err);
    }
    free(*ret);
    *ret = copy;
    return HW_OK;
}

// A string without NUL. `is_empty_allowed` false: not "" either.
enum hw_status hw_prompt_check_string(const json_t *value, const char *what, bool is_empty_allowed,
                                      const char **ret, struct hw_error *err) {
    if (!json_is_string(value)) {
        return hw_fail(err, HW_INPUT, "%s is not a string", what);
    }
    const char *text = json_string_value(value);
    if (strlen(text) != json_string_length(value)) {
        return hw_fail(err, HW_INPUT,
                       "%s holds a NUL character at byte %zu, which a capture cannot store", what,
                       strlen(text));
    }
    if (text[0] == '\0' && !is_empty_allowed) {
        return hw_fail(err, HW_INPUT, "%s is empty", what);
    }
    *ret = text;
    return HW_OK;
}

// An optional label: a string, or an integer in its decimal form.
static enum hw_status take_label(const struct prompt_build *build, const char *key, char **ret,
                                 struct hw_error *err) {
    const json_t *value = json_object_get(build->object, key);
    if (value == NULL || json_is_null(value)) {
        return HW_OK;
    }
    if (json_is_integer(value)) {
        char number[32];
        (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        return hw_prompt_set_text(ret, number, err);
    }
    const char *text = "";
    enum hw_status status = hw_prompt_check_string(value, key, true, &text, err);
    return status == HW_OK ? hw_prompt_set_text(ret, text, err) : status;
}

static enum hw_status check_id(const struct prompt_build *build, const json_t *value,
                               const char *what, uint32_t *ret, struct hw_error *err) {
    size_t n_vocab = hw_tokenizer_n_vocab(build->reader->tokenizer);
    if (!json_is_integer(value)) {
        return hw_fail(err, HW_INPUT, "%s is not an integer", what);
    }
    json_int_t id = json_integer_value(value);
    if (id < 0 || (uint64_t)id >= n_vocab) {
        return hw_fail(err, HW_INPUT, "%s is out of range (expected 0 to %zu, found %lld)", what,
                       n_vocab - 1, (long long)id);
    }
    *ret = (uint32_t)id;
    return HW_OK;
}

// The text of a token: its bytes where they are UTF-8 without NUL, else in the printable alphabet.
static enum hw_status set_token_text(const struct prompt_build *build, uint32_t id, char **ret,
                                     struct hw_error *err) {
    size_t n;
    const char *bytes = hw_tokenizer_bytes(build->reader->tokenizer, id, &n);
    if (hw_utf8_check(bytes, n) != n || memchr(bytes, '\0', n) != NULL) {
        return hw_prompt_set_text(ret, hw_tokenizer_text(build->reader->tokenizer, id), err);
    }
    char *copy = strndup(bytes, n);
    if (copy == NULL) {
        return no_memory(err);
    }
    free(*ret);
    *ret = copy;
    return HW_OK;
}

// target and foil: the id of the next token, or a text whose first token counts.
static enum hw_status take_next_token(const struct prompt_build *build, const char *key,
                                      char **ret_text, int64_t *ret_id, struct hw_error *err) {
    const json_t *value = json_object_get(build->object, key);
    if (value == NULL || json_is_null(value)) {
        return HW_OK;
    }
    if (json_is_integer(value)) {
        uint32_t id = 0;
        enum hw_status status = check_id(build, value, key, &id, err);
        if (status == HW_OK) {
            *ret_id = id;
            status = set_token_text(build, id, ret_text, err);
        }
        return status;
    }
    const char *text = "";
    enum hw_status status = hw_prompt_check_string(value, key, false, &text, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_tokens tokens = {0};
    status =
        hw_tokenizer_encode(build->reader->tokenizer, text, strlen(text), HW_BOS_NO, &tokens, err);
    if (status == HW_OK && tokens.n == 0) {
        status = hw_fail(err, HW_INPUT, "%s has no token in this vocabulary", key);
    }
    if (status == HW_OK) {
        *ret_id = tokens.items[0].id;
        status = hw_prompt_set_text(ret_text, text, err);
    }
    hw_tokens_free(&tokens);
    return status;
}

static enum hw_status take_text(struct prompt_build *build, const json_t *value,
                                struct hw_error *err) {
    const char *text = "";
    enum hw_status status = hw_prompt_check_string(value, "text", false, &text, err);
    if (status == HW_OK) {
        status = hw_prompt_set_text(&build->prompt->text, text, err);
    }
    if (status == HW_OK) {
        build->bytes = build->prompt->text;
        build->n_bytes = strlen(text);
        status = hw_tokenizer_encode(build->reader->tokenizer, text, build->n_bytes,
                                     build->reader->options->add_bos, &build->tokens, err);
    }
    if (status == HW_OK && build->tokens.n == 0) {
        status = hw_fail(err, HW_INPUT, "the text has no token in this vocabulary");
    }
    return status;
}

// The text of a list of tokens: their bytes where these are UTF-8 without NUL, else all in the
// printable alphabet.
static enum hw_status set_text_of_tokens(struct prompt_build *build, const uint32_t *ids, size_t n,
                                         struct hw_error *err) {
    if (hw_utf8_check(build->bytes, build->n_bytes) == build->n_bytes &&
        memchr(build->bytes, '\0', build->n_bytes) == NULL) {
        return hw_prompt_set_text(&build->prompt->text, build->bytes, err);
    }
    size_t n_text = 1;
    for (size_t i = 0; i < n; i++) {
        size_t n_token = strlen(hw_tokenizer_text(build->reader->tokenizer, ids[i]));
        if (!hw_size_add(n_text, n_token, &n_text)) {
            return no_memory(err);
        }
    }
    char *text = malloc(n_text);
    if (text == NULL) {
        return no_memory(err);
    }
    char *at = text;
    for (size_t i = 0; i < n; i++) {
        at = stpcpy(at, hw_tokenizer_text(build->reader->tokenizer, ids[i]));
    }
    *at = '\0';
    free(build->prompt->text);
    build->prompt->text = text;
    return HW_OK;
}

// Tokens as they are; their offsets count in the bytes that they decode to.
static enum hw_status take_tokens(struct prompt_build *build, const json_t *list,
                                  struct hw_error *err) {
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n == 0 || n > HW_MAX_PROMPT_TOKENS) {
        return hw_fail(err, HW_INPUT, "tokens is not a list of 1 to %d ids", HW_MAX_PROMPT_TOKENS);
    }
    uint32_t *ids = malloc(n * sizeof *ids);
    struct hw_token *items = malloc(n * sizeof *items);
    build->tokens = (struct hw_tokens){items, items == NULL ? 0 : n, n};
    enum hw_status status = ids == NULL || items == NULL ? no_memory(err) : HW_OK;
    size_t at = 0;
    for (size_t i = 0; status == HW_OK && i < n; i++) {
        char what[40];
        (void)snprintf(what, sizeof what, "tokens[%zu]", i);
        status = check_id(build, json_array_get(list, i), what, &ids[i], err);
        if (status == HW_OK) {
            size_t n_token;
            (void)hw_tokenizer_bytes(build->reader->tokenizer, ids[i], &n_token);
            if (n_token > UINT32_MAX - at) {
                status = hw_fail(err, HW_INPUT, "tokens stand for more than %u bytes of text",
                                 UINT32_MAX);
                break;
            }
            items[i] = (struct hw_token){ids[i], (uint32_t)at, (uint32_t)(at + n_token)};
            at += n_token;
        }
    }
    if (status == HW_OK) {
        status = hw_tokenizer_decode(build->reader->tokenizer, ids, n, &build->owned,
                                     &build->n_bytes, err);
    }
    if (status == HW_OK) {
        build->bytes = build->owned;
        status = set_text_of_tokens(build, ids, n, err);
    }
    free(ids);
    return status;
}

// Cuts what is too long, moves the ids over, and clips the spans.
static enum hw_status take_ids(const struct prompt_build *build, struct hw_error *err) {
    const struct hw_prompt_options *options = build->reader->options;
    struct hw_prompt *prompt = build->prompt;
    size_t n = build->tokens.n;
    if (options->max_tokens > 0 && n > options->max_tokens) {
        n = options->max_tokens;
        prompt->status = HW_PROMPT_TRUNCATED;
    }
    if (options->hard_limit > 0 && n > options->hard_limit) {
        return hw_fail(err, HW_INPUT,
                       "the prompt has %zu tokens, more than the %zu that this model can place "
                       "(--max-tokens cuts)",
                       n, options->hard_limit);
    }
    prompt->ids = malloc(n * sizeof *prompt->ids);
    if (prompt->ids == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n; i++) {
        prompt->ids[i] = build->tokens.items[i].id;
    }
    prompt->n_ids = n;
    for (size_t i = 0; i < prompt->n_spans; i++) {
        struct hw_prompt_span *span = &prompt->spans[i];
        span->first = (int32_t)hw_size_min((size_t)span->first, n);
        span->end = (int32_t)hw_size_min((size_t)span->end, n);
    }
    return HW_OK;
}

static enum hw_status take_fields(struct prompt_build *build, struct hw_error *err) {
    struct hw_prompt *prompt = build->prompt;
    if (!json_is_object(build->object)) {
        return hw_fail(err, HW_INPUT, "the prompt is not a JSON object");
    }
    enum hw_status status = take_label(build, "name", &prompt->name, err);
    if (status == HW_OK) {
        status = take_label(build, "domain", &prompt->domain, err);
    }
    if (status != HW_OK) {
        return status;
    }
    if (json_object_get(build->object, "text_pair") != NULL) {
        return hw_fail(err, HW_INPUT, "text_pair is for encoders, and this model is a decoder");
    }
    const json_t *text = json_object_get(build->object, "text");
    const json_t *tokens = json_object_get(build->object, "tokens");
    if ((text == NULL) == (tokens == NULL)) {
        return hw_fail(err, HW_INPUT, "the prompt has %s (expected one of text and tokens)",
                       text == NULL ? "neither text nor tokens" : "both text and tokens");
    }
    status = text != NULL ? take_text(build, text, err) : take_tokens(build, tokens, err);
    if (status == HW_OK && build->tokens.n > HW_MAX_PROMPT_TOKENS) {
        status = hw_fail(err, HW_INPUT, "the prompt has %zu tokens, more than %d", build->tokens.n,
                         HW_MAX_PROMPT_TOKENS);
    }
    const json_t *counterpart = json_object_get(build->object, "counterpart");
    if (status == HW_OK && counterpart != NULL && !json_is_null(counterpart)) {
        const char *value = "";
        status = hw_prompt_check_string(counterpart, "counterpart", false, &value, err);
        if (status == HW_OK) {
            status = hw_prompt_set_text(&prompt->counterpart, value, err);
        }
    }
    if (status == HW_OK) {
        status = take_next_token(build, "target", &prompt->target, &prompt->target_id, err);
    }
    if (status == HW_OK) {
        status = take_next_token(build, "foil", &prompt->foil, &prompt->foil_id, err);
    }
    if (status == HW_OK) {
        status = hw_prompt_take_spans(build, err);
    }
    return status == HW_OK ? take_ids(build, err) : status;
}

// A prompt with every string "" but its name and object.
static enum hw_status begin(const struct prompt_reader *reader, const char *json,
                            struct hw_prompt *prompt, struct hw_error *err) {
    char **const empty[] = {&prompt->text, &prompt->domain,      &prompt->target,
                            &prompt->foil, &prompt->counterpart, &prompt->error};
    char name[32];
    (void)snprintf(name, sizeof name, "%zu", reader->prompts.n);
    *prompt = (struct hw_prompt){.target_id = -1, .foil_id = -1};
    enum hw_status status = hw_prompt_set_text(&prompt->name, name, err);
    if (status == HW_OK) {
        status = hw_prompt_set_text(&prompt->json, json, err);
    }
    for (size_t i = 0; status == HW_OK && i < sizeof empty / sizeof empty[0]; i++) {
        status = hw_prompt_set_text(empty[i], "", err);
    }
    return status;
}

static enum hw_status mark_failed(struct hw_prompt *prompt, struct prompt_place place,
                                  const struct hw_error *reason, struct hw_error *err) {
    char message[HW_ERROR_BYTES + 4096];
    message[0] = '\0';
    if (place.path != NULL) {
        char shown[2048];
        (void)snprintf(message, 4096,
                       "%s:%zu: ", hw_escape(shown, sizeof shown, place.path, strlen(place.path)),
                       place.line);
    }
    size_t n = strlen(message);
    (void)snprintf(message + n, sizeof message - n, "%s", reason->message);
    free(prompt->ids);
    for (size_t i = 0; i < prompt->n_spans; i++) {
        free(prompt->spans[i].name);
    }
    free(prompt->spans);
    prompt->ids = NULL;
    prompt->n_ids = 0;
    prompt->spans = NULL;
    prompt->n_spans = 0;
    prompt->status = HW_PROMPT_FAILED;
    return hw_prompt_set_text(&prompt->error, message, err);
}

static enum hw_status append(struct prompt_reader *reader, const struct hw_prompt *prompt,
                             struct hw_error *err) {
    if (reader->prompts.n == HW_MAX_PROMPTS) {
        return hw_fail(err, HW_RESOURCE, "more than %d prompts", HW_MAX_PROMPTS);
    }
    if (reader->prompts.n == reader->capacity) {
        size_t capacity = reader->capacity == 0 ? 16 : 2 * reader->capacity;
        struct hw_prompt *items = realloc(reader->prompts.items, capacity * sizeof *items);
        if (items == NULL) {
            return no_memory(err);
        }
        reader->prompts.items = items;
        reader->capacity = capacity;
    }
    reader->prompts.items[reader->prompts.n++] = *prompt;
    return HW_OK;
}

enum hw_status hw_prompt_add(struct prompt_reader *reader, const json_t *object, const char *json,
                             struct prompt_place place, struct hw_error *err) {
    struct hw_prompt prompt;
    struct prompt_build build = {.reader = reader, .object = object, .prompt = &prompt};
    struct hw_error reason = {0};
    enum hw_status status = begin(reader, json, &prompt, err);
    if (status == HW_OK) {
        enum hw_status found = take_fields(&build, &reason);
        if (found == HW_RESOURCE) {
            status = no_memory(err);
        } else if (found != HW_OK) {
            status = mark_failed(&prompt, place, &reason, err);
        }
    }
    if (status == HW_OK) {
        status = append(reader, &prompt, err);
    }
    if (status != HW_OK) {
        hw_prompt_free(&prompt);
    }
    free(build.owned);
    hw_tokens_free(&build.tokens);
    return status;
}

enum hw_status hw_prompt_add_failed(struct prompt_reader *reader, const char *json,
                                    struct prompt_place place, const struct hw_error *reason,
                                    struct hw_error *err) {
    struct hw_prompt prompt;
    enum hw_status status = begin(reader, json, &prompt, err);
    if (status == HW_OK) {
        status = mark_failed(&prompt, place, reason, err);
    }
    if (status == HW_OK) {
        status = append(reader, &prompt, err);
    }
    if (status != HW_OK) {
        hw_prompt_free(&prompt);
    }
    return status;
}
