// What the files of the outlier analysis share.
#ifndef HW_OUTLIERS_INTERNAL_H
#define HW_OUTLIERS_INTERNAL_H

#include "analysis/outliers.h"
#include "analysis/sinks.h"

enum { OUTLIERS_MAX_CHANNELS = 1 << 20 };

// The running computation over one capture.
struct outliers_work {
    struct hw_trace *trace;
    struct hw_outliers *out;
    struct hw_sinks sinks;          // of the same capture, where it has attention statistics
    size_t next_sink;               // the first of its tokens that is not passed
    size_t next_event;              // likewise of /massive
    size_t longest;                 // tokens of the longest prompt
    size_t n_rank;                  // largest values recorded of every state
    float *rows;                    // [key, head] of one layer, or [token] of one depth
    double *columns;                // [key] column sums of one layer, head mean
    double *sorted;                 // a copy for the median
    float *top;                     // [n_rank]
    int32_t *top_position;          // [n_rank]
    int32_t *top_channel;           // [n_rank]
    size_t next_row;                // the first row of /activations that is not passed
    size_t neuron_block;            // rows read at once
    float *neuron_rows;             // [neuron_block, n_neurons]
    float *neuron_max;              // [n_neurons] of the running prompt and layer
    size_t *bins;                   // [65536] counts of bit patterns
    struct hw_outlier_token *notes; // [token] of the running prompt
    bool *is_classed;               // [token] notes[token].token_class is set
};

// A prompt under way.
struct outliers_prompt {
    size_t index; // in the file
    const struct hw_trace_prompt *prompt;
    size_t n_tokens; // T
};

// The channels that appear anywhere, into channels (from malloc; the caller frees it).
enum hw_status hw_outliers_find_channels(struct outliers_work *work, int32_t **ret_channels,
                                         size_t *ret_n, struct hw_error *err);
// C1 and E1 of one prompt.
enum hw_status hw_outliers_add_states(struct outliers_work *work, const struct outliers_prompt *p,
                                      struct hw_error *err);
// E3 of one prompt.
enum hw_status hw_outliers_add_attention(struct outliers_work *work,
                                         const struct outliers_prompt *p, struct hw_error *err);
// E2 of one prompt; its arrays, of a measuring or of a real arena; and at the end the first
// neurons.
void hw_outliers_take_neurons(struct outliers_work *work, struct hw_arena *arena);
enum hw_status hw_outliers_add_neurons(struct outliers_work *work, const struct outliers_prompt *p,
                                       struct hw_error *err);
void hw_outliers_rank_neurons(struct hw_outliers *out);
// The kind of a token of the running prompt.
enum hw_status hw_outliers_classify(struct outliers_work *work, const struct outliers_prompt *p,
                                    size_t token, enum hw_token_class *ret_class,
                                    struct hw_error *err);

#endif
