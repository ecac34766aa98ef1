// Normalised entropies; see normalised_entropy.h.
#include "analysis/normalised_entropy.h"

#include <math.h>

// ln x. Rows sum to 1 but for rounding, so this is where the time would go: near 1 the series,
// whose error is below 1e-13.
static double log_near_one(double x) {
    double d = x - 1;
    return fabs(d) < 5e-5 ? d - d * d / 2 : log(x);
}

double hw_entropy_rows(const float *entropy, const float *row_sum, size_t stride, size_t n_tokens) {
    double sum = 0;
    for (size_t i = 1; i < n_tokens; i++) {
        double total = row_sum != NULL ? (double)row_sum[i * stride] : 1;
        // With sum S, H(A / S) = H(A) / S + ln S.
        double h = total == 0 ? 0 : (double)entropy[i * stride] / total + log_near_one(total);
        sum += h / log((double)(i + 1));
    }
    return sum / (double)n_tokens;
}

double hw_entropy_columns(const float *entropy, size_t stride, size_t n_tokens) {
    double largest = 0;
    for (size_t k = 0; k + 1 < n_tokens; k++) {
        double h = (double)entropy[k * stride] / log((double)(n_tokens - k));
        if (isnan(h)) {
            return h;
        }
        largest = fmax(largest, h);
    }
    return largest;
}
