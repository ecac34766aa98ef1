// Numbers of every head, by measure: means over prompts with their standard errors.
//
// Each prompt gives at most one value for a measure and head; a prompt whose value is NaN (the head
// was not recorded, the capture lacks what the measure needs) is left out and not counted; so is
// one whose value is infinite, which no sound capture has.
#ifndef HW_HEAD_SCORES_H
#define HW_HEAD_SCORES_H

#include <stddef.h>
#include <stdint.h>

#include "analysis/mean.h"
#include "kernels/arena.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hw_head_scores {
    size_t n_measures;
    size_t n_layers;
    size_t n_heads;
    struct hw_mean *running; // [measure, layer, head], what was added
    size_t n_infinite;       // values left out for that
    double *mean; // [measure, layer, head] from _finish on; NaN where no prompt has a value
    double *se;   // of the mean; NaN for fewer than two
    int64_t *n;   // prompts with a value
};

// Takes the arrays from a fresh arena, whose memory is zero (or measures); the sizes are set
// before.
void hw_head_scores_take(struct hw_head_scores *scores, struct hw_arena *arena);
// Adds one prompt's value; `cell` is layer * n_heads + head.
void hw_head_scores_add(struct hw_head_scores *scores, size_t measure, size_t cell, double value);
void hw_head_scores_finish(struct hw_head_scores *scores);

// The largest mean among the query heads of each key/value head, as models with grouped queries are
// scored (RazorAttention): ret [layer, kv_head] for one measure, NaN where no head has a value.
// head_kv [n_heads]: position on the kv_head axis.
void hw_head_scores_group_max(const struct hw_head_scores *scores, size_t measure,
                              const size_t *head_kv, size_t n_kv_heads, double *ret);

#ifdef __cplusplus
}
#endif
#endif
