// ROUGE-1 recall; see rouge.h. Both texts become sorted lists of stems, and a merge counts what
// they share.
#include "analysis/rouge.h"

#include <libstemmer.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

enum { STEMMED_FROM = 4 }; // shorter words stay as they are

struct words {
    char *text; // the stems, each with its NUL
    char **items;
    size_t n;
};

static char to_word_letter(char c) {
    if (c >= 'A' && c <= 'Z') {
        return (char)(c - 'A' + 'a');
    }
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '\0';
}

static int compare_words(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool stem(struct sb_stemmer *stemmer, char *word, size_t n) {
    if (n < STEMMED_FROM || n > INT_MAX) {
        return true;
    }
    const sb_symbol *stemmed = sb_stemmer_stem(stemmer, (const sb_symbol *)word, (int)n);
    if (stemmed == NULL) {
        return false;
    }
    size_t n_stem = hw_size_min(n, (size_t)sb_stemmer_length(stemmer)); // never longer
    memcpy(word, stemmed, n_stem);
    word[n_stem] = '\0';
    return true;
}

// The stems of a text, sorted.
static bool split(struct sb_stemmer *stemmer, const char *text, size_t n, struct words *words) {
    words->text = malloc(n + 1);
    words->items = calloc(n / 2 + 1, sizeof *words->items);
    if (words->text == NULL || words->items == NULL) {
        return false;
    }
    for (size_t i = 0; i <= n; i++) {
        words->text[i] = i < n ? to_word_letter(text[i]) : '\0';
    }
    for (size_t i = 0; i < n; i++) {
        size_t n_word = strlen(words->text + i);
        if (n_word > 0) {
            words->items[words->n++] = words->text + i;
            if (!stem(stemmer, words->text + i, n_word)) {
                return false;
            }
            i += n_word;
        }
    }
    qsort(words->items, words->n, sizeof *words->items, compare_words);
    return true;
}

enum hw_status hw_rouge_recall(const char *answer, size_t n_answer, const char *response,
                               size_t n_response, double *ret_recall, struct hw_error *err) {
    struct words a = {0}, r = {0};
    size_t n_shared = 0;
    struct sb_stemmer *stemmer = sb_stemmer_new("porter", "ISO_8859_1"); // letters are ASCII
    bool is_done = stemmer != NULL && split(stemmer, answer, n_answer, &a) &&
                   split(stemmer, response, n_response, &r);
    for (size_t i = 0, j = 0; is_done && i < a.n && j < r.n;) {
        int order = strcmp(a.items[i], r.items[j]);
        n_shared += order == 0;
        i += order <= 0;
        j += order >= 0;
    }
    if (is_done) {
        *ret_recall = a.n > 0 ? (double)n_shared / (double)a.n : 0;
    }
    sb_stemmer_delete(stemmer);
    free(a.text);
    free(a.items);
    free(r.text);
    free(r.items);
    return is_done ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory to compare texts");
}
