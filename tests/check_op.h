// What tests of ops share: values to feed them, buffers with guards, and the comparisons:
// bounds follow from a plain version in the same precision, never from a chosen number.
//
// A comparison returns false and says why in check_op_message(); tests write
// ck_assert_msg(check_..., "%s", check_op_message()). To run a test on every level:
// tcase_add_loop_test(tcase, test, HW_LEVEL_REF, hw_cpu_level() + 1); _i is the level.
#ifndef HW_CHECK_OP_H
#define HW_CHECK_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Deterministic random numbers (splitmix64); the state is any number.
uint64_t check_random_bits(uint64_t *state);
void check_random_uniform(uint64_t *state, float least, float most, size_t n, float *ret);
void check_random_normal(uint64_t *state, float scale, size_t n, float *ret);

// n_bytes of memory aligned to 64 bytes, filled with 0xA5, with guard bytes before and after. Exits
// on lack of memory.
struct check_buffer {
    void *data;
    size_t n_bytes;
    unsigned char *base;
};

struct check_buffer check_buffer_open(size_t n_bytes);
bool check_buffer_is_intact(const struct check_buffer *buffer); // no guard byte was changed
void check_buffer_close(struct check_buffer *buffer);

// The same bits, n values of 4 bytes (float, int32_t, uint32_t).
bool check_same_bits(const void *got, const void *want, size_t n);

// The rule for rounding errors: `got` may be at most twice as far from the exact values (computed
// in double from the same float inputs) as `plain` is, the same computation in float without
// tricks, in order. Distances are the largest and the root mean square over the n values; both get
// the rounding of the result itself on top, 2^-24 of the largest |exact|, since `plain` may be
// exact by luck.
bool check_error_is_at_most_twice(const float *got, const float *plain, const double *exact,
                                  size_t n);

// |got - want| <= limit everywhere, and not-a-number exactly where want is. The caller says where
// the limit comes from.
bool check_within(const float *got, const double *want, size_t n, double limit);

const char *check_op_message(void);

#endif
