// Rows on their way into a capture file: gathered into chunks, compressed on the team, written by
// the writer's thread.
//
// One buffer per dataset and slab. A buffer that reaches the rows of a chunk becomes a chunk; flush
// compresses what is ready and queues it. Datasets over prompts of a growing file, contiguous ones
// and text are held until finish, when their lengths are known.
#ifndef HW_TRACE_STREAMS_H
#define HW_TRACE_STREAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/codec.h"
#include "formats/trace_file.h"
#include "formats/writer.h"
#include "kernels/status.h"

struct hw_trace_streams;

// The file and the writer must outlive it, and the file is the writer's until finish or close.
enum hw_status hw_trace_streams_open(struct hw_trace_file *file, struct hw_writer *writer,
                                     int n_threads, struct hw_trace_streams **ret_streams,
                                     struct hw_error *err);
void hw_trace_streams_close(struct hw_trace_streams **streams);

// Appends n_rows rows [n_rows, inner...] to (dataset, slab); for text n_rows pointers to strings.
// Copied before it returns.
enum hw_status hw_trace_streams_append(struct hw_trace_streams *streams, enum hw_dataset dataset,
                                       size_t slab, size_t n_rows, const void *rows,
                                       struct hw_error *err);

// The tiles of one map, as hw_destination's append_map has them. place->prompt: row on the prompt
// axis of this file.
enum hw_status hw_trace_streams_append_map(struct hw_trace_streams *streams,
                                           const struct hw_map_place *place, size_t n_tiles_edge,
                                           const void *tiles, struct hw_error *err);
// The tiles above the diagonal, which nobody computes: zeros inside a prompt of n_tokens (scores:
// left unwritten, so NaN). One call a map.
enum hw_status hw_trace_streams_append_upper(struct hw_trace_streams *streams,
                                             const struct hw_map_place *place, size_t n_tokens,
                                             struct hw_error *err);
// An encoded chunk as it is; its data are taken over in any case.
enum hw_status hw_trace_streams_append_raw(struct hw_trace_streams *streams,
                                           enum hw_dataset dataset, const hsize_t *offset,
                                           const struct hw_codec_chunk *chunk,
                                           struct hw_error *err);

// Compresses and queues all full chunks.
enum hw_status hw_trace_streams_flush(struct hw_trace_streams *streams, struct hw_error *err);
// Writes everything that is left and waits for the writer. Rows must agree with the lengths.
enum hw_status hw_trace_streams_finish(struct hw_trace_streams *streams,
                                       const struct hw_trace_lengths *lengths,
                                       struct hw_error *err);

enum { HW_READY_BYTES = 8 << 20 }; // ready chunks beyond this do not wait for flush

// What the streams of a growing file hold of n_prompts prompts with n_tokens tokens in all, bytes.
struct hw_trace_load {
    uint64_t waiting_bytes; // rows after the last full chunk
    uint64_t text_bytes;    // strings, kept until close
    uint64_t chunk_bytes;   // a chunk of every dataset and slab: what finish makes of the rest
};
struct hw_trace_load hw_trace_streams_load(const struct hw_layout *layout, size_t n_prompts,
                                           size_t n_tokens);
// Ready chunks and the codec's memory, at most.
uint64_t hw_trace_streams_working_bytes(const struct hw_trace_load *load, int n_threads);

#endif
