// Jensen-Shannon distances between heads, from their maps (Clark et al. 2019, arXiv 1906.04341,
// head_distances.py).
//
// Rows are smoothed, a' = .999 a + .001 / T over all T keys; for two heads the divergence
// (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, in nats, is summed over the rows of all
// prompts. Above the diagonal of a causal map both rows are the same, so that only keys j <= i are
// looked at.
//
// The work grows with the square of the number of heads and of tokens: prompts longer than a number
// of rows have that many rows sampled, evenly, always the same ones, and their sum is scaled up.
// Maps are walked again for every part of the rows that fits in a fixed memory.
#ifndef HW_HEAD_DISTANCES_H
#define HW_HEAD_DISTANCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/mean.h"
#include "formats/trace_reader.h"
#include "kernels/arena.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_DISTANCES_ROWS = 512, HW_DISTANCES_MAX_HEADS = 4096 };

struct hw_distances_options {
    size_t max_rows;       // of a prompt; at least 1
    size_t memory_bytes;   // for rows; at least one row of every head is held
    const bool *is_wanted; // [n_layers of the model, n_heads of the model] or NULL: all
    int n_threads;
};

// What it takes, known before anything is computed.
struct hw_distances_work {
    size_t n_heads; // layer and head pairs
    size_t n_pairs;
    size_t n_prompts; // not failed
    size_t n_rows;    // looked at, of all prompts
    size_t n_all_rows;
    size_t n_sampled; // prompts of which not all rows are looked at
    double n_terms;   // logarithms: pairs x entries of the rows looked at
};

struct hw_distances {
    struct hw_distances_work work;
    size_t n_heads;
    int32_t *layers;  // [n_heads] numbers of the model
    int32_t *heads;   // [n_heads]
    double *distance; // [n_heads, n_heads] symmetric, 0 on the diagonal; nats, summed over
                      // n_all_rows; NaN where a map of the two has weights that are negative
    struct hw_mean *per_row; // [n_heads, n_heads] symmetric: nats a row of a prompt, mean over the
                             // prompts in which both maps are sound; nothing on the diagonal
    size_t n_bad_prompts;    // with a map that is not
    struct hw_arena arena;
};

// HW_INPUT where the capture has no maps, or no head is wanted of those it has.
enum hw_status hw_distances_plan(struct hw_trace *trace, const struct hw_distances_options *options,
                                 struct hw_distances_work *ret_work, struct hw_error *err);
enum hw_status hw_distances_compute(struct hw_trace *trace,
                                    const struct hw_distances_options *options,
                                    struct hw_distances *ret_distances, struct hw_error *err);
void hw_distances_free(struct hw_distances *distances);

// Row r of n_looked_at out of n_tokens: all of them in order, or evenly spread.
size_t hw_distances_row(size_t r, size_t n_looked_at, size_t n_tokens);

// Sum of x ln x.
double hw_distances_sum(const float *x, size_t n);
// The divergence of two smoothed rows of n keys with these sums.
double hw_distances_divergence(const float *p, const float *q, size_t n, double p_sum,
                               double q_sum);
// Smooths the first n keys of a row of a prompt of n_tokens.
void hw_distances_smooth(const float *row, size_t n, size_t n_tokens, float *ret_row);

#ifdef __cplusplus
}
#endif
#endif
