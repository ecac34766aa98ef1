// Re-reads a capture, every value of it, and checks what must hold: columns agree, values are where
// they may be, means are means, rows of maps sum to attention_row_sum, pattern @ v = z, the
// residual adds up.
#ifndef HW_TRACE_VERIFY_H
#define HW_TRACE_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

// One identity that was checked: how often, and how near the worst case came to what is allowed.
struct hw_verify_line {
    const char *name;
    uint64_t n_checked;
    double worst; // error of the worst place as a share of the error allowed there; above 1: wrong
    char place[160]; // of the worst
};

// What the edits of a capture take away from the identities of the unchanged model.
struct hw_verify_edits {
    size_t n_layers;
    size_t n_heads;
    const bool *patterns;  // [n_layers, n_heads] the attention is changed: rows may sum to anything
    const bool *mixed;     // [n_layers, n_heads] z is not pattern @ value
    const bool *residuals; // [n_layers] the residual stream is written
};

enum { HW_VERIFY_LINES = 16 };

struct hw_verify_report {
    struct hw_verify_line lines[HW_VERIFY_LINES];
    size_t n_lines;
    uint64_t n_values_read;
    uint64_t n_left_out; // identities of a head or a block that were not demanded because of edits
};

// HW_OK: all holds. HW_WRONG: something does not, and the message says what and where (the report
// is filled as far as it came). HW_INPUT: cannot be read. edits: of this file (hw_trace_edits);
// NULL: there are none, or they are not known, and where the file has some then nothing that edits
// can break is demanded.
enum hw_status hw_trace_verify(const char *path, const struct hw_verify_edits *edits,
                               struct hw_verify_report *ret_report, struct hw_error *err);

#endif
