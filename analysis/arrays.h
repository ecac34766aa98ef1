// Opening the arrays of an analysis: take_arrays has run over a measuring arena, and runs again
// over the real one.
#ifndef HW_ARRAYS_H
#define HW_ARRAYS_H

#include "formats/trace_reader.h"
#include "kernels/arena.h"
#include "kernels/status.h"

// An arena of the measured size, zero as fresh pages are. HW_RESOURCE, naming the capture, where
// the size overflowed or there is no memory.
static inline enum hw_status hw_arrays_open(const struct hw_arena *measured,
                                            const struct hw_trace *trace,
                                            struct hw_arena *ret_arena, struct hw_error *err) {
    if (measured->is_overflown) {
        return hw_fail(err, HW_RESOURCE, "%s: too large for the memory of this machine",
                       hw_trace_path(trace));
    }
    return hw_arena_open(ret_arena, measured->used_bytes, err);
}

#endif
