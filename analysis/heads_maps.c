// Measures of heads that need whole rows; see heads.h.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/heads_internal.h"
#include "kernels/size.h"

// Weights of one power of two and three more bits share a bucket; 1 + rounding is the last.
enum { BUCKET_SHIFT = 20, N_BUCKETS = 1024 };

static size_t bucket_of(float weight) {
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return weight > 0 ? hw_size_min(bits >> BUCKET_SHIFT, N_BUCKETS - 1) : 0;
}

static int compare_falling(const void *a, const void *b) {
    float x = *(const float *)a;
    float y = *(const float *)b;
    return (x < y) - (x > y);
}

// The smallest number of the n weights that together reach `share` of their sum: whole buckets from
// the heaviest down, then one bucket in order.
static size_t count_top(const float *row, size_t n, double share, float *scratch) {
    double mass[N_BUCKETS] = {0};
    uint32_t count[N_BUCKETS] = {0};
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        size_t b = bucket_of(row[j]);
        mass[b] += row[j];
        count[b]++;
        sum += row[j];
    }
    double held = 0;
    size_t n_keys = 0;
    size_t b = N_BUCKETS;
    while (b > 0 && held + mass[b - 1] < share * sum) {
        b--;
        held += mass[b];
        n_keys += count[b];
    }
    if (b == 0) {
        return n_keys; // rounding alone kept it from being reached
    }
    size_t n_left = 0;
    for (size_t j = 0; j < n; j++) {
        if (bucket_of(row[j]) == b - 1) {
            scratch[n_left++] = row[j];
        }
    }
    qsort(scratch, n_left, sizeof *scratch, compare_falling);
    for (size_t i = 0; i < n_left && held < share * sum; i++) {
        held += scratch[i];
        n_keys++;
    }
    return n_keys;
}

static void add_row(const struct hw_heads_row_options *o, const float *row, size_t query,
                    struct hw_heads_map_sums *sums) {
    size_t n_tokens = o->n_tokens;
    size_t n_seen = query + 1;
    sums->n_rows++;
    sums->is_bad = sums->is_bad || !hw_map_row_is_sound(row, n_seen);
    if (sums->is_bad) {
        return;
    }
    double rest = .0001 / (double)n_tokens;
    double entropy = -(double)(n_tokens - n_seen) * rest * log(rest);
    float largest = 0;
    for (size_t j = 0; j < n_seen; j++) {
        double a = .9999 * row[j] + rest;
        entropy -= a * log(a);
        largest = fmaxf(largest, row[j]);
    }
    size_t n_sparse = 0;
    for (size_t j = 0; j < n_seen; j++) {
        n_sparse += row[j] < .01 * largest;
    }
    sums->entropy_smoothed += entropy;
    sums->top_p += (double)count_top(row, n_seen, o->top_p, o->scratch);
    sums->sparse += (double)n_sparse;
    sums->entries += (double)n_seen;
}

void hw_heads_add_rows(const struct hw_heads_row_options *options, const float *rows, size_t stride,
                       size_t first_row, size_t n_rows, struct hw_heads_map_sums *sums) {
    for (size_t i = 0; i < n_rows && first_row + i < options->n_tokens; i++) {
        add_row(options, rows + i * stride, first_row + i, sums);
    }
}

static enum hw_status add_block(void *self, const struct hw_map_block *block,
                                struct hw_error *err) {
    struct heads_work *w = self;
    if (block->n_keys < w->n_tokens) {
        return hw_fail(err, HW_INPUT, "%s: a map has %zu keys, expected %zu",
                       hw_trace_path(w->trace), block->n_keys, w->n_tokens);
    }
    struct hw_heads_row_options how = {w->n_tokens, w->out->options.top_p, w->scratch};
    hw_heads_add_rows(&how, block->rows, block->stride, block->first_row, block->n_rows,
                      &w->sums[block->head]);
    return HW_OK;
}

static size_t find_number(const int32_t *numbers, size_t n, int32_t number) {
    size_t i = 0;
    while (i < n && numbers[i] != number) {
        i++;
    }
    return i;
}

enum hw_status hw_heads_add_maps(struct heads_work *work, size_t prompt, struct hw_error *err) {
    struct hw_heads *out = work->out;
    size_t n_map_layers = work->maps != NULL ? hw_map_source_n_layers(work->maps) : 0;
    size_t n_map_heads = work->maps != NULL ? hw_map_source_n_heads(work->maps) : 0;
    const struct hw_layout *layout = hw_trace_layout(work->trace);
    work->n_tokens = hw_trace_prompt(work->trace, prompt)->n_prompt_tokens;
    for (size_t m = 0; m < n_map_layers; m++) {
        size_t layer = find_number(out->layers, out->n_layers, hw_map_source_layers(work->maps)[m]);
        if (layer == out->n_layers) {
            continue; // maps of a layer without statistics
        }
        for (size_t h = 0; h < n_map_heads; h++) {
            size_t head = find_number(out->heads, out->n_heads, hw_map_source_heads(work->maps)[h]);
            work->is_wanted[h] = head < out->n_heads && hw_map_source_has(work->maps, m, h) &&
                                 hw_heads_is_wanted(out, layout, layer, head);
        }
        memset(work->sums, 0, n_map_heads * sizeof *work->sums);
        enum hw_status status =
            hw_map_source_walk(work->maps, prompt, m, work->is_wanted, add_block, work, err);
        if (status != HW_OK) {
            return status;
        }
        for (size_t h = 0; h < n_map_heads; h++) {
            const struct hw_heads_map_sums *sums = &work->sums[h];
            out->n_bad_maps += sums->is_bad;
            if (!work->is_wanted[h] || sums->n_rows == 0 || sums->is_bad) {
                continue;
            }
            size_t cell = layer * out->n_heads +
                          find_number(out->heads, out->n_heads, hw_map_source_heads(work->maps)[h]);
            double n_rows = (double)sums->n_rows;
            hw_head_scores_add(&out->scores, HW_HEADS_ENTROPY_SMOOTHED, cell,
                               sums->entropy_smoothed / n_rows);
            hw_head_scores_add(&out->scores, HW_HEADS_TOP_P, cell, sums->top_p / n_rows);
            hw_head_scores_add(&out->scores, HW_HEADS_SPARSITY, cell, sums->sparse / sums->entries);
        }
    }
    return HW_OK;
}
