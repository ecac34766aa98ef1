// exp(x) for one float without a branch, as in exp_avx512.h but with separate multiplications and
// additions, so that a loop over it can be vectorised; results below the smallest normal number are
// 0. The relative error stays below 1e-7.
#ifndef HW_EXP_PLAIN_H
#define HW_EXP_PLAIN_H

#include <stdint.h>
#include <string.h>

static inline float exp_plain_power(int32_t n) {
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

// For any x: 0 below 2^-126, infinity above the largest float; a NaN stays one.
static inline float exp_plain(float x) {
    float y = x < -88.0f ? -88.0f : x;
    y = y > 89.0f ? 89.0f : y;
    // Adding 1.5 * 2^23 rounds to an integer; a NaN must not reach the conversion.
    float shifted = (y == y ? y : 0.0f) * 0x1.715476p+0f + 0x1.8p+23f;
    float n = shifted - 0x1.8p+23f;
    // ln 2 in two parts, the first short enough for an exact product with n.
    float r = (y - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
    float p = 0x1.6a23d0p-10f;
    p = p * r + 0x1.123a20p-7f;
    p = p * r + 0x1.5558f2p-5f;
    p = p * r + 0x1.555492p-3f;
    p = p * r + 0x1.fffffcp-2f;
    p = p * r * r + r + 1.0f;
    int32_t whole = (int32_t)n;
    int32_t half =
        whole >> 1; // n reaches 128: half of it at a time stays inside the exponent's range
    p = p * exp_plain_power(half) * exp_plain_power(whole - half);
    return x < -0x1.5d589ep+6f ? 0.0f : p;
}

#endif
