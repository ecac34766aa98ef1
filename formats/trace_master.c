// The parts of a virtual master: HDF5 reads a missing one as fill values without a word, so they
// are looked at here.
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "formats/commit.h"
#include "formats/trace_reader_internal.h"

static enum hw_status check_part(const char *folder, const json_t *part, bool is_hashed,
                                 struct hw_error *err) {
    const char *file = json_string_value(json_object_get(part, "file"));
    const char *sha256 = json_string_value(json_object_get(part, "sha256"));
    json_int_t n_bytes = json_integer_value(json_object_get(part, "bytes"));
    char found[65];
    uint64_t found_bytes = 0;
    if (file == NULL || sha256 == NULL) {
        return hw_fail(err, HW_INPUT, "parts_json: an entry without file or sha256");
    }
    char *path = file[0] == '/' ? strdup(file) : hw_path_format("%s/%s", folder, file);
    struct stat info;
    enum hw_status status = HW_OK;
    if (path == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    } else if (stat(path, &info) != 0) {
        status = hw_fail(err, HW_INPUT, "the part %s is missing", path);
    } else if (info.st_size != n_bytes) {
        status = hw_fail(err, HW_INPUT, "the part %s has %lld bytes, expected %lld", path,
                         (long long)info.st_size, (long long)n_bytes);
    } else if (is_hashed) {
        status = hw_commit_hash(path, found, &found_bytes, err);
        if (status == HW_OK && strcmp(found, sha256) != 0) {
            status = hw_fail(err, HW_INPUT, "the part %s has SHA-256 %s, expected %s", path, found,
                             sha256);
        }
    }
    free(path);
    return status;
}

enum hw_status hw_trace_check_parts(struct hw_trace *trace, bool is_hashed, struct hw_error *err) {
    char **texts = NULL;
    char *copy = NULL;
    json_t *parts = NULL;
    json_error_t reason;
    if (!trace->shape.is_virtual) {
        return HW_OK;
    }
    enum hw_status status =
        hw_trace_read_text(trace, HW_DS_PROVENANCE_PARTS_JSON, 0, 1, &texts, err);
    if (status == HW_OK) {
        parts = json_loads(texts[0], JSON_REJECT_DUPLICATES, &reason);
        copy = strdup(trace->path);
        if (!json_is_array(parts) || copy == NULL) {
            status = hw_fail(err, HW_INPUT, "parts_json is no list");
        }
    }
    const char *folder = status == HW_OK ? dirname(copy) : NULL;
    for (size_t i = 0; status == HW_OK && i < json_array_size(parts); i++) {
        status = check_part(folder, json_array_get(parts, i), is_hashed, err);
    }
    json_decref(parts);
    free(copy);
    hw_trace_free_text(texts, 1);
    return status;
}
