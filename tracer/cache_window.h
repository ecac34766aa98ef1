// Windows in cache form: queries turned to the place that they have in a cache of sinks and recent
// keys, which is where the sinks are scored from.
#ifndef HW_CACHE_WINDOW_H
#define HW_CACHE_WINDOW_H

#include "tracer/session_internal.h"

// Does anything in the pass, or that joins it in this layer, need queries before rotation?
bool hw_cache_windows_any(const struct hw_pass *pass, size_t layer);

// Makes the queries of the sequence's windows of this layer and points the windows at them; they
// hold until the next call. Query position i sits at place min(i, n_sinks + n_recent - 1). Where
// two windows hold for one head and query, the later decides.
void hw_cache_windows_turn(struct hw_session *session, const struct hw_sequence *sequence,
                           size_t layer);

#endif
