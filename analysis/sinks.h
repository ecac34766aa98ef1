// Attention sinks of a capture: which tokens, which heads, and what becomes of the sink's values
// and residual.
//
// alpha[l, h, k] = sum_i A[i, k] / (queries that see k), from attention_received (Gu et al. 2024,
// arXiv 2410.10781, Sink_k; Guo et al. 2024, arXiv 2410.13835, "mass"). A head has a sink at k
// where alpha > epsilon, strictly. Two criteria stand side by side: absolute, the share of heads
// with a sink at k; relative, the share of heads that have k among their two strongest keys. Keys
// seen by few queries are left out: the last key's alpha is one diagonal entry and says nothing.
//
// Value drain: norm of the token's value over the mean of the other tokens of its prompt that are
// no sinks. Residual peak: the same ratio for the residual stream. Shares depend on the number of
// tokens T, which is therefore always part of the result.
#ifndef HW_SINKS_H
#define HW_SINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/trace_reader.h"
#include "kernels/arena.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_SINKS_MAX_LENGTHS = 16 };

struct hw_sinks_options {
    double epsilon;    // .3 in the reference
    double share;      // least share of heads for a token to be listed
    size_t least_rows; // keys seen by fewer queries are left out (but never key 0)
    size_t lengths[HW_SINKS_MAX_LENGTHS]; // sink rate of key 0 over the first rows only
    size_t n_lengths;
};

// One sink token of one prompt. Numbers that the capture does not allow are NaN.
struct hw_sink_token {
    size_t prompt; // index in the file
    int32_t position;
    int32_t id;
    char *text;        // from the capture, "" where it has none
    size_t n_heads;    // heads with alpha > epsilon
    double share;      // of the recorded heads
    double top2_share; // of the recorded heads: among the two strongest keys
    double alpha_mean; // over the recorded heads
    double alpha_max;
    int32_t max_layer; // where
    int32_t max_head;
    double drain; // mean over layers and kv heads
    double drain_min;
    int32_t drain_layer;
    int32_t drain_kv_head;
    double peak; // the largest over depths
    int32_t peak_depth;
};

struct hw_sinks {
    struct hw_sinks_options options;
    size_t n_prompts; // counted: not failed and at least two tokens
    size_t n_skipped;
    size_t min_tokens; // T of the counted prompts
    size_t max_tokens;
    size_t n_layers;
    size_t n_heads;    // the union over layers
    size_t n_recorded; // layer and head pairs that have values
    size_t n_kv_heads;
    size_t n_depths;
    const int32_t *layers; // numbers of the model; live as long as the trace
    const int32_t *heads;
    const int32_t *depths;
    bool has_tokens;   // attention_received is there, so sink tokens could be looked for
    double first_rate; // share of (prompt, layer, head) with alpha of key 0 > epsilon
    double any_rate;   // with any key's alpha > epsilon
    double length_rates[HW_SINKS_MAX_LENGTHS]; // NaN where no prompt is that long
    size_t length_prompts[HW_SINKS_MAX_LENGTHS];
    double *alpha;       // [n_layers, n_heads] of key 0, mean over prompts; NaN where not recorded
    double *alpha_rate;  // [n_layers, n_heads] share of prompts with alpha of key 0 > epsilon
    double *layer_first; // [n_layers] share of heads and prompts with a sink at key 0
    double *layer_any;   // [n_layers] at any key
    double *layer_drain; // [n_layers] of token 0, mean over prompts and kv heads; NaN without
                         // value_norm
    double *depth_peak;  // [n_depths] of token 0, mean over prompts; NaN without residual_norm
    struct hw_sink_token *tokens; // by prompt, then by position
    size_t n_tokens;
    struct hw_arena arena; // holds the arrays above, not the tokens
};

// HW_INPUT where the capture does not record attention or is broken. The result refers to the
// trace's axes.
enum hw_status hw_sinks_compute(struct hw_trace *trace, const struct hw_sinks_options *options,
                                struct hw_sinks *ret_sinks, struct hw_error *err);
void hw_sinks_free(struct hw_sinks *sinks);

#ifdef __cplusplus
}
#endif
#endif
