// Maps against the row statistics and against z; the residual stream against what was added to it.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/trace_verify_internal.h"
#include "kernels/size.h"

// What storing a weight in [0, 1] may change: a share of it, and an absolute part.
struct rounding {
    double share;
    double step;
};

static struct rounding rounding_of(enum hw_element element) {
    switch (element) {
    case HW_ELEMENT_F2:
        return (struct rounding){0x1p-11, 0x1p-25}; // half: 11 bits, subnormal below 2^-14
    case HW_ELEMENT_U2:
        return (struct rounding){0, 0.5 / 65534};
    default:
        return (struct rounding){0, 0};
    }
}

// Rows of f4 statistics carry the rounding of an exp, a product and a sum of up to n of them in
// stripes: 2^-17 covers n = 65536 in blocks.
static const double sum_share = 0x1p-17;

// One map and what is known of it. NULL: not recorded.
struct map_check {
    const float *map;     // [n, n]
    const float *row_sum; // [n, n_heads] of the root group, already at the head
    const float *max;
    const float *first;
    size_t stride;      // heads of the root group
    const float *value; // [n, kv, d_head] at the kv head
    const float *z;     // [n, heads, d_head] at the head
    size_t value_stride;
    size_t z_stride;
    size_t d_head;
    struct rounding pattern;
    struct rounding activation; // of value and z
    bool is_changed;            // edits changed the attention
    bool is_mixed;              // z is pattern @ value
    size_t prompt;
    int32_t layer;
    int32_t head;
};

static enum hw_status check_row(struct hw_verify *verify, const struct map_check *c, size_t n,
                                size_t i, struct hw_error *err) {
    struct hw_verify_line *sums = hw_verify_line(verify, "rows of maps sum to attention_row_sum");
    double sum = 0, max = 0;
    for (size_t j = 0; j < n; j++) {
        double p = c->map[i * n + j];
        sum += p;
        max = p > max ? p : max;
    }
    double expected = c->row_sum != NULL ? c->row_sum[i * c->stride] : 1;
    double allowed = (c->pattern.share + sum_share) * expected + c->pattern.step * (double)n;
    enum hw_status status = HW_OK;
    if (c->row_sum != NULL || !c->is_changed) {
        status = hw_verify_check(sums, sum, expected, allowed + 1e-37, err,
                                 "prompt %zu, layer %d, head %d, query %zu", c->prompt,
                                 (int)c->layer, (int)c->head, i);
    }
    allowed = (c->pattern.share + sum_share) * max + c->pattern.step + 1e-37;
    if (status == HW_OK && c->max != NULL) {
        status = hw_verify_check(
            hw_verify_line(verify, "attention_max is the largest of the map's row"), max,
            c->max[i * c->stride], allowed, err, "prompt %zu, layer %d, head %d, query %zu",
            c->prompt, (int)c->layer, (int)c->head, i);
    }
    if (status == HW_OK && c->first != NULL) {
        double first = c->map[i * n];
        status = hw_verify_check(
            hw_verify_line(verify, "attention_first is the map's first column"), first,
            c->first[i * c->stride],
            (c->pattern.share + sum_share) * first + c->pattern.step + 1e-37, err,
            "prompt %zu, layer %d, head %d, query %zu", c->prompt, (int)c->layer, (int)c->head, i);
    }
    return status;
}

static enum hw_status check_mixing(struct hw_verify *verify, const struct map_check *c, size_t n,
                                   size_t i, struct hw_error *err) {
    struct hw_verify_line *line = hw_verify_line(verify, "pattern @ value = z");
    enum hw_status status = HW_OK;
    for (size_t d = 0; d < c->d_head && status == HW_OK; d++) {
        double z = 0, weighed = 0, plain = 0;
        for (size_t j = 0; j < n; j++) {
            double p = c->map[i * n + j], v = c->value[j * c->value_stride + d];
            if (p != 0) { // keys that the query does not see do not count for its error either
                z += p * v;
                weighed += fabs(p * v);
                plain += fabs(v);
            }
        }
        // u2 and half lose what is below half a step; such weights read as zero.
        double lost = c->pattern.step * (double)(i + 1);
        double found = c->z[i * c->z_stride + d];
        double allowed = (c->pattern.share + 2 * c->activation.share + sum_share) * weighed +
                         c->pattern.step * plain + lost + c->activation.step * 2;
        status = hw_verify_check(line, found, z, allowed + 1e-37, err,
                                 "prompt %zu, layer %d, head %d, query %zu, channel %zu", c->prompt,
                                 (int)c->layer, (int)c->head, i, d);
    }
    return status;
}

// Buffers of one prompt and layer.
struct buffers {
    float *map;
    float *row_sum;
    float *max;
    float *first;
    float *value;
    float *z;
};

static void close_buffers(struct buffers *b) {
    free(b->map);
    free(b->row_sum);
    free(b->max);
    free(b->first);
    free(b->value);
    free(b->z);
}

// Rows of a dataset for one prompt, where it is recorded for that layer; *ret stays NULL otherwise.
static enum hw_status load(struct hw_verify *verify, enum hw_dataset dataset, int32_t layer,
                           const struct hw_trace_prompt *prompt, float **ret,
                           struct hw_error *err) {
    struct hw_trace *trace = verify->trace;
    enum hw_group group = hw_schema_row(dataset)->group;
    int64_t slab = hw_trace_find(trace, group, HW_AXIS_LAYER, layer);
    // With --positions the rows of /activations are not those of the prompt.
    bool is_whole =
        group == HW_GROUP_ROOT || hw_trace_n_rows(trace, dataset) == hw_trace_n_tokens(trace);
    if (!hw_trace_has(trace, dataset) || slab < 0 || !is_whole) {
        return HW_OK;
    }
    size_t n_values = 0;
    float *rows = hw_size_mul(prompt->n_tokens, hw_trace_n_inner(trace, dataset), &n_values) &&
                          n_values < SIZE_MAX / 8
                      ? malloc((n_values + 1) * sizeof *rows)
                      : NULL;
    if (rows == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %s", hw_schema_row(dataset)->name);
    }
    *ret = rows;
    return hw_trace_read_f32(trace, dataset, (size_t)slab, prompt->first_token, prompt->n_tokens,
                             rows, err);
}

// At a head of rows [n, n_inner] whose heads have `width` values each; NULL where that head is not
// recorded.
static const float *at_head(const struct hw_trace *trace, enum hw_group group, enum hw_axis axis,
                            int32_t number, const float *rows, size_t width) {
    int64_t place = rows == NULL ? -1 : hw_trace_find(trace, group, axis, number);
    return place < 0 ? NULL : rows + (size_t)place * width;
}

static enum hw_status check_head(struct hw_verify *verify, size_t index, size_t layer, size_t head,
                                 struct buffers *b, struct hw_error *err) {
    struct hw_trace *trace = verify->trace;
    const struct hw_layout *layout = hw_trace_layout(trace);
    const struct hw_group_axes *axes = &layout->groups[HW_GROUP_ATTENTION];
    const struct hw_trace_prompt *prompt = hw_trace_prompt(trace, index);
    size_t n = prompt->n_tokens;
    int32_t number = axes->heads[head];
    int32_t kv_head =
        number / (int32_t)hw_size_max(1, layout->n_heads / hw_size_max(1, layout->n_kv_heads));
    if (axes->recorded != NULL && axes->recorded[layer * axes->n_heads + head] == 0) {
        return HW_OK;
    }
    struct hw_map_place place = {HW_DS_ATTENTION_PATTERN, index, layer, head};
    enum hw_status status = hw_trace_read_map(trace, &place, b->map, n, err);
    struct map_check c = {
        .map = b->map,
        .row_sum = at_head(trace, HW_GROUP_ROOT, HW_AXIS_HEAD, number, b->row_sum, 1),
        .max = at_head(trace, HW_GROUP_ROOT, HW_AXIS_HEAD, number, b->max, 1),
        .first = at_head(trace, HW_GROUP_ROOT, HW_AXIS_HEAD, number, b->first, 1),
        .stride = layout->groups[HW_GROUP_ROOT].n_heads,
        .value = at_head(trace, HW_GROUP_ACTIVATIONS, HW_AXIS_KV_HEAD, kv_head, b->value,
                         layout->d_head),
        .z = at_head(trace, HW_GROUP_ACTIVATIONS, HW_AXIS_HEAD, number, b->z, layout->d_head),
        .value_stride = layout->groups[HW_GROUP_ACTIVATIONS].n_kv_heads * layout->d_head,
        .z_stride = layout->groups[HW_GROUP_ACTIVATIONS].n_heads * layout->d_head,
        .d_head = layout->d_head,
        .pattern = rounding_of(hw_layout_element(layout, HW_DS_ATTENTION_PATTERN)),
        .activation = rounding_of(hw_layout_element(layout, HW_DS_ACTIVATIONS_Z)),
        .is_changed = hw_verify_is_edited(verify, HW_EDITED_PATTERN, axes->layers[layer], number),
        .is_mixed = !hw_verify_is_edited(verify, HW_EDITED_MIX, axes->layers[layer], number),
        .prompt = index,
        .layer = axes->layers[layer],
        .head = number,
    };
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        status = check_row(verify, &c, n, i, err);
        if (status == HW_OK && c.value != NULL && c.z != NULL && c.is_mixed) {
            status = check_mixing(verify, &c, n, i, err);
        }
    }
    verify->report->n_values_read += n * n;
    return status;
}

// Scores have no identity of their own here; they are read so that what cannot be decompressed is
// found.
static enum hw_status read_scores(struct hw_verify *verify, size_t index, size_t layer, float *map,
                                  struct hw_error *err) {
    size_t n_heads = hw_trace_layout(verify->trace)->groups[HW_GROUP_ATTENTION].n_heads;
    size_t n = hw_trace_prompt(verify->trace, index)->n_tokens;
    enum hw_status status = HW_OK;
    for (size_t head = 0;
         head < n_heads && status == HW_OK && hw_trace_has(verify->trace, HW_DS_ATTENTION_SCORES);
         head++) {
        struct hw_map_place place = {HW_DS_ATTENTION_SCORES, index, layer, head};
        status = hw_trace_read_map(verify->trace, &place, map, n, err);
        verify->report->n_values_read += n * n;
    }
    return status;
}

static enum hw_status check_layer(struct hw_verify *verify, size_t index, size_t layer,
                                  struct hw_error *err) {
    const struct hw_group_axes *axes = &hw_trace_layout(verify->trace)->groups[HW_GROUP_ATTENTION];
    const struct hw_trace_prompt *prompt = hw_trace_prompt(verify->trace, index);
    struct buffers b = {0};
    size_t n_values = 0;
    enum hw_status status = HW_OK;
    if (hw_size_mul(prompt->n_tokens, prompt->n_tokens, &n_values) && n_values < SIZE_MAX / 8) {
        b.map = malloc((n_values + 1) * sizeof *b.map);
    }
    if (b.map == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a map of %zu tokens",
                         prompt->n_tokens);
    }
    int32_t number = axes->layers[layer];
    status = status != HW_OK
                 ? status
                 : load(verify, HW_DS_ATTENTION_ROW_SUM, number, prompt, &b.row_sum, err);
    status =
        status != HW_OK ? status : load(verify, HW_DS_ATTENTION_MAX, number, prompt, &b.max, err);
    status = status != HW_OK ? status
                             : load(verify, HW_DS_ATTENTION_FIRST, number, prompt, &b.first, err);
    status = status != HW_OK ? status
                             : load(verify, HW_DS_ACTIVATIONS_VALUE, number, prompt, &b.value, err);
    status =
        status != HW_OK ? status : load(verify, HW_DS_ACTIVATIONS_Z, number, prompt, &b.z, err);
    status = status != HW_OK ? status : read_scores(verify, index, layer, b.map, err);
    bool has_pattern = hw_trace_has(verify->trace, HW_DS_ATTENTION_PATTERN);
    for (size_t head = 0; head < axes->n_heads && status == HW_OK && has_pattern; head++) {
        status = check_head(verify, index, layer, head, &b, err);
    }
    close_buffers(&b);
    return status;
}

enum hw_status hw_verify_maps(struct hw_verify *verify, struct hw_error *err) {
    enum hw_status status = HW_OK;
    if (!hw_trace_has(verify->trace, HW_DS_ATTENTION_PATTERN) &&
        !hw_trace_has(verify->trace, HW_DS_ATTENTION_SCORES)) {
        return HW_OK;
    }
    size_t n_layers = hw_trace_layout(verify->trace)->groups[HW_GROUP_ATTENTION].n_layers;
    for (size_t p = 0; p < hw_trace_n_prompts(verify->trace); p++) {
        for (size_t layer = 0; layer < n_layers && status == HW_OK; layer++) {
            status = check_layer(verify, p, layer, err);
        }
    }
    return status;
}

static enum hw_status check_block(struct hw_verify *verify, int32_t layer, const int64_t slabs[4],
                                  struct hw_error *err) {
    static const enum hw_dataset datasets[4] = {
        HW_DS_ACTIVATIONS_RESIDUAL, HW_DS_ACTIVATIONS_RESIDUAL, HW_DS_ACTIVATIONS_ATTENTION_OUTPUT,
        HW_DS_ACTIVATIONS_MLP_OUTPUT};
    enum { BLOCK = 64 };
    struct hw_verify_line *line =
        hw_verify_line(verify, "residual[l + 1] = residual[l] + attention_output + mlp_output");
    struct hw_trace *trace = verify->trace;
    size_t d = hw_trace_layout(trace)->d_model,
           n_rows = hw_trace_n_rows(trace, HW_DS_ACTIVATIONS_RESIDUAL);
    // Three roundings of f4, or one of each stored value in f2.
    bool is_half =
        hw_layout_element(hw_trace_layout(trace), HW_DS_ACTIVATIONS_RESIDUAL) == HW_ELEMENT_F2;
    double share = is_half ? 0x1p-10 : 0x1p-22;
    float *rows = malloc(BLOCK * d * 4 * sizeof *rows + 1);
    enum hw_status status =
        rows == NULL ? hw_fail(err, HW_RESOURCE, "not enough memory for residual rows") : HW_OK;
    for (size_t at = 0; at < n_rows && status == HW_OK; at += BLOCK) {
        size_t n = hw_size_min(BLOCK, n_rows - at);
        for (int k = 0; k < 4 && status == HW_OK; k++) {
            status = hw_trace_read_f32(trace, datasets[k], (size_t)slabs[k], at, n,
                                       rows + (size_t)k * BLOCK * d, err);
        }
        for (size_t i = 0; i < n * d && status == HW_OK; i++) {
            double before = rows[i], after = rows[BLOCK * d + i], a = rows[2 * BLOCK * d + i],
                   m = rows[3 * BLOCK * d + i];
            double allowed = share * (fabs(before) + fabs(a) + fabs(m) + fabs(after)) + 1e-37;
            status =
                hw_verify_check(line, after, before + a + m, allowed, err,
                                "layer %d, row %zu, channel %zu", (int)layer, at + i / d, i % d);
        }
    }
    free(rows);
    return status;
}

enum hw_status hw_verify_residual(struct hw_verify *verify, struct hw_error *err) {
    struct hw_trace *trace = verify->trace;
    const struct hw_group_axes *axes = &hw_trace_layout(trace)->groups[HW_GROUP_ACTIVATIONS];
    enum hw_status status = HW_OK;
    if (!hw_trace_has(trace, HW_DS_ACTIVATIONS_RESIDUAL) ||
        !hw_trace_has(trace, HW_DS_ACTIVATIONS_ATTENTION_OUTPUT) ||
        !hw_trace_has(trace, HW_DS_ACTIVATIONS_MLP_OUTPUT)) {
        return HW_OK;
    }
    for (size_t l = 0; l < axes->n_layers && status == HW_OK; l++) {
        int32_t layer = axes->layers[l];
        int64_t before = hw_trace_find(trace, HW_GROUP_ACTIVATIONS, HW_AXIS_DEPTH, layer);
        int64_t after = hw_trace_find(trace, HW_GROUP_ACTIVATIONS, HW_AXIS_DEPTH, layer + 1);
        int64_t slabs[4] = {before, after, (int64_t)l, (int64_t)l};
        if (before >= 0 && after >= 0 &&
            !hw_verify_is_edited(verify, HW_EDITED_RESIDUAL, layer, 0)) {
            status = check_block(verify, layer, slabs, err);
        }
    }
    return status;
}
