// A study: one model's prompts recorded with everything, from which every statistic is computed
// again in double, by its definition, out of the maps, states and logits of the same capture.
#ifndef HW_STATISTICS_STUDY_H
#define HW_STATISTICS_STUDY_H

#include <stddef.h>
#include <stdint.h>

#include "run_capture.h"

enum {
    STUDY_GENERATED = 6,
    STUDY_RANK = 5,
    STUDY_OFFSETS = 40,
    STUDY_EVENT_CHANNEL = 5,
    STUDY_GROUPS = 2, // of means: prompt p is in group p % 2
    STUDY_MAX_TOKENS = 256
};

struct study {
    const char *name;
    enum hw_level level;
    bool has_events;  // the model is changed so that it has massive activations
    float *embedding; // its changed one
    struct hw_model *model;
    struct hw_tokenizer *tokenizer;
    struct hw_prompts prompts;
    struct run run;       // everything, no generation
    struct run generated; // everything of STUDY_GENERATED tokens more
    struct run replayed;  // the tokens of `generated` as prompts
    struct hw_prompts replay;
};

void study_open(struct study *study, const char *name, enum hw_level level, bool has_events);
void study_close(struct study *study);

// Compares and counts. The bound is 1e-5, relative above 1: inputs are stored with 24 bits, and a
// sum of a hundred terms of size 1 in float32 moves by a few 1e-6; NaN equals NaN.
void expect(double got, double want, const char *where, ...) __attribute__((format(printf, 3, 4)));
// The same values, bit for bit for floats; NaN equals NaN.
void expect_same(double got, double want, const char *where, ...)
    __attribute__((format(printf, 3, 4)));
size_t n_expected(void);

// w[o, i] and the bias of a linear map of f32 weights; whichever way the file has them.
double study_weight(const struct hw_weight *w, size_t o, size_t i);
double study_bias(const struct hw_linear_weights *w, size_t o);
// y = w x + bias in double.
void study_apply(const struct hw_linear_weights *w, const double *x, double *y);
// A norm of one row in double; *ret_scale: what the row is multiplied by.
void study_normalise(const struct hw_model_desc *d, const struct hw_norm_weights *w, const float *x,
                     double *y, double *ret_scale);

// Positions of a span in a prompt of n_prompt tokens and n_total with generated ones: whether
// `position` is in the span with that name index of the layout.
bool study_is_in_span(const struct study *study, const struct run *run, size_t prompt, size_t span,
                      size_t position);
size_t study_n_prompt(const struct run *run, size_t prompt);

// The checks: each covers a dataset of every prompt of the study.
typedef void (*study_check_fn)(const struct study *study, enum hw_dataset dataset);
struct study_check {
    enum hw_dataset dataset;
    study_check_fn check;
};
extern const struct study_check attention_checks[];
extern const size_t n_attention_checks;
extern const struct study_check state_checks[];
extern const size_t n_state_checks;
extern const struct study_check activation_checks[];
extern const size_t n_activation_checks;
extern const struct study_check attribution_checks[];
extern const size_t n_attribution_checks;
extern const struct study_check mean_checks[];
extern const size_t n_mean_checks;
extern const struct study_check token_checks[];
extern const size_t n_token_checks;

#endif
