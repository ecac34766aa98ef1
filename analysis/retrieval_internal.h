// What the files of the retrieval analysis share.
#ifndef HW_RETRIEVAL_INTERNAL_H
#define HW_RETRIEVAL_INTERNAL_H

#include "analysis/retrieval.h"
#include "formats/vocabulary.h"

// The running computation over one capture.
struct retrieval_work {
    struct hw_trace *trace;
    struct hw_retrieval *out;
    const struct hw_vocabulary *vocabulary;
    struct hw_vocabulary_copy copy; // where it is the capture's own
    int32_t *step_prompts;          // [n_all_steps] prompt coordinate of each decode row
    size_t n_all_steps;
    size_t longest; // T
    size_t most_steps;
    size_t log_capacity;
    // Of the running prompt.
    uint32_t *ids;    // [longest]
    uint32_t *answer; // [longest]
    int32_t *outputs; // [most_steps]
    int32_t *keys;    // [most_steps, n_heads] of one layer
    float *weights;   // likewise
    bool *scratch;    // [2 longest]
    bool *is_hit;     // [most_steps, n_heads]
    size_t first_step;
};

// Reads what the prompt is a trial of: ids, needle, steps, response, ROUGE; sets the trial's state.
enum hw_status hw_retrieval_read_trial(struct retrieval_work *work, size_t index,
                                       struct hw_error *err);

#endif
