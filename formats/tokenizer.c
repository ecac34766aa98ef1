// The tokenizer's public face: encoding in the five steps of tokenizer_internal.h, decoding, and
// questions about tokens.
#include "formats/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "kernels/size.h"

struct hw_tokenizer *hw_tokenizer_new(struct hw_error *err) {
    struct hw_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) {
        (void)hw_fail(err, HW_RESOURCE, "not enough memory for a tokenizer");
        return NULL;
    }
    tokenizer->unk_id = HW_TOKEN_NONE;
    tokenizer->bos_id = HW_TOKEN_NONE;
    hw_sha256_init(&tokenizer->merges_hash);
    return tokenizer;
}

void hw_tokenizer_close(struct hw_tokenizer **tokenizer) {
    struct hw_tokenizer *closing = *tokenizer;
    if (closing == NULL) {
        return;
    }
    free(closing->text_at);
    free(closing->bytes_at);
    free(closing->kinds);
    free(closing->ends);
    free(closing->texts.data);
    free(closing->bytes.data);
    free(closing->map.ids);
    free(closing->merges.entries);
    hw_added_free(&closing->added);
    hw_added_free(&closing->added_normalized);
    for (size_t i = 0; i < closing->n_steps; i++) {
        pcre2_code_free(closing->steps[i].code);
    }
    free(closing);
    *tokenizer = NULL;
}

// State of one call of encode.
struct encoding {
    const struct hw_tokenizer *tokenizer;
    struct splitter splitter;
    struct bpe bpe;
    struct hw_tokens *tokens;
    const struct normal_text *normal; // of the stretch at hand
    size_t base;                      // where that stretch begins in the text
    size_t split_base;                // where the text being split begins in the normalised stretch
};

// Takes [first, end) of the normalised stretch back to the text given.
static struct hw_token place(const struct encoding *encoding, uint32_t id, size_t first,
                             size_t end) {
    hw_normal_map(encoding->normal, &first, &end);
    return (struct hw_token){id, (uint32_t)(encoding->base + first),
                             (uint32_t)(encoding->base + end)};
}

static enum hw_status encode_piece(void *user, const char *text, size_t n, size_t first,
                                   bool has_prefix, struct hw_error *err) {
    struct encoding *encoding = user;
    size_t from = encoding->tokens->n;
    enum hw_status status =
        hw_bpe_piece(encoding->tokenizer, &encoding->bpe, text, n, encoding->tokens, err);
    for (size_t i = from; status == HW_OK && i < encoding->tokens->n; i++) {
        struct hw_token *token = &encoding->tokens->items[i];
        size_t at = encoding->split_base + first;
        size_t from_byte = token->first - (has_prefix && token->first > 0);
        size_t to_byte = token->end - has_prefix;
        if (to_byte == 0) { // the added blank alone: it stands for the character after it
            (void)hw_utf8_get(text + 1, &to_byte);
        }
        *token = place(encoding, token->id, at + from_byte, at + to_byte);
    }
    return status;
}

// What lies between two tokens that were added: normalised, cut at the added tokens of the second
// kind, split.
static enum hw_status encode_stretch(struct encoding *encoding, const char *text, size_t n,
                                     struct hw_error *err) {
    const struct hw_tokenizer *tokenizer = encoding->tokenizer;
    struct normal_text normal = {.text = text, .n = n};
    enum hw_status status = HW_OK;
    if (tokenizer->is_nfc) {
        status = hw_normal_nfc(text, n, &normal, err);
    }
    encoding->normal = &normal;
    size_t cursor = 0;
    for (size_t at = 0; status == HW_OK && at < normal.n;) {
        struct added_match match = {.first = normal.n, .end = normal.n};
        bool found =
            hw_added_next(&tokenizer->added_normalized, normal.text, normal.n, &cursor, at, &match);
        encoding->split_base = at;
        status = hw_split(&encoding->splitter, normal.text + at, match.first - at, err);
        if (status == HW_OK && found) {
            status = hw_tokens_push(encoding->tokens,
                                    place(encoding, match.token->id, match.first, match.end), err);
        }
        at = match.end;
    }
    hw_normal_free(&normal);
    return status;
}

static enum hw_status encode_text(struct encoding *encoding, const char *text, size_t n,
                                  struct hw_error *err) {
    enum hw_status status = HW_OK;
    size_t cursor = 0;
    for (size_t at = 0; status == HW_OK && at < n;) {
        struct added_match match = {.first = n, .end = n};
        bool found = hw_added_next(&encoding->tokenizer->added, text, n, &cursor, at, &match);
        encoding->base = at;
        status = encode_stretch(encoding, text + at, match.first - at, err);
        if (status == HW_OK && found) {
            status = hw_tokens_push(
                encoding->tokens,
                (struct hw_token){match.token->id, (uint32_t)match.first, (uint32_t)match.end},
                err);
        }
        at = match.end;
    }
    return status;
}

// BOS in front of the tokens from `from` on, where it is wanted.
static enum hw_status put_bos(const struct hw_tokenizer *tokenizer, enum hw_add_bos add_bos,
                              struct hw_tokens *tokens, size_t from, struct hw_error *err) {
    bool is_wanted = add_bos == HW_BOS_YES || (add_bos == HW_BOS_AUTO && tokenizer->adds_bos);
    bool is_there = tokens->n > from && tokens->items[from].id == tokenizer->bos_id;
    if (!is_wanted || (add_bos == HW_BOS_AUTO && is_there)) {
        return HW_OK;
    }
    if (tokenizer->bos_id == HW_TOKEN_NONE) {
        return hw_fail(err, HW_INPUT, "a BOS token is wanted, but this tokenizer has none");
    }
    enum hw_status status = hw_tokens_push(tokens, (struct hw_token){0}, err);
    if (status == HW_OK) {
        memmove(tokens->items + from + 1, tokens->items + from,
                (tokens->n - 1 - from) * sizeof *tokens->items);
        tokens->items[from] = (struct hw_token){.id = tokenizer->bos_id};
    }
    return status;
}

enum hw_status hw_tokenizer_encode(const struct hw_tokenizer *tokenizer, const char *text,
                                   size_t n_bytes, enum hw_add_bos add_bos,
                                   struct hw_tokens *tokens, struct hw_error *err) {
    if (n_bytes > HW_MAX_TEXT_BYTES) {
        return hw_fail(err, HW_INPUT, "the text has %zu bytes, more than %zu", n_bytes,
                       HW_MAX_TEXT_BYTES);
    }
    size_t bad = hw_utf8_check(text, n_bytes);
    if (bad != n_bytes) {
        return hw_fail(err, HW_INPUT, "the text is not valid UTF-8 at byte %zu (found 0x%02x)", bad,
                       (unsigned char)text[bad]);
    }
    size_t from = tokens->n;
    struct encoding encoding = {.tokenizer = tokenizer, .tokens = tokens};
    enum hw_status status = hw_splitter_open(tokenizer, &encoding.splitter, err);
    if (status != HW_OK) {
        return status;
    }
    encoding.splitter.piece = encode_piece;
    encoding.splitter.user = &encoding;
    status = encode_text(&encoding, text, n_bytes, err);
    if (status == HW_OK) {
        status = put_bos(tokenizer, add_bos, tokens, from, err);
    }
    if (status != HW_OK) {
        tokens->n = from;
    }
    hw_splitter_close(&encoding.splitter);
    hw_bpe_free(&encoding.bpe);
    return status;
}

void hw_tokens_free(struct hw_tokens *tokens) {
    free(tokens->items);
    *tokens = (struct hw_tokens){0};
}

enum hw_status hw_tokenizer_decode(const struct hw_tokenizer *tokenizer, const uint32_t *ids,
                                   size_t n, char **ret_bytes, size_t *ret_n_bytes,
                                   struct hw_error *err) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= tokenizer->n_vocab) {
            return hw_fail(err, HW_INPUT,
                           "token id %u at place %zu is out of range (expected 0 to %u)", ids[i], i,
                           tokenizer->n_vocab - 1);
        }
        size_t n_token;
        (void)hw_tokenizer_bytes(tokenizer, ids[i], &n_token);
        if (!hw_size_add(n_bytes, n_token, &n_bytes)) {
            return hw_fail(err, HW_RESOURCE, "%zu tokens are too many to decode", n);
        }
    }
    char *bytes = n_bytes == SIZE_MAX ? NULL : malloc(n_bytes + 1);
    if (bytes == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu bytes of text", n_bytes);
    }
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t n_token;
        const char *token = hw_tokenizer_bytes(tokenizer, ids[i], &n_token);
        memcpy(bytes + at, token, n_token);
        at += n_token;
    }
    bytes[at] = '\0';
    *ret_bytes = bytes;
    *ret_n_bytes = n_bytes;
    return HW_OK;
}

size_t hw_tokenizer_n_vocab(const struct hw_tokenizer *tokenizer) {
    return tokenizer->n_vocab;
}

const char *hw_tokenizer_text(const struct hw_tokenizer *tokenizer, uint32_t id) {
    return id < tokenizer->n_vocab ? tokenizer->texts.data + tokenizer->text_at[id] : "";
}

const char *hw_tokenizer_bytes(const struct hw_tokenizer *tokenizer, uint32_t id, size_t *ret_n) {
    if (id >= tokenizer->n_vocab) {
        *ret_n = 0;
        return "";
    }
    *ret_n = tokenizer->bytes_at[id + 1] - tokenizer->bytes_at[id];
    return tokenizer->bytes.data + tokenizer->bytes_at[id];
}

bool hw_tokenizer_is_special(const struct hw_tokenizer *tokenizer, uint32_t id) {
    return id < tokenizer->n_vocab && tokenizer->kinds[id] == TOKEN_SPECIAL;
}

static bool is_blank(uint32_t character) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)character);
    return (character >= 0x09 && character <= 0x0D) || character == 0x85 ||
           category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

bool hw_tokenizer_is_punctuation(const struct hw_tokenizer *tokenizer, uint32_t id) {
    size_t n;
    const char *bytes = hw_tokenizer_bytes(tokenizer, id, &n);
    if (hw_tokenizer_is_special(tokenizer, id) || hw_utf8_check(bytes, n) != n) {
        return false;
    }
    bool found = false;
    for (size_t i = 0; i < n;) {
        size_t length;
        uint32_t character = hw_utf8_get(bytes + i, &length);
        i += length;
        if (is_blank(character)) {
            continue;
        }
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)character);
        // The enumeration has the categories P* and then S* in one row, Pc to So.
        if (category < UTF8PROC_CATEGORY_PC || category > UTF8PROC_CATEGORY_SO) {
            return false;
        }
        found = true;
    }
    return found;
}

bool hw_tokenizer_is_end(const struct hw_tokenizer *tokenizer, uint32_t id) {
    return id < tokenizer->n_vocab && tokenizer->ends[id] != 0;
}

void hw_tokenizer_mark_end(struct hw_tokenizer *tokenizer, uint32_t id) {
    if (id < tokenizer->n_vocab) {
        tokenizer->ends[id] = 1;
    }
}

void hw_tokenizer_set_pre(struct hw_tokenizer *tokenizer, const char *pre) {
    size_t n = hw_size_min(strlen(pre), sizeof tokenizer->pre - 1);
    memcpy(tokenizer->pre, pre, n);
    tokenizer->pre[n] = '\0';
}

void hw_tokenizer_mark_known_ends(struct hw_tokenizer *tokenizer) {
    static const char *const known[] = {
        "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>",
        "<|end|>",       "<end_of_turn>",   "<|EOT|>",    "<|return|>", "<end_of_utterance>",
    };
    for (uint32_t id = 0; id < tokenizer->n_vocab; id++) {
        if (tokenizer->kinds[id] != TOKEN_SPECIAL) {
            continue;
        }
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            if (strcmp(hw_tokenizer_text(tokenizer, id), known[i]) == 0) {
                tokenizer->ends[id] = 1;
            }
        }
    }
}

int64_t hw_tokenizer_bos(const struct hw_tokenizer *tokenizer) {
    return tokenizer->bos_id == HW_TOKEN_NONE ? -1 : (int64_t)tokenizer->bos_id;
}

bool hw_tokenizer_adds_bos(const struct hw_tokenizer *tokenizer) {
    return tokenizer->adds_bos;
}

const char *hw_tokenizer_kind(const struct hw_tokenizer *tokenizer) {
    (void)tokenizer;
    return "bpe";
}

const char *hw_tokenizer_pre(const struct hw_tokenizer *tokenizer) {
    return tokenizer->pre;
}

static void hash_u32(struct hw_sha256 *hash, uint32_t value) {
    const unsigned char bytes[4] = {(unsigned char)value, (unsigned char)(value >> 8),
                                    (unsigned char)(value >> 16), (unsigned char)(value >> 24)};
    hw_sha256_update(hash, bytes, 4);
}

// Each id in order: kind, length and bytes; then the hash that was taken of the merges, by rank,
// when they were read.
void hw_tokenizer_sha256(const struct hw_tokenizer *tokenizer, char ret_hex[65]) {
    struct hw_sha256 hash;
    hw_sha256_init(&hash);
    hash_u32(&hash, tokenizer->n_vocab);
    for (uint32_t id = 0; id < tokenizer->n_vocab; id++) {
        size_t n;
        const char *bytes = hw_tokenizer_bytes(tokenizer, id, &n);
        hash_u32(&hash, tokenizer->kinds[id]);
        hash_u32(&hash, (uint32_t)n);
        hw_sha256_update(&hash, bytes, n);
    }
    struct hw_sha256 merges = tokenizer->merges_hash;
    char merges_hex[65];
    hw_sha256_hex(&merges, merges_hex);
    hw_sha256_update(&hash, merges_hex, 64);
    hw_sha256_hex(&hash, ret_hex);
}
