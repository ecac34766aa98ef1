// Opening a model: checkpoint, family, description, weights; see model.h.
#include "tracer/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/arena.h"
#include "tracer/family.h"
#include "tracer/model_bind.h"

enum { MAX_LAYERS = 10000 };

#define HW_FAMILY(name) extern const struct hw_family hw_family_##name;
#include "families.h"
#undef HW_FAMILY

static const struct hw_family *const families[] = {
#define HW_FAMILY(name) &hw_family_##name,
#include "families.h"
#undef HW_FAMILY
    NULL,
};

static const char *const family_names[] = {
#define HW_FAMILY(name) #name,
#include "families.h"
#undef HW_FAMILY
    NULL,
};

const char *const *hw_model_families(void) {
    return family_names;
}

// What the file calls its family: `key` is where it says so.
static enum hw_status read_family_name(const struct hw_checkpoint *checkpoint, char *ret_name,
                                       size_t n, const char **ret_key, struct hw_error *err) {
    const char *text = NULL;
    size_t n_text = 0;
    if (hw_checkpoint_gguf(checkpoint) != NULL) {
        struct hw_bytes bytes;
        *ret_key = "general.architecture";
        enum hw_status status =
            hw_gguf_get_string(hw_checkpoint_gguf(checkpoint), *ret_key, &bytes, err);
        if (status != HW_OK) {
            return status;
        }
        text = bytes.data;
        n_text = bytes.n;
    } else {
        *ret_key = "config.json: model_type";
        const json_t *value = json_object_get(hw_checkpoint_config(checkpoint), "model_type");
        if (!json_is_string(value)) {
            return hw_fail(err, HW_INPUT, "%s: missing, or not text", *ret_key);
        }
        text = json_string_value(value);
        n_text = json_string_length(value);
    }
    (void)hw_escape(ret_name, n, text, n_text);
    return HW_OK;
}

static enum hw_status find_family(const struct hw_checkpoint *checkpoint,
                                  const struct hw_family **ret_family, struct hw_error *err) {
    char name[64];
    const char *key;
    enum hw_status status = read_family_name(checkpoint, name, sizeof name, &key, err);
    if (status != HW_OK) {
        return status;
    }
    bool is_gguf = hw_checkpoint_gguf(checkpoint) != NULL;
    char known[512] = "";
    size_t at = 0;
    for (const struct hw_family *const *f = families; *f != NULL; f++) {
        const char *own = is_gguf ? (*f)->architecture : (*f)->model_type;
        if (strcmp(own, name) == 0) {
            *ret_family = *f;
            return HW_OK;
        }
        int n = at < sizeof known
                    ? snprintf(known + at, sizeof known - at, "%s%s", at > 0 ? ", " : "", own)
                    : 0;
        at += n > 0 ? (size_t)n : 0;
    }
    return hw_fail(err, HW_INPUT, "%s: \"%s\" is not one of %s", key, name, known);
}

// Relations that every description must keep, whatever the file says.
static enum hw_status check_description(const struct hw_model_desc *d, struct hw_error *err) {
    if (d->n_layers > MAX_LAYERS) {
        return hw_fail(err, HW_INPUT, "%zu layers, at most %d are supported", d->n_layers,
                       MAX_LAYERS);
    }
    if (d->n_heads % d->n_kv_heads != 0) {
        return hw_fail(err, HW_INPUT, "%zu key-value heads do not divide %zu heads", d->n_kv_heads,
                       d->n_heads);
    }
    if (d->position == HW_POSITION_ROPE &&
        (d->n_rot % 2 != 0 || d->n_rot > d->d_head || d->n_rot == 0)) {
        return hw_fail(err, HW_INPUT,
                       "rotary positions on %zu of the %zu channels of a head: expected an even "
                       "number, at most all",
                       d->n_rot, d->d_head);
    }
    return HW_OK;
}

// The embedding says how many tokens there are; where the configuration says so too, binding
// compares them.
static void count_vocabulary(struct hw_model *model, const struct hw_layout *layout) {
    char name[128];
    const struct hw_tensor *tensor = NULL;
    for (int has_prefix = 1; has_prefix >= 0 && tensor == NULL; has_prefix--) {
        (void)snprintf(name, sizeof name, "%s%s.weight",
                       has_prefix ? layout->names->optional_prefix : "",
                       layout->names->token_embedding);
        tensor = hw_checkpoint_find(model->checkpoint, name);
    }
    if (model->desc.n_vocab == 0 && tensor != NULL && tensor->n_dims == 2) {
        model->desc.n_vocab = tensor->shape[0];
    }
}

static enum hw_status describe(struct hw_model *model, struct hw_layout *layout,
                               struct hw_error *err) {
    const struct hw_family *family = NULL;
    enum hw_status status = find_family(model->checkpoint, &family, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_config config;
    hw_config_init(&config, model->checkpoint, err);
    config.architecture = family->architecture;
    (void)snprintf(model->desc.family, sizeof model->desc.family, "%s", family->name);
    family->describe(&config, &model->desc, layout);
    if (config.status != HW_OK) {
        return config.status;
    }
    status = check_description(&model->desc, err);
    if (status == HW_OK) {
        count_vocabulary(model, layout);
    }
    return status;
}

static enum hw_status bind(struct hw_model *model, const struct hw_layout *layout,
                           struct hw_error *err) {
    struct hw_arena measure;
    hw_arena_measure(&measure);
    enum hw_status status = hw_model_bind(model, layout, &measure, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_arena *arena = calloc(1, sizeof *arena);
    if (arena == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory");
    }
    model->memory = arena;
    status = hw_arena_open(arena, measure.used_bytes, err);
    return status == HW_OK ? hw_model_bind(model, layout, arena, err) : status;
}

enum hw_status hw_model_open(const char *path, struct hw_model **ret_model, struct hw_error *err) {
    struct hw_layout layout = {0};
    enum hw_status status;
    struct hw_model *model = calloc(1, sizeof *model);
    if (model == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory");
    }
    status = hw_checkpoint_open(path, &model->checkpoint, err);
    if (status != HW_OK) {
        goto cleanup;
    }
    status = describe(model, &layout, err);
    if (status == HW_OK) {
        status = bind(model, &layout, err);
    }
    if (status != HW_OK) {
        // What the container says names its file already: of a split model, perhaps another one.
        status = err != NULL && strncmp(err->message, path, strlen(path)) == 0
                     ? status
                     : hw_fail_context(err, status, "%s: ", path);
        goto cleanup;
    }
    *ret_model = model;
    model = NULL;
cleanup:
    hw_model_close(&model);
    return status;
}

void hw_model_close(struct hw_model **model) {
    if (*model == NULL) {
        return;
    }
    if ((*model)->memory != NULL) {
        hw_arena_close((*model)->memory);
        free((*model)->memory);
    }
    hw_checkpoint_close(&(*model)->checkpoint);
    free(*model);
    *model = NULL;
}
