// Writing a result as HDF5, by the rules of captures: little-endian, creation order tracked, every
// axis a dimension scale that is attached, NaN as fill value, small data whole, larger in chunks
// that are shuffled and deflated.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hdf5_hl.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/h5.h"
#include "formats/result_internal.h"
#include "kernels/size.h"

enum { BYTES_CONTIGUOUS = 1 << 16, BYTES_CHUNK = 1 << 20 };

static hid_t type_of(enum hw_result_type type) {
    return type == HW_RESULT_REAL      ? H5T_IEEE_F64LE
           : type == HW_RESULT_INTEGER ? H5T_STD_I64LE
                                       : hw_h5_type(HW_ELEMENT_VSTR);
}

static hid_t memory_type_of(enum hw_result_type type) {
    return type == HW_RESULT_REAL      ? H5T_NATIVE_DOUBLE
           : type == HW_RESULT_INTEGER ? H5T_NATIVE_INT64
                                       : hw_h5_type(HW_ELEMENT_VSTR);
}

// Chunks halve the largest axis until they are small enough.
static herr_t set_chunks(hid_t creation, size_t n_axes, const hsize_t *dims) {
    hsize_t chunk[HW_RESULT_MAX_AXES];
    memcpy(chunk, dims, n_axes * sizeof *chunk);
    for (;;) {
        size_t bytes = sizeof(double);
        size_t largest = 0;
        for (size_t k = 0; k < n_axes; k++) {
            bytes *= (size_t)chunk[k];
            largest = chunk[k] > chunk[largest] ? k : largest;
        }
        if (bytes <= BYTES_CHUNK) {
            break;
        }
        chunk[largest] = (chunk[largest] + 1) / 2;
    }
    herr_t e = H5Pset_chunk(creation, (int)n_axes, chunk);
    return e < 0 || H5Pset_shuffle(creation) < 0 || H5Pset_deflate(creation, 1) < 0 ? -1 : 0;
}

static hid_t create_array(hid_t file, const struct hw_result_array_view *a) {
    hsize_t dims[HW_RESULT_MAX_AXES];
    for (size_t k = 0; k < a->n_axes; k++) {
        dims[k] = a->dims[k];
    }
    hid_t space =
        a->n_axes > 0 ? H5Screate_simple((int)a->n_axes, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    double fill = strtod("nan", NULL);
    herr_t e = H5Pset_attr_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    e |= H5Pset_obj_track_times(creation, false);
    if (a->field.type == HW_RESULT_REAL) {
        e |= H5Pset_fill_value(creation, H5T_NATIVE_DOUBLE, &fill);
    }
    if (a->field.type != HW_RESULT_TEXT && a->n_values > BYTES_CONTIGUOUS / sizeof(double)) {
        e |= set_chunks(creation, a->n_axes, dims);
    }
    hid_t id = e < 0 ? -1
                     : H5Dcreate2(file, a->field.name, type_of(a->field.type), space, H5P_DEFAULT,
                                  creation, H5P_DEFAULT);
    hw_h5_close(&creation);
    hw_h5_close(&space);
    return id;
}

static enum hw_status describe(hid_t id, const struct hw_result_field *field,
                               struct hw_error *err) {
    enum hw_status status = hw_h5_set_text(id, "long_name", field->long_name, err);
    status = status == HW_OK ? hw_h5_set_text(id, "units", field->units, err) : status;
    status = status == HW_OK ? hw_h5_set_text(id, "description", field->description, err) : status;
    if (status == HW_OK && field->type == HW_RESULT_REAL) {
        status = hw_h5_set_real(id, "_FillValue", strtod("nan", NULL), err);
    }
    return status;
}

static enum hw_status write_array(hid_t file, const struct hw_result_array_view *a,
                                  const hid_t *scales, const struct result_array *array,
                                  struct hw_error *err) {
    hid_t id = create_array(file, a);
    enum hw_status status = HW_OK;
    if (id < 0 || (a->n_values > 0 && H5Dwrite(id, memory_type_of(a->field.type), H5S_ALL, H5S_ALL,
                                               H5P_DEFAULT, a->values) < 0)) {
        status = hw_h5_fail(err, HW_OUTPUT, "%s: cannot be written", a->field.name);
    }
    status = status == HW_OK ? describe(id, &a->field, err) : status;
    for (size_t k = 0; k < a->n_axes && status == HW_OK; k++) {
        if (H5DSattach_scale(id, scales[array->axes[k]], (unsigned)k) < 0) {
            status = hw_h5_fail(err, HW_OUTPUT, "%s: an axis cannot be attached", a->field.name);
        }
    }
    hw_h5_close(&id);
    return status;
}

// An axis without a coordinate has netCDF's own name for that.
static enum hw_status write_axis(hid_t file, const struct result_axis *axis, int32_t number,
                                 hid_t *ret_id, struct hw_error *err) {
    hsize_t dims[1] = {axis->n};
    hid_t space = H5Screate_simple(1, dims, NULL);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    (void)H5Pset_attr_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    (void)H5Pset_obj_track_times(creation, false);
    bool is_text = axis->texts != NULL;
    const void *values = is_text ? (const void *)axis->texts : axis->numbers;
    hid_t type = is_text          ? hw_h5_type(HW_ELEMENT_VSTR)
                 : values != NULL ? hw_h5_type(HW_ELEMENT_I4)
                                  : H5T_IEEE_F32BE;
    hid_t id = H5Dcreate2(file, axis->name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    char name[80];
    (void)snprintf(name, sizeof name, "This is a netCDF dimension but not a netCDF variable.%10zu",
                   axis->n);
    enum hw_status status = HW_OK;
    if (id < 0 ||
        (values != NULL && axis->n > 0 &&
         H5Dwrite(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) ||
        H5DSset_scale(id, values != NULL ? axis->name : name) < 0) {
        status = hw_h5_fail(err, HW_OUTPUT, "axis %s: cannot be written", axis->name);
    }
    status = status != HW_OK
                 ? status
                 : hw_h5_set_values(id, "_Netcdf4Dimid", HW_ELEMENT_I4, 1, &number, err);
    if (status == HW_OK && values != NULL) {
        status = hw_h5_set_text(id, "long_name", axis->long_name, err);
    }
    hw_h5_close(&creation);
    hw_h5_close(&space);
    *ret_id = id;
    return status;
}

static enum hw_status write_attributes(hid_t root, const struct hw_result *r,
                                       struct hw_error *err) {
    char title[160];
    char date[32];
    time_t now = time(NULL);
    struct tm parts;
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
    (void)snprintf(title, sizeof title, "headwater %s", r->command);
    enum hw_status status = hw_h5_set_text(root, "Conventions", "CF-1.10", err);
    status = status == HW_OK ? hw_h5_set_text(root, "title", title, err) : status;
    status =
        status == HW_OK ? hw_h5_set_text(root, "format_name", "headwater result", err) : status;
    status = status == HW_OK ? hw_h5_set_text(root, "format_version", "1.0", err) : status;
    status = status == HW_OK ? hw_h5_set_text(root, "tool_version", HW_VERSION, err) : status;
    status = status == HW_OK ? hw_h5_set_text(root, "date_created", date, err) : status;
    status = status == HW_OK ? hw_h5_set_text(root, "command", r->command, err) : status;
    for (size_t i = 0; i < r->n_attributes && status == HW_OK; i++) {
        const struct result_attribute *a = &r->attributes[i];
        status = a->type == HW_RESULT_TEXT   ? hw_h5_set_text(root, a->name, a->text, err)
                 : a->type == HW_RESULT_REAL ? hw_h5_set_real(root, a->name, a->real, err)
                                             : hw_h5_set_integer(root, a->name, a->integer, err);
    }
    return status;
}

static enum hw_status write_file(const struct hw_result *r, const char *path,
                                 struct hw_error *err) {
    hid_t file = -1;
    hid_t root = -1;
    hid_t *scales = malloc((r->n_axes + 1) * sizeof *scales);
    enum hw_status status = scales != NULL
                                ? hw_h5_create(path, &file, err)
                                : hw_fail(err, HW_RESOURCE, "not enough memory for a result");
    for (size_t i = 0; i < r->n_axes && scales != NULL; i++) {
        scales[i] = -1;
    }
    if (status == HW_OK) {
        root = H5Gopen2(file, "/", H5P_DEFAULT);
        status = write_attributes(root, r, err);
    }
    for (size_t i = 0; i < r->n_axes && status == HW_OK; i++) {
        status = write_axis(file, &r->axes[i], (int32_t)i, &scales[i], err);
    }
    for (size_t i = 0; i < r->n_arrays && status == HW_OK; i++) {
        struct hw_result_array_view view = hw_result_array_at(r, i);
        status = write_array(file, &view, scales, &r->arrays[i], err);
    }
    for (size_t i = 0; i < r->n_axes && scales != NULL; i++) {
        hw_h5_close(&scales[i]);
    }
    free(scales);
    hw_h5_close(&root);
    if (file >= 0 && H5Fclose(file) < 0 && status == HW_OK) {
        status = hw_h5_fail(err, HW_OUTPUT, "%s: cannot be written", path);
    }
    return status;
}

enum hw_status hw_result_write(const struct hw_result *r, const char *path, bool is_replaced,
                               struct hw_error *err) {
    enum hw_status status = hw_result_status(r, err);
    if (status != HW_OK) {
        return status;
    }
    hw_commit_drop_stale(path);
    char *temporary = hw_commit_temporary(path);
    if (temporary == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    }
    status = write_file(r, temporary, err);
    status = status == HW_OK ? hw_commit_sync(temporary, err) : status;
    status = status == HW_OK ? hw_fault_check("merge-written", path, err) : status;
    status = status != HW_OK ? status
             : is_replaced   ? hw_commit_replace(temporary, path, err)
                             : hw_commit_rename(temporary, path, err);
    if (status != HW_OK) {
        (void)unlink(temporary);
    }
    free(temporary);
    return status;
}
