// A master: datasets that refer to the parts' own, by names relative to the master's folder.
//
// What must be recomputed, text (which HDF5 cannot refer to) and scales are written out; all else
// is a virtual dataset with one mapping a part. A part that is missing reads as fill values without
// an error, so readers of ours check the parts that parts_json names.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"
#include "formats/merge_internal.h"
#include "formats/prompt_rows.h"
#include "kernels/size.h"

// Rows of the first axis that a source has of a dataset.
static size_t rows_of(const struct hw_merge *merge, const struct hw_trace_lengths *lengths,
                      enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    return hw_trace_axis(&merge->layout, lengths, row->group, row->axes[0]);
}

static enum hw_status map_source(struct hw_merge *merge, size_t i, enum hw_dataset dataset,
                                 size_t at, hid_t creation, struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    struct hw_merge_source *source = &merge->sources[i];
    hsize_t whole[HW_MAX_AXES] = {0}, start[HW_MAX_AXES] = {at}, count[HW_MAX_AXES] = {0};
    for (size_t k = 0; k < row->n_axes; k++) {
        whole[k] = hw_trace_axis(&merge->layout, &merge->lengths, row->group, row->axes[k]);
        count[k] = hw_trace_axis(&merge->layout, &source->lengths, row->group, row->axes[k]);
    }
    char name[100];
    (void)snprintf(name, sizeof name, "/%s%s%s", hw_group_name(row->group),
                   row->group == HW_GROUP_ROOT ? "" : "/", row->name);
    hid_t here = H5Screate_simple((int)row->n_axes, whole, NULL);
    hid_t there = H5Screate_simple((int)row->n_axes, count, NULL);
    herr_t e = H5Sselect_hyperslab(here, H5S_SELECT_SET, start, NULL, count, NULL);
    e |= H5Pset_virtual(creation, here, source->name, name, there);
    hw_h5_close(&here);
    hw_h5_close(&there);
    return e < 0 ? hw_h5_fail(err, HW_OUTPUT, "%s: cannot refer to %s", row->name, source->name)
                 : HW_OK;
}

static enum hw_status refer(struct hw_merge *merge, struct hw_trace_file *file,
                            enum hw_dataset dataset, struct hw_error *err) {
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    size_t at = 0;
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < merge->n_sources && status == HW_OK; i++) {
        size_t n = rows_of(merge, &merge->sources[i].lengths, dataset);
        if (n > 0) {
            status = map_source(merge, i, dataset, at, creation, err);
        }
        at += n;
    }
    status = status != HW_OK
                 ? status
                 : hw_trace_file_create_dataset(file, dataset, &merge->lengths, creation, err);
    hw_h5_close(&creation);
    return status;
}

// The rows of all sources in one block: numbers as they are with their addend, or strings.
static enum hw_status gather(struct hw_merge *merge, enum hw_dataset dataset, unsigned char *data,
                             size_t row_bytes, struct hw_error *err) {
    struct hw_trace_lengths before = {0};
    struct hw_merge_rows rows = {0};
    size_t at = 0;
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < merge->n_sources && status == HW_OK; i++) {
        struct hw_merge_source *source = &merge->sources[i];
        size_t n = rows_of(merge, &source->lengths, dataset);
        struct hw_trace *trace = NULL;
        char **texts = NULL;
        status = hw_trace_open_trusted(source->path, &trace, err);
        if (status == HW_OK && hw_layout_element(&merge->layout, dataset) == HW_ELEMENT_VSTR) {
            status = hw_trace_read_text(trace, dataset, 0, n, &texts, err);
            if (status == HW_OK) {
                memcpy(data + at * row_bytes, texts, n * row_bytes);
                free(texts);
            }
        } else if (status == HW_OK) {
            rows.addend = hw_merge_addend(source, &before, dataset);
            status = hw_merge_read_rows(trace, dataset, 0, 0, n, &rows, err);
            if (status == HW_OK && n > 0) {
                memcpy(data + at * row_bytes, rows.data, n * row_bytes);
            }
        }
        hw_trace_close(&trace);
        at += n;
        before.n_prompts += source->lengths.n_prompts;
        before.n_tokens[HW_GROUP_ROOT] += source->lengths.n_tokens[HW_GROUP_ROOT];
    }
    free(rows.data);
    return status;
}

static enum hw_status write_out(struct hw_merge *merge, struct hw_trace_file *file,
                                enum hw_dataset dataset, struct hw_error *err) {
    size_t n = rows_of(merge, &merge->lengths, dataset), n_bytes = 0;
    bool is_text = hw_layout_element(&merge->layout, dataset) == HW_ELEMENT_VSTR;
    size_t row_bytes = is_text ? sizeof(char *) : hw_layout_row_bytes(&merge->layout, dataset);
    unsigned char *data = hw_size_mul(n, row_bytes, &n_bytes) ? calloc(n_bytes + 1, 1) : NULL;
    enum hw_status status = data == NULL
                                ? hw_fail(err, HW_RESOURCE, "not enough memory for %zu rows", n)
                                : gather(merge, dataset, data, row_bytes, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_file_create_dataset(file, dataset, &merge->lengths, H5P_DEFAULT, err);
    hid_t type = hw_h5_type(hw_layout_element(&merge->layout, dataset));
    if (status == HW_OK && n > 0 &&
        H5Dwrite(file->datasets[dataset], type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        status = hw_h5_fail(err, HW_OUTPUT, "%s: cannot be written", hw_schema_row(dataset)->name);
    }
    for (size_t i = 0; is_text && data != NULL && i < n; i++) {
        free(((char **)data)[i]);
    }
    free(data);
    return status;
}

enum hw_status hw_merge_refer(struct hw_merge *merge, struct hw_trace_file *file,
                              struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (!hw_merge_is_copied(&merge->layout, dataset)) {
            continue;
        }
        bool is_own = hw_schema_row(dataset)->record[0] == '\0';
        bool is_empty = rows_of(merge, &merge->lengths, dataset) == 0;
        status = is_own || is_empty ? write_out(merge, file, dataset, err)
                                    : refer(merge, file, dataset, err);
    }
    return status;
}
