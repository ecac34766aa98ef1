// Edits: what a user wants changed in a model, REPLACEMENT:TARGET[:key=value...], as plain data.
//
// Parsed once, checked against the model, compiled for each prompt to writes and attention changes
// (change.h). Replacements are a closed list; presets are lines of data that expand to this
// grammar. docs/edits.md has the grammar as a user reads it.
#ifndef HW_EDIT_H
#define HW_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/prompts.h"
#include "formats/selector.h"
#include "kernels/arena.h"
#include "kernels/status.h"
#include "tracer/change.h"
#include "tracer/model.h"

// id, word, natural point, one line for `list edits`
#define HW_REPLACEMENTS(X)                                                                         \
    X(ZERO, "zero", Z, "by zero")                                                                  \
    X(MEAN, "mean", Z, "by its mean over prompts and positions")                                   \
    X(POSITION_MEAN, "position_mean", Z, "by its mean over prompts at the same position")          \
    X(FROM, "from", Z, "by what it is in the counterpart or a capture (patching)")                 \
    X(SCALE, "scale", Z, "multiplied by by=")                                                      \
    X(SET, "set", Z, "by value=")                                                                  \
    X(UNIFORM, "uniform", PATTERN, "attention spread evenly over the keys seen")                   \
    X(IDENTITY, "identity", PATTERN, "attention on the query itself")                              \
    X(TO, "to", PATTERN, "all attention to key=")                                                  \
    X(PREVIOUS, "previous", PATTERN, "all attention to the token before")                          \
    X(RESAMPLE, "resample", Z, "by what it is in another prompt, drawn with seed=")                \
    X(BLOCK, "block", PATTERN, "keys masked")                                                      \
    X(WINDOW, "window", PATTERN, "attention to the first sinks= and last recent= keys only")       \
    X(BIAS, "bias", SCORES, "by= added to the scores")

enum hw_replacement {
#define HW_REPLACEMENT_ENUM(id, word, point, text) HW_REPLACE_##id,
    HW_REPLACEMENTS(HW_REPLACEMENT_ENUM)
#undef HW_REPLACEMENT_ENUM
        HW_N_REPLACEMENTS
};

enum hw_edit_target {
    HW_TARGET_NONE, // an arm of a sweep: the target comes later (hw_edit_aim)
    HW_TARGET_HEAD, // query heads
    HW_TARGET_KV,   // key/value heads with all their query heads
    HW_TARGET_ATTN, // what the attention of a layer adds to the stream
    HW_TARGET_MLP,
    HW_TARGET_NEURON,
    HW_TARGET_CHANNEL
};

enum hw_edit_point {
    HW_POINT_Z,
    HW_POINT_PATTERN,
    HW_POINT_SCORES,
    HW_POINT_VALUE,
    HW_POINT_SITE // of attn=, mlp=, neuron=, channel=: the site field
};

struct hw_edit {
    char *spec; // canonical, as it is recorded; of a preset: what it expands to
    enum hw_replacement replacement;
    enum hw_edit_target target;
    enum hw_edit_point point;
    bool *heads;  // [n_layers, n_heads] HEAD and KV (all query heads of each), and attn= at a point
                  // other than SITE
    bool *layers; // [n_layers] every layer that the edit touches
    size_t unit;  // the first neuron or channel ...
    size_t n_units;            // ... and how many from there on
    enum hw_site site;         // where point is SITE
    struct hw_positions *rows; // rows= or query=; NULL: all
    struct hw_positions *keys; // key= of edges; NULL: all
    size_t key;                // key= of `to`
    float amount;              // by=, value=
    bool is_renormalised;
    size_t n_sinks, n_recent;
    bool is_cache_form; // positions=cache
    uint64_t seed;
    char *source; // path of a capture; NULL: none
    char *group;  // row of /means; NULL: the prompt's own
};

// Presets, named after the reference that does it.
struct hw_edit_preset {
    const char *name;
    const char *expands_to; // with %s where the target goes
    const char *reference;  // paper and what it does, one line
};
extern const struct hw_edit_preset hw_edit_presets[]; // ends with a NULL name

// Parses and checks one spec. HW_USAGE names the part that does not exist or means nothing, and why
// (HW_INPUT for @FILE). With is_arm the target may be left out. *ret_edit is freed with
// hw_edit_close.
enum hw_status hw_edit_parse(const char *spec, const struct hw_model_desc *desc, bool is_arm,
                             struct hw_edit **ret_edit, struct hw_error *err);
void hw_edit_close(struct hw_edit **edit);

// A copy of an arm with a target: heads [n_layers, n_heads] (HEAD, KV) or layers [n_layers] (ATTN,
// MLP) selected. HW_USAGE where the replacement means nothing there.
enum hw_status hw_edit_aim(const struct hw_edit *arm, const struct hw_model_desc *desc,
                           enum hw_edit_target target, const bool *selected,
                           struct hw_edit **ret_edit, struct hw_error *err);

// Whether the edit takes values from elsewhere (mean, position_mean, from, resample), and at which
// site: V, Z, ATTN_OUT, MLP_POST, MLP_OUT or a point of the residual stream.
bool hw_edit_has_source(const struct hw_edit *edit, enum hw_site *ret_site);

// Values for a source edit at its site in a layer: whole rows of the site, [position or 1, width of
// the site]; ld 0: one row for all positions; a row that is not there counts as "left as it is".
struct hw_edit_values {
    const float *rows;
    size_t ld;
    size_t n_positions;
};

struct hw_edit_context {
    const struct hw_model_desc *desc;
    const struct hw_prompt *prompt;
    size_t n_positions; // tokens of the prompt and those that may be generated
    // Of source edits; *ret_values stays valid while the changes are used. NULL: there are none.
    enum hw_status (*values)(void *self, const struct hw_edit *edit, size_t layer,
                             struct hw_edit_values *ret_values, struct hw_error *err);
    void *self;
};

// Compiles edits, acting in the order of the forward pass and then as given, for one prompt, into
// memory of the arena, which may be a measuring one (then only sizes are taken). HW_USAGE where a
// row set or key set selects nothing in this prompt (a span that it lacks): the message names it.
enum hw_status hw_edits_compile(const struct hw_edit *const *edits, size_t n_edits,
                                const struct hw_edit_context *context, struct hw_arena *arena,
                                struct hw_changes *ret_changes, struct hw_error *err);

#endif
