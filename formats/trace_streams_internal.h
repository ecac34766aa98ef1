// Inside of trace_streams: rows (trace_streams.c), chunks and their jobs (trace_chunks.c).
#ifndef HW_TRACE_STREAMS_INTERNAL_H
#define HW_TRACE_STREAMS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/codec.h"
#include "formats/trace_streams.h"
#include "kernels/attention.h"

// Rows of one (dataset, slab) that are in no chunk yet.
struct hw_row_buffer {
    unsigned char *rows; // text: char *, owned
    size_t n_rows;
    size_t capacity_bytes;
    size_t n_emitted; // rows that left for chunks
};

struct hw_row_stream {
    struct hw_row_buffer *buffers; // [n_slabs], NULL: not in this file
    size_t n_slabs;
    size_t row_bytes;
    bool is_text;
    bool is_held;
    struct hw_trace_chunk chunk;
};

struct hw_trace_streams {
    struct hw_trace_file *file;
    struct hw_writer *writer;
    struct hw_codec *codec;
    struct hw_row_stream streams[HW_N_DATASETS];
    struct hw_chunk_job **ready;
    size_t n_ready;
    size_t ready_capacity;
    size_t ready_bytes;
    struct hw_trace_lengths lengths; // known from finish on
    bool has_lengths;
    struct hw_codec_chunk zero_tiles[HW_MAP_TILE]; // by the columns inside the prompt, 0: all
};

struct hw_chunk_job {
    struct hw_job base;
    struct hw_trace_streams *streams;
    enum hw_dataset dataset;
    hsize_t offset[HW_MAX_AXES];
    size_t extent; // rows of the first axis that the dataset has with this chunk
    struct hw_codec_chunk chunk;
    bool is_shared; // data are the streams' own
};

// Queues a chunk for the next flush. Takes the data over in any case, unless they are shared.
// extent: rows of the first axis that the dataset has with it.
enum hw_status hw_trace_streams_add_chunk(struct hw_trace_streams *streams, enum hw_dataset dataset,
                                          const hsize_t *offset, size_t extent,
                                          struct hw_codec_chunk chunk, bool is_shared,
                                          struct hw_error *err);
// Frees the chunks that were not flushed.
void hw_trace_streams_drop_chunks(struct hw_trace_streams *streams);
// Writes all rows of a held dataset in one piece. Text stays the buffers' until close; the writer
// only reads it.
enum hw_status hw_trace_streams_post_whole(struct hw_trace_streams *streams,
                                           enum hw_dataset dataset, struct hw_error *err);

#endif
