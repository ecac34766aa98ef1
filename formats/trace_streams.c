// Rows to chunks.
#include "formats/trace_streams.h"

#include <stdlib.h>
#include <string.h>

#include "formats/prompt_rows.h"
#include "formats/trace_streams_internal.h"
#include "kernels/size.h"

// Lead axes whose datasets wait for finish in a growing file.
static bool waits_for_lengths(const struct hw_trace_file *file, enum hw_dataset dataset) {
    return file->is_growing && hw_schema_row(dataset)->axes[0] == HW_AXIS_PROMPT;
}

static void choose_chunk(struct hw_trace_streams *streams, enum hw_dataset dataset,
                         const struct hw_trace_lengths *lengths) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    static const struct hw_trace_lengths none;
    hsize_t dims[HW_MAX_AXES] = {0};
    for (size_t i = 0; i < row->n_axes; i++) {
        dims[i] = hw_trace_axis(streams->file->layout, lengths != NULL ? lengths : &none,
                                row->group, row->axes[i]);
    }
    hw_trace_chunk_choose(streams->file->layout, dataset, dims, lengths == NULL,
                          &streams->streams[dataset].chunk);
}

static enum hw_status open_stream(struct hw_trace_streams *streams, enum hw_dataset dataset,
                                  struct hw_error *err) {
    const struct hw_layout *layout = streams->file->layout;
    const struct hw_schema_row *row = hw_schema_row(dataset);
    struct hw_row_stream *stream = &streams->streams[dataset];
    stream->is_text = hw_layout_element(layout, dataset) == HW_ELEMENT_VSTR;
    stream->row_bytes = stream->is_text ? sizeof(char *) : hw_layout_row_bytes(layout, dataset);
    stream->n_slabs =
        hw_schema_slab_axis(dataset) < 0 ? 1 : hw_layout_axis(layout, row->group, row->axes[1]);
    choose_chunk(streams, dataset, streams->file->is_growing ? NULL : &streams->file->lengths);
    stream->is_held =
        stream->is_text || stream->chunk.is_contiguous || waits_for_lengths(streams->file, dataset);
    stream->buffers = calloc(stream->n_slabs + 1, sizeof *stream->buffers);
    return stream->buffers != NULL ? HW_OK
                                   : hw_fail(err, HW_RESOURCE, "not enough memory for the streams");
}

enum hw_status hw_trace_streams_open(struct hw_trace_file *file, struct hw_writer *writer,
                                     int n_threads, struct hw_trace_streams **ret_streams,
                                     struct hw_error *err) {
    struct hw_trace_streams *streams = calloc(1, sizeof *streams);
    if (streams == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the streams");
    }
    streams->file = file;
    streams->writer = writer;
    enum hw_status status = hw_codec_open(n_threads, &streams->codec, err);
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        if (hw_layout_has(file->layout, (enum hw_dataset)i) &&
            !hw_schema_is_fixed((enum hw_dataset)i) && !hw_dataset_is_map((enum hw_dataset)i)) {
            status = open_stream(streams, (enum hw_dataset)i, err);
        }
    }
    if (status != HW_OK) {
        hw_trace_streams_close(&streams);
        return status;
    }
    *ret_streams = streams;
    return HW_OK;
}

static void drop_rows(struct hw_row_stream *stream, struct hw_row_buffer *buffer, size_t n) {
    for (size_t i = 0; stream->is_text && i < n; i++) {
        free(((char **)buffer->rows)[i]);
    }
    if (n > 0) {
        memmove(buffer->rows, buffer->rows + n * stream->row_bytes,
                (buffer->n_rows - n) * stream->row_bytes);
        buffer->n_rows -= n;
    }
    // A pass fills the slabs one after the other: those behind it would hold a whole prompt each.
    if (buffer->n_rows == 0) {
        free(buffer->rows);
        buffer->rows = NULL;
        buffer->capacity_bytes = 0;
    }
}

void hw_trace_streams_close(struct hw_trace_streams **streams) {
    struct hw_trace_streams *s = *streams;
    if (s == NULL) {
        return;
    }
    hw_trace_streams_drop_chunks(s);
    // Jobs that are still queued read the streams.
    (void)hw_writer_sync(s->writer, NULL);
    for (int i = 0; i < HW_N_DATASETS; i++) {
        struct hw_row_stream *stream = &s->streams[i];
        for (size_t slab = 0; stream->buffers != NULL && slab < stream->n_slabs; slab++) {
            drop_rows(stream, &stream->buffers[slab], stream->buffers[slab].n_rows);
        }
        free(stream->buffers);
    }
    for (size_t i = 0; i < HW_MAP_TILE; i++) {
        free(s->zero_tiles[i].data);
    }
    free(s->ready);
    hw_codec_close(&s->codec);
    free(s);
    *streams = NULL;
}

struct hw_trace_load hw_trace_streams_load(const struct hw_layout *layout, size_t n_prompts,
                                           size_t n_tokens) {
    static const struct hw_trace_lengths none;
    struct hw_trace_load load = {0};
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        const struct hw_schema_row *row = hw_schema_row(dataset);
        enum hw_axis lead = row->axes[0];
        if (!hw_layout_has(layout, dataset) || hw_schema_is_fixed(dataset) ||
            hw_dataset_is_map(dataset)) {
            continue;
        }
        hsize_t dims[HW_MAX_AXES] = {0};
        struct hw_trace_chunk chunk;
        for (size_t k = 0; k < row->n_axes; k++) {
            dims[k] = hw_trace_axis(layout, &none, row->group, row->axes[k]);
        }
        hw_trace_chunk_choose(layout, dataset, dims, true, &chunk);
        uint64_t n_slabs = hw_schema_slab_axis(dataset) == 1 ? dims[1] : 1;
        if (hw_layout_element(layout, dataset) == HW_ELEMENT_VSTR) {
            // A pointer in a buffer that grows by halves, and the least block of malloc.
            load.text_bytes +=
                (lead == HW_AXIS_PROMPT ? n_prompts : n_tokens) * n_slabs * (12 + 32);
            continue;
        }
        uint64_t row_bytes = n_slabs * hw_layout_row_bytes(layout, dataset);
        if (lead == HW_AXIS_PROMPT) {
            load.waiting_bytes += n_prompts * row_bytes;
            continue;
        }
        bool is_token = lead == HW_AXIS_TOKEN;
        load.waiting_bytes += is_token ? n_tokens % chunk.dims[0] * row_bytes : 0;
        load.chunk_bytes += chunk.dims[0] * row_bytes;
    }
    return load;
}

uint64_t hw_trace_streams_working_bytes(const struct hw_trace_load *load, int n_threads) {
    // Of each thread of the codec: a shuffled chunk, the room of its deflated form, ISA-L's tables.
    const uint64_t codec = (uint64_t)n_threads * 5 * HW_CHUNK_BYTES / 2;
    return codec + hw_size_min(load->chunk_bytes, HW_READY_BYTES + HW_CHUNK_BYTES);
}

static enum hw_status reserve(struct hw_row_stream *stream, struct hw_row_buffer *buffer,
                              size_t n_rows, struct hw_error *err) {
    size_t rows, needed;
    if (!hw_size_add(buffer->n_rows, n_rows, &rows) ||
        !hw_size_mul(rows, stream->row_bytes, &needed)) {
        return hw_fail(err, HW_RESOURCE, "%zu rows of %zu bytes do not fit in memory", n_rows,
                       stream->row_bytes);
    }
    if (needed > buffer->capacity_bytes) {
        // Rows leave when they fill a chunk of their own, so there is no use in more.
        size_t most = stream->is_held || stream->chunk.dims[1] > 1
                          ? SIZE_MAX
                          : (size_t)stream->chunk.dims[0] * stream->row_bytes;
        size_t grown_bytes = buffer->capacity_bytes + buffer->capacity_bytes / 2;
        size_t capacity = hw_size_max(needed, hw_size_min(grown_bytes, most));
        unsigned char *grown = realloc(buffer->rows, capacity);
        if (grown == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu bytes of rows", capacity);
        }
        buffer->rows = grown;
        buffer->capacity_bytes = capacity;
    }
    return HW_OK;
}

// One chunk: rows at .. at + n_rows of the buffers of slabs first_slab .. + n_slabs, the rest of it
// fill values.
static enum hw_status emit_chunk(struct hw_trace_streams *streams, enum hw_dataset dataset,
                                 size_t first_slab, size_t at, size_t n_rows,
                                 struct hw_error *err) {
    struct hw_row_stream *stream = &streams->streams[dataset];
    enum hw_element element = hw_layout_element(streams->file->layout, dataset);
    bool has_slab = hw_schema_slab_axis(dataset) == 1;
    size_t n_slabs = has_slab ? (size_t)stream->chunk.dims[1] : 1;
    size_t n_bytes;
    if (!hw_size_mul(stream->row_bytes * n_slabs, (size_t)stream->chunk.dims[0], &n_bytes)) {
        return hw_fail(err, HW_RESOURCE, "a chunk of %zu rows does not fit in memory",
                       (size_t)stream->chunk.dims[0]);
    }
    unsigned char *data = malloc(n_bytes);
    if (data == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a chunk of %zu bytes", n_bytes);
    }
    for (size_t s = 0; s < n_slabs; s++) {
        const unsigned char *rows = stream->buffers[first_slab + s].rows + at * stream->row_bytes;
        if (n_slabs == 1) {
            memcpy(data, rows, n_rows * stream->row_bytes);
            continue;
        }
        for (size_t r = 0; r < n_rows; r++) {
            memcpy(data + (r * n_slabs + s) * stream->row_bytes, rows + r * stream->row_bytes,
                   stream->row_bytes);
        }
    }
    size_t filled = n_rows * n_slabs * stream->row_bytes;
    hw_element_fill(element, (n_bytes - filled) / hw_element_bytes(element), data + filled);
    struct hw_codec_chunk chunk = {data, n_bytes, hw_element_bytes(element), 0,
                                   stream->chunk.is_filtered};
    hsize_t offset[HW_MAX_AXES] = {stream->buffers[first_slab].n_emitted + at,
                                   has_slab ? first_slab : 0};
    return hw_trace_streams_add_chunk(streams, dataset, offset, (size_t)offset[0] + n_rows, chunk,
                                      false, err);
}

// Makes chunks of the rows that the slabs of one chunk have in common: full ones, and at the end
// the rest.
static enum hw_status emit(struct hw_trace_streams *streams, enum hw_dataset dataset, size_t slab,
                           bool is_end, struct hw_error *err) {
    struct hw_row_stream *stream = &streams->streams[dataset];
    size_t n_slabs = hw_schema_slab_axis(dataset) == 1 ? (size_t)stream->chunk.dims[1] : 1;
    size_t first = slab / n_slabs * n_slabs;
    size_t n_common = SIZE_MAX;
    for (size_t s = first; s < first + n_slabs; s++) {
        n_common = hw_size_min(n_common, stream->buffers[s].n_rows);
    }
    size_t chunk_rows = (size_t)stream->chunk.dims[0];
    size_t at = 0;
    enum hw_status status = HW_OK;
    while (status == HW_OK && (n_common - at >= chunk_rows || (is_end && at < n_common))) {
        size_t n = hw_size_min(chunk_rows, n_common - at);
        status = emit_chunk(streams, dataset, first, at, n, err);
        at += n;
    }
    for (size_t s = first; s < first + n_slabs && at > 0; s++) {
        drop_rows(stream, &stream->buffers[s], at);
        stream->buffers[s].n_emitted += at;
    }
    return status;
}

static enum hw_status keep_rows(struct hw_row_stream *stream, struct hw_row_buffer *buffer,
                                size_t n_rows, const void *rows, struct hw_error *err) {
    enum hw_status status = reserve(stream, buffer, n_rows, err);
    if (status != HW_OK) {
        return status;
    }
    if (!stream->is_text) {
        memcpy(buffer->rows + buffer->n_rows * stream->row_bytes, rows, n_rows * stream->row_bytes);
        buffer->n_rows += n_rows;
        return HW_OK;
    }
    for (size_t i = 0; i < n_rows; i++) {
        char *copy = strdup(((const char *const *)rows)[i]);
        if (copy == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for a string");
        }
        ((char **)buffer->rows)[buffer->n_rows++] = copy;
    }
    return HW_OK;
}

enum hw_status hw_trace_streams_append(struct hw_trace_streams *streams, enum hw_dataset dataset,
                                       size_t slab, size_t n_rows, const void *rows,
                                       struct hw_error *err) {
    struct hw_row_stream *stream = &streams->streams[dataset];
    if (n_rows == 0) {
        return HW_OK;
    }
    if (stream->buffers == NULL || slab >= stream->n_slabs) {
        return hw_fail(err, HW_INTERNAL, "%s: no such stream", hw_schema_row(dataset)->name);
    }
    struct hw_row_buffer *buffer = &stream->buffers[slab];
    if (stream->is_held) {
        return keep_rows(stream, buffer, n_rows, rows, err);
    }
    // Chunk by chunk, that no buffer grows beyond one however long the prompt is.
    size_t chunk_rows = (size_t)stream->chunk.dims[0];
    enum hw_status status = HW_OK;
    for (size_t at = 0, n; at < n_rows && status == HW_OK; at += n) {
        n = hw_size_min(n_rows - at, chunk_rows - buffer->n_rows % chunk_rows);
        const unsigned char *piece = (const unsigned char *)rows + at * stream->row_bytes;
        status = keep_rows(stream, buffer, n, piece, err);
        status = status != HW_OK ? status : emit(streams, dataset, slab, false, err);
    }
    return status;
}

static size_t rows_of(const struct hw_row_stream *stream, size_t slab) {
    return stream->buffers[slab].n_rows + stream->buffers[slab].n_emitted;
}

enum hw_status hw_trace_streams_finish(struct hw_trace_streams *streams,
                                       const struct hw_trace_lengths *lengths,
                                       struct hw_error *err) {
    // The writer is idle here, so the lengths can be set for it.
    enum hw_status status = hw_trace_streams_flush(streams, err);
    status = status != HW_OK ? status : hw_writer_sync(streams->writer, err);
    streams->lengths = *lengths;
    streams->has_lengths = true;
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        struct hw_row_stream *stream = &streams->streams[i];
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        if (stream->buffers == NULL) {
            continue;
        }
        size_t due = hw_trace_axis(streams->file->layout, lengths, row->group, row->axes[0]);
        for (size_t slab = 0; slab < stream->n_slabs; slab++) {
            if (rows_of(stream, slab) != due) {
                return hw_fail(err, HW_INTERNAL, "%s/%s, slab %zu: expected %zu rows, found %zu",
                               hw_group_name(row->group), row->name, slab, due,
                               rows_of(stream, slab));
            }
        }
        if (stream->is_held) {
            choose_chunk(streams, (enum hw_dataset)i, lengths);
        }
        if (stream->is_text || stream->chunk.is_contiguous) {
            status = hw_trace_streams_post_whole(streams, (enum hw_dataset)i, err);
            continue;
        }
        for (size_t slab = 0; slab < stream->n_slabs && status == HW_OK; slab++) {
            status = emit(streams, (enum hw_dataset)i, slab, true, err);
        }
    }
    status = status != HW_OK ? status : hw_trace_streams_flush(streams, err);
    return status != HW_OK ? status : hw_writer_sync(streams->writer, err);
}
