// Where edits take values from: means over the prompts given or of a capture, the prompt's own
// counterpart, another prompt, another capture.
#ifndef HW_EDIT_SOURCE_H
#define HW_EDIT_SOURCE_H

#include <signal.h>
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
    const char
        *hash_folder; // where hashes of models are kept (hw_checkpoint_sha256); NULL: nowhere
    const struct hw_tokenizer *tokenizer; // for counterparts, which are text; may be NULL
    enum hw_add_bos add_bos;              // as the prompts were read
    const struct hw_prompts *prompts;
    const char *means_by; // key of the prompts' objects that groups them; NULL: all are one group
    const volatile sig_atomic_t *stop_signal; // nonzero: prepare ends with HW_STOPPED; NULL: never
};

// Opens captures and checks records, models and counterparts, before anything runs: HW_USAGE or
// HW_INPUT with file, expected and found. Nothing is opened where no edit has a source. What the
// options point to is kept. Edits are not: whatever edit takes values of the same kind (same
// replacement, site, source, seed) in the same layers is served, so a sweep opens its arms aimed at
// everything that it will change.
//
// `from` and `resample` reach the prompt's own tokens; those generated stay as they are. The other
// prompt of `resample` is prompt c[m] of those c[0 .. n) with at least as many tokens as this one,
// itself left out: m = floor(n u / 2^64) with u the splitmix64 of seed + (index + 1) * golden.
enum hw_status hw_edit_sources_open(const struct hw_edit *const *edits, size_t n_edits,
                                    const struct hw_edit_source_options *options,
                                    struct hw_edit_sources **ret_sources, struct hw_error *err);
void hw_edit_sources_close(struct hw_edit_sources **sources);

size_t hw_edit_sources_bytes(const struct hw_edit_sources *sources); // at most, for plans
// The longest pass that it must run, 0: none; sessions must have room.
size_t hw_edit_sources_max_tokens(const struct hw_edit_sources *sources);
// Run ids of the captures that values are taken from, in the order of the edits; NULL past the end.
const char *hw_edit_sources_run_id(const struct hw_edit_sources *sources, size_t i);
double hw_edit_sources_flops(const struct hw_edit_sources *sources); // of what it must run, in all

// Passes over all prompts that means need (once, before the first prompt); progress may be NULL.
enum hw_status hw_edit_sources_prepare(struct hw_edit_sources *sources, struct hw_session *session,
                                       void (*progress)(void *self, uint64_t done, uint64_t all),
                                       void *self, struct hw_error *err);
// What this prompt needs: runs its counterpart or the prompt drawn for it, unchanged. The session's
// changes are set to none.
enum hw_status hw_edit_sources_prompt(struct hw_edit_sources *sources, struct hw_session *session,
                                      size_t prompt, struct hw_error *err);
// hw_edit_context.values; self is the sources. Before prepare (to measure what changes take) rows
// are NULL.
enum hw_status hw_edit_sources_values(void *self, const struct hw_edit *edit, size_t layer,
                                      struct hw_edit_values *ret_values, struct hw_error *err);

enum { HW_GROUP_NAME_BYTES = 128 };
// The whole group that a prompt belongs to under a key of its object, as text, cut to fit: of means
// and of records by group. A string as it is, other values as JSON; "" without key or value.
// Returns buffer.
const char *hw_prompt_group(const struct hw_prompt *prompt, const char *key, char *buffer,
                            size_t n_buffer);
// The same of the object itself (compact JSON, as a capture keeps it).
const char *hw_object_group(const char *json, const char *key, char *buffer, size_t n_buffer);

#endif
