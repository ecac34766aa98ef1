// Sizes that all levels of projected_norm share.
#ifndef HW_PROJECTED_NORM_INTERNAL_H
#define HW_PROJECTED_NORM_INTERNAL_H

#include <stddef.h>

#include "kernels/size.h"

enum {
    // Rows that one thread takes with one head: enough that expanding the head's factor is little.
    PROJECTED_NORM_ROWS = 256,
    // At least the rows of a strip and the outputs of a panel of every level.
    PROJECTED_NORM_STRIP = 16,
    PROJECTED_NORM_PANEL = 32,
};

// Floats from the first cache line of a thread's scratch; the factor at 0 as panels [input,
// PROJECTED_NORM_PANEL].
struct projected_norm_layout {
    size_t packed_at; // [input, row of the strip]
    size_t tile_at;   // [row of the strip, width]
    size_t width;     // outputs in whole panels
    size_t n;
};

static inline struct projected_norm_layout projected_norm_layout(size_t d_head) {
    struct projected_norm_layout layout;
    layout.width = hw_size_div_up(d_head, PROJECTED_NORM_PANEL) * PROJECTED_NORM_PANEL;
    layout.packed_at = layout.width * d_head;
    layout.tile_at = layout.packed_at + (d_head + 1) * PROJECTED_NORM_STRIP;
    layout.n = layout.tile_at + layout.width * PROJECTED_NORM_STRIP;
    layout.n = hw_size_div_up(layout.n, 16) * 16 + 16;
    return layout;
}

#endif
