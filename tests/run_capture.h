// Captures into memory, for tests: a model, prompts as token ids, records; then the rows by
// dataset, slab and prompt. Everything asserts that it succeeds.
//
// A slab is an index on the recorded layer or depth axis of the dataset, 0 where it has none.
#ifndef HW_RUN_CAPTURE_H
#define HW_RUN_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/destination_memory.h"
#include "formats/prompts.h"
#include "formats/tokenizer.h"
#include "probes/engine.h"
#include "probes/record.h"
#include "tracer/model.h"

enum { RUN_MAX_RECORDS = 24 };

struct run_options {
    const char *records[RUN_MAX_RECORDS]; // texts of --record, NULL ends them; none: default
    enum hw_level level;
    int n_threads;    // 0: 1
    size_t n_rank;    // 0: 4
    size_t n_offsets; // 0: 16
    size_t max_generate;
    bool is_detail_prompt;
    enum hw_element attention_element; // F4 where not said
    enum hw_element activation_element;
    const char *positions; // of /activations and /logits; NULL: all
    const struct hw_tokenizer *tokenizer;
    const char *stop;
    const char *means_by;
    bool is_means_by_position;
    void (*progress)(void *self, size_t n_tokens);
    void *progress_self;
};

struct run {
    const struct hw_model *model;
    const struct hw_prompts *prompts;
    struct hw_recording recording;
    struct hw_destination_memory *memory;
    struct hw_mean_sums means; // behind the layout's
};

// A folder or file of tests/golden/models.
struct hw_model *run_model(const char *name);

// Prompts are numbered in the order in which they are added; ids are copied.
void run_prompts_add(struct hw_prompts *prompts, const uint32_t *ids, size_t n);
// To the prompt that was added last.
void run_prompts_add_span(struct hw_prompts *prompts, const char *name, int32_t first, int32_t end);
void run_prompts_free(struct hw_prompts *prompts);

void run_capture(const struct hw_model *model, const struct hw_prompts *prompts,
                 const struct run_options *options, struct run *ret_run);
void run_close(struct run *run);

// The same into a part in the folder; the caller frees its path.
char *run_capture_part(const struct hw_model *model, const struct hw_prompts *prompts,
                       const struct run_options *options, const char *folder);

size_t run_n_slabs(const struct run *run, enum hw_dataset dataset);
// Values of one row.
size_t run_width(const struct run *run, enum hw_dataset dataset);
// Rows of one prompt; for datasets along steps, events and span rows all rows.
const void *run_rows(const struct run *run, enum hw_dataset dataset, size_t slab, size_t prompt,
                     size_t *ret_n);
// The same for float datasets, and one value of them.
const float *run_floats(const struct run *run, enum hw_dataset dataset, size_t slab, size_t prompt);
const int32_t *run_ints(const struct run *run, enum hw_dataset dataset, size_t slab, size_t prompt);

// Tokens of a prompt in the capture, generated ones counted.
size_t run_n_tokens(const struct run *run, size_t prompt);

// Values of means of one group and slab, whole: [...] or [n_mean_positions, ...].
const float *run_means(const struct run *run, enum hw_dataset dataset, size_t group, size_t slab);

// An f32 map of the prompt's text as [T, T], NaN above the diagonal; false where there is none.
// layer and head are indices on the recorded axes.
bool run_map(const struct run *run, enum hw_dataset dataset, size_t prompt, size_t layer,
             size_t head, float *ret_map);

// What an observer of its own sees at one site: [n, width], which the caller frees.
float *run_site(const struct hw_model *model, const struct hw_prompt *prompt, enum hw_level level,
                enum hw_site site, size_t layer, size_t *ret_width);

#endif
