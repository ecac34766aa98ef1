// activate and add for every vector level; included after defining ACTIVATIONS(name).
//
// Each activation is written with e = exp(-|u|), which neither overflows nor cancels: silu(x) = x
// g(x), gelu_tanh(x) = x g(2 u) with g(u) = 1 / (1 + e) for u >= 0 and e / (1 + e) below. Where the
// argument of exp is itself computed (both gelus) that is done in double, because exp turns its
// absolute error into a relative one. Errors against double: a few units in the last place.
#include "kernels/lanes.h"
#include "kernels/ops.h"
#include "kernels/size.h"

enum { ELEMENT_BLOCK = 4096 }; // values that a thread takes at a time

// exp(-a) as two factors, so that a product with it that ends below the normal range is rounded
// once.
struct exp_factors {
    f32x8 first; // in [2^-79, 2]
    f32x8 second;
};

// 2^k e^r for |r| <= ln 2 / 2 and k in [-156, 0]; rubbish for others. e^r - 1 - r over r^2 is a
// minimax polynomial (relative error of e^r 4e-9).
HW_LANES struct exp_factors scaled_exp8(f32x8 r, f32x8 k) {
    f32x8 q = 1.381421978e-03f * r + 8.368898874e-03f;
    q = q * r + 4.166840577e-02f;
    q = q * r + 1.666651913e-01f;
    q = q * r + 4.999999335e-01f;
    f32x8 p = 1.0f + (r + r * r * q);
    i32x8 exponent = (i32x8)(k + 12582912.0f) - 0x4B400000; // 1.5 * 2^23: k stands in the low bits
    i32x8 half = exponent >> 1;
    struct exp_factors e = {p * (f32x8)((half + 127) << 23),
                            (f32x8)((exponent - half + 127) << 23)};
    return e;
}

HW_LANES f32x8 select8(i32x8 is_first, f32x8 first, f32x8 second) {
    return (f32x8)((is_first & (i32x8)first) | (~is_first & (i32x8)second));
}

HW_LANES f32x8 magnitude8(f32x8 x) {
    return (f32x8)((i32x8)x & 0x7FFFFFFF);
}

// exp(-a) for a >= 0; 0 from a = 108 on, where x exp(-a) is 0 for every a that these functions make
// of x. ln 2 in two parts, the first of few bits, keeps k ln 2 exact (Cody and Waite).
HW_LANES struct exp_factors exp_minus8(f32x8 a) {
    f32x8 k = (a * -1.44269504f + 12582912.0f) - 12582912.0f;
    f32x8 r = -a - k * 0.693359375f;
    struct exp_factors e = scaled_exp8(r + k * 2.12194440e-4f, k);
    i32x8 is_far = a > 108.0f;
    e.first = select8(is_far, (f32x8){0}, e.first);
    e.second = select8(is_far, (f32x8){0}, e.second);
    return e;
}

HW_LANES struct exp_factors exp_minus_double8(f64x8 a) {
    f32x8 k = (narrow8(a) * -1.44269504f + 12582912.0f) - 12582912.0f;
    f32x8 r = narrow8(-a - widen8(k) * 0.69314718055994530942);
    struct exp_factors e = scaled_exp8(r, k);
    i32x8 is_far = narrow8(a) > 108.0f;
    e.first = select8(is_far, (f32x8){0}, e.first);
    e.second = select8(is_far, (f32x8){0}, e.second);
    return e;
}

// x g(u), where e = exp(-|u|) and u has the sign of x.
HW_LANES f32x8 times_logistic8(f32x8 x, struct exp_factors e) {
    return select8(x < 0.0f, x * e.first * e.second, x) / (1.0f + e.first * e.second);
}

HW_LANES f32x8 silu8(f32x8 x) {
    return times_logistic8(x, exp_minus8(magnitude8(x)));
}

HW_LANES f32x8 gelu_tanh8(f32x8 x) {
    f64x8 a = widen8(magnitude8(x));
    f64x8 u = 1.59576912160573071176 * (a + 0.044715 * (a * a * a));
    return times_logistic8(x, exp_minus_double8(u));
}

// x Phi(x) with Phi(-a) = exp(-a^2 / 2) R(a). R(a) = erfcx(a / sqrt 2) / 2 = s P(s) with s = 1 / (1
// + .3 a): P is a minimax polynomial for a up to 14.6 (relative error 4e-9), beyond which x Phi(x)
// is 0 in float.
HW_LANES f32x8 gelu_erf8(f32x8 x) {
    f32x8 a = magnitude8(x);
    f32x8 s = 1.0f / (1.0f + 0.3f * a);
    f32x8 p = -2.062496475e-02f * s + 1.124440038e-01f;
    p = p * s + -2.282340302e-01f;
    p = p * s + 1.918128182e-01f;
    p = p * s + -7.944797392e-02f;
    p = p * s + 9.617054424e-02f;
    p = p * s + 7.838469236e-02f;
    p = p * s + 1.102365378e-01f;
    p = p * s + 1.195716734e-01f;
    p = p * s + 1.196866974e-01f;
    p = p * s;
    f64x8 wide = widen8(a);
    struct exp_factors e = exp_minus_double8(0.5 * (wide * wide));
    return select8(x < 0.0f, x * p * e.first * e.second, x * (1.0f - e.first * e.second * p));
}

HW_LANES f32x8 relu8(f32x8 x) {
    return select8(x > 0.0f, x, (f32x8){0});
}

// f over n values; the last vector is padded, so that a value's bits do not depend on where it
// stands.
#define ACTIVATE_RANGE(f)                                                                          \
    for (size_t i = 0; i < n; i += 8) {                                                            \
        size_t rest = n - i;                                                                       \
        f32x8 y = f(rest < 8 ? load8_part(x + i, rest) : load8(x + i));                            \
        if (up != NULL) {                                                                          \
            y *= rest < 8 ? load8_part(up + i, rest) : load8(up + i);                              \
        }                                                                                          \
        store8(x + i, y, rest);                                                                    \
    }

static void activate_range(enum hw_activation f, float *x, const float *up, size_t n) {
    switch (f) {
    case HW_ACT_GELU_TANH:
        ACTIVATE_RANGE(gelu_tanh8)
        break;
    case HW_ACT_GELU_ERF:
        ACTIVATE_RANGE(gelu_erf8)
        break;
    case HW_ACT_SILU:
        ACTIVATE_RANGE(silu8)
        break;
    case HW_ACT_RELU:
        ACTIVATE_RANGE(relu8)
        break;
    }
}

static void ACTIVATIONS(activate)(const struct hw_exec *exec, enum hw_activation f, float *x,
                                  const float *up, size_t n) {
    size_t n_blocks = hw_size_div_up(n, ELEMENT_BLOCK);
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (n_blocks > 1)
    for (size_t block = 0; block < n_blocks; block++) {
        size_t at = block * ELEMENT_BLOCK;
        activate_range(f, x + at, up != NULL ? up + at : NULL, hw_size_min(n - at, ELEMENT_BLOCK));
    }
}

static void ACTIVATIONS(add)(const struct hw_exec *exec, float *y, const float *x, size_t n) {
    size_t n_blocks = hw_size_div_up(n, ELEMENT_BLOCK);
#pragma omp parallel for schedule(static) num_threads(exec->n_threads) if (n_blocks > 1)
    for (size_t block = 0; block < n_blocks; block++) {
        size_t at = block * ELEMENT_BLOCK;
        size_t end = hw_size_min(n, at + ELEMENT_BLOCK);
        for (size_t i = at; i < end; i++) {
            y[i] += x[i];
        }
    }
}
