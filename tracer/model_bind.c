// Binding of weights; see model_bind.h.
#include "tracer/model_bind.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

enum { MAX_TENSORS_PER_LAYER = 32, MAX_TENSORS_BESIDES = 16, MAX_NAME = 256 };

static const size_t no_layer = SIZE_MAX;

// Which rows of a stored matrix make up a linear map.
struct rows {
    size_t n;            // of the map
    size_t n_file;       // rows that the file's matrix has
    size_t first;        // where the map is a run of them
    const uint32_t *map; // where it is not; NULL also while measuring
};

struct binder {
    const struct hw_checkpoint *checkpoint;
    struct hw_model *model;
    const struct hw_layout *layout;
    struct hw_arena *arena;
    struct hw_ops ops;
    const char *prefix;
    const struct hw_tensor **used;
    size_t n_used;
    enum hw_status status; // the first failure stays
    struct hw_error *err;
};

// Writes prefix + pattern + suffix, the number of the layer in the place of {l}.
static void spell(const char *prefix, const char *pattern, size_t layer, const char *suffix,
                  char ret_name[MAX_NAME]) {
    const char *mark = strstr(pattern, "{l}");
    if (mark == NULL) {
        (void)snprintf(ret_name, MAX_NAME, "%s%s%s", prefix, pattern, suffix);
    } else {
        (void)snprintf(ret_name, MAX_NAME, "%s%.*s%zu%s%s", prefix, (int)(mark - pattern), pattern,
                       layer, mark + 3, suffix);
    }
}

static void spell_shape(const struct hw_tensor *tensor, char *ret_text, size_t n) {
    size_t at = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < tensor->n_dims && at < n; i++) {
        int written = snprintf(ret_text + at, n - at, "%s%zu", i > 0 ? ", " : "", tensor->shape[i]);
        at += written > 0 ? (size_t)written : 0;
    }
}

static const struct hw_tensor *find(struct binder *b, const char *name, bool is_required) {
    if (b->status != HW_OK) {
        return NULL;
    }
    const struct hw_tensor *tensor = hw_checkpoint_find(b->checkpoint, name);
    if (tensor == NULL && is_required) {
        b->status = hw_fail(b->err, HW_INPUT, "tensor \"%s\" is missing", name);
    }
    if (tensor != NULL) {
        b->used[b->n_used++] = tensor;
    }
    return tensor;
}

// Has the tensor the shape [rows, columns] (columns 0: [rows]) and a type that can be expanded?
static bool check(struct binder *b, const struct hw_tensor *tensor, size_t rows, size_t columns) {
    size_t n_dims = columns > 0 ? 2 : 1;
    bool is_shape = tensor->n_dims == n_dims && tensor->shape[0] == rows &&
                    (n_dims == 1 || tensor->shape[1] == columns);
    char found[128];
    spell_shape(tensor, found, sizeof found);
    if (!is_shape) {
        char expected[64];
        (void)snprintf(expected, sizeof expected, n_dims == 2 ? "%zu, %zu" : "%zu", rows, columns);
        b->status = hw_fail(b->err, HW_INPUT, "tensor \"%s\": expected shape [%s], found [%s]",
                            tensor->name, expected, found);
        return false;
    }
    size_t row_bytes;
    size_t n_bytes;
    size_t n_row = columns > 0 ? columns : rows;
    if (!hw_dtype_is_weight(tensor->dtype) || !hw_dtype_bytes(tensor->dtype, n_row, &row_bytes) ||
        !hw_size_mul(row_bytes, columns > 0 ? rows : 1, &n_bytes) || n_bytes != tensor->n_bytes) {
        b->status = hw_fail(b->err, HW_INPUT,
                            "tensor \"%s\": rows of %zu values of type %s are not supported",
                            tensor->name, n_row, hw_dtype_name(tensor->dtype));
        return false;
    }
    return true;
}

// A small vector, expanded: value i is that of file row rows->map[i] or first + i.
static const float *expand(struct binder *b, const struct hw_tensor *tensor,
                           const struct rows *rows) {
    if (b->status != HW_OK || tensor == NULL || !check(b, tensor, rows->n_file, 0)) {
        return NULL;
    }
    size_t value_bytes = hw_dtype_block_bytes(tensor->dtype);
    if (hw_dtype_block_values(tensor->dtype) != 1) {
        b->status = hw_fail(b->err, HW_INPUT, "tensor \"%s\": a vector of type %s is not supported",
                            tensor->name, hw_dtype_name(tensor->dtype));
        return NULL;
    }
    float *values = hw_arena_take(b->arena, rows->n, sizeof *values);
    for (size_t i = 0; values != NULL && i < rows->n; i++) {
        size_t row = rows->map != NULL ? rows->map[i] : rows->first + i;
        b->ops.dequantize(tensor->dtype, (const char *)tensor->data + row * value_bytes, 1,
                          values + i);
    }
    return values;
}

static void bind_norm(struct binder *b, const char *pattern, size_t layer,
                      struct hw_norm_weights *ret) {
    size_t d = b->model->desc.d_model;
    struct rows all = {.n = d, .n_file = d};
    char name[MAX_NAME];
    spell(b->prefix, pattern, layer, ".weight", name);
    ret->weight = expand(b, find(b, name, true), &all);
    spell(b->prefix, pattern, layer, ".bias", name);
    if (b->layout->norm_bias != HW_BIAS_NONE) {
        bool is_required = b->layout->norm_bias == HW_BIAS_REQUIRED;
        ret->bias = expand(b, find(b, name, is_required), &all);
    }
}

static struct hw_weight view(struct binder *b, const struct hw_tensor *tensor, size_t n_in,
                             const struct rows *rows, bool is_transposed) {
    struct hw_weight weight = {0};
    size_t file_rows = is_transposed ? n_in : rows->n_file;
    size_t file_columns = is_transposed ? rows->n_file : n_in;
    if (b->status != HW_OK || tensor == NULL || !check(b, tensor, file_rows, file_columns)) {
        return weight;
    }
    if (is_transposed && hw_dtype_block_values(tensor->dtype) != 1) {
        b->status =
            hw_fail(b->err, HW_INPUT, "tensor \"%s\": type %s cannot be stored as [in, out]",
                    tensor->name, hw_dtype_name(tensor->dtype));
        return weight;
    }
    weight.data = tensor->data;
    weight.row_bytes = tensor->n_bytes / file_rows;
    weight.dtype = tensor->dtype;
    weight.n_out = rows->n;
    weight.n_in = n_in;
    weight.first = rows->map != NULL ? 0 : rows->first;
    weight.row_map = rows->map;
    weight.is_transposed = is_transposed;
    return weight;
}

static void bind_linear(struct binder *b, const char *pattern, size_t layer, size_t n_in,
                        const struct rows *rows, enum hw_bias bias, struct hw_linear_weights *ret) {
    char name[MAX_NAME];
    spell(b->prefix, pattern, layer, ".weight", name);
    ret->w = view(b, find(b, name, true), n_in, rows, b->layout->is_transposed);
    if (bias != HW_BIAS_NONE) {
        spell(b->prefix, pattern, layer, ".bias", name);
        ret->bias = expand(b, find(b, name, bias == HW_BIAS_REQUIRED), rows);
    }
}

// Output (head, c) of one of three interleaved maps, each d_head wide.
static const uint32_t *map_by_head(struct binder *b, size_t which) {
    const struct hw_model_desc *d = &b->model->desc;
    uint32_t *map = hw_arena_take(b->arena, d->n_heads * d->d_head, sizeof *map);
    for (size_t i = 0; map != NULL && i < d->n_heads * d->d_head; i++) {
        map[i] = (uint32_t)((i / d->d_head * 3 + which) * d->d_head + i % d->d_head);
    }
    return map;
}

// Half-split channel c = half * d_head / 2 + pair stands in row 2 pair + half of its head.
static const uint32_t *map_permuted(struct binder *b, size_t n_heads) {
    size_t d_head = b->model->desc.d_head;
    uint32_t *map = hw_arena_take(b->arena, n_heads * d_head, sizeof *map);
    for (size_t i = 0; map != NULL && i < n_heads * d_head; i++) {
        size_t c = i % d_head;
        size_t pair = c % (d_head / 2);
        map[i] = (uint32_t)(i - c + 2 * pair + c / (d_head / 2));
    }
    return map;
}

static void plan_qkv(struct binder *b, struct rows rows[3]) {
    const struct hw_model_desc *d = &b->model->desc;
    size_t n_q = d->n_heads * d->d_head;
    size_t n_kv = d->n_kv_heads * d->d_head;
    const size_t widths[3] = {n_q, n_kv, n_kv};
    const size_t firsts[3] = {0, n_q, n_q + n_kv};
    for (size_t i = 0; i < 3; i++) {
        rows[i] = (struct rows){.n = widths[i], .n_file = widths[i]};
        switch (b->layout->qkv) {
        case HW_QKV_SEPARATE:
            if (b->layout->is_rotary_permuted && i < 2) {
                rows[i].map = map_permuted(b, i == 0 ? d->n_heads : d->n_kv_heads);
            }
            break;
        case HW_QKV_BLOCKS:
            rows[i].n_file = n_q + 2 * n_kv;
            rows[i].first = firsts[i];
            break;
        case HW_QKV_BY_HEAD:
            rows[i].n_file = n_q + 2 * n_kv;
            rows[i].map = map_by_head(b, i);
            break;
        }
    }
}

static void bind_layer(struct binder *b, size_t layer, const struct rows qkv[3],
                       struct hw_layer_weights *ret) {
    const struct hw_model_desc *d = &b->model->desc;
    const struct hw_layout *layout = b->layout;
    const struct hw_tensor_names *names = layout->names;
    struct rows model_rows = {.n = d->d_model, .n_file = d->d_model};
    struct rows mlp_rows = {.n = d->d_mlp, .n_file = d->d_mlp};
    bind_norm(b, names->attention_norm, layer, &ret->attention_norm);
    bind_norm(b, names->mlp_norm, layer, &ret->mlp_norm);
    bool is_fused = layout->qkv != HW_QKV_SEPARATE;
    bind_linear(b, is_fused ? names->qkv : names->q, layer, d->d_model, &qkv[0], layout->qkv_bias,
                &ret->q);
    bind_linear(b, is_fused ? names->qkv : names->k, layer, d->d_model, &qkv[1], layout->qkv_bias,
                &ret->k);
    bind_linear(b, is_fused ? names->qkv : names->v, layer, d->d_model, &qkv[2], layout->qkv_bias,
                &ret->v);
    bind_linear(b, names->o, layer, d->n_heads * d->d_head, &model_rows, layout->o_bias, &ret->o);
    if (d->is_gated) {
        bind_linear(b, names->gate, layer, d->d_model, &mlp_rows, layout->mlp_bias, &ret->gate);
    }
    bind_linear(b, names->up, layer, d->d_model, &mlp_rows, layout->mlp_bias, &ret->up);
    bind_linear(b, names->down, layer, d->d_mlp, &model_rows, layout->mlp_bias, &ret->down);
}

static void bind_embeddings(struct binder *b) {
    struct hw_model *model = b->model;
    struct hw_model_desc *d = &model->desc;
    const struct hw_tensor_names *names = b->layout->names;
    struct rows vocab = {.n = d->n_vocab, .n_file = d->n_vocab};
    char name[MAX_NAME];
    spell(b->prefix, names->token_embedding, no_layer, ".weight", name);
    model->token_embedding = view(b, find(b, name, true), d->d_model, &vocab, false);
    if (d->position == HW_POSITION_LEARNED) {
        struct rows positions = {.n = d->n_context, .n_file = d->n_context};
        spell(b->prefix, names->position_embedding, no_layer, ".weight", name);
        model->position_embedding = view(b, find(b, name, true), d->d_model, &positions, false);
    }
    bind_norm(b, names->final_norm, no_layer, &model->final_norm);
    spell(names->unembed_prefix, names->unembed, no_layer, ".weight", name);
    const struct hw_tensor *unembed =
        find(b, name, !d->is_output_tied && !b->layout->is_tied_if_absent);
    if (b->layout->is_tied_if_absent) {
        d->is_output_tied = unembed == NULL;
    }
    // A tied model whose file repeats the embedding: the copy counts as used, the embedding is what
    // is read.
    model->unembed.w =
        d->is_output_tied ? model->token_embedding : view(b, unembed, d->d_model, &vocab, false);
}

static void bind_numbers(struct binder *b) {
    struct hw_model_desc *d = &b->model->desc;
    const struct hw_layout *layout = b->layout;
    d->score_scale = hw_arena_take(b->arena, d->n_layers, sizeof *d->score_scale);
    for (size_t l = 0; d->score_scale != NULL && l < d->n_layers; l++) {
        double divisor = layout->is_score_divided_by_layer ? (double)(l + 1) : 1;
        d->score_scale[l] = (float)(layout->score_scale / divisor);
    }
    if (d->position != HW_POSITION_ROPE) {
        return;
    }
    const float *divisors = NULL;
    if (layout->names->rope_divisors != NULL) {
        struct rows pairs = {.n = d->n_rot / 2, .n_file = d->n_rot / 2};
        divisors = expand(b, find(b, layout->names->rope_divisors, false), &pairs);
    }
    for (size_t c = 0; divisors != NULL && c < d->n_rot / 2; c++) {
        if (!(isfinite(divisors[c]) && divisors[c] > 0) && b->status == HW_OK) {
            b->status = hw_fail(b->err, HW_INPUT,
                                "tensor \"%s\": expected numbers above 0, found %g at %zu",
                                layout->names->rope_divisors, (double)divisors[c], c);
        }
    }
    d->rope_factor = 1;
    d->inverse_frequency = hw_arena_take(b->arena, d->n_rot / 2, sizeof *d->inverse_frequency);
    if (d->inverse_frequency != NULL) {
        hw_rope_frequencies(&layout->rope, d->n_rot, divisors, d->inverse_frequency);
    }
}

static int compare_addresses(const void *a, const void *b) {
    uintptr_t left = (uintptr_t) * (const struct hw_tensor *const *)a;
    uintptr_t right = (uintptr_t) * (const struct hw_tensor *const *)b;
    return (left > right) - (left < right);
}

// Does the name fit the pattern, any number in the place of {l}?
static bool fits(const char *pattern, const char *name) {
    const char *mark = strstr(pattern, "{l}");
    if (mark == NULL) {
        return strcmp(pattern, name) == 0;
    }
    size_t n = (size_t)(mark - pattern);
    size_t digits = strncmp(pattern, name, n) == 0 ? strspn(name + n, "0123456789") : 0;
    return digits > 0 && strcmp(mark + 3, name + n + digits) == 0;
}

static void refuse_unused(struct binder *b) {
    qsort(b->used, b->n_used, sizeof *b->used, compare_addresses);
    size_t n_prefix = strlen(b->prefix);
    for (size_t i = 0; b->status == HW_OK && i < hw_checkpoint_n_tensors(b->checkpoint); i++) {
        const struct hw_tensor *tensor = hw_checkpoint_tensor(b->checkpoint, i);
        bool is_known =
            bsearch(&tensor, b->used, b->n_used, sizeof *b->used, compare_addresses) != NULL;
        const char *name = tensor->name;
        name += strncmp(name, b->prefix, n_prefix) == 0 ? n_prefix : 0;
        for (const char *const *p = b->layout->names->ignored; !is_known && *p != NULL; p++) {
            is_known = fits(*p, name);
        }
        if (!is_known) {
            char shape[128];
            char safe[MAX_NAME];
            spell_shape(tensor, shape, sizeof shape);
            b->status = hw_fail(b->err, HW_INPUT,
                                "tensor \"%s\" [%s] is not one that a model of family %s has",
                                hw_escape(safe, sizeof safe, tensor->name, strlen(tensor->name)),
                                shape, b->model->desc.family);
        }
    }
}

enum hw_status hw_model_bind(struct hw_model *model, const struct hw_layout *layout,
                             struct hw_arena *arena, struct hw_error *err) {
    struct binder b = {.checkpoint = model->checkpoint,
                       .model = model,
                       .layout = layout,
                       .arena = arena,
                       .prefix = layout->names->optional_prefix,
                       .err = err};
    hw_ops_init(&b.ops, hw_cpu_level());
    size_t n_layers = model->desc.n_layers;
    b.used = calloc(n_layers * MAX_TENSORS_PER_LAYER + MAX_TENSORS_BESIDES, sizeof(*b.used));
    if (b.used == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the list of tensors of %zu layers",
                       n_layers);
    }
    char name[MAX_NAME];
    spell(b.prefix, layout->names->token_embedding, no_layer, ".weight", name);
    if (hw_checkpoint_find(b.checkpoint, name) == NULL) {
        b.prefix = "";
    }
    struct rows qkv[3];
    plan_qkv(&b, qkv);
    model->layers = hw_arena_take(arena, n_layers, sizeof *model->layers);
    for (size_t l = 0; l < n_layers && b.status == HW_OK; l++) {
        struct hw_layer_weights layer = {0};
        bind_layer(&b, l, qkv, &layer);
        if (model->layers != NULL) {
            model->layers[l] = layer;
        }
    }
    bind_embeddings(&b);
    bind_numbers(&b);
    refuse_unused(&b);
    if (b.status == HW_OK && arena->is_overflown) {
        b.status =
            hw_fail(err, HW_INPUT, "the description asks for more memory than there are addresses");
    }
    free(b.used);
    return b.status;
}
