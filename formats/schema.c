// The schema table as data, and what a layout makes of its axes.
#include "formats/schema.h"

#include <string.h>

#include "kernels/size.h"

// (PROMPT, LAYER) -> HW_AXIS_PROMPT, HW_AXIS_LAYER, NONE ...; its count; a scalar is written
// (NONE).
#define AXES_5(a, b, c, d, e, ...) HW_AXIS_##a, HW_AXIS_##b, HW_AXIS_##c, HW_AXIS_##d, HW_AXIS_##e
#define AXES(...) AXES_5(__VA_ARGS__, NONE, NONE, NONE, NONE, NONE)
#define COUNT_6(a, b, c, d, e, n, ...) n
#define COUNT(...) COUNT_6(__VA_ARGS__, 5, 4, 3, 2, 1, 0)
#define FIRST_1(a, ...) HW_AXIS_##a
#define FIRST(...) FIRST_1(__VA_ARGS__, NONE)
#define ROW(id, group, name, element, axes, record, long_name, units, description, hook, has_mean) \
    [HW_DS_##id] = {HW_GROUP_##group,                                                              \
                    name,                                                                          \
                    HW_ELEMENT_##element,                                                          \
                    {AXES axes},                                                                   \
                    FIRST axes == HW_AXIS_NONE ? 0 : COUNT axes,                                   \
                    record,                                                                        \
                    long_name,                                                                     \
                    units,                                                                         \
                    description,                                                                   \
                    hook,                                                                          \
                    has_mean},

static const struct hw_schema_row rows[HW_N_DATASETS] = {HW_DATASETS(ROW)};

static const char *const group_names[HW_N_GROUPS] = {
    [HW_GROUP_ROOT] = "",
    [HW_GROUP_MASSIVE] = "massive",
    [HW_GROUP_ATTENTION] = "attention",
    [HW_GROUP_ATTENTION_VECTORS] = "attention_vectors",
    [HW_GROUP_DECODE] = "decode",
    [HW_GROUP_ACTIVATIONS] = "activations",
    [HW_GROUP_ATTRIBUTION] = "attribution",
    [HW_GROUP_LOGITS] = "logits",
    [HW_GROUP_MEANS] = "means",
    [HW_GROUP_VOCABULARY] = "vocabulary",
    [HW_GROUP_PROVENANCE] = "provenance",
};

static const char *const axis_names[HW_N_AXES] = {
    [HW_AXIS_NONE] = "",
    [HW_AXIS_PROMPT] = "prompt",
    [HW_AXIS_TOKEN] = "token",
    [HW_AXIS_LAYER] = "layer",
    [HW_AXIS_DEPTH] = "depth",
    [HW_AXIS_HEAD] = "head",
    [HW_AXIS_KV_HEAD] = "kv_head",
    [HW_AXIS_QUERY] = "query",
    [HW_AXIS_KEY] = "key",
    [HW_AXIS_SPAN] = "span",
    [HW_AXIS_QUERY_SPAN] = "query_span",
    [HW_AXIS_OFFSET] = "offset",
    [HW_AXIS_RANK] = "rank",
    [HW_AXIS_KEY_RANK] = "key_rank",
    [HW_AXIS_CHANNEL] = "channel",
    [HW_AXIS_HEAD_CHANNEL] = "head_channel",
    [HW_AXIS_NEURON] = "neuron",
    [HW_AXIS_NORM] = "norm",
    [HW_AXIS_STEP] = "step",
    [HW_AXIS_EVENT] = "event",
    [HW_AXIS_SPAN_ROW] = "span_row",
    [HW_AXIS_VOCAB] = "vocab",
    [HW_AXIS_ID] = "id",
    [HW_AXIS_BYTE] = "text_byte",
    [HW_AXIS_ID_BOUND] = "id_bound",
    [HW_AXIS_GROUP] = "group",
    [HW_AXIS_POSITION] = "position",
};

const struct hw_schema_row *hw_schema_row(enum hw_dataset dataset) {
    return &rows[dataset];
}

enum hw_dataset hw_schema_find(enum hw_group group, const char *name) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (rows[i].group == group && strcmp(rows[i].name, name) == 0) {
            return (enum hw_dataset)i;
        }
    }
    return HW_N_DATASETS;
}

bool hw_schema_is_bool(enum hw_dataset dataset) {
    return dataset == HW_DS_TOKEN_IS_SPECIAL || dataset == HW_DS_TOKEN_IS_GENERATED ||
           strcmp(rows[dataset].name, "recorded") == 0;
}

const char *hw_group_name(enum hw_group group) {
    return group_names[group];
}

const char *hw_axis_name(enum hw_axis axis) {
    return axis_names[axis];
}

size_t hw_element_bytes(enum hw_element element) {
    switch (element) {
    case HW_ELEMENT_F4:
    case HW_ELEMENT_I4:
        return 4;
    case HW_ELEMENT_F2:
    case HW_ELEMENT_U2:
        return 2;
    case HW_ELEMENT_I8:
        return 8;
    case HW_ELEMENT_U1:
        return 1;
    case HW_ELEMENT_VSTR:
        break;
    }
    return 0;
}

size_t hw_layout_axis(const struct hw_layout *layout, enum hw_group group, enum hw_axis axis) {
    const struct hw_group_axes *axes = &layout->groups[group];
    switch (axis) {
    case HW_AXIS_LAYER:
        return axes->n_layers;
    case HW_AXIS_DEPTH:
        return axes->n_depths;
    case HW_AXIS_HEAD:
        return axes->n_heads;
    case HW_AXIS_KV_HEAD:
        return axes->n_kv_heads;
    case HW_AXIS_QUERY:
    case HW_AXIS_KEY:
        return layout->max_tokens;
    case HW_AXIS_SPAN:
    case HW_AXIS_QUERY_SPAN:
        return layout->n_spans;
    case HW_AXIS_OFFSET:
        return layout->n_offsets;
    case HW_AXIS_RANK:
        return layout->n_rank;
    case HW_AXIS_KEY_RANK:
        return layout->n_key_rank;
    case HW_AXIS_CHANNEL:
        return layout->d_model;
    case HW_AXIS_HEAD_CHANNEL:
        return layout->d_head;
    case HW_AXIS_NEURON:
        return layout->d_mlp;
    case HW_AXIS_NORM:
        return 2;
    case HW_AXIS_VOCAB:
        return layout->n_vocab;
    case HW_AXIS_GROUP:
        return layout->n_mean_groups;
    case HW_AXIS_POSITION:
        return layout->n_mean_positions;
    default: // the lead axes, which grow, and those of the vocabulary, which has its own lengths
        return 0;
    }
}

bool hw_schema_is_fixed(enum hw_dataset dataset) {
    enum hw_axis first = rows[dataset].axes[0];
    return rows[dataset].n_axes == 0 || first == HW_AXIS_LAYER || first == HW_AXIS_HEAD ||
           first == HW_AXIS_GROUP;
}

int hw_schema_slab_axis(enum hw_dataset dataset) {
    const struct hw_schema_row *row = &rows[dataset];
    bool has_slab =
        row->n_axes > 1 && (row->axes[1] == HW_AXIS_LAYER || row->axes[1] == HW_AXIS_DEPTH);
    return has_slab ? 1 : -1;
}

void hw_layout_init(struct hw_layout *layout) {
    *layout = (struct hw_layout){0};
    for (int i = 0; i < HW_N_DATASETS; i++) {
        layout->element[i] = rows[i].element;
    }
}

enum hw_element hw_layout_element(const struct hw_layout *layout, enum hw_dataset dataset) {
    enum hw_element standard = rows[dataset].element;
    return standard == HW_ELEMENT_F4 || standard == HW_ELEMENT_F2 ? layout->element[dataset]
                                                                  : standard;
}

static bool has_group(const struct hw_layout *layout, enum hw_group group) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (rows[i].group == group && rows[i].record[0] != '\0' && layout->has[i]) {
            return true;
        }
    }
    return false;
}

bool hw_layout_has(const struct hw_layout *layout, enum hw_dataset dataset) {
    const struct hw_schema_row *row = &rows[dataset];
    if (row->record[0] != '\0') {
        return layout->has[dataset];
    }
    const struct hw_group_axes *axes = &layout->groups[row->group];
    if (row->group == HW_GROUP_VOCABULARY || row->group == HW_GROUP_PROVENANCE) {
        return false;
    }
    if (strcmp(row->name, "recorded") == 0) {
        return axes->recorded != NULL && axes->n_layers > 0 && axes->n_heads > 0;
    }
    if (row->group != HW_GROUP_ROOT) {
        return has_group(layout, row->group) &&
               (dataset != HW_DS_MEANS_POSITION_COUNT || layout->has[HW_DS_MEANS_POSITION_Z]) &&
               (dataset != HW_DS_ATTENTION_N_TOKENS || layout->has[HW_DS_ATTENTION_PATTERN] ||
                layout->has[HW_DS_ATTENTION_SCORES]);
    }
    switch (dataset) {
    case HW_DS_PROMPT_TEXT:
        return layout->has_prompt_text;
    case HW_DS_TOKEN_TEXT:
        return layout->has_token_text;
    case HW_DS_HEAD_KV_HEAD:
        return axes->n_heads > 0;
    default:
        return true;
    }
}

const char *hw_schema_record(enum hw_dataset dataset) {
    static const struct hw_layout nothing; // what even a capture that records nothing has
    const char *record = rows[dataset].record;
    return record[0] != '\0'                  ? record
           : hw_layout_has(&nothing, dataset) ? "(always)"
                                              : "(as needed)";
}

size_t hw_layout_row_bytes(const struct hw_layout *layout, enum hw_dataset dataset) {
    const struct hw_schema_row *row = &rows[dataset];
    size_t bytes = hw_element_bytes(hw_layout_element(layout, dataset));
    for (size_t i = hw_schema_slab_axis(dataset) == 1 ? 2 : 1; i < row->n_axes; i++) {
        if (!hw_size_mul(bytes, hw_layout_axis(layout, row->group, row->axes[i]), &bytes)) {
            return SIZE_MAX; // no buffer of that size can be had, so the plan refuses it
        }
    }
    return bytes;
}
