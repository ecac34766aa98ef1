// Edits of a capture; see edit_run.h. One arena holds the changes of one prompt after another.
#include "probes/edit_run.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

struct hw_edit_run {
    const struct hw_edit *const *edits;
    size_t n_edits;
    const struct hw_model_desc *desc;
    const struct hw_prompts *prompts;
    size_t max_generate;
    struct hw_edit_sources *sources;
    struct hw_arena arena;
    size_t arena_bytes;
    struct hw_changes changes; // of the running prompt
    uint64_t n_applied;        // of those before it
};

static enum hw_status compile(struct hw_edit_run *run, size_t p, struct hw_arena *arena,
                              struct hw_changes *ret_changes, struct hw_error *err) {
    const struct hw_prompt *prompt = &run->prompts->items[p];
    struct hw_edit_context context = {.desc = run->desc,
                                      .prompt = prompt,
                                      .n_positions = prompt->n_ids + run->max_generate,
                                      .values = hw_edit_sources_values,
                                      .self = run->sources};
    enum hw_status status =
        hw_edits_compile(run->edits, run->n_edits, &context, arena, ret_changes, err);
    if (status == HW_OK && arena->is_overflown) {
        status = hw_fail(err, HW_RESOURCE, "edits of %zu positions do not fit", prompt->n_ids);
    }
    if (status != HW_OK) {
        char name[200];
        return hw_fail_context(err, status, "prompt %zu (%s): ", p,
                               hw_escape(name, sizeof name, prompt->name, strlen(prompt->name)));
    }
    return HW_OK;
}

enum hw_status hw_edit_run_open(const struct hw_edit *const *edits, size_t n_edits,
                                const struct hw_edit_source_options *options, size_t max_generate,
                                struct hw_edit_run **ret_run, struct hw_error *err) {
    struct hw_edit_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for edits");
    }
    run->edits = edits;
    run->n_edits = n_edits;
    run->desc = &options->model->desc;
    run->prompts = options->prompts;
    run->max_generate = max_generate;
    enum hw_status status = hw_edit_sources_open(edits, n_edits, options, &run->sources, err);
    for (size_t p = 0; p < run->prompts->n && status == HW_OK; p++) {
        if (run->prompts->items[p].status == HW_PROMPT_FAILED) {
            continue;
        }
        struct hw_arena arena;
        struct hw_changes changes;
        hw_arena_measure(&arena);
        status = compile(run, p, &arena, &changes, err);
        run->arena_bytes = hw_size_max(run->arena_bytes, arena.used_bytes);
    }
    if (status != HW_OK) {
        hw_edit_run_close(&run);
        return status;
    }
    *ret_run = run;
    return HW_OK;
}

void hw_edit_run_close(struct hw_edit_run **run) {
    if (run != NULL && *run != NULL) {
        hw_edit_sources_close(&(*run)->sources);
        hw_arena_close(&(*run)->arena);
        free(*run);
        *run = NULL;
    }
}

size_t hw_edit_run_bytes(const struct hw_edit_run *run) {
    return run->arena_bytes + hw_edit_sources_bytes(run->sources);
}

double hw_edit_run_flops(const struct hw_edit_run *run) {
    return hw_edit_sources_flops(run->sources);
}

bool hw_edit_run_has_cache_windows(const struct hw_edit_run *run) {
    for (size_t i = 0; i < run->n_edits; i++) {
        if (run->edits[i]->is_cache_form) {
            return true;
        }
    }
    return false;
}

const char *hw_edit_run_source_id(const struct hw_edit_run *run, size_t i) {
    return hw_edit_sources_run_id(run->sources, i);
}

enum hw_status hw_edit_run_prepare(struct hw_edit_run *run, struct hw_session *session,
                                   void (*progress)(void *self, uint64_t done, uint64_t all),
                                   void *self, struct hw_error *err) {
    enum hw_status status = HW_OK;
    if (run->arena_bytes > 0) {
        status = hw_arena_open(&run->arena, run->arena_bytes, err);
    }
    return status == HW_OK ? hw_edit_sources_prepare(run->sources, session, progress, self, err)
                           : status;
}

enum hw_status hw_edit_run_prompt(struct hw_edit_run *run, struct hw_session *session,
                                  size_t prompt, struct hw_error *err) {
    run->n_applied += run->changes.n_applied;
    run->changes = (struct hw_changes){.first_layer = run->desc->n_layers};
    hw_session_set_changes(session, NULL);
    if (run->prompts->items[prompt].status == HW_PROMPT_FAILED) {
        return HW_OK;
    }
    enum hw_status status = hw_edit_sources_prompt(run->sources, session, prompt, err);
    run->arena.used_bytes = 0;
    status = status == HW_OK ? compile(run, prompt, &run->arena, &run->changes, err) : status;
    if (status == HW_OK) {
        run->changes.n_applied = 0;
        hw_session_set_changes(session, &run->changes);
    }
    return status;
}

uint64_t hw_edit_run_n_applied(const struct hw_edit_run *run) {
    return run->n_applied + run->changes.n_applied;
}
