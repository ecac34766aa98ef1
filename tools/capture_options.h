// What `headwater capture` opens before it runs, and how it describes itself: model, tokenizer,
// prompts, plan, manifest, provenance.
#ifndef HW_CAPTURE_OPTIONS_H
#define HW_CAPTURE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "formats/prompts.h"
#include "formats/run.h"
#include "formats/tokenizer.h"
#include "probes/plan.h"
#include "tools/command.h"
#include "tools/inputs.h"

struct capture_options {
    struct hw_input_options input;
    struct hw_strings records;
    struct hw_strings edits;
    const char *means_by;
    bool means_per_position;
    const char *positions;
    const char *attribution_at;
    int detail;
    uint64_t top;
    uint64_t offsets;
    int attention_dtype;
    int activation_dtype;
    uint64_t generate;
    const char *stop;
    const char *out;
    bool overwrite;
    struct hw_strings labels;
    uint64_t commit_every;
    const char *shard;
    bool estimate;
    int kernels;
    const char *fault;
};

enum { HW_MAX_PROVENANCE = 40 };

struct capture_setup {
    struct hw_model *model;
    char *stop;                     // of --stop, what \\n stands for put in; NULL: none
    struct hw_tokenizer *tokenizer; // NULL: the prompts are token ids and the model has none
    struct hw_prompts prompts;
    struct hw_edit **edits; // [n_edits]
    size_t n_edits;
    char *edits_json; // their specs; NULL: none
    char *hash_folder;
    struct hw_edit_run *edit_run; // NULL: none
    struct hw_plan plan;
    bool has_plan;
    char model_sha256[65];
    char tokenizer_sha256[65];
    char prompts_sha256[65];
    // Text behind the pointers of a run's options.
    json_t *manifest;
    char *model_metadata;
    char *config;
    char *kernels;
    char *command_line;
    struct hw_provenance_item provenance[HW_MAX_PROVENANCE];
    size_t n_provenance;
    char numbers[8][32];
};

// Opens everything up to the plan.
enum hw_status hw_capture_setup(const struct hw_invocation *in, struct capture_setup *setup,
                                struct hw_error *err);
void hw_capture_teardown(struct capture_setup *setup);

// Parses the edits, opens what they take values from and compiles them for every prompt (into
// setup, whose model, tokenizer and prompts are open), so that nothing runs that cannot.
enum hw_status hw_capture_edits_open(const struct hw_invocation *in, struct capture_setup *setup,
                                     struct hw_error *err);
void hw_capture_edits_close(struct capture_setup *setup);

// Fills the options of the run; they point into setup.
enum hw_status hw_capture_describe(const struct hw_invocation *in, struct capture_setup *setup,
                                   struct hw_run_options *ret_run, struct hw_error *err);

enum hw_status hw_capture_print_estimate(const struct hw_invocation *in,
                                         const struct capture_setup *setup, struct hw_error *err);

#endif
