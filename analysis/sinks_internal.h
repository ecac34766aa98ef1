// What the files of the sink analysis share.
#ifndef HW_SINKS_INTERNAL_H
#define HW_SINKS_INTERNAL_H

#include "analysis/sinks.h"

// The running computation over one capture. Arrays over keys are as long as the longest prompt.
struct sinks_work {
    struct hw_trace *trace;
    struct hw_sinks *out;
    float *rows;       // [key, head or kv_head] of one layer, or [key] of one depth
    size_t *over;      // heads with alpha > epsilon
    size_t *top2;      // heads that have the key among their two strongest
    double *alpha_sum; // over heads
    float *alpha_max;
    int32_t *max_layer;
    int32_t *max_head;
    bool *is_sink;
    size_t *hits;         // [n_layers, n_heads] prompts with alpha of key 0 > epsilon
    size_t *counts;       // [n_layers, n_heads] prompts with a value
    size_t *any;          // [n_layers] heads and prompts with a sink at any key
    size_t *drain_counts; // [n_layers]
    size_t *peak_counts;  // [n_depths]
    size_t length_hits[HW_SINKS_MAX_LENGTHS];
    size_t length_seen[HW_SINKS_MAX_LENGTHS];
    size_t n_recorded; // heads with values in the running prompt
};

// Drain and peak of the sink tokens of a prompt (those with is_sink), appended to out->tokens, and
// of its token 0 for the profiles by layer and depth. n_keys: how many keys were looked at.
enum hw_status hw_sinks_add_tokens(struct sinks_work *work, size_t prompt, size_t n_keys,
                                   struct hw_error *err);

#endif
