// See check_op.h.
#include "check_op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD_BYTES = 256, GUARD = 0x5A, FILL = 0xA5 };

static char message[256];

const char *check_op_message(void) {
    return message;
}

uint64_t check_random_bits(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double random_unit(uint64_t *state) {
    return ((double)(check_random_bits(state) >> 11) + 0.5) * 0x1p-53;
}

void check_random_uniform(uint64_t *state, float least, float most, size_t n, float *ret) {
    for (size_t i = 0; i < n; i++) {
        ret[i] = (float)(least + (double)(most - least) * random_unit(state));
    }
}

void check_random_normal(uint64_t *state, float scale, size_t n, float *ret) {
    for (size_t i = 0; i < n; i++) {
        double radius = sqrt(-2 * log(random_unit(state)));
        ret[i] = (float)(scale * radius * cos(6.283185307179586 * random_unit(state)));
    }
}

struct check_buffer check_buffer_open(size_t n_bytes) {
    struct check_buffer buffer = {NULL, n_bytes, NULL};
    size_t total = (n_bytes + 2 * GUARD_BYTES + 63) / 64 * 64;
    buffer.base = aligned_alloc(64, total);
    if (buffer.base == NULL) {
        (void)fprintf(stderr, "check_op: no memory for %zu bytes\n", total);
        exit(EXIT_FAILURE);
    }
    memset(buffer.base, GUARD, total);
    buffer.data = buffer.base + GUARD_BYTES;
    memset(buffer.data, FILL, n_bytes);
    return buffer;
}

bool check_buffer_is_intact(const struct check_buffer *buffer) {
    const unsigned char *after = buffer->base + GUARD_BYTES + buffer->n_bytes;
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        if (buffer->base[i] != GUARD || after[i] != GUARD) {
            (void)snprintf(message, sizeof message, "guard byte %zu %s the buffer was overwritten",
                           i, after[i] != GUARD ? "after" : "of those before");
            return false;
        }
    }
    return true;
}

void check_buffer_close(struct check_buffer *buffer) {
    free(buffer->base);
    memset(buffer, 0, sizeof *buffer);
}

bool check_same_bits(const void *got, const void *want, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t a;
        uint32_t b;
        memcpy(&a, (const char *)got + 4 * i, sizeof a);
        memcpy(&b, (const char *)want + 4 * i, sizeof b);
        if (a != b) {
            float a_float;
            float b_float;
            memcpy(&a_float, &a, sizeof a);
            memcpy(&b_float, &b, sizeof b);
            (void)snprintf(message, sizeof message,
                           "value %zu of %zu: bits %08x (%.9g) instead of %08x (%.9g)", i, n, a,
                           (double)a_float, b, (double)b_float);
            return false;
        }
    }
    return true;
}

struct distance {
    double largest;
    double mean_square;
    size_t where;
};

static struct distance measure(const float *x, const double *exact, size_t n) {
    struct distance distance = {0, 0, 0};
    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)x[i] - exact[i]);
        if (!(difference <= distance.largest)) { // a NaN is the largest and stays it
            distance.largest = difference;
            distance.where = i;
        }
        distance.mean_square += difference * difference / (double)n;
    }
    return distance;
}

bool check_error_is_at_most_twice(const float *got, const float *plain, const double *exact,
                                  size_t n) {
    double rounding = 0;
    for (size_t i = 0; i < n; i++) {
        rounding = fmax(rounding, fabs(exact[i]) * 0x1p-24);
    }
    struct distance ours = measure(got, exact, n);
    struct distance theirs = measure(plain, exact, n);
    if (!(ours.largest <= 2 * theirs.largest + rounding)) {
        (void)snprintf(message, sizeof message,
                       "value %zu of %zu: %.9g is %.3g from %.17g; plain code is at most %.3g away",
                       ours.where, n, (double)got[ours.where], ours.largest, exact[ours.where],
                       theirs.largest);
        return false;
    }
    if (!(sqrt(ours.mean_square) <= 2 * sqrt(theirs.mean_square) + rounding)) {
        (void)snprintf(message, sizeof message,
                       "root mean square error %.3g, that of plain code %.3g",
                       sqrt(ours.mean_square), sqrt(theirs.mean_square));
        return false;
    }
    return true;
}

bool check_within(const float *got, const double *want, size_t n, double limit) {
    for (size_t i = 0; i < n; i++) {
        bool is_same_nan = isnan(got[i]) && isnan(want[i]);
        bool is_equal = (double)got[i] == want[i]; // infinities too
        if (!is_same_nan && !is_equal && !(fabs((double)got[i] - want[i]) <= limit)) {
            (void)snprintf(message, sizeof message,
                           "value %zu of %zu: %.9g instead of %.17g, limit %.3g", i, n,
                           (double)got[i], want[i], limit);
            return false;
        }
    }
    return true;
}
