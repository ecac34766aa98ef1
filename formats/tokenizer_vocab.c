// The vocabulary: flat arrays by id, one hash table from text to id, one from a pair of ids to its
// merge.
//
// The byte alphabet of GPT-2 writes a byte as one character: 21-7E, A1-AC and AE-FF as the
// character of that number, the other 68 in order from U+0100 on. A token whose characters all
// belong to it stands for those bytes, any other for its own UTF-8, which is how the ByteLevel
// decoder of HF tokenizers reads it.
#include "formats/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

enum { N_ALPHABET = 0x144 }; // code points U+0000 ... U+0143 hold the alphabet

static bool is_printable_byte(unsigned byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The character of a byte outside the printable ranges is U+0100 plus the number of such bytes
// before it.
static uint32_t alphabet_character(unsigned byte) {
    if (is_printable_byte(byte)) {
        return byte;
    }
    if (byte <= 0x20) {
        return 0x100 + byte;
    }
    return byte == 0xAD ? 0x143 : 0x100 + 0x21 + (byte - 0x7F);
}

// -1 where the character is not of the alphabet.
static int alphabet_byte(uint32_t character) {
    if (character < 0x100) {
        return is_printable_byte(character) ? (int)character : -1;
    }
    if (character <= 0x120) {
        return (int)(character - 0x100);
    }
    if (character < 0x143) {
        return (int)(character - 0x121 + 0x7F);
    }
    return character == 0x143 ? 0xAD : -1;
}

static size_t utf8_put(uint32_t character, char *ret) {
    if (character < 0x80) {
        ret[0] = (char)character;
        return 1;
    }
    ret[0] = (char)(0xC0 | character >> 6); // the alphabet ends below U+0800
    ret[1] = (char)(0x80 | (character & 0x3F));
    return 2;
}

size_t hw_alphabet_encode(const char *bytes, size_t n, char *ret_text) {
    size_t n_text = 0;
    for (size_t i = 0; i < n; i++) {
        n_text += utf8_put(alphabet_character((unsigned char)bytes[i]), ret_text + n_text);
    }
    return n_text;
}

static uint64_t hash_bytes(const char *text, size_t n) {
    uint64_t hash = 0x9E3779B97F4A7C15u ^ n; // FNV-like, then mixed: the low bits index the table
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001B3u;
    }
    return hash ^ hash >> 29;
}

static uint64_t hash_pair(uint64_t pair) {
    pair *= 0x9E3779B97F4A7C15u;
    return pair ^ pair >> 32;
}

// A power of two at least twice n.
static size_t table_capacity(size_t n) {
    size_t capacity = 16;
    while (capacity < 2 * n) { // n <= HW_MAX_MERGES
        capacity *= 2;
    }
    return capacity;
}

static const char *text_of(const struct hw_tokenizer *tokenizer, uint32_t id, size_t *ret_n) {
    size_t first = tokenizer->text_at[id];
    *ret_n = tokenizer->text_at[id + 1] - first - 1;
    return tokenizer->texts.data + first;
}

uint32_t hw_vocab_find(const struct hw_tokenizer *tokenizer, const char *text, size_t n) {
    size_t mask = tokenizer->map.capacity - 1;
    for (size_t slot = hash_bytes(text, n) & mask;; slot = (slot + 1) & mask) {
        uint32_t id = tokenizer->map.ids[slot];
        if (id == HW_TOKEN_NONE) {
            return HW_TOKEN_NONE;
        }
        size_t n_found;
        const char *found = text_of(tokenizer, id, &n_found);
        if (n_found == n && memcmp(found, text, n) == 0) {
            return id;
        }
    }
}

uint32_t hw_vocab_find_any(const struct hw_tokenizer *tokenizer, const char *text, size_t n) {
    const struct added_set *sets[] = {&tokenizer->added, &tokenizer->added_normalized};
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < sets[s]->n; i++) {
            const struct added_token *token = &sets[s]->items[i];
            if (token->n == n && memcmp(token->content, text, n) == 0) {
                return token->id;
            }
        }
    }
    return hw_vocab_find(tokenizer, text, n);
}

// The printable form of an added token: its own text, with blanks and control characters in the
// byte alphabet.
static size_t printable_added(const char *text, size_t n, char *ret_text) {
    size_t n_text = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned byte = (unsigned char)text[i];
        if (byte <= 0x20 || byte == 0x7F) {
            n_text += utf8_put(alphabet_character(byte), ret_text + n_text);
        } else {
            ret_text[n_text++] = (char)byte;
        }
    }
    return n_text;
}

// Bytes of a token of the model: read through the alphabet where all characters belong to it, else
// as they are.
static size_t token_bytes(const char *text, size_t n, char *ret_bytes) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < n;) {
        size_t length;
        int byte = alphabet_byte(hw_utf8_get(text + i, &length));
        if (byte < 0) {
            memcpy(ret_bytes, text, n);
            return n;
        }
        ret_bytes[n_bytes++] = (char)byte;
        i += length;
    }
    return n_bytes;
}

// Orders the entries by id and checks them one by one; an added token that the model has as well is
// one token. by_id [n_vocab] indexes entries, SIZE_MAX: a gap.
static enum hw_status place_entries(struct vocab_entry *entries, size_t n, size_t *by_id,
                                    size_t n_vocab, struct hw_error *err) {
    for (size_t i = 0; i < n_vocab; i++) {
        by_id[i] = SIZE_MAX;
    }
    for (size_t i = 0; i < n; i++) {
        const struct vocab_entry *entry = &entries[i];
        char shown[80];
        if (entry->n > HW_MAX_TOKEN_BYTES) {
            return hw_fail(err, HW_INPUT, "token %u has %zu bytes, more than %d", entry->id,
                           entry->n, HW_MAX_TOKEN_BYTES);
        }
        if (memchr(entry->text, '\0', entry->n) != NULL ||
            hw_utf8_check(entry->text, entry->n) != entry->n) {
            return hw_fail(err, HW_INPUT,
                           "the text of token %u is not valid UTF-8 without NUL: '%s'", entry->id,
                           hw_escape(shown, sizeof shown, entry->text, entry->n));
        }
        if (by_id[entry->id] != SIZE_MAX) {
            struct vocab_entry *other = &entries[by_id[entry->id]];
            if (other->n == entry->n && memcmp(other->text, entry->text, entry->n) == 0) {
                other->kind = other->kind > entry->kind ? other->kind : entry->kind;
                other->is_mapped |= entry->is_mapped;
                continue;
            }
            char shown_other[80];
            return hw_fail(err, HW_INPUT, "token id %u is given to both '%s' and '%s'", entry->id,
                           hw_escape(shown_other, sizeof shown_other, other->text, other->n),
                           hw_escape(shown, sizeof shown, entry->text, entry->n));
        }
        by_id[entry->id] = i;
    }
    return HW_OK;
}

// Writes texts and bytes of all ids; the pools are large enough (2n + 1 and n for a text of n
// bytes).
static void fill_pools(struct hw_tokenizer *tokenizer, const struct vocab_entry *entries,
                       const size_t *by_id) {
    for (uint32_t id = 0; id < tokenizer->n_vocab; id++) {
        tokenizer->text_at[id] = tokenizer->texts.n;
        tokenizer->bytes_at[id] = tokenizer->bytes.n;
        char *text = tokenizer->texts.data + tokenizer->texts.n;
        char *bytes = tokenizer->bytes.data + tokenizer->bytes.n;
        size_t n_text = 0;
        if (by_id[id] != SIZE_MAX) {
            const struct vocab_entry *entry = &entries[by_id[id]];
            tokenizer->kinds[id] = entry->kind;
            if (entry->kind == TOKEN_NORMAL) {
                memcpy(text, entry->text, entry->n);
                n_text = entry->n;
                tokenizer->bytes.n += token_bytes(entry->text, entry->n, bytes);
            } else {
                n_text = printable_added(entry->text, entry->n, text);
                memcpy(bytes, entry->text, entry->n);
                tokenizer->bytes.n += entry->n;
            }
        }
        text[n_text] = '\0';
        tokenizer->texts.n += n_text + 1;
    }
    tokenizer->text_at[tokenizer->n_vocab] = tokenizer->texts.n;
    tokenizer->bytes_at[tokenizer->n_vocab] = tokenizer->bytes.n;
}

static enum hw_status fill_map(struct hw_tokenizer *tokenizer, const struct vocab_entry *entries,
                               const size_t *by_id, struct hw_error *err) {
    size_t mask = tokenizer->map.capacity - 1;
    for (uint32_t id = 0; id < tokenizer->n_vocab; id++) {
        if (by_id[id] == SIZE_MAX || !entries[by_id[id]].is_mapped) {
            continue;
        }
        size_t n;
        const char *text = text_of(tokenizer, id, &n);
        if (n != entries[by_id[id]].n) {
            continue; // an added token with blanks in it: no piece and no merge can name it
        }
        uint32_t other = hw_vocab_find(tokenizer, text, n);
        if (other != HW_TOKEN_NONE) {
            char shown[80];
            return hw_fail(err, HW_INPUT, "token '%s' has two ids, %u and %u",
                           hw_escape(shown, sizeof shown, text, n), other, id);
        }
        size_t slot = hash_bytes(text, n) & mask;
        while (tokenizer->map.ids[slot] != HW_TOKEN_NONE) {
            slot = (slot + 1) & mask;
        }
        tokenizer->map.ids[slot] = id;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[2];
        char one = (char)byte;
        tokenizer->byte_ids[byte] =
            hw_vocab_find(tokenizer, text, hw_alphabet_encode(&one, 1, text));
    }
    return HW_OK;
}

static enum hw_status allocate(struct hw_tokenizer *tokenizer, size_t n_entries, size_t n_text,
                               struct hw_error *err) {
    size_t n = tokenizer->n_vocab;
    tokenizer->text_at = calloc(n + 1, sizeof *tokenizer->text_at);
    tokenizer->bytes_at = calloc(n + 1, sizeof *tokenizer->bytes_at);
    tokenizer->kinds = calloc(n + 1, 1);
    tokenizer->ends = calloc(n + 1, 1);
    tokenizer->texts.data = malloc(2 * n_text + n + 1);
    tokenizer->bytes.data = malloc(n_text + 1);
    tokenizer->map.capacity = table_capacity(n_entries);
    tokenizer->map.ids = malloc(tokenizer->map.capacity * sizeof *tokenizer->map.ids);
    if (tokenizer->text_at == NULL || tokenizer->bytes_at == NULL || tokenizer->kinds == NULL ||
        tokenizer->ends == NULL || tokenizer->texts.data == NULL || tokenizer->bytes.data == NULL ||
        tokenizer->map.ids == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a vocabulary of %zu tokens", n);
    }
    for (size_t i = 0; i < tokenizer->map.capacity; i++) {
        tokenizer->map.ids[i] = HW_TOKEN_NONE;
    }
    return HW_OK;
}

enum hw_status hw_vocab_build(struct hw_tokenizer *tokenizer, struct vocab_entry *entries, size_t n,
                              struct hw_error *err) {
    size_t n_text = 0;
    uint32_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].id >= HW_MAX_VOCAB) {
            return hw_fail(err, HW_INPUT, "token id %u is too large (limit %d)", entries[i].id,
                           HW_MAX_VOCAB);
        }
        last = entries[i].id > last ? entries[i].id : last;
        n_text += entries[i].n; // cannot overflow: at most HW_MAX_VOCAB views of one file in memory
    }
    if (n == 0 || n > HW_MAX_VOCAB || n_text > (size_t)1 << 32) {
        return hw_fail(err, HW_INPUT,
                       "a vocabulary of %zu tokens and %zu bytes (expected 1 to %d tokens)", n,
                       n_text, HW_MAX_VOCAB);
    }
    tokenizer->n_vocab = last + 1;
    size_t *by_id = malloc((size_t)tokenizer->n_vocab * sizeof *by_id);
    enum hw_status status =
        by_id == NULL ? hw_fail(err, HW_RESOURCE, "not enough memory for the vocabulary") : HW_OK;
    if (status == HW_OK) {
        status = place_entries(entries, n, by_id, tokenizer->n_vocab, err);
    }
    if (status == HW_OK) {
        status = allocate(tokenizer, n, n_text, err);
    }
    if (status == HW_OK) {
        fill_pools(tokenizer, entries, by_id);
        status = fill_map(tokenizer, entries, by_id, err);
    }
    free(by_id);
    return status;
}

enum hw_status hw_merges_reserve(struct hw_tokenizer *tokenizer, size_t n, struct hw_error *err) {
    if (n > HW_MAX_MERGES) {
        return hw_fail(err, HW_INPUT, "%zu merges, more than %d", n, HW_MAX_MERGES);
    }
    size_t capacity = table_capacity(n);
    struct merge_entry *entries = malloc(capacity * sizeof *entries);
    if (entries == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu merges", n);
    }
    for (size_t i = 0; i < capacity; i++) {
        entries[i] = (struct merge_entry){.rank = HW_TOKEN_NONE};
    }
    tokenizer->merges = (struct merge_map){.entries = entries, .capacity = capacity};
    return HW_OK;
}

static enum hw_status merge_fail(uint32_t rank, const char *left, size_t n_left, const char *right,
                                 size_t n_right, const char *what, struct hw_error *err) {
    char shown[80], shown_right[80];
    return hw_fail(err, HW_INPUT, "merge %u, '%s' '%s': %s is not in the vocabulary", rank,
                   hw_escape(shown, sizeof shown, left, n_left),
                   hw_escape(shown_right, sizeof shown_right, right, n_right), what);
}

enum hw_status hw_merges_add(struct hw_tokenizer *tokenizer, const char *left, size_t n_left,
                             const char *right, size_t n_right, struct hw_error *err) {
    uint32_t rank = (uint32_t)tokenizer->merges.n;
    uint32_t left_id = hw_vocab_find(tokenizer, left, n_left);
    uint32_t right_id = hw_vocab_find(tokenizer, right, n_right);
    if (left_id == HW_TOKEN_NONE || right_id == HW_TOKEN_NONE) {
        return merge_fail(rank, left, n_left, right, n_right,
                          left_id == HW_TOKEN_NONE ? "the left part" : "the right part", err);
    }
    char joined[2 * HW_MAX_TOKEN_BYTES];
    memcpy(joined, left, n_left);
    memcpy(joined + n_left, right, n_right);
    uint32_t id = hw_vocab_find(tokenizer, joined, n_left + n_right);
    if (id == HW_TOKEN_NONE) {
        return merge_fail(rank, left, n_left, right, n_right, "what they make", err);
    }
    uint64_t pair = (uint64_t)left_id << 32 | right_id;
    size_t mask = tokenizer->merges.capacity - 1;
    size_t slot = hash_pair(pair) & mask;
    while (tokenizer->merges.entries[slot].rank != HW_TOKEN_NONE &&
           tokenizer->merges.entries[slot].pair != pair) {
        slot = (slot + 1) & mask;
    }
    tokenizer->merges.entries[slot] = (struct merge_entry){.pair = pair, .rank = rank, .id = id};
    tokenizer->merges.n++;
    const uint32_t ids[3] = {left_id, right_id, id};
    unsigned char hashed[12];
    for (size_t i = 0; i < 12; i++) {
        hashed[i] = (unsigned char)(ids[i / 4] >> 8 * (i % 4));
    }
    hw_sha256_update(&tokenizer->merges_hash, hashed, sizeof hashed);
    return HW_OK;
}

const struct merge_entry *hw_merges_find(const struct hw_tokenizer *tokenizer, uint32_t left,
                                         uint32_t right) {
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t mask = tokenizer->merges.capacity - 1;
    for (size_t slot = hash_pair(pair) & mask;; slot = (slot + 1) & mask) {
        const struct merge_entry *entry = &tokenizer->merges.entries[slot];
        if (entry->rank == HW_TOKEN_NONE) {
            return NULL;
        }
        if (entry->pair == pair) {
            return entry;
        }
    }
}
