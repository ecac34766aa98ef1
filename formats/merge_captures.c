// Finished captures into one: attributes and documents are those of the first.
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "formats/commit.h"
#include "formats/h5.h"
#include "formats/merge_internal.h"
#include "formats/trace_reader_internal.h"

// Attributes that the writer makes itself.
static bool is_made(const char *name) {
    static const char *const names[] = {
        "Conventions", "format_name", "format_version", "complete",    "n_parts",
        "n_heads",     "n_kv_heads",  "max_tokens",     "coordinates", "is_virtual"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static herr_t note(hid_t object, const char *name, const H5A_info_t *info, void *context) {
    json_t *attributes = context;
    char *text = NULL;
    int64_t number = 0;
    double real = 0;
    if (is_made(name)) {
        return 0;
    }
    if (hw_h5_get_text(object, name, &text, NULL) == HW_OK) {
        (void)json_object_set_new(attributes, name, json_string(text));
        free(text);
    } else if (hw_h5_get_integer(object, name, &number, NULL) == HW_OK) {
        (void)json_object_set_new(attributes, name, json_integer(number));
    } else {
        hid_t id = H5Aopen(object, name, H5P_DEFAULT);
        hid_t type = id < 0 ? -1 : H5Aget_type(id);
        if (type >= 0 && H5Tget_class(type) == H5T_FLOAT &&
            H5Aread(id, H5T_NATIVE_DOUBLE, &real) >= 0) {
            (void)json_object_set_new(attributes, name, json_real(real));
        }
        hw_h5_close(&type);
        hw_h5_close(&id);
    }
    return 0;
}

static json_t *read_attributes(hid_t file, const char *group) {
    json_t *attributes = json_object();
    if (H5Lexists(file, group, H5P_DEFAULT) > 0 || strcmp(group, "/") == 0) {
        hid_t id = H5Gopen2(file, group, H5P_DEFAULT);
        (void)H5Aiterate2(id, H5_INDEX_CRT_ORDER, H5_ITER_INC, NULL, note, attributes);
        hw_h5_close(&id);
    }
    (void)H5Eclear2(H5E_DEFAULT);
    return attributes;
}

static char *read_document(struct hw_trace *trace, enum hw_dataset dataset) {
    char **texts = NULL;
    char *text = NULL;
    if (hw_trace_has(trace, dataset) &&
        hw_trace_read_text(trace, dataset, 0, 1, &texts, NULL) == HW_OK) {
        text = texts[0];
        free(texts);
    }
    return text;
}

static enum hw_status list_sources(struct hw_merge *merge, const char *const *paths, size_t n_paths,
                                   struct hw_error *err) {
    merge->sources = calloc(n_paths + 1, sizeof *merge->sources);
    if (merge->sources == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu captures", n_paths);
    }
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < n_paths && status == HW_OK; i++) {
        struct hw_merge_source *source = &merge->sources[i];
        merge->n_sources = i + 1;
        source->path = strdup(paths[i]);
        source->name = strdup(paths[i]);
        if (source->path == NULL || source->name == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for a path");
        }
        status = hw_commit_hash(paths[i], source->sha256, &source->n_bytes, err);
    }
    return status;
}

enum hw_status hw_merge_captures(const char *const *paths, size_t n_paths,
                                 const struct hw_merge_options *options, struct hw_error *err) {
    struct hw_merge merge = {.options = *options};
    struct hw_provenance provenance = {0};
    json_t *root = NULL, *attributes = NULL;
    char *documents[4] = {NULL};
    if (n_paths == 0 || options->is_virtual) {
        return hw_fail(err, HW_USAGE,
                       "merge takes captures, and --virtual only the parts of a run");
    }
    enum hw_status status = list_sources(&merge, paths, n_paths, err);
    status = status != HW_OK ? status : hw_merge_survey(&merge, err);
    if (status == HW_OK) {
        static const enum hw_dataset kinds[4] = {
            HW_DS_PROVENANCE_CONFIG_JSON, HW_DS_PROVENANCE_MODEL_METADATA_JSON,
            HW_DS_PROVENANCE_EDITS_JSON, HW_DS_PROVENANCE_KERNELS_JSON};
        for (int i = 0; i < 4; i++) {
            documents[i] = read_document(merge.first, kinds[i]);
        }
        root = read_attributes(merge.first->file, "/");
        attributes = read_attributes(merge.first->file, "provenance");
        provenance = (struct hw_provenance){root,         attributes,   documents[0],
                                            documents[1], documents[2], documents[3]};
        // Without a manifest: the result is no run that could be continued.
        status = hw_merge_produce(&merge, merge.first, &provenance, NULL, err);
    }
    for (int i = 0; i < 4; i++) {
        free(documents[i]);
    }
    json_decref(root);
    json_decref(attributes);
    hw_merge_close(&merge);
    return status;
}
