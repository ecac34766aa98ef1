// Largest and median magnitude of a run of floats, exact, for every vector level. Magnitudes are
// bit patterns without the sign, as integers: their order is that of |x|, with NaN above infinity.
#ifndef HW_SELECT_LANES_H
#define HW_SELECT_LANES_H

#include "kernels/lanes.h"

HW_LANES int32_t magnitude_bits(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFF;
}

static int32_t largest_magnitude(const float *x, size_t n) {
    int_lanes largest = {0};
    size_t c = 0;
    for (; c + N_LANES <= n; c += N_LANES) {
        int_lanes v = load_magnitudes(x + c);
        int_lanes is_larger = v > largest;
        largest = (v & is_larger) | (largest & ~is_larger);
    }
    int32_t of_all = 0;
    for (int i = 0; i < N_LANES; i++) {
        of_all = largest[i] > of_all ? largest[i] : of_all;
    }
    for (; c < n; c++) {
        int32_t bits = magnitude_bits(x[c]);
        of_all = bits > of_all ? bits : of_all;
    }
    return of_all;
}

HW_LANES float float_of(int32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// How many of n values have a magnitude of at most `limit`.
static size_t count_up_to(const float *x, size_t n, int32_t limit) {
    int_lanes counts[2] = {{0}, {0}};
    size_t c = 0;
    for (; c + 2 * N_LANES <= n; c += 2 * N_LANES) {
        counts[0] -= load_magnitudes(x + c) <= limit; // a true lane is -1
        counts[1] -= load_magnitudes(x + c + N_LANES) <= limit;
    }
    counts[0] += counts[1];
    size_t total = 0;
    for (int i = 0; i < N_LANES; i++) {
        total += (size_t)counts[0][i];
    }
    for (; c < n; c++) {
        total += magnitude_bits(x[c]) <= limit;
    }
    return total;
}

// The smallest magnitude above `limit` (there is one).
static int32_t smallest_above(const float *x, size_t n, int32_t limit) {
    int_lanes smallest = (int_lanes){0} + INT32_MAX;
    size_t c = 0;
    for (; c + N_LANES <= n; c += N_LANES) {
        int_lanes v = load_magnitudes(x + c);
        int_lanes is_better = (v > limit) & (v < smallest);
        smallest = (v & is_better) | (smallest & ~is_better);
    }
    int32_t of_all = INT32_MAX;
    for (int i = 0; i < N_LANES; i++) {
        of_all = smallest[i] < of_all ? smallest[i] : of_all;
    }
    for (; c < n; c++) {
        int32_t bits = magnitude_bits(x[c]);
        of_all = bits > limit && bits < of_all ? bits : of_all;
    }
    return of_all;
}

// The search for the want-th smallest magnitude: it lies above `low` and not above `high`.
struct search {
    int32_t low;
    int32_t high;
    size_t n_low; // values up to low, < want
    size_t n_high;
};

static void narrow_search(struct search *search, const float *x, size_t n, size_t want,
                          int32_t probe) {
    if (probe <= search->low || probe >= search->high) {
        return;
    }
    size_t n_probe = count_up_to(x, n, probe);
    if (n_probe < want) {
        search->low = probe;
        search->n_low = n_probe;
    } else {
        search->high = probe;
        search->n_high = n_probe;
    }
}

// Where the value stands if counts rise evenly with |x|, which near a median they nearly do.
static int32_t interpolate(const struct search *search, size_t want) {
    float low = search->low < 0 ? 0 : float_of(search->low);
    float share = ((float)(want - search->n_low) - 0.75f) / (float)(search->n_high - search->n_low);
    int32_t probe = magnitude_bits(low + (float_of(search->high) - low) * share);
    probe = probe > search->low ? probe : search->low + 1;
    return probe < search->high ? probe : search->high - 1;
}

// The lower median, by counting in a row that stays in the cache: without a copy, exact for any
// values. `hint` (a magnitude, such as the median of the row before) only makes it faster. Every
// other probe halves the range of bit patterns, so 62 are enough.
static int32_t median_magnitude(const float *x, size_t n, int32_t hint) {
    size_t want = n / 2 + n % 2;
    struct search search = {-1, largest_magnitude(x, n), 0, n};
    if (hint > 0) {
        narrow_search(&search, x, n, want, hint);
        narrow_search(&search, x, n, want,
                      search.low == hint ? hint + (1 << 21) : hint - (1 << 21));
    }
    for (int step = 0; search.n_low + 1 < want && search.high - search.low > 1; step++) {
        bool is_even = step % 2 == 0 && search.high < 0x7F800000;
        int32_t middle = search.low + (int32_t)(((int64_t)search.high - search.low) / 2);
        narrow_search(&search, x, n, want, is_even ? interpolate(&search, want) : middle);
    }
    return search.n_low + 1 == want ? smallest_above(x, n, search.low) : search.high;
}

#endif
