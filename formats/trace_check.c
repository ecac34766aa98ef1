// What must hold of a capture file before a value of it is read.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/h5.h"
#include "formats/h5_apart.h"
#include "formats/prompt_rows.h"
#include "formats/trace_reader_internal.h"
#include "kernels/attention.h"
#include "kernels/size.h"

enum {
    HW_MAX_AXIS_LENGTH = 1 << 30,
};
#define HW_MAX_DATASET_BYTES ((uint64_t)1 << 44)

// Whether `name` exists in the group and is an object of the wanted type.
static bool has_object(hid_t group, const char *name, H5O_type_t type) {
    H5O_info_t info;
    return H5Lexists(group, name, H5P_DEFAULT) > 0 &&
           H5Oget_info_by_name(group, name, &info, H5P_DEFAULT) >= 0 && info.type == type;
}

// The element must be the schema's; floats that options narrow may be narrower.
static bool is_element_allowed(enum hw_dataset dataset, enum hw_element found) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    if (found == row->element) {
        return true;
    }
    bool is_map = hw_dataset_is_map(dataset) || dataset == HW_DS_DECODE_PATTERN;
    bool is_float = row->element == HW_ELEMENT_F4 || row->element == HW_ELEMENT_F2;
    bool is_optional = row->group == HW_GROUP_ACTIVATIONS ||
                       row->group == HW_GROUP_ATTENTION_VECTORS || row->group == HW_GROUP_LOGITS;
    return is_float &&
           (found == HW_ELEMENT_F4 || found == HW_ELEMENT_F2 || found == HW_ELEMENT_U2) &&
           (is_map || (is_optional && found != HW_ELEMENT_U2));
}

// Lengths agree with the other datasets of the group and stay below the caps.
static enum hw_status check_lengths(const char *name, enum hw_dataset dataset, hid_t space,
                                    size_t element_bytes, struct hw_trace_shape *shape,
                                    struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    hsize_t dims[H5S_MAX_RANK];
    int rank = H5Sget_simple_extent_ndims(space);
    if (rank != (int)row->n_axes ||
        H5Sget_simple_extent_type(space) != (rank == 0 ? H5S_SCALAR : H5S_SIMPLE) ||
        H5Sget_simple_extent_dims(space, dims, NULL) < 0) {
        return hw_fail(err, HW_INPUT, "%s: expected %zu axes, found %d", name, row->n_axes, rank);
    }
    uint64_t n_bytes = element_bytes;
    for (int i = 0; i < rank; i++) {
        if (dims[i] > HW_MAX_AXIS_LENGTH) {
            return hw_fail(err, HW_INPUT, "%s: axis %s has %llu places, expected at most %d", name,
                           hw_axis_name(row->axes[i]), (unsigned long long)dims[i],
                           (int)HW_MAX_AXIS_LENGTH);
        }
        size_t *known = &shape->axes[row->group][row->axes[i]];
        if (*known == SIZE_MAX) {
            *known = (size_t)dims[i];
        } else if (*known != (size_t)dims[i]) {
            return hw_fail(err, HW_INPUT,
                           "%s: axis %s has %llu places, other datasets of the group have %zu",
                           name, hw_axis_name(row->axes[i]), (unsigned long long)dims[i], *known);
        }
        if (__builtin_mul_overflow(n_bytes, (uint64_t)dims[i], &n_bytes)) {
            n_bytes = UINT64_MAX;
        }
    }
    // Maps are mostly not stored; all else must have the bytes it declares.
    if (n_bytes > HW_MAX_DATASET_BYTES && !hw_dataset_is_map(dataset)) {
        return hw_fail(err, HW_INPUT, "%s: declares %llu bytes", name, (unsigned long long)n_bytes);
    }
    return HW_OK;
}

static enum hw_status fail_type(const char *name, hid_t type, enum hw_dataset dataset,
                                struct hw_error *err) {
    static const char *const names[] = {"f4", "f2", "u2", "i4", "i8", "u1", "text"};
    char allowed[60] = "";
    size_t at = 0;
    for (int e = 0; e <= HW_ELEMENT_VSTR; e++) {
        if (is_element_allowed(dataset, (enum hw_element)e)) {
            at += (size_t)snprintf(allowed + at, sizeof allowed - at, "%s%s", at > 0 ? " or " : "",
                                   names[e]);
        }
    }
    static const char *const kinds[] = {"integer", "float",    "time",     "text",
                                        "bits",    "opaque",   "compound", "reference",
                                        "enum",    "variable", "array"};
    int kind = (int)H5Tget_class(type);
    return hw_fail(err, HW_INPUT, "%s: type: expected %s, found %s of %zu bytes", name, allowed,
                   kind >= 0 && kind < 11 ? kinds[kind] : "another", H5Tget_size(type));
}

static enum hw_status check_dataset(hid_t group, enum hw_dataset dataset, bool may_be_virtual,
                                    struct hw_trace_shape *shape, struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    char name[100];
    (void)snprintf(name, sizeof name, "%s/%s", hw_group_name(row->group), row->name);
    enum hw_status status = HW_OK;
    enum hw_element element;
    bool is_virtual = false;
    hid_t id = H5Dopen2(group, row->name, H5P_DEFAULT);
    hid_t type = id < 0 ? -1 : H5Dget_type(id);
    hid_t space = id < 0 ? -1 : H5Dget_space(id);
    if (type < 0 || space < 0) {
        status = hw_h5_fail(err, HW_INPUT, "%s: cannot be opened", name);
    } else if (!hw_h5_element(type, &element) || !is_element_allowed(dataset, element)) {
        status = fail_type(name, type, dataset, err);
    } else {
        size_t element_bytes = element == HW_ELEMENT_VSTR ? 16 : hw_element_bytes(element);
        status = check_lengths(name, dataset, space, element_bytes, shape, err);
        status = status != HW_OK ? status
                                 : hw_h5_check_storage(id, name, element_bytes,
                                                       may_be_virtual ? &is_virtual : NULL, err);
        if (status == HW_OK && !is_virtual && !hw_dataset_is_map(dataset)) {
            status = hw_h5_check_backing(id, name, space, element_bytes, err);
        }
    }
    if (status == HW_OK) {
        shape->has[dataset] = true;
        shape->element[dataset] = element;
        shape->is_virtual |= is_virtual;
    }
    hw_h5_close(&space);
    hw_h5_close(&type);
    hw_h5_close(&id);
    return status;
}

// A scale that has values: one axis of the same length, i4 or strings, plain storage.
static enum hw_status check_scale(hid_t group, enum hw_group number, enum hw_axis axis, size_t n,
                                  struct hw_error *err) {
    char name[100];
    (void)snprintf(name, sizeof name, "%s/%s", hw_group_name(number), hw_axis_name(axis));
    if (!has_object(group, hw_axis_name(axis), H5O_TYPE_DATASET)) {
        return hw_fail(err, HW_INPUT, "%s: the scale of the axis is missing", name);
    }
    enum hw_status status = HW_OK;
    hsize_t dims[H5S_MAX_RANK] = {0};
    hid_t id = H5Dopen2(group, hw_axis_name(axis), H5P_DEFAULT);
    hid_t space = id < 0 ? -1 : H5Dget_space(id);
    if (space < 0 || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_simple_extent_dims(space, dims, NULL) < 0) {
        status = hw_fail(err, HW_INPUT, "%s: is no scale of one axis", name);
    } else if (dims[0] != n) {
        status = hw_fail(err, HW_INPUT, "%s: the scale has %llu places, its datasets have %zu",
                         name, (unsigned long long)dims[0], n);
    } else {
        status = hw_h5_check_storage(id, name, 4, NULL, err);
    }
    hw_h5_close(&space);
    hw_h5_close(&id);
    return status;
}

static enum hw_status check_version(hid_t root, struct hw_error *err) {
    char *name = NULL, *version = NULL;
    enum hw_status status = hw_h5_get_text(root, "format_name", &name, err);
    bool is_other = status == HW_OK && strcmp(name, "headwater capture") != 0;
    if (status == HW_INPUT || is_other) {
        char safe[80];
        const char *found = name != NULL ? name : "none";
        status = hw_fail(err, HW_INPUT,
                         "is not a capture (expected format_name \"headwater capture\", found %s)",
                         hw_escape(safe, sizeof safe, found, strlen(found)));
    }
    status = status != HW_OK ? status : hw_h5_get_text(root, "format_version", &version, err);
    if (status == HW_OK && strncmp(version, "1.", 2) != 0) {
        char safe[40];
        status =
            hw_fail(err, HW_INPUT, "format version %s, expected 1.x: written by a newer program",
                    hw_escape(safe, sizeof safe, version, strlen(version)));
    }
    free(name);
    free(version);
    return status;
}

static enum hw_status check_group(hid_t root, enum hw_group number, bool may_be_virtual,
                                  struct hw_trace_shape *shape, struct hw_error *err) {
    const char *name = hw_group_name(number);
    if (number != HW_GROUP_ROOT && !has_object(root, name, H5O_TYPE_GROUP)) {
        return HW_OK;
    }
    hid_t group = H5Gopen2(root, number == HW_GROUP_ROOT ? "/" : name, H5P_DEFAULT);
    enum hw_status status = group < 0
                                ? hw_h5_fail(err, HW_INPUT, "group /%s: cannot be opened", name)
                                : hw_h5_check_links(group, name, err);
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        if (row->group == number && H5Lexists(group, row->name, H5P_DEFAULT) > 0) {
            status = has_object(group, row->name, H5O_TYPE_DATASET)
                         ? check_dataset(group, (enum hw_dataset)i, may_be_virtual, shape, err)
                         : hw_fail(err, HW_INPUT, "%s/%s: is no dataset", name, row->name);
        }
    }
    for (int axis = 1; axis < HW_N_AXES && status == HW_OK; axis++) {
        if (shape->axes[number][axis] != SIZE_MAX) {
            status = check_scale(group, number, (enum hw_axis)axis, shape->axes[number][axis], err);
        }
    }
    hw_h5_close(&group);
    return status;
}

enum hw_status hw_trace_check(hid_t file, struct hw_trace_shape *ret_shape, struct hw_error *err) {
    struct hw_trace_shape shape = {0};
    for (int g = 0; g < HW_N_GROUPS; g++) {
        for (int a = 0; a < HW_N_AXES; a++) {
            shape.axes[g][a] = SIZE_MAX;
        }
    }
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    enum hw_status status =
        root < 0 ? hw_h5_fail(err, HW_INPUT, "has no root group") : check_version(root, err);
    int64_t is_master = 0;
    if (status == HW_OK && H5Aexists(root, "is_virtual") > 0) {
        status = hw_h5_get_integer(root, "is_virtual", &is_master, err);
    }
    for (int g = 0; g < HW_N_GROUPS && status == HW_OK; g++) {
        status = check_group(root, (enum hw_group)g, is_master == 1, &shape, err);
    }
    static const enum hw_dataset required[] = {HW_DS_N_TOKENS,    HW_DS_N_PROMPT_TOKENS,
                                               HW_DS_TOKEN_START, HW_DS_PROMPT_STATUS,
                                               HW_DS_TOKEN_ID,    HW_DS_TOKEN_PROMPT};
    for (size_t i = 0; i < sizeof required / sizeof *required && status == HW_OK; i++) {
        if (!shape.has[required[i]]) {
            status = hw_fail(err, HW_INPUT, "%s is missing", hw_schema_row(required[i])->name);
        }
    }
    hw_h5_close(&root);
    if (status == HW_OK) {
        *ret_shape = shape;
    }
    return status;
}

static enum hw_status check_only(hid_t file, struct hw_error *err) {
    struct hw_trace_shape *shape = malloc(sizeof *shape);
    enum hw_status status = shape != NULL
                                ? hw_trace_check(file, shape, err)
                                : hw_fail(err, HW_RESOURCE, "not enough memory to check a capture");
    free(shape);
    return status;
}

enum hw_status hw_trace_check_apart(const char *path, struct hw_error *err) {
    return hw_h5_apart(path, check_only, err);
}
