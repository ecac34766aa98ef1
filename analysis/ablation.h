// An ablation: every unit changed in every way asked for (arm), over prompts, kept cell by cell.
//
// The unit of work is (prompt, layer of the units, arm); each finished one is committed
// (formats/cells.h), and so is each prompt's unchanged run.
#ifndef HW_ABLATION_H
#define HW_ABLATION_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/sweep.h"
#include "analysis/sweep_units.h"
#include "formats/cells.h"

// What is done; built once, then looked at only. Units and arms are the caller's.
struct hw_ablation {
    const struct hw_sweep_units *units;
    struct hw_edit *const *arms; // without target: for every unit; with one: for "as given" only
    size_t n_arms;
    const bool *wanted; // [HW_N_METRICS]
    size_t n_prompts;
    // Made by hw_ablation_open.
    struct hw_edit **edits; // [n_units, n_arms], NULL where an arm is not for a unit
    size_t *places;     // [n_units, n_arms] the unit's place among those of its record and arm
    size_t *counts;     // [n_records, n_arms] how many those are
    size_t n_wanted;
    size_t n_prompt_cells; // of formats/cells.h
    size_t n_runs;         // changed runs of a prompt
};

// HW_USAGE where an arm means nothing for a unit.
enum hw_status hw_ablation_open(const struct hw_sweep_units *units, struct hw_edit *const *arms,
                                size_t n_arms, const struct hw_model_desc *desc, const bool *wanted,
                                size_t n_prompts, struct hw_ablation *ret_ablation,
                                struct hw_error *err);
void hw_ablation_close(struct hw_ablation *ablation);

size_t hw_ablation_n_cells(const struct hw_ablation *ablation); // of formats/cells.h

struct hw_ablation_job {
    const struct hw_ablation *ablation;
    const struct hw_model_desc *desc;
    const struct hw_prompts *prompts;
    struct hw_sweep *sweep;
    struct hw_cells *cells;
    // Layers of single runs times tokens, of what is left to do; may be NULL.
    void (*progress)(void *self, double done, double all);
    void *progress_self;
    const volatile sig_atomic_t *stop;
    char **errors; // [n_prompts], all NULL: why a prompt failed, from malloc
};

// Runs what is left. HW_STOPPED where a signal came, with everything finished committed.
enum hw_status hw_ablation_run(const struct hw_ablation_job *job, struct hw_error *err);

// A committed value, NaN where there is none: the prompt failed, the arm is not for the unit.
double hw_ablation_value(const struct hw_ablation *ablation, const struct hw_cells *cells,
                         size_t prompt, size_t arm, size_t unit, enum hw_metric metric);
double hw_ablation_baseline(const struct hw_ablation *ablation, const struct hw_cells *cells,
                            size_t prompt, enum hw_metric metric);

#endif
