// From the fields of a spec to an edit, and the life of edits. What is read here exists in the
// model; whether it means something is edit_check's.
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/words.h"
#include "tracer/edit_internal.h"

enum { DEFAULT_SINKS = 4 }; // StreamingLLM's

void hw_edit_close(struct hw_edit **edit) {
    if (*edit == NULL) {
        return;
    }
    free((*edit)->spec);
    free((*edit)->heads);
    free((*edit)->layers);
    hw_positions_close(&(*edit)->rows);
    hw_positions_close(&(*edit)->keys);
    free((*edit)->source);
    free((*edit)->group);
    free(*edit);
    *edit = NULL;
}

static enum hw_status read_amount(const struct edit_fields *fields, enum edit_key key,
                                  struct hw_edit *edit, struct hw_error *err) {
    const char *text = fields->values[key];
    double value;
    char shown[60];
    if (text == NULL) {
        return HW_OK;
    }
    if (!hw_parse_real(text, &value) || fabs(value) > (double)FLT_MAX) {
        return hw_fail(err, HW_USAGE, "expected %s= a finite number (found '%s')",
                       edit_key_word(key), hw_escape(shown, sizeof shown, text, strlen(text)));
    }
    edit->amount = (float)value;
    return HW_OK;
}

static enum hw_status read_number(const struct edit_fields *fields, enum edit_key key,
                                  uint64_t most, uint64_t *ret, struct hw_error *err) {
    const char *text = fields->values[key];
    char shown[60];
    if (text != NULL && (!hw_parse_count(text, ret) || *ret > most)) {
        return hw_fail(err, HW_USAGE, "expected %s= a number from 0 to %llu (found '%s')",
                       edit_key_word(key), (unsigned long long)most,
                       hw_escape(shown, sizeof shown, text, strlen(text)));
    }
    return HW_OK;
}

// One word of two.
static enum hw_status read_choice(const struct edit_fields *fields, enum edit_key key,
                                  const char *no, const char *yes, bool *ret,
                                  struct hw_error *err) {
    const char *text = fields->values[key];
    char shown[60];
    if (text == NULL) {
        return HW_OK;
    }
    if (strcmp(text, no) != 0 && strcmp(text, yes) != 0) {
        return hw_fail(err, HW_USAGE, "expected %s=%s|%s (found '%s')", edit_key_word(key), no, yes,
                       hw_escape(shown, sizeof shown, text, strlen(text)));
    }
    *ret = strcmp(text, yes) == 0;
    return HW_OK;
}

// Rows or keys; `all` is NULL.
static enum hw_status read_positions(const struct edit_fields *fields, enum edit_key key,
                                     struct hw_positions **ret, struct hw_error *err) {
    const char *text = fields->values[key];
    if (text == NULL || strcmp(text, "all") == 0) {
        return HW_OK;
    }
    enum hw_status status = hw_positions_parse(text, ret, err);
    if (status != HW_OK) {
        (void)hw_fail_context(err, status, "%s=: ", edit_key_word(key));
    }
    return status;
}

static enum hw_status read_sets(const struct edit_fields *fields, struct hw_edit *edit,
                                struct hw_error *err) {
    if (fields->values[EDIT_KEY_QUERY] != NULL && fields->values[EDIT_KEY_ROWS] != NULL) {
        return hw_fail(err, HW_USAGE, "query= and rows= are the same rows: expected one of them");
    }
    enum edit_key rows = fields->values[EDIT_KEY_QUERY] != NULL ? EDIT_KEY_QUERY : EDIT_KEY_ROWS;
    enum hw_status status = read_positions(fields, rows, &edit->rows, err);
    if (status == HW_OK && edit->replacement != HW_REPLACE_TO) {
        status = read_positions(fields, EDIT_KEY_KEY, &edit->keys, err);
    }
    return status;
}

static enum hw_status read_numbers(const struct edit_fields *fields, struct hw_edit *edit,
                                   struct hw_error *err) {
    uint64_t sinks = DEFAULT_SINKS, recent = 0, key = 0;
    edit->is_renormalised = edit->replacement == HW_REPLACE_SCALE;
    enum hw_status status = read_amount(fields, EDIT_KEY_BY, edit, err);
    if (status == HW_OK) {
        status = read_amount(fields, EDIT_KEY_VALUE, edit, err);
    }
    if (status == HW_OK) {
        status =
            read_choice(fields, EDIT_KEY_RENORMALISE, "no", "yes", &edit->is_renormalised, err);
    }
    if (status == HW_OK) {
        status =
            read_choice(fields, EDIT_KEY_POSITIONS, "text", "cache", &edit->is_cache_form, err);
    }
    if (status == HW_OK) {
        status = read_number(fields, EDIT_KEY_SINKS, HW_MAX_EDIT_COUNT, &sinks, err);
    }
    if (status == HW_OK) {
        status = read_number(fields, EDIT_KEY_RECENT, HW_MAX_EDIT_COUNT, &recent, err);
    }
    if (status == HW_OK && edit->replacement == HW_REPLACE_TO) {
        status = read_number(fields, EDIT_KEY_KEY, HW_MAX_EDIT_COUNT, &key, err);
    }
    if (status == HW_OK) {
        status = read_number(fields, EDIT_KEY_SEED, UINT64_MAX, &edit->seed, err);
    }
    if (edit->replacement == HW_REPLACE_WINDOW) {
        edit->n_sinks = (size_t)sinks;
        edit->n_recent = (size_t)recent;
    }
    edit->key = (size_t)key;
    return status;
}

static enum hw_status read_sources(const struct edit_fields *fields, struct hw_edit *edit,
                                   struct hw_error *err) {
    const char *source = fields->values[EDIT_KEY_SOURCE];
    const char *group = fields->values[EDIT_KEY_GROUP];
    if ((source != NULL && (edit->source = strdup(source)) == NULL) ||
        (group != NULL && (edit->group = strdup(group)) == NULL)) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
    }
    return HW_OK;
}

static enum hw_status edit_read(const struct edit_fields *fields, const struct hw_model_desc *desc,
                                struct hw_edit *edit, struct hw_error *err) {
    edit->replacement = fields->replacement;
    edit->heads = calloc(desc->n_layers * desc->n_heads, sizeof *edit->heads);
    edit->layers = calloc(desc->n_layers, sizeof *edit->layers);
    if (edit->heads == NULL || edit->layers == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
    }
    enum hw_status status = edit_read_target(fields, edit, err);
    if (status == HW_OK) {
        status = edit_read_point(fields, edit, err);
    }
    if (status == HW_OK) {
        status = edit_select_target(fields, desc, edit, err);
    }
    if (status == HW_OK) {
        status = read_numbers(fields, edit, err);
    }
    if (status == HW_OK) {
        status = read_sets(fields, edit, err);
    }
    return status == HW_OK ? read_sources(fields, edit, err) : status;
}

static enum hw_status edit_open(const struct edit_fields *fields, const struct hw_model_desc *desc,
                                bool is_arm, struct hw_edit **ret_edit, struct hw_error *err) {
    struct hw_edit *edit = calloc(1, sizeof *edit);
    if (edit == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
    }
    enum hw_status status = edit_read(fields, desc, edit, err);
    if (status == HW_OK && edit->target == HW_TARGET_NONE && !is_arm) {
        status = hw_fail(err, HW_USAGE,
                         "expected a target: head=, kv=, attn=, mlp=, neuron=N:layer=L or "
                         "channel=C:layer=L");
    }
    if (status == HW_OK) {
        status = edit_check(fields, edit, desc, err);
    }
    if (status == HW_OK) {
        status = edit_write(fields, desc, edit, err);
    }
    if (status != HW_OK) {
        hw_edit_close(&edit);
        return status;
    }
    *ret_edit = edit;
    return HW_OK;
}

static enum hw_status in_spec(struct hw_error *err, enum hw_status status, const char *spec) {
    char shown[120];
    size_t n = strnlen(spec, sizeof shown); // hw_escape cuts what is longer
    return hw_fail_context(err, status, "edit '%s': ", hw_escape(shown, sizeof shown, spec, n));
}

enum hw_status hw_edit_parse(const char *spec, const struct hw_model_desc *desc, bool is_arm,
                             struct hw_edit **ret_edit, struct hw_error *err) {
    struct edit_fields fields;
    enum hw_status status = edit_fields_split(spec, &fields, err);
    if (status == HW_OK) {
        status = edit_open(&fields, desc, is_arm, ret_edit, err);
    }
    if (status != HW_OK) {
        status = in_spec(err, status, spec);
    }
    edit_fields_free(&fields);
    return status;
}

// The selector of the target as text, from malloc. HW_USAGE: query heads that are no whole kv head.
static enum hw_status target_text(const struct hw_model_desc *desc, enum hw_edit_target target,
                                  const bool *selected, char **ret_text, struct hw_error *err) {
    if (target == HW_TARGET_KV) {
        bool *kv = calloc(desc->n_layers * desc->n_kv_heads, sizeof *kv);
        if (kv == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
        }
        size_t alone = edit_kv_of_heads(selected, desc, kv);
        if (alone == SIZE_MAX) {
            *ret_text = edit_selector_text(kv, desc->n_layers, desc->n_kv_heads);
        }
        free(kv);
        if (alone != SIZE_MAX) {
            return hw_fail(err, HW_USAGE, "head %zu.%zu is not all of its key/value head",
                           alone / desc->n_heads, alone % desc->n_heads);
        }
    } else {
        bool is_head = target == HW_TARGET_HEAD;
        *ret_text = edit_selector_text(selected, desc->n_layers, is_head ? desc->n_heads : 0);
    }
    return *ret_text != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
}

enum hw_status hw_edit_aim(const struct hw_edit *arm, const struct hw_model_desc *desc,
                           enum hw_edit_target target, const bool *selected,
                           struct hw_edit **ret_edit, struct hw_error *err) {
    static const enum edit_key keys[] = {[HW_TARGET_HEAD] = EDIT_KEY_HEAD,
                                         [HW_TARGET_KV] = EDIT_KEY_KV,
                                         [HW_TARGET_ATTN] = EDIT_KEY_ATTN,
                                         [HW_TARGET_MLP] = EDIT_KEY_MLP};
    if (arm->target != HW_TARGET_NONE || target < HW_TARGET_HEAD || target > HW_TARGET_MLP) {
        return hw_fail(err, HW_INTERNAL, "the edit %s cannot be aimed at target %d", arm->spec,
                       (int)target);
    }
    struct edit_fields fields;
    enum hw_status status = edit_fields_split(arm->spec, &fields, err);
    if (status == HW_OK) {
        status = target_text(desc, target, selected, &fields.values[keys[target]], err);
    }
    if (status == HW_OK) {
        status = edit_open(&fields, desc, false, ret_edit, err);
    }
    if (status != HW_OK) {
        status = in_spec(err, status, arm->spec);
    }
    edit_fields_free(&fields);
    return status;
}
