// The reductions over a whole state for every vector level; included after defining STATE(name).
// Scratch: state.h.
//
// The median is selected in two passes over the bit pattern of |x|: a histogram of its upper half,
// then one of the lower half of the values that fall in the median's bin. The passes also carry the
// sums, in double, per stripe of rows.
#include <math.h>
#include <omp.h>

#include "kernels/lanes.h"
#include "kernels/ops.h"
#include "kernels/size.h"
#include "kernels/state.h"

struct state_view {
    const float *x;
    size_t m;
    size_t ld;
    size_t width;
};

static size_t stripe_begin(const struct state_view *view, size_t stripe) {
    return view->m / HW_STATE_STRIPES * stripe + hw_size_min(view->m % HW_STATE_STRIPES, stripe);
}

HW_LANES uint32_t magnitude_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7FFFFFFF;
}

HW_LANES f64x8 absolute8(f64x8 v) {
    return (f64x8)((i64x8)v & INT64_MAX);
}

static void first_pass(const struct state_view *view, size_t stripe, struct hw_state_stripe *sums,
                       uint32_t *bins) {
    sums->sum = 0;
    sums->sum_abs = 0;
    for (size_t r = stripe_begin(view, stripe); r < stripe_begin(view, stripe + 1); r++) {
        const float *row = view->x + r * view->ld;
        double sum;
        double sum_abs;
        HW_SUM_LANES(row, view->width, sum, v);
        HW_SUM_LANES(row, view->width, sum_abs, absolute8(v));
        sums->sum += sum;
        sums->sum_abs += sum_abs;
        for (size_t c = 0; c < view->width; c++) {
            bins[magnitude_bits(row[c]) >> 16]++;
        }
    }
}

// Counts the lower halves of the 16 values at x whose upper half is `upper`; most vectors hold
// none.
HW_LANES void count_lower(const float *x, int32_t upper, uint32_t *bins) {
    i32x16 bits = magnitude16(x);
    i32x16 is_in = (bits >> 16) == upper;
    int32_t any = 0;
    for (int i = 0; i < 16; i++) {
        any |= is_in[i];
    }
    if (any != 0) {
        for (int i = 0; i < 16; i++) {
            bins[bits[i] & 0xFFFF] += is_in[i] != 0;
        }
    }
}

static void second_pass(const struct state_view *view, size_t stripe, double mean, int32_t upper,
                        struct hw_state_stripe *sums, uint32_t *bins) {
    sums->squares = 0;
    for (size_t r = stripe_begin(view, stripe); r < stripe_begin(view, stripe + 1); r++) {
        const float *row = view->x + r * view->ld;
        size_t whole = view->width - view->width % 16;
        double squares;
        HW_SUM_LANES(row, whole, squares, (v - mean) * (v - mean));
        for (size_t c = 0; c < whole; c += 16) {
            count_lower(row + c, upper, bins);
        }
        for (size_t c = whole; c < view->width; c++) {
            squares += ((double)row[c] - mean) * ((double)row[c] - mean);
            uint32_t bits = magnitude_bits(row[c]);
            bins[bits & 0xFFFF] += (int32_t)(bits >> 16) == upper;
        }
        sums->squares += squares;
    }
}

// The bin in which the want-th value (from 1) falls, adding up the threads' bins; *ret_before = how
// many values lie below it.
static uint32_t find_bin(const struct hw_state_scratch *scratch, int n_threads, size_t want,
                         size_t *ret_before) {
    size_t before = 0;
    for (uint32_t bin = 0; bin < HW_STATE_BINS; bin++) {
        size_t n = 0;
        for (int t = 0; t < n_threads; t++) {
            n += scratch->threads[t].bins[bin];
        }
        if (before + n >= want) {
            *ret_before = before;
            return bin;
        }
        before += n;
    }
    *ret_before = before;
    return HW_STATE_BINS - 1;
}

static void STATE(state_stats)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                               size_t width, float *median, float *mean_abs, float *std) {
    struct state_view view = {x, m, ld, width};
    struct hw_state_scratch *scratch = exec->scratch;
    double n = (double)m * (double)width;
    double sum = 0;
    double sum_abs = 0;
    double squares = 0;
    for (int t = 0; t < exec->n_threads; t++) {
        memset(scratch->threads[t].bins, 0, sizeof scratch->threads[t].bins);
    }
#pragma omp parallel for schedule(static) num_threads(exec->n_threads)
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        first_pass(&view, s, &scratch->stripes[s], scratch->threads[omp_get_thread_num()].bins);
    }
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        sum += scratch->stripes[s].sum;
        sum_abs += scratch->stripes[s].sum_abs;
    }
    double mean = sum / n;
    size_t want = m * width / 2 + m * width % 2;
    size_t before;
    uint32_t upper = find_bin(scratch, exec->n_threads, want, &before);
    for (int t = 0; t < exec->n_threads; t++) {
        memset(scratch->threads[t].bins, 0, sizeof scratch->threads[t].bins);
    }
#pragma omp parallel for schedule(static) num_threads(exec->n_threads)
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        second_pass(&view, s, mean, (int32_t)upper, &scratch->stripes[s],
                    scratch->threads[omp_get_thread_num()].bins);
    }
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        squares += scratch->stripes[s].squares;
    }
    size_t unused;
    uint32_t bits = upper << 16 | find_bin(scratch, exec->n_threads, want - before, &unused);
    memcpy(median, &bits, sizeof *median);
    *mean_abs = (float)(sum_abs / n);
    *std = (float)sqrt(squares / n);
    if (m == 0 || width == 0) {
        *median = NAN;
    }
}

// Larger magnitude first, then lower row, then lower channel: a total order, so that merging
// threads has one result.
static int comes_first(const struct hw_top_value *a, const struct hw_top_value *b) {
    uint32_t a_bits = magnitude_bits(a->value);
    uint32_t b_bits = magnitude_bits(b->value);
    if (a_bits != b_bits) {
        return a_bits > b_bits;
    }
    return a->row != b->row ? a->row < b->row : a->channel < b->channel;
}

static void insert_top(struct hw_top_value *top, size_t *n_top, size_t limit,
                       const struct hw_top_value *value) {
    size_t at = *n_top;
    while (at > 0 && comes_first(value, &top[at - 1])) {
        at--;
    }
    if (at == limit) {
        return;
    }
    *n_top += *n_top < limit;
    memmove(top + at + 1, top + at, (*n_top - at - 1) * sizeof *top);
    top[at] = *value;
}

// Has any of 16 values a magnitude above `least`?
HW_LANES int any_above16(const float *x, int32_t least) {
    i32x16 is_above = magnitude16(x) > least;
    int32_t any = 0;
    for (int i = 0; i < 16; i++) {
        any |= is_above[i];
    }
    return any != 0;
}

// Takes the rows of a stripe into a thread's list. Once it is full, vectors without a value above
// its last are skipped.
static void top_of_stripe(const struct state_view *view, size_t stripe, size_t n,
                          struct hw_state_thread *own) {
    for (size_t r = stripe_begin(view, stripe); r < stripe_begin(view, stripe + 1); r++) {
        const float *row = view->x + r * view->ld;
        for (size_t c = 0; c < view->width; c += 16) {
            size_t end = hw_size_min(c + 16, view->width);
            bool is_full = own->n_top == n;
            int32_t least = is_full ? (int32_t)magnitude_bits(own->top[n - 1].value) : -1;
            if (is_full && end - c == 16 && !any_above16(row + c, least)) {
                continue;
            }
            for (size_t i = c; i < end; i++) {
                struct hw_top_value value = {row[i], (uint32_t)r, (uint32_t)i};
                insert_top(own->top, &own->n_top, n, &value);
            }
        }
    }
}

static void STATE(state_top)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                             size_t width, size_t n, struct hw_top_value *out) {
    struct state_view view = {x, m, ld, width};
    struct hw_state_scratch *scratch = exec->scratch;
    if (n == 0) {
        return;
    }
    for (int t = 0; t < exec->n_threads; t++) {
        scratch->threads[t].n_top = 0;
    }
#pragma omp parallel for schedule(static) num_threads(exec->n_threads)
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        top_of_stripe(&view, s, n, &scratch->threads[omp_get_thread_num()]);
    }
    size_t n_found = 0;
    for (int t = 0; t < exec->n_threads; t++) {
        for (size_t i = 0; i < scratch->threads[t].n_top; i++) {
            insert_top(out, &n_found, n, &scratch->threads[t].top[i]);
        }
    }
    for (size_t i = n_found; i < n; i++) {
        out[i] = (struct hw_top_value){NAN, UINT32_MAX, UINT32_MAX};
    }
}

static size_t count_events(const struct state_view *view, size_t stripe, float floor, float least) {
    size_t n = 0;
    for (size_t r = stripe_begin(view, stripe); r < stripe_begin(view, stripe + 1); r++) {
        const float *row = view->x + r * view->ld;
        uint32_t of_row = 0;
        for (size_t c = 0; c < view->width; c++) {
            of_row += (uint32_t)((fabsf(row[c]) > floor) & (fabsf(row[c]) >= least));
        }
        n += of_row;
    }
    return n;
}

// Writes the events of a stripe, of which the first is number `first` of all.
static void list_events(const struct state_view *view, size_t stripe, float floor, float least,
                        size_t first, size_t limit, struct hw_top_value *out) {
    size_t n = first;
    for (size_t r = stripe_begin(view, stripe); r < stripe_begin(view, stripe + 1); r++) {
        const float *row = view->x + r * view->ld;
        for (size_t c = 0; c < view->width && n < limit; c++) {
            if (fabsf(row[c]) > floor && fabsf(row[c]) >= least) {
                out[n++] = (struct hw_top_value){row[c], (uint32_t)r, (uint32_t)c};
            }
        }
    }
}

static size_t STATE(state_events)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                  size_t width, float floor, float least, size_t limit,
                                  struct hw_top_value *out) {
    struct state_view view = {x, m, ld, width};
    struct hw_state_stripe *stripes = ((struct hw_state_scratch *)exec->scratch)->stripes;
#pragma omp parallel for schedule(static) num_threads(exec->n_threads)
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        stripes[s].n_events = count_events(&view, s, floor, least);
    }
    size_t n = 0;
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        if (stripes[s].n_events > 0) {
            list_events(&view, s, floor, least, n, limit, out);
        }
        n += stripes[s].n_events;
    }
    return n;
}
