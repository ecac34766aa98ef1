// The file that a run will make, or has made; see run_output.h.
#include "formats/run_output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/commit.h"
#include "formats/h5.h"
#include "formats/h5_apart.h"
#include "formats/trace_reader.h"

// Found out now rather than when all is captured.
static enum hw_status check_name(const char *path, struct hw_error *err) {
    struct stat info;
    char *temporary = hw_commit_temporary(path);
    enum hw_status status = HW_OK;
    if (temporary == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    } else if (lstat(temporary, &info) != 0 && errno == ENAMETOOLONG) {
        status = hw_fail(err, HW_OUTPUT, "%s: %s", path, strerror(errno));
    }
    free(temporary);
    return status;
}

static enum hw_status look_for_capture(hid_t file, struct hw_error *err) {
    char *format = NULL;
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    enum hw_status status = hw_h5_get_text(root, "format_name", &format, err);
    bool is_capture = status == HW_OK && strcmp(format, "headwater capture") == 0;
    free(format);
    hw_h5_close(&root);
    return is_capture ? HW_OK : HW_WRONG;
}

enum hw_status hw_run_output_check(const char *path, bool is_replaced, struct hw_error *err) {
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    struct stat info;
    if (stat(path, &info) != 0) {
        return check_name(path, err);
    }
    if (!S_ISREG(info.st_mode)) {
        return hw_fail(err, HW_OUTPUT, "%s: is no regular file (expected one, or a free name)",
                       path);
    }
    unsigned char head[sizeof signature] = {0};
    FILE *file = fopen(path, "rb");
    size_t n = file != NULL ? fread(head, 1, sizeof head, file) : 0;
    if (file != NULL) {
        (void)fclose(file);
    }
    if (is_replaced && info.st_size > 0 &&
        (n != sizeof head || memcmp(head, signature, sizeof head) != 0)) {
        return hw_fail(err, HW_OUTPUT, "%s: is no HDF5 file; --overwrite replaces only captures",
                       path);
    }
    if (is_replaced && info.st_size > 0) {
        hw_h5_init();
        // What cannot be opened is a capture that was damaged.
        if (hw_h5_apart(path, look_for_capture, NULL) == HW_WRONG) {
            return hw_fail(err, HW_OUTPUT,
                           "%s: is HDF5 but no capture; --overwrite replaces only captures", path);
        }
    }
    return check_name(path, err);
}

enum hw_status hw_run_output_judge(const char *path, const struct hw_manifest *wanted,
                                   bool *ret_is_complete, struct hw_error *err) {
    struct hw_trace *trace = NULL;
    char **texts = NULL;
    struct hw_error inner;
    struct stat info;
    if (lstat(path, &info) != 0) {
        *ret_is_complete = false;
        return HW_OK;
    }
    if (S_ISDIR(info.st_mode)) {
        return hw_fail(err, HW_OUTPUT, "%s: is a folder (expected a file, or a free name)", path);
    }
    enum hw_status status = hw_trace_open(path, &trace, &inner);
    if (status != HW_OK || !hw_trace_is_complete(trace) ||
        !hw_trace_has(trace, HW_DS_PROVENANCE_MANIFEST_JSON) ||
        hw_trace_read_text(trace, HW_DS_PROVENANCE_MANIFEST_JSON, 0, 1, &texts, &inner) != HW_OK) {
        status = hw_fail(
            err, HW_OUTPUT,
            "%s: exists and is not a finished capture of this run; --overwrite replaces it", path);
    } else {
        status = hw_manifest_compare_kept(texts[0], wanted, err);
        if (status != HW_OK) {
            (void)hw_fail_context(err, status, "%s: exists (--overwrite replaces it) and ", path);
        }
    }
    hw_trace_free_text(texts, 1);
    hw_trace_close(&trace);
    if (status == HW_OK) {
        *ret_is_complete = true;
    }
    return status;
}

bool hw_run_output_is_master(const char *path) {
    struct hw_trace *trace = NULL;
    struct hw_error inner;
    bool is_master = hw_trace_open(path, &trace, &inner) == HW_OK && hw_trace_is_virtual(trace);
    hw_trace_close(&trace);
    return is_master;
}

bool hw_run_output_is_of(const char *path, const struct hw_manifest *manifest) {
    const char *wanted =
        json_string_value(json_object_get(manifest->provenance.root_attributes, "run_id"));
    struct hw_trace *trace = NULL;
    char *found = NULL;
    struct hw_error inner;
    bool is_of = wanted != NULL && hw_trace_open(path, &trace, &inner) == HW_OK &&
                 hw_trace_is_complete(trace) && !hw_trace_is_virtual(trace) &&
                 hw_trace_attribute(trace, HW_GROUP_ROOT, "run_id", &found, &inner) == HW_OK &&
                 strcmp(found, wanted) == 0;
    free(found);
    hw_trace_close(&trace);
    return is_of;
}
