// Byte-pair encoding of one piece: merge the pair of lowest rank, leftmost first, until no pair has
// a merge.
//
// Symbols form a linked list; candidates lie in a binary heap ordered by rank and position, and one
// that no longer holds when it comes up is dropped. A piece of n bytes costs O(n log n). The order
// is that of Word::merge_all in HF tokenizers. Source: Sennrich, Haddow and Birch 2016,
// section 3.2.
#include "formats/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#define END_OF_LIST UINT32_MAX

enum hw_status hw_tokens_push(struct hw_tokens *tokens, struct hw_token token,
                              struct hw_error *err) {
    if (tokens->n == tokens->capacity) {
        size_t capacity =
            tokens->capacity == 0 ? 64 : 2 * tokens->capacity; // n <= HW_MAX_TEXT_BYTES + 1
        struct hw_token *items = realloc(tokens->items, capacity * sizeof *items);
        if (items == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu tokens", capacity);
        }
        tokens->items = items;
        tokens->capacity = capacity;
    }
    tokens->items[tokens->n++] = token;
    return HW_OK;
}

void hw_bpe_free(struct bpe *bpe) {
    free(bpe->symbols);
    free(bpe->heap);
    free(bpe->printable);
    *bpe = (struct bpe){0};
}

static bool comes_before(const struct bpe_candidate *a, const struct bpe_candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->position < b->position;
}

static void heap_push(struct bpe *bpe, struct bpe_candidate candidate) {
    size_t at = bpe->n_heap++;
    while (at > 0 && comes_before(&candidate, &bpe->heap[(at - 1) / 2])) {
        bpe->heap[at] = bpe->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    bpe->heap[at] = candidate;
}

static struct bpe_candidate heap_pop(struct bpe *bpe) {
    struct bpe_candidate top = bpe->heap[0];
    struct bpe_candidate last = bpe->heap[--bpe->n_heap];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= bpe->n_heap) {
            break;
        }
        if (child + 1 < bpe->n_heap && comes_before(&bpe->heap[child + 1], &bpe->heap[child])) {
            child++;
        }
        if (!comes_before(&bpe->heap[child], &last)) {
            break;
        }
        bpe->heap[at] = bpe->heap[child];
        at = child;
    }
    bpe->heap[at] = last;
    return top;
}

// Offers the pair that begins at symbol `at`, where it has a merge.
static void offer(const struct hw_tokenizer *tokenizer, struct bpe *bpe, uint32_t at) {
    uint32_t next = bpe->symbols[at].next;
    if (next == END_OF_LIST) {
        return;
    }
    const struct merge_entry *merge =
        hw_merges_find(tokenizer, bpe->symbols[at].id, bpe->symbols[next].id);
    if (merge != NULL) {
        heap_push(bpe, (struct bpe_candidate){merge->rank, at, merge->id});
    }
}

// Every merge takes one symbol away and offers at most two pairs, so 2n candidates are never
// exceeded.
static enum hw_status reserve(struct bpe *bpe, size_t n, struct hw_error *err) {
    if (n <= bpe->symbol_capacity) {
        return HW_OK;
    }
    size_t capacity = n + n / 2 + 64; // n <= HW_MAX_PIECE_BYTES
    struct bpe_symbol *symbols = realloc(bpe->symbols, capacity * sizeof *symbols);
    if (symbols != NULL) {
        bpe->symbols = symbols;
    }
    struct bpe_candidate *heap = realloc(bpe->heap, 2 * capacity * sizeof *heap);
    if (heap != NULL) {
        bpe->heap = heap;
    }
    char *printable = realloc(bpe->printable, 2 * capacity);
    if (printable != NULL) {
        bpe->printable = printable;
    }
    if (symbols == NULL || heap == NULL || printable == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to encode a piece of %zu bytes", n);
    }
    bpe->symbol_capacity = capacity;
    return HW_OK;
}

// One symbol a byte. A byte without a token becomes the unknown token (with fuse_unk one for
// several in a row) or, where there is none, is left out.
static void put_bytes(const struct hw_tokenizer *tokenizer, struct bpe *bpe, const char *piece,
                      size_t n) {
    uint32_t n_symbols = 0;
    bool after_unknown = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = tokenizer->byte_ids[(unsigned char)piece[i]];
        bool is_unknown = id == HW_TOKEN_NONE;
        if (is_unknown && tokenizer->unk_id == HW_TOKEN_NONE) {
            continue;
        }
        if (is_unknown && after_unknown && tokenizer->fuse_unk) {
            bpe->symbols[n_symbols - 1].end = i + 1;
            continue;
        }
        after_unknown = is_unknown;
        bpe->symbols[n_symbols] =
            (struct bpe_symbol){.id = is_unknown ? tokenizer->unk_id : id,
                                .first = i,
                                .end = i + 1,
                                .prev = n_symbols - 1, // END_OF_LIST for the first
                                .next = n_symbols + 1};
        n_symbols++;
    }
    if (n_symbols > 0) {
        bpe->symbols[n_symbols - 1].next = END_OF_LIST;
    }
    bpe->n_symbols = n_symbols;
}

static void merge_all(const struct hw_tokenizer *tokenizer, struct bpe *bpe) {
    bpe->n_heap = 0;
    for (uint32_t i = 0; i < bpe->n_symbols; i++) {
        offer(tokenizer, bpe, i);
    }
    while (bpe->n_heap > 0) {
        struct bpe_candidate top = heap_pop(bpe);
        struct bpe_symbol *left = &bpe->symbols[top.position];
        if (left->id == HW_TOKEN_NONE || left->next == END_OF_LIST) {
            continue;
        }
        struct bpe_symbol *right = &bpe->symbols[left->next];
        const struct merge_entry *merge = hw_merges_find(tokenizer, left->id, right->id);
        if (merge == NULL || merge->id != top.id) {
            continue; // one of the two was merged with another in the meantime
        }
        left->id = merge->id;
        left->end = right->end;
        left->next = right->next;
        right->id = HW_TOKEN_NONE;
        if (left->next != END_OF_LIST) {
            bpe->symbols[left->next].prev = top.position;
        }
        if (left->prev != END_OF_LIST) {
            offer(tokenizer, bpe, left->prev);
        }
        offer(tokenizer, bpe, top.position);
    }
}

enum hw_status hw_bpe_piece(const struct hw_tokenizer *tokenizer, struct bpe *bpe,
                            const char *piece, size_t n, struct hw_tokens *tokens,
                            struct hw_error *err) {
    if (n > HW_MAX_PIECE_BYTES) {
        return hw_fail(err, HW_INPUT, "a run of %zu bytes without a place to split (limit %d)", n,
                       HW_MAX_PIECE_BYTES);
    }
    enum hw_status status = reserve(bpe, n, err);
    if (status != HW_OK) {
        return status;
    }
    if (tokenizer->ignore_merges) {
        uint32_t id =
            hw_vocab_find(tokenizer, bpe->printable, hw_alphabet_encode(piece, n, bpe->printable));
        if (id != HW_TOKEN_NONE) {
            return hw_tokens_push(tokens, (struct hw_token){id, 0, (uint32_t)n}, err);
        }
    }
    put_bytes(tokenizer, bpe, piece, n);
    merge_all(tokenizer, bpe);
    if (bpe->n_symbols == 0) {
        return HW_OK;
    }
    for (uint32_t at = 0; status == HW_OK && at != END_OF_LIST; at = bpe->symbols[at].next) {
        const struct bpe_symbol *symbol = &bpe->symbols[at];
        status =
            hw_tokens_push(tokens, (struct hw_token){symbol->id, symbol->first, symbol->end}, err);
    }
    return status;
}
