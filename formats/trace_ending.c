// The end of a capture file: what the layout alone says, and attributes of the file.
#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"
#include "formats/trace_file.h"
#include "kernels/size.h"

enum hw_status hw_trace_set_attributes(hid_t object, const json_t *attributes,
                                       struct hw_error *err) {
    const char *key;
    json_t *value;
    enum hw_status status = HW_OK;
    json_object_foreach((json_t *)attributes, key, value) {
        if (json_is_string(value)) {
            status = hw_h5_set_text(object, key, json_string_value(value), err);
        } else if (json_is_integer(value)) {
            status = hw_h5_set_integer(object, key, json_integer_value(value), err);
        } else if (json_is_real(value)) {
            status = hw_h5_set_real(object, key, json_real_value(value), err);
        } else if (json_is_boolean(value)) {
            uint8_t flag = json_is_true(value);
            status = hw_h5_set_values(object, key, HW_ELEMENT_U1, 1, &flag, err);
        } else {
            status = hw_fail(err, HW_INTERNAL, "attribute %s is neither text nor number", key);
        }
        if (status != HW_OK) {
            return status;
        }
    }
    return status;
}

// Datasets that do not grow: the layout has them.
static enum hw_status write_fixed(struct hw_trace_file *file, enum hw_dataset dataset,
                                  struct hw_error *err) {
    const struct hw_layout *layout = file->layout;
    const struct hw_schema_row *row = hw_schema_row(dataset);
    const struct hw_group_axes *axes = &layout->groups[row->group];
    const void *values = layout->fixed[dataset];
    int32_t *kv_heads = NULL;
    if (dataset == HW_DS_HEAD_KV_HEAD) {
        kv_heads = malloc((axes->n_heads + 1) * sizeof *kv_heads);
        if (kv_heads == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu heads", axes->n_heads);
        }
        size_t share = hw_size_max(1, layout->n_heads / hw_size_max(1, layout->n_kv_heads));
        for (size_t h = 0; h < axes->n_heads; h++) {
            kv_heads[h] = axes->heads[h] / (int32_t)share;
        }
        values = kv_heads;
    } else if (strcmp(row->name, "recorded") == 0) {
        values = axes->recorded;
    }
    enum hw_status status = HW_OK;
    if (values == NULL) {
        status = hw_fail(err, HW_INTERNAL, "%s/%s: the layout has no values",
                         hw_group_name(row->group), row->name);
    } else {
        hid_t type = hw_h5_type(hw_layout_element(layout, dataset));
        // A scalar text is written as a pointer to it.
        const void *data = row->n_axes == 0 ? (const void *)&values : values;
        bool is_empty = false;
        for (size_t i = 0; i < row->n_axes; i++) {
            is_empty |= hw_layout_axis(layout, row->group, row->axes[i]) == 0;
        }
        if (!is_empty &&
            H5Dwrite(file->datasets[dataset], type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
            status = hw_h5_fail(err, HW_OUTPUT, "%s/%s: cannot be written",
                                hw_group_name(row->group), row->name);
        }
    }
    free(kv_heads);
    return status;
}

static enum hw_status set_coordinates(const struct hw_trace_file *file, enum hw_group group,
                                      struct hw_error *err) {
    static const char *const names[] = {"token_prompt", "token_position", "token_id",
                                        "token_text",   "prompt_name",    "n_tokens",
                                        "head_kv_head"};
    char text[160] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        enum hw_dataset dataset = hw_schema_find(group, names[i]);
        if (dataset == HW_N_DATASETS || file->datasets[dataset] < 0) {
            continue;
        }
        size_t n = strlen(names[i]);
        if (used > 0) {
            text[used++] = ' ';
        }
        memcpy(text + used, names[i], n + 1); // all names together fit
        used += n;
    }
    return used == 0 ? HW_OK : hw_h5_set_text(file->groups[group], "coordinates", text, err);
}

static enum hw_status set_root_attributes(struct hw_trace_file *file,
                                          const struct hw_trace_ending *ending,
                                          struct hw_error *err) {
    hid_t root = file->groups[HW_GROUP_ROOT];
    uint8_t is_complete = ending->is_complete;
    enum hw_status status = hw_h5_set_text(root, "Conventions", "CF-1.10", err);
    status =
        status != HW_OK ? status : hw_h5_set_text(root, "format_name", "headwater capture", err);
    status = status != HW_OK ? status : hw_h5_set_text(root, "format_version", "1.0", err);
    status = status != HW_OK
                 ? status
                 : hw_h5_set_values(root, "complete", HW_ELEMENT_U1, 1, &is_complete, err);
    status = status != HW_OK ? status
                             : hw_h5_set_integer(root, "n_parts", (int64_t)ending->n_parts, err);
    status = status != HW_OK
                 ? status
                 : hw_h5_set_integer(root, "n_heads", (int64_t)file->layout->n_heads, err);
    status = status != HW_OK
                 ? status
                 : hw_h5_set_integer(root, "n_kv_heads", (int64_t)file->layout->n_kv_heads, err);
    status = status != HW_OK
                 ? status
                 : hw_h5_set_integer(root, "max_tokens", (int64_t)file->layout->max_tokens, err);
    if (status == HW_OK && file->groups[HW_GROUP_MASSIVE] >= 0) {
        status = hw_h5_set_integer(file->groups[HW_GROUP_MASSIVE], "n_dropped",
                                   (int64_t)ending->n_massive_dropped, err);
    }
    if (status == HW_OK && file->groups[HW_GROUP_MEANS] >= 0) {
        const char *key = file->layout->means_by;
        status =
            hw_h5_set_text(file->groups[HW_GROUP_MEANS], "means_by", key != NULL ? key : "", err);
    }
    if (status == HW_OK && ending->provenance != NULL) {
        status = hw_trace_set_attributes(root, ending->provenance->root_attributes, err);
    }
    return status;
}

enum hw_status hw_trace_file_finish(struct hw_trace_file *file,
                                    const struct hw_trace_ending *ending, struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (!hw_layout_has(file->layout, dataset)) {
            continue;
        }
        if (file->datasets[i] < 0) {
            status = hw_trace_file_create_dataset(file, dataset, ending->lengths, H5P_DEFAULT, err);
            if (status == HW_OK && hw_schema_is_fixed(dataset)) {
                status = write_fixed(file, dataset, err);
            }
        }
    }
    for (int g = 0; g < HW_N_GROUPS && status == HW_OK; g++) {
        if (file->groups[g] >= 0 && g != HW_GROUP_VOCABULARY) {
            status = hw_trace_file_attach_scales(file, (enum hw_group)g, ending->lengths,
                                                 ending->prompts, err);
            status = status != HW_OK ? status : set_coordinates(file, (enum hw_group)g, err);
        }
    }
    status = status != HW_OK ? status : set_root_attributes(file, ending, err);
    if (status == HW_OK && ending->provenance != NULL) {
        if (file->groups[HW_GROUP_PROVENANCE] < 0) {
            status = hw_h5_create_group(file->file, "provenance",
                                        &file->groups[HW_GROUP_PROVENANCE], err);
        }
        status = status != HW_OK ? status
                                 : hw_trace_set_attributes(file->groups[HW_GROUP_PROVENANCE],
                                                           ending->provenance->attributes, err);
    }
    return status;
}

static enum hw_status write_document(struct hw_trace_file *file, enum hw_dataset dataset,
                                     const char *text, struct hw_error *err) {
    if (text == NULL) {
        return HW_OK;
    }
    enum hw_status status =
        hw_trace_file_create_dataset(file, dataset, &file->lengths, H5P_DEFAULT, err);
    if (status == HW_OK && H5Dwrite(file->datasets[dataset], hw_h5_type(HW_ELEMENT_VSTR), H5S_ALL,
                                    H5S_ALL, H5P_DEFAULT, &text) < 0) {
        status = hw_h5_fail(err, HW_OUTPUT, "provenance/%s: cannot be written",
                            hw_schema_row(dataset)->name);
    }
    return status;
}

enum hw_status hw_trace_file_write_documents(struct hw_trace_file *file,
                                             const struct hw_provenance *provenance,
                                             const char *parts_json, const char *manifest_json,
                                             struct hw_error *err) {
    const struct {
        enum hw_dataset dataset;
        const char *text;
    } documents[] = {
        {HW_DS_PROVENANCE_CONFIG_JSON, provenance->config_json},
        {HW_DS_PROVENANCE_MODEL_METADATA_JSON, provenance->model_metadata_json},
        {HW_DS_PROVENANCE_PARTS_JSON, parts_json},
        {HW_DS_PROVENANCE_MANIFEST_JSON, manifest_json},
        {HW_DS_PROVENANCE_EDITS_JSON, provenance->edits_json},
        {HW_DS_PROVENANCE_KERNELS_JSON, provenance->kernels_json},
    };
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < sizeof documents / sizeof *documents && status == HW_OK; i++) {
        status = write_document(file, documents[i].dataset, documents[i].text, err);
    }
    return status;
}

enum hw_status hw_trace_file_write_vocabulary(struct hw_trace_file *file,
                                              const struct hw_vocabulary *vocabulary,
                                              struct hw_error *err) {
    struct hw_trace_lengths lengths = file->lengths;
    lengths.n_ids = vocabulary->n_ids;
    lengths.n_vocabulary_bytes = (size_t)vocabulary->byte_start[vocabulary->n_ids];
    const struct {
        enum hw_dataset dataset;
        const void *values;
    } columns[] = {
        {HW_DS_VOCABULARY_TEXT, vocabulary->text},
        {HW_DS_VOCABULARY_TYPE, vocabulary->type},
        {HW_DS_VOCABULARY_BYTE, vocabulary->bytes},
        {HW_DS_VOCABULARY_BYTE_START, vocabulary->byte_start},
    };
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < sizeof columns / sizeof *columns && status == HW_OK; i++) {
        enum hw_dataset dataset = columns[i].dataset;
        status = hw_trace_file_create_dataset(file, dataset, &lengths, H5P_DEFAULT, err);
        size_t n = dataset == HW_DS_VOCABULARY_BYTE ? lengths.n_vocabulary_bytes : lengths.n_ids;
        if (status == HW_OK && n > 0 &&
            H5Dwrite(file->datasets[dataset], hw_h5_type(hw_schema_row(dataset)->element), H5S_ALL,
                     H5S_ALL, H5P_DEFAULT, columns[i].values) < 0) {
            status = hw_h5_fail(err, HW_OUTPUT, "vocabulary/%s: cannot be written",
                                hw_schema_row(dataset)->name);
        }
    }
    return status != HW_OK
               ? status
               : hw_trace_file_attach_scales(file, HW_GROUP_VOCABULARY, &lengths, NULL, err);
}
