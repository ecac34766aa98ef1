// What a changed run is measured by, from the final norm's output of some of its rows: everything
// that needs the unembedding.
//
// Positions: loss is that of the tokens at the chosen positions (the first token of a prompt has
// none), as token_logprob of a capture; all else is of the predictions made at the positions. A
// row's numbers do not depend on the other rows of a call, sums over positions go in their order,
// so no bit depends on how runs are put together.
#ifndef HW_SWEEP_METRICS_H
#define HW_SWEEP_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/sweep.h"

struct hw_sweep_metrics;

struct hw_sweep_metrics_options {
    const struct hw_model *model;
    const struct hw_ops *ops; // outlives the metrics
    int n_threads;
    size_t max_tokens;
    bool wanted[HW_N_METRICS];
    const struct hw_positions *positions; // NULL: all, and the last for what needs a target
};

// Bytes that open takes.
enum hw_status hw_sweep_metrics_measure(const struct hw_sweep_metrics_options *options,
                                        size_t *ret_bytes, struct hw_error *err);
enum hw_status hw_sweep_metrics_open(const struct hw_sweep_metrics_options *options,
                                     struct hw_sweep_metrics **ret_metrics, struct hw_error *err);
void hw_sweep_metrics_close(struct hw_sweep_metrics **metrics);

// The prompt that the following calls are about; it stays alive. ids [n_tokens]: what is run.
// HW_WRONG says why it cannot be measured: no target, positions that select nothing.
enum hw_status hw_sweep_metrics_prompt(struct hw_sweep_metrics *metrics,
                                       const struct hw_prompt *prompt, const uint32_t *ids,
                                       size_t n_tokens, struct hw_error *err);
// The first row that anything is read from.
size_t hw_sweep_metrics_row_first(const struct hw_sweep_metrics *metrics);
// Floating point operations of reading n runs of the prompt.
double hw_sweep_metrics_flops(const struct hw_sweep_metrics *metrics, size_t n_runs);

// The unchanged run: normed [n_tokens, d_model], which stays alive while the prompt is measured.
// ret_values [HW_N_METRICS], NaN for what was not asked for; changes against itself are 0.
enum hw_status hw_sweep_metrics_base(struct hw_sweep_metrics *metrics, const float *normed,
                                     double *ret_values, struct hw_error *err);
// n changed runs: normed [n, n_tokens - row_first, d_model]; ret_values [n, HW_N_METRICS].
enum hw_status hw_sweep_metrics_read(struct hw_sweep_metrics *metrics, size_t n,
                                     const float *normed, double *ret_values, struct hw_error *err);

#endif
