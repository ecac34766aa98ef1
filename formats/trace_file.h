// The structure of a capture file being written: groups, datasets, dimension scales, attributes.
// Parts, merged captures and virtual masters are all made by this, so they have the same layout.
//
// Datasets are created on demand, either growing (a part does not know how many rows come) or with
// their final lengths. finish creates the scales, attaches every axis of every dataset (readers of
// netCDF refuse a group in which one is missing), and writes what the layout itself says. Only the
// thread that owns HDF5 calls these.
#ifndef HW_TRACE_FILE_H
#define HW_TRACE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hdf5.h>
#include <jansson.h>

#include "formats/h5.h"
#include "formats/schema.h"
#include "kernels/status.h"

// Lengths of the axes that grow with prompts, and of the vocabulary.
struct hw_trace_lengths {
    size_t n_prompts;
    size_t n_tokens[HW_N_GROUPS]; // the token axis of each group
    size_t n_steps;
    size_t n_events;
    size_t n_span_rows;
    size_t n_ids;
    size_t n_vocabulary_bytes;
};

// The vocabulary as /vocabulary stores it.
struct hw_vocabulary {
    size_t n_ids;
    const char *const *text;   // [n_ids] printable, UTF-8
    const uint8_t *type;       // [n_ids] 0 ordinary, 1 special
    const uint8_t *bytes;      // [byte_start[n_ids]]
    const int64_t *byte_start; // [n_ids + 1]
};

// What a file says of its run. Objects hold strings, integers, reals and booleans, each an
// attribute.
struct hw_provenance {
    const json_t
        *root_attributes;     // title, history, tool_version, run_id, date_created, label_* ...
    const json_t *attributes; // of /provenance: command_line, threads, model_* ...
    // Documents, for the merged file; NULL: none.
    const char *config_json;
    const char *model_metadata_json;
    const char *edits_json;
    const char *kernels_json;
};

enum { HW_CHUNK_BYTES = 1 << 20 }; // a chunk has more only where one row has

struct hw_trace_file {
    hid_t file;
    hid_t groups[HW_N_GROUPS];
    hid_t datasets[HW_N_DATASETS];
    const struct hw_layout *layout;
    bool is_growing;
    struct hw_trace_lengths lengths; // where not growing
    hsize_t extents[HW_N_DATASETS];  // of the first axis, of the growing ones
    int n_scales;
};

// Chunk of a dataset, and whether it is filtered. is_contiguous: no chunks at all. `dims` as
// created, 0 for a growing axis.
struct hw_trace_chunk {
    bool is_contiguous;
    bool is_filtered;
    hsize_t dims[HW_MAX_AXES];
};
void hw_trace_chunk_choose(const struct hw_layout *layout, enum hw_dataset dataset,
                           const hsize_t *dims, bool is_growing, struct hw_trace_chunk *ret_chunk);

// Length of an axis of a group; those of lengths for the growing ones.
size_t hw_trace_axis(const struct hw_layout *layout, const struct hw_trace_lengths *lengths,
                     enum hw_group group, enum hw_axis axis);

// At path (never over a file), or in memory where path is NULL; then closing leaves its bytes in
// *image. lengths NULL: growing.
enum hw_status hw_trace_file_create(const char *path, struct hw_h5_image *image,
                                    const struct hw_layout *layout,
                                    const struct hw_trace_lengths *lengths,
                                    struct hw_trace_file *ret_file, struct hw_error *err);
// Closes a file with everything in it written: a full disk shows itself here at the latest.
// HW_OUTPUT. Nothing is open afterwards in any case.
enum hw_status hw_trace_file_complete(struct hw_trace_file *file, const char *path,
                                      struct hw_error *err);
// Closes what is open.
void hw_trace_file_close(struct hw_trace_file *file);

// Creates a dataset with all its attributes. lengths: those of the file where it is not growing,
// else as known by now. `creation`: property list to start from (virtual layout), or H5P_DEFAULT.
enum hw_status hw_trace_file_create_dataset(struct hw_trace_file *file, enum hw_dataset dataset,
                                            const struct hw_trace_lengths *lengths, hid_t creation,
                                            struct hw_error *err);
// Grows the first axis to n rows, never shrinks it.
enum hw_status hw_trace_file_extend(struct hw_trace_file *file, enum hw_dataset dataset, size_t n,
                                    struct hw_error *err);

// Everything but the rows: datasets that the layout alone fills, missing empty ones, scales, root
// attributes, /provenance attributes. prompts [n_prompts]: the prompt coordinate.
struct hw_trace_ending {
    const struct hw_trace_lengths *lengths;
    const int32_t *prompts;
    const struct hw_provenance *provenance;
    uint64_t n_massive_dropped;
    bool is_complete;
    size_t n_parts;
};
enum hw_status hw_trace_file_finish(struct hw_trace_file *file,
                                    const struct hw_trace_ending *ending, struct hw_error *err);

// The documents of /provenance and /vocabulary (trace_ending.c). A document that is NULL is left
// out.
enum hw_status hw_trace_file_write_documents(struct hw_trace_file *file,
                                             const struct hw_provenance *provenance,
                                             const char *parts_json, const char *manifest_json,
                                             struct hw_error *err);
enum hw_status hw_trace_file_write_vocabulary(struct hw_trace_file *file,
                                              const struct hw_vocabulary *vocabulary,
                                              struct hw_error *err);

// Scales and attributes of one group (trace_scales.c): creates a scale for every axis that its
// datasets have and attaches them all.
enum hw_status hw_trace_file_attach_scales(struct hw_trace_file *file, enum hw_group group,
                                           const struct hw_trace_lengths *lengths,
                                           const int32_t *prompts, struct hw_error *err);
// Attributes of a json object, each as its type says.
enum hw_status hw_trace_set_attributes(hid_t object, const json_t *attributes,
                                       struct hw_error *err);

#endif
