// Edits to changes, for one prompt. Everything is taken from the arena in one order, whether it
// measures or not; a measuring pass looks at row sets and key sets too, so that what selects
// nothing is found before anything runs.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/edit_internal.h"

// What an edit selects in this prompt; NULL: everything (or, while measuring, not made).
struct selected {
    const uint8_t *rows;
    const uint8_t *keys;
};

struct compile {
    const struct hw_edit *const *edits;
    size_t n_edits;
    const struct hw_edit_context *context;
    struct hw_arena *arena;
    bool *scratch;             // [n_positions] where the arena measures
    struct selected *selected; // [n_edits]; NULL while measuring
};

static bool is_attention(const struct hw_edit *edit) {
    return edit->point == HW_POINT_PATTERN || edit->point == HW_POINT_SCORES;
}

static enum hw_status take(struct hw_arena *arena, size_t n, size_t element_bytes, void **ret,
                           struct hw_error *err) {
    *ret = hw_arena_take(arena, n, element_bytes);
    if (arena->is_overflown || (*ret == NULL && arena->base != NULL)) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the changes of edits");
    }
    return HW_OK;
}

static enum hw_status fail_lacks(const struct compile *c, const struct hw_edit *edit,
                                 const char *what, const char *which, struct hw_error *err) {
    const struct hw_prompt *prompt = c->context->prompt;
    char spec[120], name[80], shown[80];
    return hw_fail(err, HW_USAGE, "edit '%s': prompt '%s' of %zu tokens has no %s '%s'",
                   hw_escape(spec, sizeof spec, edit->spec, strlen(edit->spec)),
                   hw_escape(name, sizeof name, prompt->name, strlen(prompt->name)), prompt->n_ids,
                   what, hw_escape(shown, sizeof shown, which, strlen(which)));
}

static enum hw_status resolve(const struct compile *c, const struct hw_edit *edit,
                              const struct hw_positions *positions, const char *what,
                              const uint8_t **ret, struct hw_error *err) {
    const struct hw_edit_context *context = c->context;
    void *set = NULL;
    if (positions == NULL) {
        return HW_OK;
    }
    enum hw_status status = take(c->arena, context->n_positions, sizeof(uint8_t), &set, err);
    if (status != HW_OK) {
        return status;
    }
    bool *selected = set != NULL ? set : c->scratch; // a bool is a byte, 0 or 1
    if (hw_positions_resolve(positions, context->prompt, context->n_positions, selected) == 0) {
        return fail_lacks(c, edit, what, hw_positions_text(positions), err);
    }
    *ret = set;
    return HW_OK;
}

static enum hw_status resolve_all(struct compile *c, struct hw_error *err) {
    void *taken = NULL;
    enum hw_status status = take(c->arena, c->n_edits, sizeof *c->selected, &taken, err);
    c->selected = taken;
    for (size_t e = 0; e < c->n_edits && status == HW_OK; e++) {
        const struct hw_edit *edit = c->edits[e];
        struct selected selected = {0};
        if (edit->target == HW_TARGET_NONE) {
            return hw_fail(err, HW_INTERNAL, "the edit %s has no target", edit->spec);
        }
        if (edit->replacement == HW_REPLACE_TO && edit->key >= c->context->n_positions) {
            char key[24];
            (void)snprintf(key, sizeof key, "%zu", edit->key);
            return fail_lacks(c, edit, "key", key, err);
        }
        status = resolve(c, edit, edit->rows, "rows", &selected.rows, err);
        if (status == HW_OK) {
            status = resolve(c, edit, edit->keys, "keys", &selected.keys, err);
        }
        if (c->selected != NULL) {
            c->selected[e] = selected;
        }
    }
    return status;
}

static void fill_change(const struct hw_edit *edit, const struct selected *selected,
                        const uint8_t *heads, struct hw_attention_change *change) {
    static const enum hw_attention_change_kind kinds[HW_N_REPLACEMENTS] = {
        [HW_REPLACE_ZERO] = HW_CHANGE_SCALE,      [HW_REPLACE_SCALE] = HW_CHANGE_SCALE,
        [HW_REPLACE_UNIFORM] = HW_CHANGE_UNIFORM, [HW_REPLACE_IDENTITY] = HW_CHANGE_IDENTITY,
        [HW_REPLACE_TO] = HW_CHANGE_TO,           [HW_REPLACE_PREVIOUS] = HW_CHANGE_PREVIOUS,
        [HW_REPLACE_BLOCK] = HW_CHANGE_BLOCK,     [HW_REPLACE_WINDOW] = HW_CHANGE_WINDOW,
        [HW_REPLACE_BIAS] = HW_CHANGE_BIAS,
    };
    *change = (struct hw_attention_change){
        .kind = kinds[edit->replacement],
        .heads = heads,
        .queries = selected->rows,
        .keys = selected->keys,
        .amount = edit->amount, // of zero: 0
        .is_renormalised = edit->is_renormalised,
        .key = edit->key,
        .n_sinks = edit->n_sinks,
        // The cache keeps R keys and the query sees itself besides.
        .n_recent = edit->n_recent + edit->is_cache_form,
        .is_cache_form = edit->is_cache_form,
    };
}

static enum hw_status compile_attention(const struct compile *c, size_t layer,
                                        struct hw_layer_changes *ret, struct hw_error *err) {
    size_t n_heads = c->context->desc->n_heads;
    size_t n = 0, i = 0;
    void *changes = NULL;
    for (size_t e = 0; e < c->n_edits; e++) {
        n += is_attention(c->edits[e]) && c->edits[e]->layers[layer];
    }
    if (n == 0) {
        return HW_OK;
    }
    enum hw_status status = take(c->arena, n, sizeof *ret->attention, &changes, err);
    for (size_t e = 0; e < c->n_edits && status == HW_OK; e++) {
        const struct hw_edit *edit = c->edits[e];
        void *heads = NULL;
        if (!is_attention(edit) || !edit->layers[layer]) {
            continue;
        }
        status = take(c->arena, n_heads, sizeof(uint8_t), &heads, err);
        for (size_t h = 0; heads != NULL && h < n_heads; h++) {
            ((uint8_t *)heads)[h] = edit->heads[layer * n_heads + h];
        }
        if (heads != NULL) {
            fill_change(edit, &c->selected[e], heads,
                        &((struct hw_attention_change *)changes)[i++]);
        }
    }
    if (status == HW_OK) {
        ret->attention = changes;
        ret->n_attention = n;
    }
    return status;
}

// The next run of columns that an edit writes in a layer, from unit *at on: neighbouring heads are
// one run. False after the last.
static bool next_columns(const struct hw_edit *edit, const struct hw_model_desc *desc, size_t layer,
                         size_t *at, size_t *ret_first, size_t *ret_width) {
    if (edit->point == HW_POINT_SITE) {
        bool is_unit = edit->target == HW_TARGET_NEURON || edit->target == HW_TARGET_CHANNEL;
        *ret_first = is_unit ? edit->unit : 0;
        *ret_width = is_unit ? edit->n_units : desc->d_model;
        return (*at)++ == 0;
    }
    // Of V a key/value head is selected where its first query head is: edit_check has seen to that.
    size_t n_query = edit->point == HW_POINT_VALUE ? desc->n_heads / desc->n_kv_heads : 1;
    size_t n = desc->n_heads / n_query;
    const bool *heads = edit->heads + layer * desc->n_heads;
    size_t first = *at;
    while (first < n && !heads[first * n_query]) {
        first++;
    }
    size_t end = first;
    while (end < n && heads[end * n_query]) {
        end++;
    }
    *at = end;
    *ret_first = first * desc->d_head;
    *ret_width = (end - first) * desc->d_head;
    return end > first;
}

// Everything of a write but its columns.
static enum hw_status make_write(const struct compile *c, size_t e, size_t layer,
                                 struct hw_write *ret, struct hw_edit_values *ret_values,
                                 struct hw_error *err) {
    const struct hw_edit *edit = c->edits[e];
    const struct hw_edit_context *context = c->context;
    enum hw_site site;
    *ret = (struct hw_write){.site = edit_site(edit),
                             .kind = edit->replacement == HW_REPLACE_SCALE ? HW_WRITE_SCALE
                                                                           : HW_WRITE_VALUE,
                             .rows = c->selected[e].rows,
                             .value = edit->amount};
    *ret_values = (struct hw_edit_values){0};
    if (!hw_edit_has_source(edit, &site)) {
        return HW_OK;
    }
    if (context->values == NULL) {
        return hw_fail(err, HW_INTERNAL, "the edit %s has no source of values", edit->spec);
    }
    ret->kind = HW_WRITE_ROWS;
    enum hw_status status = context->values(context->self, edit, layer, ret_values, err);
    ret->ld = ret_values->ld;
    ret->n_positions = ret_values->n_positions;
    return status;
}

// Writes of one layer in the order of the forward pass, which is that of the sites, and then as
// given.
static void sort_writes(struct hw_write *writes, size_t n) {
    for (size_t i = 1; i < n; i++) {
        struct hw_write moved = writes[i];
        size_t j = i;
        for (; j > 0 && writes[j - 1].site > moved.site; j--) {
            writes[j] = writes[j - 1];
        }
        writes[j] = moved;
    }
}

static enum hw_status compile_writes(const struct compile *c, size_t layer,
                                     struct hw_layer_changes *ret, struct hw_error *err) {
    const struct hw_model_desc *desc = c->context->desc;
    size_t n = 0, at, first, width;
    for (size_t e = 0; e < c->n_edits; e++) {
        at = 0;
        while (!is_attention(c->edits[e]) && c->edits[e]->layers[layer] &&
               next_columns(c->edits[e], desc, layer, &at, &first, &width)) {
            n++;
        }
    }
    if (n == 0) {
        return HW_OK;
    }
    void *taken = NULL;
    enum hw_status status = take(c->arena, n, sizeof(struct hw_write), &taken, err);
    struct hw_write *writes = taken;
    size_t i = 0;
    for (size_t e = 0; e < c->n_edits && status == HW_OK && writes != NULL; e++) {
        struct hw_write write;
        struct hw_edit_values values;
        if (is_attention(c->edits[e]) || !c->edits[e]->layers[layer]) {
            continue;
        }
        status = make_write(c, e, layer, &write, &values, err);
        if (write.kind == HW_WRITE_ROWS && values.rows == NULL) {
            continue; // no row is there: all are left as they are
        }
        at = 0;
        while (status == HW_OK && next_columns(c->edits[e], desc, layer, &at, &first, &width)) {
            write.first = first;
            write.width = width;
            write.values = values.rows != NULL ? values.rows + first : NULL;
            writes[i++] = write;
        }
    }
    if (status == HW_OK && writes != NULL) {
        sort_writes(writes, i);
        ret->writes = writes;
        ret->n_writes = i;
    }
    return status;
}

enum hw_status hw_edits_compile(const struct hw_edit *const *edits, size_t n_edits,
                                const struct hw_edit_context *context, struct hw_arena *arena,
                                struct hw_changes *ret_changes, struct hw_error *err) {
    size_t n_layers = context->desc->n_layers;
    struct compile c = {.edits = edits, .n_edits = n_edits, .context = context, .arena = arena};
    if (arena->base == NULL && (c.scratch = calloc(context->n_positions + 1, 1)) == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the changes of edits");
    }
    void *taken = NULL;
    struct hw_changes changes = {.first_layer = n_layers};
    enum hw_status status = take(arena, n_layers, sizeof *changes.layers, &taken, err);
    struct hw_layer_changes *layers = taken;
    if (status == HW_OK) {
        status = resolve_all(&c, err);
    }
    for (size_t layer = 0; layer < n_layers && status == HW_OK; layer++) {
        struct hw_layer_changes at = {0};
        status = compile_writes(&c, layer, &at, err);
        if (status == HW_OK) {
            status = compile_attention(&c, layer, &at, err);
        }
        if (layers != NULL) {
            layers[layer] = at;
        }
        for (size_t e = 0; e < n_edits; e++) {
            if (edits[e]->layers[layer] && layer < changes.first_layer) {
                changes.first_layer = layer;
            }
        }
    }
    free(c.scratch);
    if (status == HW_OK) {
        changes.layers = layers;
        *ret_changes = changes;
    }
    return status;
}
