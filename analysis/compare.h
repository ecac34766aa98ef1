// Two captures, or two results, side by side: the largest difference of every dataset, and how far
// the scores of heads agree in rank.
//
// Prompts of captures are matched by the hash of their tokens, whatever their order; layers, depths
// and heads by number. What stands in one of the two only is counted, not compared. Values that are
// NaN in both are equal; NaN against a number is an infinite difference.
#ifndef HW_COMPARE_H
#define HW_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_COMPARE_NOTES = 32 };

struct hw_compare_options {
    size_t top_k; // heads in the overlap of the strongest
};

// One dataset, or of a result's array over heads one slice.
struct hw_compare_line {
    char name[160];     // "attention_entropy", "attention/pattern", "head_score[induction]"
    size_t n_values;    // compared
    size_t n_different; // not equal
    double largest;     // absolute difference; 0 where nothing differs
    char place[120];    // of the largest: "prompt 3, layer 4, row 17, value 2"
    double a;           // the values there
    double b;
    bool has_ranks;   // over layers and heads, after the mean over everything before them
    double spearman;  // ties take mean ranks; NaN where one side is constant
    size_t n_heads;   // with a value in both
    size_t n_common;  // of the top_k strongest heads
    size_t top_k;     // at most n_heads
    size_t n_slabs_a; // layers or depths that only the first has, and so are not compared
    size_t n_slabs_b;
    const char *skipped; // why nothing was compared, or NULL
    bool is_unlike;      // in both, but of other axes or lengths: a difference
};

struct hw_compare {
    bool is_results;
    size_t n_prompts; // matched
    size_t n_only_a;
    size_t n_only_b;
    bool is_same_model; // by the hash of the weights; true where either has none
    struct hw_compare_line *lines;
    size_t n_lines;
    // Of results: options and counts that differ, "epsilon: 0.3 in the first, 0.9 in the second".
    char notes[HW_COMPARE_NOTES][160];
    size_t n_notes; // at most HW_COMPARE_NOTES of them are kept
};

// HW_INPUT where a file is broken, one is a capture and the other a result, or results are of two
// commands.
enum hw_status hw_compare_files(const char *a, const char *b,
                                const struct hw_compare_options *options,
                                struct hw_compare *ret_compare, struct hw_error *err);
void hw_compare_free(struct hw_compare *compare);

#ifdef __cplusplus
}
#endif
#endif
