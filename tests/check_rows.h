// What the tests of the ops on rows share: levels, awkward data, guarded buffers, errors in units
// of the last place.
#ifndef HW_CHECK_ROWS_H
#define HW_CHECK_ROWS_H

#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ops.h"

enum { N_FILLS = 4, GUARD = 64 };

static inline uint32_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

// fill 0: normal-like; 1: with massive values; 2: magnitudes over the whole range of what squares
// can hold; 3: a large mean and many equal values.
static inline void fill_rows(float *x, size_t n, int fill, uint64_t seed) {
    uint64_t state = seed * 977 + (uint64_t)fill;
    for (size_t i = 0; i < n; i++) {
        float u = (float)next_random(&state) / 2147483648.0f +
                  (float)next_random(&state) / 2147483648.0f - 1;
        switch (fill) {
        case 0:
            x[i] = u;
            break;
        case 1:
            x[i] = next_random(&state) % 200 == 0 ? 3000 * u : u;
            break;
        case 2:
            x[i] = ldexpf(u, (int)(next_random(&state) % 120) - 60);
            break;
        default:
            x[i] = 100 + (float)(next_random(&state) % 5) / 8;
        }
    }
}

// A buffer with a guard on both sides; n floats.
static inline float *guarded_open(size_t n) {
    unsigned char *block = malloc(n * sizeof(float) + 2 * GUARD);
    ck_assert_ptr_nonnull(block);
    memset(block, 0xA5, n * sizeof(float) + 2 * GUARD);
    return (float *)(block + GUARD);
}

static inline void guarded_close(float *x, size_t n) {
    unsigned char *block = (unsigned char *)x - GUARD;
    for (size_t i = 0; i < GUARD; i++) {
        ck_assert_uint_eq(block[i], 0xA5);
        ck_assert_uint_eq(block[GUARD + n * sizeof(float) + i], 0xA5);
    }
    free(block);
}

// |got - want| in units of the last place of want as a float.
static inline double ulps_between(float got, double want) {
    if (isnan(want) || isinf((float)want)) {
        return (isnan(got) && isnan(want)) || (double)got == (double)(float)want ? 0 : INFINITY;
    }
    int exponent;
    (void)frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1, exponent - 24 > -149 ? exponent - 24 : -149);
}

// All levels that run here, from `plain` on.
#define FOR_EACH_LEVEL(ops)                                                                        \
    for (int level_ = HW_LEVEL_PLAIN; level_ <= (int)hw_cpu_level(); level_++)                     \
        for (int once_ = (hw_ops_init(&(ops), (enum hw_level)level_), 1); once_ != 0; once_ = 0)

static inline int run_suite(const char *name, TCase *tcase) {
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
