// The scratch of the reductions over a whole state, shared by their implementations.
//
// Everything is laid out for a fixed number of stripes of rows, never for threads, where a sum
// depends on it; and per thread where only integers or a total order are merged.
#ifndef HW_STATE_H
#define HW_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/ops.h"

enum {
    HW_STATE_STRIPES = 64,   // of rows; their sums are added in order
    HW_STATE_BINS = 1 << 16, // of bit patterns of |x|
    HW_STATE_TOP = 64,       // most values that state_top is asked for
};

struct hw_state_stripe {
    double sum;
    double sum_abs;
    double squares;
    size_t n_events;
};

// One per thread.
struct hw_state_thread {
    uint32_t bins[HW_STATE_BINS];
    struct hw_top_value top[HW_STATE_TOP];
    size_t n_top;
    size_t n_below;
};

struct hw_state_scratch {
    struct hw_state_stripe stripes[HW_STATE_STRIPES];
    struct hw_state_thread threads[];
};

#endif
