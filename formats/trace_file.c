// Creating the datasets of a capture file; the chunk table of the format.
#include "formats/trace_file.h"

#include <math.h>
#include <string.h>

#include "formats/h5.h"
#include "formats/prompt_rows.h"
#include "kernels/attention.h"
#include "kernels/size.h"

enum {
    ROWS_STATISTIC = 4096,
    ROWS_COLUMN = 65536,
    ROWS_ACTIVATION = 64,
    ROWS_PROMPT = 64,
    BYTES_ACTIVATION = 1 << 18, // about, of vectors
    BYTES_TABLE = 1 << 16,      // about, of tables
    BYTES_CONTIGUOUS = 1 << 16, // below: a dataset over prompts has no chunks
    BYTES_VSTR = 16,            // of a string's reference into the heap
};

size_t hw_trace_axis(const struct hw_layout *layout, const struct hw_trace_lengths *lengths,
                     enum hw_group group, enum hw_axis axis) {
    switch (axis) {
    case HW_AXIS_PROMPT:
        return lengths->n_prompts;
    case HW_AXIS_TOKEN:
        return lengths->n_tokens[group];
    case HW_AXIS_STEP:
        return lengths->n_steps;
    case HW_AXIS_EVENT:
        return lengths->n_events;
    case HW_AXIS_SPAN_ROW:
        return lengths->n_span_rows;
    case HW_AXIS_ID:
        return lengths->n_ids;
    case HW_AXIS_ID_BOUND:
        return lengths->n_ids + 1;
    case HW_AXIS_BYTE:
        return lengths->n_vocabulary_bytes;
    default:
        return hw_layout_axis(layout, group, axis);
    }
}

static bool is_vector(const struct hw_schema_row *row) {
    enum hw_axis last = row->axes[row->n_axes - 1];
    return last == HW_AXIS_CHANNEL || last == HW_AXIS_HEAD_CHANNEL || last == HW_AXIS_NEURON ||
           last == HW_AXIS_VOCAB;
}

// How many rows of the first axis a chunk has, when one row of it (all axes after the slab) has
// row_bytes.
static size_t chunk_rows(const struct hw_schema_row *row, size_t row_bytes) {
    size_t most = HW_CHUNK_BYTES;
    size_t n = ROWS_COLUMN;
    switch (row->axes[0]) {
    case HW_AXIS_TOKEN:
        if (is_vector(row)) {
            most = BYTES_ACTIVATION;
            n = ROWS_ACTIVATION;
        } else if (row->n_axes > 1 && row->axes[1] != HW_AXIS_RANK) {
            n = ROWS_STATISTIC;
        }
        break;
    case HW_AXIS_PROMPT:
        n = ROWS_PROMPT;
        break;
    default:
        most = BYTES_TABLE;
        break;
    }
    return hw_size_max(1, hw_size_min(n, most / hw_size_max(row_bytes, 1)));
}

void hw_trace_chunk_choose(const struct hw_layout *layout, enum hw_dataset dataset,
                           const hsize_t *dims, bool is_growing, struct hw_trace_chunk *ret_chunk) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    enum hw_element element = hw_layout_element(layout, dataset);
    struct hw_trace_chunk chunk = {.is_filtered = element != HW_ELEMENT_VSTR && row->n_axes > 0 &&
                                                  !is_vector(row)};
    if (hw_dataset_is_map(dataset)) {
        // Always so, that captures of different lengths merge by copying chunks.
        hsize_t tile[HW_MAX_AXES] = {1, 1, 1, HW_MAP_TILE, HW_MAP_TILE};
        memcpy(chunk.dims, tile, sizeof tile);
        *ret_chunk = chunk;
        return;
    }
    size_t element_bytes = element == HW_ELEMENT_VSTR ? BYTES_VSTR : hw_element_bytes(element);
    size_t row_bytes = element_bytes;
    size_t slab_bytes = 1; // times this: a row over all slabs
    for (size_t i = 1; i < row->n_axes; i++) {
        bool is_slab = (int)i == hw_schema_slab_axis(dataset);
        chunk.dims[i] = is_slab ? 1 : dims[i];
        row_bytes *= is_slab ? 1 : (size_t)dims[i];
        slab_bytes *= is_slab ? (size_t)dims[i] : 1;
    }
    size_t n_rows = is_growing ? SIZE_MAX : row->n_axes > 0 ? (size_t)dims[0] : 1;
    size_t whole_row_bytes = row_bytes * slab_bytes;
    bool is_whole = row_bytes == 0 || slab_bytes == 0 || n_rows == 0 || hw_schema_is_fixed(dataset);
    if (is_whole ||
        (row->axes[0] == HW_AXIS_PROMPT && n_rows < BYTES_CONTIGUOUS / whole_row_bytes)) {
        chunk.is_contiguous = true;
        chunk.is_filtered = false;
        *ret_chunk = chunk;
        return;
    }
    if (row->axes[0] == HW_AXIS_PROMPT && whole_row_bytes <= HW_CHUNK_BYTES / ROWS_PROMPT &&
        hw_schema_slab_axis(dataset) == 1) {
        chunk.dims[1] = dims[1];
        row_bytes = whole_row_bytes;
    }
    chunk.dims[0] = hw_size_min(chunk_rows(row, row_bytes), n_rows);
    *ret_chunk = chunk;
}

enum hw_status hw_trace_file_create(const char *path, struct hw_h5_image *image,
                                    const struct hw_layout *layout,
                                    const struct hw_trace_lengths *lengths,
                                    struct hw_trace_file *ret_file, struct hw_error *err) {
    struct hw_trace_file file = {.file = -1, .layout = layout, .is_growing = lengths == NULL};
    if (lengths != NULL) {
        file.lengths = *lengths;
    }
    for (int g = 0; g < HW_N_GROUPS; g++) {
        file.groups[g] = -1;
    }
    for (int i = 0; i < HW_N_DATASETS; i++) {
        file.datasets[i] = -1;
    }
    enum hw_status status = path != NULL ? hw_h5_create(path, &file.file, err)
                                         : hw_h5_create_image(image, &file.file, err);
    if (status == HW_OK) {
        file.groups[HW_GROUP_ROOT] = H5Gopen2(file.file, "/", H5P_DEFAULT);
        *ret_file = file;
    }
    return status;
}

// The library closes a file only when nothing in it is open.
static void close_objects(struct hw_trace_file *file) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        hw_h5_close(&file->datasets[i]);
    }
    for (int g = 0; g < HW_N_GROUPS; g++) {
        hw_h5_close(&file->groups[g]);
    }
}

void hw_trace_file_close(struct hw_trace_file *file) {
    close_objects(file);
    hw_h5_close(&file->file);
}

enum hw_status hw_trace_file_complete(struct hw_trace_file *file, const char *path,
                                      struct hw_error *err) {
    close_objects(file);
    enum hw_status status = HW_OK;
    if (H5Fflush(file->file, H5F_SCOPE_GLOBAL) < 0) {
        status = hw_h5_fail(err, HW_OUTPUT, "%s: cannot be written", path);
    }
    if (H5Fclose(file->file) < 0 && status == HW_OK) {
        status = hw_h5_fail(err, HW_OUTPUT, "%s: cannot be written", path);
    }
    file->file = H5I_INVALID_HID;
    return status;
}

static enum hw_status open_group(struct hw_trace_file *file, enum hw_group group,
                                 struct hw_error *err) {
    if (file->groups[group] >= 0) {
        return HW_OK;
    }
    return hw_h5_create_group(file->file, hw_group_name(group), &file->groups[group], err);
}

// Layout, filters, fill value and time of a dataset.
static herr_t set_creation(hid_t creation, const struct hw_layout *layout, enum hw_dataset dataset,
                           const struct hw_trace_chunk *chunk) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    enum hw_element element = hw_layout_element(layout, dataset);
    herr_t e = H5Pset_attr_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    e |= H5Pset_obj_track_times(creation, false);
    e |= H5Pset_fill_time(creation, H5D_FILL_TIME_IFSET);
    unsigned char fill[8];
    if (element == HW_ELEMENT_F4 || element == HW_ELEMENT_F2 || element == HW_ELEMENT_U2) {
        hw_element_fill(element, 1, fill);
        e |= H5Pset_fill_value(creation, hw_h5_type(element), fill);
    }
    if (!chunk->is_contiguous) {
        e |= H5Pset_chunk(creation, (int)row->n_axes, chunk->dims);
        if (chunk->is_filtered) {
            e |= H5Pset_shuffle(creation) | H5Pset_deflate(creation, 1);
        }
    }
    return e;
}

static enum hw_status set_fill_attributes(hid_t id, enum hw_element element, struct hw_error *err) {
    if (element != HW_ELEMENT_F4 && element != HW_ELEMENT_F2 && element != HW_ELEMENT_U2) {
        return HW_OK;
    }
    unsigned char fill[8];
    hw_element_fill(element, 1, fill);
    enum hw_status status = hw_h5_set_values(id, "_FillValue", element, 1, fill, err);
    if (status == HW_OK && element == HW_ELEMENT_U2) {
        status = hw_h5_set_real(id, "scale_factor", 1.0 / 65534, err);
    }
    return status;
}

// What single columns say besides.
static enum hw_status set_special_attributes(hid_t id, enum hw_dataset dataset,
                                             struct hw_error *err) {
    static const uint8_t statuses[3] = {0, 1, 2};
    if (hw_schema_is_bool(dataset)) {
        return hw_h5_set_text(id, "dtype", "bool", err);
    }
    if (dataset == HW_DS_N_TOKENS) {
        return hw_h5_set_text(id, "sample_dimension", "token", err);
    }
    enum hw_status status = HW_OK;
    if (dataset == HW_DS_PROMPT_STATUS) {
        status = hw_h5_set_values(id, "flag_values", HW_ELEMENT_U1, 3, statuses, err);
        status = status != HW_OK ? status
                                 : hw_h5_set_text(id, "flag_meanings", "ok truncated failed", err);
    } else if (dataset == HW_DS_VOCABULARY_TYPE) {
        status = hw_h5_set_values(id, "flag_values", HW_ELEMENT_U1, 2, statuses, err);
        status =
            status != HW_OK ? status : hw_h5_set_text(id, "flag_meanings", "ordinary special", err);
    }
    return status;
}

static enum hw_status set_dataset_attributes(hid_t id, enum hw_dataset dataset,
                                             enum hw_element element, struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    enum hw_status status = hw_h5_set_text(id, "long_name", row->long_name, err);
    status = status != HW_OK ? status : hw_h5_set_text(id, "units", row->units, err);
    status = status != HW_OK ? status : hw_h5_set_text(id, "description", row->description, err);
    if (status == HW_OK && row->hook[0] != '\0') {
        status = hw_h5_set_text(id, "hook", row->hook, err);
    }
    status = status != HW_OK ? status : set_fill_attributes(id, element, err);
    return status != HW_OK ? status : set_special_attributes(id, dataset, err);
}

enum hw_status hw_trace_file_create_dataset(struct hw_trace_file *file, enum hw_dataset dataset,
                                            const struct hw_trace_lengths *lengths, hid_t creation,
                                            struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    enum hw_element element = hw_layout_element(file->layout, dataset);
    hsize_t dims[HW_MAX_AXES] = {0}, limits[HW_MAX_AXES] = {0};
    bool is_growing = lengths == NULL;
    static const struct hw_trace_lengths none;
    for (size_t i = 0; i < row->n_axes; i++) {
        dims[i] =
            hw_trace_axis(file->layout, is_growing ? &none : lengths, row->group, row->axes[i]);
        // HDF5 refuses a chunk longer than a fixed axis, so the edges of maps may grow.
        bool is_map_edge = hw_dataset_is_map(dataset) && i >= 3;
        limits[i] = (is_growing && i == 0) || is_map_edge ? H5S_UNLIMITED : dims[i];
    }
    enum hw_status status = open_group(file, row->group, err);
    if (status != HW_OK) {
        return status;
    }
    bool is_virtual = creation != H5P_DEFAULT;
    struct hw_trace_chunk chunk = {.is_contiguous = true};
    if (!is_virtual) {
        hw_trace_chunk_choose(file->layout, dataset, dims, is_growing, &chunk);
    }
    hid_t properties = is_virtual ? H5Pcopy(creation) : H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = row->n_axes == 0
                      ? H5Screate(H5S_SCALAR)
                      : H5Screate_simple((int)row->n_axes, dims, is_virtual ? dims : limits);
    herr_t e = set_creation(properties, file->layout, dataset, &chunk);
    hid_t id = e < 0 ? -1
                     : H5Dcreate2(file->groups[row->group], row->name, hw_h5_type(element), space,
                                  H5P_DEFAULT, properties, H5P_DEFAULT);
    if (id < 0) {
        status = hw_h5_fail(err, HW_OUTPUT, "%s/%s: cannot be created", hw_group_name(row->group),
                            row->name);
    } else {
        file->datasets[dataset] = id;
        file->extents[dataset] = dims[0];
        status = set_dataset_attributes(id, dataset, element, err);
    }
    hw_h5_close(&space);
    hw_h5_close(&properties);
    return status;
}

enum hw_status hw_trace_file_extend(struct hw_trace_file *file, enum hw_dataset dataset, size_t n,
                                    struct hw_error *err) {
    if (n <= file->extents[dataset]) {
        return HW_OK;
    }
    const struct hw_schema_row *row = hw_schema_row(dataset);
    hsize_t dims[HW_MAX_AXES] = {n};
    for (size_t i = 1; i < row->n_axes; i++) {
        dims[i] = hw_layout_axis(file->layout, row->group, row->axes[i]);
    }
    if (H5Dset_extent(file->datasets[dataset], dims) < 0) {
        return hw_h5_fail(err, HW_OUTPUT, "%s/%s: cannot grow to %zu rows",
                          hw_group_name(row->group), row->name, n);
    }
    file->extents[dataset] = n;
    return HW_OK;
}
