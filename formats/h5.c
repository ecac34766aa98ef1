// The little of HDF5 that every trace file needs.
#include "formats/h5.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hid_t half_type;
static hid_t text_type;

// IEEE half: sign bit 15, exponent of 5 bits at 10 with bias 15, mantissa of 10 bits. The library
// has no such type of its own.
static void make_types(void) {
    half_type = H5Tcopy(H5T_IEEE_F32LE);
    (void)H5Tset_fields(half_type, 15, 10, 5, 0, 10);
    (void)H5Tset_size(half_type, 2);
    (void)H5Tset_ebias(half_type, 15);
    text_type = H5Tcopy(H5T_C_S1);
    (void)H5Tset_size(text_type, H5T_VARIABLE);
    (void)H5Tset_cset(text_type, H5T_CSET_UTF8);
}

static void set_up(void) {
    (void)H5dont_atexit();
    (void)H5open();
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    (void)H5PLset_loading_state(0);
    make_types();
}

void hw_h5_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, set_up);
    // Each thread has an error stack of its own where the library is thread-safe.
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

enum { REASON_BYTES = 1024 };

// The first record of an upward walk is the place where things went wrong.
static herr_t keep_first(unsigned n, const H5E_error2_t *error, void *client) {
    if (n == 0) {
        (void)snprintf(client, REASON_BYTES, "%s", error->desc != NULL ? error->desc : "unknown");
    }
    return 0;
}

// Copies what stands in quotes after `key`.
static bool quoted(const char *text, const char *key, char *ret_value, size_t n) {
    const char *start = strstr(text, key);
    if (start == NULL) {
        return false;
    }
    start += strlen(key);
    (void)snprintf(ret_value, n, "%.*s", (int)strcspn(start, "'"), start);
    return true;
}

// The library tells a failed write with time, descriptor, buffer ...: file and reason are enough.
static void shorten(char *reason, size_t n) {
    char file[400], message[96];
    if (quoted(reason, "filename = '", file, sizeof file) &&
        quoted(reason, "error message = '", message, sizeof message)) {
        (void)snprintf(reason, n, "%s: %s", file, message);
    }
}

enum hw_status hw_h5_fail(struct hw_error *err, enum hw_status status, const char *format, ...) {
    int saved_errno = errno;
    char message[512];
    char reason[REASON_BYTES] = "no reason given";
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, reason);
    (void)H5Eclear2(H5E_DEFAULT);
    bool is_full =
        saved_errno == ENOSPC || saved_errno == EDQUOT || strstr(reason, "No space left") != NULL;
    shorten(reason, sizeof reason);
    // The library's text may hold names from the file.
    char safe[300];
    (void)hw_escape(safe, sizeof safe, reason, strlen(reason));
    return hw_fail(err, is_full ? HW_OUTPUT : status, "%s (HDF5: %s)", message, safe);
}

hid_t hw_h5_type(enum hw_element element) {
    switch (element) {
    case HW_ELEMENT_F4:
        return H5T_IEEE_F32LE;
    case HW_ELEMENT_F2:
        return half_type;
    case HW_ELEMENT_U2:
        return H5T_STD_U16LE;
    case HW_ELEMENT_I4:
        return H5T_STD_I32LE;
    case HW_ELEMENT_I8:
        return H5T_STD_I64LE;
    case HW_ELEMENT_U1:
        return H5T_STD_U8LE;
    case HW_ELEMENT_VSTR:
        return text_type;
    }
    return -1;
}

bool hw_h5_element(hid_t type, enum hw_element *ret_element) {
    static const enum hw_element elements[] = {HW_ELEMENT_F4,  HW_ELEMENT_F2, HW_ELEMENT_U2,
                                               HW_ELEMENT_I4,  HW_ELEMENT_I8, HW_ELEMENT_U1,
                                               HW_ELEMENT_VSTR};
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
        if (H5Tequal(type, hw_h5_type(elements[i])) > 0) {
            *ret_element = elements[i];
            return true;
        }
    }
    return false;
}

void hw_h5_close(hid_t *id) {
    if (*id >= 0) {
        (void)H5Idec_ref(*id);
    }
    *id = -1;
}

// At path, or in memory where path is NULL; image may be NULL.
static enum hw_status create(const char *path, struct hw_h5_image *image, hid_t *ret_file,
                             struct hw_error *err) {
    hw_h5_init();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    hid_t creation = H5Pcreate(H5P_FILE_CREATE);
    herr_t e = H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V110);
    unsigned order = H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED;
    e |= H5Pset_link_creation_order(creation, order) | H5Pset_attr_creation_order(creation, order);
    // Times would make equal runs differ.
    e |= H5Pset_obj_track_times(creation, false);
    if (path == NULL) {
        e |= H5Pset_fapl_core(access, 1 << 20, 0);
        e |= image != NULL ? hw_h5_image_keep(access, image) : 0;
    }
    hid_t file = e < 0 ? -1
                       : H5Fcreate(path != NULL ? path : "part.h5",
                                   path != NULL ? H5F_ACC_EXCL : H5F_ACC_TRUNC, creation, access);
    enum hw_status status = file >= 0 ? HW_OK
                                      : hw_h5_fail(err, HW_OUTPUT, "%s: cannot be created",
                                                   path != NULL ? path : "part in memory");
    hw_h5_close(&access);
    hw_h5_close(&creation);
    if (status == HW_OK) {
        *ret_file = file;
    }
    return status;
}

enum hw_status hw_h5_create(const char *path, hid_t *ret_file, struct hw_error *err) {
    return create(path, NULL, ret_file, err);
}

enum hw_status hw_h5_create_image(struct hw_h5_image *image, hid_t *ret_file,
                                  struct hw_error *err) {
    return create(NULL, image, ret_file, err);
}

enum hw_status hw_h5_open(const char *path, hid_t *ret_file, struct hw_error *err) {
    hw_h5_init();
    if (access(path, R_OK) != 0) {
        return hw_fail(err, HW_INPUT, "%s: %s", path, strerror(errno));
    }
    // A cache per open dataset, of which a capture has many: one chunk of rows of an ordinary model
    // fits, so that reading prompt by prompt does not expand it anew each time, and all of them
    // together stay small.
    hid_t properties = H5Pcreate(H5P_FILE_ACCESS);
    (void)H5Pset_cache(properties, 0, 521, 1 << 18, 0.75);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, properties);
    // Before any other call, which would forget the reason.
    enum hw_status status =
        file >= 0 ? HW_OK : hw_h5_fail(err, HW_INPUT, "%s: is no HDF5 file that can be read", path);
    hw_h5_close(&properties);
    if (status == HW_OK) {
        *ret_file = file;
    }
    return status;
}

enum hw_status hw_h5_create_group(hid_t parent, const char *name, hid_t *ret_group,
                                  struct hw_error *err) {
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
    unsigned order = H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED;
    herr_t e =
        H5Pset_link_creation_order(creation, order) | H5Pset_attr_creation_order(creation, order);
    e |= H5Pset_obj_track_times(creation, false);
    hid_t group = e < 0 ? -1 : H5Gcreate2(parent, name, H5P_DEFAULT, creation, H5P_DEFAULT);
    enum hw_status status =
        group >= 0 ? HW_OK : hw_h5_fail(err, HW_OUTPUT, "group %s: cannot be created", name);
    hw_h5_close(&creation);
    if (status == HW_OK) {
        *ret_group = group;
    }
    return status;
}

static enum hw_status write_attribute(hid_t object, const char *name, hid_t type, size_t n,
                                      const void *values, struct hw_error *err) {
    hsize_t dims[1] = {n};
    hid_t space = n == 1 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, dims, NULL);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    enum hw_status status = HW_OK;
    if (attribute < 0 || H5Awrite(attribute, type, values) < 0) {
        status = hw_h5_fail(err, HW_OUTPUT, "attribute %s: cannot be written", name);
    }
    hw_h5_close(&attribute);
    hw_h5_close(&space);
    return status;
}

enum hw_status hw_h5_set_text(hid_t object, const char *name, const char *text,
                              struct hw_error *err) {
    if (strlen(text) > 65000) {
        return hw_fail(err, HW_OUTPUT, "attribute %s has %zu bytes, expected at most 65000", name,
                       strlen(text));
    }
    return write_attribute(object, name, text_type, 1, &text, err);
}

enum hw_status hw_h5_set_integer(hid_t object, const char *name, int64_t value,
                                 struct hw_error *err) {
    return write_attribute(object, name, H5T_STD_I64LE, 1, &value, err);
}

enum hw_status hw_h5_set_real(hid_t object, const char *name, double value, struct hw_error *err) {
    return write_attribute(object, name, H5T_IEEE_F64LE, 1, &value, err);
}

enum hw_status hw_h5_set_values(hid_t object, const char *name, enum hw_element element, size_t n,
                                const void *values, struct hw_error *err) {
    return write_attribute(object, name, hw_h5_type(element), n, values, err);
}

// One value of a scalar attribute; class as wanted.
static enum hw_status read_attribute(hid_t object, const char *name, H5T_class_t wanted,
                                     hid_t memory_type, void *ret_value, struct hw_error *err) {
    enum hw_status status = HW_OK;
    hid_t attribute = -1, type = -1, space = -1;
    if (H5Aexists(object, name) <= 0) {
        return hw_fail(err, HW_INPUT, "attribute %s is missing", name);
    }
    attribute = H5Aopen(object, name, H5P_DEFAULT);
    type = attribute < 0 ? -1 : H5Aget_type(attribute);
    space = attribute < 0 ? -1 : H5Aget_space(attribute);
    bool is_text = wanted == H5T_STRING;
    if (type < 0 || space < 0 || H5Tget_class(type) != wanted ||
        H5Sget_simple_extent_npoints(space) != 1 || (is_text && H5Tis_variable_str(type) <= 0)) {
        status = hw_fail(err, HW_INPUT, "attribute %s is not one %s", name,
                         is_text                 ? "string"
                         : wanted == H5T_INTEGER ? "integer"
                                                 : "number");
    } else if (H5Aread(attribute, memory_type, ret_value) < 0) {
        status = hw_h5_fail(err, HW_INPUT, "attribute %s: cannot be read", name);
    }
    hw_h5_close(&space);
    hw_h5_close(&type);
    hw_h5_close(&attribute);
    return status;
}

// A string of the library's as one of ours.
static enum hw_status take_text(char *text, char **ret_text, struct hw_error *err) {
    char *copy = strdup(text != NULL ? text : "");
    (void)H5free_memory(text);
    if (copy == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a string");
    }
    *ret_text = copy;
    return HW_OK;
}

enum hw_status hw_h5_get_text(hid_t object, const char *name, char **ret_text,
                              struct hw_error *err) {
    char *text = NULL;
    enum hw_status status = read_attribute(object, name, H5T_STRING, text_type, &text, err);
    return status == HW_OK ? take_text(text, ret_text, err) : status;
}

enum hw_status hw_h5_get_integer(hid_t object, const char *name, int64_t *ret_value,
                                 struct hw_error *err) {
    int64_t value = 0;
    enum hw_status status =
        read_attribute(object, name, H5T_INTEGER, H5T_NATIVE_INT64, &value, err);
    if (status == HW_OK) {
        *ret_value = value;
    }
    return status;
}

enum hw_status hw_h5_get_real(hid_t object, const char *name, double *ret_value,
                              struct hw_error *err) {
    double value = 0;
    enum hw_status status = read_attribute(object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, &value, err);
    if (status == HW_OK) {
        *ret_value = value;
    }
    return status;
}

enum hw_status hw_h5_write_text(hid_t group, const char *name, const char *text,
                                struct hw_error *err) {
    enum hw_status status = HW_OK;
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t dataset =
        H5Dcreate2(group, name, text_type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (dataset < 0 || H5Dwrite(dataset, text_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &text) < 0) {
        status = hw_h5_fail(err, HW_OUTPUT, "%s: cannot be written", name);
    }
    hw_h5_close(&dataset);
    hw_h5_close(&space);
    return status;
}
