// A part: the capture of some prompts in a row, a complete HDF5 file of its own, committed in one
// step.
//
// A part that the plan puts below 64 MB is built in memory and written in one go, so that a full
// disk is an ordinary error; a larger one goes through a temporary file. The protocol: build, write
// part-<first>.<pid>.<host>.tmp, fsync, rename to part-<first>-<last>.h5 (never replacing), fsync
// the folder; then the caller's journal. Until commit returns nothing of it counts.
#ifndef HW_PART_H
#define HW_PART_H

#include <stddef.h>
#include <stdint.h>

#include "formats/destination.h"
#include "formats/trace_file.h"
#include "kernels/status.h"

enum { HW_PART_MEMORY_BYTES = 64 << 20 };

struct hw_part;

struct hw_part_options {
    const char *folder;
    const struct hw_layout *layout;         // outlives the part
    const struct hw_provenance *provenance; // outlives the part
    int32_t first_prompt;
    int n_threads;          // of the team that compresses
    uint64_t planned_bytes; // before compression
    uint64_t memory_bytes;  // a part planned below this is built in memory; 0: HW_PART_MEMORY_BYTES
};

// A part that was committed.
struct hw_part_info {
    int32_t first;
    int32_t last; // inclusive
    uint64_t n_bytes;
    char sha256[65];
};

enum hw_status hw_part_open(const struct hw_part_options *options, struct hw_part **ret_part,
                            struct hw_error *err);
// Throws away what was not committed.
void hw_part_close(struct hw_part **part);

// What goes into a part.
struct hw_part_content {
    size_t n_prompts;
    size_t n_tokens;      // in all
    uint64_t n_tiles;     // of maps, those above the diagonal counted
    uint64_t empty_bytes; // of planned_bytes: tiles above the diagonal, which share one chunk
};
// Memory that a part with these options takes: rows waiting for their chunk, chunks waiting for
// the writer, the image. Of a part that is not built in memory, each slab must get its rows in one
// go, as from one prompt.
uint64_t hw_part_memory_bytes(const struct hw_part_options *options,
                              const struct hw_part_content *content);

struct hw_destination *hw_part_base(struct hw_part *part);
size_t hw_part_n_prompts(const struct hw_part *part); // ended so far

// Commits the prompts that ended (at least one, none running) and closes the part in any case.
// HW_OUTPUT: nothing of it is left.
enum hw_status hw_part_commit(struct hw_part **part, struct hw_part_info *ret_info,
                              struct hw_error *err);

// Name of a part's file in its folder; the caller frees it. NULL without memory.
char *hw_part_path(const char *folder, int32_t first, int32_t last);

#endif
