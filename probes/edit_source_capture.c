// Values from a capture: of the same model, whole rows of a recorded activation. Prompts are found
// by their tokens; means are over the rows of the prompts' texts.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/trace_records.h"
#include "kernels/size.h"
#include "probes/edit_source_internal.h"

// The dataset of /means; HW_N_DATASETS: it has none of the site.
static enum hw_dataset mean_of(enum hw_site site, bool is_by_position) {
    switch (site) {
    case HW_SITE_Z:
        return is_by_position ? HW_DS_MEANS_POSITION_Z : HW_DS_MEANS_Z;
    case HW_SITE_ATTN_OUT:
        return is_by_position ? HW_DS_MEANS_POSITION_ATTENTION_OUTPUT
                              : HW_DS_MEANS_ATTENTION_OUTPUT;
    case HW_SITE_MLP_OUT:
        return is_by_position ? HW_DS_MEANS_POSITION_MLP_OUTPUT : HW_DS_MEANS_MLP_OUTPUT;
    case HW_SITE_RESID_PRE:
    case HW_SITE_RESID_POST:
        return is_by_position ? HW_DS_MEANS_POSITION_RESIDUAL : HW_DS_MEANS_RESIDUAL;
    default:
        return HW_N_DATASETS;
    }
}

// The activation that is a site's rows.
static enum hw_dataset activation_of(enum hw_site site) {
    switch (site) {
    case HW_SITE_V:
        return HW_DS_ACTIVATIONS_VALUE;
    case HW_SITE_Z:
        return HW_DS_ACTIVATIONS_Z;
    case HW_SITE_ATTN_OUT:
        return HW_DS_ACTIVATIONS_ATTENTION_OUTPUT;
    case HW_SITE_MLP_POST:
        return HW_DS_ACTIVATIONS_MLP_POST;
    case HW_SITE_MLP_OUT:
        return HW_DS_ACTIVATIONS_MLP_OUTPUT;
    case HW_SITE_RESID_MID:
        return HW_DS_ACTIVATIONS_RESIDUAL_MID;
    default:
        return HW_DS_ACTIVATIONS_RESIDUAL;
    }
}

static enum hw_dataset dataset_of(const struct hw_source_need *need) {
    bool is_by_position = need->replacement == HW_REPLACE_POSITION_MEAN;
    return need->from == HW_GROUP_MEANS ? mean_of(need->site, is_by_position)
                                        : activation_of(need->site);
}

static enum hw_status again(const struct hw_source_need *need, const char *lacks,
                            struct hw_error *err) {
    const char *record = hw_schema_row(activation_of(need->site))->record;
    bool is_by_position = need->replacement == HW_REPLACE_POSITION_MEAN;
    bool has_means = hw_source_is_mean(need) && mean_of(need->site, false) != HW_N_DATASETS;
    char found[300];
    hw_trace_list_records(need->capture->trace, found, sizeof found);
    return hw_fail(
        err, HW_INPUT, "%s: %s needs %s%s%s (found %s): capture again with --record %s%s",
        need->source, need->spec, has_means ? "means or " : "", record, lacks, found,
        has_means ? "means" : record, has_means && is_by_position ? " --means-per-position" : "");
}

// The slab of a layer; -1: it is not recorded.
static int64_t slab_of(const struct hw_source_need *need, size_t layer) {
    bool has_depth = need->site == HW_SITE_RESID_PRE || need->site == HW_SITE_RESID_POST;
    int32_t number = (int32_t)layer + (need->site == HW_SITE_RESID_POST);
    return hw_trace_find(need->capture->trace, need->from,
                         has_depth ? HW_AXIS_DEPTH : HW_AXIS_LAYER, number);
}

// Heads of a site and their numbers on the recorded axis; n 0: the site has no heads.
static const int32_t *recorded_heads(const struct hw_source_need *need, size_t *ret_n) {
    const struct hw_group_axes *axes = &hw_trace_layout(need->capture->trace)->groups[need->from];
    bool is_kv = need->site == HW_SITE_V;
    *ret_n = is_kv ? axes->n_kv_heads : need->site == HW_SITE_Z ? axes->n_heads : 0;
    return is_kv ? axes->kv_heads : axes->heads;
}

static bool has_head(const struct hw_source_need *need, size_t slab, size_t head) {
    const struct hw_group_axes *axes = &hw_trace_layout(need->capture->trace)->groups[need->from];
    size_t n;
    const int32_t *heads = recorded_heads(need, &n);
    for (size_t i = 0; i < n; i++) {
        if (heads[i] == (int32_t)head) {
            return need->site == HW_SITE_V || axes->recorded == NULL ||
                   axes->recorded[slab * axes->n_heads + i] != 0;
        }
    }
    return false;
}

// Record, layers, heads and rows that the need reads.
static enum hw_status check_record(const struct hw_edit_sources *s,
                                   const struct hw_source_need *need, struct hw_error *err) {
    const struct hw_model_desc *d = s->desc;
    const struct hw_trace *trace = need->capture->trace;
    enum hw_dataset dataset = dataset_of(need);
    if (dataset == HW_N_DATASETS || !hw_trace_has(trace, dataset)) {
        return again(need, "", err);
    }
    bool is_mean = need->from == HW_GROUP_MEANS;
    size_t n_positions = is_mean && need->replacement == HW_REPLACE_POSITION_MEAN
                             ? hw_layout_axis(hw_trace_layout(trace), need->from, HW_AXIS_POSITION)
                             : 1;
    if (!is_mean && hw_trace_n_rows(trace, dataset) != hw_trace_n_tokens(trace)) {
        return again(need, " at every position (without --positions)", err);
    }
    size_t n_recorded;
    const int32_t *heads = recorded_heads(need, &n_recorded);
    size_t n = need->site == HW_SITE_Z ? d->n_heads : need->site == HW_SITE_V ? d->n_kv_heads : 0;
    for (size_t i = 0; i < n_recorded; i++) {
        if (heads[i] < 0 || (size_t)heads[i] >= n) {
            return hw_fail(err, HW_INPUT, "%s: has a head %d (the model has %zu)", need->source,
                           (int)heads[i], n);
        }
    }
    for (size_t layer = 0; layer < d->n_layers; layer++) {
        if (!need->layers[layer]) {
            continue;
        }
        char lacks[64];
        int64_t slab = slab_of(need, layer);
        (void)snprintf(lacks, sizeof lacks, " of layer %zu", layer);
        if (slab < 0) {
            return again(need, lacks, err);
        }
        for (size_t h = 0; h < n; h++) {
            (void)snprintf(lacks, sizeof lacks, " of head %zu.%zu", layer, h);
            if (need->heads[layer * n + h] && !has_head(need, (size_t)slab, h)) {
                return again(need, lacks, err);
            }
        }
        size_t width = n > 0 ? n_recorded * d->d_head : need->width;
        if (hw_trace_n_inner(trace, dataset) != n_positions * width) {
            return hw_fail(err, HW_INPUT, "%s: rows of %s have %zu values (expected %zu)",
                           need->source, hw_schema_row(dataset)->name,
                           hw_trace_n_inner(trace, dataset), n_positions * width);
        }
    }
    return HW_OK;
}

// The capture must be of the running model, by the hash that it has of its own.
static enum hw_status check_model(const struct hw_edit_sources *s,
                                  const struct hw_source_capture *capture, struct hw_error *err) {
    static const char *const kinds[] = {"full", "header"};
    char *found = NULL;
    char *kind = NULL;
    enum hw_status status =
        hw_trace_attribute(capture->trace, HW_GROUP_PROVENANCE, "model_sha256", &found, err);
    if (status == HW_OK) {
        status =
            hw_trace_attribute(capture->trace, HW_GROUP_PROVENANCE, "model_sha256_of", &kind, err);
    }
    enum hw_model_hash how = HW_MODEL_HASH_NONE;
    for (int i = 0; i < 2 && status == HW_OK; i++) {
        how = strcmp(kind, kinds[i]) == 0 ? (enum hw_model_hash)i : how;
    }
    if (status == HW_OK && how == HW_MODEL_HASH_NONE) {
        status = hw_fail(err, HW_INPUT,
                         "%s: has no hash of its model, which must be the running one (captured "
                         "with --model-hash none)",
                         capture->path);
    }
    char expected[65] = "";
    if (status == HW_OK) {
        status = hw_checkpoint_sha256(s->options.model->checkpoint, how, s->options.hash_folder,
                                      expected, err);
    }
    if (status == HW_OK && strcmp(expected, found) != 0) {
        status = hw_fail(err, HW_INPUT,
                         "%s: is a capture of another model (sha256 %.12s..., expected %.12s...)",
                         capture->path, found, expected);
    }
    free(found);
    free(kind);
    return status;
}

static enum hw_status open_capture(struct hw_edit_sources *s, const char *path,
                                   struct hw_source_capture **ret_capture, struct hw_error *err) {
    for (size_t i = 0; i < s->n_captures; i++) {
        if (strcmp(s->captures[i].path, path) == 0) {
            *ret_capture = &s->captures[i];
            return HW_OK;
        }
    }
    struct hw_source_capture *capture = &s->captures[s->n_captures++];
    capture->path = strdup(path);
    if (capture->path == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a source of edits");
    }
    enum hw_status status = hw_trace_open(path, &capture->trace, err);
    if (status == HW_OK) {
        status = hw_trace_attribute(capture->trace, HW_GROUP_ROOT, "run_id", &capture->run_id, err);
    }
    if (status == HW_OK) {
        *ret_capture = capture;
        status = check_model(s, capture, err);
    }
    return status;
}

static bool has_rows(const struct hw_trace_prompt *prompt) {
    return prompt->status != HW_PROMPT_FAILED && prompt->n_prompt_tokens > 0;
}

// The prompt of the capture with the same tokens.
static enum hw_status find_prompts(struct hw_edit_sources *s, const struct hw_source_need *need,
                                   struct hw_error *err) {
    struct hw_source_capture *capture = need->capture;
    if (capture->prompt_of != NULL) {
        return HW_OK;
    }
    capture->prompt_of = calloc(s->n_prompts, sizeof *capture->prompt_of);
    if (capture->prompt_of == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a source of edits");
    }
    for (size_t p = 0; p < s->n_prompts; p++) {
        const struct hw_prompt *prompt = &s->options.prompts->items[p];
        char hex[65];
        if (prompt->status == HW_PROMPT_FAILED) {
            continue;
        }
        hw_prompt_sha256(prompt, hex);
        size_t n = hw_trace_n_prompts(capture->trace);
        size_t at = 0;
        for (; at < n; at++) {
            const struct hw_trace_prompt *there = hw_trace_prompt(capture->trace, at);
            if (has_rows(there) && there->n_prompt_tokens == prompt->n_ids &&
                strcmp(there->sha256, hex) == 0) {
                break;
            }
        }
        if (at == n) {
            (void)hw_fail(err, HW_INPUT, "%s has no prompt with the same tokens (of %zu)",
                          capture->path, n);
            (void)hw_source_fail_prompt(s, need, p, err);
            return HW_INPUT;
        }
        capture->prompt_of[p] = at;
    }
    return HW_OK;
}

// The groups of the capture's prompts.
static enum hw_status find_groups(struct hw_source_need *need, struct hw_error *err) {
    const struct hw_trace *trace = need->capture->trace;
    enum hw_status status = HW_OK;
    need->n_rows = 1;
    for (size_t p = 0; p < hw_trace_n_prompts(trace) && status == HW_OK; p++) {
        const struct hw_trace_prompt *prompt = hw_trace_prompt(trace, p);
        char name[HW_GROUP_NAME_BYTES];
        size_t group;
        if (has_rows(prompt)) {
            (void)hw_object_group(prompt->json, need->means_by, name, sizeof name);
            status = hw_source_group_add(&need->groups, name, &group, err);
            if (need->replacement == HW_REPLACE_POSITION_MEAN) {
                need->n_rows = hw_size_max(need->n_rows, prompt->n_prompt_tokens);
            }
        }
    }
    return status;
}

// The groups of /means: of its own key, which --means-by may repeat.
static enum hw_status take_groups(struct hw_source_need *need, struct hw_error *err) {
    const struct hw_layout *layout = hw_trace_layout(need->capture->trace);
    const char *key = layout->means_by != NULL ? layout->means_by : "";
    if (need->means_by != NULL && strcmp(need->means_by, key) != 0) {
        return hw_fail(err, HW_USAGE,
                       "%s: its means are by '%s' (expected '%s', as --means-by says)",
                       need->source, key, need->means_by);
    }
    need->means_by = key[0] != '\0' ? key : NULL;
    need->n_rows = need->replacement == HW_REPLACE_POSITION_MEAN
                       ? hw_layout_axis(layout, HW_GROUP_MEANS, HW_AXIS_POSITION)
                       : 1;
    enum hw_status status = HW_OK;
    for (size_t g = 0; g < layout->n_mean_groups && status == HW_OK; g++) {
        size_t group;
        status = hw_source_group_add(&need->groups, layout->mean_groups[g], &group, err);
        if (status == HW_OK && group != g) {
            status =
                hw_fail(err, HW_INPUT, "%s: has two groups of means of one name", need->source);
        }
    }
    return status;
}

enum hw_status hw_source_capture_open(struct hw_edit_sources *s, struct hw_source_need *need,
                                      struct hw_error *err) {
    enum hw_status status = open_capture(s, need->source, &need->capture, err);
    if (status != HW_OK) {
        return status;
    }
    need->from = HW_GROUP_MEANS;
    if (hw_source_is_mean(need) && check_record(s, need, NULL) == HW_OK) {
        return take_groups(need, err);
    }
    need->from = HW_GROUP_ACTIVATIONS;
    status = check_record(s, need, err);
    if (status != HW_OK) {
        return status;
    }
    return hw_source_is_mean(need) ? find_groups(need, err) : find_prompts(s, need, err);
}

void hw_source_capture_close(struct hw_source_capture *capture) {
    hw_trace_close(&capture->trace);
    free(capture->path);
    free(capture->run_id);
    free(capture->prompt_of);
}

// n rows of a slab, n_inner values each as they are recorded, as whole rows of the site; heads that
// are not recorded are NaN, and nobody reads them.
static void spread(const struct hw_edit_sources *s, const struct hw_source_need *need,
                   const float *rows, size_t n, float *ret_rows) {
    size_t n_heads;
    size_t d = s->desc->d_head;
    const int32_t *heads = recorded_heads(need, &n_heads);
    for (size_t i = 0; i < n * need->width; i++) {
        ret_rows[i] = NAN;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t h = 0; h < n_heads; h++) {
            memcpy(ret_rows + i * need->width + (size_t)heads[h] * d, rows + (i * n_heads + h) * d,
                   d * sizeof *rows);
        }
    }
}

// Rows first .. first + n of the dataset, each of n_positions rows of the site.
static enum hw_status read_rows(const struct hw_edit_sources *s, const struct hw_source_need *need,
                                size_t layer, size_t first, size_t n, size_t n_positions,
                                float *ret_rows, struct hw_error *err) {
    struct hw_trace *trace = need->capture->trace;
    enum hw_dataset dataset = dataset_of(need);
    size_t slab = (size_t)slab_of(need, layer);
    size_t n_inner = hw_trace_n_inner(trace, dataset);
    if (n_inner == n_positions * need->width) {
        return hw_trace_read_f32(trace, dataset, slab, first, n, ret_rows, err);
    }
    float *rows = malloc(n * n_inner * sizeof *rows);
    if (rows == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for rows of %s", need->source);
    }
    enum hw_status status = hw_trace_read_f32(trace, dataset, slab, first, n, rows, err);
    if (status == HW_OK) {
        spread(s, need, rows, n * n_positions, ret_rows);
    }
    free(rows);
    return status;
}

// Values that an edit reads must be numbers; of other heads they become 0, so that sums take them.
static enum hw_status check_rows(const struct hw_edit_sources *s, const struct hw_source_need *need,
                                 size_t layer, float *rows, size_t n, struct hw_error *err) {
    size_t d = s->desc->d_head;
    size_t n_heads = need->site == HW_SITE_Z || need->site == HW_SITE_V ? need->width / d : 1;
    size_t per = need->width / n_heads;
    for (size_t i = 0; i < n * need->width; i++) {
        if (isfinite(rows[i])) {
            continue;
        }
        size_t head = i % need->width / per;
        if (need->heads[layer * n_heads + head]) {
            return hw_fail(err, HW_INPUT,
                           "%s: the value at token %zu, layer %zu, place %zu is no finite number",
                           need->source, i / need->width, layer, i % need->width);
        }
        rows[i] = 0.0f;
    }
    return HW_OK;
}

// /means as it is, into the rows of the need.
static enum hw_status take_means(struct hw_edit_sources *s, struct hw_source_need *need,
                                 struct hw_error *err) {
    struct hw_trace *trace = need->capture->trace;
    bool is_by_position = need->replacement == HW_REPLACE_POSITION_MEAN;
    size_t n_groups = need->groups.n;
    size_t n = n_groups * need->n_rows;
    int64_t *counts = calloc(n + 1, sizeof *counts);
    need->n_counted = calloc(n_groups + 1, sizeof *need->n_counted);
    enum hw_status status =
        counts == NULL || need->n_counted == NULL
            ? hw_fail(err, HW_RESOURCE, "not enough memory for means of %s", need->source)
            : hw_trace_read_i64(trace,
                                is_by_position ? HW_DS_MEANS_POSITION_COUNT : HW_DS_MEANS_COUNT, 0,
                                0, n_groups, counts, err);
    for (size_t g = 0; g < n_groups && status == HW_OK; g++) {
        size_t *n_counted = &need->n_counted[g];
        while (*n_counted < need->n_rows && counts[g * need->n_rows + *n_counted] > 0) {
            ++*n_counted;
        }
    }
    for (size_t layer = 0; layer < s->desc->n_layers && status == HW_OK; layer++) {
        if (!need->layers[layer]) {
            continue;
        }
        float *rows = malloc((n * need->width + 1) * sizeof *rows);
        need->rows[layer] = rows;
        status = rows != NULL ? read_rows(s, need, layer, 0, n_groups, need->n_rows, rows, err)
                              : hw_fail(err, HW_RESOURCE, "not enough memory for means");
        for (size_t g = 0; g < n_groups && status == HW_OK; g++) {
            status = check_rows(s, need, layer, rows + g * need->n_rows * need->width,
                                need->n_counted[g], err);
        }
    }
    free(counts);
    return status;
}

enum hw_status hw_source_capture_means(struct hw_edit_sources *s, struct hw_source_need *need,
                                       struct hw_error *err) {
    const struct hw_trace *trace = need->capture->trace;
    size_t most = 0;
    if (need->from == HW_GROUP_MEANS) {
        return take_means(s, need, err);
    }
    for (size_t p = 0; p < hw_trace_n_prompts(trace); p++) {
        most = hw_size_max(most, hw_trace_prompt(trace, p)->n_prompt_tokens);
    }
    size_t n_bytes = 0;
    float *rows =
        hw_size_mul(most, need->width * sizeof *rows, &n_bytes) ? malloc(n_bytes + 1) : NULL;
    enum hw_status status =
        rows != NULL ? HW_OK
                     : hw_fail(err, HW_RESOURCE, "not enough memory for rows of %s", need->source);
    for (size_t layer = 0; layer < s->desc->n_layers; layer++) {
        for (size_t p = 0; p < hw_trace_n_prompts(trace) && need->layers[layer]; p++) {
            const struct hw_trace_prompt *prompt = hw_trace_prompt(trace, p);
            char name[HW_GROUP_NAME_BYTES];
            if (status != HW_OK || !has_rows(prompt)) {
                continue;
            }
            size_t n = prompt->n_prompt_tokens;
            (void)hw_object_group(prompt->json, need->means_by, name, sizeof name);
            size_t group = hw_source_group_find(&need->groups, name);
            status = read_rows(s, need, layer, prompt->first_token, n, 1, rows, err);
            status = status == HW_OK ? check_rows(s, need, layer, rows, n, err) : status;
            status = status == HW_OK
                         ? hw_source_means_add(need, layer, group, 0, n, rows, need->width, err)
                         : status;
        }
    }
    free(rows);
    return status;
}

enum hw_status hw_source_capture_prompt(struct hw_edit_sources *s, struct hw_source_need *need,
                                        size_t prompt, struct hw_error *err) {
    if (s->options.prompts->items[prompt].status == HW_PROMPT_FAILED) {
        return HW_OK;
    }
    size_t at = need->capture->prompt_of[prompt];
    size_t n = hw_trace_prompt(need->capture->trace, at)->n_prompt_tokens;
    size_t first = hw_trace_prompt(need->capture->trace, at)->first_token;
    enum hw_status status = HW_OK;
    for (size_t layer = 0; layer < s->desc->n_layers && status == HW_OK; layer++) {
        if (need->layers[layer]) {
            status = read_rows(s, need, layer, first, n, 1, need->rows[layer], err);
            status =
                status == HW_OK ? check_rows(s, need, layer, need->rows[layer], n, err) : status;
        }
    }
    return status;
}
