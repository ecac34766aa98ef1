// What the files of the sink analysis share.
#ifndef HW_SINKS_INTERNAL_H
#define HW_SINKS_INTERNAL_H

#include "analysis/sinks.h"

// The running computation over one capture. Arrays over keys are as long as the longest prompt.
struct sinks_work {
    struct hw_trace *trace;
    struct hw_sinks *out;
    float *rows;   // [key, head or kv_head] of one layer, or [key] of one depth
    float *second; // [key, head] likewise
    float *third;
    size_t *over;      // [n_epsilons, key] heads with alpha > epsilon
    size_t *top2;      // heads that have the key among their two strongest
    double *alpha_sum; // over heads
    float *alpha_max;
    int32_t *max_layer;
    int32_t *max_head;
    bool *is_sink;       // by the absolute criterion
    bool *is_top;        // by the relative one
    bool *is_trigger;    // queries that dormancy leaves out
    int32_t *birth;      // of the running prompt's secondary sinks
    int32_t *lifetime;   // 0: none
    double *cosine_sum;  // over the layers of the lifetime
    size_t *hits;        // [n_layers, n_heads] prompts with alpha of the first key > epsilon
    size_t *counts;      // [n_layers, n_heads] prompts with a value
    uint32_t *domain_of; // [n_file_prompts]
    size_t longest;      // tokens of the longest prompt
    size_t n_recorded;   // heads with values in the running prompt
    size_t n_any;        // of them with a sink at any key
    bool has_secondary;  // birth, lifetime and cosine_sum are the running prompt's
};

// A prompt under way.
struct sinks_prompt {
    size_t index; // in the file
    const struct hw_trace_prompt *prompt;
    size_t n_tokens;   // T
    size_t n_eligible; // keys 0 .. n_eligible - 1 are seen by enough queries
};

// Alphas, rates and who is a sink.
enum hw_status hw_sinks_add_alphas(struct sinks_work *work, const struct sinks_prompt *p,
                                   struct hw_error *err);
// Where only the sink score was kept (--detail prompt): alpha of key 0, one row a prompt.
enum hw_status hw_sinks_add_scores(struct sinks_work *work, const struct sinks_prompt *p,
                                   struct hw_error *err);
// Sink rates over the first rows, dormancy, entropies, and the gap over the keys seen.
enum hw_status hw_sinks_add_rows(struct sinks_work *work, const struct sinks_prompt *p,
                                 struct hw_error *err);
// The published logit gaps. _plan takes what they need from the capture into gap_why_not first.
void hw_sinks_plan_gaps(struct sinks_work *work);
enum hw_status hw_sinks_add_gaps(struct sinks_work *work, const struct sinks_prompt *p,
                                 struct hw_error *err);
// Secondary sinks of the prompt, into birth, lifetime and cosine_sum.
void hw_sinks_plan_secondary(struct sinks_work *work);
enum hw_status hw_sinks_add_secondary(struct sinks_work *work, const struct sinks_prompt *p,
                                      struct hw_error *err);
enum hw_sink_label hw_sinks_label(const struct hw_sinks *sinks, int32_t lifetime);
// The sink tokens of a prompt, appended to out->tokens with drain and peak, and drain and peak of
// its token 0 for the profiles by layer and depth.
enum hw_status hw_sinks_add_tokens(struct sinks_work *work, const struct sinks_prompt *p,
                                   struct hw_error *err);

#endif
