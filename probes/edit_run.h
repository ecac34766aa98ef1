// Edits of a capture, prompt by prompt: what they take from elsewhere, and what they come to for
// the prompt, in memory that was planned.
#ifndef HW_EDIT_RUN_H
#define HW_EDIT_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "probes/edit_source.h"
#include "tracer/edit.h"
#include "tracer/session.h"

struct hw_edit_run;

// Opens the sources and compiles the edits for every prompt over a measuring arena, so that what
// means nothing for a prompt is refused before anything runs (HW_USAGE naming the prompt). Edits
// and what the options point to must outlive the run.
enum hw_status hw_edit_run_open(const struct hw_edit *const *edits, size_t n_edits,
                                const struct hw_edit_source_options *options, size_t max_generate,
                                struct hw_edit_run **ret_run, struct hw_error *err);
void hw_edit_run_close(struct hw_edit_run **run);

// What it takes of memory and of arithmetic, and what its session must be ready for.
size_t hw_edit_run_bytes(const struct hw_edit_run *run);
double hw_edit_run_flops(const struct hw_edit_run *run);
bool hw_edit_run_has_cache_windows(const struct hw_edit_run *run);
const char *hw_edit_run_source_id(const struct hw_edit_run *run, size_t i); // NULL past the end

// Takes the memory and the means. HW_STOPPED as the options say.
enum hw_status hw_edit_run_prepare(struct hw_edit_run *run, struct hw_session *session,
                                   void (*progress)(void *self, uint64_t done, uint64_t all),
                                   void *self, struct hw_error *err);
// Whatever the session runs from here on is this prompt, changed; a failed one is left alone.
enum hw_status hw_edit_run_prompt(struct hw_edit_run *run, struct hw_session *session,
                                  size_t prompt, struct hw_error *err);
// Rows written and rows of attention changed so far, over all prompts.
uint64_t hw_edit_run_n_applied(const struct hw_edit_run *run);

#endif
