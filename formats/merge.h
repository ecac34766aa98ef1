// Many captures into one: the parts of a run, or finished captures.
//
// The result does not depend on where parts ended: map tiles are copied as they are, token axes
// streamed and compressed anew, token_start recomputed. It appears by temporary file and rename.
#ifndef HW_MERGE_H
#define HW_MERGE_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/status.h"

struct hw_merge_options {
    const char *out_path;
    bool is_virtual;   // a master that refers to the parts, which stay
    bool is_overwrite; // over a capture that is there, by the last rename
    bool is_unchecked; // the caller has just checked the parts' hashes
    int n_threads;
};

// RUN.h5.parts/ of which every prompt is committed. Removes the folder when the merged file is in
// place (not for a master). HW_INPUT: prompts are missing, parts overlap or are not what the
// journal says; HW_OUTPUT as hw_run_open.
enum hw_status hw_merge_folder(const char *folder, const struct hw_merge_options *options,
                               struct hw_error *err);

// Captures of the same layout (the longest prompt may differ), in this order. Prompts are numbered
// through where their numbers do not rise. Documents and vocabulary are those of the first.
enum hw_status hw_merge_captures(const char *const *paths, size_t n_paths,
                                 const struct hw_merge_options *options, struct hw_error *err);

#endif
