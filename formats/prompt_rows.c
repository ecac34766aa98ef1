// Counting the rows of the running prompt.
#include "formats/prompt_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/size.h"

bool hw_dataset_is_map(enum hw_dataset dataset) {
    return dataset == HW_DS_ATTENTION_PATTERN || dataset == HW_DS_ATTENTION_SCORES;
}

void hw_element_fill(enum hw_element element, size_t n_values, void *ret_values) {
    switch (element) {
    case HW_ELEMENT_F4:
        for (size_t i = 0; i < n_values; i++) {
            ((float *)ret_values)[i] = NAN;
        }
        break;
    case HW_ELEMENT_F2:
        for (size_t i = 0; i < n_values; i++) {
            ((uint16_t *)ret_values)[i] = 0x7e00;
        }
        break;
    case HW_ELEMENT_U1:
        memset(ret_values, 0, n_values);
        break;
    case HW_ELEMENT_U2:
    case HW_ELEMENT_I4:
    case HW_ELEMENT_I8:
        memset(ret_values, 0xff, n_values * hw_element_bytes(element));
        break;
    case HW_ELEMENT_VSTR:
        break;
    }
}

// Whether probes append rows to it (and so somebody must count them).
static bool is_counted(const struct hw_layout *layout, enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    return row->record[0] != '\0' && !hw_schema_is_fixed(dataset) && hw_layout_has(layout, dataset);
}

enum hw_status hw_prompt_rows_open(struct hw_prompt_rows *rows, const struct hw_layout *layout,
                                   struct hw_error *err) {
    *rows = (struct hw_prompt_rows){.layout = layout};
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (!is_counted(layout, dataset)) {
            continue;
        }
        const struct hw_schema_row *row = hw_schema_row(dataset);
        int slab = hw_schema_slab_axis(dataset);
        rows->n_slabs[i] = slab < 0 ? 1 : hw_layout_axis(layout, row->group, row->axes[slab]);
        rows->n_rows[i] = calloc(rows->n_slabs[i] + 1, sizeof *rows->n_rows[i]);
        if (rows->n_rows[i] == NULL) {
            hw_prompt_rows_close(rows);
            return hw_fail(err, HW_RESOURCE, "not enough memory to count rows");
        }
    }
    return HW_OK;
}

void hw_prompt_rows_close(struct hw_prompt_rows *rows) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        free(rows->n_rows[i]);
    }
    *rows = (struct hw_prompt_rows){0};
}

enum hw_status hw_prompt_rows_begin(struct hw_prompt_rows *rows, int32_t prompt,
                                    struct hw_error *err) {
    if (rows->is_running) {
        return hw_fail(err, HW_INTERNAL, "prompt %d begins before prompt %d ended", (int)prompt,
                       (int)rows->prompt);
    }
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (rows->n_rows[i] != NULL) {
            memset(rows->n_rows[i], 0, rows->n_slabs[i] * sizeof *rows->n_rows[i]);
        }
    }
    rows->map_tiles_edge = 0;
    rows->prompt = prompt;
    rows->is_running = true;
    return HW_OK;
}

static enum hw_status check_target(const struct hw_prompt_rows *rows, enum hw_dataset dataset,
                                   size_t slab, bool is_map, struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    const char *group = hw_group_name(row->group);
    if (!rows->is_running) {
        return hw_fail(err, HW_INTERNAL, "%s/%s: rows outside of a prompt", group, row->name);
    }
    if (rows->n_rows[dataset] == NULL) {
        return hw_fail(err, HW_INTERNAL, "%s/%s: rows for a dataset that is not recorded", group,
                       row->name);
    }
    if (hw_dataset_is_map(dataset) != is_map) {
        return hw_fail(err, HW_INTERNAL, "%s/%s: expected %s", group, row->name,
                       is_map ? "rows, found tiles" : "tiles, found rows");
    }
    if (slab >= rows->n_slabs[dataset]) {
        return hw_fail(err, HW_INTERNAL, "%s/%s: slab %zu of %zu", group, row->name, slab,
                       rows->n_slabs[dataset]);
    }
    return HW_OK;
}

enum hw_status hw_prompt_rows_append(struct hw_prompt_rows *rows, enum hw_dataset dataset,
                                     size_t slab, size_t n_rows, struct hw_error *err) {
    enum hw_status status = check_target(rows, dataset, slab, false, err);
    if (status == HW_OK) {
        rows->n_rows[dataset][slab] += n_rows;
    }
    return status;
}

enum hw_status hw_prompt_rows_append_map(struct hw_prompt_rows *rows, enum hw_dataset dataset,
                                         size_t layer, size_t head, size_t n_tiles_edge,
                                         struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    enum hw_status status = check_target(rows, dataset, layer, true, err);
    if (status != HW_OK) {
        return status;
    }
    size_t n_heads = hw_layout_axis(rows->layout, row->group, HW_AXIS_HEAD);
    if (head >= n_heads) {
        return hw_fail(err, HW_INTERNAL, "%s: head %zu of %zu", row->name, head, n_heads);
    }
    size_t most = hw_size_div_up(rows->layout->max_tokens, HW_MAP_TILE);
    if (n_tiles_edge == 0 || n_tiles_edge > most ||
        (rows->map_tiles_edge != 0 && rows->map_tiles_edge != n_tiles_edge)) {
        return hw_fail(err, HW_INTERNAL,
                       "%s: map of %zu tiles, the prompt's others have %zu, at most %zu", row->name,
                       n_tiles_edge, rows->map_tiles_edge, most);
    }
    rows->map_tiles_edge = n_tiles_edge;
    rows->n_rows[dataset][layer]++;
    return HW_OK;
}

static size_t maps_due(const struct hw_layout *layout, enum hw_group group, size_t layer) {
    const struct hw_group_axes *axes = &layout->groups[group];
    if (axes->recorded == NULL) {
        return axes->n_heads;
    }
    size_t n = 0;
    for (size_t h = 0; h < axes->n_heads; h++) {
        n += axes->recorded[layer * axes->n_heads + h] != 0;
    }
    return n;
}

// Rows that (dataset, slab) owes; false where the dataset is a table and grows freely.
static bool find_due(const struct hw_prompt_rows *rows, const struct hw_prompt_record *record,
                     enum hw_dataset dataset, size_t slab, size_t *ret_due) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    if (row->axes[0] == HW_AXIS_STEP || row->axes[0] == HW_AXIS_EVENT) {
        return false;
    }
    if (record->status == 2) {
        *ret_due = 0;
    } else if (hw_dataset_is_map(dataset)) {
        *ret_due = maps_due(rows->layout, row->group, slab);
    } else if (row->axes[0] == HW_AXIS_PROMPT) {
        *ret_due = 1;
    } else if ((row->group == HW_GROUP_ACTIVATIONS || row->group == HW_GROUP_LOGITS) &&
               record->recorded_positions != NULL) {
        *ret_due = record->n_recorded_positions;
    } else {
        *ret_due = (size_t)record->n_tokens;
    }
    return true;
}

static enum hw_status check_record(const struct hw_prompt_rows *rows,
                                   const struct hw_prompt_record *record, struct hw_error *err) {
    if (!rows->is_running || record->prompt != rows->prompt) {
        return hw_fail(err, HW_INTERNAL, "prompt %d ends, but %d is running", (int)record->prompt,
                       rows->is_running ? (int)rows->prompt : -1);
    }
    if (record->n_tokens < 0 || record->n_prompt_tokens < 0 ||
        (size_t)record->n_tokens > rows->layout->max_tokens ||
        (record->status != 2 && record->n_prompt_tokens > record->n_tokens)) {
        return hw_fail(err, HW_INTERNAL,
                       "prompt %d has %d tokens of which %d given, at most %zu planned",
                       (int)record->prompt, (int)record->n_tokens, (int)record->n_prompt_tokens,
                       rows->layout->max_tokens);
    }
    if (record->status == 2 && record->n_tokens != 0) {
        return hw_fail(err, HW_INTERNAL, "failed prompt %d has %d tokens, expected 0",
                       (int)record->prompt, (int)record->n_tokens);
    }
    if (rows->map_tiles_edge != 0 &&
        rows->map_tiles_edge != hw_size_div_up((size_t)record->n_tokens, HW_MAP_TILE)) {
        return hw_fail(err, HW_INTERNAL,
                       "prompt %d has %d tokens, but its maps have %zu tiles an edge",
                       (int)record->prompt, (int)record->n_tokens, rows->map_tiles_edge);
    }
    return HW_OK;
}

enum hw_status hw_prompt_rows_end(struct hw_prompt_rows *rows,
                                  const struct hw_prompt_record *record, struct hw_error *err) {
    enum hw_status status = check_record(rows, record, err);
    if (status != HW_OK) {
        return status;
    }
    // A table's number of rows is that of its first column.
    bool has_table[HW_N_GROUPS] = {false};
    size_t table_rows[HW_N_GROUPS] = {0};
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        for (size_t slab = 0; slab < rows->n_slabs[i]; slab++) {
            size_t found = rows->n_rows[i][slab];
            size_t due = 0;
            if (!find_due(rows, record, (enum hw_dataset)i, slab, &due)) {
                due = has_table[row->group] ? table_rows[row->group] : found;
                table_rows[row->group] = due;
                has_table[row->group] = true;
            }
            if (found != due) {
                return hw_fail(
                    err, HW_INTERNAL, "%s/%s, slab %zu: prompt %d owes %zu rows, found %zu",
                    hw_group_name(row->group), row->name, slab, (int)record->prompt, due, found);
            }
        }
    }
    rows->is_running = false;
    return HW_OK;
}
