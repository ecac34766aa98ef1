// What the files of the induction analysis share.
#ifndef HW_INDUCTION_INTERNAL_H
#define HW_INDUCTION_INTERNAL_H

#include "analysis/induction.h"

// What the statistics of a capture hold about one prompt.
struct induction_statistics {
    bool has_offsets;   // every offset that induction and echo need
    bool has_rows;      // statistics of single tokens
    bool has_first;     // no token in front, or spans that tell its share
    bool is_everything; // every measure can be told
};
struct induction_statistics hw_induction_look(struct hw_trace *trace, size_t prompt,
                                              const struct hw_repeat *repeat);

// Room for one layer of one prompt's statistics.
struct induction_rows {
    float *offsets; // [n_heads, n_offsets]
    float *spans;   // [n_heads, n_spans, n_spans]
    float *tokens;  // [longest, n_heads]
    float *sums;    // [longest, n_heads]
};
// Takes it from an arena; longest: tokens of the longest prompt.
void hw_induction_take_rows(struct hw_trace *trace, size_t longest, struct hw_arena *arena,
                            struct induction_rows *rows);

// The sums of every head of one layer, ret_sums [n_heads] of the root group; NaN where they cannot
// be told.
enum hw_status hw_induction_read_sums(struct hw_trace *trace, size_t prompt, size_t layer,
                                      const struct hw_repeat *repeat, struct induction_rows *rows,
                                      struct hw_repeat_sums *ret_sums, struct hw_error *err);

// What the prompt's object says under "repeat": HW_INPUT where there is nothing, or nonsense.
enum hw_status hw_induction_read_object(const char *json, size_t *ret_period, size_t *ret_first,
                                        struct hw_error *err);

// Fills kv_scores and the pick lists from the finished scores (induction_pick.c).
void hw_induction_pick(struct hw_induction *induction);

#endif
