// Sweeps: many changed runs of one prompt after another, and what each does to the metrics, against
// the unchanged model.
//
// Prefixes are shared: the unchanged run keeps its residual stream where changed runs start, and
// the changed runs pass the layers together (hw_session_branch). A cell (prompt and changed run)
// has the bits of a capture with the same edits, whatever runs beside it. The engine knows no
// command: it is given lists of edits and hands out values as they are done, so that a caller can
// keep them.
#ifndef HW_SWEEP_H
#define HW_SWEEP_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/prompts.h"
#include "formats/selector.h"
#include "formats/tokenizer.h"
#include "kernels/status.h"
#include "probes/edit_source.h"
#include "tracer/edit.h"
#include "tracer/session.h"

// id, word, units, whether it needs a target, one line for `list metrics`
#define HW_METRICS(X)                                                                              \
    X(LOSS, "loss", "nat", false, "mean of -ln p of the tokens at the positions")                  \
    X(LOSS_CHANGE, "loss_change", "nat", false, "loss minus the loss of the unchanged model")      \
    X(KL, "kl", "nat", false, "mean of KL(unchanged || changed) of the predictions")               \
    X(LOGIT_DIFFERENCE, "logit_difference", "nat", true, "logit of the target minus the foil's")   \
    X(TARGET_LOGIT, "target_logit", "nat", true, "logit of the target")                            \
    X(TOP1_CHANGE, "top1_change", "1", false,                                                      \
      "share of predictions whose strongest token changed")                                        \
    X(RANK, "rank", "1", true, "how many tokens have a larger logit than the target")              \
    X(EXACT_MATCH, "exact_match", "1", true, "1 where the generated text begins with the target")

enum hw_metric {
#define HW_METRIC_ENUM(id, ...) HW_METRIC_##id,
    HW_METRICS(HW_METRIC_ENUM)
#undef HW_METRIC_ENUM
        HW_N_METRICS
};

struct hw_metric_row {
    const char *name;
    const char *units;
    bool needs_target;
    const char *text;
};
extern const struct hw_metric_row hw_metric_rows[HW_N_METRICS];

// A changed run: edits that act together; they stay alive while it runs.
struct hw_sweep_cell {
    const struct hw_edit *const *edits;
    size_t n_edits;
};

struct hw_sweep_options {
    const struct hw_model *model;
    const struct hw_tokenizer *tokenizer; // for exact_match; may be NULL
    int n_threads;
    enum hw_level level;
    bool wanted[HW_N_METRICS];
    const struct hw_positions *positions; // as sweep_metrics.h says; NULL: the metric's own
    size_t max_tokens;                    // longest prompt, sources' prompts counted
    size_t n_generate;                    // for exact_match
    size_t max_cells;                // changed runs of one prompt, at most: no more pass together
    size_t max_edits;                // of a cell
    bool has_cache_windows;          // edits may hold windows in cache form
    size_t batch;                    // runs that pass together; 0: as the memory allows
    uint64_t memory_bytes;           // for what the engine takes; 0: no limit
    struct hw_edit_sources *sources; // opened, prepared by the caller; NULL: no edit has a source
};

struct hw_sweep_plan {
    size_t batch;         // runs that pass together
    size_t session_bytes; // hw_session
    size_t other_bytes;   // prefixes, metrics, changes
};

// Chooses the batch: as many rows together as make matrices efficient, fewer where memory_bytes
// does not allow them. HW_RESOURCE where not even one run fits.
enum hw_status hw_sweep_plan(const struct hw_sweep_options *options, struct hw_sweep_plan *ret_plan,
                             struct hw_error *err);

struct hw_sweep;

enum hw_status hw_sweep_open(const struct hw_sweep_options *options, struct hw_sweep **ret_sweep,
                             struct hw_error *err);
void hw_sweep_close(struct hw_sweep **sweep);

// The session, between prompts (hw_edit_sources_prepare).
struct hw_session *hw_sweep_session(struct hw_sweep *sweep);

// What a sweep of a prompt tells its caller. Any status but HW_OK ends it.
struct hw_sweep_sink {
    // A cell is done: values [HW_N_METRICS], NaN for what was not asked for.
    enum hw_status (*done)(void *self, size_t cell, const double *values, struct hw_error *err);
    // The runs that passed together are done: the time to commit.
    enum hw_status (*batch_done)(void *self, struct hw_error *err);
    // Layers of single runs that were computed since the last call.
    void (*progress)(void *self, double n_layers);
    const volatile sig_atomic_t *stop; // nonzero: the runs under way are given up, HW_STOPPED
    void *self;
};

// Runs a prompt unchanged and then every cell. index is the prompt's, for the sources. ret_base
// [HW_N_METRICS] is filled before the first cell is done. HW_WRONG says why the prompt cannot be
// run or measured (no target, a span that it lacks): the others can go on.
enum hw_status hw_sweep_prompt(struct hw_sweep *sweep, const struct hw_prompt *prompt, size_t index,
                               const struct hw_sweep_cell *cells, size_t n_cells, double *ret_base,
                               const struct hw_sweep_sink *sink, struct hw_error *err);

#endif
