// Trials of the needle-in-a-haystack task: a fact (the needle) is put into a long text (the
// haystack) at a sentence boundary, and a question about it follows.
//
// Built as the reference script does (Wu et al. 2024, arXiv 2404.15574; nightdessert/Retrieval_Head
// 3ac171a, insert_needle and find_needle_idx): in token ids of the model, cut to the length wanted,
// decoded, and tokenised again with the question. One thing differs: ids of one text are never
// encoded with BOS in front, so no extra BOS stands inside the prompt.
#ifndef HW_NEEDLE_H
#define HW_NEEDLE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/tokenizer.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Words in a template that stand for the parts of a trial.
#define HW_NEEDLE_CONTEXT "{context}"
#define HW_NEEDLE_QUESTION "{question}"
// What the reference puts around a trial.
#define HW_NEEDLE_TEMPLATE                                                                         \
    HW_NEEDLE_CONTEXT "Based on the content of the book, Question: " HW_NEEDLE_QUESTION "\nAnswer" \
                      ":"

struct hw_needle {
    const char *needle;   // what is put into the haystack, as it stands
    const char *answer;   // the full answer: what a response is compared with and copied from
    const char *question; // about it
};

struct hw_needle_options {
    size_t room;      // tokens left free for question and response; 200 in the reference
    const char *form; // text with {context} and {question}, each once
};

struct hw_needle_trial {
    char *text;              // the whole prompt
    struct hw_tokens tokens; // of it, BOS where the model's tokenizer adds it
    size_t first;            // tokens [first, end) share a byte with the answer; with the whole
    size_t end;              // needle where the answer does not stand in it
    size_t insertion;        // tokens of the haystack before the needle
    size_t n_haystack;       // tokens of the haystack used
};

// n whole numbers from the even grid first .. last, rounded half to even: numpy's
// round(linspace(first, last, n)). n = 1: first.
void hw_needle_grid(size_t first, size_t last, size_t n, size_t *ret_values);

// Where the needle goes among n ids: at int(n * depth / 100), moved back until the id before it is
// one of the n_stops full stops, or to 0; n at depth 100.
size_t hw_needle_insertion(const uint32_t *ids, size_t n, size_t depth, const uint32_t *stops,
                           size_t n_stops);

// The needle as the reference finds it: the first window of n_answer ids of the prompt whose set of
// ids covers more than 90 % of the set of the answer's. It can begin before the answer does, and
// near the end of the prompt *ret_end = *ret_first + n_answer may lie beyond it. 0, 0 where there
// is no such window. HW_RESOURCE.
enum hw_status hw_needle_find(const uint32_t *prompt, size_t n_prompt, const uint32_t *answer,
                              size_t n_answer, size_t *ret_first, size_t *ret_end,
                              struct hw_error *err);

// The haystack of a length: repeated until it has `length` tokens, and cut to them (further back to
// a whole character). *ret_n_repeats: how often the text stands in it, 1 where it is long enough.
enum hw_status hw_needle_haystack(const struct hw_tokenizer *tokenizer, const char *text,
                                  size_t length, struct hw_tokens *ret_tokens,
                                  size_t *ret_n_repeats, struct hw_error *err);

// A trial in a haystack of that length. HW_USAGE: the length leaves no room, or the template lacks
// a part.
enum hw_status hw_needle_trial(const struct hw_tokenizer *tokenizer,
                               const struct hw_tokens *haystack, size_t length, size_t depth,
                               const struct hw_needle *needle,
                               const struct hw_needle_options *options,
                               struct hw_needle_trial *ret_trial, struct hw_error *err);
void hw_needle_trial_free(struct hw_needle_trial *trial);

#ifdef __cplusplus
}
#endif
#endif
