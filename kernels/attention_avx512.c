// Attention on AVX-512: 12 x 32 scores and 6 x 64 outputs to a register tile.
#include <immintrin.h>

#include "kernels/attention_internal.h"
#include "kernels/exp_avx512.h"

void hw_register_attention_avx512(struct hw_ops *ops);

#define VEC __m512
#define MASK __mmask16
enum {
    WIDTH = 16,
    SCORE_ROWS = 12,
    VALUE_ROWS = 6,
    COLUMN_VECS = 4,
};
#define VALUE_VECS 4

#define vec_zero() _mm512_setzero_ps()
#define vec_set(x) _mm512_set1_ps(x)
#define vec_load(p) _mm512_loadu_ps(p)
#define vec_store(p, x) _mm512_storeu_ps(p, x)
#define vec_add(a, b) _mm512_add_ps(a, b)
#define vec_sub(a, b) _mm512_sub_ps(a, b)
#define vec_mul(a, b) _mm512_mul_ps(a, b)
#define vec_max(a, b) _mm512_max_ps(a, b)
#define vec_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vec_exp(x) exp_avx512_nonpositive(x)
#define vec_highest(x) _mm512_reduce_max_ps(x)
#define vec_pick(mask, a, b) _mm512_mask_mov_ps(b, mask, a)
#define vec_equal_bits(a, b) (unsigned)_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ)
#define vec_above_bits(a, b) (unsigned)_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ)

// The first n lanes.
static inline __mmask16 vec_first(size_t n) {
    return n >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1);
}

// 0, 1, 2 ...
static inline __m512 vec_count(void) {
    return _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

// The sums of the lanes of 16 vectors: pairs of vectors are folded into one, four times over.
static inline void vec_sums(const __m512 *x, float *ret) {
    __m512 quarter[4], half[2];
    for (int i = 0; i < 4; i++) {
        __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(x[4 * i], x[4 * i + 1]),
                                 _mm512_unpackhi_ps(x[4 * i], x[4 * i + 1]));
        __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(x[4 * i + 2], x[4 * i + 3]),
                                 _mm512_unpackhi_ps(x[4 * i + 2], x[4 * i + 3]));
        __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b));
        __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b));
        quarter[i] = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    }
    for (int i = 0; i < 2; i++) {
        __m512 a = quarter[2 * i], b = quarter[2 * i + 1];
        half[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
    _mm512_storeu_ps(ret, _mm512_add_ps(_mm512_shuffle_f32x4(half[0], half[1], 0x88),
                                        _mm512_shuffle_f32x4(half[0], half[1], 0xdd)));
}

static inline void vec_store_half(uint16_t *to, __m512 x) {
    _mm256_storeu_si256((__m256i *)to,
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline void vec_store_u16(uint16_t *to, __m512 x) {
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x)));
}

#include "kernels/attention_block.h"

static void attention_avx512(const struct hw_exec *exec, const struct hw_attention_args *args) {
    hw_attention_run(exec, args, attention_block);
}

void hw_register_attention_avx512(struct hw_ops *ops) {
    HW_OPS_SET(ops, attention, attention_avx512);
}
