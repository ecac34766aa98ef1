// What must hold of a capture file before a value of it is read.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/h5.h"
#include "formats/prompt_rows.h"
#include "formats/trace_reader_internal.h"
#include "kernels/attention.h"
#include "kernels/size.h"

enum {
    HW_MAX_AXIS_LENGTH = 1 << 30,
    HW_MAX_CHUNK_BYTES = 64 << 20,
    HW_MAX_DEFLATE_RATIO = 1100, // a little above deflate's own limit of 1032
    HW_MAX_LINKS = 4096,
    HW_MAX_CHECK_SECONDS = 60,
};
#define HW_MAX_DATASET_BYTES ((uint64_t)1 << 44)
#define HW_MAX_CHECK_BYTES ((rlim_t)2 << 30)

struct walk {
    bool is_refused;
    size_t n_links;
    char name[80];
};

static herr_t check_link(hid_t group, const char *name, const H5L_info_t *info, void *client) {
    struct walk *walk = client;
    walk->n_links++;
    if (info->type != H5L_TYPE_HARD || walk->n_links > HW_MAX_LINKS) {
        (void)hw_escape(walk->name, sizeof walk->name, name, strlen(name));
        walk->is_refused = true;
        return 1;
    }
    return 0;
}

static enum hw_status check_links(hid_t group, const char *group_name, struct hw_error *err) {
    struct walk walk = {0};
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, check_link, &walk) < 0) {
        return hw_h5_fail(err, HW_INPUT, "group /%s: cannot be listed", group_name);
    }
    if (walk.is_refused) {
        return hw_fail(err, HW_INPUT,
                       "group /%s: link %s is not a hard one, or one of more than %d", group_name,
                       walk.name, (int)HW_MAX_LINKS);
    }
    return HW_OK;
}

// Whether `name` exists in the group and is an object of the wanted type.
static bool has_object(hid_t group, const char *name, H5O_type_t type) {
    H5O_info_t info;
    return H5Lexists(group, name, H5P_DEFAULT) > 0 &&
           H5Oget_info_by_name(group, name, &info, H5P_DEFAULT) >= 0 && info.type == type;
}

static enum hw_status check_storage(hid_t dataset, const char *name, size_t element_bytes,
                                    bool may_be_virtual, bool *ret_is_virtual,
                                    struct hw_error *err) {
    hid_t creation = H5Dget_create_plist(dataset);
    enum hw_status status = HW_OK;
    H5D_layout_t layout = H5Pget_layout(creation);
    int n_filters = H5Pget_nfilters(creation);
    *ret_is_virtual = layout == H5D_VIRTUAL;
    if (creation < 0 || layout < 0 || n_filters < 0) {
        status = hw_h5_fail(err, HW_INPUT, "%s: its storage cannot be told", name);
    } else if (H5Pget_external_count(creation) != 0) {
        status = hw_fail(err, HW_INPUT, "%s: is stored in another file", name);
    } else if (layout == H5D_VIRTUAL && !may_be_virtual) {
        status = hw_fail(err, HW_INPUT, "%s: is virtual in a file that is no master", name);
    }
    for (int i = 0; i < n_filters && status == HW_OK; i++) {
        unsigned flags, config;
        size_t n_values = 0;
        H5Z_filter_t filter =
            H5Pget_filter2(creation, (unsigned)i, &flags, &n_values, NULL, 0, NULL, &config);
        if (filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_DEFLATE &&
            filter != H5Z_FILTER_FLETCHER32) {
            status = hw_fail(err, HW_INPUT, "%s: filter %d is none of shuffle, deflate, fletcher32",
                             name, (int)filter);
        }
    }
    hsize_t chunk[H5S_MAX_RANK] = {0};
    if (status == HW_OK && layout == H5D_CHUNKED) {
        int rank = H5Pget_chunk(creation, H5S_MAX_RANK, chunk);
        size_t n_bytes = element_bytes;
        for (int i = 0; i < rank && n_bytes <= HW_MAX_CHUNK_BYTES; i++) {
            n_bytes = chunk[i] > HW_MAX_CHUNK_BYTES ? SIZE_MAX : n_bytes * (size_t)chunk[i];
        }
        if (rank < 0 || n_bytes > HW_MAX_CHUNK_BYTES) {
            status = hw_fail(err, HW_INPUT, "%s: a chunk is larger than %d bytes", name,
                             (int)HW_MAX_CHUNK_BYTES);
        }
    }
    hw_h5_close(&creation);
    return status;
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

// A declared size must be backed by stored bytes, or reading it would allocate from nothing.
static enum hw_status check_backing(hid_t dataset, const char *name, hid_t space,
                                    size_t element_bytes, struct hw_error *err) {
    hssize_t n_values = H5Sget_simple_extent_npoints(space);
    uint64_t stored = H5Dget_storage_size(dataset);
    uint64_t declared = (uint64_t)n_values * element_bytes; // below the cap of check_lengths
    if (n_values < 0 || declared / HW_MAX_DEFLATE_RATIO > stored + 4096) {
        return hw_fail(err, HW_INPUT, "%s: declares %llu bytes, but %llu are stored", name,
                       (unsigned long long)declared, (unsigned long long)stored);
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
        status = status != HW_OK
                     ? status
                     : check_storage(id, name, element_bytes, may_be_virtual, &is_virtual, err);
        if (status == HW_OK && !is_virtual && !hw_dataset_is_map(dataset)) {
            status = check_backing(id, name, space, element_bytes, err);
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
    bool is_virtual;
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
        status = check_storage(id, name, 4, false, &is_virtual, err);
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
                                : check_links(group, name, err);
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

// In the child: the check, its message through the pipe, its status as exit code.
static void run_child(const char *path, int out) {
    struct rlimit seconds = {HW_MAX_CHECK_SECONDS, HW_MAX_CHECK_SECONDS};
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CPU, &seconds);
    (void)setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__
    // What the process has mapped (a model, say) counts, so the limit is that and what a check may
    // take besides.
    unsigned long n_pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL && fscanf(statm, "%lu", &n_pages) == 1) {
        rlim_t most = (rlim_t)n_pages * (rlim_t)sysconf(_SC_PAGESIZE) + HW_MAX_CHECK_BYTES;
        struct rlimit memory = {most, most};
        (void)setrlimit(RLIMIT_AS, &memory);
    }
#endif
    struct hw_error error = {HW_OK, ""};
    struct hw_trace_shape *shape = malloc(sizeof *shape);
    hid_t file = -1;
    enum hw_status status = shape == NULL ? HW_RESOURCE : hw_h5_open(path, &file, &error);
    status = status != HW_OK ? status : hw_trace_check(file, shape, &error);
    if (status != HW_OK) {
        (void)!write(out, error.message, strlen(error.message));
    }
    _exit((int)status);
}

enum hw_status hw_trace_check_apart(const char *path, struct hw_error *err) {
    int ends[2];
    if (pipe(ends) != 0) {
        return hw_fail(err, HW_RESOURCE, "no pipe for the check of %s: %s", path, strerror(errno));
    }
    pid_t child = fork();
    if (child == 0) {
        (void)close(ends[0]);
        run_child(path, ends[1]);
    }
    (void)close(ends[1]);
    char message[HW_ERROR_BYTES] = "";
    size_t used = 0;
    ssize_t n = 0;
    while (child > 0 && used + 1 < sizeof message &&
           (n = read(ends[0], message + used, sizeof message - 1 - used)) > 0) {
        used += (size_t)n;
    }
    (void)close(ends[0]);
    int result = 0;
    if (child < 0 || waitpid(child, &result, 0) != child) {
        return hw_fail(err, HW_RESOURCE, "no process for the check of %s: %s", path,
                       strerror(errno));
    }
    if (!WIFEXITED(result)) {
        return hw_fail(err, HW_INPUT, "the HDF5 library does not survive reading it (signal %d)",
                       WTERMSIG(result));
    }
    message[used] = '\0';
    return WEXITSTATUS(result) == 0
               ? HW_OK
               : hw_fail(err, (enum hw_status)WEXITSTATUS(result), "%s", message);
}
