// The definition of activate, add and to_half, value by value, in double.
#include <math.h>

#include "kernels/ops.h"

void hw_register_activations_ref(struct hw_ops *ops);

static double activation(enum hw_activation f, double x) {
    switch (f) {
    case HW_ACT_GELU_TANH: {
        // 0.5 x (1 + tanh u) without the cancellation of 1 + tanh u for negative u.
        double u = 0.79788456080286535588 * (x + 0.044715 * x * x * x);
        return x / (1 + exp(-2 * u));
    }
    case HW_ACT_GELU_ERF:
        return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case HW_ACT_SILU:
        return x / (1 + exp(-x));
    case HW_ACT_RELU:
        return x > 0 ? x : 0;
    }
    return x;
}

static void activate_ref(const struct hw_exec *exec, enum hw_activation f, float *x,
                         const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double y = activation(f, (double)x[i]);
        x[i] = (float)(up != NULL ? y * (double)up[i] : y);
    }
}

static void add_ref(const struct hw_exec *exec, float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = (float)((double)y[i] + (double)x[i]);
    }
}

// |x| = q 2^e with q rounded to the 11 bits of a half, or fewer below 2^-14.
static uint16_t half_of(float x) {
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    double a = fabs((double)x);
    if (isnan(x)) {
        union {
            float value;
            uint32_t bits;
        } u = {.value = x};
        return (uint16_t)(sign | 0x7E00 | ((u.bits >> 13) & 0x3FF));
    }
    if (a >=
        65520) { // halfway between the largest half and 2^16: rounds up to the even one, infinity
        return (uint16_t)(sign | 0x7C00);
    }
    int exponent;
    (void)frexp(a, &exponent); // a = f 2^exponent, f in [.5, 1)
    int unit = a > 0 && exponent - 11 > -24 ? exponent - 11 : -24;
    double q = nearbyint(ldexp(a, -unit)); // to even
    // In units of 2^-24 halves run on as integers: a carry into the next binade is a carry in the
    // bits.
    uint32_t bits =
        unit == -24 ? (uint32_t)q : (((uint32_t)(unit + 25)) << 10) + ((uint32_t)q - 1024);
    return (uint16_t)(sign | bits);
}

static void to_half_ref(const struct hw_exec *exec, const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = half_of(x[i]);
    }
}

void hw_register_activations_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, activate, activate_ref);
    HW_OPS_SET(ops, add, add_ref);
    HW_OPS_SET(ops, to_half, to_half_ref);
}
