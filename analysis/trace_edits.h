// The edits that a capture was made under, parsed again from what it says of itself: for whoever
// rebuilds its maps, and for what verify may demand.
#ifndef HW_TRACE_EDITS_H
#define HW_TRACE_EDITS_H

#include <stddef.h>

#include "formats/trace_reader.h"
#include "formats/trace_verify.h"
#include "kernels/attention.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hw_trace_edits;

// NULL where the capture has none. HW_INPUT where they cannot be read: made by a later version, or
// without the number of layers of the model.
enum hw_status hw_trace_edits_open(struct hw_trace *trace, struct hw_trace_edits **ret_edits,
                                   struct hw_error *err);
void hw_trace_edits_close(struct hw_trace_edits **edits);

size_t hw_trace_edits_n(const struct hw_trace_edits *edits);
const char *hw_trace_edits_spec(const struct hw_trace_edits *edits, size_t i);

// What verify does not demand; lives as long as the edits.
const struct hw_verify_edits *hw_trace_edits_verify(const struct hw_trace_edits *edits);

// Whether an edit changes attention in a way that its queries and keys alone do not say: a window
// in cache form turns queries anew. The spec of the first such edit, or NULL.
const char *hw_trace_edits_unbuildable(const struct hw_trace_edits *edits);

// The changes of attention of a prompt (index in the file); whatever was given for a prompt before
// is gone.
enum hw_status hw_trace_edits_prompt(struct hw_trace_edits *edits, struct hw_trace *trace,
                                     size_t prompt, struct hw_error *err);
// Those that hold for a head, by its numbers in the model, as of a call with this head alone; at
// most *ret_n, valid until the next call.
const struct hw_attention_change *hw_trace_edits_changes(struct hw_trace_edits *edits, size_t layer,
                                                         size_t head, size_t *ret_n);

#ifdef __cplusplus
}
#endif
#endif
