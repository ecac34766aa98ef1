// What a run records: from --record options to the layout of the capture.
#ifndef HW_RECORD_H
#define HW_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/prompts.h"
#include "formats/schema.h"
#include "kernels/status.h"
#include "tracer/model.h"

enum { HW_MAX_SPANS = 64, HW_MAX_RANK = 64, HW_MAX_MEAN_GROUPS = 4096 };

struct hw_record_options {
    const char *const *records; // texts of --record, NAME[,NAME...][:HEADS]; none: default
    size_t n_records;
    size_t n_rank;    // --top: state_top, next_top, attention_top
    size_t n_offsets; // --offsets
    size_t max_generate;
    const char *means_by; // key of the prompts' objects that groups /means; NULL: one group
    bool is_means_by_position;
    bool is_detail_prompt;
    enum hw_element attention_element;  // F4, F2, U2: maps and decode rows
    enum hw_element activation_element; // F4, F2: activations, logits, vectors
    bool keeps_token_text;
    bool keeps_prompt_text;
};

// A layout and the memory behind its pointers.
struct hw_recording {
    struct hw_layout layout;
    void *memory;
    char **mean_groups; // behind the layout's
};

// HW_USAGE names the record, selector or combination that does not exist, and what does. Prompts
// give the span names and the longest prompt.
enum hw_status hw_recording_open(const struct hw_model_desc *desc, const struct hw_prompts *prompts,
                                 const struct hw_record_options *options,
                                 struct hw_recording *ret_recording, struct hw_error *err);
void hw_recording_close(struct hw_recording *recording);

#endif
