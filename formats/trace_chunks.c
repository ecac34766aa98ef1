// Chunks on their way: compressed in flush, written by the writer; tiles of maps.
#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"
#include "formats/prompt_rows.h"
#include "formats/trace_streams_internal.h"
#include "kernels/size.h"

// Creates the dataset at its first chunk. A growing one where its length is not known yet.
static enum hw_status need_dataset(struct hw_trace_streams *streams, enum hw_dataset dataset,
                                   struct hw_error *err) {
    struct hw_trace_file *file = streams->file;
    if (file->datasets[dataset] >= 0) {
        return HW_OK;
    }
    bool is_known = streams->has_lengths && streams->streams[dataset].is_held;
    const struct hw_trace_lengths *lengths = !file->is_growing ? &file->lengths
                                             : is_known        ? &streams->lengths
                                                               : NULL;
    return hw_trace_file_create_dataset(file, dataset, lengths, H5P_DEFAULT, err);
}

static enum hw_status write_chunk(struct hw_job *self, bool is_cancelled, struct hw_error *err) {
    struct hw_chunk_job *job = (struct hw_chunk_job *)self;
    struct hw_trace_file *file = job->streams->file;
    enum hw_status status = HW_OK;
    if (!is_cancelled) {
        status = need_dataset(job->streams, job->dataset, err);
        status =
            status != HW_OK ? status : hw_trace_file_extend(file, job->dataset, job->extent, err);
        if (status == HW_OK &&
            H5Dwrite_chunk(file->datasets[job->dataset], H5P_DEFAULT, job->chunk.filter_mask,
                           job->offset, job->chunk.n_bytes, job->chunk.data) < 0) {
            status = hw_h5_fail(err, HW_OUTPUT, "%s: chunk cannot be written",
                                hw_schema_row(job->dataset)->name);
        }
    }
    if (!job->is_shared) {
        free(job->chunk.data);
    }
    free(job);
    return status;
}

enum hw_status hw_trace_streams_flush(struct hw_trace_streams *streams, struct hw_error *err) {
    struct hw_codec_chunk **chunks = calloc(streams->n_ready + 1, sizeof *chunks);
    enum hw_status status = HW_OK;
    size_t n = 0;
    for (size_t i = 0; chunks != NULL && i < streams->n_ready; i++) {
        if (streams->ready[i]->chunk.is_filtered) {
            chunks[n++] = &streams->ready[i]->chunk;
        }
    }
    status = chunks == NULL
                 ? hw_fail(err, HW_RESOURCE, "not enough memory for %zu chunks", streams->n_ready)
                 : hw_codec_encode(streams->codec, chunks, n, err);
    for (size_t i = 0; i < streams->n_ready; i++) {
        struct hw_chunk_job *job = streams->ready[i];
        if (status == HW_OK) {
            job->base.n_bytes = job->is_shared ? 0 : job->chunk.n_bytes;
            status = hw_writer_post(streams->writer, &job->base, err);
        } else {
            (void)write_chunk(&job->base, true, NULL);
        }
    }
    free(chunks);
    streams->n_ready = 0;
    streams->ready_bytes = 0;
    return status;
}

// Takes data over in any case.
enum hw_status hw_trace_streams_add_chunk(struct hw_trace_streams *streams, enum hw_dataset dataset,
                                          const hsize_t *offset, size_t extent,
                                          struct hw_codec_chunk chunk, bool is_shared,
                                          struct hw_error *err) {
    struct hw_chunk_job *job = malloc(sizeof *job);
    if (job != NULL && streams->n_ready == streams->ready_capacity) {
        size_t capacity = streams->ready_capacity * 2 + 64;
        struct hw_chunk_job **ready = realloc(streams->ready, capacity * sizeof *ready);
        if (ready == NULL) {
            free(job);
            job = NULL;
        } else {
            streams->ready = ready;
            streams->ready_capacity = capacity;
        }
    }
    if (job == NULL) {
        if (!is_shared) {
            free(chunk.data);
        }
        return hw_fail(err, HW_RESOURCE, "not enough memory for a chunk");
    }
    *job = (struct hw_chunk_job){.base = {.run = write_chunk},
                                 .streams = streams,
                                 .dataset = dataset,
                                 .extent = extent,
                                 .chunk = chunk,
                                 .is_shared = is_shared};
    memcpy(job->offset, offset, sizeof job->offset);
    streams->ready[streams->n_ready++] = job;
    streams->ready_bytes += is_shared ? 0 : chunk.n_bytes;
    return streams->ready_bytes > HW_READY_BYTES ? hw_trace_streams_flush(streams, err) : HW_OK;
}

void hw_trace_streams_drop_chunks(struct hw_trace_streams *streams) {
    for (size_t i = 0; i < streams->n_ready; i++) {
        (void)write_chunk(&streams->ready[i]->base, true, NULL);
    }
    streams->n_ready = 0;
}

static enum hw_status add_tile(struct hw_trace_streams *streams, enum hw_dataset dataset,
                               const hsize_t *offset, const unsigned char *tile, size_t tile_bytes,
                               struct hw_error *err) {
    unsigned char *data = malloc(tile_bytes);
    if (data == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a tile");
    }
    memcpy(data, tile, tile_bytes);
    size_t element_bytes = hw_element_bytes(hw_layout_element(streams->file->layout, dataset));
    struct hw_codec_chunk chunk = {data, tile_bytes, element_bytes, 0, true};
    return hw_trace_streams_add_chunk(streams, dataset, offset, (size_t)offset[0] + 1, chunk, false,
                                      err);
}

enum hw_status hw_trace_streams_append_map(struct hw_trace_streams *streams,
                                           const struct hw_map_place *place, size_t n_tiles_edge,
                                           const void *tiles, struct hw_error *err) {
    size_t element_bytes =
        hw_element_bytes(hw_layout_element(streams->file->layout, place->dataset));
    size_t tile_bytes = (size_t)HW_MAP_TILE * HW_MAP_TILE * element_bytes;
    const unsigned char *tile = tiles;
    enum hw_status status = HW_OK;
    for (size_t a = 0; a < n_tiles_edge && status == HW_OK; a++) {
        for (size_t b = 0; b <= a && status == HW_OK; b++, tile += tile_bytes) {
            hsize_t offset[HW_MAX_AXES] = {place->prompt, place->layer, place->head,
                                           a * HW_MAP_TILE, b * HW_MAP_TILE};
            status = add_tile(streams, place->dataset, offset, tile, tile_bytes, err);
        }
    }
    return status;
}

// A tile above the diagonal of which n_columns (0: all) lie inside the prompt, compressed once.
static enum hw_status need_zero_tile(struct hw_trace_streams *streams, enum hw_element element,
                                     size_t n_columns, struct hw_error *err) {
    struct hw_codec_chunk *zero = &streams->zero_tiles[n_columns];
    if (zero->data != NULL) {
        return HW_OK;
    }
    size_t element_bytes = hw_element_bytes(element);
    size_t n_values = (size_t)HW_MAP_TILE * HW_MAP_TILE;
    unsigned char *data = malloc(n_values * element_bytes);
    if (data == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a tile");
    }
    memset(data, 0, n_values * element_bytes);
    for (size_t row = 0; n_columns > 0 && row < HW_MAP_TILE; row++) {
        hw_element_fill(element, HW_MAP_TILE - n_columns,
                        data + (row * HW_MAP_TILE + n_columns) * element_bytes);
    }
    *zero = (struct hw_codec_chunk){data, n_values * element_bytes, element_bytes, 0, true};
    enum hw_status status = hw_codec_encode(streams->codec, &zero, 1, err);
    zero->is_filtered = false; // done, for the flush that meets it
    return status;
}

enum hw_status hw_trace_streams_append_upper(struct hw_trace_streams *streams,
                                             const struct hw_map_place *place, size_t n_tokens,
                                             struct hw_error *err) {
    if (place->dataset != HW_DS_ATTENTION_PATTERN) {
        return HW_OK;
    }
    enum hw_element element = hw_layout_element(streams->file->layout, place->dataset);
    size_t n_edge = hw_size_div_up(n_tokens, HW_MAP_TILE);
    enum hw_status status = HW_OK;
    for (size_t a = 0; a < n_edge; a++) {
        for (size_t b = a + 1; b < n_edge && status == HW_OK; b++) {
            size_t n_columns = b + 1 < n_edge ? 0 : n_tokens % HW_MAP_TILE;
            hsize_t offset[HW_MAX_AXES] = {place->prompt, place->layer, place->head,
                                           a * HW_MAP_TILE, b * HW_MAP_TILE};
            status = need_zero_tile(streams, element, n_columns, err);
            if (status == HW_OK) {
                status =
                    hw_trace_streams_add_chunk(streams, place->dataset, offset, place->prompt + 1,
                                               streams->zero_tiles[n_columns], true, err);
            }
        }
    }
    return status;
}

enum hw_status hw_trace_streams_append_raw(struct hw_trace_streams *streams,
                                           enum hw_dataset dataset, const hsize_t *offset,
                                           const struct hw_codec_chunk *chunk,
                                           struct hw_error *err) {
    struct hw_codec_chunk kept = *chunk;
    kept.is_filtered = false; // already
    hsize_t at[HW_MAX_AXES] = {0};
    memcpy(at, offset, hw_schema_row(dataset)->n_axes * sizeof *at);
    return hw_trace_streams_add_chunk(streams, dataset, at, (size_t)offset[0] + 1, kept, false,
                                      err);
}

// Text and contiguous datasets, in one piece.
struct whole_job {
    struct hw_job base;
    struct hw_trace_streams *streams;
    enum hw_dataset dataset;
    unsigned char *data; // [rows, slabs, inner]
    bool is_empty;
};

static enum hw_status write_whole(struct hw_job *self, bool is_cancelled, struct hw_error *err) {
    struct whole_job *job = (struct whole_job *)self;
    struct hw_trace_file *file = job->streams->file;
    enum hw_status status = HW_OK;
    if (!is_cancelled) {
        status = need_dataset(job->streams, job->dataset, err);
        hid_t type = hw_h5_type(hw_layout_element(file->layout, job->dataset));
        if (status == HW_OK && !job->is_empty &&
            H5Dwrite(file->datasets[job->dataset], type, H5S_ALL, H5S_ALL, H5P_DEFAULT, job->data) <
                0) {
            status = hw_h5_fail(err, HW_OUTPUT, "%s: cannot be written",
                                hw_schema_row(job->dataset)->name);
        }
    }
    free(job->data);
    free(job);
    return status;
}

// Text stays the buffers' until close; the writer only reads it.
enum hw_status hw_trace_streams_post_whole(struct hw_trace_streams *streams,
                                           enum hw_dataset dataset, struct hw_error *err) {
    struct hw_row_stream *stream = &streams->streams[dataset];
    size_t n_rows = stream->n_slabs > 0 ? stream->buffers[0].n_rows : 0;
    size_t n_bytes =
        n_rows * stream->n_slabs * stream->row_bytes; // held in memory already, so it fits
    struct whole_job *job = malloc(sizeof *job);
    unsigned char *data = malloc(n_bytes + 1);
    if (job == NULL || data == NULL) {
        free(job);
        free(data);
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu bytes of rows", n_bytes);
    }
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t s = 0; s < stream->n_slabs; s++) {
            memcpy(data + (r * stream->n_slabs + s) * stream->row_bytes,
                   stream->buffers[s].rows + r * stream->row_bytes, stream->row_bytes);
        }
    }
    *job = (struct whole_job){{write_whole, n_bytes, NULL}, streams, dataset, data, n_bytes == 0};
    return hw_writer_post(streams->writer, &job->base, err);
}
