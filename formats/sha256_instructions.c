// SHA-256 with the SHA extensions of x86-64 (Intel's manual, volume 1, 12.3): the state as ABEF and
// CDGH, four rounds in two instructions, four words of the schedule in three.
#include "formats/sha256_internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

bool hw_sha256_has_instructions(void) {
    static int known = -1; // a race writes the same value twice
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer < 0) {
        unsigned a, b, c, d;
        answer = __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1") &&
                 __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1u) != 0;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer != 0;
}

#define SHA __attribute__((target("sha,ssse3,sse4.1")))

SHA static inline __m128i load(const void *p) {
    return _mm_loadu_si128(p);
}

// Sixteen groups of four rounds; words[i % 4] holds words 4 i .. 4 i + 3 of the schedule.
SHA static inline void add_block(__m128i *abef, __m128i *cdgh, const uint8_t *block) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i before_abef = *abef;
    __m128i before_cdgh = *cdgh;
    __m128i words[4];
    for (int i = 0; i < 4; i++) {
        words[i] = _mm_shuffle_epi8(load(block + 16 * i), swap);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        __m128i now = words[i % 4];
        __m128i sum = _mm_add_epi32(now, load(hw_sha256_constants + 4 * i));
        *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
        *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(sum, 0x0e));
        if (i < 12) {
            __m128i last = words[(i + 3) % 4];
            __m128i seventh = _mm_alignr_epi8(last, words[(i + 2) % 4], 4);
            __m128i first = _mm_sha256msg1_epu32(now, words[(i + 1) % 4]);
            words[i % 4] = _mm_sha256msg2_epu32(_mm_add_epi32(first, seventh), last);
        }
    }
    *abef = _mm_add_epi32(*abef, before_abef);
    *cdgh = _mm_add_epi32(*cdgh, before_cdgh);
}

SHA void hw_sha256_add_instructions(uint32_t state[8], const uint8_t *blocks, size_t n) {
    __m128i low = _mm_shuffle_epi32(load(state), 0xb1);      // C D A B, from the highest lane
    __m128i high = _mm_shuffle_epi32(load(state + 4), 0x1b); // E F G H
    __m128i abef = _mm_alignr_epi8(low, high, 8);
    __m128i cdgh = _mm_blend_epi16(high, low, 0xf0);
    for (size_t i = 0; i < n; i++) {
        add_block(&abef, &cdgh, blocks + 64 * i);
    }
    low = _mm_shuffle_epi32(abef, 0x1b);  // F E B A
    high = _mm_shuffle_epi32(cdgh, 0xb1); // D C H G
    _mm_storeu_si128((void *)state, _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128((void *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

#else

bool hw_sha256_has_instructions(void) {
    return false;
}

void hw_sha256_add_instructions(uint32_t state[8], const uint8_t *blocks, size_t n) {
    hw_sha256_add_plain(state, blocks, n);
}

#endif
