// Attention flow (Abnar & Zuidema 2020; definitions, I2): the largest flow from an output token
// down to each input token, where the weights of the layers' maps are capacities. One problem per
// pair of tokens; values are exact up to rounding.
#ifndef HW_FLOW_H
#define HW_FLOW_H

#include <stddef.h>

#include "analysis/layer_maps.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hw_flow_options {
    struct hw_layer_map_options maps;
    const size_t *tops; // layers (indices) after which flow starts, rising
    size_t n_tops;
    const size_t *queries; // tokens that it starts from, below n_tokens; SIZE_MAX: none, untouched
    size_t n_queries;
    int n_threads;
    // Pairs done so far, now and then; may be NULL.
    void (*progress)(void *self, size_t n_done);
    void *progress_self;
};

// Pairs of tokens for which there is something to compute.
size_t hw_flow_n_pairs(const struct hw_flow_options *options);

// Bytes for a prompt of n_tokens, the source's own included; SIZE_MAX where that overflows.
size_t hw_flow_bytes(const struct hw_map_source *source, size_t n_tokens, int n_threads);

// ret_flow [n_tops, n_queries, n_tokens], 0 for tokens after the query, undivided. The result does
// not depend on n_threads. HW_RESOURCE.
enum hw_status hw_flow_run(struct hw_map_source *source, size_t prompt,
                           const struct hw_flow_options *options, double *ret_flow,
                           struct hw_error *err);

// Divides by the sum; NaN where that is 0.
void hw_flow_normalise(double *values, size_t n);

#ifdef __cplusplus
}
#endif
#endif
