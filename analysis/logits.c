// Sums over the vocabulary, in order and in double.
#include "analysis/logits.h"

#include <math.h>

static double log_sum(const float *x, size_t n) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) {
        max = (double)x[i] > max ? (double)x[i] : max;
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - max);
    }
    return max + log(sum);
}

void hw_logits_softmax(const float *x, size_t n, double *ret_p, double *ret_lnp) {
    double z = log_sum(x, n);
    for (size_t i = 0; i < n; i++) {
        ret_lnp[i] = (double)x[i] - z;
        ret_p[i] = exp(ret_lnp[i]);
    }
}

double hw_logits_kl(const double *p, const double *lnp, const float *x, size_t n) {
    double z = log_sum(x, n), sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += p[i] * (lnp[i] - ((double)x[i] - z));
    }
    return sum;
}

size_t hw_logits_rank(const float *x, size_t n, uint32_t target) {
    size_t rank = 0;
    for (size_t i = 0; i < n; i++) {
        rank += x[i] > x[target];
    }
    return rank;
}
