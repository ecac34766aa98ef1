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
    lanes first; // in [2^-79, 2]
    lanes second;
};

// 2^k e^r for |r| <= ln 2 / 2 and k in [-156, 0]; rubbish for others. e^r - 1 - r over r^2 is a
// minimax polynomial (relative error of e^r 4e-9).
HW_LANES struct exp_factors scaled_exp(lanes r, lanes k) {
    lanes q = multiply_add(all_lanes(1.381421978e-03f), r, all_lanes(8.368898874e-03f));
    q = multiply_add(q, r, all_lanes(4.166840577e-02f));
    q = multiply_add(q, r, all_lanes(1.666651913e-01f));
    q = multiply_add(q, r, all_lanes(4.999999335e-01f));
    lanes p = 1.0f + multiply_add(r * r, q, r);
    int_lanes exponent =
        (int_lanes)(k + 12582912.0f) - 0x4B400000; // 1.5 * 2^23: k stands in the low bits
    int_lanes half = exponent >> 1;
    struct exp_factors e = {p * (lanes)((half + 127) << 23),
                            (lanes)((exponent - half + 127) << 23)};
    return e;
}

// exp(-a) for a >= 0; 0 from a = 108 on, where x exp(-a) is 0 for every a that these functions make
// of x. ln 2 in two parts, the first of few bits, keeps k ln 2 exact (Cody and Waite).
HW_LANES struct exp_factors exp_minus(lanes a) {
    lanes k = multiply_add(a, all_lanes(-1.44269504f), all_lanes(12582912.0f)) - 12582912.0f;
    lanes r = multiply_add(k, all_lanes(-0.693359375f), -a);
    struct exp_factors e = scaled_exp(multiply_add(k, all_lanes(2.12194440e-4f), r), k);
    int_lanes is_far = a > 108.0f;
    e.first = select_lanes(is_far, (lanes){0}, e.first);
    e.second = select_lanes(is_far, (lanes){0}, e.second);
    return e;
}

// The same for arguments in double, given in two halves.
HW_LANES struct exp_factors exp_minus_wide(wide_lanes low, wide_lanes high) {
    lanes a = narrow(low, high);
    lanes k = multiply_add(a, all_lanes(-1.44269504f), all_lanes(12582912.0f)) - 12582912.0f;
    wide_lanes ln2 = all_wide(-0.69314718055994530942);
    lanes r = narrow(multiply_add_wide(widen_low(k), ln2, -low),
                     multiply_add_wide(widen_high(k), ln2, -high));
    struct exp_factors e = scaled_exp(r, k);
    int_lanes is_far = a > 108.0f;
    e.first = select_lanes(is_far, (lanes){0}, e.first);
    e.second = select_lanes(is_far, (lanes){0}, e.second);
    return e;
}

// x g(u), where e = exp(-|u|) and u has the sign of x.
HW_LANES lanes times_logistic(lanes x, struct exp_factors e) {
    return select_lanes(x < 0.0f, x * e.first * e.second, x) / (1.0f + e.first * e.second);
}

HW_LANES lanes silu(lanes x) {
    return times_logistic(x, exp_minus(magnitude(x)));
}

HW_LANES wide_lanes gelu_argument(wide_lanes a) {
    return 1.59576912160573071176 * multiply_add_wide(0.044715 * a, a * a, a);
}

HW_LANES lanes gelu_tanh(lanes x) {
    lanes a = magnitude(x);
    return times_logistic(
        x, exp_minus_wide(gelu_argument(widen_low(a)), gelu_argument(widen_high(a))));
}

// x Phi(x) with Phi(-a) = exp(-a^2 / 2) R(a). R(a) = erfcx(a / sqrt 2) / 2 = s P(s) with s = 1 / (1
// + .3 a): P is a minimax polynomial for a up to 14.6 (relative error 4e-9), beyond which x Phi(x)
// is 0 in float.
HW_LANES lanes gelu_erf(lanes x) {
    lanes a = magnitude(x);
    lanes s = 1.0f / (1.0f + 0.3f * a);
    static const float coefficients[] = {1.124440038e-01f,  -2.282340302e-01f, 1.918128182e-01f,
                                         -7.944797392e-02f, 9.617054424e-02f,  7.838469236e-02f,
                                         1.102365378e-01f,  1.195716734e-01f,  1.196866974e-01f};
    lanes p = all_lanes(-2.062496475e-02f);
    for (size_t i = 0; i < sizeof coefficients / sizeof coefficients[0]; i++) {
        p = multiply_add(p, s, all_lanes(coefficients[i]));
    }
    p *= s;
    wide_lanes low = widen_low(a);
    wide_lanes high = widen_high(a);
    struct exp_factors e = exp_minus_wide(0.5 * (low * low), 0.5 * (high * high));
    return select_lanes(x < 0.0f, x * p * e.first * e.second, x * (1.0f - e.first * e.second * p));
}

HW_LANES lanes relu(lanes x) {
    return select_lanes(x > 0.0f, x, (lanes){0});
}

// f over n values; the last vector is padded, so that a value's bits do not depend on where it
// stands.
#define ACTIVATE_RANGE(f)                                                                          \
    for (; up == NULL && i + N_LANES <= n; i += N_LANES) {                                         \
        store_lanes(x + i, f(load_lanes(x + i)));                                                  \
    }                                                                                              \
    for (; i + N_LANES <= n; i += N_LANES) {                                                       \
        store_lanes(x + i, f(load_lanes(x + i)) * load_lanes(up + i));                             \
    }                                                                                              \
    if (i < n) {                                                                                   \
        lanes y = f(load_lanes_part(x + i, n - i));                                                \
        store_lanes_part(x + i, up != NULL ? y * load_lanes_part(up + i, n - i) : y, n - i);       \
    }

static void activate_range(enum hw_activation f, float *x, const float *up, size_t n) {
    size_t i = 0;
    switch (f) {
    case HW_ACT_GELU_TANH:
        ACTIVATE_RANGE(gelu_tanh)
        break;
    case HW_ACT_GELU_ERF:
        ACTIVATE_RANGE(gelu_erf)
        break;
    case HW_ACT_SILU:
        ACTIVATE_RANGE(silu)
        break;
    case HW_ACT_RELU:
        ACTIVATE_RANGE(relu)
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
