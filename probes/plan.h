// The plan of a capture: what it records, what it needs, and what it will cost, before anything
// runs.
#ifndef HW_PLAN_H
#define HW_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "formats/prompts.h"
#include "formats/selector.h"
#include "kernels/status.h"
#include "probes/edit_run.h"
#include "probes/engine.h"
#include "probes/record.h"
#include "tracer/model.h"
#include "tracer/session.h"

struct hw_plan_options {
    struct hw_record_options record;
    const char *positions;      // selector of rows for /activations and /logits; NULL: all
    const char *attribution_at; // selector of one position a prompt for /attribution; NULL: last
    int n_threads;
    enum hw_level level;
    size_t part_prompts;             // in a part at most; 0: no limit
    const struct hw_edit_run *edits; // NULL: the model is not changed
    const char *edits_json;          // the list of their specs; lives as long as the plan
};

struct hw_plan {
    struct hw_recording recording;
    struct hw_positions *positions;      // NULL: all
    struct hw_positions *attribution_at; // NULL: the last
    struct hw_session_options session;
    struct hw_engine_config engine;
    size_t n_failed;      // prompts that cannot run
    size_t n_tokens;      // of all prompt texts
    size_t max_generated; // upper bound over all prompts
    // Memory at its peak, bytes.
    size_t weights_bytes; // mapped, touched once and kept by the page cache
    size_t session_bytes;
    size_t engine_bytes;  // of records, sums of means counted
    size_t means_bytes;   // sums of means and the means: what each part has of them
    size_t edit_bytes;    // what edits come to, and what they take from elsewhere
    size_t storage_bytes; // of the largest part: rows waiting for a full chunk, its image
    size_t base_bytes;    // program, libraries, what this process holds already
    size_t peak_bytes;    // sum of these; where the merge needs more than pass, records and output
                          // together, the merge in their place
    // Output, bytes.
    uint64_t
        raw_bytes; // uncompressed; exact but for upper bounds: generated tokens, the table /massive
    uint64_t bounds_bytes; // the part of raw_bytes that is such a bound
    uint64_t file_least;   // expected size of the file, as a range
    uint64_t file_most;
    double flops;   // of the prompts and, as an upper bound, of generation
    double seconds; // a guess: flops over a rate measured for some milliseconds here and now
};

// HW_USAGE where something asked for does not exist. Takes no memory that hw_plan_close does not
// free.
enum hw_status hw_plan_open(const struct hw_model *model, const struct hw_prompts *prompts,
                            const struct hw_plan_options *options, struct hw_plan *ret_plan,
                            struct hw_error *err);
void hw_plan_close(struct hw_plan *plan);

// Uncompressed bytes of one dataset under the plan.
uint64_t hw_plan_dataset_bytes(const struct hw_plan *plan, const struct hw_prompts *prompts,
                               enum hw_dataset dataset);

// Bytes of the map tiles of one prompt of n_tokens, whole tiles counted; 0 where the dataset is not
// recorded.
uint64_t hw_plan_map_bytes(const struct hw_plan *plan, enum hw_dataset dataset, size_t n_tokens);

// How far the part that begins at `first` shall reach: as many prompts before `end` as fit an image
// of image_bytes, at least one. *ret_bytes: its rows, uncompressed.
size_t hw_plan_part_end(const struct hw_plan *plan, const struct hw_prompts *prompts, size_t first,
                        size_t end, uint64_t image_bytes, uint64_t *ret_bytes);

// HW_RESOURCE where the plan does not fit, with the figures and what to change.
enum hw_status hw_plan_check_memory(const struct hw_plan *plan, uint64_t limit_bytes,
                                    struct hw_error *err);

// What other plans need too: multiply-adds a second of the linear op on this machine, measured on a
// square of weights for a few milliseconds; memory of program and libraries with what this process
// holds now; bytes of all weights.
double hw_plan_rate(int n_threads, enum hw_level level);
size_t hw_plan_base_bytes(void);
size_t hw_plan_weights_bytes(const struct hw_model *model);

#endif
