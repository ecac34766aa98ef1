// Attention rollout (Abnar & Zuidema 2020; definitions, I1): the maps of the layers multiplied,
// R_0 = M'_0, R_l = M'_l R_{l-1}. Row i of R_l says how much of each input token is in token i
// after layer l, if attention mixed tokens linearly.
#ifndef HW_ROLLOUT_H
#define HW_ROLLOUT_H

#include <stddef.h>

#include "analysis/layer_maps.h"

#ifdef __cplusplus
extern "C" {
#endif

// Bytes for a prompt of n_tokens, the source's own included; SIZE_MAX where that overflows.
size_t hw_rollout_bytes(const struct hw_map_source *source, size_t n_tokens, int n_threads);

// R of one layer (an index), [n_tokens, stride], 0 above the diagonal.
typedef enum hw_status (*hw_rollout_fn)(void *self, size_t layer, const float *rollout,
                                        size_t n_tokens, size_t stride, struct hw_error *err);

// Every layer of a prompt in turn; anything but HW_OK from `look` ends it. Maps are made in double
// and multiplied in single precision. HW_RESOURCE.
enum hw_status hw_rollout_run(struct hw_map_source *source, size_t prompt,
                              const struct hw_layer_map_options *options, int n_threads,
                              hw_rollout_fn look, void *self, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
