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
// no sinks. Residual peak: the same ratio for the residual stream. Secondary sinks (arXiv
// 2512.22213): tokens whose residual points where the first token's does, over some layers.
//
// Means are over prompts, with standard errors. Almost everything here depends on the number of
// tokens T, which is therefore always part of the result; prompts of one token are left out.
#ifndef HW_SINKS_H
#define HW_SINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/mean.h"
#include "formats/trace_reader.h"
#include "kernels/arena.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HW_SINKS_MAX_LENGTHS = 16,
    HW_SINKS_MAX_EPSILONS = 8,
    HW_SINKS_MAX_KEYS = 16,
    HW_SINKS_MAX_TRIGGERS = 64,
    HW_SINKS_MAX_DOMAINS = 256,
    HW_SINKS_MAX_VALUES = 1 << 24, // of what is kept for every prompt
};

// The score of the first token above the scores of the others, two published readings and one that
// every capture with statistics has:
// toy: s[i, 0] - mean of s[i, j] over 1 <= j < i, queries i >= 2, from /attention/scores or
//      /attention_vectors;
// llm: s[i, 0] - mean of q_i k_j over all T keys, before the mask, so future keys and key 0 count;
//      only /attention_vectors has them;
// seen: s[i, 0] - mean of s[i, j] over 1 <= j <= i, queries i >= 1, from attention_first,
//      attention_logsumexp and attention_score_mean.
enum hw_sinks_gap { HW_SINKS_GAP_TOY, HW_SINKS_GAP_LLM, HW_SINKS_GAP_SEEN, HW_SINKS_N_GAPS };

// Which tokens are listed.
enum hw_sinks_criterion { HW_SINKS_ABSOLUTE, HW_SINKS_RELATIVE, HW_SINKS_EITHER };

struct hw_sinks_options {
    double epsilons[HW_SINKS_MAX_EPSILONS]; // .3 in the reference; the first decides on tokens
    size_t n_epsilons;
    double share;      // least share of heads for a token to be listed
    size_t least_rows; // keys seen by fewer queries are left out (but never key 0)
    enum hw_sinks_criterion criterion;
    size_t lengths[HW_SINKS_MAX_LENGTHS]; // sink rate of key 0 over the first rows only
    size_t n_lengths;
    size_t keys[HW_SINKS_MAX_KEYS]; // positions whose alpha is kept by head; none: 0
    size_t n_keys;
    uint32_t triggers[HW_SINKS_MAX_TRIGGERS]; // ids of tokens that dormancy leaves out as queries
    size_t n_triggers;
    double cosine;             // secondary sinks: |cosine| above it; .9 in the reference
    size_t n_first;            // among how many positions the first sink is looked for; 2, chat 3
    size_t least_lifetime;     // fewer layers are noise; 5 in the reference
    size_t first_lifetime;     // as many behave as the first sink; 0: layers - 15 as the reference
    bool is_gap_wanted;        // logit gaps
    bool is_every_prompt_kept; // alpha_prompts
    int n_threads;             // at least 1; no figure depends on it
};

enum hw_sink_label { HW_SINK_NONE, HW_SINK_NOISE, HW_SINK_SECONDARY, HW_SINK_LIKE_FIRST };

// One sink token of one prompt. Numbers that the capture does not allow are NaN, and -1.
struct hw_sink_token {
    size_t prompt; // index in the file
    int32_t position;
    int32_t id;
    char *text;        // from the capture, "" where it has none
    bool is_absolute;  // alpha > epsilon in at least `share` of the heads
    bool is_relative;  // among the two strongest keys in at least `share` of the heads
    size_t n_heads;    // heads with alpha > epsilon
    double share;      // of the recorded heads
    double top2_share; // of the recorded heads: among the two strongest keys
    double alpha_mean; // over the recorded heads
    double alpha_max;
    int32_t max_layer; // where
    int32_t max_head;
    struct hw_mean drains; // before W_O; over layers and kv heads
    double drain_min;
    int32_t drain_layer;
    int32_t drain_kv_head;
    struct hw_mean projected_drains; // after W_O; over layers and heads
    double peak;                     // the largest over depths
    int32_t peak_depth;
    enum hw_sink_label label; // as a secondary sink
    int32_t birth_layer;      // the first layer with |cosine| above the threshold
    int32_t lifetime;         // the number of such layers
    double cosine;            // mean over them, signed
};

// Prompts of one domain.
struct hw_sinks_domain {
    const char *name; // lives as long as the trace; "" where prompts have none
    size_t n_prompts;
    size_t min_tokens;
    size_t max_tokens;
};

// Secondary sinks; NULL arrays where `why_not` says why.
struct hw_sinks_secondary {
    const char *why_not; // NULL where it could be done
    size_t n_layers;     // L
    size_t first_lifetime;
    bool has_labels;    // the reference's threshold L - 15 leaves room between noise and the first
    int32_t *reference; // [n_file_prompts] position of the first sink; -1: prompt left out
    int32_t *first_layer; // [n_file_prompts] of the window; -1 where there is none
    int32_t *end_layer;   // exclusive
    int64_t *counts; // [n_layers, n_layers + 1] tokens by birth layer and lifetime, over prompts
    size_t n_tokens[HW_SINK_LIKE_FIRST + 1]; // by label
    size_t n_elsewhere; // prompts whose first sink is not position 0, so cosines lack
};

struct hw_sinks {
    struct hw_sinks_options options;
    size_t n_file_prompts;
    size_t n_prompts; // counted: not failed and at least two tokens
    size_t n_skipped;
    size_t min_tokens; // T of the counted prompts
    size_t max_tokens;
    size_t n_layers;
    size_t n_heads;    // the union over layers
    size_t n_recorded; // layer and head pairs that have values
    size_t n_kv_heads;
    size_t n_depths;
    size_t n_positions;    // keys that enough queries see, in the longest prompt
    const int32_t *layers; // numbers of the model; live as long as the trace
    const int32_t *heads;
    const int32_t *kv_heads;
    const int32_t *depths;
    bool has_tokens;           // attention_received is there, so sink tokens could be looked for
    struct hw_mean first_rate; // over prompts: share of heads with alpha of key 0 > epsilon
    struct hw_mean any_rate;   // with any key's alpha > epsilon
    struct hw_mean *rates;     // [n_epsilons, n_positions] Sink_k, shares
    struct hw_mean length_rates[HW_SINKS_MAX_EPSILONS][HW_SINKS_MAX_LENGTHS]; // Sink_0, shares
    struct hw_mean *alpha; // [n_keys, n_layers, n_heads]
    double
        *alpha_rate; // [n_layers, n_heads] share of prompts with alpha of the first key > epsilon
    double *alpha_prompts; // [n_file_prompts, n_keys, n_layers, n_heads] or NULL; NaN: not there
    struct hw_mean *layer_first; // [n_layers] share of heads with a sink at key 0
    struct hw_mean *layer_any;   // [n_layers] at any key
    struct hw_sinks_domain *domains;
    size_t n_domains;
    bool are_domains_folded; // more than HW_SINKS_MAX_DOMAINS: all prompts are one domain
    // Mean of A[i, 0] over the queries i (row 0 counts, triggers do not); NaN without attention.
    struct hw_mean *dormancy;         // [n_domains, n_layers, n_heads]
    struct hw_mean *dormancy_trigger; // likewise, over the trigger queries; NULL without triggers
    struct hw_mean *entropy_row;      // [n_layers, n_heads] mean over rows of H / ln(i + 1)
    struct hw_mean *entropy_column;   // [n_layers, n_heads] maximum over keys of H / ln(T - k)
    struct hw_mean *gap[HW_SINKS_N_GAPS]; // [n_layers, n_heads]; NULL where gap_why_not says why
    const char *gap_why_not[HW_SINKS_N_GAPS];
    struct hw_mean *drain;                 // [n_layers, n_kv_heads] of token 0, before W_O
    struct hw_mean *value_first;           // [n_layers, n_kv_heads] norm of token 0's value
    struct hw_mean *value_others;          // mean norm of the others that are no sinks
    struct hw_mean *drain_projected;       // [n_layers, n_heads] after W_O
    struct hw_mean *layer_drain;           // [n_layers] drain, over kv heads and prompts
    struct hw_mean *layer_drain_projected; // [n_layers]
    struct hw_mean *peak;                  // [n_depths] of token 0, over the mean of the others
    struct hw_mean *peak_over_max;         // [n_depths] over the largest of tokens 1 .. T-1
    struct hw_mean *residual_first;        // [n_depths] norm of token 0
    struct hw_mean *residual_excess;       // [n_depths] norm of token 0 - mean of tokens 1 .. T-1
    struct hw_sinks_secondary secondary;
    struct hw_sink_token *tokens; // by prompt, then by position
    size_t n_tokens;
    struct hw_arena arena; // holds the arrays above, not the tokens
};

// The reference's values: epsilon .3, 16 rows, a share of .1, key 0, cosine .9.
void hw_sinks_defaults(struct hw_sinks_options *ret_options);

// HW_INPUT where the capture does not record attention or is broken. The result refers to the
// trace's axes and names.
enum hw_status hw_sinks_compute(struct hw_trace *trace, const struct hw_sinks_options *options,
                                struct hw_sinks *ret_sinks, struct hw_error *err);
void hw_sinks_free(struct hw_sinks *sinks);

// "absolute"; "", "noise", "secondary", "like the first".
const char *hw_sink_label_name(enum hw_sink_label label);

// Queries that may see a key under a causal mask without window: T - k.
static inline size_t hw_queries_of_key(size_t n_tokens, size_t key) {
    return n_tokens - key;
}

#ifdef __cplusplus
}
#endif
#endif
