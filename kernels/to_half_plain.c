// to_half in integer arithmetic: rounding is an addition in the bits, whose carry runs into the
// exponent as it should.
#include <string.h>

#include "kernels/ops.h"

void hw_register_to_half_plain(struct hw_ops *ops);

static uint16_t half_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) { // NaN: quiet, and the upper bits of its payload
        return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
    }
    if (magnitude >= 0x477FF000) { // 65520: rounds to infinity
        return (uint16_t)(sign | 0x7C00);
    }
    if (magnitude < 0x38800000) { // below 2^-14: adding .5 leaves multiples of 2^-24 in the low
                                  // bits, rounded to even
        float a;
        memcpy(&a, &magnitude, sizeof a);
        a += 0.5f;
        memcpy(&magnitude, &a, sizeof magnitude);
        return (uint16_t)(sign | (magnitude - 0x3F000000));
    }
    uint32_t is_odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xFFF + is_odd) >> 13));
}

static void to_half_plain(const struct hw_exec *exec, const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = half_of(x[i]);
    }
}

void hw_register_to_half_plain(struct hw_ops *ops) {
    HW_OPS_SET(ops, to_half, to_half_plain);
}
