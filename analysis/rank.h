// Rank correlation and overlap of scores, the same for every analysis that compares.
#ifndef HW_RANK_H
#define HW_RANK_H

#include <stddef.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// What tied values get: the mean of the ranks they take up (scipy, and the usual definition), or
// ranks without gaps, ties sharing one (the script of attention flow, Abnar & Zuidema 2020).
enum hw_rank_ties { HW_RANK_AVERAGE, HW_RANK_DENSE };

// Ranks from 1 of n values, none of them NaN. HW_RESOURCE.
enum hw_status hw_rank(const double *values, size_t n, enum hw_rank_ties ties, double *ret_ranks,
                       struct hw_error *err);

// Spearman's correlation: Pearson's of the ranks, over the n pairs of which neither is NaN; NaN
// where fewer than two such pairs are there, or one side is constant. ret_n (may be NULL): the
// pairs. HW_RESOURCE.
enum hw_status hw_rank_spearman(const double *a, const double *b, size_t n, enum hw_rank_ties ties,
                                double *ret_rho, size_t *ret_n, struct hw_error *err);

// How many of the k places with the largest values are the same in both (NaN last, ties: the lower
// place first). HW_RESOURCE.
enum hw_status hw_rank_overlap(const double *a, const double *b, size_t n, size_t k,
                               size_t *ret_common, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
