// A running mean with its standard error (Welford's recurrence, so that close values keep their
// digits). All zero is the mean of nothing.
#ifndef HW_MEAN_H
#define HW_MEAN_H

#include <math.h>
#include <stddef.h>

struct hw_mean {
    double mean;
    double squares; // sum of squared differences to the mean
    size_t n;
};

static inline void hw_mean_add(struct hw_mean *mean, double value) {
    double before = value - mean->mean;
    mean->n++;
    mean->mean += before / (double)mean->n;
    mean->squares += before * (value - mean->mean);
}

// NaN of nothing.
static inline double hw_mean_value(const struct hw_mean *mean) {
    return mean->n > 0 ? mean->mean : (double)NAN;
}

// Standard error of the mean, sqrt(s^2 / n) with s^2 over n - 1; NaN below two values.
static inline double hw_mean_se(const struct hw_mean *mean) {
    return mean->n > 1 ? sqrt(mean->squares / (double)(mean->n - 1) / (double)mean->n)
                       : (double)NAN;
}

#endif
