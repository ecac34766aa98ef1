// Where an edit acts: target, point and site, looked up in the model.
#include <stdlib.h>
#include <string.h>

#include "formats/words.h"
#include "tracer/edit_internal.h"

static const struct {
    enum edit_key key;
    enum hw_edit_target target;
} targets[] = {{EDIT_KEY_HEAD, HW_TARGET_HEAD},     {EDIT_KEY_KV, HW_TARGET_KV},
               {EDIT_KEY_ATTN, HW_TARGET_ATTN},     {EDIT_KEY_MLP, HW_TARGET_MLP},
               {EDIT_KEY_NEURON, HW_TARGET_NEURON}, {EDIT_KEY_CHANNEL, HW_TARGET_CHANNEL}};
enum { N_TARGETS = sizeof targets / sizeof targets[0] };

static const char *const point_words[] = {"z", "pattern", "scores", "value", "site"};

const char *edit_point_word(enum hw_edit_point point) {
    return point_words[point];
}

static const struct {
    enum hw_site site;
    const char *word;
} sites[] = {{HW_SITE_RESID_PRE, "resid_pre"},   {HW_SITE_RESID_MID, "resid_mid"},
             {HW_SITE_RESID_POST, "resid_post"}, {HW_SITE_ATTN_OUT, "attn_out"},
             {HW_SITE_MLP_OUT, "mlp_out"},       {HW_SITE_MLP_POST, "mlp_post"}};
enum { N_SITES = sizeof sites / sizeof sites[0], N_CHANNEL_SITES = N_SITES - 1 };

const char *edit_site_word(enum hw_site site) {
    for (size_t i = 0; i < N_SITES; i++) {
        if (sites[i].site == site) {
            return sites[i].word;
        }
    }
    return NULL;
}

enum hw_site edit_site(const struct hw_edit *edit) {
    return edit->point == HW_POINT_Z       ? HW_SITE_Z
           : edit->point == HW_POINT_VALUE ? HW_SITE_V
                                           : edit->site;
}

enum hw_status edit_read_target(const struct edit_fields *fields, struct hw_edit *edit,
                                struct hw_error *err) {
    const char *found = NULL;
    for (size_t i = 0; i < N_TARGETS; i++) {
        if (fields->values[targets[i].key] == NULL) {
            continue;
        }
        if (found != NULL) {
            return hw_fail(err, HW_USAGE, "expected one target (found %s= and %s=)", found,
                           edit_key_word(targets[i].key));
        }
        found = edit_key_word(targets[i].key);
        edit->target = targets[i].target;
    }
    bool is_edge = fields->values[EDIT_KEY_QUERY] != NULL ||
                   (fields->values[EDIT_KEY_KEY] != NULL && edit->replacement != HW_REPLACE_TO);
    bool has_layer = fields->values[EDIT_KEY_LAYER] != NULL;
    bool is_unit = edit->target == HW_TARGET_NEURON || edit->target == HW_TARGET_CHANNEL;
    if (has_layer && edit->target == HW_TARGET_NONE && is_edge) {
        edit->target = HW_TARGET_HEAD; // edges in all heads of the layers
    } else if (has_layer && !is_unit) {
        return hw_fail(
            err, HW_USAGE,
            "layer= goes with neuron=, channel=, or query= and key= alone (found %s; all "
            "heads of a layer: attn=)",
            found != NULL ? found : "neither");
    } else if (is_unit && !has_layer) {
        return hw_fail(err, HW_USAGE, "%s= needs layer=", found);
    }
    if (fields->values[EDIT_KEY_SITE] != NULL && edit->target != HW_TARGET_CHANNEL) {
        return hw_fail(err, HW_USAGE, "site= goes with channel= (found %s)",
                       found != NULL ? found : "no target");
    }
    return HW_OK;
}

// Layers, and all their heads.
static enum hw_status select_layers(const char *text, const struct hw_model_desc *desc,
                                    struct hw_edit *edit, struct hw_error *err) {
    enum hw_status status = hw_selector_layers(text, "layer", desc->n_layers, edit->layers, err);
    for (size_t i = 0; status == HW_OK && i < desc->n_layers * desc->n_heads; i++) {
        edit->heads[i] = edit->layers[i / desc->n_heads];
    }
    return status;
}

static enum hw_status select_heads(const struct edit_fields *fields,
                                   const struct hw_model_desc *desc, struct hw_edit *edit,
                                   struct hw_error *err) {
    bool is_kv = edit->target == HW_TARGET_KV;
    size_t n_heads = is_kv ? desc->n_kv_heads : desc->n_heads;
    const char *text = fields->values[is_kv ? EDIT_KEY_KV : EDIT_KEY_HEAD];
    if (text == NULL) {
        return select_layers(fields->values[EDIT_KEY_LAYER], desc, edit, err);
    }
    bool *selected = calloc(desc->n_layers * n_heads, sizeof *selected);
    if (selected == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for an edit");
    }
    enum hw_status status = hw_selector_heads(text, desc->n_layers, n_heads, selected, err);
    if (status != HW_OK && is_kv) {
        (void)hw_fail_context(err, status, "key/value heads: ");
    }
    size_t group = desc->n_heads / n_heads;
    for (size_t i = 0; status == HW_OK && i < desc->n_layers * desc->n_heads; i++) {
        edit->heads[i] = selected[i / group];
        edit->layers[i / desc->n_heads] |= edit->heads[i];
    }
    free(selected);
    return status;
}

// N, N-M or all of n.
static enum hw_status read_units(const char *text, const char *noun, size_t n, struct hw_edit *edit,
                                 struct hw_error *err) {
    uint64_t ends[2];
    char shown[60], part[24] = "";
    size_t n_first = strcspn(text, "-");
    bool is_range = text[n_first] == '-';
    if (strcmp(text, "all") == 0) {
        edit->unit = 0;
        edit->n_units = n;
        return HW_OK;
    }
    if (n_first < sizeof part) {
        memcpy(part, text, n_first);
    }
    if (!hw_parse_count(part, &ends[0]) ||
        !hw_parse_count(is_range ? text + n_first + 1 : part, &ends[1])) {
        return hw_fail(err, HW_USAGE, "expected %s N, N-M or all (found '%s')", noun,
                       hw_escape(shown, sizeof shown, text, strlen(text)));
    }
    if (ends[0] >= n || ends[1] >= n) {
        return hw_fail(err, HW_USAGE, "there is no %s %llu (this model has %ss 0 to %zu)", noun,
                       (unsigned long long)(ends[0] >= n ? ends[0] : ends[1]), noun, n - 1);
    }
    if (ends[1] < ends[0]) {
        return hw_fail(err, HW_USAGE, "the range %s runs backwards", text);
    }
    edit->unit = (size_t)ends[0];
    edit->n_units = (size_t)(ends[1] - ends[0]) + 1;
    return HW_OK;
}

static enum hw_status read_site(const char *text, struct hw_edit *edit, struct hw_error *err) {
    for (size_t i = 0; i < N_CHANNEL_SITES; i++) {
        if (strcmp(sites[i].word, text) == 0) {
            edit->site = sites[i].site;
            return HW_OK;
        }
    }
    char shown[60];
    return hw_fail(err, HW_USAGE,
                   "expected site=resid_pre|resid_mid|resid_post|attn_out|mlp_out (found '%s')",
                   hw_escape(shown, sizeof shown, text, strlen(text)));
}

enum hw_status edit_select_target(const struct edit_fields *fields,
                                  const struct hw_model_desc *desc, struct hw_edit *edit,
                                  struct hw_error *err) {
    const char *const *values = (const char *const *)fields->values;
    enum hw_status status = HW_OK;
    switch (edit->target) {
    case HW_TARGET_NONE:
        break;
    case HW_TARGET_HEAD:
    case HW_TARGET_KV:
        return select_heads(fields, desc, edit, err);
    case HW_TARGET_ATTN:
        edit->site = HW_SITE_ATTN_OUT;
        return select_layers(values[EDIT_KEY_ATTN], desc, edit, err);
    case HW_TARGET_MLP:
        edit->site = HW_SITE_MLP_OUT;
        return hw_selector_layers(values[EDIT_KEY_MLP], "layer", desc->n_layers, edit->layers, err);
    case HW_TARGET_NEURON:
        edit->site = HW_SITE_MLP_POST;
        status = read_units(values[EDIT_KEY_NEURON], "neuron", desc->d_mlp, edit, err);
        break;
    case HW_TARGET_CHANNEL:
        edit->site = HW_SITE_RESID_POST;
        status = read_units(values[EDIT_KEY_CHANNEL], "channel", desc->d_model, edit, err);
        if (status == HW_OK && values[EDIT_KEY_SITE] != NULL) {
            status = read_site(values[EDIT_KEY_SITE], edit, err);
        }
        break;
    }
    if (status == HW_OK && edit->target != HW_TARGET_NONE) {
        status =
            hw_selector_layers(values[EDIT_KEY_LAYER], "layer", desc->n_layers, edit->layers, err);
    }
    return status;
}

// at=, or where the replacement acts on such a target by nature.
enum hw_status edit_read_point(const struct edit_fields *fields, struct hw_edit *edit,
                               struct hw_error *err) {
    static const enum hw_edit_point natural[] = {
#define NATURAL_POINT(id, word, point, text) HW_POINT_##point,
        HW_REPLACEMENTS(NATURAL_POINT)
#undef NATURAL_POINT
    };
    const char *at = fields->values[EDIT_KEY_AT];
    bool is_attention = ((1u << edit->replacement) & EDIT_ATTENTION) != 0;
    bool is_edge = fields->values[EDIT_KEY_QUERY] != NULL || fields->values[EDIT_KEY_KEY] != NULL;
    bool is_vector = edit->target == HW_TARGET_MLP || edit->target == HW_TARGET_NEURON ||
                     edit->target == HW_TARGET_CHANNEL;
    if (at == NULL) {
        edit->point = natural[edit->replacement];
        if (!is_attention && (is_vector || (edit->target == HW_TARGET_ATTN && !is_edge))) {
            edit->point = HW_POINT_SITE;
        } else if (!is_attention && is_edge) {
            edit->point = HW_POINT_PATTERN;
        }
        return HW_OK;
    }
    for (int point = 0; point < HW_POINT_SITE; point++) {
        if (strcmp(point_words[point], at) == 0) {
            edit->point = (enum hw_edit_point)point;
            return HW_OK;
        }
    }
    char shown[60];
    return hw_fail(err, HW_USAGE, "expected at=z|pattern|scores|value (found '%s')",
                   hw_escape(shown, sizeof shown, at, strlen(at)));
}
