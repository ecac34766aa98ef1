// Activation patching (Heimersheim and Nanda, arXiv 2404.15255; TransformerLens, patching.py): a
// prompt is run with one activation put in from its counterpart, at one layer and position (and
// head) after another.
//
// The engine of sweeps does the work: a cell is the edit from:...:rows=POSITION. The other end of
// the scale, the counterpart's run, is the cell that puts in the whole residual stream before layer
// 0. The unit of work is (prompt, site, layer); each finished one is committed (formats/cells.h).
#ifndef HW_PATCH_H
#define HW_PATCH_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/sweep.h"
#include "formats/cells.h"

// Z, RESID_PRE, RESID_MID, ATTN_OUT, MLP_OUT
enum { HW_MAX_PATCH_SITES = 5 };

struct hw_patching {
    const struct hw_model_desc *desc;
    const struct hw_prompts *prompts; // text is what is run, counterpart where values come from
    enum hw_site sites[HW_MAX_PATCH_SITES];
    size_t n_sites;
    bool by_position;   // one position after another; otherwise all together
    bool by_head;       // one head after another (Z only); otherwise all together
    const bool *wanted; // [HW_N_METRICS]
    size_t max_tokens;  // longest prompt that runs
};

// The word of a site, NULL where it cannot be patched.
const char *hw_patch_site_word(enum hw_site site);

// Cells of formats/cells.h, and changed runs of the longest prompt that are given to the engine
// together.
size_t hw_patch_n_cells(const struct hw_patching *patching);
size_t hw_patch_max_runs(const struct hw_patching *patching);

// Edits that together need every source (for hw_edit_sources_open): [*ret_n], each to be closed,
// and the list freed, by the caller. HW_USAGE where the model lacks a site.
enum hw_status hw_patch_edits(const struct hw_patching *patching, struct hw_edit ***ret_edits,
                              size_t *ret_n, struct hw_error *err);

struct hw_patch_job {
    const struct hw_patching *patching;
    struct hw_sweep *sweep;
    struct hw_cells *cells;
    void (*progress)(void *self, double done, double all); // changed runs; may be NULL
    void *progress_self;
    const volatile sig_atomic_t *stop;
    char **errors; // [n_prompts], all NULL: why a prompt failed, from malloc
};

// Runs what is left. HW_STOPPED where a signal came, with everything finished committed.
enum hw_status hw_patch_run(const struct hw_patch_job *job, struct hw_error *err);

// position and head are 0 where all go together.
struct hw_patch_place {
    size_t site; // of sites
    size_t layer;
    size_t position;
    size_t head;
};
// A committed value, NaN where there is none.
double hw_patch_value(const struct hw_patching *patching, const struct hw_cells *cells,
                      size_t prompt, struct hw_patch_place place, enum hw_metric metric);
// Of the unchanged run (end 0) and of the counterpart's (end 1).
double hw_patch_end(const struct hw_patching *patching, const struct hw_cells *cells, size_t prompt,
                    int end, enum hw_metric metric);

#endif
