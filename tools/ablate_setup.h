// What `headwater ablate` opens before it runs: model, prompts, units, arms, sources, plan.
#ifndef HW_ABLATE_SETUP_H
#define HW_ABLATE_SETUP_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "analysis/ablation.h"
#include "tools/command.h"
#include "tools/inputs.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ablate_options {
    struct hw_input_options input;
    const char *heads;
    const char *kv_heads;
    const char *attn;
    const char *mlp;
    const char *groups;
    bool only;
    const char *cumulative;
    uint64_t random_controls;
    uint64_t seed;
    struct hw_strings edits;
    const char *metric;
    const char *positions;
    const char *means_by;
    uint64_t generate;
    uint64_t top;
    const char *out;
    bool overwrite;
    bool estimate;
    uint64_t batch;
    int kernels;
    const char *fault;
};

struct ablate_setup {
    struct hw_inputs inputs;
    bool wanted[HW_N_METRICS];
    struct hw_positions *positions; // NULL: the metric's own
    struct hw_edit **arms;          // [n_arms]
    size_t n_arms;
    struct hw_sweep_units units;
    struct hw_ablation ablation;
    char *hash_folder;
    struct hw_edit_sources *sources; // NULL: no edit has one
    struct hw_sweep_options sweep;
    struct hw_sweep_plan plan;
    size_t n_failed; // prompts that could not be read
    size_t n_tokens;
    double flops;
    double seconds;
    uint64_t weights_bytes;
    uint64_t base_bytes;
    uint64_t peak_bytes;
    char model_sha256[65];
    char tokenizer_sha256[65];
    char prompts_sha256[65];
    json_t *manifest;
    char *kernels;
    char *command_line;
};

enum hw_status hw_ablate_setup(const struct hw_invocation *in, struct ablate_setup *setup,
                               struct hw_error *err);
void hw_ablate_teardown(struct ablate_setup *setup);

enum hw_status hw_ablate_print_estimate(const struct hw_invocation *in,
                                        const struct ablate_setup *setup, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
