// Rows of logits as distributions, in double.
#ifndef HW_LOGITS_H
#define HW_LOGITS_H

#include <stddef.h>
#include <stdint.h>

// p = softmax(x) and ln p, both [n].
void hw_logits_softmax(const float *x, size_t n, double *ret_p, double *ret_lnp);

// KL(p || q) in nats of a row whose p and ln p are known and the row of logits x of q:
// sum_v p_v (ln p_v - ln q_v). Exactly 0 where q has the logits of p.
double hw_logits_kl(const double *p, const double *lnp, const float *x, size_t n);

// How many logits are larger than that of the target (< n): 0 where it is the strongest.
size_t hw_logits_rank(const float *x, size_t n, uint32_t target);

#endif
