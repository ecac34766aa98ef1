// What edits come to for one prompt: writes at sites and changes of attention, layer by layer.
// Plain data that the forward pass carries out; edit.h makes it from what the user wrote.
#ifndef HW_CHANGE_H
#define HW_CHANGE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/attention.h"
#include "tracer/site.h"

enum hw_write_kind {
    HW_WRITE_VALUE, // x = value
    HW_WRITE_SCALE, // x = x * value
    HW_WRITE_ROWS   // x = values[position]
};

// A write to columns [first, first + width) of the rows at a site: V, Z, ATTN_OUT, MLP_POST,
// MLP_OUT, RESID_PRE, RESID_MID (not in parallel blocks), RESID_POST. Whoever watches the site sees
// what was written.
struct hw_write {
    enum hw_site site;
    enum hw_write_kind kind;
    size_t first;
    size_t width;
    const uint8_t *rows; // by position, 1: written; NULL: all
    float value;
    const float *values; // [position or 1, width]
    size_t ld;           // floats from position to position; 0: the same values at every position
    size_t n_positions;  // of values with ld > 0: positions from here on are left as they are
};

// In the order in which they act.
struct hw_layer_changes {
    const struct hw_write *writes;
    size_t n_writes;
    struct hw_attention_change *attention; // whoever runs sets q_sinks of windows in cache form
    size_t n_attention;
};

struct hw_changes {
    const struct hw_layer_changes *layers; // [n_layers]
    size_t first_layer;                    // the first that is changed; n_layers: none
    // Set by whoever runs: rows written and rows of attention changed, added up.
    uint64_t n_applied;
};

#endif
