// The canonical text of an edit: the same for all spellings that mean the same in this model, with
// files of heads written out. Parsed again it gives the same edit.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/edit_internal.h"

static void write_range(FILE *out, size_t first, size_t end) {
    (void)fprintf(out, end - first > 1 ? "%zu-%zu" : "%zu", first, end - 1);
}

// Where the run of selected places from `first` on ends.
static size_t run_end(const bool *selected, size_t first, size_t n) {
    size_t end = first;
    while (end < n && selected[end]) {
        end++;
    }
    return end;
}

static bool is_whole(const bool *selected, size_t layer, size_t n_heads) {
    return run_end(selected, layer * n_heads, (layer + 1) * n_heads) == (layer + 1) * n_heads;
}

static void write_heads(FILE *out, const bool *selected, size_t n_layers, size_t n_heads) {
    const char *comma = "";
    for (size_t layer = 0; layer < n_layers; layer++) {
        size_t end = layer;
        while (end < n_layers && is_whole(selected, end, n_heads)) {
            end++;
        }
        if (end > layer) {
            (void)fputs(comma, out);
            write_range(out, layer, end);
            comma = ",";
            layer = end - 1;
            continue;
        }
        const bool *heads = selected + layer * n_heads;
        for (size_t head = 0; head < n_heads; head++) {
            size_t stop = run_end(heads, head, n_heads);
            if (stop > head) {
                (void)fprintf(out, "%s%zu.", comma, layer);
                write_range(out, head, stop);
                comma = ",";
                head = stop;
            }
        }
    }
}

char *edit_selector_text(const bool *selected, size_t n_layers, size_t n_heads) {
    char *text = NULL;
    size_t n_text = 0;
    FILE *out = open_memstream(&text, &n_text);
    if (out == NULL) {
        return NULL;
    }
    size_t n = n_layers * (n_heads != 0 ? n_heads : 1);
    if (run_end(selected, 0, n) == n) {
        (void)fputs("all", out);
    } else if (n_heads != 0) {
        write_heads(out, selected, n_layers, n_heads);
    } else {
        write_heads(out, selected, n_layers, 1); // every layer is whole or nothing
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

// The shortest decimal that reads back as the same float.
static void write_amount(FILE *out, float amount) {
    char text[40];
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)amount);
        if (strtof(text, NULL) == amount) {
            break;
        }
    }
    (void)fputs(text, out);
}

static enum hw_status write_target(FILE *out, const struct hw_edit *edit,
                                   const struct hw_model_desc *desc, struct hw_error *err) {
    static const char *const words[] = {
        [HW_TARGET_HEAD] = "head", [HW_TARGET_KV] = "kv",         [HW_TARGET_ATTN] = "attn",
        [HW_TARGET_MLP] = "mlp",   [HW_TARGET_NEURON] = "neuron", [HW_TARGET_CHANNEL] = "channel"};
    bool is_unit = edit->target == HW_TARGET_NEURON || edit->target == HW_TARGET_CHANNEL;
    char *text = NULL;
    if (edit->target == HW_TARGET_NONE) {
        return HW_OK;
    }
    if (edit->target == HW_TARGET_KV) {
        bool *kv = calloc(desc->n_layers * desc->n_kv_heads, sizeof *kv);
        if (kv != NULL) {
            (void)edit_kv_of_heads(edit->heads, desc, kv);
            text = edit_selector_text(kv, desc->n_layers, desc->n_kv_heads);
        }
        free(kv);
    } else {
        bool is_head = edit->target == HW_TARGET_HEAD;
        text = edit_selector_text(is_head ? edit->heads : edit->layers, desc->n_layers,
                                  is_head ? desc->n_heads : 0);
    }
    if (text == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
    }
    (void)fprintf(out, ":%s=", words[edit->target]);
    if (is_unit) {
        size_t n = edit->target == HW_TARGET_NEURON ? desc->d_mlp : desc->d_model;
        if (edit->n_units == n) {
            (void)fputs("all", out);
        } else {
            write_range(out, edit->unit, edit->unit + edit->n_units);
        }
        (void)fputs(":layer=", out);
    }
    (void)fputs(text, out);
    if (edit->target == HW_TARGET_CHANNEL) {
        (void)fprintf(out, ":site=%s", edit_site_word(edit->site));
    }
    free(text);
    return HW_OK;
}

// at= where the replacement would act elsewhere without it.
static bool has_point(const struct edit_fields *fields, const struct hw_edit *edit) {
    if (fields->values[EDIT_KEY_AT] == NULL) {
        return false;
    }
    struct edit_fields without = *fields;
    struct hw_edit other = *edit;
    without.values[EDIT_KEY_AT] = NULL;
    // An arm keeps what it was given: where it acts by nature depends on its target.
    return edit->target == HW_TARGET_NONE || edit_read_point(&without, &other, NULL) != HW_OK ||
           other.point != edit->point;
}

static void write_options(FILE *out, const struct edit_fields *fields, const struct hw_edit *edit) {
    const char *rows = edit->rows != NULL ? hw_positions_text(edit->rows) : NULL;
    bool is_query = fields->values[EDIT_KEY_QUERY] != NULL;
    if (is_query) {
        (void)fprintf(out, ":query=%s", rows != NULL ? rows : "all");
    }
    if (edit->replacement == HW_REPLACE_TO) {
        (void)fprintf(out, ":key=%zu", edit->key);
    } else if (fields->values[EDIT_KEY_KEY] != NULL) {
        (void)fprintf(out, ":key=%s", edit->keys != NULL ? hw_positions_text(edit->keys) : "all");
    }
    if (fields->values[EDIT_KEY_BY] != NULL || fields->values[EDIT_KEY_VALUE] != NULL) {
        (void)fputs(edit->replacement == HW_REPLACE_SET ? ":value=" : ":by=", out);
        write_amount(out, edit->amount);
    }
    if (fields->values[EDIT_KEY_RENORMALISE] != NULL && !edit->is_renormalised) {
        (void)fputs(":renormalise=no", out);
    }
    if (edit->replacement == HW_REPLACE_WINDOW) {
        (void)fprintf(out, ":sinks=%zu:recent=%zu%s", edit->n_sinks, edit->n_recent,
                      edit->is_cache_form ? ":positions=cache" : "");
    }
    if (edit->group != NULL) {
        (void)fprintf(out, ":group=%s", edit->group);
    }
    if (edit->replacement == HW_REPLACE_RESAMPLE) {
        (void)fprintf(out, ":seed=%llu", (unsigned long long)edit->seed);
    }
    if (edit->source != NULL) {
        (void)fprintf(out, ":source=%s", edit->source);
    }
    if (has_point(fields, edit)) {
        (void)fprintf(out, ":at=%s", edit_point_word(edit->point));
    }
    if (rows != NULL && !is_query) {
        (void)fprintf(out, ":rows=%s", rows);
    }
}

enum hw_status edit_write(const struct edit_fields *fields, const struct hw_model_desc *desc,
                          struct hw_edit *edit, struct hw_error *err) {
    size_t n_text = 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, &n_text);
    if (out == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
    }
    (void)fputs(edit_replacement_word(edit->replacement), out);
    enum hw_status status = write_target(out, edit, desc, err);
    write_options(out, fields, edit);
    if (fclose(out) != 0 && status == HW_OK) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
    }
    if (status != HW_OK) {
        free(text);
        return status;
    }
    edit->spec = text;
    return HW_OK;
}
