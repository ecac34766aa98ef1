// What is in a capture; see info.h.
#include "tools/info.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "analysis/map_source.h"
#include "formats/json.h"
#include "formats/trace_reader.h"
#include "kernels/size.h"
#include "tools/options.h"
#include "tools/report.h"
#include "tools/table.h"

int hw_info_is_hdf5(const char *path) {
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    unsigned char start[8];
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) {
        return 0; // a folder, or org/name
    }
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return 0;
    }
    size_t n = fread(start, 1, sizeof start, file);
    (void)fclose(file);
    return n == sizeof start && memcmp(start, signature, sizeof start) == 0;
}

// A text attribute, or null where the file does not have it.
static json_t *attribute(struct hw_trace *trace, enum hw_group group, const char *name) {
    char *text = NULL;
    if (hw_trace_attribute(trace, group, name, &text, NULL) != HW_OK) {
        return json_null();
    }
    json_t *value = hw_json_text(text);
    free(text);
    return value;
}

static json_t *attributes(struct hw_trace *trace, enum hw_group group, const char *const *names,
                          size_t n) {
    json_t *object = json_object();
    for (size_t i = 0; i < n; i++) {
        json_t *value = attribute(trace, group, names[i]);
        if (json_is_null(value)) {
            json_decref(value);
        } else {
            (void)json_object_set_new(object, names[i], value);
        }
    }
    return object;
}

static json_t *numbers(const int32_t *values, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, json_integer(values[i]));
    }
    return list;
}

// Type and shape of every dataset that is there.
static json_t *datasets(struct hw_trace *trace) {
    static const char *const elements[] = {"f4", "f2", "u2", "i4", "i8", "u1", "string"};
    const struct hw_layout *layout = hw_trace_layout(trace);
    json_t *list = json_array();
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        const struct hw_schema_row *row = hw_schema_row(dataset);
        if (!hw_trace_has(trace, dataset)) {
            continue;
        }
        char path[128];
        const char *group = hw_group_name(row->group);
        json_t *shape = json_array();
        json_t *axes = json_array();
        for (size_t a = 0; a < row->n_axes; a++) {
            size_t length = a == 0 ? hw_trace_n_rows(trace, dataset)
                                   : hw_layout_axis(layout, row->group, row->axes[a]);
            (void)json_array_append_new(shape, json_integer((json_int_t)length));
            (void)json_array_append_new(axes, json_string(hw_axis_name(row->axes[a])));
        }
        (void)snprintf(path, sizeof path, "%s%s%s", group, group[0] != '\0' ? "/" : "", row->name);
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "dataset",
                                                    path, "record", row->record, "written",
                                                    hw_schema_record(dataset), "type",
                                                    elements[hw_layout_element(layout, dataset)],
                                                    "shape", shape, "axes", axes));
    }
    return list;
}

static json_t *prompts(const struct hw_trace *trace) {
    json_t *list = json_array();
    for (size_t i = 0; i < hw_trace_n_prompts(trace); i++) {
        static const char *const states[] = {"ok", "truncated", "failed"};
        const struct hw_trace_prompt *p = hw_trace_prompt(trace, i);
        json_t *item =
            json_pack("{s:i, s:o, s:I, s:I, s:s, s:o}", "prompt", p->prompt, "name",
                      hw_json_text(p->name), "T", (json_int_t)p->n_prompt_tokens, "generated",
                      (json_int_t)(p->n_tokens - p->n_prompt_tokens), "status",
                      p->status < 3 ? states[p->status] : "?", "domain", hw_json_text(p->domain));
        if (p->error[0] != '\0') {
            (void)json_object_set_new(item, "error", hw_json_text(p->error));
        }
        (void)json_array_append_new(list, item);
    }
    return list;
}

// Where attention maps can be had from: {"source", "layers", "exact"}; null: nowhere.
static json_t *maps(struct hw_trace *trace) {
    struct hw_map_source *source = NULL;
    if (hw_map_source_open(trace, "rollout", 1, &source, NULL) != HW_OK) {
        return json_null();
    }
    json_t *object = json_pack("{s:s, s:I, s:b}", "source", hw_map_source_record(source), "layers",
                               (json_int_t)hw_map_source_n_layers(source), "exact",
                               hw_map_source_error(source) == 0);
    hw_map_source_close(&source);
    return object;
}

// The edits that the model ran under, as the capture says; an empty list where it has none.
static json_t *edits(struct hw_trace *trace) {
    json_t *list = NULL;
    char **texts = NULL;
    if (hw_trace_has(trace, HW_DS_PROVENANCE_EDITS_JSON) &&
        hw_trace_read_text(trace, HW_DS_PROVENANCE_EDITS_JSON, 0, 1, &texts, NULL) == HW_OK) {
        if (hw_json_parse("edits_json", texts[0], strlen(texts[0]), &list, NULL) == HW_OK &&
            !json_is_array(list)) {
            json_decref(list);
            list = NULL;
        }
        hw_trace_free_text(texts, 1);
    }
    return list != NULL ? list : json_array();
}

enum hw_status hw_info_capture(const char *path, json_t **ret_document, struct hw_error *err) {
    static const char *const root[] = {"title", "run_id", "tool_version", "date_created",
                                       "history"};
    static const char *const provenance[] = {"command_line",
                                             "start_time",
                                             "end_time",
                                             "hostname",
                                             "device",
                                             "threads",
                                             "dtype",
                                             "math_mode",
                                             "cpu_flags",
                                             "kernels",
                                             "record",
                                             "prompts_sha256",
                                             "model_name",
                                             "model_architecture",
                                             "model_quantisation",
                                             "model_sha256",
                                             "model_sha256_of",
                                             "model_tokenizer_kind",
                                             "model_tokenizer_pre",
                                             "model_tokenizer_sha256",
                                             "model_add_bos",
                                             "git_commit"};
    struct hw_trace *trace = NULL;
    struct stat info = {0};
    enum hw_status status = hw_trace_open(path, &trace, err);
    if (status != HW_OK) {
        return status;
    }
    (void)stat(path, &info);
    const struct hw_group_axes *axes = &hw_trace_layout(trace)->groups[HW_GROUP_ROOT];
    json_t *document = json_pack(
        "{s:s, s:o, s:I, s:b, s:b, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o}", "kind",
        "capture", "path", hw_json_text(path), "bytes", (json_int_t)info.st_size, "complete",
        hw_trace_is_complete(trace), "virtual", hw_trace_is_virtual(trace), "attributes",
        attributes(trace, HW_GROUP_ROOT, root, HW_LENGTH(root)), "provenance",
        attributes(trace, HW_GROUP_PROVENANCE, provenance, HW_LENGTH(provenance)), "layers",
        numbers(axes->layers, axes->n_layers), "heads", numbers(axes->heads, axes->n_heads),
        "kv_heads", (json_int_t)axes->n_kv_heads, "tokens", (json_int_t)hw_trace_n_tokens(trace),
        "prompts", prompts(trace), "datasets", datasets(trace), "maps", maps(trace), "edits",
        edits(trace));
    hw_trace_close(&trace);
    if (document == NULL) {
        return hw_fail(err, HW_RESOURCE, "%s: not enough memory to describe the capture", path);
    }
    *ret_document = document;
    return HW_OK;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "-";
}

// What the prompts are, in one line: how many, their lengths, what failed.
static void print_prompts(const json_t *document) {
    const json_t *list = json_object_get(document, "prompts");
    json_int_t least = 0;
    json_int_t most = 0;
    size_t n_counts[3] = {0};
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item) {
        const char *state = text_of(item, "status");
        json_int_t t = json_integer_value(json_object_get(item, "T"));
        size_t kind = strcmp(state, "failed") == 0 ? 2 : strcmp(state, "truncated") == 0;
        n_counts[kind]++;
        if (kind < 2) {
            least = least == 0 || t < least ? t : least;
            most = t > most ? t : most;
        }
    }
    (void)printf("prompts     %zu, T = %" JSON_INTEGER_FORMAT, json_array_size(list), least);
    if (most != least) {
        (void)printf(" to %" JSON_INTEGER_FORMAT, most);
    }
    (void)printf(", %" JSON_INTEGER_FORMAT " tokens in all",
                 json_integer_value(json_object_get(document, "tokens")));
    if (n_counts[1] > 0) {
        (void)printf(", %zu truncated", n_counts[1]);
    }
    (void)printf(n_counts[2] > 0 ? ", %zu failed\n" : "\n", n_counts[2]);
}

static enum hw_status print_datasets(const json_t *document, struct hw_error *err) {
    struct hw_table *table = hw_table_open("<record|<dataset|<type|<~shape");
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(document, "datasets"), i, item) {
        char shape[160] = "";
        size_t a;
        const json_t *length;
        json_array_foreach(json_object_get(item, "shape"), a, length) {
            size_t n = strlen(shape);
            (void)snprintf(shape + n, sizeof shape - n, "%s%" JSON_INTEGER_FORMAT,
                           a > 0 ? " x " : "", json_integer_value(length));
        }
        hw_table_cell(table, "%s", text_of(item, "written"));
        hw_table_cell(table, "%s", text_of(item, "dataset"));
        hw_table_cell(table, "%s", text_of(item, "type"));
        hw_table_cell(table, "%s", shape);
    }
    enum hw_status status = hw_table_print(table, stdout, 0, err);
    hw_table_close(&table);
    return status;
}

enum hw_status hw_info_print_capture(const json_t *document, struct hw_error *err) {
    char size[32];
    const json_t *root = json_object_get(document, "attributes");
    const json_t *provenance = json_object_get(document, "provenance");
    hw_print_line("capture     %s (%s%s%s)", text_of(document, "path"),
                  hw_format_bytes(size, sizeof size,
                                  (uint64_t)json_integer_value(json_object_get(document, "bytes"))),
                  json_is_true(json_object_get(document, "virtual")) ? ", refers to its parts" : "",
                  json_is_true(json_object_get(document, "complete")) ? "" : ", a part of a run");
    hw_print_line("run         %s, %s", text_of(root, "run_id"), text_of(root, "date_created"));
    if (json_object_get(provenance, "model_name") != NULL) {
        hw_print_line("model       %s (%s, %s)", text_of(provenance, "model_name"),
                      text_of(provenance, "model_architecture"),
                      text_of(provenance, "model_quantisation"));
    }
    if (json_object_get(provenance, "command_line") != NULL) {
        hw_print_line("command     %s", text_of(provenance, "command_line"));
    }
    size_t i;
    const json_t *spec;
    json_array_foreach(json_object_get(document, "edits"), i, spec) {
        const char *text = json_is_string(spec) ? json_string_value(spec) : "?";
        char line[512];
        hw_print_line("edit        %s", hw_escape(line, sizeof line, text, strlen(text)));
    }
    print_prompts(document);
    (void)printf("axes        %zu layers, %zu heads, %" JSON_INTEGER_FORMAT
                 " key/value heads recorded\n",
                 json_array_size(json_object_get(document, "layers")),
                 json_array_size(json_object_get(document, "heads")),
                 json_integer_value(json_object_get(document, "kv_heads")));
    const json_t *source = json_object_get(document, "maps");
    if (json_is_object(source)) {
        bool is_read = strcmp(text_of(source, "source"), "attention_maps") == 0;
        (void)printf("maps        of %" JSON_INTEGER_FORMAT " layers, %s%s\n",
                     json_integer_value(json_object_get(source, "layers")),
                     is_read ? "recorded (attention_maps)" : "to be rebuilt (attention_vectors)",
                     json_is_true(json_object_get(source, "exact")) ? "" : ", rounded");
    } else {
        (void)printf("maps        none: neither attention_maps nor attention_vectors\n");
    }
    (void)fputc('\n', stdout);
    return print_datasets(document, err);
}
