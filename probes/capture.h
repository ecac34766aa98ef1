// A capture from plan to file: prompts in order, part by part, with a stop at any time.
#ifndef HW_CAPTURE_H
#define HW_CAPTURE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/run.h"
#include "probes/edit_run.h"
#include "probes/plan.h"

struct hw_capture_job {
    const struct hw_model *model;
    const struct hw_tokenizer *tokenizer; // NULL: none
    const struct hw_prompts *prompts;
    const struct hw_plan *plan;
    struct hw_edit_run *edits;                // NULL: the model is not changed
    const char *stop;                         // ends generation; NULL: none
    const volatile sig_atomic_t *stop_signal; // nonzero: commit and stop; NULL: never
    double commit_seconds; // a part is committed after this long, whichever comes first
    // May be NULL. Tokens of what this invocation has to do: texts, and as many generated ones as
    // there may be; a prompt that ends early has done all of its own.
    void (*progress)(void *self, uint64_t n_tokens_done, uint64_t n_tokens);
    // The same of the pass over all prompts that means of edits need, which comes before.
    void (*preparing)(void *self, uint64_t n_tokens_done, uint64_t n_tokens);
    void *progress_self;
    void (*committed)(void *self); // the last part is committed, the merge begins; may be NULL
};

struct hw_capture_result {
    size_t n_prompts;   // of the run
    size_t n_done;      // committed, earlier invocations counted
    size_t n_failed;    // marked failed, of the whole run
    double seconds;     // from tokens ready (model open, prompts read) to the last part committed
    uint64_t n_applied; // rows that edits wrote and rows of attention they changed, here
    bool was_complete;  // nothing was left to do
    bool was_opened;    // the run folder is ours: the same command goes on from what is in it
};

// Runs what the folder of the run still lacks. HW_STOPPED after committing where a signal came;
// HW_PARTIAL where prompts are marked failed; HW_OUTPUT, HW_RESOURCE as they come, with everything
// committed kept. *ret_result is filled whatever is returned.
enum hw_status hw_capture_run(const struct hw_capture_job *job,
                              const struct hw_run_options *run_options,
                              struct hw_capture_result *ret_result, struct hw_error *err);

#endif
