// Induction heads of a capture of repeated tokens (`headwater prompts repeat`).
//
// For every prompt, layer and head the sums of repeats.h, from recorded statistics where they
// suffice (attention_offset, attention_first, attention_row_sum, attention_span), else from the
// maps; then the scores, averaged over prompts. Statistics are exact: the entries of a diagonal
// that are no induction are taken off with attention_first and, where a token stands in front, with
// the spans that `prompts repeat` writes. What the statistics cannot tell is NaN: the head
// detector's patterns where an id stands twice in a period, induction_copies beyond two periods.
//
// RazorAttention (arXiv 2407.15891) scores a key/value head by the largest of its query heads and
// keeps the best 14 % by induction and 1 % by echo.
#ifndef HW_INDUCTION_H
#define HW_INDUCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/head_scores.h"
#include "analysis/repeats.h"
#include "formats/trace_reader.h"
#include "kernels/arena.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum hw_induction_source {
    HW_INDUCTION_AUTO, // statistics where they tell every measure, else maps, else statistics
    HW_INDUCTION_STATISTICS,
    HW_INDUCTION_MAPS
};

struct hw_induction_options {
    size_t period; // 0: as the prompt's object says under "repeat"
    size_t first;  // tokens in front, with period
    enum hw_induction_source source;
    struct hw_repeat_exclusions exclusions;
    double induction_share; // of the key/value heads, .14 in the reference
    double echo_share;      // .01
    int n_threads;
};

// A key/value head by position on the layer and kv_head axes.
struct hw_induction_pick {
    size_t layer;
    size_t kv_head;
    double score;
};

struct hw_induction {
    struct hw_induction_options options;
    const char *source; // "attention_offset", "attention_maps" or "attention_vectors"
    size_t n_prompts;
    size_t n_skipped;  // failed
    size_t min_tokens; // T
    size_t max_tokens;
    size_t min_period;
    size_t max_period;
    size_t n_first;     // prompts with a token in front
    size_t n_recurring; // prompts where an id stands twice in a period
    size_t n_layers;
    size_t n_heads;
    size_t n_kv_heads;
    const int32_t *layers; // numbers of the model; live as long as the trace
    const int32_t *heads;
    int32_t *kv_heads;
    size_t *head_kv;              // [n_heads] position on kv_heads
    struct hw_head_scores scores; // [HW_N_REPEAT_MEASURES, n_layers, n_heads]
    double *kv_scores; // [HW_N_REPEAT_MEASURES, n_layers, n_kv_heads] largest of the query heads
    struct hw_induction_pick *by_induction; // the best first
    size_t n_by_induction;
    struct hw_induction_pick *by_echo;
    size_t n_by_echo;
    struct hw_arena arena; // holds the arrays above
};

// HW_INPUT where a prompt does not say what it repeats or does not repeat it, or the capture has
// neither the offsets nor maps.
enum hw_status hw_induction_compute(struct hw_trace *trace,
                                    const struct hw_induction_options *options,
                                    struct hw_induction *ret_induction, struct hw_error *err);
void hw_induction_free(struct hw_induction *induction);

// Whether the pick lists (by_induction, then by_echo) have that key/value head.
bool hw_induction_is_picked(const struct hw_induction *induction, size_t layer, size_t kv_head);

#ifdef __cplusplus
}
#endif
#endif
