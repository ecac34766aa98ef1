// A part is compared with the whole along the axes that it kept: slabs, heads, positions.
#include "same_rows.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

// Datasets that depend on the place of the prompt in its file, or grow with steps and events of all
// prompts.
static bool is_of_place(enum hw_dataset dataset) {
    switch (dataset) {
    case HW_DS_TOKEN_START:
    case HW_DS_TOKEN_PROMPT:
    case HW_DS_ACTIVATIONS_TOKEN_PROMPT:
    case HW_DS_LOGITS_TOKEN_PROMPT:
        return true;
    default:
        return false;
    }
}

struct axis {
    const int32_t *values; // NULL: 0, 1, ...
    size_t n;
};

static struct axis axis_of(const struct run *run, enum hw_group group, enum hw_axis which) {
    const struct hw_layout *layout = &run->recording.layout;
    const struct hw_group_axes *axes = &layout->groups[group];
    switch (which) {
    case HW_AXIS_LAYER:
        return (struct axis){axes->layers, axes->n_layers};
    case HW_AXIS_DEPTH:
        return (struct axis){axes->depths, axes->n_depths};
    case HW_AXIS_HEAD:
        return (struct axis){axes->heads, axes->n_heads};
    case HW_AXIS_KV_HEAD:
        return (struct axis){axes->kv_heads, axes->n_kv_heads};
    default:
        return (struct axis){NULL, hw_layout_axis(layout, group, which)};
    }
}

static int32_t axis_value(const struct axis *axis, size_t i) {
    return axis->values != NULL ? axis->values[i] : (int32_t)i;
}

static size_t find(const struct axis *axis, int32_t value) {
    for (size_t i = 0; i < axis->n; i++) {
        if (axis_value(axis, i) == value) {
            return i;
        }
    }
    ck_abort_msg("the whole capture lacks %d on an axis", (int)value);
}

// The axes of a row of a dataset: slab, then units (heads), then the rest.
struct shape {
    struct axis slabs;
    struct axis units;
    size_t width; // values a unit
};

static struct shape shape_of(const struct run *run, enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    int slab = hw_schema_slab_axis(dataset);
    struct shape shape = {.slabs = {NULL, 1}, .units = {NULL, 1}};
    if (slab >= 0) {
        shape.slabs = axis_of(run, row->group, row->axes[slab]);
    }
    for (size_t i = slab >= 0 ? 2 : 1; i < row->n_axes; i++) {
        if (row->axes[i] == HW_AXIS_HEAD || row->axes[i] == HW_AXIS_KV_HEAD) {
            shape.units = axis_of(run, row->group, row->axes[i]);
        }
    }
    shape.width = shape.units.n > 0 ? run_width(run, dataset) / shape.units.n : 0;
    return shape;
}

static bool is_recorded(const struct run *run, enum hw_dataset dataset, size_t slab, size_t unit) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    const struct hw_group_axes *axes = &run->recording.layout.groups[row->group];
    bool has_heads = false;
    for (size_t i = 0; i < row->n_axes; i++) {
        has_heads = has_heads || row->axes[i] == HW_AXIS_HEAD;
    }
    return !has_heads || axes->recorded == NULL || axes->recorded[slab * axes->n_heads + unit] != 0;
}

// The row in `whole` of row i in `part`: activations and logits may lack positions.
static size_t row_in_whole(const struct run *whole, size_t whole_prompt, const struct run *part,
                           size_t part_prompt, enum hw_dataset dataset, size_t i) {
    enum hw_group group = hw_schema_row(dataset)->group;
    if ((group != HW_GROUP_ACTIVATIONS && group != HW_GROUP_LOGITS) ||
        hw_schema_row(dataset)->axes[0] != HW_AXIS_TOKEN) {
        return i;
    }
    enum hw_dataset column =
        group == HW_GROUP_LOGITS ? HW_DS_LOGITS_TOKEN_POSITION : HW_DS_ACTIVATIONS_TOKEN_POSITION;
    size_t n;
    size_t n_whole;
    const int32_t *positions = run_rows(part, column, 0, part_prompt, &n);
    const int32_t *all = run_rows(whole, column, 0, whole_prompt, &n_whole);
    for (size_t at = 0; at < n_whole; at++) {
        if (all[at] == positions[i]) {
            return at;
        }
    }
    ck_abort_msg("the whole capture lacks position %d", (int)positions[i]);
}

static bool is_nothing(const unsigned char *value, enum hw_element element) {
    float f4;
    int32_t i4;
    if (element == HW_ELEMENT_I4) {
        memcpy(&i4, value, sizeof i4);
        return i4 == -1;
    }
    memcpy(&f4, value, sizeof f4);
    return f4 != f4;
}

static size_t same_dataset(const struct run *whole, size_t whole_prompt, const struct run *part,
                           size_t part_prompt, enum hw_dataset dataset) {
    struct shape w = shape_of(whole, dataset);
    struct shape p = shape_of(part, dataset);
    enum hw_element element = hw_layout_element(&part->recording.layout, dataset);
    size_t bytes = hw_element_bytes(element);
    const char *name = hw_schema_row(dataset)->name;
    size_t n_same = 0;
    if (w.width != p.width || element != hw_layout_element(&whole->recording.layout, dataset)) {
        ck_abort_msg("%s has %zu values a unit, and %zu", name, w.width, p.width);
    }
    for (size_t slab = 0; slab < p.slabs.n; slab++) {
        size_t w_slab = find(&w.slabs, axis_value(&p.slabs, slab));
        size_t n;
        size_t n_whole;
        const unsigned char *ours = run_rows(part, dataset, slab, part_prompt, &n);
        const unsigned char *theirs = run_rows(whole, dataset, w_slab, whole_prompt, &n_whole);
        if (n > n_whole) {
            ck_abort_msg("%s has %zu rows where the whole capture has %zu", name, n, n_whole);
        }
        for (size_t i = 0; i < n * p.units.n; i++) {
            size_t u = i % p.units.n;
            size_t at =
                row_in_whole(whole, whole_prompt, part, part_prompt, dataset, i / p.units.n) *
                    w.units.n +
                find(&w.units, axis_value(&p.units, u));
            const unsigned char *got = ours + i * p.width * bytes;
            if (!is_recorded(part, dataset, slab, u)) {
                for (size_t v = 0; v < p.width; v++) {
                    if (!is_nothing(got + v * bytes, element)) {
                        ck_abort_msg("%s has a value of a head that is not recorded", name);
                    }
                }
            } else if (memcmp(got, theirs + at * p.width * bytes, p.width * bytes) != 0) {
                ck_abort_msg("%s, slab %zu, row %zu, unit %zu: not the same bits", name, slab,
                             i / p.units.n, u);
            } else {
                n_same += p.width;
            }
        }
    }
    return n_same;
}

static size_t same_maps(const struct run *whole, size_t whole_prompt, const struct run *part,
                        size_t part_prompt, enum hw_dataset dataset) {
    struct axis heads = axis_of(part, HW_GROUP_ATTENTION, HW_AXIS_HEAD);
    struct axis layers = axis_of(part, HW_GROUP_ATTENTION, HW_AXIS_LAYER);
    struct axis w_heads = axis_of(whole, HW_GROUP_ATTENTION, HW_AXIS_HEAD);
    struct axis w_layers = axis_of(whole, HW_GROUP_ATTENTION, HW_AXIS_LAYER);
    size_t bytes = hw_element_bytes(hw_layout_element(&part->recording.layout, dataset));
    size_t n_same = 0;
    for (size_t i = 0; i < layers.n * heads.n; i++) {
        size_t layer = i / heads.n;
        size_t head = i % heads.n;
        size_t edge;
        size_t w_edge;
        const void *ours =
            hw_destination_memory_map(part->memory, dataset, part_prompt, layer, head, &edge);
        if (!is_recorded(part, HW_DS_ATTENTION_TOP_KEY, layer, head)) {
            ck_assert_ptr_null(ours);
            continue;
        }
        const void *theirs = hw_destination_memory_map(
            whole->memory, dataset, whole_prompt, find(&w_layers, axis_value(&layers, layer)),
            find(&w_heads, axis_value(&heads, head)), &w_edge);
        ck_assert(ours != NULL && theirs != NULL && edge == w_edge);
        size_t n = edge * (edge + 1) / 2 * HW_MAP_TILE * HW_MAP_TILE;
        ck_assert_msg(memcmp(ours, theirs, n * bytes) == 0, "%s of head %zu.%zu",
                      hw_schema_row(dataset)->name, layer, head);
        n_same += n;
    }
    return n_same;
}

static size_t same_all(const struct run *whole, size_t whole_prompt, const struct run *part,
                       size_t part_prompt, bool is_beginning) {
    size_t n_same = 0;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        const struct hw_schema_row *row = hw_schema_row(dataset);
        bool is_led =
            row->axes[0] == HW_AXIS_TOKEN || (row->axes[0] == HW_AXIS_PROMPT && !is_beginning);
        bool is_text = hw_layout_element(&part->recording.layout, dataset) == HW_ELEMENT_VSTR;
        bool is_per_key =
            dataset >= HW_DS_ATTENTION_RECEIVED && dataset <= HW_DS_ATTENTION_RECEIVED_ENTROPY;
        if (!hw_layout_has(&part->recording.layout, dataset) ||
            !hw_layout_has(&whole->recording.layout, dataset) || !is_led || is_text ||
            is_of_place(dataset) || (is_per_key && is_beginning)) {
            continue;
        }
        bool is_map = dataset == HW_DS_ATTENTION_PATTERN || dataset == HW_DS_ATTENTION_SCORES;
        n_same += is_map ? same_maps(whole, whole_prompt, part, part_prompt, dataset)
                         : same_dataset(whole, whole_prompt, part, part_prompt, dataset);
    }
    return n_same;
}

size_t same_rows(const struct run *whole, size_t whole_prompt, const struct run *part,
                 size_t part_prompt) {
    return same_all(whole, whole_prompt, part, part_prompt, false);
}

size_t same_beginnings(const struct run *whole, size_t whole_prompt, const struct run *part,
                       size_t part_prompt) {
    return same_all(whole, whole_prompt, part, part_prompt, true);
}
