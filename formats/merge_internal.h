// Inside of merge: the sources (merge.c), copying their rows (merge_copy.c), referring to them
// (merge_virtual.c).
#ifndef HW_MERGE_INTERNAL_H
#define HW_MERGE_INTERNAL_H

#include "formats/mean_sums.h"
#include "formats/merge.h"
#include "formats/trace_file.h"
#include "formats/trace_reader.h"
#include "formats/trace_streams.h"

struct hw_merge_source {
    char *path;
    char *name; // as the master refers to it: relative to the master's folder
    char sha256[65];
    uint64_t n_bytes;
    int32_t first; // prompt coordinates as they will be
    int32_t last;
    int32_t shift;                   // added to prompt numbers
    struct hw_trace_lengths lengths; // of this source
};

struct hw_merge {
    struct hw_merge_options options;
    struct hw_merge_source *sources;
    size_t n_sources;
    bool is_trusted;         // sources were checked: no child processes
    struct hw_trace *first;  // kept open: its layout is that of all
    struct hw_layout layout; // the first's, with the longest prompt of all
    struct hw_trace_lengths lengths;
    int32_t *prompts; // [lengths.n_prompts]
    uint64_t n_massive_dropped;
    char **mean_groups; // [layout.n_mean_groups] of all sources, in the order they first appear
    char *means_by;
    struct hw_mean_sums means; // of all sources
};

// Datasets whose values are rows or prompts of the whole file, and are added to on the way.
int64_t hw_merge_addend(const struct hw_merge_source *source, const struct hw_trace_lengths *before,
                        enum hw_dataset dataset);
// Whether a dataset's rows come from the sources: not what the layout alone says, nor vocabulary
// and documents.
bool hw_merge_is_copied(const struct hw_layout *layout, enum hw_dataset dataset);

// Rows of a numeric dataset of one source, addend applied; [n, inner] in *ret_rows (grown as
// needed).
struct hw_merge_rows {
    int64_t addend; // to every value
    void *data;
    size_t n_bytes;
};
enum hw_status hw_merge_read_rows(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                  size_t first, size_t n, struct hw_merge_rows *rows,
                                  struct hw_error *err);

// Copies everything of one source. prompt_row and before: what the sources before it had.
enum hw_status hw_merge_copy_source(struct hw_trace *trace, const struct hw_merge_source *source,
                                    const struct hw_trace_lengths *before,
                                    struct hw_trace_streams *streams, struct hw_error *err);
// Groups and positions of a source's means into the layout of the merge; HW_INPUT where they are
// grouped by another key.
enum hw_status hw_merge_note_means(struct hw_merge *merge, struct hw_trace *trace,
                                   struct hw_error *err);
// Sums of means of all sources, and their means, into merge->means, where the layout has them.
enum hw_status hw_merge_add_means(struct hw_merge *merge, struct hw_trace *trace,
                                  struct hw_error *err);
// All datasets of a master.
enum hw_status hw_merge_refer(struct hw_merge *merge, struct hw_trace_file *file,
                              struct hw_error *err);

// The steps of a merge: open every source once; write the file and put it in place; free.
enum hw_status hw_merge_survey(struct hw_merge *merge, struct hw_error *err);
enum hw_status hw_merge_produce(struct hw_merge *merge, struct hw_trace *common,
                                const struct hw_provenance *provenance, const char *manifest_json,
                                struct hw_error *err);
void hw_merge_close(struct hw_merge *merge);

#endif
