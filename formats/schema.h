// The schema of a capture: one table of every dataset, used by writer, reader, probes, help and
// docs.
//
// Identifiers: HW_DS_<NAME> for the root group, HW_DS_<GROUP>_<NAME> for others, in capitals:
// HW_DS_ATTENTION_ENTROPY, HW_DS_MASSIVE_VALUE, HW_DS_DECODE_TOP_KEY, HW_DS_ACTIVATIONS_Z,
// HW_DS_ATTENTION_VECTORS_QUERY, HW_DS_ATTENTION_PATTERN, HW_DS_LOGITS_LOGITS.
#ifndef HW_SCHEMA_H
#define HW_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/schema_table.h" // HW_DATASETS(X): the rows

enum hw_group {
    HW_GROUP_ROOT,
    HW_GROUP_MASSIVE,
    HW_GROUP_ATTENTION,
    HW_GROUP_ATTENTION_VECTORS,
    HW_GROUP_DECODE,
    HW_GROUP_ACTIVATIONS,
    HW_GROUP_ATTRIBUTION,
    HW_GROUP_LOGITS,
    HW_GROUP_MEANS,
    HW_GROUP_VOCABULARY,
    HW_GROUP_PROVENANCE,
    HW_N_GROUPS
};

enum hw_axis {
    HW_AXIS_NONE,
    HW_AXIS_PROMPT,
    HW_AXIS_TOKEN,
    HW_AXIS_LAYER,
    HW_AXIS_DEPTH,
    HW_AXIS_HEAD,
    HW_AXIS_KV_HEAD,
    HW_AXIS_QUERY,
    HW_AXIS_KEY,
    HW_AXIS_SPAN,
    HW_AXIS_QUERY_SPAN,
    HW_AXIS_OFFSET,
    HW_AXIS_RANK,
    HW_AXIS_KEY_RANK,
    HW_AXIS_CHANNEL,
    HW_AXIS_HEAD_CHANNEL,
    HW_AXIS_NEURON,
    HW_AXIS_NORM,
    HW_AXIS_STEP,
    HW_AXIS_EVENT,
    HW_AXIS_SPAN_ROW,
    HW_AXIS_VOCAB,
    HW_AXIS_ID,
    HW_AXIS_BYTE,
    HW_AXIS_ID_BOUND,
    HW_AXIS_GROUP,
    HW_AXIS_POSITION,
    HW_N_AXES
};

enum { HW_MAX_AXES = 5 };

enum hw_element {
    HW_ELEMENT_F4,
    HW_ELEMENT_F2,
    HW_ELEMENT_U2,
    HW_ELEMENT_I4,
    HW_ELEMENT_I8,
    HW_ELEMENT_U1,
    HW_ELEMENT_VSTR
};

enum hw_dataset {
#define HW_DATASET_ENUM(id, ...) HW_DS_##id,
    HW_DATASETS(HW_DATASET_ENUM)
#undef HW_DATASET_ENUM
        HW_N_DATASETS
};

struct hw_schema_row {
    enum hw_group group;
    const char *name;
    enum hw_element
        element; // default; maps, scores, activations, logits and vectors may be narrower by option
    enum hw_axis axes[HW_MAX_AXES];
    size_t n_axes;
    const char *record; // the --record names that write it; "" for what the writer adds by itself
    const char *long_name;
    const char *units;
    const char *description; // one sentence with the formula
    const char *hook;        // TransformerLens name with {layer}, or ""
    bool has_mean; // a float [token, layer|depth, ...] statistic, also written as <name>_mean
                   // f4[prompt, ...]
};

const struct hw_schema_row *hw_schema_row(enum hw_dataset dataset);
// The dataset of that group and name, or HW_N_DATASETS where there is none.
enum hw_dataset hw_schema_find(enum hw_group group, const char *name);
bool hw_schema_is_bool(enum hw_dataset dataset); // u1 columns that say yes or no
const char *hw_group_name(enum hw_group group);  // "" for the root, "attention", ...
const char *hw_axis_name(enum hw_axis axis);     // "token", "layer", ...
size_t hw_element_bytes(enum hw_element element);

// What one run records: which datasets, and what stands on each axis of each group.
struct hw_group_axes {
    int32_t *layers; // rising; the recorded layers of this group
    size_t n_layers;
    int32_t *depths;
    size_t n_depths;
    int32_t *heads;
    size_t n_heads;
    int32_t *kv_heads;
    size_t n_kv_heads;
    uint8_t *recorded; // [n_layers, n_heads] where the set of heads is ragged, else NULL
};

struct hw_layout {
    bool has[HW_N_DATASETS];
    enum hw_element element[HW_N_DATASETS]; // as stored
    struct hw_group_axes groups[HW_N_GROUPS];
    bool is_detail_prompt; // --detail prompt: the has_mean datasets only as means
    size_t n_heads;        // of the model
    size_t n_kv_heads;
    size_t d_model;
    size_t d_head;
    size_t d_mlp;
    size_t n_vocab;
    size_t n_offsets;
    size_t n_rank;
    size_t n_key_rank;
    size_t max_tokens; // longest prompt, generated tokens included; edge of query and key
    const char *const *span_names; // built-in ones first
    size_t n_spans;
    const char *means_by; // key of the prompts' objects that groups /means; "" or NULL: one group
    const char *const *mean_groups; // [n_mean_groups] all different
    size_t n_mean_groups;
    size_t n_mean_positions; // the longest prompt's text
    bool has_token_text;
    bool has_prompt_text;
    // Datasets that do not grow with prompts (hw_schema_is_fixed): the whole of each that `has`,
    // [n_layers, ...] of the group (NULL for the others). `recorded` and head_kv_head need none;
    // edits_json takes a string; those of /means are sums of the file's prompts and are read when
    // it is finished (mean_sums.h).
    const void *fixed[HW_N_DATASETS];
};

// An empty layout: nothing recorded, every element as the schema has it.
void hw_layout_init(struct hw_layout *layout);
// The element a dataset is stored as: element[] where the schema says a float, the schema's
// otherwise.
enum hw_element hw_layout_element(const struct hw_layout *layout, enum hw_dataset dataset);
// Which map: pattern or scores of a prompt (its row on the prompt axis), layer and head (on the
// recorded axes).
struct hw_map_place {
    enum hw_dataset dataset;
    size_t prompt;
    size_t layer;
    size_t head;
};

// Whether a capture of this layout holds the dataset: has[] of the probes' datasets; of the
// writer's own columns those that the other datasets of the group need. Not the documents of
// /provenance and /vocabulary.
bool hw_layout_has(const struct hw_layout *layout, enum hw_dataset dataset);
// The --record name that writes the dataset, for people: "(always)" where every capture has it,
// "(as needed)" where it comes with its group, or with an option.
const char *hw_schema_record(enum hw_dataset dataset);
// Bytes of one row of a dataset under a layout (product of the axes after lead and slab times the
// element); 0 for vstr.
size_t hw_layout_row_bytes(const struct hw_layout *layout, enum hw_dataset dataset);
// Length of an axis for a dataset's group; 0 for the unlimited lead axes (prompt, token, step,
// event, span_row).
size_t hw_layout_axis(const struct hw_layout *layout, enum hw_group group, enum hw_axis axis);
// Whether the dataset does not grow with prompts: a scalar, or its first axis is the layer, the
// head or the group of means. Such are written whole.
bool hw_schema_is_fixed(enum hw_dataset dataset);
// Position of the slab axis (layer or depth right after the lead axis) or -1; its length is
// hw_layout_axis.
int hw_schema_slab_axis(enum hw_dataset dataset);

#endif
