// Dimension scales: one per axis and group, attached to every axis of every dataset of the group.
//
// netCDF readers take a group apart by its scales: an axis without one makes them refuse it or
// invent names. An axis that has no values is a scale whose NAME is netCDF's phrase for that; then
// no reader shows it as a variable. _Netcdf4Dimid numbers them through the file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hdf5_hl.h>

#include "formats/h5.h"
#include "formats/trace_file.h"
#include "kernels/size.h"

// What is known of the axis that gets values.
struct axis_values {
    enum hw_element element;
    void *values; // from malloc; NULL: dimension only
    const char *long_name;
};

static void *count_up(size_t n, int32_t first) {
    int32_t *values = malloc((n + 1) * sizeof *values);
    for (size_t i = 0; values != NULL && i < n; i++) {
        values[i] = first + (int32_t)i;
    }
    return values;
}

static void *copy_numbers(const int32_t *numbers, size_t n) {
    int32_t *values = malloc((n + 1) * sizeof *values);
    if (values != NULL && n > 0) {
        memcpy(values, numbers, n * sizeof *values);
    }
    return values;
}

static void *copy_texts(const char *const *texts, size_t n) {
    const char **values = malloc((n + 1) * sizeof *values);
    for (size_t i = 0; values != NULL && i < n; i++) {
        values[i] = texts[i];
    }
    return values;
}

static struct axis_values numbers(void *values, const char *description) {
    return (struct axis_values){HW_ELEMENT_I4, values, description};
}

static struct axis_values texts(void *values, const char *description) {
    return (struct axis_values){HW_ELEMENT_VSTR, values, description};
}

// What an axis counts whose coordinates are 0, 1, ...; NULL for other axes.
static const char *find_counted(enum hw_axis axis) {
    switch (axis) {
    case HW_AXIS_QUERY:
        return "query position";
    case HW_AXIS_KEY:
        return "key position";
    case HW_AXIS_POSITION:
        return "position in the prompt";
    case HW_AXIS_OFFSET:
        return "query position less key position";
    case HW_AXIS_RANK:
    case HW_AXIS_KEY_RANK:
        return "rank, 0 = largest";
    case HW_AXIS_CHANNEL:
    case HW_AXIS_HEAD_CHANNEL:
        return "channel";
    case HW_AXIS_NEURON:
        return "neuron";
    case HW_AXIS_VOCAB:
    case HW_AXIS_ID:
        return "token id";
    default:
        return NULL;
    }
}

// Coordinate values of an axis; false without memory. Axes that only count rows have none.
static bool find_values(const struct hw_layout *layout, enum hw_group group, enum hw_axis axis,
                        size_t n, const int32_t *prompts, struct axis_values *ret) {
    static const char *const norms[2] = {"ln1", "ln2"};
    const struct hw_group_axes *axes = &layout->groups[group];
    const char *counted = find_counted(axis);
    struct axis_values v = {HW_ELEMENT_I4, NULL, ""};
    switch (axis) {
    case HW_AXIS_PROMPT:
        v = numbers(copy_numbers(prompts, n), "prompt, counted through all shards");
        break;
    case HW_AXIS_LAYER:
        v = numbers(copy_numbers(axes->layers, n), "layer");
        break;
    case HW_AXIS_DEPTH:
        v = numbers(copy_numbers(axes->depths, n),
                    "point of the residual stream: 0 = embedding, l + 1 = after block l");
        break;
    case HW_AXIS_HEAD:
        v = numbers(copy_numbers(axes->heads, n), "query head");
        break;
    case HW_AXIS_KV_HEAD:
        v = numbers(copy_numbers(axes->kv_heads, n), "key/value head");
        break;
    case HW_AXIS_SPAN:
        v = texts(copy_texts(layout->span_names, n), "span of keys");
        break;
    case HW_AXIS_QUERY_SPAN:
        v = texts(copy_texts(layout->span_names, n), "span of queries");
        break;
    case HW_AXIS_GROUP:
        v = texts(copy_texts(layout->mean_groups, n), "group of prompts");
        break;
    case HW_AXIS_NORM:
        v = texts(copy_texts(norms, 2), "norm of the block");
        break;
    default:
        if (counted == NULL) {
            *ret = v;
            return true;
        }
        v = numbers(count_up(n, 0), counted);
        break;
    }
    *ret = v;
    return v.values != NULL;
}

// The dataset that is the scale. Edges of maps may grow, so their scales may too.
static hid_t create_scale(hid_t group, enum hw_axis axis, size_t n, const struct axis_values *v) {
    hsize_t dims[1] = {n};
    bool may_grow = axis == HW_AXIS_QUERY || axis == HW_AXIS_KEY;
    hsize_t limits[1] = {may_grow ? H5S_UNLIMITED : n};
    hsize_t chunk[1] = {1024};
    hid_t space = H5Screate_simple(1, dims, limits);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    herr_t e = H5Pset_attr_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    e |= H5Pset_obj_track_times(creation, false);
    if (may_grow) {
        e |= H5Pset_chunk(creation, 1, chunk);
    }
    hid_t type = v->values != NULL ? hw_h5_type(v->element) : H5T_IEEE_F32BE;
    hid_t id = e < 0 ? -1
                     : H5Dcreate2(group, hw_axis_name(axis), type, space, H5P_DEFAULT, creation,
                                  H5P_DEFAULT);
    if (id >= 0 && v->values != NULL && n > 0 &&
        H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, v->values) < 0) {
        hw_h5_close(&id);
    }
    hw_h5_close(&creation);
    hw_h5_close(&space);
    return id;
}

static enum hw_status add_scale(struct hw_trace_file *file, enum hw_group group, enum hw_axis axis,
                                size_t n, const int32_t *prompts, hid_t *ret_id,
                                struct hw_error *err) {
    struct axis_values v;
    if (!find_values(file->layout, group, axis, n, prompts, &v)) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the axis %s", hw_axis_name(axis));
    }
    enum hw_status status = HW_OK;
    char name[80];
    if (v.values != NULL) {
        (void)snprintf(name, sizeof name, "%s", hw_axis_name(axis));
    } else {
        (void)snprintf(name, sizeof name,
                       "This is a netCDF dimension but not a netCDF variable.%10zu", n);
    }
    hid_t id = create_scale(file->groups[group], axis, n, &v);
    if (id < 0 || H5DSset_scale(id, name) < 0) {
        status = hw_h5_fail(err, HW_OUTPUT, "axis %s: cannot be written", hw_axis_name(axis));
    }
    int32_t number = file->n_scales++;
    status = status != HW_OK
                 ? status
                 : hw_h5_set_values(id, "_Netcdf4Dimid", HW_ELEMENT_I4, 1, &number, err);
    if (status == HW_OK && v.values != NULL) {
        status = hw_h5_set_text(id, "long_name", v.long_name, err);
    }
    free(v.values);
    *ret_id = id;
    return status;
}

enum hw_status hw_trace_file_attach_scales(struct hw_trace_file *file, enum hw_group group,
                                           const struct hw_trace_lengths *lengths,
                                           const int32_t *prompts, struct hw_error *err) {
    hid_t scales[HW_N_AXES];
    enum hw_status status = HW_OK;
    for (int a = 0; a < HW_N_AXES; a++) {
        scales[a] = -1;
    }
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        if (row->group != group || file->datasets[i] < 0) {
            continue;
        }
        for (size_t k = 0; k < row->n_axes && status == HW_OK; k++) {
            enum hw_axis axis = row->axes[k];
            if (scales[axis] < 0) {
                size_t n = hw_trace_axis(file->layout, lengths, group, axis);
                status = add_scale(file, group, axis, n, prompts, &scales[axis], err);
            }
            if (status == HW_OK &&
                H5DSattach_scale(file->datasets[i], scales[axis], (unsigned)k) < 0) {
                status = hw_h5_fail(err, HW_OUTPUT, "%s: axis %s cannot be attached", row->name,
                                    hw_axis_name(axis));
            }
        }
    }
    for (int a = 0; a < HW_N_AXES; a++) {
        hw_h5_close(&scales[a]);
    }
    return status;
}
