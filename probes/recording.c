// The axes of a recording: what stands on each, group by group; see record_internal.h.
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/edit_source.h"
#include "probes/engine.h"
#include "probes/record_internal.h"

// Every array of the layout in one block, so that one free lets all of it go.
struct memory {
    const char *span_names[HW_MAX_SPANS];
    float *score_scale;
    int32_t numbers[];
};

static void fill_group(struct hw_group_axes *axes, const struct hw_model_desc *d, const bool *heads,
                       const bool *depths, int32_t *at) {
    size_t per_kv = d->n_heads / d->n_kv_heads;
    axes->layers = at;
    axes->depths = axes->layers + d->n_layers;
    axes->heads = axes->depths + d->n_layers + 1;
    axes->kv_heads = axes->heads + d->n_heads;
    for (size_t l = 0; l < d->n_layers; l++) {
        bool is_any = false;
        for (size_t h = 0; h < d->n_heads; h++) {
            is_any = is_any || heads[l * d->n_heads + h];
        }
        if (is_any) {
            axes->layers[axes->n_layers++] = (int32_t)l;
        }
    }
    for (size_t l = 0; l <= d->n_layers; l++) {
        if (depths[l]) {
            axes->depths[axes->n_depths++] = (int32_t)l;
        }
    }
    for (size_t h = 0; h < d->n_heads; h++) {
        for (size_t l = 0; l < d->n_layers; l++) {
            if (heads[l * d->n_heads + h]) {
                axes->heads[axes->n_heads++] = (int32_t)h;
                break;
            }
        }
    }
    for (size_t i = 0; i < axes->n_heads; i++) {
        int32_t kv = axes->heads[i] / (int32_t)per_kv;
        if (axes->n_kv_heads == 0 || axes->kv_heads[axes->n_kv_heads - 1] != kv) {
            axes->kv_heads[axes->n_kv_heads++] = kv;
        }
    }
}

// Marks which cells of layers x heads were asked for, where not all of them were.
static void fill_recorded(struct hw_group_axes *axes, const struct hw_model_desc *d,
                          const bool *heads, uint8_t *at) {
    bool is_ragged = false;
    for (size_t i = 0; i < axes->n_layers * axes->n_heads; i++) {
        size_t layer = (size_t)axes->layers[i / axes->n_heads];
        size_t head = (size_t)axes->heads[i % axes->n_heads];
        at[i] = heads[layer * d->n_heads + head];
        is_ragged = is_ragged || at[i] == 0;
    }
    axes->recorded = is_ragged ? at : NULL;
}

enum hw_status hw_recording_fill(struct hw_recording *recording, const struct hw_model_desc *d,
                                 bool *const *heads, bool *const *depths, struct hw_error *err) {
    struct hw_layout *layout = &recording->layout;
    size_t per_group = 2 * d->n_layers + 1 + d->n_heads + d->n_kv_heads;
    size_t recorded = d->n_layers * d->n_heads;
    size_t bytes = sizeof(struct memory) + HW_N_GROUPS * per_group * sizeof(int32_t) +
                   d->n_layers * sizeof(float) + HW_N_GROUPS * recorded;
    struct memory *memory = calloc(1, bytes);
    if (memory == NULL) {
        return hw_fail(err, HW_RESOURCE, "cannot allocate %zu bytes", bytes);
    }
    memory->score_scale = (float *)(memory->numbers + HW_N_GROUPS * per_group);
    uint8_t *marks = (uint8_t *)(memory->score_scale + d->n_layers);
    for (size_t g = 0; g < HW_N_GROUPS; g++) {
        if (heads[g] != NULL) {
            fill_group(&layout->groups[g], d, heads[g], depths[g], memory->numbers + g * per_group);
            fill_recorded(&layout->groups[g], d, heads[g], marks + g * recorded);
        }
    }
    const struct hw_group_axes *vectors = &layout->groups[HW_GROUP_ATTENTION_VECTORS];
    for (size_t i = 0; i < vectors->n_layers; i++) {
        memory->score_scale[i] = d->score_scale[vectors->layers[i]];
    }
    layout->fixed[HW_DS_ATTENTION_VECTORS_SCORE_SCALE] = memory->score_scale;
    layout->n_heads = d->n_heads;
    layout->n_kv_heads = d->n_kv_heads;
    layout->d_model = d->d_model;
    layout->d_head = d->d_head;
    layout->d_mlp = d->d_mlp;
    layout->n_vocab = d->n_vocab;
    recording->memory = memory;
    return HW_OK;
}

enum hw_status hw_recording_set_prompts(struct hw_recording *recording,
                                        const struct hw_prompts *prompts, size_t max_generate,
                                        struct hw_error *err) {
    struct memory *memory = recording->memory;
    struct hw_layout *layout = &recording->layout;
    memcpy(memory->span_names, hw_builtin_spans, HW_N_BUILTIN_SPANS * sizeof memory->span_names[0]);
    layout->n_spans = HW_N_BUILTIN_SPANS;
    size_t longest = 0;
    for (size_t p = 0; p < prompts->n; p++) {
        longest = hw_size_max(longest, prompts->items[p].n_ids);
        for (size_t i = 0; i < prompts->items[p].n_spans; i++) {
            const char *name = prompts->items[p].spans[i].name;
            size_t at = 0;
            while (at < layout->n_spans && strcmp(memory->span_names[at], name) != 0) {
                at++;
            }
            if (at < HW_N_BUILTIN_SPANS) {
                return hw_fail(err, HW_USAGE,
                               "prompt %zu names a span \"%s\", which every capture has already", p,
                               name);
            }
            if (at == HW_MAX_SPANS) {
                return hw_fail(err, HW_USAGE,
                               "more than %d different span names (prompt %zu adds \"%s\")",
                               HW_MAX_SPANS - HW_N_BUILTIN_SPANS, p, name);
            }
            if (at == layout->n_spans) {
                memory->span_names[layout->n_spans++] = name;
            }
        }
    }
    layout->span_names = memory->span_names;
    layout->max_tokens = longest + max_generate;
    return HW_OK;
}

static enum hw_status add_group(struct hw_recording *recording, const char *name,
                                struct hw_error *err) {
    struct hw_layout *layout = &recording->layout;
    size_t n = layout->n_mean_groups;
    for (size_t g = 0; g < n; g++) {
        if (strcmp(recording->mean_groups[g], name) == 0) {
            return HW_OK;
        }
    }
    if (n == HW_MAX_MEAN_GROUPS) {
        return hw_fail(err, HW_USAGE, "--means-by %s: more than %d groups (\"%s\" is one more)",
                       layout->means_by, HW_MAX_MEAN_GROUPS, name);
    }
    if (recording->mean_groups == NULL) {
        recording->mean_groups = calloc(HW_MAX_MEAN_GROUPS, sizeof *recording->mean_groups);
    }
    char *copy = recording->mean_groups != NULL ? strdup(name) : NULL;
    if (copy == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the groups of means");
    }
    recording->mean_groups[n] = copy;
    layout->mean_groups = (const char *const *)recording->mean_groups;
    layout->n_mean_groups = n + 1;
    return HW_OK;
}

enum hw_status hw_recording_set_groups(struct hw_recording *recording,
                                       const struct hw_prompts *prompts, const char *means_by,
                                       struct hw_error *err) {
    struct hw_layout *layout = &recording->layout;
    enum hw_status status = HW_OK;
    bool has_value = means_by == NULL;
    bool has_failed = false; // perhaps it had the key
    layout->means_by = means_by != NULL ? means_by : "";
    for (size_t p = 0; p < prompts->n && status == HW_OK; p++) {
        const struct hw_prompt *prompt = &prompts->items[p];
        char name[HW_GROUP_NAME_BYTES];
        if (prompt->status == HW_PROMPT_FAILED) {
            has_failed = true;
            continue;
        }
        (void)hw_prompt_group(prompt, means_by, name, sizeof name);
        has_value = has_value || name[0] != '\0';
        layout->n_mean_positions = hw_size_max(layout->n_mean_positions, prompt->n_ids);
        status = add_group(recording, name, err);
    }
    if (status == HW_OK && !has_value && !has_failed) {
        status = hw_fail(err, HW_USAGE, "--means-by %s: no prompt has that key", means_by);
    }
    return status;
}

void hw_recording_close(struct hw_recording *recording) {
    for (size_t g = 0; recording->mean_groups != NULL && g < recording->layout.n_mean_groups; g++) {
        free(recording->mean_groups[g]);
    }
    free(recording->mean_groups);
    free(recording->memory);
    memset(recording, 0, sizeof *recording);
}
