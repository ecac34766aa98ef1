// What one head does on repeated tokens: sums over its attention map, and the scores that the
// literature makes of them.
//
// A prompt is `first` tokens (0 or 1) and then n ids over and over: token i equals token i - n.
// Query i, i >= first + n, has its earlier copies at i - n, i - 2 n, ... >= first. Sources:
//
//   induction, echo      RazorAttention (arXiv 2407.15891), as msModelSlim computes it: per query
//                        the sum over earlier copies of the attention to the token after the copy,
//                        or to the copy itself; mean over the queries. The first token's row and
//                        column are left out. The sum form of prefix matching of Olsson et al.
//                        (arXiv 2209.11895) is the same number.
//   ..._pairs            mean over pairs (query, copy) instead
//   induction_copies     per query the mean over copies, then the mean over queries (Olsson et al.,
//                        the other reading)
//   stripe_...           demos of TransformerLens: mean of a whole diagonal, offset n - 1
//                        (induction, with an entry that is none: query n - 1 to key 0), n
//                        (duplicate), 1 (previous)
//   ..._mul, ..._abs     head detector of TransformerLens with its patterns over equal ids
//
// The same sums come from a map, row by row, or from recorded statistics (induction_offsets.c).
#ifndef HW_REPEATS_H
#define HW_REPEATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// The tokens of one prompt, and what they say about equal ids.
struct hw_repeat {
    size_t n_tokens;        // T
    size_t period;          // n
    size_t first;           // tokens in front: 0 or 1
    int32_t *same;          // [T] the last earlier position with the same id, or -1; owned
    size_t n_same;          // pairs j < i of equal ids: the entries of the duplicate pattern
    size_t n_same_first;    // those with j = 0
    size_t n_next;          // entries of the induction pattern: (i, j + 1)
    size_t n_next_diagonal; // those with j + 1 = i
    bool is_plain; // ids repeat with the period and at no other distance: patterns are offsets
};

// HW_INPUT where token i is not token i - period, or fewer than period + first + 1 tokens are
// there. ids [n_tokens].
enum hw_status hw_repeat_open(const int32_t *ids, size_t n_tokens, size_t period, size_t first,
                              struct hw_repeat *ret_repeat, struct hw_error *err);
void hw_repeat_close(struct hw_repeat *repeat);

// Sums over one map A [T, T] in double; NaN where the source cannot tell.
struct hw_repeat_sums {
    double all;              // of A
    double column;           // A[i, 0]
    double diagonal;         // A[i, i]
    double corner;           // A[0, 0]
    double previous;         // A[i, i - 1]
    double previous_first;   // A[1, 0]
    double same;             // over the duplicate pattern
    double same_first;       // its part in column 0
    double next;             // over the induction pattern
    double next_diagonal;    // its part on the diagonal
    double echo;             // over queries and earlier copies
    double induction;        // over queries and tokens after earlier copies
    double induction_copies; // over queries: the mean over copies
    double stripe_induction; // A[i, i - n + 1] for i >= n - 1
    double stripe_duplicate; // A[i, i - n] for i >= n
};

// Adds rows first_row .. first_row + n_rows of the map: rows [n_rows, stride], key j at column j.
// Rows from T on are left out, and so are keys.
void hw_repeat_add_rows(const struct hw_repeat *repeat, const float *rows, size_t stride,
                        size_t first_row, size_t n_rows, struct hw_repeat_sums *sums);

enum hw_repeat_measure {
    HW_REPEAT_INDUCTION,
    HW_REPEAT_ECHO,
    HW_REPEAT_INDUCTION_PAIRS,
    HW_REPEAT_ECHO_PAIRS,
    HW_REPEAT_INDUCTION_COPIES,
    HW_REPEAT_STRIPE_INDUCTION,
    HW_REPEAT_STRIPE_DUPLICATE,
    HW_REPEAT_STRIPE_PREVIOUS,
    HW_REPEAT_INDUCTION_MUL,
    HW_REPEAT_DUPLICATE_MUL,
    HW_REPEAT_PREVIOUS_MUL,
    HW_REPEAT_INDUCTION_ABS,
    HW_REPEAT_DUPLICATE_ABS,
    HW_REPEAT_PREVIOUS_ABS,
    HW_N_REPEAT_MEASURES
};

struct hw_repeat_measure_row {
    const char *name;
    const char *section; // of the definitions
    const char *text;    // one sentence
};
const struct hw_repeat_measure_row *hw_repeat_measure(enum hw_repeat_measure measure);

// What the head detector leaves out: attention to token 0, attention of a token to itself.
struct hw_repeat_exclusions {
    bool bos;
    bool current_token;
};

// The detector's two scores of a pattern from sums over the entries that are not left out:
// `matched` over the pattern's n_entries, `all` over everything.
double hw_detector_mul(double matched, double all);
double hw_detector_abs(double matched, double all, size_t n_entries, size_t n_tokens);

void hw_repeat_scores(const struct hw_repeat *repeat, const struct hw_repeat_sums *sums,
                      const struct hw_repeat_exclusions *exclusions,
                      double ret_scores[HW_N_REPEAT_MEASURES]);

#ifdef __cplusplus
}
#endif
#endif
