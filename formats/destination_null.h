// A destination that only counts bytes: the estimate of a run, and benchmarks without a disk.
#ifndef HW_DESTINATION_NULL_H
#define HW_DESTINATION_NULL_H

#include <stdint.h>

#include "formats/destination.h"
#include "formats/prompt_rows.h"

struct hw_destination_null {
    struct hw_destination base;
    struct hw_prompt_rows rows;
    uint64_t n_bytes; // appended so far, before compression
};

// The layout must outlive it. HW_RESOURCE without memory.
enum hw_status hw_destination_null_open(struct hw_destination_null *null,
                                        const struct hw_layout *layout, struct hw_error *err);
void hw_destination_null_close(struct hw_destination_null *null);

#endif
