// Systematic outliers of a capture: massive activations, which tokens carry them, attention
// outliers, and whether these are the attention sinks.
//
// C1 (Sun et al. 2024, arXiv 2402.17762): x[t, c] of the residual stream is massive where |x| > 100
// and |x| >= 1000 x the lower median of |x| over all tokens and channels of that state. E1 (An et
// al. 2025, arXiv 2502.06415): token t is an outlier where max_c |x[t, c]| > 1000 x the mean of |x|
// over all tokens and channels. Mean and median differ by much, so both ratios stand beside both
// answers. E2: largest and median |x| of what goes into down_proj, the neurons of the MLP, and the
// maximum of each neuron over the tokens. E3: key k of a layer is an attention outlier where the
// column sum of the map meant over heads is at least .1 T; no division by T - k, so late keys
// cannot qualify.
//
// Means are over prompts. All of it depends on the number of tokens T, which is part of the result.
#ifndef HW_OUTLIERS_H
#define HW_OUTLIERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/mean.h"
#include "analysis/token_class.h"
#include "formats/trace_reader.h"
#include "kernels/arena.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_OUTLIERS_TOP = 3, HW_OUTLIERS_NEURONS = 2 };

struct hw_outliers_options {
    double least;           // C1: |x| above it; 100
    double ratio;           // C1: at least so many medians; 1000
    double mean_ratio;      // E1: above so many means; 1000
    double attention_share; // E3: column sum at least so much of T; .1
    double epsilon;         // a head has a sink at a key where alpha is above it; .3
    double share;           // a token is a sink in at least this share of the heads; .1
    size_t least_rows;      // keys seen by fewer queries are no sinks; 16
};

// One depth, over the prompts that were counted.
struct hw_outlier_depth {
    struct hw_mean top[HW_OUTLIERS_TOP]; // the largest |x| of the state
    struct hw_mean median;               // lower median of |x|
    struct hw_mean mean_abs;
    struct hw_mean median_ratio;         // largest |x| / median
    struct hw_mean mean_ratio;           // largest |x| / mean
    size_t n_median_prompts;             // prompts with a massive activation (C1)
    size_t n_mean_prompts;               // prompts with an outlier token (E1)
    size_t n_massive;                    // massive activations (C1) of all prompts
    size_t n_tokens[HW_N_TOKEN_CLASSES]; // outlier tokens (E1) of all prompts by kind
    double largest;                      // signed, the largest of all prompts; where:
    int32_t position;
    int32_t channel;
};

// One layer: columns of the map meant over heads, as shares of T.
struct hw_outlier_layer {
    struct hw_mean top[2]; // largest column sums / T
    struct hw_mean median; // lower median of the column sums / T
    struct hw_mean n_keys; // attention outliers
};

// The input of down_proj of one layer (E2): [token, neuron] after the nonlinearity and the gate.
struct hw_outlier_mlp {
    struct hw_mean top[HW_OUTLIERS_TOP]; // the largest |x|
    struct hw_mean median;               // lower median of |x|
    struct hw_mean median_ratio;         // largest |x| / median
    int32_t neuron[HW_OUTLIERS_NEURONS]; // with the largest neuron_max, the larger first; -1: none
    double largest;                      // |x|, of all prompts; where:
    int32_t position;
};

// One token that carries a massive activation, or is an outlier token, or an attention outlier, or
// an attention sink.
struct hw_outlier_token {
    size_t prompt; // index in the file
    int32_t position;
    int32_t id;
    char *text; // from the capture, "" where it has none
    enum hw_token_class token_class;
    size_t n_massive; // depths with a massive activation (C1)
    int32_t first_depth;
    int32_t last_depth;
    double value; // the largest of them, signed; NaN where there is none
    double ratio; // its |x| / median
    int32_t depth;
    int32_t channel;
    size_t n_outlier;   // depths at which it is an outlier token (E1)
    size_t n_attention; // layers in which it is an attention outlier (E3)
    bool is_sink;
    double sink_share; // of the heads; NaN without attention statistics
};

struct hw_outliers {
    struct hw_outliers_options options;
    size_t n_file_prompts;
    size_t n_prompts; // not failed and at least two tokens
    size_t n_skipped;
    size_t min_tokens;
    size_t max_tokens;
    bool has_states;    // state_*: C1
    bool has_norms;     // residual_max as well: E1
    bool has_attention; // attention_received: E3 and sinks
    bool is_from_top;   // thresholds below those of the recorded table: only the largest few of
                        // every state are known
    bool has_neurons;   // mlp_post: E2
    size_t n_spoiled;   // prompts with NaN or infinity in the statistics of a state, which is left
                        // out of the means of its depth
    size_t n_dropped;   // massive activations beyond the limit of the recorded table
    size_t n_depths;
    const int32_t *depths; // live as long as the trace
    size_t n_layers;
    const int32_t *layers;
    size_t n_heads;
    const int32_t *heads;
    struct hw_outlier_depth *by_depth; // [n_depths]
    struct hw_outlier_layer *by_layer; // [n_layers]
    struct hw_mean *head_share; // [n_layers, n_heads] share of a head's attention on the layer's
                                // attention outliers
    size_t n_mlp_layers;        // those of mlp_post
    const int32_t *mlp_layers;
    size_t n_neurons;
    struct hw_outlier_mlp *by_mlp_layer; // [n_mlp_layers]
    struct hw_mean *neuron_max; // [n_mlp_layers, n_neurons] largest |x| of a prompt's tokens
    size_t n_mlp_tokens;        // rows of all prompts that E2 is over
    size_t n_mlp_missing;       // tokens of these prompts that were not recorded
    size_t n_mlp_spoiled;       // prompts with NaN or infinity; left out of that layer
    // Channels that are among the largest of any state or massive; rising.
    size_t n_channels;
    int32_t *channels;
    double *channel_largest; // [n_depths, n_channels] signed; NaN: not among the recorded largest
    int64_t *channel_counts; // [n_depths, n_channels] massive activations of all prompts
    struct hw_outlier_token *tokens; // by prompt, then by position
    size_t n_tokens;
    size_t n_both; // carry a massive activation and are sinks; likewise:
    size_t n_massive_only;
    size_t n_sink_only;
    struct hw_arena arena; // holds the arrays, not the tokens
};

// HW_INPUT where the capture has no record that any of this can be computed from, or is broken.
// The result refers to the trace's axes.
enum hw_status hw_outliers_compute(struct hw_trace *trace,
                                   const struct hw_outliers_options *options,
                                   struct hw_outliers *ret_outliers, struct hw_error *err);
void hw_outliers_free(struct hw_outliers *outliers);

#ifdef __cplusplus
}
#endif
#endif
