// manifest.json of a run folder: what the run is, so that only the same run continues it, and what
// a merge needs to know.
#ifndef HW_MANIFEST_H
#define HW_MANIFEST_H

#include <stddef.h>

#include <jansson.h>

#include "formats/trace_file.h"
#include "kernels/status.h"

struct hw_manifest {
    json_t *document;                // the whole file, owned
    const json_t *compared;          // what must be equal
    struct hw_provenance provenance; // points into the document
    size_t n_prompts;
    size_t commit_every;
    size_t n_shards;
};

// Makes one in memory. HW_RESOURCE.
enum hw_status hw_manifest_make(const json_t *compared, const struct hw_provenance *provenance,
                                size_t n_prompts, size_t commit_every, size_t n_shards,
                                struct hw_manifest *ret_manifest, struct hw_error *err);
// HW_INPUT where it is not there or is none.
enum hw_status hw_manifest_read(const char *folder, struct hw_manifest *ret_manifest,
                                struct hw_error *err);
// Puts it in the folder, never over one that is there. HW_OUTPUT.
enum hw_status hw_manifest_write(const struct hw_manifest *manifest, const char *folder,
                                 struct hw_error *err);
void hw_manifest_close(struct hw_manifest *manifest);

// HW_OUTPUT naming the first field that differs, with both values.
enum hw_status hw_manifest_compare(const struct hw_manifest *there,
                                   const struct hw_manifest *wanted, struct hw_error *err);

// What a merged capture keeps of it (n_prompts and what is compared; not how the run was cut into
// parts), from malloc; NULL without memory.
char *hw_manifest_kept_text(const struct hw_manifest *manifest);
// Whether a merged capture that kept `text` is of the same run: HW_OUTPUT naming what differs.
enum hw_status hw_manifest_compare_kept(const char *text, const struct hw_manifest *wanted,
                                        struct hw_error *err);

#endif
