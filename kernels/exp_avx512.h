// exp(x) for 16 floats: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, and 2^n by scalef.
//
// The polynomial is the minimax one of degree 6 for the relative error with its first two
// coefficients fixed at 1 (3.1e-9), so exp(0) is exactly 1; in single precision the relative error
// stays below 1e-7 wherever the result is a normal number.
#ifndef HW_EXP_AVX512_H
#define HW_EXP_AVX512_H

#include <immintrin.h>

// For |x| <= 105, or so: no clamping.
static inline __m512 exp_avx512_clamped(__m512 x) {
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e43p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-0x1.05c61p-29f), r);
    __m512 p = _mm512_set1_ps(0x1.6a23d0p-10f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.123a20p-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.5558f2p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555492p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fffffcp-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

// For any x: 0 below the smallest float, infinity above the largest; a NaN stays one.
static inline __m512 exp_avx512(__m512 x) {
    // The operand that max and min return for a NaN is the second.
    x = _mm512_max_ps(_mm512_set1_ps(-105.0f), x);
    return exp_avx512_clamped(_mm512_min_ps(_mm512_set1_ps(105.0f), x));
}

// For x <= 0, as after subtracting a maximum. Negative floats grow with their bits, so that an
// integer minimum clamps them, on ports that the polynomial leaves free.
static inline __m512 exp_avx512_nonpositive(__m512 x) {
    __m512i least = _mm512_castps_si512(_mm512_set1_ps(-105.0f));
    return exp_avx512_clamped(_mm512_castsi512_ps(_mm512_min_epu32(_mm512_castps_si512(x), least)));
}

#endif
