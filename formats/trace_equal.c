// Two files, object by object.
#include "formats/trace_equal.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"
#include "formats/trace_reader_internal.h"
#include "kernels/size.h"

enum { BLOCK_BYTES = 16 << 20, MAX_NAME = 200, MAX_OBJECTS = 4096 };

// Attributes and datasets that tell when, where and how a file was made; scales refer by addresses.
static bool is_exempt(const char *name) {
    static const char *const names[] = {
        "run_id",  "date_created", "history",    "hostname", "command_line",   "threads",
        "n_parts", "parts_json",   "start_time", "end_time", "DIMENSION_LIST", "REFERENCE_LIST"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool same_type(hid_t a, hid_t b) {
    return H5Tequal(a, b) > 0;
}

static bool same_space(hid_t a, hid_t b) {
    return H5Sextent_equal(a, b) > 0;
}

// Values of n elements of a type: strings by their text, all else by its bits.
static bool same_values(hid_t type, const unsigned char *x, const unsigned char *y, size_t n) {
    if (H5Tis_variable_str(type) <= 0) {
        return memcmp(x, y, n * H5Tget_size(type)) == 0;
    }
    for (size_t i = 0; i < n; i++) {
        const char *s = ((char *const *)x)[i], *t = ((char *const *)y)[i];
        if (strcmp(s != NULL ? s : "", t != NULL ? t : "") != 0) {
            return false;
        }
    }
    return true;
}

static enum hw_status compare_attribute(hid_t a, hid_t b, const char *place, const char *name,
                                        struct hw_error *err) {
    hid_t ids[2] = {H5Aopen(a, name, H5P_DEFAULT), H5Aopen(b, name, H5P_DEFAULT)};
    hid_t types[2] = {H5Aget_type(ids[0]), H5Aget_type(ids[1])};
    hid_t spaces[2] = {H5Aget_space(ids[0]), H5Aget_space(ids[1])};
    enum hw_status status = HW_OK;
    if (ids[0] < 0 || ids[1] < 0 || !same_type(types[0], types[1]) ||
        !same_space(spaces[0], spaces[1])) {
        status = hw_fail(err, HW_WRONG, "%s: attribute %s is of another kind", place, name);
    } else {
        size_t n = (size_t)H5Sget_simple_extent_npoints(spaces[0]);
        size_t n_bytes = n * H5Tget_size(types[0]);
        unsigned char *x = calloc(n_bytes + 1, 1), *y = calloc(n_bytes + 1, 1);
        if (x == NULL || y == NULL || H5Aread(ids[0], types[0], x) < 0 ||
            H5Aread(ids[1], types[1], y) < 0) {
            status = hw_h5_fail(err, HW_INPUT, "%s: attribute %s cannot be read", place, name);
        } else {
            status = same_values(types[0], x, y, n)
                         ? HW_OK
                         : hw_fail(err, HW_WRONG, "%s: attribute %s differs", place, name);
            if (H5Tis_variable_str(types[0]) > 0) {
                (void)H5Dvlen_reclaim(types[0], spaces[0], H5P_DEFAULT, x);
                (void)H5Dvlen_reclaim(types[1], spaces[1], H5P_DEFAULT, y);
            }
        }
        free(x);
        free(y);
    }
    for (int i = 0; i < 2; i++) {
        hw_h5_close(&spaces[i]);
        hw_h5_close(&types[i]);
        hw_h5_close(&ids[i]);
    }
    return status;
}

struct names {
    char items[MAX_OBJECTS][MAX_NAME];
    size_t n;
};

static herr_t note_attribute(hid_t object, const char *name, const H5A_info_t *info,
                             void *context) {
    struct names *names = context;
    if (!is_exempt(name) && names->n < MAX_OBJECTS) {
        (void)snprintf(names->items[names->n++], MAX_NAME, "%s", name);
    }
    return 0;
}

static herr_t note_link(hid_t group, const char *name, const H5L_info_t *info, void *context) {
    struct names *names = context;
    if (!is_exempt(name) && names->n < MAX_OBJECTS) {
        (void)snprintf(names->items[names->n++], MAX_NAME, "%s", name);
    }
    return 0;
}

static enum hw_status compare_names(const struct names *a, const struct names *b, const char *place,
                                    const char *kind, struct hw_error *err) {
    for (size_t i = 0; i < a->n || i < b->n; i++) {
        const char *x = i < a->n ? a->items[i] : "nothing", *y = i < b->n ? b->items[i] : "nothing";
        if (strcmp(x, y) != 0) {
            return hw_fail(err, HW_WRONG, "%s: %s %s against %s", place, kind, x, y);
        }
    }
    return HW_OK;
}

// Attributes in the order of their names.
static enum hw_status compare_attributes(hid_t a, hid_t b, const char *place,
                                         struct hw_error *err) {
    struct names *names = calloc(2, sizeof *names);
    if (names == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to compare");
    }
    (void)H5Aiterate2(a, H5_INDEX_NAME, H5_ITER_INC, NULL, note_attribute, &names[0]);
    (void)H5Aiterate2(b, H5_INDEX_NAME, H5_ITER_INC, NULL, note_attribute, &names[1]);
    enum hw_status status = compare_names(&names[0], &names[1], place, "attribute", err);
    for (size_t i = 0; i < names[0].n && status == HW_OK; i++) {
        status = compare_attribute(a, b, place, names[0].items[i], err);
    }
    free(names);
    return status;
}

// Layout, chunk and filters.
static bool same_creation(hid_t a, hid_t b) {
    hid_t x = H5Dget_create_plist(a), y = H5Dget_create_plist(b);
    hsize_t chunks[2][H5S_MAX_RANK] = {{0}};
    bool is_same = H5Pget_layout(x) == H5Pget_layout(y) && H5Pget_nfilters(x) == H5Pget_nfilters(y);
    if (is_same && H5Pget_layout(x) == H5D_CHUNKED) {
        is_same =
            H5Pget_chunk(x, H5S_MAX_RANK, chunks[0]) == H5Pget_chunk(y, H5S_MAX_RANK, chunks[1]) &&
            memcmp(chunks[0], chunks[1], sizeof chunks[0]) == 0;
    }
    for (int i = 0; is_same && i < H5Pget_nfilters(x); i++) {
        unsigned flags[2], config, values[2][8] = {{0}};
        size_t n[2] = {8, 8};
        H5Z_filter_t f =
            H5Pget_filter2(x, (unsigned)i, &flags[0], &n[0], values[0], 0, NULL, &config);
        H5Z_filter_t g =
            H5Pget_filter2(y, (unsigned)i, &flags[1], &n[1], values[1], 0, NULL, &config);
        is_same = f == g && n[0] == n[1] && memcmp(values[0], values[1], sizeof values[0]) == 0;
    }
    hw_h5_close(&x);
    hw_h5_close(&y);
    return is_same;
}

// Rows first .. first + n of the first axis.
static enum hw_status compare_rows(const hid_t ids[2], hid_t type, hid_t space, size_t first,
                                   size_t n, const char *place, struct hw_error *err) {
    hsize_t start[H5S_MAX_RANK] = {first}, count[H5S_MAX_RANK];
    int rank = H5Sget_simple_extent_dims(space, count, NULL);
    size_t n_values = n;
    count[0] = n;
    for (int i = 1; i < rank; i++) {
        n_values *= (size_t)count[i];
    }
    hid_t memory = H5Screate_simple(rank, count, NULL);
    hid_t file_space = H5Scopy(space);
    unsigned char *x = calloc(n_values + 1, H5Tget_size(type)),
                  *y = calloc(n_values + 1, H5Tget_size(type));
    enum hw_status status = HW_OK;
    if (x == NULL || y == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory to compare %s", place);
    } else if (H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
               H5Dread(ids[0], type, memory, file_space, H5P_DEFAULT, x) < 0 ||
               H5Dread(ids[1], type, memory, file_space, H5P_DEFAULT, y) < 0) {
        status = hw_h5_fail(err, HW_INPUT, "%s: cannot be read", place);
    } else {
        if (!same_values(type, x, y, n_values)) {
            status = hw_fail(err, HW_WRONG, "%s: rows %zu to %zu differ", place, first, first + n);
        }
        if (H5Tis_variable_str(type) > 0) {
            (void)H5Dvlen_reclaim(type, memory, H5P_DEFAULT, x);
            (void)H5Dvlen_reclaim(type, memory, H5P_DEFAULT, y);
        }
    }
    free(x);
    free(y);
    hw_h5_close(&file_space);
    hw_h5_close(&memory);
    return status;
}

static enum hw_status compare_datasets(hid_t a, hid_t b, const char *place, struct hw_error *err) {
    hid_t types[2] = {H5Dget_type(a), H5Dget_type(b)},
          spaces[2] = {H5Dget_space(a), H5Dget_space(b)};
    enum hw_status status = HW_OK;
    hsize_t dims[H5S_MAX_RANK] = {1};
    int rank = H5Sget_simple_extent_dims(spaces[0], dims, NULL);
    if (!same_type(types[0], types[1]) || !same_space(spaces[0], spaces[1])) {
        status = hw_fail(err, HW_WRONG, "%s: types or sizes differ", place);
    } else if (!same_creation(a, b)) {
        status = hw_fail(err, HW_WRONG, "%s: layouts, chunks or filters differ", place);
    } else if (rank == 0) {
        char *x = NULL, *y = NULL;
        bool is_text = H5Tis_variable_str(types[0]) > 0;
        if (!is_text || H5Dread(a, types[0], H5S_ALL, H5S_ALL, H5P_DEFAULT, &x) < 0 ||
            H5Dread(b, types[0], H5S_ALL, H5S_ALL, H5P_DEFAULT, &y) < 0) {
            status = hw_fail(err, HW_INPUT, "%s: is no text that can be read", place);
        } else if (strcmp(x != NULL ? x : "", y != NULL ? y : "") != 0) {
            status = hw_fail(err, HW_WRONG, "%s: differs", place);
        }
        (void)H5free_memory(x);
        (void)H5free_memory(y);
    } else {
        size_t row_bytes = H5Tget_size(types[0]);
        for (int i = 1; i < rank; i++) {
            row_bytes *= (size_t)dims[i];
        }
        size_t block = hw_size_max(1, BLOCK_BYTES / hw_size_max(1, row_bytes));
        for (size_t at = 0; at < dims[0] && status == HW_OK && row_bytes > 0; at += block) {
            size_t n = hw_size_min(block, (size_t)dims[0] - at);
            status = compare_rows((const hid_t[2]){a, b}, types[0], spaces[0], at, n, place, err);
        }
    }
    for (int i = 0; i < 2; i++) {
        hw_h5_close(&spaces[i]);
        hw_h5_close(&types[i]);
    }
    return status;
}

static enum hw_status compare_object(hid_t a, hid_t b, const char *place, int depth,
                                     struct hw_error *err);

static enum hw_status compare_members(hid_t a, hid_t b, const char *place, int depth,
                                      struct hw_error *err) {
    struct names *names = calloc(2, sizeof *names);
    if (names == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to compare");
    }
    (void)H5Literate(a, H5_INDEX_NAME, H5_ITER_INC, NULL, note_link, &names[0]);
    (void)H5Literate(b, H5_INDEX_NAME, H5_ITER_INC, NULL, note_link, &names[1]);
    enum hw_status status = compare_names(&names[0], &names[1], place, "object", err);
    for (size_t i = 0; i < names[0].n && status == HW_OK; i++) {
        char inner[2 * MAX_NAME];
        (void)snprintf(inner, sizeof inner, "%s/%s", place, names[0].items[i]);
        hid_t x = H5Oopen(a, names[0].items[i], H5P_DEFAULT),
              y = H5Oopen(b, names[0].items[i], H5P_DEFAULT);
        status = compare_object(x, y, inner, depth + 1, err);
        hw_h5_close(&x);
        hw_h5_close(&y);
    }
    free(names);
    return status;
}

static enum hw_status compare_object(hid_t a, hid_t b, const char *place, int depth,
                                     struct hw_error *err) {
    if (a < 0 || b < 0 || H5Iget_type(a) != H5Iget_type(b) || depth > 4) {
        return hw_fail(err, HW_WRONG, "%s: objects of another kind", place);
    }
    enum hw_status status = compare_attributes(a, b, place, err);
    if (status != HW_OK) {
        return status;
    }
    return H5Iget_type(a) == H5I_DATASET ? compare_datasets(a, b, place, err)
                                         : compare_members(a, b, place, depth, err);
}

enum hw_status hw_trace_equal(const char *a, const char *b, struct hw_error *err) {
    hid_t files[2] = {-1, -1}, roots[2] = {-1, -1};
    enum hw_status status = hw_trace_check_apart(a, err);
    status = status != HW_OK ? status : hw_trace_check_apart(b, err);
    status = status != HW_OK ? status : hw_h5_open(a, &files[0], err);
    status = status != HW_OK ? status : hw_h5_open(b, &files[1], err);
    if (status == HW_OK) {
        roots[0] = H5Gopen2(files[0], "/", H5P_DEFAULT);
        roots[1] = H5Gopen2(files[1], "/", H5P_DEFAULT);
        status = compare_object(roots[0], roots[1], "", 0, err);
    }
    for (int i = 0; i < 2; i++) {
        hw_h5_close(&roots[i]);
        hw_h5_close(&files[i]);
    }
    return status;
}
