// Needle-in-a-haystack trials; see needle.h. Every step goes through text as the reference does, so
// that token boundaries fall where they fall there: cut ids, decode, encode again.
#include "formats/needle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/utf8.h"
#include "kernels/size.h"

enum { MAX_HAYSTACK_BYTES = 1 << 30 };

static enum hw_status no_memory(struct hw_error *err) {
    return hw_fail(err, HW_RESOURCE, "not enough memory for a trial");
}

void hw_needle_grid(size_t first, size_t last, size_t n, size_t *ret_values) {
    double step = n > 1 ? ((double)last - (double)first) / (double)(n - 1) : 0;
    for (size_t i = 0; i < n; i++) {
        double value = (double)i * step + (double)first;
        ret_values[i] = i > 0 && i + 1 == n ? last : (size_t)rint(value); // half to even
    }
}

size_t hw_needle_insertion(const uint32_t *ids, size_t n, size_t depth, const uint32_t *stops,
                           size_t n_stops) {
    if (depth >= 100) {
        return n;
    }
    size_t at = hw_size_min(n, (size_t)((double)n * ((double)depth / 100)));
    for (; at > 0; at--) {
        for (size_t i = 0; i < n_stops; i++) {
            if (ids[at - 1] == stops[i]) {
                return at;
            }
        }
    }
    return 0;
}

static int compare_ids(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

// Place of id in the rising set, or n.
static size_t place_in(const uint32_t *set, size_t n, uint32_t id) {
    const uint32_t *found = bsearch(&id, set, n, sizeof *set, compare_ids);
    return found != NULL ? (size_t)(found - set) : n;
}

enum hw_status hw_needle_find(const uint32_t *prompt, size_t n_prompt, const uint32_t *answer,
                              size_t n_answer, size_t *ret_first, size_t *ret_end,
                              struct hw_error *err) {
    uint32_t *set = calloc(n_answer + 1, sizeof *set);
    size_t *counts = calloc(n_answer + 1, sizeof *counts); // of each id of the set in the window
    if (set == NULL || counts == NULL) {
        free(set);
        free(counts);
        return no_memory(err);
    }
    memcpy(set, answer, n_answer * sizeof *set);
    qsort(set, n_answer, sizeof *set, compare_ids);
    size_t n_set = 0;
    for (size_t i = 0; i < n_answer; i++) {
        if (i == 0 || set[i] != set[n_set - 1]) {
            set[n_set++] = set[i];
        }
    }
    size_t covered = 0, end = 0, first = 0;
    bool is_found = false;
    for (; first < n_prompt && n_set > 0 && !is_found; first++) {
        for (; end < n_prompt && end < first + n_answer; end++) {
            size_t place = place_in(set, n_set, prompt[end]);
            covered += place < n_set && counts[place]++ == 0;
        }
        is_found = (double)covered / (double)n_set > .9;
        size_t leaving = place_in(set, n_set, prompt[first]);
        covered -= leaving < n_set && --counts[leaving] == 0;
    }
    *ret_first = is_found ? first - 1 : 0;
    *ret_end = is_found ? first - 1 + n_answer : 0;
    free(set);
    free(counts);
    return HW_OK;
}

// Takes off tokens until the text of the rest is whole characters.
static enum hw_status cut_tokens(const struct hw_tokenizer *tokenizer, uint32_t *ids, size_t *n,
                                 char **ret_text, size_t *ret_bytes, struct hw_error *err) {
    enum hw_status status = hw_tokenizer_decode(tokenizer, ids, *n, ret_text, ret_bytes, err);
    if (status != HW_OK) {
        return status;
    }
    while (*n > 0 && hw_utf8_check(*ret_text, *ret_bytes) != *ret_bytes) {
        size_t n_token;
        (void)hw_tokenizer_bytes(tokenizer, ids[--*n], &n_token);
        *ret_bytes -= hw_size_min(n_token, *ret_bytes);
    }
    (*ret_text)[*ret_bytes] = '\0';
    return HW_OK;
}

static uint32_t *ids_of(const struct hw_tokens *tokens, size_t n) {
    uint32_t *ids = calloc(n + 1, sizeof *ids);
    for (size_t i = 0; ids != NULL && i < n; i++) {
        ids[i] = tokens->items[i].id;
    }
    return ids;
}

// Encodes `text` n_repeats times over.
static enum hw_status encode_repeated(const struct hw_tokenizer *tokenizer, const char *text,
                                      size_t n_repeats, struct hw_tokens *tokens,
                                      struct hw_error *err) {
    size_t n_text = strlen(text), n_bytes;
    if (!hw_size_mul(n_text, n_repeats, &n_bytes) || n_bytes > MAX_HAYSTACK_BYTES) {
        return hw_fail(err, HW_USAGE, "the haystack repeated %zu times has more than %d bytes",
                       n_repeats, (int)MAX_HAYSTACK_BYTES);
    }
    char *repeated = malloc(n_bytes + 1);
    if (repeated == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n_repeats; i++) {
        memcpy(repeated + i * n_text, text, n_text);
    }
    tokens->n = 0;
    enum hw_status status =
        hw_tokenizer_encode(tokenizer, repeated, n_bytes, HW_BOS_NO, tokens, err);
    free(repeated);
    return status;
}

enum hw_status hw_needle_haystack(const struct hw_tokenizer *tokenizer, const char *text,
                                  size_t length, struct hw_tokens *ret_tokens,
                                  size_t *ret_n_repeats, struct hw_error *err) {
    struct hw_tokens tokens = {0};
    uint32_t *ids = NULL;
    char *cut = NULL;
    size_t n_repeats = 1;
    enum hw_status status = encode_repeated(tokenizer, text, n_repeats, &tokens, err);
    if (status == HW_OK && tokens.n == 0) {
        status = hw_fail(err, HW_INPUT, "the haystack has no token");
    }
    while (status == HW_OK && tokens.n < length) {
        // Tokens a repetition are nearly those of the first; the last round makes up for the rest.
        n_repeats = hw_size_max(n_repeats + 1, length * n_repeats / tokens.n);
        status = encode_repeated(tokenizer, text, n_repeats, &tokens, err);
    }
    if (status == HW_OK && tokens.n > length) {
        size_t n = length, n_bytes = 0;
        ids = ids_of(&tokens, n);
        status = ids == NULL ? no_memory(err) : cut_tokens(tokenizer, ids, &n, &cut, &n_bytes, err);
        if (status == HW_OK) {
            tokens.n = 0;
            status = hw_tokenizer_encode(tokenizer, cut, n_bytes, HW_BOS_NO, &tokens, err);
        }
    }
    free(ids);
    free(cut);
    if (status != HW_OK) {
        hw_tokens_free(&tokens);
        return status;
    }
    *ret_tokens = tokens;
    *ret_n_repeats = n_repeats;
    return HW_OK;
}

// Full stops: "." and " ." where they are one token.
static enum hw_status find_stops(const struct hw_tokenizer *tokenizer, uint32_t stops[2],
                                 size_t *ret_n, struct hw_error *err) {
    static const char *const texts[] = {".", " ."};
    struct hw_tokens tokens = {0};
    enum hw_status status = HW_OK;
    *ret_n = 0;
    for (size_t i = 0; i < 2 && status == HW_OK; i++) {
        tokens.n = 0;
        status =
            hw_tokenizer_encode(tokenizer, texts[i], strlen(texts[i]), HW_BOS_NO, &tokens, err);
        if (status == HW_OK && tokens.n == 1) {
            stops[(*ret_n)++] = tokens.items[0].id;
        }
    }
    hw_tokens_free(&tokens);
    return status;
}

// Where one trial is put together.
struct building {
    const struct hw_tokenizer *tokenizer;
    const struct hw_needle *needle;
    const char *form;
    uint32_t *ids; // haystack before the needle, needle, haystack after it
    char *context; // their text
    size_t context_bytes;
    size_t needle_at;    // byte of the needle in it
    size_t needle_bytes; // as decoded
};

// The ids of the haystack that are used, with the needle among them.
static enum hw_status put_needle(struct building *b, const struct hw_tokens *haystack,
                                 size_t length, size_t depth, size_t room,
                                 struct hw_needle_trial *trial, struct hw_error *err) {
    struct hw_tokens needle = {0};
    uint32_t stops[2];
    char *text = NULL;
    size_t n_stops, n_bytes, n = haystack->n;
    enum hw_status status = hw_tokenizer_encode(b->tokenizer, b->needle->needle,
                                                strlen(b->needle->needle), HW_BOS_NO, &needle, err);
    status = status == HW_OK ? find_stops(b->tokenizer, stops, &n_stops, err) : status;
    if (status != HW_OK) {
        goto cleanup;
    }
    size_t m = needle.n;
    if (m == 0 || length <= room || length - room <= m) {
        status =
            hw_fail(err, HW_USAGE,
                    "a length of %zu tokens is too short (expected more than %zu: the needle's "
                    "%zu and the room of %zu for question and response)",
                    length, m + room, m, room);
        goto cleanup;
    }
    if (n + m > length - room) {
        n = hw_size_min(n, length - room - m);
    }
    b->ids = calloc(haystack->n + m, sizeof *b->ids);
    if (b->ids == NULL) {
        status = no_memory(err);
        goto cleanup;
    }
    for (size_t i = 0; i < n; i++) {
        b->ids[i] = haystack->items[i].id;
    }
    status = cut_tokens(b->tokenizer, b->ids, &n, &text, &n_bytes, err);
    if (status == HW_OK) {
        size_t at = hw_needle_insertion(b->ids, n, depth, stops, n_stops);
        memmove(b->ids + at + m, b->ids + at, (n - at) * sizeof *b->ids);
        for (size_t i = 0; i < m; i++) {
            b->ids[at + i] = needle.items[i].id;
            size_t n_token;
            (void)hw_tokenizer_bytes(b->tokenizer, needle.items[i].id, &n_token);
            b->needle_bytes += n_token;
        }
        for (size_t i = 0; i < at; i++) {
            size_t n_token;
            (void)hw_tokenizer_bytes(b->tokenizer, b->ids[i], &n_token);
            b->needle_at += n_token;
        }
        trial->insertion = at;
        trial->n_haystack = n;
        status =
            hw_tokenizer_decode(b->tokenizer, b->ids, n + m, &b->context, &b->context_bytes, err);
    }
cleanup:
    free(text);
    hw_tokens_free(&needle);
    return status;
}

// The template with its two words replaced; *ret_at is where the context begins.
static enum hw_status fill_template(const struct building *b, char **ret_text, size_t *ret_bytes,
                                    size_t *ret_at, struct hw_error *err) {
    const char *context = strstr(b->form, HW_NEEDLE_CONTEXT);
    const char *question = strstr(b->form, HW_NEEDLE_QUESTION);
    if (context == NULL || question == NULL) {
        return hw_fail(err, HW_USAGE, "the template lacks %s",
                       context == NULL ? HW_NEEDLE_CONTEXT : HW_NEEDLE_QUESTION);
    }
    size_t n_question = strlen(b->needle->question), n_bytes = strlen(b->form);
    if (!hw_size_add(n_bytes, b->context_bytes, &n_bytes) ||
        !hw_size_add(n_bytes, n_question, &n_bytes) || n_bytes == SIZE_MAX) {
        return no_memory(err);
    }
    char *text = malloc(n_bytes + 1);
    if (text == NULL) {
        return no_memory(err);
    }
    char *to = text;
    for (const char *from = b->form; *from != '\0';) {
        if (from == context) {
            *ret_at = (size_t)(to - text);
            memcpy(to, b->context, b->context_bytes);
            to += b->context_bytes;
            from += strlen(HW_NEEDLE_CONTEXT);
        } else if (from == question) {
            memcpy(to, b->needle->question, n_question);
            to += n_question;
            from += strlen(HW_NEEDLE_QUESTION);
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    *ret_text = text;
    *ret_bytes = (size_t)(to - text);
    return HW_OK;
}

// Tokens that share a byte with the answer, which begins at its first place in the needle.
static void place_answer(const struct building *b, size_t context_at,
                         struct hw_needle_trial *trial) {
    size_t first = context_at + b->needle_at;
    size_t end = first + b->needle_bytes;
    size_t n_answer = strlen(b->needle->answer);
    const char *found = memmem(trial->text + first, end - first, b->needle->answer, n_answer);
    if (found != NULL && n_answer > 0) {
        first = (size_t)(found - trial->text);
        end = first + n_answer;
    }
    const struct hw_tokens *tokens = &trial->tokens;
    while (trial->first < tokens->n && tokens->items[trial->first].end <= first) {
        trial->first++;
    }
    trial->end = trial->first;
    while (trial->end < tokens->n && tokens->items[trial->end].first < end) {
        trial->end++;
    }
}

enum hw_status hw_needle_trial(const struct hw_tokenizer *tokenizer,
                               const struct hw_tokens *haystack, size_t length, size_t depth,
                               const struct hw_needle *needle,
                               const struct hw_needle_options *options,
                               struct hw_needle_trial *ret_trial, struct hw_error *err) {
    struct building b = {.tokenizer = tokenizer, .needle = needle, .form = options->form};
    struct hw_needle_trial trial = {0};
    size_t n_bytes = 0, context_at = 0;
    enum hw_status status = put_needle(&b, haystack, length, depth, options->room, &trial, err);
    status = status == HW_OK ? fill_template(&b, &trial.text, &n_bytes, &context_at, err) : status;
    if (status == HW_OK) {
        status =
            hw_tokenizer_encode(tokenizer, trial.text, n_bytes, HW_BOS_AUTO, &trial.tokens, err);
    }
    if (status == HW_OK) {
        place_answer(&b, context_at, &trial);
        *ret_trial = trial;
    } else {
        hw_needle_trial_free(&trial);
    }
    free(b.ids);
    free(b.context);
    return status;
}

void hw_needle_trial_free(struct hw_needle_trial *trial) {
    free(trial->text);
    hw_tokens_free(&trial->tokens);
    *trial = (struct hw_needle_trial){0};
}
