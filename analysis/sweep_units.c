// Units from selectors; see sweep_units.h.
#include "analysis/sweep_units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "formats/json.h"
#include "formats/selector.h"

enum { MAX_UNITS = 1 << 20, NAME_BYTES = 80 };

static size_t n_cells_of(const struct hw_model_desc *d) {
    return d->n_layers * d->n_heads;
}

static enum hw_status no_memory(struct hw_error *err) {
    return hw_fail(err, HW_RESOURCE, "not enough memory for the units of a sweep");
}

// Adds a unit with nothing selected; its record is its own.
static enum hw_status add(struct hw_sweep_units *units, const char *name, size_t n_selected,
                          struct hw_sweep_unit **ret_unit, struct hw_error *err) {
    if (units->n >= MAX_UNITS) {
        return hw_fail(err, HW_USAGE, "a sweep of more than %d units", (int)MAX_UNITS);
    }
    struct hw_sweep_unit *items = realloc(units->items, (units->n + 1) * sizeof *items);
    if (items == NULL) {
        return no_memory(err);
    }
    units->items = items;
    struct hw_sweep_unit *unit = &items[units->n];
    *unit = (struct hw_sweep_unit){.name = strdup(name),
                                   .layer = -1,
                                   .head = -1,
                                   .target = HW_TARGET_HEAD,
                                   .selected = calloc(n_selected + 1, sizeof(bool)),
                                   .record = units->n_records};
    if (unit->name == NULL || unit->selected == NULL) {
        free(unit->name);
        free(unit->selected);
        return no_memory(err);
    }
    units->n++;
    units->n_records++;
    *ret_unit = unit;
    return HW_OK;
}

// Puts the last unit into the record of the one before, where both are of one layer.
static void join_layer(struct hw_sweep_units *units, int32_t layer) {
    struct hw_sweep_unit *unit = &units->items[units->n - 1];
    unit->layer = layer;
    if (units->n > 1 && unit[-1].layer == layer) {
        unit->record = unit[-1].record;
        units->n_records--;
    }
}

static enum hw_status nothing(const char *option, struct hw_error *err) {
    return hw_fail(err, HW_USAGE, "%s: selects nothing", option);
}

static enum hw_status select_heads(const struct hw_model_desc *d, const char *option,
                                   const char *selector, bool **ret_selected,
                                   struct hw_error *err) {
    bool *selected = calloc(n_cells_of(d) + 1, sizeof *selected);
    if (selected == NULL) {
        return no_memory(err);
    }
    enum hw_status status = hw_selector_heads(selector, d->n_layers, d->n_heads, selected, err);
    if (status != HW_OK) {
        free(selected);
        return hw_fail_context(err, status, "%s: ", option);
    }
    *ret_selected = selected;
    return HW_OK;
}

enum hw_status hw_sweep_units_add_heads(struct hw_sweep_units *units, const struct hw_model_desc *d,
                                        const char *selector, bool is_only, struct hw_error *err) {
    bool *selected = NULL;
    size_t before = units->n;
    enum hw_status status = select_heads(d, "--heads", selector, &selected, err);
    for (size_t cell = 0; status == HW_OK && cell < n_cells_of(d); cell++) {
        char name[NAME_BYTES];
        struct hw_sweep_unit *unit = NULL;
        size_t layer = cell / d->n_heads;
        if (!selected[cell]) {
            continue;
        }
        (void)snprintf(name, sizeof name, "%zu.%zu", layer, cell % d->n_heads);
        status = add(units, name, n_cells_of(d), &unit, err);
        if (status == HW_OK) {
            unit->head = (int32_t)(cell % d->n_heads);
            for (size_t h = 0; h < d->n_heads && is_only; h++) {
                unit->selected[layer * d->n_heads + h] = true;
            }
            unit->selected[cell] = !is_only;
            join_layer(units, (int32_t)layer);
        }
    }
    free(selected);
    units->is_heads = before == 0;
    return status == HW_OK && units->n == before ? nothing("--heads", err) : status;
}

enum hw_status hw_sweep_units_add_kv_heads(struct hw_sweep_units *units,
                                           const struct hw_model_desc *d, const char *selector,
                                           struct hw_error *err) {
    struct hw_model_desc kv = *d;
    kv.n_heads = d->n_kv_heads;
    size_t group = d->n_heads / d->n_kv_heads, before = units->n;
    bool *selected = NULL;
    enum hw_status status = select_heads(&kv, "--kv-heads", selector, &selected, err);
    for (size_t cell = 0; status == HW_OK && cell < n_cells_of(&kv); cell++) {
        char name[NAME_BYTES];
        struct hw_sweep_unit *unit = NULL;
        size_t layer = cell / d->n_kv_heads, head = cell % d->n_kv_heads;
        if (!selected[cell]) {
            continue;
        }
        (void)snprintf(name, sizeof name, "kv %zu.%zu", layer, head);
        status = add(units, name, n_cells_of(d), &unit, err);
        if (status == HW_OK) {
            unit->target = HW_TARGET_KV;
            for (size_t h = head * group; h < (head + 1) * group; h++) {
                unit->selected[layer * d->n_heads + h] = true;
            }
            join_layer(units, (int32_t)layer);
        }
    }
    free(selected);
    units->is_heads = false;
    return status == HW_OK && units->n == before ? nothing("--kv-heads", err) : status;
}

enum hw_status hw_sweep_units_add_layers(struct hw_sweep_units *units,
                                         const struct hw_model_desc *d, enum hw_edit_target target,
                                         const char *selector, struct hw_error *err) {
    const char *word = target == HW_TARGET_MLP ? "mlp" : "attn";
    char option[16];
    size_t before = units->n;
    (void)snprintf(option, sizeof option, "--%s", word);
    bool *selected = calloc(d->n_layers + 1, sizeof *selected);
    enum hw_status status = selected != NULL
                                ? hw_selector_layers(selector, "layer", d->n_layers, selected, err)
                                : no_memory(err);
    if (status != HW_OK) {
        free(selected);
        return hw_fail_context(err, status, "%s: ", option);
    }
    for (size_t layer = 0; status == HW_OK && layer < d->n_layers; layer++) {
        char name[NAME_BYTES];
        struct hw_sweep_unit *unit = NULL;
        if (!selected[layer]) {
            continue;
        }
        (void)snprintf(name, sizeof name, "%s %zu", word, layer);
        status = add(units, name, d->n_layers, &unit, err);
        if (status == HW_OK) {
            unit->target = target;
            unit->selected[layer] = true;
            join_layer(units, (int32_t)layer);
        }
    }
    free(selected);
    units->is_heads = false;
    return status == HW_OK && units->n == before ? nothing(option, err) : status;
}

// A selector, or a list of them.
static enum hw_status add_group(struct hw_sweep_units *units, const struct hw_model_desc *d,
                                const char *path, const char *name, const json_t *value,
                                struct hw_error *err) {
    struct hw_sweep_unit *unit = NULL;
    bool *selected = NULL;
    size_t n = json_is_array(value) ? json_array_size(value) : 1, n_heads = 0;
    enum hw_status status = add(units, name, n_cells_of(d), &unit, err);
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(item)) {
            return hw_fail(err, HW_INPUT,
                           "%s: group %s: is no selector of heads (expected \"9.6,9.9\" or a list "
                           "of such)",
                           path, name);
        }
        status = select_heads(d, path, json_string_value(item), &selected, err);
        for (size_t c = 0; c < n_cells_of(d) && status == HW_OK; c++) {
            unit->selected[c] = unit->selected[c] || selected[c];
        }
        free(selected);
        selected = NULL;
    }
    for (size_t c = 0; c < n_cells_of(d) && status == HW_OK; c++) {
        n_heads += unit->selected[c];
    }
    if (status == HW_USAGE) {
        status = hw_fail_context(err, HW_INPUT, "group %s: ", name);
    }
    return status == HW_OK && n_heads == 0
               ? hw_fail(err, HW_INPUT, "%s: group %s has no head", path, name)
               : status;
}

enum hw_status hw_sweep_units_add_groups(struct hw_sweep_units *units,
                                         const struct hw_model_desc *d, const char *path,
                                         struct hw_error *err) {
    json_error_t reason;
    const char *name;
    json_t *value;
    json_t *document = json_load_file(path, JSON_REJECT_DUPLICATES, &reason);
    enum hw_status status = HW_OK;
    if (document == NULL) {
        return hw_fail(err, HW_INPUT, "%s: cannot be read as JSON: %s", path, reason.text);
    }
    if (!json_is_object(document) || json_object_size(document) == 0) {
        status =
            hw_fail(err, HW_INPUT,
                    "%s: is no object of groups (expected {\"name\": \"9.6,9.9\", ...})", path);
    }
    json_object_foreach(document, name, value) {
        status = status == HW_OK ? add_group(units, d, path, name, value, err) : status;
    }
    json_decref(document);
    units->is_heads = false;
    return status;
}

static uint64_t split_mix(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void hw_random_pick(uint64_t seed, size_t *from, size_t n, size_t k) {
    uint64_t state = seed;
    for (size_t i = 0; i < k && i < n; i++) {
        size_t j = i + (size_t)((unsigned __int128)split_mix(&state) * (n - i) >> 64);
        size_t other = from[i];
        from[i] = from[j];
        from[j] = other;
    }
}

static enum hw_status add_controls(struct hw_sweep_units *units, const struct hw_model_desc *d,
                                   const struct hw_sweep_sets *sets, size_t size, size_t *others,
                                   size_t n_others, struct hw_error *err) {
    if (sets->n_controls > 0 && size > n_others) {
        return hw_fail(err, HW_USAGE,
                       "--random-controls: %zu heads beside the chosen ones, of which there are "
                       "only %zu",
                       size, n_others);
    }
    for (size_t i = 0; i < sets->n_controls; i++) {
        char name[NAME_BYTES];
        struct hw_sweep_unit *unit = NULL;
        (void)snprintf(name, sizeof name, "random%zu of %zu", i + 1, size);
        enum hw_status status = add(units, name, n_cells_of(d), &unit, err);
        if (status != HW_OK) {
            return status;
        }
        // Each set from the same start: the draw depends on seed, size and number only.
        for (size_t c = 0, n = 0; c < n_cells_of(d); c++) {
            if (others[n_others + c] == 0) {
                others[n++] = c;
            }
        }
        hw_random_pick(sets->seed * 1000003 + size * 1009 + i, others, n_others, size);
        for (size_t k = 0; k < size; k++) {
            unit->selected[others[k]] = true;
        }
    }
    return HW_OK;
}

enum hw_status hw_sweep_units_add_sets(struct hw_sweep_units *units, const struct hw_model_desc *d,
                                       const struct hw_sweep_sets *sets, struct hw_error *err) {
    uint32_t *heads = NULL;
    size_t n_heads = 0, most = 0;
    enum hw_status status =
        hw_selector_heads_ordered(sets->selector, d->n_layers, d->n_heads, &heads, &n_heads, err);
    if (status != HW_OK) {
        return hw_fail_context(err, status, "--heads: ");
    }
    const size_t all[] = {n_heads};
    const size_t *sizes = sets->n_sizes > 0 ? sets->sizes : all;
    size_t n_sizes = sets->n_sizes > 0 ? sets->n_sizes : 1;
    for (size_t i = 0; i < n_sizes; i++) {
        most = sizes[i] > most ? sizes[i] : most;
    }
    size_t n_others = n_cells_of(d) - (most < n_heads ? most : n_heads);
    // The heads to draw from, and behind them whether each head is chosen.
    size_t *others = calloc(n_others + n_cells_of(d) + 1, sizeof *others);
    if (others == NULL) {
        status = no_memory(err);
    } else if (n_heads == 0) {
        status = nothing("--heads", err);
    } else if (most > n_heads) {
        status =
            hw_fail(err, HW_USAGE, "--cumulative %zu: --heads selects only %zu", most, n_heads);
    }
    for (size_t k = 0; k < most && status == HW_OK; k++) {
        others[n_others + heads[k]] = 1;
    }
    for (size_t i = 0; i < n_sizes && status == HW_OK; i++) {
        char name[NAME_BYTES];
        struct hw_sweep_unit *unit = NULL;
        (void)snprintf(name, sizeof name, "top%zu", sizes[i]);
        status = add(units, name, n_cells_of(d), &unit, err);
        for (size_t k = 0; k < sizes[i] && status == HW_OK; k++) {
            unit->selected[heads[k]] = true;
        }
        if (status == HW_OK) {
            status = add_controls(units, d, sets, sizes[i], others, n_others, err);
        }
    }
    free(others);
    free(heads);
    units->is_heads = false;
    return status;
}

enum hw_status hw_sweep_units_add_given(struct hw_sweep_units *units, struct hw_error *err) {
    struct hw_sweep_unit *unit = NULL;
    enum hw_status status = add(units, "as given", 0, &unit, err);
    if (status == HW_OK) {
        unit->target = HW_TARGET_NONE;
        units->is_heads = false;
    }
    return status;
}

void hw_sweep_units_free(struct hw_sweep_units *units) {
    for (size_t i = 0; i < units->n; i++) {
        free(units->items[i].name);
        free(units->items[i].selected);
    }
    free(units->items);
    *units = (struct hw_sweep_units){0};
}
