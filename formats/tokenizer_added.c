// Added tokens: found in a text before it is split, leftmost first and of those the longest.
//
// The set is sorted by content. At each position the range of items that agree with the text is
// narrowed byte by byte, so a position costs no more than the longest item times a logarithm,
// whatever the file holds. The flags follow AddedVocabulary of HF tokenizers: single_word asks for
// no word character on either side, lstrip and rstrip take blanks along.
#include "formats/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum hw_status hw_added_add(struct added_set *set, const struct added_token *token,
                            struct hw_error *err) {
    if (set->n == set->capacity) {
        size_t capacity = set->capacity == 0 ? 16 : 2 * set->capacity; // n <= HW_MAX_VOCAB
        struct added_token *items = realloc(set->items, capacity * sizeof *items);
        if (items == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu added tokens", capacity);
        }
        set->items = items;
        set->capacity = capacity;
    }
    char *content = malloc(token->n + 1);
    if (content == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for an added token");
    }
    memcpy(content, token->content, token->n);
    content[token->n] = '\0';
    set->items[set->n] = *token;
    set->items[set->n].content = content;
    set->n++;
    return HW_OK;
}

static int compare_added(const void *a, const void *b) {
    const struct added_token *left = a;
    const struct added_token *right = b;
    size_t n = left->n < right->n ? left->n : right->n;
    int order = memcmp(left->content, right->content, n);
    if (order != 0) {
        return order;
    }
    return left->n < right->n ? -1 : left->n > right->n;
}

enum hw_status hw_added_sort(struct added_set *set, struct hw_error *err) {
    if (set->n > 0) {
        qsort(set->items, set->n, sizeof *set->items, compare_added);
    }
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (kept > 0 && compare_added(&set->items[kept - 1], &set->items[i]) == 0) {
            uint32_t id = set->items[kept - 1].id;
            uint32_t other = set->items[i].id;
            free(set->items[i].content);
            set->items[i].content = NULL;
            if (id != other) {
                char shown[80];
                const struct added_token *token = &set->items[kept - 1];
                hw_escape(shown, sizeof shown, token->content, token->n);
                for (size_t rest = i + 1; rest < set->n; rest++) {
                    free(set->items[rest].content);
                }
                set->n = kept;
                return hw_fail(err, HW_INPUT, "added token '%s' has two ids, %u and %u", shown, id,
                               other);
            }
            continue;
        }
        set->items[kept++] = set->items[i];
    }
    set->n = kept;
    size_t next = 0;
    for (size_t byte = 0; byte < 256; byte++) {
        set->first_at[byte] = next;
        while (next < set->n && (unsigned char)set->items[next].content[0] == byte) {
            next++;
        }
    }
    set->first_at[256] = set->n;
    return HW_OK;
}

void hw_added_free(struct added_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        free(set->items[i].content);
    }
    free(set->items);
    *set = (struct added_set){0};
}

// First item in [low, high), all alike before `depth`, whose byte there is at least `byte`; items
// that end before come first.
static size_t lower_bound(const struct added_set *set, size_t low, size_t high, size_t depth,
                          unsigned byte) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct added_token *token = &set->items[middle];
        if (token->n <= depth || (unsigned char)token->content[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const struct added_token *longest_at(const struct added_set *set, const char *text,
                                            size_t n) {
    unsigned lead = (unsigned char)text[0];
    size_t low = set->first_at[lead];
    size_t high = set->first_at[lead + 1];
    const struct added_token *longest = NULL;
    for (size_t depth = 1; low < high; depth++) {
        if (set->items[low].n == depth) {
            longest = &set->items[low];
            low++;
        }
        if (depth == n) {
            break;
        }
        unsigned byte = (unsigned char)text[depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
    }
    return longest;
}

static size_t previous_character(const char *text, size_t at) {
    do {
        at--;
    } while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

// \w of Rust's regex: alphabetic, mark, decimal digit, connector, joiner. The categories stand in
// for Alphabetic.
static bool is_word(uint32_t character) {
    switch (utf8proc_category((utf8proc_int32_t)character)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return character == 0x200C || character == 0x200D ||
               (character >= 0x24B6 && character <= 0x24E9);
    }
}

// White_Space of Unicode.
static bool is_space(uint32_t character) {
    return (character >= 0x09 && character <= 0x0D) || character == 0x20 || character == 0x85 ||
           character == 0xA0 || character == 0x1680 ||
           (character >= 0x2000 && character <= 0x200A) || character == 0x2028 ||
           character == 0x2029 || character == 0x202F || character == 0x205F || character == 0x3000;
}

static bool is_single_word(const char *text, size_t n, size_t first, size_t end) {
    size_t length;
    if (first > 0 && is_word(hw_utf8_get(text + previous_character(text, first), &length))) {
        return false;
    }
    return end == n || !is_word(hw_utf8_get(text + end, &length));
}

static size_t strip_left(const char *text, size_t floor, size_t first) {
    while (first > floor) {
        size_t length;
        size_t before = previous_character(text, first);
        if (before < floor || !is_space(hw_utf8_get(text + before, &length))) {
            break;
        }
        first = before;
    }
    return first;
}

static size_t strip_right(const char *text, size_t n, size_t end) {
    size_t length;
    while (end < n && is_space(hw_utf8_get(text + end, &length))) {
        end += length;
    }
    return end;
}

bool hw_added_next(const struct added_set *set, const char *text, size_t n, size_t *cursor,
                   size_t floor, struct added_match *ret_match) {
    size_t at = *cursor;
    while (at < n && set->n > 0) {
        unsigned lead = (unsigned char)text[at];
        const struct added_token *token = NULL;
        if (set->first_at[lead] != set->first_at[lead + 1]) {
            token = longest_at(set, text + at, n - at);
        }
        if (token == NULL) {
            at++;
            continue;
        }
        size_t end = at + token->n;
        *cursor = end;
        // A match inside the blanks that the one before took along begins where those end.
        if (end > floor && (!token->single_word || is_single_word(text, n, at, end))) {
            ret_match->token = token;
            ret_match->first = token->lstrip ? strip_left(text, floor, at)
                               : at < floor  ? floor
                                             : at;
            ret_match->end = token->rstrip ? strip_right(text, n, end) : end;
            return true;
        }
        at = end;
    }
    *cursor = n;
    return false;
}
