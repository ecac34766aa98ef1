// Inside of edit_source: needs and what they share (edit_source.c), other prompts that are run
// (edit_source_runs.c), means (edit_source_means.c), captures (edit_source_capture.c).
#ifndef HW_EDIT_SOURCE_INTERNAL_H
#define HW_EDIT_SOURCE_INTERNAL_H

#include <stdbool.h>

#include "formats/trace_reader.h"
#include "probes/collect.h"
#include "probes/edit_source.h"
#include "probes/means.h"

// Names of groups, and the group of each prompt.
struct hw_source_groups {
    char **names;
    size_t n;
    size_t *of; // [n_prompts]
};

// A capture that values are taken from.
struct hw_source_capture {
    char *path;
    char *run_id;
    struct hw_trace *trace;
    size_t *prompt_of; // [n_prompts] its index of each prompt of ours, by the tokens; of `from`
};

// Prompts that are run before each prompt: its counterpart, or one drawn for it.
struct hw_source_run {
    bool is_resample;
    uint64_t seed;
    uint32_t **ids; // [n_prompts] counterparts, owned; NULL where is_resample
    size_t *drawn;  // [n_prompts] where is_resample
    uint32_t *watch;
    struct hw_collect *collect;
};

// Values of one kind: everything that edits of the same key read.
struct hw_source_need {
    enum hw_replacement replacement; // MEAN, POSITION_MEAN, FROM, RESAMPLE
    enum hw_site site;
    char *source; // path of a capture; NULL: none
    uint64_t seed;
    char *spec;   // of the first edit that needs it, for messages
    bool *layers; // [n_layers]
    bool *heads;  // [n_layers, heads of the site]; of sites without heads: all of a layer or none
    size_t width; // floats of a row
    // Where values come from.
    struct hw_source_capture *capture; // NULL: the prompts given
    enum hw_group from;                // of the capture: ACTIVATIONS, or MEANS taken as they are
    struct hw_source_run *run;         // of FROM and RESAMPLE without a capture
    // Of means: groups, sums while adding, then means [n_groups, n_rows, width] of each layer.
    struct hw_source_groups groups;
    const char *means_by; // key of the groups
    bool uses_own_group;  // an edit takes the group of the prompt
    size_t n_rows;
    size_t *n_counted;      // [n_groups] positions
    struct hw_means **sums; // [n_layers]
    // [n_layers] means, or of FROM with a capture the rows of the running prompt.
    float **rows;
};

struct hw_edit_sources {
    struct hw_edit_source_options options;
    const struct hw_model_desc *desc;
    size_t n_prompts;
    size_t longest; // prompt, in tokens
    struct hw_source_need *needs;
    size_t n_needs;
    struct hw_source_capture *captures;
    size_t n_captures;
    struct hw_source_run *runs;
    size_t n_runs;
    size_t prompt;   // that hw_edit_sources_prompt was called for
    uint32_t *watch; // [n_layers + 1] of the pass over all prompts; all 0: there is none
};

static inline bool hw_source_is_mean(const struct hw_source_need *need) {
    return need->replacement == HW_REPLACE_MEAN || need->replacement == HW_REPLACE_POSITION_MEAN;
}

// Prompt `p` with its number and name in front of a message.
enum hw_status hw_source_fail_prompt(const struct hw_edit_sources *sources,
                                     const struct hw_source_need *need, size_t p,
                                     struct hw_error *err);

// Runs (edit_source_runs.c).
enum hw_status hw_source_run_open(struct hw_edit_sources *sources, struct hw_source_need *need,
                                  struct hw_error *err);
void hw_source_run_close(struct hw_source_run *run, size_t n_prompts);
enum hw_status hw_source_run_prompt(struct hw_edit_sources *sources, struct hw_source_run *run,
                                    struct hw_session *session, size_t prompt,
                                    struct hw_error *err);

// Means over the prompts given (edit_source_means.c).
enum hw_status hw_source_groups_of_prompts(struct hw_edit_sources *sources,
                                           struct hw_source_need *need, struct hw_error *err);
// The number of a name, SIZE_MAX: there is none.
size_t hw_source_group_find(const struct hw_source_groups *groups, const char *name);
// Adds the name where it is new. HW_RESOURCE.
enum hw_status hw_source_group_add(struct hw_source_groups *groups, const char *name,
                                   size_t *ret_group, struct hw_error *err);
void hw_source_groups_close(struct hw_source_groups *groups);
size_t hw_source_means_bytes(const struct hw_edit_sources *sources,
                             const struct hw_source_need *need);
enum hw_status hw_source_means_open(struct hw_source_need *need, size_t n_layers,
                                    struct hw_error *err);
// Adds rows of a prompt of the group.
enum hw_status hw_source_means_add(struct hw_source_need *need, size_t layer, size_t group,
                                   size_t first, size_t n, const float *rows, size_t ld,
                                   struct hw_error *err);
// Turns the sums into means.
enum hw_status hw_source_means_end(struct hw_source_need *need, size_t n_layers,
                                   struct hw_error *err);
enum hw_status hw_source_means_of_prompts(struct hw_edit_sources *sources,
                                          struct hw_session *session,
                                          void (*progress)(void *self, uint64_t done, uint64_t all),
                                          void *self, struct hw_error *err);

// Captures (edit_source_capture.c): opening checks model, record, heads and prompts.
enum hw_status hw_source_capture_open(struct hw_edit_sources *sources, struct hw_source_need *need,
                                      struct hw_error *err);
void hw_source_capture_close(struct hw_source_capture *capture);
enum hw_status hw_source_capture_means(struct hw_edit_sources *sources, struct hw_source_need *need,
                                       struct hw_error *err);
enum hw_status hw_source_capture_prompt(struct hw_edit_sources *sources,
                                        struct hw_source_need *need, size_t prompt,
                                        struct hw_error *err);

#endif
