// Rows, text and tiles of an open capture.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/commit.h"
#include "formats/h5.h"
#include "formats/prompt_rows.h"
#include "formats/trace_rows.h"
#include "kernels/attention.h"
#include "kernels/size.h"

const char *hw_trace_path(const struct hw_trace *trace) {
    return trace->path;
}

const struct hw_layout *hw_trace_layout(const struct hw_trace *trace) {
    return &trace->layout;
}

bool hw_trace_is_complete(const struct hw_trace *trace) {
    return trace->is_complete;
}

bool hw_trace_is_virtual(const struct hw_trace *trace) {
    return trace->shape.is_virtual;
}

size_t hw_trace_n_prompts(const struct hw_trace *trace) {
    return trace->n_prompts;
}

size_t hw_trace_n_tokens(const struct hw_trace *trace) {
    return trace->shape.axes[HW_GROUP_ROOT][HW_AXIS_TOKEN];
}

const struct hw_trace_prompt *hw_trace_prompt(const struct hw_trace *trace, size_t index) {
    return &trace->prompts[index];
}

size_t hw_trace_n_spans(const struct hw_trace *trace) {
    return trace->n_spans;
}

const struct hw_trace_span *hw_trace_span(const struct hw_trace *trace, size_t i) {
    return &trace->spans[i];
}

int64_t hw_trace_find(const struct hw_trace *trace, enum hw_group group, enum hw_axis axis,
                      int32_t number) {
    const struct hw_group_axes *axes = &trace->layout.groups[group];
    const int32_t *values = axis == HW_AXIS_LAYER   ? axes->layers
                            : axis == HW_AXIS_DEPTH ? axes->depths
                            : axis == HW_AXIS_HEAD  ? axes->heads
                                                    : axes->kv_heads;
    size_t n = hw_layout_axis(&trace->layout, group, axis);
    for (size_t i = 0; values != NULL && i < n; i++) {
        if (values[i] == number) {
            return (int64_t)i;
        }
    }
    return -1;
}

bool hw_trace_has(const struct hw_trace *trace, enum hw_dataset dataset) {
    return trace->shape.has[dataset];
}

static size_t axis_length(const struct hw_trace *trace, enum hw_dataset dataset, size_t i) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    return i < row->n_axes && trace->shape.has[dataset]
               ? trace->shape.axes[row->group][row->axes[i]]
               : 1;
}

size_t hw_trace_n_rows(const struct hw_trace *trace, enum hw_dataset dataset) {
    return trace->shape.has[dataset] ? axis_length(trace, dataset, 0) : 0;
}

size_t hw_trace_n_slabs(const struct hw_trace *trace, enum hw_dataset dataset) {
    return hw_schema_slab_axis(dataset) == 1 ? axis_length(trace, dataset, 1) : 1;
}

size_t hw_trace_n_inner(const struct hw_trace *trace, enum hw_dataset dataset) {
    size_t n = 1;
    for (size_t i = hw_schema_slab_axis(dataset) == 1 ? 2 : 1; i < hw_schema_row(dataset)->n_axes;
         i++) {
        n *= axis_length(trace, dataset, i); // the check keeps products of a dataset far below 2^64
    }
    return n;
}

static enum hw_status check_range(const struct hw_trace *trace, enum hw_dataset dataset,
                                  size_t slab, size_t first, size_t n, struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    if (!trace->shape.has[dataset]) {
        return hw_fail(err, HW_INPUT, "%s: %s/%s is not recorded%s%s", trace->path,
                       hw_group_name(row->group), row->name,
                       row->record[0] != '\0' ? "; capture with --record " : "", row->record);
    }
    size_t n_rows = hw_trace_n_rows(trace, dataset);
    if (first > n_rows || n > n_rows - first ||
        slab >= hw_size_max(1, hw_trace_n_slabs(trace, dataset))) {
        return hw_fail(err, HW_INPUT, "%s: %s/%s has no rows %zu to %zu of slab %zu (%zu rows)",
                       trace->path, hw_group_name(row->group), row->name, first, first + n, slab,
                       n_rows);
    }
    return HW_OK;
}

enum hw_status hw_trace_read_raw(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                 size_t first, size_t n, void *ret_values, struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    enum hw_status status = check_range(trace, dataset, slab, first, n, err);
    size_t n_values = n * hw_trace_n_inner(trace, dataset);
    if (status != HW_OK || n_values == 0) {
        return status;
    }
    if (trace->shape.element[dataset] == HW_ELEMENT_VSTR) {
        return hw_fail(err, HW_INTERNAL, "%s: is text", row->name);
    }
    bool is_read = false;
    status = hw_trace_rows_read(trace, dataset, slab, first, n, ret_values, &is_read, err);
    if (status != HW_OK || is_read) {
        return status;
    }
    hsize_t start[HW_MAX_AXES] = {first}, count[HW_MAX_AXES] = {n}, total[1] = {n_values};
    for (size_t i = 1; i < row->n_axes; i++) {
        bool is_slab = (int)i == hw_schema_slab_axis(dataset);
        start[i] = is_slab ? slab : 0;
        count[i] = is_slab ? 1 : axis_length(trace, dataset, i);
    }
    hid_t space = H5Dget_space(trace->datasets[dataset]);
    // Of the file's shape: with another the library walks value by value to pair the two.
    hid_t memory = row->n_axes == 0 ? H5Screate_simple(1, total, NULL)
                                    : H5Screate_simple((int)row->n_axes, count, NULL);
    hid_t type = hw_h5_type(trace->shape.element[dataset]);
    herr_t e =
        row->n_axes == 0 ? 0 : H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    if (e < 0 ||
        H5Dread(trace->datasets[dataset], type, memory, space, H5P_DEFAULT, ret_values) < 0) {
        status = hw_h5_fail(err, HW_INPUT, "%s: %s/%s cannot be read", trace->path,
                            hw_group_name(row->group), row->name);
    }
    hw_h5_close(&memory);
    hw_h5_close(&space);
    return status;
}

static enum hw_status need_scratch(struct hw_trace *trace, size_t n_values, size_t element_bytes,
                                   struct hw_error *err) {
    size_t n_bytes;
    if (!hw_size_mul(n_values, element_bytes, &n_bytes)) {
        return hw_fail(err, HW_RESOURCE, "%zu values do not fit in memory", n_values);
    }
    if (n_bytes > trace->scratch_bytes) {
        void *grown = realloc(trace->scratch, n_bytes);
        if (grown == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu bytes", n_bytes);
        }
        trace->scratch = grown;
        trace->scratch_bytes = n_bytes;
    }
    return HW_OK;
}

static void widen(enum hw_element element, const void *values, size_t n, float *ret) {
    for (size_t i = 0; i < n; i++) {
        switch (element) {
        case HW_ELEMENT_F4:
            ret[i] = ((const float *)values)[i];
            break;
        case HW_ELEMENT_F2:
            ret[i] = hw_half_to_float(((const uint16_t *)values)[i]);
            break;
        case HW_ELEMENT_U2: {
            uint16_t u = ((const uint16_t *)values)[i];
            ret[i] = u == 65535 ? NAN : (float)u * (1.0f / 65534);
            break;
        }
        case HW_ELEMENT_I4:
            ret[i] = (float)((const int32_t *)values)[i];
            break;
        case HW_ELEMENT_I8:
            ret[i] = (float)((const int64_t *)values)[i];
            break;
        case HW_ELEMENT_U1:
            ret[i] = ((const uint8_t *)values)[i];
            break;
        case HW_ELEMENT_VSTR:
            ret[i] = NAN;
            break;
        }
    }
}

enum hw_status hw_trace_read_f32(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                 size_t first, size_t n, float *ret_values, struct hw_error *err) {
    enum hw_element element = trace->shape.element[dataset];
    if (element == HW_ELEMENT_F4 || !trace->shape.has[dataset]) {
        return hw_trace_read_raw(trace, dataset, slab, first, n, ret_values, err);
    }
    size_t n_values = n * hw_trace_n_inner(trace, dataset);
    enum hw_status status = check_range(trace, dataset, slab, first, n, err);
    status =
        status != HW_OK ? status : need_scratch(trace, n_values, hw_element_bytes(element), err);
    status = status != HW_OK
                 ? status
                 : hw_trace_read_raw(trace, dataset, slab, first, n, trace->scratch, err);
    if (status == HW_OK) {
        widen(element, trace->scratch, n_values, ret_values);
    }
    return status;
}

enum hw_status hw_trace_read_i32(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                 size_t first, size_t n, int32_t *ret_values,
                                 struct hw_error *err) {
    enum hw_element element = trace->shape.element[dataset];
    if (element == HW_ELEMENT_I4 || !trace->shape.has[dataset]) {
        return hw_trace_read_raw(trace, dataset, slab, first, n, ret_values, err);
    }
    if (element != HW_ELEMENT_U1) {
        return hw_fail(err, HW_INTERNAL, "%s: its type is no i4 or u1",
                       hw_schema_row(dataset)->name);
    }
    size_t n_values = n * hw_trace_n_inner(trace, dataset);
    enum hw_status status = check_range(trace, dataset, slab, first, n, err);
    status = status != HW_OK ? status : need_scratch(trace, n_values, 1, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_read_raw(trace, dataset, slab, first, n, trace->scratch, err);
    for (size_t i = 0; i < n_values && status == HW_OK; i++) {
        ret_values[i] = ((const uint8_t *)trace->scratch)[i];
    }
    return status;
}

enum hw_status hw_trace_read_i64(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                 size_t first, size_t n, int64_t *ret_values,
                                 struct hw_error *err) {
    enum hw_element element = trace->shape.element[dataset];
    if (element == HW_ELEMENT_I8 || !trace->shape.has[dataset]) {
        return hw_trace_read_raw(trace, dataset, slab, first, n, ret_values, err);
    }
    // The narrow values lie in the upper half of the array, so that widening from the front never
    // overtakes them.
    size_t n_values = n * hw_trace_n_inner(trace, dataset);
    int32_t *narrow = (int32_t *)ret_values + n_values;
    enum hw_status status = hw_trace_read_i32(trace, dataset, slab, first, n, narrow, err);
    for (size_t i = 0; i < n_values && status == HW_OK; i++) {
        int32_t value;
        memcpy(&value, narrow + i, sizeof value);
        ret_values[i] = value;
    }
    return status;
}

void hw_trace_free_text(char **texts, size_t n) {
    for (size_t i = 0; texts != NULL && i < n; i++) {
        free(texts[i]);
    }
    free(texts);
}

enum hw_status hw_trace_read_strings(hid_t dataset, size_t first, size_t n, bool is_scalar,
                                     char ***ret_texts, struct hw_error *err) {
    enum hw_status status = HW_OK;
    char **texts = calloc(n + 1, sizeof *texts);
    char **raw = calloc(n + 1, sizeof *raw);
    hsize_t start[1] = {first}, count[1] = {n};
    hid_t memory = H5Screate_simple(1, count, NULL);
    hid_t space = H5Dget_space(dataset);
    herr_t e = 0;
    if (texts == NULL || raw == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for %zu strings", n);
        goto cleanup;
    }
    if (n > 0 && !is_scalar) {
        e = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    }
    if (e < 0 || (n > 0 && H5Dread(dataset, hw_h5_type(HW_ELEMENT_VSTR), memory, space, H5P_DEFAULT,
                                   raw) < 0)) {
        status = hw_h5_fail(err, HW_INPUT, "strings cannot be read");
        goto cleanup;
    }
    for (size_t i = 0; i < n; i++) {
        texts[i] = strdup(raw[i] != NULL ? raw[i] : "");
        if (texts[i] == NULL) {
            status = hw_fail(err, HW_RESOURCE, "not enough memory for %zu strings", n);
        }
    }
    (void)H5Dvlen_reclaim(hw_h5_type(HW_ELEMENT_VSTR), memory, H5P_DEFAULT, raw);
cleanup:
    hw_h5_close(&space);
    hw_h5_close(&memory);
    free(raw);
    if (status != HW_OK) {
        hw_trace_free_text(texts, n);
        return status;
    }
    *ret_texts = texts;
    return HW_OK;
}

enum hw_status hw_trace_read_text(struct hw_trace *trace, enum hw_dataset dataset, size_t first,
                                  size_t n, char ***ret_texts, struct hw_error *err) {
    enum hw_status status = check_range(trace, dataset, 0, first, n, err);
    if (status == HW_OK && trace->shape.element[dataset] != HW_ELEMENT_VSTR) {
        status = hw_fail(err, HW_INTERNAL, "%s: is no text", hw_schema_row(dataset)->name);
    }
    bool is_scalar = hw_schema_row(dataset)->n_axes == 0;
    return status != HW_OK ? status
                           : hw_trace_read_strings(trace->datasets[dataset], first, n, is_scalar,
                                                   ret_texts, err);
}

static hid_t open_scale(hid_t file, enum hw_group group, enum hw_axis axis) {
    char *name = NULL;
    if (asprintf(&name, "/%s/%s", hw_group_name(group), hw_axis_name(axis)) < 0) {
        return -1;
    }
    hid_t id = H5Dopen2(file, name, H5P_DEFAULT);
    free(name);
    return id;
}

enum hw_status hw_trace_read_scale(hid_t file, enum hw_group group, enum hw_axis axis, size_t n,
                                   int32_t *ret_values, struct hw_error *err) {
    enum hw_status status = HW_OK;
    enum hw_element element = HW_ELEMENT_F4;
    hid_t id = open_scale(file, group, axis);
    hid_t type = id < 0 ? -1 : H5Dget_type(id);
    if (type < 0 || !hw_h5_element(type, &element) || element != HW_ELEMENT_I4) {
        status = hw_fail(err, HW_INPUT, "%s/%s: expected 4-byte integers", hw_group_name(group),
                         hw_axis_name(axis));
    } else if (n > 0 && H5Dread(id, hw_h5_type(HW_ELEMENT_I4), H5S_ALL, H5S_ALL, H5P_DEFAULT,
                                ret_values) < 0) {
        status = hw_h5_fail(err, HW_INPUT, "%s/%s: cannot be read", hw_group_name(group),
                            hw_axis_name(axis));
    }
    hw_h5_close(&type);
    hw_h5_close(&id);
    return status;
}

enum hw_status hw_trace_read_text_scale(hid_t file, enum hw_group group, enum hw_axis axis,
                                        size_t n, char ***ret_texts, struct hw_error *err) {
    enum hw_status status = HW_OK;
    enum hw_element element = HW_ELEMENT_F4;
    hid_t id = open_scale(file, group, axis);
    hid_t type = id < 0 ? -1 : H5Dget_type(id);
    if (type < 0 || !hw_h5_element(type, &element) || element != HW_ELEMENT_VSTR) {
        status = hw_fail(err, HW_INPUT, "%s/%s: expected strings", hw_group_name(group),
                         hw_axis_name(axis));
    } else {
        status = hw_trace_read_strings(id, 0, n, false, ret_texts, err);
    }
    hw_h5_close(&type);
    hw_h5_close(&id);
    return status;
}

enum hw_status hw_trace_attribute(struct hw_trace *trace, enum hw_group group, const char *name,
                                  char **ret_text, struct hw_error *err) {
    hid_t id =
        H5Gopen2(trace->file, group == HW_GROUP_ROOT ? "/" : hw_group_name(group), H5P_DEFAULT);
    enum hw_status status =
        id < 0 ? hw_h5_fail(err, HW_INPUT, "group /%s is missing", hw_group_name(group))
               : hw_h5_get_text(id, name, ret_text, err);
    hw_h5_close(&id);
    return status;
}

enum hw_status hw_trace_attribute_integer(struct hw_trace *trace, enum hw_group group,
                                          const char *name, int64_t *ret_value,
                                          struct hw_error *err) {
    hid_t id =
        H5Gopen2(trace->file, group == HW_GROUP_ROOT ? "/" : hw_group_name(group), H5P_DEFAULT);
    enum hw_status status =
        id < 0 ? hw_h5_fail(err, HW_INPUT, "group /%s is missing", hw_group_name(group))
               : hw_h5_get_integer(id, name, ret_value, err);
    hw_h5_close(&id);
    return status;
}

struct labels {
    hid_t root;
    char *text; // NULL: memory ran out
};

static herr_t add_label(hid_t id, const char *name, const H5A_info_t *info, void *client) {
    static const char prefix[] = "label_";
    struct labels *labels = client;
    char *value = NULL;
    if (strncmp(name, prefix, strlen(prefix)) != 0 ||
        hw_h5_get_text(id, name, &value, NULL) != HW_OK) {
        return 0;
    }
    char *longer = hw_path_format("%s%s%s=%s", labels->text, labels->text[0] != '\0' ? "," : "",
                                  name + strlen(prefix), value);
    free(value);
    free(labels->text);
    labels->text = longer;
    return longer != NULL ? 0 : -1;
}

enum hw_status hw_trace_labels(struct hw_trace *trace, char **ret_text, struct hw_error *err) {
    struct labels labels = {H5Gopen2(trace->file, "/", H5P_DEFAULT), strdup("")};
    if (labels.root >= 0 && labels.text != NULL) {
        (void)H5Aiterate2(labels.root, H5_INDEX_CRT_ORDER, H5_ITER_INC, NULL, add_label, &labels);
    }
    (void)H5Eclear2(H5E_DEFAULT);
    hw_h5_close(&labels.root);
    if (labels.text == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the labels of a capture");
    }
    *ret_text = labels.text;
    return HW_OK;
}
