// A run: the folder RUN.h5.parts beside the output, from the first block of prompts to the merged
// file. The protocol (docs/file-format.md): manifest, parts committed by rename, journal, merge; a
// run that was killed at any moment continues where it stopped.
#ifndef HW_RUN_H
#define HW_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "formats/destination.h"
#include "formats/schema.h"
#include "formats/tokenizer.h"
#include "kernels/status.h"

// A line of text that goes to /provenance as an attribute.
struct hw_provenance_item {
    const char *name;
    const char *value;
};

struct hw_run_options {
    const char *out_path; // RUN.h5
    const struct hw_layout *layout;
    const json_t *manifest; // object: everything that changes results; what differs from the
                            // manifest of an earlier run is refused by name
    const struct hw_provenance_item *provenance; // of this invocation
    size_t n_provenance;
    const char *model_metadata_json; // scalar strings of /provenance
    const char *config_json;
    const char *kernels_json;
    const char *const *labels; // "key=value" each
    size_t n_labels;
    const struct hw_tokenizer *tokenizer; // for /vocabulary; NULL: none
    size_t n_prompts;
    size_t commit_every; // prompts a part at most
    size_t shard;        // this worker, 0-based, takes blocks b with b mod n_shards = shard
    size_t n_shards;     // 1: alone, and the run ends with the merged file
    int n_threads;
    uint64_t part_image_bytes; // a part planned below this is built in memory
    bool is_overwriting; // a capture at out_path stays until the last rename puts this one over it;
                         // a folder of the same run goes on, of another one starts anew
};

struct hw_run;

// Opens or resumes. *ret_is_complete: a finished run with the same manifest is there already,
// nothing is left to do and *ret_run is NULL. HW_OUTPUT: exists, locked by another process (its
// pid), belongs to another run (the field that differs), or cannot be written. Under is_overwriting
// a run is there only where it came of the folder that is still there.
enum hw_status hw_run_open(const struct hw_run_options *options, struct hw_run **ret_run,
                           bool *ret_is_complete, struct hw_error *err);

// The next range of prompts [first, end) that is not committed yet; false: none is left.
bool hw_run_next(const struct hw_run *run, size_t *ret_first, size_t *ret_end);
// Whether this worker still has to run that prompt.
bool hw_run_is_left(const struct hw_run *run, size_t prompt);
size_t hw_run_n_done(const struct hw_run *run); // prompts committed, earlier invocations counted

// Begins a part at prompt `first`; planned_bytes is the size its rows will have uncompressed. The
// destination lives until the part is committed or dropped.
enum hw_status hw_run_begin_part(struct hw_run *run, size_t first, uint64_t planned_bytes,
                                 struct hw_destination **ret_destination, struct hw_error *err);
// Commits what was ended so far, prompts [first, end). HW_OUTPUT keeps every part committed before.
enum hw_status hw_run_commit_part(struct hw_run *run, size_t end, struct hw_error *err);
void hw_run_drop_part(struct hw_run *run);

// With n_shards = 1: merges, renames, removes the folder. The message of a failure says what is
// kept.
enum hw_status hw_run_finish(struct hw_run *run, struct hw_error *err);
void hw_run_close(struct hw_run **run);

#endif
