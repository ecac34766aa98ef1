// What the files of the head analysis share.
#ifndef HW_HEADS_INTERNAL_H
#define HW_HEADS_INTERNAL_H

#include "analysis/heads.h"
#include "analysis/map_source.h"

// The running computation over one capture.
struct heads_work {
    struct hw_trace *trace;
    struct hw_heads *out;
    size_t longest;  // tokens of the longest prompt
    size_t n_spans;  // on the span axis
    size_t span_all; // positions on it; SIZE_MAX where it is not there
    size_t span_special;
    size_t span_punctuation;
    size_t *user_spans; // [n_measures - HW_N_HEADS_MEASURES]
    bool *is_span_here; // likewise: the running prompt has the span
    size_t n_special;   // special tokens of the running prompt
    int32_t *ids;       // [longest]
    float *means;       // [n_heads]
    float *offsets;     // [n_heads, n_offsets]
    float *spans;       // [n_heads, n_spans, n_spans]
    float *rows;        // [longest, n_heads]
    float *row_sums;    // [longest, n_heads]
    // From maps.
    struct hw_map_source *maps;     // NULL: none is read
    float *scratch;                 // [longest]
    struct hw_heads_map_sums *sums; // [n_heads of the map source]
    bool *is_wanted;                // [n_heads of the map source]
    size_t n_tokens;                // of the running prompt
};

// Whether the head is asked for, by position on the root group's axes.
bool hw_heads_is_wanted(const struct hw_heads *heads, const struct hw_layout *layout, size_t layer,
                        size_t head);

// Looks up what add_layer needs to know of the prompt (heads_statistics.c).
enum hw_status hw_heads_begin_prompt(struct heads_work *work, size_t prompt, struct hw_error *err);
// Adds one prompt's statistics of one layer (heads_statistics.c).
enum hw_status hw_heads_add_layer(struct heads_work *work, size_t prompt, size_t layer,
                                  struct hw_error *err);
// Adds what one prompt's maps say (heads_maps.c); nothing where none is read.
enum hw_status hw_heads_add_maps(struct heads_work *work, size_t prompt, struct hw_error *err);

#endif
