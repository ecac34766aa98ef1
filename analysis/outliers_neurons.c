// Outliers at the input of down_proj (E2): the neurons of the MLP, after the nonlinearity and the
// gate; see outliers.h.
//
// The lower median of all |x| of a prompt and layer is exact: bit patterns of magnitudes are in the
// order of the magnitudes, so one pass counts their upper halves and a second the lower halves of
// those in the bin where the median lies. Nothing is sorted, and no more than READ_FLOATS values
// are in memory.
#include <math.h>
#include <string.h>

#include "analysis/outliers_internal.h"
#include "kernels/size.h"

enum { AT_ONCE = 512, READ_FLOATS = 1 << 18, HALF_BITS = 16, N_BINS = 1 << HALF_BITS };

void hw_outliers_take_neurons(struct outliers_work *w, struct hw_arena *arena) {
    struct hw_outliers *out = w->out;
    size_t n_maxima;
    size_t n_rows;
    if (!out->has_neurons) {
        return;
    }
    w->neuron_block =
        hw_size_max(1, hw_size_min(w->longest, READ_FLOATS / hw_size_max(out->n_neurons, 1)));
    if (!hw_size_mul(out->n_mlp_layers, out->n_neurons, &n_maxima) ||
        !hw_size_mul(w->neuron_block, out->n_neurons, &n_rows)) {
        arena->is_overflown = 1;
        return;
    }
    w->neuron_rows = hw_arena_take(arena, n_rows, sizeof *w->neuron_rows);
    w->neuron_max = hw_arena_take(arena, out->n_neurons, sizeof *w->neuron_max);
    w->bins = hw_arena_take(arena, N_BINS, sizeof *w->bins);
    out->by_mlp_layer = hw_arena_take(arena, out->n_mlp_layers, sizeof *out->by_mlp_layer);
    out->neuron_max = hw_arena_take(arena, n_maxima, sizeof *out->neuron_max);
}

// The recorded rows of the prompt's own tokens: all, or those that --positions chose. Rows are in
// the order of prompts and positions, generated tokens behind the others.
static enum hw_status find_rows(struct outliers_work *w, const struct outliers_prompt *p,
                                size_t *ret_first, size_t *ret_n, struct hw_error *err) {
    struct hw_trace *trace = w->trace;
    size_t n_rows = hw_trace_n_rows(trace, HW_DS_ACTIVATIONS_MLP_POST);
    int32_t prompts[AT_ONCE];
    int32_t positions[AT_ONCE];
    bool is_done = false;
    *ret_first = 0;
    *ret_n = 0;
    while (!is_done && w->next_row < n_rows) {
        size_t start = w->next_row;
        size_t n = hw_size_min(AT_ONCE, n_rows - start);
        enum hw_status status =
            hw_trace_read_i32(trace, HW_DS_ACTIVATIONS_TOKEN_PROMPT, 0, start, n, prompts, err);
        if (status == HW_OK) {
            status = hw_trace_read_i32(trace, HW_DS_ACTIVATIONS_TOKEN_POSITION, 0, start, n,
                                       positions, err);
        }
        if (status != HW_OK) {
            return status;
        }
        for (size_t i = 0; i < n && !is_done; i++) {
            bool is_own = prompts[i] == p->prompt->prompt && positions[i] >= 0 &&
                          (size_t)positions[i] < p->n_tokens &&
                          (*ret_n == 0 || start + i == *ret_first + *ret_n);
            *ret_first = is_own && *ret_n == 0 ? start + i : *ret_first;
            *ret_n += is_own;
            is_done = prompts[i] > p->prompt->prompt;
            w->next_row += !is_done;
        }
    }
    return HW_OK;
}

static int32_t bits_of(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & INT32_MAX;
}

// What one pass over the rows of a prompt and layer gathers.
struct neuron_pass {
    size_t layer; // on the recorded axis
    size_t first;
    size_t n;
    bool is_second;              // counts lower halves in `upper`; the first pass does the rest
    int32_t upper;               // the bin of the median
    double top[HW_OUTLIERS_TOP]; // magnitudes
    size_t row;                  // of the largest
    bool is_finite;
};

static void keep_top(struct neuron_pass *pass, double size, size_t row) {
    size_t at = HW_OUTLIERS_TOP - 1;
    if (size <= pass->top[at]) {
        return;
    }
    for (; at > 0 && size > pass->top[at - 1]; at--) {
        pass->top[at] = pass->top[at - 1];
    }
    pass->top[at] = size;
    pass->row = at == 0 ? row : pass->row;
}

static void look_at_row(struct outliers_work *w, struct neuron_pass *pass, const float *x,
                        size_t row) {
    for (size_t i = 0; i < w->out->n_neurons; i++) {
        int32_t bits = bits_of(x[i]);
        if (pass->is_second) {
            w->bins[bits & (N_BINS - 1)] += bits >> HALF_BITS == pass->upper;
            continue;
        }
        float size = fabsf(x[i]);
        pass->is_finite = pass->is_finite && isfinite(size);
        w->bins[bits >> HALF_BITS]++;
        w->neuron_max[i] = size > w->neuron_max[i] ? size : w->neuron_max[i];
        keep_top(pass, size, row);
    }
}

static enum hw_status run_pass(struct outliers_work *w, struct neuron_pass *pass,
                               struct hw_error *err) {
    memset(w->bins, 0, N_BINS * sizeof *w->bins);
    for (size_t at = 0; at < pass->n; at += w->neuron_block) {
        size_t n = hw_size_min(w->neuron_block, pass->n - at);
        if (!pass->is_second || pass->n > w->neuron_block) { // else they are still there
            enum hw_status status =
                hw_trace_read_f32(w->trace, HW_DS_ACTIVATIONS_MLP_POST, pass->layer,
                                  pass->first + at, n, w->neuron_rows, err);
            if (status != HW_OK) {
                return status;
            }
        }
        for (size_t r = 0; r < n; r++) {
            look_at_row(w, pass, w->neuron_rows + r * w->out->n_neurons, at + r);
        }
    }
    return HW_OK;
}

// The bin that value number *rank is in; *rank becomes its number within the bin.
static int32_t find_bin(const struct outliers_work *w, size_t *rank) {
    int32_t bin = 0;
    while (bin < N_BINS - 1 && w->bins[bin] <= *rank) {
        *rank -= w->bins[bin++];
    }
    return bin;
}

static enum hw_status add_layer(struct outliers_work *w, struct neuron_pass *pass,
                                struct hw_error *err) {
    struct hw_outliers *out = w->out;
    struct hw_outlier_mlp *of = &out->by_mlp_layer[pass->layer];
    memset(w->neuron_max, 0, out->n_neurons * sizeof *w->neuron_max);
    enum hw_status status = run_pass(w, pass, err);
    if (status != HW_OK || !pass->is_finite) {
        return status;
    }
    size_t n_values = pass->n * out->n_neurons;
    size_t rank = (n_values - 1) / 2;
    pass->upper = find_bin(w, &rank);
    pass->is_second = true;
    status = run_pass(w, pass, err);
    if (status != HW_OK) {
        return status;
    }
    int32_t bits = pass->upper << HALF_BITS | find_bin(w, &rank);
    float median;
    memcpy(&median, &bits, sizeof median);
    for (size_t r = 0; r < HW_OUTLIERS_TOP && r < n_values; r++) {
        hw_mean_add(&of->top[r], pass->top[r]);
    }
    hw_mean_add(&of->median, median);
    if (median > 0) {
        hw_mean_add(&of->median_ratio, pass->top[0] / (double)median);
    }
    for (size_t i = 0; i < out->n_neurons; i++) {
        hw_mean_add(&out->neuron_max[pass->layer * out->n_neurons + i], w->neuron_max[i]);
    }
    return HW_OK;
}

static enum hw_status note_position(struct outliers_work *w, const struct neuron_pass *pass,
                                    struct hw_error *err) {
    struct hw_outlier_mlp *of = &w->out->by_mlp_layer[pass->layer];
    if (!pass->is_finite || pass->top[0] <= of->largest) {
        return HW_OK;
    }
    of->largest = pass->top[0];
    return hw_trace_read_i32(w->trace, HW_DS_ACTIVATIONS_TOKEN_POSITION, 0, pass->first + pass->row,
                             1, &of->position, err);
}

enum hw_status hw_outliers_add_neurons(struct outliers_work *w, const struct outliers_prompt *p,
                                       struct hw_error *err) {
    struct hw_outliers *out = w->out;
    struct neuron_pass pass = {0};
    bool is_spoiled = false;
    enum hw_status status = find_rows(w, p, &pass.first, &pass.n, err);
    if (status != HW_OK || pass.n == 0 || out->n_neurons == 0) {
        return status;
    }
    for (size_t layer = 0; layer < out->n_mlp_layers && status == HW_OK; layer++) {
        struct neuron_pass of_layer = {
            .layer = layer, .first = pass.first, .n = pass.n, .is_finite = true};
        status = add_layer(w, &of_layer, err);
        status = status == HW_OK ? note_position(w, &of_layer, err) : status;
        is_spoiled = is_spoiled || !of_layer.is_finite;
    }
    out->n_mlp_tokens += pass.n;
    out->n_mlp_missing += p->n_tokens - pass.n;
    out->n_mlp_spoiled += is_spoiled;
    return status;
}

void hw_outliers_rank_neurons(struct hw_outliers *out) {
    for (size_t layer = 0; layer < out->n_mlp_layers; layer++) {
        const struct hw_mean *maxima = out->neuron_max + layer * out->n_neurons;
        int32_t *best = out->by_mlp_layer[layer].neuron;
        for (size_t r = 0; r < HW_OUTLIERS_NEURONS; r++) {
            best[r] = -1;
            for (size_t i = 0; i < out->n_neurons; i++) {
                bool is_taken = r > 0 && (int32_t)i == best[0];
                if (maxima[i].n > 0 && !is_taken &&
                    (best[r] < 0 || maxima[i].mean > maxima[best[r]].mean)) {
                    best[r] = (int32_t)i;
                }
            }
        }
    }
}
