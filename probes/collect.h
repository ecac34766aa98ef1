// Collecting: whole rows of chosen sites of one prefill, kept in memory for whoever needs them next
// (prefix residuals of a sweep, sources of patching). An observer without a destination.
#ifndef HW_COLLECT_H
#define HW_COLLECT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "tracer/model.h"
#include "tracer/observer.h"

struct hw_collect;

// watch [n_layers + 1]: bits (1 << site) of each layer as in struct hw_observer: V, Z, ATTN_OUT,
// MLP_POST, MLP_OUT, points of the residual stream; watch[n_layers]: EMBED, FINAL.
size_t hw_collect_bytes(const struct hw_model_desc *desc, const uint32_t *watch, size_t max_tokens);
// HW_RESOURCE. watch is copied.
enum hw_status hw_collect_open(const struct hw_model_desc *desc, const uint32_t *watch,
                               size_t max_tokens, struct hw_collect **ret_collect,
                               struct hw_error *err);
void hw_collect_close(struct hw_collect **collect);

// To be given to hw_session_prefill. Every prefill overwrites what the one before left.
const struct hw_observer *hw_collect_observer(struct hw_collect *collect);

// Rows of a site: [n_tokens of the last prefill, width of the site], contiguous; NULL where it is
// not collected.
const float *hw_collect_rows(const struct hw_collect *collect, enum hw_site site, size_t layer);
size_t hw_collect_n_tokens(const struct hw_collect *collect);

// Floats of a row of a site.
size_t hw_site_width(const struct hw_model_desc *desc, enum hw_site site);

#endif
