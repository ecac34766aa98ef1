// A capture made of numbers that a test chooses, as a part file in a temporary folder: for the
// worked numbers of analyses. Layers, heads and kv heads are numbered from 0.
#ifndef HW_MADE_CAPTURE_H
#define HW_MADE_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/trace_reader.h"

enum { MADE_LONGEST = 64, MADE_MOST = 8 };

struct made_capture {
    size_t n_layers; // at most MADE_MOST
    size_t n_heads;
    size_t n_kv_heads;
    size_t d_model;
    size_t d_head;
    size_t d_mlp;
    size_t n_rank;
    size_t n_offsets;
    const char *const *span_names; // [n_spans]
    size_t n_spans;
    int32_t n_prompts;
    const int32_t *lengths;     // [n_prompts], at most MADE_LONGEST; 0: failed
    const char *const *domains; // [n_prompts] or NULL
    const char *const *texts;   // [MADE_LONGEST] of the tokens or NULL; ids are 100 + position
    const enum hw_dataset *recorded;
    size_t n_recorded;
    // Value i of row `row` of the prompt.
    double (*value)(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row, size_t i);
    size_t (*n_events)(int32_t prompt); // rows of /massive; NULL: none
};

// Asserts that it succeeds. made_capture_close removes the folder too.
struct hw_trace *made_capture_open(const struct made_capture *made);
void made_capture_close(struct hw_trace **trace);

#endif
