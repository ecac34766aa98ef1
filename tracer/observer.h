// The one interface through which anybody looks at a forward pass. The pass knows no probe by name.
//
// Ask first: the observer says at which sites of which layers it watches; where it does not, a
// stage costs one bit test. An observer looks; it never changes what it is shown.
#ifndef HW_OBSERVER_H
#define HW_OBSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/attention.h"
#include "kernels/ops.h"
#include "kernels/status.h"
#include "tracer/site.h"

struct hw_observer {
    void *self;
    // Bit (1 << site) of watch[layer] for the sites of a layer; watch[n_layers] for the sites that
    // are not one per layer.
    const uint32_t *watch;
    enum hw_status (*on_site)(void *self, const struct hw_site_event *event, struct hw_error *err);
    // Fills what the attention op shall record in this layer; the request arrives zeroed. Called
    // again after each call of the op with `call` counted up, until it returns false: maps of many
    // heads are handed out in several calls, of which only the first (call 0) computes z.
    bool (*attention)(void *self, size_t layer, size_t call, const struct hw_site_event *pass,
                      struct hw_attention_request *request);
    // The op has filled the request.
    enum hw_status (*attention_done)(void *self, size_t layer, const struct hw_site_event *pass,
                                     const struct hw_attention_request *request,
                                     struct hw_error *err);
    // What the unembedding shall hand out for rows [row_first, row_first + n_rows) of the pass; out
    // arrives zeroed; false: nothing.
    bool (*unembed)(void *self, const struct hw_site_event *rows, struct hw_unembed_out *out);
    enum hw_status (*unembed_done)(void *self, const struct hw_site_event *rows,
                                   const struct hw_unembed_out *out, struct hw_error *err);
    // A layer has ended: what it recorded may be compressed and let go.
    enum hw_status (*layer_end)(void *self, size_t layer, struct hw_error *err);
    size_t unembed_block; // rows the observer takes at a time; 0: all
};

#endif
