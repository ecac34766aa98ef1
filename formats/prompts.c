// Prompts from files, options and standard input, line by line.
//
// A line that is not JSON at all (or, in a token file, not numbers) means that the file is not what
// its name says: HW_INPUT with file and line, before anything runs. A line that is JSON but no good
// prompt is one failed prompt. The user's object is kept as written, only without the blanks
// between its parts, so that numbers keep their digits.
#include "formats/prompts_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/sha256.h"
#include "formats/utf8.h"
#include "kernels/size.h"

// All bytes of a file, pipe or "-", with a NUL behind them; the caller frees them.
static enum hw_status read_all(const char *path, char **ret_bytes, size_t *ret_n,
                               struct hw_error *err) {
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    if (file == NULL) {
        return hw_fail(err, HW_INPUT, "%s: cannot be read: %s", path, strerror(errno));
    }
    enum hw_status status = HW_OK;
    char *bytes = NULL;
    size_t n = 0;
    size_t capacity = 0;
    for (;;) {
        if (capacity - n < 2) {
            capacity = capacity == 0 ? 1 << 16 : 2 * capacity;
            char *larger = n > HW_MAX_PROMPT_FILE_BYTES ? NULL : realloc(bytes, capacity);
            if (larger == NULL) {
                status = hw_fail(err, HW_RESOURCE, "%s: not enough memory for %zu bytes", path,
                                 capacity);
                goto out;
            }
            bytes = larger;
        }
        size_t n_read = fread(bytes + n, 1, capacity - n - 1, file);
        n += n_read;
        if (n_read == 0) {
            break;
        }
    }
    if (ferror(file)) {
        status = hw_fail(err, HW_INPUT, "%s: cannot be read: %s", path, strerror(errno));
        goto out;
    }
    bytes[n] = '\0';
    *ret_bytes = bytes;
    *ret_n = n;
    bytes = NULL;
out:
    free(bytes);
    if (!is_stdin) {
        (void)fclose(file);
    }
    return status;
}

// Removes blanks outside of strings from n bytes of valid JSON, in place.
static void make_compact(char *json, size_t n) {
    size_t kept = 0;
    bool is_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = json[i];
        if (is_string && c == '\\') {
            json[kept++] = c;
            c = json[++i]; // the JSON is valid: something follows
        } else if (c == '"') {
            is_string = !is_string;
        } else if (!is_string && (c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
            continue;
        }
        json[kept++] = c;
    }
    json[kept] = '\0';
}

// What is wrong with a value of valid JSON is the prompt's fault, anything else the file's.
static bool is_bad_value(const json_error_t *error) {
    enum json_error_code code = json_error_code(error);
    return code == json_error_duplicate_key || code == json_error_null_byte_in_key ||
           code == json_error_numeric_overflow;
}

static enum hw_status add_json_line(struct prompt_reader *reader, char *line, size_t n,
                                    struct prompt_place place, struct hw_error *err) {
    if (n == strspn(line, " \t\r")) {
        return HW_OK;
    }
    struct hw_error reason = {0};
    size_t bad = hw_utf8_check(line, n);
    if (bad != n) {
        (void)hw_fail(&reason, HW_INPUT, "the line is not valid UTF-8 at byte %zu", bad);
        return hw_prompt_add_failed(reader, "", place, &reason, err);
    }
    json_error_t error;
    json_t *value =
        json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (value == NULL) {
        char text[2 * JSON_ERROR_TEXT_LENGTH];
        (void)hw_escape(text, sizeof text, error.text, strlen(error.text));
        if (json_error_code(&error) == json_error_out_of_memory) {
            return hw_fail(err, HW_RESOURCE, "%s:%zu: not enough memory", place.path, place.line);
        }
        if (is_bad_value(&error)) {
            (void)hw_fail(&reason, HW_INPUT, "%s", text);
            make_compact(line, n);
            return hw_prompt_add_failed(reader, line, place, &reason, err);
        }
        return hw_fail(err, HW_INPUT, "%s:%zu: not JSON at column %d: %s", place.path, place.line,
                       error.column, text);
    }
    make_compact(line, n);
    enum hw_status status = hw_prompt_add(reader, value, line, place, err);
    json_decref(value);
    return status;
}

// Adds a prompt of one key. Takes the value.
static enum hw_status add_value(struct prompt_reader *reader, const char *key, json_t *value,
                                struct prompt_place place, struct hw_error *err) {
    json_t *object = value == NULL ? NULL : json_pack("{s:o}", key, value);
    char *json = object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
    enum hw_status status = json == NULL
                                ? hw_fail(err, HW_RESOURCE, "not enough memory for the prompts")
                                : hw_prompt_add(reader, object, json, place, err);
    free(json);
    json_decref(object);
    return status;
}

static enum hw_status add_text(struct prompt_reader *reader, const char *text, size_t n,
                               struct prompt_place place, struct hw_error *err) {
    size_t bad = hw_utf8_check(text, n);
    if (bad != n) {
        struct hw_error reason = {0};
        (void)hw_fail(&reason, HW_INPUT, "the text is not valid UTF-8 at byte %zu (found 0x%02x)",
                      bad, (unsigned char)text[bad]);
        return hw_prompt_add_failed(reader, "", place, &reason, err);
    }
    return add_value(reader, "text", json_stringn_nocheck(text, n), place, err);
}

static enum hw_status add_text_line(struct prompt_reader *reader, char *line, size_t n,
                                    struct prompt_place place, struct hw_error *err) {
    n -= n > 0 && line[n - 1] == '\r';
    return n == 0 ? HW_OK : add_text(reader, line, n, place, err);
}

// Ids separated by blanks, tabs or commas.
static enum hw_status add_token_line(struct prompt_reader *reader, char *line, size_t n,
                                     struct prompt_place place, struct hw_error *err) {
    static const char blanks[] = " \t\r,";
    json_t *list = json_array();
    if (list == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the prompts");
    }
    for (size_t at = strspn(line, blanks); at < n; at += strspn(line + at, blanks)) {
        size_t n_digits = strspn(line + at, "0123456789");
        size_t after = at + n_digits;
        if (n_digits == 0 || n_digits > 18 ||
            (after < n && (line[after] == '\0' || strchr(blanks, line[after]) == NULL))) {
            char shown[40];
            hw_escape(shown, sizeof shown, line + at, hw_size_min(n - at, 20));
            json_decref(list);
            return hw_fail(err, HW_INPUT,
                           "%s:%zu: expected token ids separated by blanks, found '%s'", place.path,
                           place.line, shown);
        }
        if (json_array_append_new(list, json_integer(strtoll(line + at, NULL, 10))) != 0) {
            json_decref(list);
            return hw_fail(err, HW_RESOURCE, "not enough memory for the prompts");
        }
        at = after;
    }
    if (json_array_size(list) == 0) {
        json_decref(list);
        return HW_OK;
    }
    return add_value(reader, "tokens", list, place, err);
}

typedef enum hw_status (*add_line)(struct prompt_reader *reader, char *line, size_t n,
                                   struct prompt_place place, struct hw_error *err);

static enum hw_status read_lines(struct prompt_reader *reader, const char *path, add_line add,
                                 struct hw_error *err) {
    char *bytes = NULL;
    size_t n = 0;
    enum hw_status status = read_all(path, &bytes, &n, err);
    size_t at = n >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    for (size_t line = 1; status == HW_OK && at < n; line++) {
        char *end = memchr(bytes + at, '\n', n - at);
        size_t n_line = end == NULL ? n - at : (size_t)(end - bytes) - at;
        bytes[at + n_line] = '\0';
        status = add(reader, bytes + at, n_line, (struct prompt_place){path, line}, err);
        at += n_line + 1;
    }
    free(bytes);
    return status;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text);
    size_t n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static enum hw_status read_file(struct prompt_reader *reader, const char *path,
                                struct hw_error *err) {
    if (strcmp(path, "-") == 0 || ends_with(path, ".jsonl")) {
        return read_lines(reader, path, add_json_line, err);
    }
    if (ends_with(path, ".txt")) {
        return read_lines(reader, path, add_text_line, err);
    }
    return hw_fail(err, HW_INPUT,
                   "%s: the name does not say what it holds (expected .jsonl, .txt, or - for JSON "
                   "lines on standard input)",
                   path);
}

enum hw_status hw_prompts_read(const struct hw_prompt_source *source,
                               const struct hw_tokenizer *tokenizer,
                               const struct hw_prompt_options *options,
                               struct hw_prompts *ret_prompts, struct hw_error *err) {
    struct prompt_reader reader = {.tokenizer = tokenizer, .options = options};
    enum hw_status status = HW_OK;
    for (size_t i = 0; status == HW_OK && i < source->n_files; i++) {
        status = read_file(&reader, source->files[i], err);
    }
    for (size_t i = 0; status == HW_OK && i < source->n_texts; i++) {
        status = add_text(&reader, source->texts[i], strlen(source->texts[i]),
                          (struct prompt_place){0}, err);
    }
    for (size_t i = 0; status == HW_OK && i < source->n_token_files; i++) {
        status = read_lines(&reader, source->token_files[i], add_token_line, err);
    }
    if (status == HW_OK && reader.prompts.n == 0) {
        const char *first = source->n_files > 0         ? source->files[0]
                            : source->n_token_files > 0 ? source->token_files[0]
                                                        : "the command line";
        status = hw_fail(err, HW_INPUT, "%s: there is no prompt (expected at least one, found 0)",
                         first);
    }
    if (status != HW_OK) {
        hw_prompts_free(&reader.prompts);
        return status;
    }
    *ret_prompts = reader.prompts;
    return HW_OK;
}

void hw_prompts_free(struct hw_prompts *prompts) {
    for (size_t i = 0; i < prompts->n; i++) {
        hw_prompt_free(&prompts->items[i]);
    }
    free(prompts->items);
    *prompts = (struct hw_prompts){0};
}

static void hash_number(struct hw_sha256 *hash, uint64_t value, size_t width) {
    unsigned char bytes[8];
    for (size_t i = 0; i < width; i++) {
        bytes[i] = (unsigned char)(value >> 8 * i);
    }
    hw_sha256_update(hash, bytes, width);
}

static void hash_ids(struct hw_sha256 *hash, const struct hw_prompt *prompt) {
    for (size_t i = 0; i < prompt->n_ids; i++) {
        hash_number(hash, prompt->ids[i], 4);
    }
}

// With its NUL, so that neighbours cannot trade bytes.
static void hash_text(struct hw_sha256 *hash, const char *text) {
    hw_sha256_update(hash, text, strlen(text) + 1);
}

void hw_prompt_sha256(const struct hw_prompt *prompt, char ret_hex[65]) {
    struct hw_sha256 hash;
    hw_sha256_init(&hash);
    hash_ids(&hash, prompt);
    hw_sha256_hex(&hash, ret_hex);
}

void hw_prompts_sha256(const struct hw_prompts *prompts, char ret_hex[65]) {
    struct hw_sha256 hash;
    hw_sha256_init(&hash);
    hash_number(&hash, prompts->n, 8);
    for (size_t i = 0; i < prompts->n; i++) {
        const struct hw_prompt *prompt = &prompts->items[i];
        hash_number(&hash, prompt->status, 1);
        hash_number(&hash, prompt->n_ids, 8);
        hash_ids(&hash, prompt);
        hash_number(&hash, (uint64_t)prompt->target_id, 8);
        hash_number(&hash, (uint64_t)prompt->foil_id, 8);
        const char *const texts[] = {prompt->name,       prompt->text,   prompt->json,
                                     prompt->domain,     prompt->target, prompt->foil,
                                     prompt->counterpart};
        for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
            hash_text(&hash, texts[t]);
        }
        hash_number(&hash, prompt->n_spans, 8);
        for (size_t s = 0; s < prompt->n_spans; s++) {
            hash_text(&hash, prompt->spans[s].name);
            hash_number(&hash, (uint32_t)prompt->spans[s].first, 4);
            hash_number(&hash, (uint32_t)prompt->spans[s].end, 4);
        }
    }
    hw_sha256_hex(&hash, ret_hex);
}
