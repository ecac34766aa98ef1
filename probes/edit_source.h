// Where edits take values from: means over the prompts given or of a capture, the prompt's own
// counterpart, another prompt, another capture.
#ifndef HW_EDIT_SOURCE_H
#define HW_EDIT_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/prompts.h"
#include "formats/tokenizer.h"
#include "kernels/status.h"
#include "tracer/edit.h"
#include "tracer/session.h"

struct hw_edit_sources;

struct hw_edit_source_options {
    const struct hw_model *model;
    const char *model_sha256; // of the running model; a capture of another one is refused
    const struct hw_tokenizer *tokenizer; // for counterparts given as text; may be NULL
    const struct hw_prompts *prompts;
    const char *means_by; // key of the prompts' objects that groups them; NULL: all are one group
};

// Opens captures and checks records, models and counterparts, before anything runs: HW_USAGE or
// HW_INPUT with file, expected and found. Nothing is opened where no edit has a source.
enum hw_status hw_edit_sources_open(const struct hw_edit *const *edits, size_t n_edits,
                                    const struct hw_edit_source_options *options,
                                    struct hw_edit_sources **ret_sources, struct hw_error *err);
void hw_edit_sources_close(struct hw_edit_sources **sources);

size_t hw_edit_sources_bytes(const struct hw_edit_sources *sources); // at most, for plans
// The longest counterpart or source prompt that must be run, 0: none; sessions must have room.
size_t hw_edit_sources_max_tokens(const struct hw_edit_sources *sources);
double hw_edit_sources_flops(const struct hw_edit_sources *sources); // of what it must run, in all

// Passes over all prompts that means need (once, before the first prompt); progress may be NULL.
enum hw_status hw_edit_sources_prepare(struct hw_edit_sources *sources, struct hw_session *session,
                                       void (*progress)(void *self, uint64_t done, uint64_t all),
                                       void *self, struct hw_error *err);
// What this prompt needs: runs its counterpart or the prompt drawn for it, unchanged. The session's
// changes are set to none.
enum hw_status hw_edit_sources_prompt(struct hw_edit_sources *sources, struct hw_session *session,
                                      size_t prompt, struct hw_error *err);
// hw_edit_context.values; self is the sources.
enum hw_status hw_edit_sources_values(void *self, const struct hw_edit *edit, size_t layer,
                                      struct hw_edit_values *ret_values, struct hw_error *err);

// The whole group that a prompt belongs to under a key of its object, as text: of means and of
// records by group. "" without key or value.
const char *hw_prompt_group(const struct hw_prompt *prompt, const char *key, char *buffer,
                            size_t n_buffer);

#endif
