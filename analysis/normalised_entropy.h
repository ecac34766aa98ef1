// Normalised entropies of the rows and columns of a map (D5; Guo et al. 2024, arXiv 2410.13835),
// from the recorded entropies of one head and prompt. Values stand `stride` apart.
#ifndef HW_NORMALISED_ENTROPY_H
#define HW_NORMALISED_ENTROPY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Mean over the T rows of H(A[i, :] / sum) / ln(i + 1); row 0 and empty rows count as 0. entropy
// [T] of A itself; row_sum [T], or NULL: all 1. NaN where a value is.
double hw_entropy_rows(const float *entropy, const float *row_sum, size_t stride, size_t n_tokens);
// Maximum over keys of H(A[:, k] / sum) / ln(T - k); the last key counts as 0. entropy [T] of the
// scaled columns. NaN where a value is.
double hw_entropy_columns(const float *entropy, size_t stride, size_t n_tokens);

#ifdef __cplusplus
}
#endif
#endif
