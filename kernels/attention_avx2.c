// Attention on AVX2 with FMA: 6 x 16 scores and 6 x 16 outputs to a register tile.
#include <immintrin.h>

#include "kernels/attention_internal.h"
#include "kernels/exp_avx2.h"

void hw_register_attention_avx2(struct hw_ops *ops);

#define VEC __m256
#define MASK __m256
enum {
    WIDTH = 8,
    SCORE_ROWS = 6,
    VALUE_ROWS = 6,
    COLUMN_VECS = 2,
};
#define VALUE_VECS 2

#define vec_zero() _mm256_setzero_ps()
#define vec_set(x) _mm256_set1_ps(x)
#define vec_load(p) _mm256_loadu_ps(p)
#define vec_store(p, x) _mm256_storeu_ps(p, x)
#define vec_add(a, b) _mm256_add_ps(a, b)
#define vec_sub(a, b) _mm256_sub_ps(a, b)
#define vec_mul(a, b) _mm256_mul_ps(a, b)
#define vec_max(a, b) _mm256_max_ps(a, b)
#define vec_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vec_exp(x) exp_avx2(x)
#define vec_pick(mask, a, b) _mm256_blendv_ps(b, a, mask)
#define vec_equal_bits(a, b) (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ))
#define vec_above_bits(a, b) (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ))

// 0, 1, 2 ...
static inline __m256 vec_count(void) {
    return _mm256_set_ps(7, 6, 5, 4, 3, 2, 1, 0);
}

// The first n lanes.
static inline __m256 vec_first(size_t n) {
    float end = n < 8 ? (float)n : 8;
    return _mm256_cmp_ps(vec_count(), _mm256_set1_ps(end), _CMP_LT_OQ);
}

// The sums of the lanes of 8 vectors: pairs of vectors are folded into one, three times over.
static inline void vec_sums(const __m256 *x, float *ret) {
    __m256 half[2];
    for (int i = 0; i < 2; i++) {
        __m256 a = _mm256_add_ps(_mm256_unpacklo_ps(x[4 * i], x[4 * i + 1]),
                                 _mm256_unpackhi_ps(x[4 * i], x[4 * i + 1]));
        __m256 b = _mm256_add_ps(_mm256_unpacklo_ps(x[4 * i + 2], x[4 * i + 3]),
                                 _mm256_unpackhi_ps(x[4 * i + 2], x[4 * i + 3]));
        __m256d low = _mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b));
        __m256d high = _mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b));
        half[i] = _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
    }
    _mm256_storeu_ps(ret, _mm256_add_ps(_mm256_permute2f128_ps(half[0], half[1], 0x20),
                                        _mm256_permute2f128_ps(half[0], half[1], 0x31)));
}

static inline float vec_highest(__m256 x) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

static inline void vec_store_half(uint16_t *to, __m256 x) {
    _mm_storeu_si128((__m128i *)to,
                     _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline void vec_store_u16(uint16_t *to, __m256 x) {
    __m256i whole = _mm256_cvtps_epi32(x);
    _mm_storeu_si128((__m128i *)to, _mm_packus_epi32(_mm256_castsi256_si128(whole),
                                                     _mm256_extracti128_si256(whole, 1)));
}

#include "kernels/attention_block.h"

static void attention_avx2(const struct hw_exec *exec, const struct hw_attention_args *args) {
    hw_attention_run(exec, args, attention_block);
}

void hw_register_attention_avx2(struct hw_ops *ops) {
    HW_OPS_SET(ops, attention, attention_avx2);
}
