// One map per layer, as rollout and flow want it: the heads of a layer reduced to one, the residual
// stream mixed in, rows divided by their sum (definitions, I1).
#ifndef HW_LAYER_MAPS_H
#define HW_LAYER_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/map_source.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum hw_head_reduce { HW_HEADS_MEAN, HW_HEADS_MAX, HW_HEADS_MIN, HW_HEADS_ONE };

struct hw_layer_map_options {
    enum hw_head_reduce reduce;
    int32_t head;    // of HW_HEADS_ONE, in every layer
    double residual; // w: M' = (1 - w) M + w I, rows divided by their sum; .5 is M + I
    bool is_raw;     // M as it is: neither the residual nor the division
};

// HW_INPUT where the source does not have layers 0, 1, 2, ..., a layer has no head, or not the one
// that is asked for. What is recorded is taken for the whole model.
enum hw_status hw_layer_maps_check(const struct hw_map_source *source, const char *path,
                                   const struct hw_layer_map_options *options,
                                   struct hw_error *err);

// The map of a layer (an index), ret_map [n, n], n = hw_map_source_n_tokens, 0 above the diagonal;
// sums over heads in double, in the order of the heads. HW_INPUT where a weight is negative.
enum hw_status hw_layer_map(struct hw_map_source *source, size_t prompt, size_t layer,
                            const struct hw_layer_map_options *options, double *ret_map,
                            struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
