// Checked arithmetic on sizes. Everything that a file or a user sizes goes through here before
// memory is asked for.
#ifndef HW_SIZE_H
#define HW_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// True and *ret = a * b where that fits, else false and *ret untouched.
static inline bool hw_size_mul(size_t a, size_t b, size_t *ret) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) {
        return false;
    }
    *ret = product;
    return true;
}

// True and *ret = a + b where that fits, else false and *ret untouched.
static inline bool hw_size_add(size_t a, size_t b, size_t *ret) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *ret = sum;
    return true;
}

// True and *ret = a rounded up to a multiple of `unit` (> 0) where that fits.
static inline bool hw_size_round_up(size_t a, size_t unit, size_t *ret) {
    size_t rest = a % unit;
    return hw_size_add(a, rest == 0 ? 0 : unit - rest, ret);
}

static inline size_t hw_size_min(size_t a, size_t b) {
    return a < b ? a : b;
}

static inline size_t hw_size_max(size_t a, size_t b) {
    return a > b ? a : b;
}

// ceil(a / b) without overflow, b > 0.
static inline size_t hw_size_div_up(size_t a, size_t b) {
    return a / b + (a % b != 0);
}

#endif
