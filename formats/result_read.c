// Reading a result file back. The file is hostile: the whole of it is read once in a child process
// first, with limits, so that what HDF5 does not survive is a message.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hdf5_hl.h>

#include "formats/h5.h"
#include "formats/h5_apart.h"
#include "formats/result_internal.h"
#include "kernels/size.h"

enum { MAX_OBJECTS = 1024, MAX_VALUES = 1 << 28, MAX_NAME = 200 };

struct reading {
    hid_t file;
    struct hw_result *result;
    struct hw_error *err;
    enum hw_status status;
    bool is_axes; // the first walk takes the scales, the second the arrays
};

static bool type_of(hid_t dataset, enum hw_result_type *ret_type, size_t *ret_bytes) {
    hid_t type = H5Dget_type(dataset);
    bool is_known = true;
    *ret_bytes = sizeof(double);
    if (H5Tequal(type, H5T_IEEE_F64LE) > 0) {
        *ret_type = HW_RESULT_REAL;
    } else if (H5Tequal(type, H5T_STD_I64LE) > 0) {
        *ret_type = HW_RESULT_INTEGER;
    } else if (H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) > 0) {
        *ret_type = HW_RESULT_TEXT;
        *ret_bytes = 16; // of a string's reference into the heap
    } else {
        is_known = false;
    }
    hw_h5_close(&type);
    return is_known;
}

// The number of values, the axes checked; HW_INPUT.
static enum hw_status check(hid_t dataset, const char *name, size_t element_bytes, int *ret_rank,
                            size_t *ret_n, struct hw_error *err) {
    hid_t space = H5Dget_space(dataset);
    hssize_t n = H5Sget_simple_extent_npoints(space);
    int rank = H5Sget_simple_extent_ndims(space);
    enum hw_status status = HW_OK;
    if (n < 0 || n > MAX_VALUES || rank < 0 || rank > HW_RESULT_MAX_AXES) {
        status = hw_fail(err, HW_INPUT,
                         "%s: declares %lld values over %d axes, expected at most %d over %d", name,
                         (long long)n, rank, (int)MAX_VALUES, (int)HW_RESULT_MAX_AXES);
    }
    status =
        status == HW_OK ? hw_h5_check_storage(dataset, name, element_bytes, NULL, err) : status;
    status =
        status == HW_OK ? hw_h5_check_backing(dataset, name, space, element_bytes, err) : status;
    hw_h5_close(&space);
    *ret_rank = rank;
    *ret_n = n > 0 ? (size_t)n : 0;
    return status;
}

static enum hw_status read_values(hid_t dataset, hid_t memory_type, size_t n, void *values,
                                  const char *name, struct hw_error *err) {
    if (n > 0 && H5Dread(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        return hw_h5_fail(err, HW_INPUT, "%s: cannot be read", name);
    }
    return HW_OK;
}

// Strings of the library into strings of the result; NULL without memory.
static enum hw_status read_texts(struct reading *r, hid_t dataset, size_t n, const char *name,
                                 const char ***ret_texts) {
    char **raw = calloc(n + 1, sizeof *raw);
    const char **texts = hw_result_take(r->result, n, sizeof *texts);
    enum hw_status status =
        raw != NULL && texts != NULL
            ? read_values(dataset, hw_h5_type(HW_ELEMENT_VSTR), n, raw, name, r->err)
            : hw_fail(r->err, HW_RESOURCE, "not enough memory for %s", name);
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        texts[i] = hw_result_copy_text(r->result, raw[i]);
    }
    for (size_t i = 0; i < n && raw != NULL; i++) {
        (void)H5free_memory(raw[i]);
    }
    free(raw);
    *ret_texts = texts;
    return status;
}

static enum hw_status read_axis(struct reading *r, hid_t dataset, const char *name) {
    int rank;
    size_t n;
    hid_t type = H5Dget_type(dataset);
    bool is_number = H5Tequal(type, H5T_STD_I32LE) > 0;
    bool is_text = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) > 0;
    hw_h5_close(&type);
    hid_t space = H5Dget_space(dataset);
    hssize_t length = H5Sget_simple_extent_npoints(space);
    enum hw_status status = HW_OK;
    if (!is_number && !is_text) { // a dimension only: nothing is stored
        rank = H5Sget_simple_extent_ndims(space);
        n = length > 0 && length <= MAX_VALUES ? (size_t)length : 0;
    } else {
        status = check(dataset, name, is_text ? 16 : 4, &rank, &n, r->err);
    }
    hw_h5_close(&space);
    if (status == HW_OK && (rank != 1 || length > MAX_VALUES)) {
        status = hw_fail(r->err, HW_INPUT, "axis %s has %d axes itself", name, rank);
    }
    if (status != HW_OK) {
        return status;
    }
    const char **texts = NULL;
    int32_t *numbers = NULL;
    if (is_text) {
        status = read_texts(r, dataset, n, name, &texts);
    } else if (is_number) {
        numbers = hw_result_take(r->result, n, sizeof *numbers);
        status = numbers == NULL ? hw_result_status(r->result, r->err)
                                 : read_values(dataset, H5T_NATIVE_INT32, n, numbers, name, r->err);
    }
    if (status == HW_OK) {
        hw_result_axis(r->result, name, n, numbers, texts, "");
    }
    return status;
}

// The name of the scale that is attached to one axis.
static herr_t take_name(hid_t dataset, unsigned axis, hid_t scale, void *client) {
    char path[MAX_NAME] = "";
    if (H5Iget_name(scale, path, sizeof path) <= 1) {
        return -1;
    }
    (void)snprintf(client, MAX_NAME, "%s", path + 1);
    return 1;
}

static enum hw_status read_array(struct reading *r, hid_t dataset, const char *name) {
    enum hw_result_type type;
    size_t element_bytes;
    int rank;
    size_t n;
    char axes[HW_RESULT_MAX_AXES][MAX_NAME];
    if (!type_of(dataset, &type, &element_bytes)) {
        return hw_fail(r->err, HW_INPUT, "%s: is of none of the types f8, i8, text", name);
    }
    enum hw_status status = check(dataset, name, element_bytes, &rank, &n, r->err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_result_field field = {.name = name, .type = type, .units = "", .description = ""};
    char *long_name = NULL;
    size_t product = 1;
    for (int k = 0; k < rank && status == HW_OK; k++) {
        int start = 0;
        axes[k][0] = '\0';
        (void)H5DSiterate_scales(dataset, (unsigned)k, &start, take_name, axes[k]);
        size_t at = hw_result_find_axis(r->result, axes[k]);
        if (at == SIZE_MAX || !hw_size_mul(product, r->result->axes[at].n, &product)) {
            status = hw_fail(r->err, HW_INPUT, "%s: axis %d has no scale in the file", name, k);
        }
        field.axes[k] = axes[k];
    }
    if (status == HW_OK && product != n) {
        status =
            hw_fail(r->err, HW_INPUT, "%s: has %zu values, its axes have %zu", name, n, product);
    }
    const char **texts = NULL;
    void *values = NULL;
    if (status == HW_OK && type == HW_RESULT_TEXT) {
        status = read_texts(r, dataset, n, name, &texts);
        values = texts;
    } else if (status == HW_OK) {
        values = hw_result_take(r->result, n, sizeof(double));
        status = values == NULL
                     ? hw_result_status(r->result, r->err)
                     : read_values(dataset,
                                   type == HW_RESULT_REAL ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64, n,
                                   values, name, r->err);
    }
    if (status == HW_OK && hw_h5_get_text(dataset, "long_name", &long_name, NULL) == HW_OK) {
        field.long_name = long_name;
    }
    if (status == HW_OK) {
        hw_result_add(r->result, &field, values);
    }
    free(long_name);
    return status;
}

static herr_t visit(hid_t group, const char *name, const H5L_info_t *info, void *client) {
    struct reading *r = client;
    hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
    if (dataset < 0 || strlen(name) >= MAX_NAME ||
        r->result->n_axes + r->result->n_arrays >= MAX_OBJECTS) {
        char shown[80];
        r->status = hw_h5_fail(r->err, HW_INPUT, "%s: is no dataset of a result",
                               hw_escape(shown, sizeof shown, name, strlen(name)));
    } else if ((H5DSis_scale(dataset) > 0) == r->is_axes) {
        r->status = r->is_axes ? read_axis(r, dataset, name) : read_array(r, dataset, name);
    }
    hw_h5_close(&dataset);
    return r->status == HW_OK ? 0 : 1;
}

// What the writer adds to every result by itself.
static bool is_frame(const char *name) {
    static const char *const names[] = {"Conventions",    "title",        "format_name",
                                        "format_version", "tool_version", "date_created",
                                        "command"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static herr_t take_attribute(hid_t root, const char *name, const H5A_info_t *info, void *client) {
    struct reading *r = client;
    char *text = NULL;
    int64_t integer;
    double real;
    if (strlen(name) >= MAX_NAME || is_frame(name) || r->result->n_attributes >= MAX_OBJECTS) {
        return 0;
    }
    if (hw_h5_get_text(root, name, &text, NULL) == HW_OK) {
        hw_result_set_text(r->result, name, text);
    } else if (hw_h5_get_integer(root, name, &integer, NULL) == HW_OK) {
        hw_result_set_integer(r->result, name, integer);
    } else if (hw_h5_get_real(root, name, &real, NULL) == HW_OK) {
        hw_result_set_real(r->result, name, real);
    }
    free(text);
    return 0;
}

static enum hw_status read_attributes(struct reading *r, hid_t root) {
    (void)H5Aiterate2(root, H5_INDEX_CRT_ORDER, H5_ITER_INC, NULL, take_attribute, r);
    (void)H5Eclear2(H5E_DEFAULT);
    return hw_result_status(r->result, r->err);
}

static enum hw_status read_file(hid_t file, struct hw_result **ret_result, struct hw_error *err) {
    char *format = NULL;
    char *command = NULL;
    struct reading r = {.file = file, .err = err};
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    enum hw_status status = hw_h5_get_text(root, "format_name", &format, err);
    if (status == HW_OK && strcmp(format, "headwater result") != 0) {
        char shown[80];
        status = hw_fail(err, HW_INPUT, "is a '%s', expected a 'headwater result'",
                         hw_escape(shown, sizeof shown, format, strlen(format)));
    }
    status = status == HW_OK ? hw_h5_get_text(root, "command", &command, err) : status;
    status = status == HW_OK ? hw_h5_check_links(root, "", err) : status;
    status = status == HW_OK ? hw_result_open(command, &r.result, err) : status;
    for (int walk = 0; walk < 2 && status == HW_OK; walk++) {
        r.is_axes = walk == 0;
        if (H5Literate(root, H5_INDEX_CRT_ORDER, H5_ITER_INC, NULL, visit, &r) < 0) {
            status = hw_h5_fail(err, HW_INPUT, "its datasets cannot be listed");
        }
        status = status == HW_OK ? r.status : status;
    }
    status = status == HW_OK ? read_attributes(&r, root) : status;
    free(format);
    free(command);
    hw_h5_close(&root);
    if (status != HW_OK) {
        hw_result_close(&r.result);
        return status;
    }
    *ret_result = r.result;
    return HW_OK;
}

static enum hw_status look_for_format(hid_t file, struct hw_error *err) {
    char *format = NULL;
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    enum hw_status status = hw_h5_get_text(root, "format_name", &format, err);
    status = status == HW_OK && strcmp(format, "headwater result") != 0 ? HW_WRONG : status;
    free(format);
    hw_h5_close(&root);
    return status;
}

bool hw_result_is_file(const char *path) {
    hw_h5_init();
    return hw_h5_apart(path, look_for_format, NULL) == HW_OK;
}

static enum hw_status try_reading(hid_t file, struct hw_error *err) {
    struct hw_result *result = NULL;
    enum hw_status status = read_file(file, &result, err);
    hw_result_close(&result);
    return status;
}

enum hw_status hw_result_read(const char *path, struct hw_result **ret_result,
                              struct hw_error *err) {
    hid_t file = -1;
    hw_h5_init();
    enum hw_status status = hw_h5_apart(path, try_reading, err);
    status = status == HW_OK ? hw_h5_open(path, &file, err) : status;
    status = status == HW_OK ? read_file(file, ret_result, err) : status;
    if (file >= 0) {
        (void)H5Fclose(file);
    }
    if (status != HW_OK && err != NULL && strncmp(err->message, path, strlen(path)) != 0) {
        (void)hw_fail_context(err, status, "%s: ", path);
    }
    return status;
}
