// Retrieval heads: heads that look at the token of the needle which the model is about to copy.
//
// Wu et al. 2024, arXiv 2404.15574, as the script does it (nightdessert/Retrieval_Head 3ac171a;
// definitions H1). A step is a hit of a head where its strongest key lies in the needle and the
// token emitted is the one that stands there. Scores of a trial, side by side:
//
//   hits       hits / tokens of the needle; each hit counts, so values above 1 are possible
//   (script) set        distinct ids hit / distinct ids of the needle (the paper's |g and k| / |k|)
//   positions  distinct positions hit / tokens of the needle
//
// A trial is kept where ROUGE-1 recall of the answer in the response is above a bound, strictly.
// The score of a head is its mean over the kept trials; the others contribute nothing. Two things
// differ from the script: a trial whose needle is not found is left out (there it adds zeros), and
// keys beyond the prompt are no hits (there they end the program).
#ifndef HW_RETRIEVAL_H
#define HW_RETRIEVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/trace_file.h"
#include "formats/trace_reader.h"
#include "kernels/arena.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum hw_retrieval_measure {
    HW_RETRIEVAL_HITS,
    HW_RETRIEVAL_SET,
    HW_RETRIEVAL_POSITIONS,
    HW_RETRIEVAL_N_MEASURES
};

struct hw_retrieval_options {
    double min_rouge;   // per cent; 50 in the reference
    bool is_span_given; // the needle is where the span "needle" says; else as the script finds it
    const char *stop;   // steps after the one whose response first holds this text do not count;
                        // NULL: all count
    const struct hw_vocabulary *vocabulary; // NULL: the capture's own
};

enum hw_retrieval_state {
    HW_RETRIEVAL_KEPT,
    HW_RETRIEVAL_WRONG,     // ROUGE at most the bound
    HW_RETRIEVAL_NOT_FOUND, // no needle in the prompt
    HW_RETRIEVAL_NO_TRIAL,  // the object of the prompt has no answer, or no span
    HW_RETRIEVAL_FAILED     // the prompt failed, was cut, or has no decode rows
};

struct hw_retrieval_trial {
    enum hw_retrieval_state state;
    double rouge;   // per cent; NaN unless kept or wrong
    char *response; // what was emitted, without special tokens, outer blanks taken off; may hold
                    // any bytes but NUL; "" where there is none
    size_t first;   // the needle [first, end)
    size_t end;
    size_t n_steps; // that count
    int64_t length; // of the object's keys length and depth; -1: none
    int64_t depth;
};

struct hw_retrieval_hit {
    int32_t prompt; // the prompt coordinate
    int32_t step;   // of the prompt; 0 is the row of its last token
    int32_t layer;  // numbers of the model
    int32_t head;
    int32_t key;
    int32_t token; // id emitted, which stands at the key
    double weight; // of the key
};

struct hw_retrieval {
    struct hw_retrieval_options options;
    size_t n_prompts; // of the capture
    size_t n_kept;
    size_t n_wrong;
    size_t n_not_found;
    size_t n_no_trial;
    size_t n_failed;
    size_t min_tokens; // T of kept and wrong trials
    size_t max_tokens;
    size_t n_layers;
    size_t n_heads;        // the union over layers
    size_t n_recorded;     // layer and head pairs that have rows
    const int32_t *layers; // numbers of the model; live as long as the trace
    const int32_t *heads;
    struct hw_retrieval_trial *trials; // [n_prompts]
    // NaN where a head was not recorded or the trial is not kept.
    double *trial_score;           // [measure, n_prompts, n_layers, n_heads]
    double *score;                 // [measure, n_layers, n_heads], mean over kept trials
    double *se;                    // standard error of it; NaN below two trials
    int64_t *n_scored;             // [measure, n_layers, n_heads] trials it is the mean of
    int64_t *n_hits;               // [n_layers, n_heads] in kept trials
    int64_t *n_hit_trials;         // [n_layers, n_heads] kept trials with a hit
    struct hw_retrieval_hit *hits; // of kept trials: by prompt, layer, step, head
    size_t n_log;
    struct hw_arena arena; // holds the arrays, not the texts and the hits
};

// The strongest keys of one head over the steps of a trial, scored.
struct hw_retrieval_rows {
    const int32_t *keys; // [n_steps], `stride` apart
    size_t stride;
    const int32_t *outputs; // [n_steps] ids emitted
    size_t n_steps;
    const uint32_t *prompt; // [n_prompt] ids
    size_t n_prompt;
    size_t first; // the needle
    size_t end;
};

// Scores of one head; is_hit [n_steps] may be NULL; scratch holds 2 (end - first) bytes. Returns
// how many steps are hits.
size_t hw_retrieval_score(const struct hw_retrieval_rows *rows, bool *scratch,
                          double ret_scores[HW_RETRIEVAL_N_MEASURES], bool *ret_is_hit);

// HW_INPUT: no decode_top, no prompt with an answer, no vocabulary, broken.
enum hw_status hw_retrieval_compute(struct hw_trace *trace,
                                    const struct hw_retrieval_options *options,
                                    struct hw_retrieval *ret_retrieval, struct hw_error *err);
void hw_retrieval_free(struct hw_retrieval *retrieval);

#ifdef __cplusplus
}
#endif
#endif
