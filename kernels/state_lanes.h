// The reductions over a whole state for every vector level; included after defining STATE(name).
// Scratch: state.h.
//
// The median of |x| is selected over bit patterns: a sample tells where it must lie, one pass
// counts the values below that range and bins those inside it, a second one counts the patterns of
// the bin that holds it. Where the sample misleads, the first pass is repeated over all patterns;
// so the result is exact for any values. The two passes also carry the sums, in double, per stripe
// of rows.
#include <math.h>
#include <omp.h>

#include "kernels/lanes.h"
#include "kernels/ops.h"
#include "kernels/select_lanes.h"
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

HW_LANES wide_lanes absolute(wide_lanes v) {
    return (wide_lanes)((wide_int_lanes)v & INT64_MAX);
}

// Bins of bit patterns: bin b holds those from base + (b << shift) on; n_bins of them.
struct binning {
    int32_t base;
    int shift;
    uint32_t n_patterns; // bins << shift
};

HW_LANES void bin_one(const struct binning *binning, int32_t bits, struct hw_state_thread *own) {
    uint32_t at = (uint32_t)bits - (uint32_t)binning->base;
    own->n_below += bits < binning->base;
    if (at < binning->n_patterns) {
        own->bins[at >> binning->shift]++;
    }
}

static void bin_row(const struct binning *binning, const float *row, size_t n,
                    struct hw_state_thread *own) {
    int_lanes below = {0};
    size_t c = 0;
    for (; c + N_LANES <= n; c += N_LANES) {
        int_lanes bits = load_magnitudes(row + c);
        uint_lanes at = (uint_lanes)(bits - binning->base);
        below -= bits < binning->base;
        uint32_t at_lane[N_LANES];
        memcpy(at_lane, &at, sizeof at_lane);
        uint32_t inside = lane_mask((int_lanes)(at < binning->n_patterns));
        for (; inside != 0; inside &= inside - 1) {
            own->bins[at_lane[__builtin_ctz(inside)] >> binning->shift]++;
        }
    }
    for (int i = 0; i < N_LANES; i++) {
        own->n_below += (size_t)below[i];
    }
    for (; c < n; c++) {
        bin_one(binning, magnitude_bits(row[c]), own);
    }
}

static void sum_row(const float *row, size_t n, struct hw_state_stripe *sums) {
    struct sums of_all = {0};
    struct sums of_abs = {0};
    size_t c = 0;
    for (; c + N_SUMS <= n; c += N_SUMS) {
        for (int k = 0; k < N_ACCUMULATORS; k++) {
            wide_lanes v = load_wide(row + c + N_WIDE * (size_t)k);
            of_all.part[k] += v;
            of_abs.part[k] += absolute(v);
        }
    }
    for (int k = 0; c < n; c += N_WIDE, k++) {
        wide_lanes v = load_wide_part(row + c, n - c < N_WIDE ? n - c : N_WIDE);
        of_all.part[k] += v;
        of_abs.part[k] += absolute(v);
    }
    sums->sum += sums_total(&of_all);
    sums->sum_abs += sums_total(&of_abs);
}

static void square_row(const float *row, size_t n, double mean, struct hw_state_stripe *sums) {
    size_t whole = n - n % N_SUMS; // behind it, padding would count as values
    double squares;
    HW_SUM_LANES(row, whole, squares, multiply_add_wide(v - mean, v - mean, sum_));
    for (size_t c = whole; c < n; c++) {
        squares += ((double)row[c] - mean) * ((double)row[c] - mean);
    }
    sums->squares += squares;
}

enum pass { PASS_SUM, PASS_BIN_ONLY, PASS_SQUARE };

static void pass_over_state(const struct hw_exec *exec, const struct state_view *view,
                            enum pass pass, double mean, const struct binning *binning) {
    struct hw_state_scratch *scratch = exec->scratch;
    size_t n_bins = binning->n_patterns >> binning->shift;
    for (int t = 0; t < exec->n_threads; t++) {
        memset(scratch->threads[t].bins, 0, n_bins * sizeof *scratch->threads[t].bins);
        scratch->threads[t].n_below = 0;
    }
#pragma omp parallel for schedule(static) num_threads(exec->n_threads)
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        struct hw_state_thread *own = &scratch->threads[omp_get_thread_num()];
        struct hw_state_stripe sums = {0};
        for (size_t r = stripe_begin(view, s); r < stripe_begin(view, s + 1); r++) {
            const float *row = view->x + r * view->ld;
            if (pass == PASS_SUM) {
                sum_row(row, view->width, &sums);
            } else if (pass == PASS_SQUARE) {
                square_row(row, view->width, mean, &sums);
            }
            bin_row(binning, row, view->width, own);
        }
        if (pass != PASS_BIN_ONLY) {
            scratch->stripes[s] = sums;
        }
    }
}

// The bin in which the want-th value (from 1) falls and *ret_before, how many values lie before it;
// false where no bin holds it.
static bool find_bin(const struct hw_exec *exec, const struct binning *binning, size_t want,
                     uint32_t *ret_bin, size_t *ret_before) {
    const struct hw_state_scratch *scratch = exec->scratch;
    size_t before = 0;
    for (int t = 0; t < exec->n_threads; t++) {
        before += scratch->threads[t].n_below;
    }
    uint32_t n_bins = binning->n_patterns >> binning->shift;
    for (uint32_t bin = 0; bin < n_bins && before < want; bin++) {
        size_t n = 0;
        for (int t = 0; t < exec->n_threads; t++) {
            n += scratch->threads[t].bins[bin];
        }
        if (before + n >= want) {
            *ret_bin = bin;
            *ret_before = before;
            return true;
        }
        before += n;
    }
    return false;
}

// A range of patterns, 3 % of the value to each side, around the median of up to SAMPLE_ROWS pieces
// of rows.
static struct binning guess_binning(const struct hw_exec *exec, const struct state_view *view) {
    enum { SAMPLE_ROWS = 128, SAMPLE_WIDTH = 128, SIDE = 1 << 18 };
    float *sample = (float *)((struct hw_state_scratch *)exec->scratch)->threads[0].bins;
    size_t n_rows = hw_size_min(view->m, SAMPLE_ROWS);
    size_t n_columns = hw_size_min(view->width, SAMPLE_WIDTH);
    for (size_t i = 0; i < n_rows; i++) {
        size_t row = view->m / n_rows * i;
        size_t column = i * 37 % (view->width - n_columns + 1);
        memcpy(sample + i * n_columns, view->x + row * view->ld + column,
               n_columns * sizeof *sample);
    }
    int32_t guess = median_magnitude(sample, n_rows * n_columns, 0);
    return (struct binning){
        .base = guess > SIDE ? guess - SIDE : 0, .shift = 3, .n_patterns = 2 * SIDE};
}

static void STATE(state_stats)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                               size_t width, float *median, float *mean_abs, float *std) {
    struct state_view view = {x, m, ld, width};
    const struct hw_state_stripe *stripes = ((struct hw_state_scratch *)exec->scratch)->stripes;
    if (m == 0 || width == 0) {
        *median = *mean_abs = *std = NAN;
        return;
    }
    double n = (double)m * (double)width;
    size_t want = m * width / 2 + m * width % 2;
    uint32_t bin = 0;
    size_t before = 0;
    struct binning binning = guess_binning(exec, &view);
    pass_over_state(exec, &view, PASS_SUM, 0, &binning);
    double sum = 0;
    double sum_abs = 0;
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        sum += stripes[s].sum;
        sum_abs += stripes[s].sum_abs;
    }
    if (!find_bin(exec, &binning, want, &bin, &before)) {
        binning = (struct binning){.base = 0, .shift = 15, .n_patterns = 1u << 31};
        pass_over_state(exec, &view, PASS_BIN_ONLY, 0, &binning);
        (void)find_bin(exec, &binning, want, &bin, &before);
    }
    int32_t first = binning.base + (int32_t)(bin << binning.shift);
    binning = (struct binning){.base = first, .shift = 0, .n_patterns = 1u << binning.shift};
    pass_over_state(exec, &view, PASS_SQUARE, sum / n, &binning);
    (void)find_bin(exec, &binning, want, &bin, &before);
    double squares = 0;
    for (size_t s = 0; s < HW_STATE_STRIPES; s++) {
        squares += stripes[s].squares;
    }
    *median = float_of(first + (int32_t)bin);
    *mean_abs = (float)(sum_abs / n);
    *std = (float)sqrt(squares / n);
}

// Larger magnitude first, then lower row, then lower channel: a total order, so that merging
// threads has one result.
static int comes_first(const struct hw_top_value *a, const struct hw_top_value *b) {
    int32_t a_bits = magnitude_bits(a->value);
    int32_t b_bits = magnitude_bits(b->value);
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

HW_LANES bool has_above(const float *x, int32_t least) {
    return lane_mask(load_magnitudes(x) > least) != 0;
}

// Takes the rows of a stripe into a thread's list. Once it is full, vectors without a value above
// its last are skipped.
static void top_of_stripe(const struct state_view *view, size_t stripe, size_t n,
                          struct hw_state_thread *own) {
    for (size_t r = stripe_begin(view, stripe); r < stripe_begin(view, stripe + 1); r++) {
        const float *row = view->x + r * view->ld;
        for (size_t c = 0; c < view->width; c += N_LANES) {
            size_t end = hw_size_min(c + N_LANES, view->width);
            bool is_full = own->n_top == n;
            int32_t least = is_full ? magnitude_bits(own->top[n - 1].value) : -1;
            if (is_full && end - c == N_LANES && !has_above(row + c, least)) {
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
