// headwater list: what this build can do, read from the tables that do it.
#include <stdio.h>
#include <string.h>

#include "analysis/sweep.h"
#include "formats/schema.h"
#include "kernels/ops.h"
#include "probes/probe.h"
#include "tools/command.h"
#include "tools/list_edits.h"
#include "tools/report.h"
#include "tools/table.h"
#include "tracer/model.h"

#define KINDS "probes|records|edits|metrics|families|ops|commands"

// A listing is an array of JSON objects and the columns of its table; both are made by one walk.
struct listing {
    json_t *items;
    struct hw_table *table;
};

static void add(const struct listing *list, json_t *item) {
    (void)json_array_append_new(list->items, item); // NULL is noticed when the document is printed
}

static void list_commands(const struct listing *list) {
    for (size_t i = 0; hw_commands()[i] != NULL; i++) {
        const struct hw_command *command = hw_commands()[i];
        hw_table_cell(list->table, "%s", command->name);
        hw_table_cell(list->table, "%s", command->summary);
        add(list, json_pack("{s:s, s:s}", "name", command->name, "summary", command->summary));
    }
}

static void list_ops(const struct listing *list) {
    struct hw_ops ops;
    hw_ops_init(&ops, hw_cpu_level());
    for (int op = 0; op < HW_N_OPS; op++) {
        const char *name = hw_op_name((enum hw_op)op);
        const char *chosen = ops.implementation[op] != NULL ? ops.implementation[op] : "none";
        hw_table_cell(list->table, "%s", name);
        hw_table_cell(list->table, "%s", chosen);
        add(list, json_pack("{s:s, s:s}", "name", name, "implementation", chosen));
    }
}

static void list_metrics(const struct listing *list) {
    for (int k = 0; k < HW_N_METRICS; k++) {
        const struct hw_metric_row *row = &hw_metric_rows[k];
        hw_table_cell(list->table, "%s", row->name);
        hw_table_cell(list->table, "%s", row->units);
        hw_table_cell(list->table, "%s", row->needs_target ? "target" : "");
        hw_table_cell(list->table, "%s", row->text);
        add(list, json_pack("{s:s, s:s, s:b, s:s}", "name", row->name, "units", row->units,
                            "needs_target", (int)row->needs_target, "description", row->text));
    }
}

static json_t *axes_json(const struct hw_schema_row *row) {
    json_t *axes = json_array();
    for (size_t i = 0; i < row->n_axes; i++) {
        (void)json_array_append_new(axes, json_string(hw_axis_name(row->axes[i])));
    }
    return axes;
}

static void list_records(const struct listing *list) {
    static const char *const elements[] = {"f4", "f2", "u2", "i4", "i8", "u1", "string"};
    for (int dataset = 0; dataset < HW_N_DATASETS; dataset++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)dataset);
        const char *group = hw_group_name(row->group);
        char path[128];
        json_t *axes = axes_json(row);
        (void)snprintf(path, sizeof path, "%s%s%s", group, group[0] != '\0' ? "/" : "", row->name);
        hw_table_cell(list->table, "%s", hw_schema_record((enum hw_dataset)dataset));
        hw_table_cell(list->table, "%s", path);
        hw_table_cell(list->table, "%s", row->long_name);
        add(list, json_pack("{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s}", "record", row->record,
                            "dataset", path, "axes", axes, "type", elements[row->element],
                            "long_name", row->long_name, "units", row->units, "description",
                            row->description, "hook", row->hook));
    }
}

static void list_probes(const struct listing *list) {
    for (size_t i = 0; hw_probes[i] != NULL; i++) {
        const struct hw_probe *probe = hw_probes[i];
        hw_table_cell(list->table, "%s", probe->record);
        hw_table_cell(list->table, "%s", probe->is_default ? "yes" : "");
        hw_table_cell(list->table, "%s", probe->hooks);
        hw_table_cell(list->table, "%s", probe->description);
        add(list, json_pack("{s:s, s:b, s:s, s:s, s:b, s:b}", "record", probe->record, "default",
                            probe->is_default, "hooks", probe->hooks, "description",
                            probe->description, "needs_generation", probe->needs_generation,
                            "narrowed_by_positions", probe->is_narrowed_by_positions));
    }
}

static void list_families(const struct listing *list) {
    for (const char *const *name = hw_model_families(); *name != NULL; name++) {
        hw_table_cell(list->table, "%s", *name);
        add(list, json_pack("{s:s}", "name", *name));
    }
}

static const struct {
    const char *name;
    const char *columns;
    void (*list)(const struct listing *list);
} kinds[] = {
    {"probes", "<record|<default|<~hook|<~what it records", list_probes},
    {"families", "<family", list_families},
    {"commands", "<command|<~what it does", list_commands},
    {"ops", "<op|<implementation", list_ops},
    {"metrics", "<metric|<unit|<needs|<~what it is", list_metrics},
    {"records", "<record|<dataset|<~what it is", list_records},
};

static enum hw_status list_edits(bool is_json, struct hw_error *err) {
    if (!is_json) {
        return hw_list_edits_print(err);
    }
    return hw_json_print(json_pack("{s:o}", "edits", hw_list_edits_json()), err);
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const char *kind = in->arguments[0];
    size_t k = 0;
    if (strcmp(kind, "edits") == 0) {
        return list_edits(in->common.json, err);
    }
    while (k < HW_LENGTH(kinds) && strcmp(kinds[k].name, kind) != 0) {
        k++;
    }
    if (k == HW_LENGTH(kinds)) {
        char shown[100];
        return hw_fail(err, HW_USAGE, "list: nothing of that name (expected %s, found '%s')", KINDS,
                       hw_escape(shown, sizeof shown, kind, strlen(kind)));
    }
    struct listing list = {json_array(), hw_table_open(kinds[k].columns)};
    kinds[k].list(&list);
    enum hw_status status = HW_OK;
    bool is_ops = strcmp(kind, "ops") == 0;
    if (in->common.json) {
        json_t *document = json_pack("{s:O}", kind, list.items);
        if (is_ops) {
            (void)json_object_set_new(document, "cpu_flags", json_string(hw_cpu_flags()));
            (void)json_object_set_new(document, "level",
                                      json_string(hw_level_name(hw_cpu_level())));
        }
        status = hw_json_print(document, err);
    } else {
        if (is_ops) {
            (void)printf("processor: %s (%s)\n\n", hw_level_name(hw_cpu_level()), hw_cpu_flags());
        }
        status = hw_table_print(list.table, stdout, 0, err);
    }
    json_decref(list.items);
    hw_table_close(&list.table);
    return status;
}

const struct hw_command hw_command_list = {
    .name = "list",
    .summary = "list what this build can do",
    .arguments = "KIND",
    .min_arguments = 1,
    .max_arguments = 1,
    .description =
        "KIND is one of " KINDS ".\n\n"
        "probes: what --record can name, and the TransformerLens hooks that stand for it. "
        "edits: how --edit changes a model, and the interventions of papers that it knows by name. "
        "metrics: what `headwater ablate` measures. "
        "families: the model families that can be run. commands: what can be called. ops: every "
        "operation on numbers and the implementation "
        "that was chosen for this processor. records: every dataset of a capture with the name "
        "that --record knows it by (\"(always)\": in every capture; \"(as needed)\": with its "
        "group or an option) and what it is; --json adds "
        "axes, type, unit, formula and the TransformerLens hook.",
    .examples = "headwater list ops\nheadwater list records --json\n",
    .common = HW_COMMON_JSON,
    .run = run,
};
