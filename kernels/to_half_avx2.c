// to_half by the processor's own conversion (F16C).
#include <immintrin.h>
#include <string.h>

#include "kernels/ops.h"

void hw_register_to_half_avx2(struct hw_ops *ops);

static __m128i half_of_8(__m256 x) {
    return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static void to_half_avx2(const struct hw_exec *exec, const float *x, size_t n, uint16_t *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm_storeu_si128((__m128i *)(out + i), half_of_8(_mm256_loadu_ps(x + i)));
    }
    if (i < n) {
        float last[8] = {0};
        memcpy(last, x + i, (n - i) * sizeof *x);
        __m128i halves = half_of_8(_mm256_loadu_ps(last));
        memcpy(out + i, &halves, (n - i) * sizeof *out);
    }
}

void hw_register_to_half_avx2(struct hw_ops *ops) {
    HW_OPS_SET(ops, to_half, to_half_avx2);
}
