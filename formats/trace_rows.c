// Rows of chunks that are fetched as they are stored and decoded here, on the trace's threads: by
// the library's filters this takes several times as long, on one thread.
//
// Chunks [rows, 1, inner ...] that are shuffled and deflated, as captures have them. All else, and
// whatever a capture would not do (a chunk that is not stored, or is larger than its values), is
// left to the library.
#include "formats/trace_rows.h"

#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"
#include "kernels/size.h"

enum {
    MAX_BATCH = 256,          // chunks fetched before they are decoded
    BATCH_BYTES = 1 << 20,    // of them, where not a single one is larger
    MAX_CHUNK_BYTES = 1 << 26 // as the check of a file has it
};

struct batch {
    struct hw_trace *trace;
    enum hw_dataset dataset;
    size_t n_chunk_bytes; // unpacked
    size_t n;
    size_t n_bytes; // fetched
    struct hw_codec_chunk chunks[MAX_BATCH];
    void *outs[MAX_BATCH];
};

static bool is_filter(hid_t creation, unsigned i, H5Z_filter_t filter) {
    unsigned flags, config;
    size_t n_values = 0; // each time: the library sets it, and refuses more than 0 without room
    return H5Pget_filter2(creation, i, &flags, &n_values, NULL, 0, NULL, &config) == filter;
}

bool hw_trace_is_shuffled_deflated(hid_t creation) {
    return H5Pget_layout(creation) == H5D_CHUNKED && H5Pget_nfilters(creation) == 2 &&
           is_filter(creation, 0, H5Z_FILTER_SHUFFLE) && is_filter(creation, 1, H5Z_FILTER_DEFLATE);
}

// n_rows stays 0 where the library reads.
static void look_at(struct hw_trace *trace, enum hw_dataset dataset, struct hw_trace_rows *rows) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    hsize_t dims[HW_MAX_AXES] = {0};
    hid_t creation = H5Dget_create_plist(trace->datasets[dataset]);
    bool is_ours = creation >= 0 && trace->shape.element[dataset] != HW_ELEMENT_VSTR &&
                   hw_trace_is_shuffled_deflated(creation) &&
                   H5Pget_chunk(creation, HW_MAX_AXES, dims) == (int)row->n_axes;
    for (size_t i = 1; i < row->n_axes && is_ours; i++) {
        bool is_slab = (int)i == hw_schema_slab_axis(dataset);
        is_ours = dims[i] == (is_slab ? 1 : trace->shape.axes[row->group][row->axes[i]]);
    }
    hw_h5_close(&creation);
    size_t row_bytes =
        hw_trace_n_inner(trace, dataset) * hw_element_bytes(trace->shape.element[dataset]);
    if (is_ours && dims[0] <= MAX_CHUNK_BYTES &&
        hw_size_mul((size_t)dims[0], row_bytes, &rows->n_bytes) &&
        rows->n_bytes <= MAX_CHUNK_BYTES) {
        rows->n_rows = (size_t)dims[0];
    }
    rows->is_known = true;
}

static enum hw_status decode(struct batch *batch, struct hw_error *err) {
    unsigned char *data = batch->trace->fetched;
    const struct hw_schema_row *row = hw_schema_row(batch->dataset);
    for (size_t i = 0; i < batch->n; i++) {
        batch->chunks[i].data = data;
        data += batch->chunks[i].n_bytes;
    }
    enum hw_status status =
        hw_codec_decode_all(batch->trace->codec, batch->chunks, (void *const *)batch->outs,
                            batch->n, batch->n_chunk_bytes, err);
    batch->n = 0;
    batch->n_bytes = 0;
    return status == HW_OK
               ? HW_OK
               : hw_fail_context(err, status, "%s: %s/%s cannot be read: ", batch->trace->path,
                                 hw_group_name(row->group), row->name);
}

// Takes the chunk of the slab that begins at row `first` into the batch. *ret_is_there false: the
// library is to read it.
static enum hw_status fetch(struct batch *batch, size_t first, size_t slab, void *out,
                            bool *ret_is_there, struct hw_error *err) {
    struct hw_trace *trace = batch->trace;
    hid_t dataset = trace->datasets[batch->dataset];
    hsize_t offset[HW_MAX_AXES] = {first};
    hsize_t stored = 0;
    if (hw_schema_slab_axis(batch->dataset) == 1) {
        offset[1] = slab;
    }
    if (H5Dget_chunk_storage_size(dataset, offset, &stored) < 0) {
        (void)H5Eclear2(H5E_DEFAULT); // a chunk that is not stored is an error to some versions
        stored = 0;
    }
    *ret_is_there = stored > 0 && stored <= batch->n_chunk_bytes; // encoded chunks never grow
    if (!*ret_is_there) {
        return HW_OK;
    }
    enum hw_status status = HW_OK;
    if (batch->n == MAX_BATCH || batch->n_bytes + stored > trace->fetched_bytes) {
        status = decode(batch, err);
    }
    struct hw_codec_chunk *chunk = &batch->chunks[batch->n];
    *chunk = (struct hw_codec_chunk){.n_bytes = (size_t)stored,
                                     .element_bytes =
                                         hw_element_bytes(trace->shape.element[batch->dataset])};
    unsigned char *to = (unsigned char *)trace->fetched + batch->n_bytes;
    if (status == HW_OK &&
        H5Dread_chunk(dataset, H5P_DEFAULT, offset, &chunk->filter_mask, to) < 0) {
        const struct hw_schema_row *row = hw_schema_row(batch->dataset);
        status = hw_h5_fail(err, HW_INPUT, "%s: %s/%s cannot be read", trace->path,
                            hw_group_name(row->group), row->name);
    }
    batch->outs[batch->n++] = out;
    batch->n_bytes += (size_t)stored;
    return status;
}

static enum hw_status begin(struct batch *batch, struct hw_trace *trace, enum hw_dataset dataset,
                            struct hw_error *err) {
    *batch = (struct batch){
        .trace = trace, .dataset = dataset, .n_chunk_bytes = trace->rows[dataset].n_bytes};
    size_t n_bytes = hw_size_max(BATCH_BYTES, batch->n_chunk_bytes);
    if (n_bytes > trace->fetched_bytes) {
        void *grown = realloc(trace->fetched, n_bytes);
        if (grown == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu bytes", n_bytes);
        }
        trace->fetched = grown;
        trace->fetched_bytes = n_bytes;
    }
    return HW_OK;
}

static enum hw_status take_room(struct hw_trace *trace, size_t n_bytes, struct hw_trace_room *room,
                                struct hw_error *err) {
    for (int i = 0; i < HW_TRACE_SPARES && room->data == NULL; i++) {
        if (trace->spare[i].n_bytes >= n_bytes) {
            *room = trace->spare[i];
            trace->spare[i] = (struct hw_trace_room){0};
        }
    }
    if (room->data == NULL) {
        *room = (struct hw_trace_room){malloc(n_bytes), n_bytes};
    }
    if (room->data == NULL) {
        room->n_bytes = 0;
        return hw_fail(err, HW_RESOURCE, "not enough memory for chunks of %zu bytes", n_bytes);
    }
    return HW_OK;
}

static void give_room(struct hw_trace *trace, struct hw_trace_room *room) {
    for (int i = 0; i < HW_TRACE_SPARES && room->data != NULL; i++) {
        if (trace->spare[i].data == NULL) {
            trace->spare[i] = *room;
            *room = (struct hw_trace_room){0};
        }
    }
    free(room->data);
    *room = (struct hw_trace_room){0};
}

// Chunk number c of all slabs, unpacked; kept until it is done with or chunk c + 2 is needed.
static enum hw_status keep(struct hw_trace *trace, enum hw_dataset dataset, size_t c,
                           bool *ret_is_there, struct hw_error *err) {
    struct hw_trace_rows *rows = &trace->rows[dataset];
    size_t n_slabs = hw_trace_n_slabs(trace, dataset);
    struct hw_trace_room *kept = &rows->kept[c % 2];
    struct batch batch;
    if (kept->data != NULL && rows->kept_number[c % 2] == c) {
        return HW_OK;
    }
    rows->kept_number[c % 2] = SIZE_MAX;
    enum hw_status status = begin(&batch, trace, dataset, err);
    // At most HW_TRACE_MAX_KEPT bytes.
    status = status == HW_OK ? take_room(trace, n_slabs * rows->n_bytes, kept, err) : status;
    for (size_t s = 0; s < n_slabs && status == HW_OK && *ret_is_there; s++) {
        status =
            fetch(&batch, c * rows->n_rows, s, kept->data + s * rows->n_bytes, ret_is_there, err);
    }
    status = status == HW_OK && *ret_is_there ? decode(&batch, err) : status;
    if (status == HW_OK && *ret_is_there) {
        rows->kept_number[c % 2] = c;
    }
    return status;
}

// Rows first .. first + n from kept chunks, at most two. Who reads prompt after prompt through all
// slabs is done with a chunk when its last row of the last slab has been read.
static enum hw_status read_kept(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                size_t first, size_t n, unsigned char *ret, bool *ret_is_there,
                                struct hw_error *err) {
    struct hw_trace_rows *rows = &trace->rows[dataset];
    size_t row_bytes = rows->n_bytes / rows->n_rows;
    bool is_last_slab = slab + 1 >= hw_trace_n_slabs(trace, dataset);
    enum hw_status status = HW_OK;
    for (size_t done = 0; done < n && status == HW_OK && *ret_is_there;) {
        size_t c = (first + done) / rows->n_rows;
        size_t at = (first + done) % rows->n_rows;
        size_t now = hw_size_min(n - done, rows->n_rows - at);
        status = keep(trace, dataset, c, ret_is_there, err);
        if (status == HW_OK && *ret_is_there) {
            memcpy(ret + done * row_bytes,
                   rows->kept[c % 2].data + slab * rows->n_bytes + at * row_bytes, now * row_bytes);
        }
        done += now;
        if (is_last_slab &&
            (at + now == rows->n_rows || first + done == hw_trace_n_rows(trace, dataset))) {
            give_room(trace, &rows->kept[c % 2]);
        }
    }
    return status;
}

// Many chunks of one slab: whole ones straight into the rows, the first and the last by `edge`.
static enum hw_status read_long(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                size_t first, size_t n, unsigned char *ret, bool *ret_is_there,
                                struct hw_error *err) {
    const struct hw_trace_rows *rows = &trace->rows[dataset];
    size_t n_rows = rows->n_rows;
    size_t row_bytes = rows->n_bytes / n_rows;
    size_t head = first % n_rows;                 // rows before the first
    size_t n_last = (first + n - 1) % n_rows + 1; // of the last chunk
    size_t last = (first + n - 1) / n_rows;       // its number
    unsigned char *edges = malloc(2 * rows->n_bytes);
    struct batch batch;
    enum hw_status status = edges == NULL
                                ? hw_fail(err, HW_RESOURCE, "not enough memory for chunks")
                                : begin(&batch, trace, dataset, err);
    for (size_t c = first / n_rows; c <= last && status == HW_OK && *ret_is_there; c++) {
        size_t at = c * n_rows; // first row of the chunk
        void *out = c == last && n_last < n_rows ? edges + rows->n_bytes
                    : at < first                 ? edges
                                                 : ret + (at - first) * row_bytes;
        status = fetch(&batch, at, slab, out, ret_is_there, err);
    }
    status = status == HW_OK && *ret_is_there ? decode(&batch, err) : status;
    if (status == HW_OK && *ret_is_there) {
        if (head > 0) {
            memcpy(ret, edges + head * row_bytes, (n_rows - head) * row_bytes);
        }
        if (n_last < n_rows) {
            memcpy(ret + (n - n_last) * row_bytes, edges + rows->n_bytes, n_last * row_bytes);
        }
    }
    free(edges);
    return status;
}

enum hw_status hw_trace_rows_read(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                  size_t first, size_t n, void *ret_values, bool *ret_is_read,
                                  struct hw_error *err) {
    struct hw_trace_rows *rows = &trace->rows[dataset];
    enum hw_status status = HW_OK;
    *ret_is_read = false;
    if (!rows->is_known) {
        look_at(trace, dataset, rows);
    }
    if (rows->n_rows == 0) {
        return HW_OK;
    }
    size_t n_chunks = (first + n - 1) / rows->n_rows - first / rows->n_rows + 1;
    bool is_there = true;
    if (n_chunks > 2 || (n_chunks == 2 && !rows->is_kept)) {
        status = read_long(trace, dataset, slab, first, n, ret_values, &is_there, err);
    } else if (rows->is_kept) {
        status = read_kept(trace, dataset, slab, first, n, ret_values, &is_there, err);
    } else {
        return HW_OK; // a part of a chunk: the library keeps the last one it unpacked
    }
    if (!is_there) {
        rows->n_rows = 0;
    }
    *ret_is_read = is_there;
    return status;
}

void hw_trace_keep_chunks(struct hw_trace *trace, enum hw_dataset dataset) {
    size_t n;
    if (!hw_trace_has(trace, dataset)) {
        return;
    }
    struct hw_trace_rows *rows = &trace->rows[dataset];
    if (!rows->is_known) {
        look_at(trace, dataset, rows);
    }
    // Two chunks a slab: a prompt may lie across the border of two.
    rows->is_kept = rows->n_rows > 0 &&
                    hw_size_mul(rows->n_bytes, 2 * hw_trace_n_slabs(trace, dataset), &n) &&
                    n <= HW_TRACE_MAX_KEPT;
}

void hw_trace_rows_close(struct hw_trace *trace) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        free(trace->rows[i].kept[0].data);
        free(trace->rows[i].kept[1].data);
    }
    for (int i = 0; i < HW_TRACE_SPARES; i++) {
        free(trace->spare[i].data);
    }
    free(trace->fetched);
}
