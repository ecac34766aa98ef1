// Jensen-Shannon distances between heads; see head_distances.h.
//
// With P = sum p ln p the divergence is (P + Q) / 2 - sum m ln m: one logarithm a key and pair.
// Each pair is summed by one thread, row after row, so that the result does not depend on their
// number.
#include "analysis/head_distances.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/arrays.h"
#include "analysis/map_source.h"
#include "kernels/size.h"

// The running computation.
struct distances_work {
    struct hw_trace *trace;
    const struct hw_distances_options *options;
    struct hw_map_source *maps;
    struct hw_distances *out;
    size_t *unit;    // [layers of the source, heads of the source] row of out, or SIZE_MAX
    bool *is_wanted; // [heads of the source]
    // Rows of the running part of the running prompt: unit u, row r at part + u * unit_stride +
    // row_at[r].
    float *part;
    size_t unit_stride;
    size_t row_capacity; // most rows that a part can have
    size_t *row_at;      // [row_capacity]
    double *of_prompt;   // [n_heads, n_heads] of the running prompt, below the diagonal
    bool is_bad;         // a row of the running prompt is not sound
    double *sums;        // [n_heads, row_capacity] sum p ln p
    size_t n_tokens;
    size_t n_looked_at;
    size_t first; // rows looked at: first .. end - 1 of n_looked_at
    size_t end;
};

size_t hw_distances_row(size_t r, size_t n_looked_at, size_t n_tokens) {
    return n_looked_at >= n_tokens ? r : (2 * r + 1) * n_tokens / (2 * n_looked_at);
}

void hw_distances_smooth(const float *row, size_t n, size_t n_tokens, float *ret_row) {
    double rest = .001 / (double)n_tokens;
    for (size_t j = 0; j < n; j++) {
        ret_row[j] = (float)(.999 * row[j] + rest);
    }
}

double hw_distances_sum(const float *x, size_t n) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        sum += x[j] * log(x[j]);
    }
    return sum;
}

static double sum_mixed(const float *p, const float *q, size_t n) {
    double sum = 0;
    for (size_t j = 0; j < n; j++) {
        double m = .5 * ((double)p[j] + q[j]);
        sum += m * log(m);
    }
    return sum;
}

double hw_distances_divergence(const float *p, const float *q, size_t n, double p_sum,
                               double q_sum) {
    return .5 * (p_sum + q_sum) - sum_mixed(p, q, n);
}

static size_t n_looked_at(const struct hw_distances_options *options, size_t n_tokens) {
    return hw_size_min(n_tokens, options->max_rows);
}

static size_t count_tokens(const struct distances_work *w, size_t prompt) {
    const struct hw_trace_prompt *p = hw_trace_prompt(w->trace, prompt);
    return p->status == 2 ? 0 : p->n_prompt_tokens;
}

static bool is_wanted(const struct distances_work *w, size_t layer, size_t head) {
    size_t width = hw_trace_layout(w->trace)->n_heads;
    return hw_map_source_has(w->maps, layer, head) &&
           (w->options->is_wanted == NULL ||
            w->options->is_wanted[(size_t)hw_map_source_layers(w->maps)[layer] * width +
                                  (size_t)hw_map_source_heads(w->maps)[head]]);
}

static enum hw_status open_source(struct distances_work *w, struct hw_distances_work *ret_work,
                                  struct hw_error *err) {
    struct hw_distances_work work = {0};
    enum hw_status status =
        hw_map_source_open(w->trace, "head_distance", w->options->n_threads, &w->maps, err);
    if (status != HW_OK) {
        return status;
    }
    for (size_t l = 0; l < hw_map_source_n_layers(w->maps); l++) {
        for (size_t h = 0; h < hw_map_source_n_heads(w->maps); h++) {
            work.n_heads += is_wanted(w, l, h);
        }
    }
    if (work.n_heads < 2 || work.n_heads > HW_DISTANCES_MAX_HEADS) {
        return hw_fail(err, HW_INPUT,
                       "%s: wrong number of heads with maps (expected 2 to %d, found %zu)",
                       hw_trace_path(w->trace), (int)HW_DISTANCES_MAX_HEADS, work.n_heads);
    }
    work.n_pairs = work.n_heads * (work.n_heads - 1) / 2;
    for (size_t i = 0; i < hw_trace_n_prompts(w->trace); i++) {
        size_t n_tokens = count_tokens(w, i);
        size_t n = n_looked_at(w->options, n_tokens);
        work.n_prompts += n_tokens > 0;
        work.n_rows += n;
        work.n_all_rows += n_tokens;
        work.n_sampled += n < n_tokens;
        for (size_t r = 0; r < n; r++) {
            work.n_terms += (double)work.n_pairs * (double)(hw_distances_row(r, n, n_tokens) + 1);
        }
    }
    if (work.n_rows == 0) {
        return hw_fail(err, HW_INPUT, "%s: no prompt to look at", hw_trace_path(w->trace));
    }
    *ret_work = work;
    return HW_OK;
}

static enum hw_status add_block(void *self, const struct hw_map_block *block,
                                struct hw_error *err) {
    struct distances_work *w = self;
    size_t u = w->unit[block->layer * hw_map_source_n_heads(w->maps) + block->head];
    if (block->n_keys < w->n_tokens) {
        return hw_fail(err, HW_INPUT, "%s: a map has %zu keys, expected %zu",
                       hw_trace_path(w->trace), block->n_keys, w->n_tokens);
    }
    for (size_t r = w->first; r < w->end; r++) {
        size_t query = hw_distances_row(r, w->n_looked_at, w->n_tokens);
        if (query < block->first_row || query >= block->first_row + block->n_rows) {
            continue;
        }
        bool is_sound = hw_map_row_is_sound(
            block->rows + (query - block->first_row) * block->stride, query + 1);
        float *row = w->part + u * w->unit_stride + w->row_at[r - w->first];
        hw_distances_smooth(block->rows + (query - block->first_row) * block->stride, query + 1,
                            w->n_tokens, row);
        w->sums[u * w->row_capacity + r - w->first] =
            is_sound ? hw_distances_sum(row, query + 1) : NAN;
        w->is_bad = w->is_bad || !is_sound;
    }
    return HW_OK;
}

static enum hw_status read_part(struct distances_work *w, size_t prompt, struct hw_error *err) {
    size_t n_heads = hw_map_source_n_heads(w->maps);
    enum hw_status status = HW_OK;
    for (size_t l = 0; l < hw_map_source_n_layers(w->maps) && status == HW_OK; l++) {
        bool is_any = false;
        for (size_t h = 0; h < n_heads; h++) {
            w->is_wanted[h] = is_wanted(w, l, h);
            is_any |= w->is_wanted[h];
        }
        if (is_any) {
            status = hw_map_source_walk(w->maps, prompt, l, w->is_wanted, add_block, w, err);
        }
    }
    return status;
}

// Every pair over the rows of the part.
static void add_part(struct distances_work *w) {
    size_t n = w->out->n_heads;
    double scale = (double)w->n_tokens / (double)w->n_looked_at;
#pragma omp parallel for schedule(dynamic, 1) num_threads(w->options->n_threads)
    for (size_t u = 1; u < n; u++) {
        for (size_t v = 0; v < u; v++) {
            double sum = 0;
            for (size_t r = w->first; r < w->end; r++) {
                size_t i = r - w->first;
                size_t n_keys = hw_distances_row(r, w->n_looked_at, w->n_tokens) + 1;
                sum += hw_distances_divergence(w->part + u * w->unit_stride + w->row_at[i],
                                               w->part + v * w->unit_stride + w->row_at[i], n_keys,
                                               w->sums[u * w->row_capacity + i],
                                               w->sums[v * w->row_capacity + i]);
            }
            w->of_prompt[u * n + v] += scale * sum;
        }
    }
}

// The most rows from w->first on that fit; sets row_at and end.
static void choose_part(struct distances_work *w) {
    size_t used = 0;
    w->end = w->first;
    while (w->end < w->n_looked_at) {
        size_t n_keys = hw_distances_row(w->end, w->n_looked_at, w->n_tokens) + 1;
        if (w->end > w->first && used + n_keys > w->unit_stride) {
            break;
        }
        w->row_at[w->end - w->first] = used;
        used += n_keys;
        w->end++;
    }
}

// What the pairs have in this prompt: into the sums, and a row of it into the means over prompts.
static void end_prompt(struct distances_work *w) {
    struct hw_distances *out = w->out;
    size_t n = out->n_heads;
    for (size_t u = 1; u < n; u++) {
        for (size_t v = 0; v < u; v++) {
            double sum = w->of_prompt[u * n + v];
            out->distance[u * n + v] += sum;
            if (isfinite(sum)) {
                hw_mean_add(&out->per_row[u * n + v], sum / (double)w->n_tokens);
            }
        }
    }
    out->n_bad_prompts += w->is_bad;
    w->is_bad = false;
    memset(w->of_prompt, 0, n * n * sizeof *w->of_prompt);
}

static enum hw_status add_prompt(struct distances_work *w, size_t prompt, struct hw_error *err) {
    w->n_tokens = count_tokens(w, prompt);
    w->n_looked_at = n_looked_at(w->options, w->n_tokens);
    enum hw_status status = HW_OK;
    for (w->first = 0; w->first < w->n_looked_at && status == HW_OK; w->first = w->end) {
        choose_part(w);
        status = read_part(w, prompt, err);
        if (status == HW_OK) {
            add_part(w);
        }
    }
    if (status == HW_OK && w->n_tokens > 0) {
        end_prompt(w);
    }
    return status;
}

static void take_arrays(struct distances_work *w, struct hw_arena *arena) {
    struct hw_distances *out = w->out;
    size_t n_cells;
    size_t n_values;
    size_t n_sums;
    if (!hw_size_mul(hw_map_source_n_layers(w->maps), hw_map_source_n_heads(w->maps), &n_cells) ||
        !hw_size_mul(out->n_heads, w->unit_stride, &n_values) ||
        !hw_size_mul(out->n_heads, w->row_capacity, &n_sums)) {
        arena->is_overflown = 1;
        return;
    }
    out->layers = hw_arena_take(arena, out->n_heads, sizeof *out->layers);
    out->heads = hw_arena_take(arena, out->n_heads, sizeof *out->heads);
    out->distance = hw_arena_take(arena, out->n_heads * out->n_heads, sizeof *out->distance);
    out->per_row = hw_arena_take(arena, out->n_heads * out->n_heads, sizeof *out->per_row);
    w->of_prompt = hw_arena_take(arena, out->n_heads * out->n_heads, sizeof *w->of_prompt);
    w->unit = hw_arena_take(arena, n_cells, sizeof *w->unit);
    w->is_wanted = hw_arena_take(arena, hw_map_source_n_heads(w->maps), sizeof *w->is_wanted);
    w->part = hw_arena_take(arena, n_values, sizeof *w->part);
    w->row_at = hw_arena_take(arena, w->row_capacity, sizeof *w->row_at);
    w->sums = hw_arena_take(arena, n_sums, sizeof *w->sums);
}

static enum hw_status open_arrays(struct distances_work *w, struct hw_error *err) {
    struct hw_distances *out = w->out;
    size_t longest = 1;
    for (size_t i = 0; i < hw_trace_n_prompts(w->trace); i++) {
        longest = hw_size_max(longest, count_tokens(w, i));
    }
    // At least the longest row of each head; no more than all rows of the longest prompt.
    w->row_capacity = hw_size_min(longest, w->options->max_rows);
    size_t most = w->row_capacity * longest; // both are int32 in the file
    out->n_heads = out->work.n_heads;
    w->unit_stride = w->options->memory_bytes / (out->n_heads * sizeof(float));
    w->unit_stride = hw_size_max(longest, hw_size_min(w->unit_stride, most));
    struct hw_arena measure;
    hw_arena_measure(&measure);
    take_arrays(w, &measure);
    enum hw_status status = hw_arrays_open(&measure, w->trace, &out->arena, err);
    if (status != HW_OK) {
        return status;
    }
    take_arrays(w, &out->arena); // zero, as fresh pages are
    size_t n = 0;
    for (size_t l = 0; l < hw_map_source_n_layers(w->maps); l++) {
        for (size_t h = 0; h < hw_map_source_n_heads(w->maps); h++) {
            if (is_wanted(w, l, h)) {
                out->layers[n] = hw_map_source_layers(w->maps)[l];
                out->heads[n] = hw_map_source_heads(w->maps)[h];
                w->unit[l * hw_map_source_n_heads(w->maps) + h] = n++;
            }
        }
    }
    return HW_OK;
}

void hw_distances_free(struct hw_distances *distances) {
    hw_arena_close(&distances->arena);
    memset(distances, 0, sizeof *distances);
}

enum hw_status hw_distances_plan(struct hw_trace *trace, const struct hw_distances_options *options,
                                 struct hw_distances_work *ret_work, struct hw_error *err) {
    struct distances_work work = {.trace = trace, .options = options};
    enum hw_status status = open_source(&work, ret_work, err);
    hw_map_source_close(&work.maps);
    return status;
}

enum hw_status hw_distances_compute(struct hw_trace *trace,
                                    const struct hw_distances_options *options,
                                    struct hw_distances *ret_distances, struct hw_error *err) {
    struct hw_distances distances = {0};
    struct distances_work work = {.trace = trace, .options = options, .out = &distances};
    enum hw_status status = open_source(&work, &distances.work, err);
    status = status == HW_OK ? open_arrays(&work, err) : status;
    for (size_t i = 0; i < hw_trace_n_prompts(trace) && status == HW_OK; i++) {
        status = add_prompt(&work, i, err);
    }
    hw_map_source_close(&work.maps);
    if (status != HW_OK) {
        hw_distances_free(&distances);
        return status;
    }
    size_t n = distances.n_heads;
    for (size_t u = 0; u < n; u++) {
        for (size_t v = 0; v < u; v++) {
            distances.distance[v * n + u] = distances.distance[u * n + v];
            distances.per_row[v * n + u] = distances.per_row[u * n + v];
        }
    }
    *ret_distances = distances;
    return HW_OK;
}
