// Whether an edit means anything: which replacement acts where, on which targets, in which models.
// Every refusal says why, with what was expected and found.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/edit_internal.h"

#define POINT_BIT(id) (1u << HW_POINT_##id)
#define AT_VECTORS (POINT_BIT(Z) | POINT_BIT(VALUE) | POINT_BIT(SITE))

// Where each replacement acts.
static unsigned points_of(enum hw_replacement replacement) {
    switch (replacement) {
    case HW_REPLACE_ZERO:
    case HW_REPLACE_SCALE:
        return AT_VECTORS | POINT_BIT(PATTERN);
    case HW_REPLACE_MEAN:
    case HW_REPLACE_POSITION_MEAN:
    case HW_REPLACE_FROM:
    case HW_REPLACE_RESAMPLE:
    case HW_REPLACE_SET:
        return AT_VECTORS;
    case HW_REPLACE_BIAS:
        return POINT_BIT(SCORES);
    default:
        return POINT_BIT(PATTERN);
    }
}

// "z|value": the points of `points` that at= can name.
static const char *points_text(unsigned points, char text[40]) {
    text[0] = '\0';
    for (int point = 0; point < HW_POINT_SITE; point++) {
        if ((points >> point & 1) != 0) {
            (void)strncat(text, text[0] != '\0' ? "|" : "", 2);
            (void)strncat(text, edit_point_word((enum hw_edit_point)point), 10);
        }
    }
    return text;
}

static enum hw_status check_point(const struct edit_fields *fields, const struct hw_edit *edit,
                                  struct hw_error *err) {
    unsigned points = points_of(edit->replacement);
    unsigned replacement = 1u << edit->replacement;
    const char *word = edit_replacement_word(edit->replacement);
    char text[40];
    bool is_vector = edit->target == HW_TARGET_MLP || edit->target == HW_TARGET_NEURON ||
                     edit->target == HW_TARGET_CHANNEL;
    if (is_vector && fields->values[EDIT_KEY_AT] != NULL) {
        return hw_fail(err, HW_USAGE, "at= goes with head=, kv= and attn= (found %s)",
                       edit->target == HW_TARGET_MLP      ? "mlp="
                       : edit->target == HW_TARGET_NEURON ? "neuron="
                                                          : "channel=");
    }
    if (is_vector && (replacement & EDIT_ATTENTION) != 0) {
        return hw_fail(err, HW_USAGE, "%s changes attention: expected head=, kv= or attn=", word);
    }
    if ((points >> edit->point & 1) != 0) {
        return HW_OK;
    }
    const char *why = "";
    if (edit->point == HW_POINT_PATTERN && (replacement & EDIT_SOURCES) != 0) {
        why = ", the maps of another run are not kept";
    } else if (edit->replacement == HW_REPLACE_ZERO && edit->point == HW_POINT_SCORES) {
        why = ", scores of zero are uniform attention: uniform";
    } else if (edit->point == HW_POINT_SCORES) {
        why = ", scores are changed by bias only";
    }
    return hw_fail(err, HW_USAGE, "%s does not act at %s%s (expected at=%s)", word,
                   edit_point_word(edit->point), why, points_text(points, text));
}

// Options that must be there, or that need a point.
static enum hw_status check_options(const struct edit_fields *fields, const struct hw_edit *edit,
                                    struct hw_error *err) {
    char *const *values = fields->values;
    const char *word = edit_replacement_word(edit->replacement);
    bool is_edge = values[EDIT_KEY_QUERY] != NULL ||
                   (values[EDIT_KEY_KEY] != NULL && edit->replacement != HW_REPLACE_TO);
    bool is_at_attention = edit->point == HW_POINT_PATTERN || edit->point == HW_POINT_SCORES;
    if (is_edge && !is_at_attention) {
        return hw_fail(err, HW_USAGE,
                       "query= and key= are edges of attention (expected head=, kv=, attn= or "
                       "layer= at=pattern, found %s)",
                       values[EDIT_KEY_AT] != NULL ? edit_point_word(edit->point)
                                                   : edit_site_word(edit->site));
    }
    if (((1u << edit->replacement) & (EDIT_BIT(SCALE) | EDIT_BIT(BIAS))) != 0 &&
        values[EDIT_KEY_BY] == NULL) {
        return hw_fail(err, HW_USAGE, "%s needs by=", word);
    }
    if (edit->replacement == HW_REPLACE_SET && values[EDIT_KEY_VALUE] == NULL) {
        return hw_fail(err, HW_USAGE, "set needs value=");
    }
    if (edit->replacement == HW_REPLACE_BLOCK && values[EDIT_KEY_KEY] == NULL) {
        return hw_fail(err, HW_USAGE, "block needs key=, the keys that are masked");
    }
    if (values[EDIT_KEY_RENORMALISE] != NULL && edit->point != HW_POINT_PATTERN) {
        return hw_fail(err, HW_USAGE, "renormalise= goes with scale at=pattern (found at=%s)",
                       edit_point_word(edit->point));
    }
    if (edit->replacement == HW_REPLACE_SCALE && is_at_attention && edit->amount < 0) {
        return hw_fail(err, HW_USAGE,
                       "weights of attention are never negative: expected by= of 0 or more "
                       "(found %g)",
                       (double)edit->amount);
    }
    return HW_OK;
}

static enum hw_status check_window(const struct edit_fields *fields, const struct hw_edit *edit,
                                   const struct hw_model_desc *desc, struct hw_error *err) {
    if (edit->replacement != HW_REPLACE_WINDOW) {
        return HW_OK;
    }
    if (fields->values[EDIT_KEY_RECENT] == NULL) {
        return hw_fail(err, HW_USAGE, "window needs recent=");
    }
    if (edit->n_sinks == 0 && edit->n_recent == 0 && !edit->is_cache_form) {
        return hw_fail(err, HW_USAGE, "a window of no sinks and no recent keys shows nothing");
    }
    if (edit->is_cache_form && desc->position != HW_POSITION_ROPE) {
        return hw_fail(err, HW_USAGE,
                       "positions=cache turns queries to their place in the cache: expected a "
                       "model with rope (found learned positions)");
    }
    return HW_OK;
}

size_t edit_kv_of_heads(const bool *heads, const struct hw_model_desc *desc, bool *ret_selected) {
    size_t group = desc->n_heads / desc->n_kv_heads;
    size_t alone = SIZE_MAX;
    for (size_t kv = 0; kv < desc->n_layers * desc->n_kv_heads; kv++) {
        size_t n = 0, first = 0;
        for (size_t h = kv * group; h < (kv + 1) * group; h++) {
            first = heads[h] && n == 0 ? h : first;
            n += heads[h];
        }
        ret_selected[kv] = n == group;
        if (n != 0 && n != group && alone == SIZE_MAX) {
            alone = first;
        }
    }
    return alone;
}

// Values belong to key/value heads.
static enum hw_status check_values(const struct hw_edit *edit, const struct hw_model_desc *desc,
                                   struct hw_error *err) {
    if (edit->point != HW_POINT_VALUE || edit->target == HW_TARGET_NONE) {
        return HW_OK;
    }
    bool *kv = calloc(desc->n_layers * desc->n_kv_heads, sizeof *kv);
    if (kv == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
    }
    size_t alone = edit_kv_of_heads(edit->heads, desc, kv);
    free(kv);
    if (alone == SIZE_MAX) {
        return HW_OK;
    }
    size_t layer = alone / desc->n_heads;
    size_t group = desc->n_heads / desc->n_kv_heads;
    size_t first = alone % desc->n_heads / group * group;
    return hw_fail(
        err, HW_USAGE,
        "head %zu.%zu shares its values with heads %zu.%zu-%zu: expected all of them, as "
        "kv=%zu.%zu",
        layer, alone % desc->n_heads, layer, first, first + group - 1, layer, first / group);
}

static enum hw_status check_target(const struct hw_edit *edit, const struct hw_model_desc *desc,
                                   struct hw_error *err) {
    bool is_empty = edit->target != HW_TARGET_NONE;
    for (size_t layer = 0; layer < desc->n_layers; layer++) {
        is_empty = is_empty && !edit->layers[layer];
    }
    if (is_empty) {
        return hw_fail(err, HW_USAGE, "the target selects nothing");
    }
    if (edit->point == HW_POINT_SITE && edit->site == HW_SITE_RESID_MID && desc->is_parallel) {
        return hw_fail(err, HW_USAGE,
                       "there is no resid_mid: attention and MLP of this model are parallel");
    }
    return HW_OK;
}

enum hw_status edit_check(const struct edit_fields *fields, const struct hw_edit *edit,
                          const struct hw_model_desc *desc, struct hw_error *err) {
    enum hw_status status = check_target(edit, desc, err);
    if (status == HW_OK) {
        status = check_point(fields, edit, err);
    }
    if (status == HW_OK) {
        status = check_options(fields, edit, err);
    }
    if (status == HW_OK) {
        status = check_window(fields, edit, desc, err);
    }
    return status == HW_OK ? check_values(edit, desc, err) : status;
}

bool hw_edit_has_source(const struct hw_edit *edit, enum hw_site *ret_site) {
    if (((1u << edit->replacement) & EDIT_SOURCES) == 0) {
        return false;
    }
    *ret_site = edit_site(edit);
    return true;
}
