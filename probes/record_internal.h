// How a recording's axes are filled, shared by record.c (what is wanted) and recording.c (what that
// makes of the layout).
#ifndef HW_RECORD_INTERNAL_H
#define HW_RECORD_INTERNAL_H

#include "probes/record.h"

// heads[group]: [n_layers, n_heads] wanted, NULL where the group is not recorded; depths[group]:
// [n_layers + 1].
enum hw_status hw_recording_fill(struct hw_recording *recording, const struct hw_model_desc *desc,
                                 bool *const *heads, bool *const *depths, struct hw_error *err);
// Span names and the longest prompt.
enum hw_status hw_recording_set_prompts(struct hw_recording *recording,
                                        const struct hw_prompts *prompts, size_t max_generate,
                                        struct hw_error *err);
// Groups of means and their positions; HW_USAGE where no prompt has the key, or there are too many.
enum hw_status hw_recording_set_groups(struct hw_recording *recording,
                                       const struct hw_prompts *prompts, const char *means_by,
                                       struct hw_error *err);

#endif
