// The map source; see map_source.h.
//
// Recorded tiles are read once each and laid out as rows; vectors of one layer of the prompt are
// read once and go through the op head by head. Files are hostile: a weight that is no finite
// number ends the walk.
#include "analysis/map_source.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/map_rebuild.h"
#include "analysis/measures.h"
#include "analysis/trace_edits.h"
#include "kernels/attention.h"
#include "kernels/size.h"

_Static_assert((int)HW_MAP_ROWS == (int)HW_MAP_TILE, "a block is a row of tiles");

struct hw_map_source {
    struct hw_trace *trace;
    enum hw_group group; // ATTENTION: recorded maps; ATTENTION_VECTORS: rebuilt ones
    const struct hw_group_axes *axes;
    int n_threads;
    // Recorded maps.
    float *tile; // [128, 128]
    float *rows; // [128, stride]
    size_t rows_bytes;
    // Vectors.
    struct hw_map_rebuild *rebuild;
    struct hw_trace_edits *edits; // of the capture; NULL: none
    size_t edited_prompt;         // that edits are compiled for
    float *score_scale;           // [n_layers]
    size_t *kv_of;                // [n_heads] position on the recorded kv_head axis
    float *q;                     // [n_tokens, n_heads, d_head] of the layer
    float *k;                     // [n_tokens, n_kv_heads, d_head]
    size_t vectors_bytes;
    size_t d_head;
};

static bool is_rebuilt(const struct hw_map_source *s) {
    return s->group == HW_GROUP_ATTENTION_VECTORS;
}

// Recorded heads of a group over all layers.
static size_t count_heads(const struct hw_trace *trace, enum hw_group group) {
    const struct hw_group_axes *axes = &hw_trace_layout(trace)->groups[group];
    size_t n = axes->n_layers * axes->n_heads;
    if (axes->recorded == NULL) {
        return n;
    }
    size_t n_recorded = 0;
    for (size_t i = 0; i < n; i++) {
        n_recorded += axes->recorded[i] != 0;
    }
    return n_recorded;
}

static enum hw_status choose(struct hw_map_source *s, const struct hw_map_source_options *options,
                             struct hw_error *err) {
    bool has_maps = hw_trace_has(s->trace, HW_DS_ATTENTION_PATTERN);
    bool has_vectors = hw_trace_has(s->trace, HW_DS_ATTENTION_VECTORS_QUERY) &&
                       hw_trace_has(s->trace, HW_DS_ATTENTION_VECTORS_KEY) &&
                       hw_trace_has(s->trace, HW_DS_ATTENTION_VECTORS_SCORE_SCALE);
    if (options->record != NULL) {
        bool is_maps = strcmp(options->record, "attention_maps") == 0;
        has_maps = has_maps && is_maps;
        has_vectors = has_vectors && !is_maps;
    }
    if (!has_maps && !has_vectors) {
        const char *record = NULL;
        enum hw_status status = hw_measure_require(s->trace, options->measure, &record, err);
        return status != HW_OK
                   ? status
                   : hw_fail(err, HW_INPUT,
                             "%s: %s is not whole: maps need attention/pattern, or query, key and "
                             "score_scale of attention_vectors",
                             hw_trace_path(s->trace), record);
    }
    if (has_maps && has_vectors) {
        has_maps = count_heads(s->trace, HW_GROUP_ATTENTION) >=
                   count_heads(s->trace, HW_GROUP_ATTENTION_VECTORS);
    }
    s->group = has_maps ? HW_GROUP_ATTENTION : HW_GROUP_ATTENTION_VECTORS;
    s->axes = &hw_trace_layout(s->trace)->groups[s->group];
    return HW_OK;
}

// Refuses a capture whose maps are made in a way that rebuilding does not follow: every value of
// the dataset must be `neutral`.
static enum hw_status check_neutral(const struct hw_map_source *s, enum hw_dataset dataset,
                                    float neutral, struct hw_error *err) {
    if (!hw_trace_has(s->trace, dataset)) {
        return HW_OK;
    }
    size_t n = hw_trace_n_rows(s->trace, dataset);
    size_t n_inner = hw_trace_n_inner(s->trace, dataset);
    size_t n_values;
    float *values = hw_size_mul(n, n_inner, &n_values) && n_values < SIZE_MAX / sizeof *values - 1
                        ? malloc((n_values + 1) * sizeof *values)
                        : NULL;
    if (values == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for attention_vectors/%s",
                       hw_schema_row(dataset)->name);
    }
    enum hw_status status = hw_trace_read_f32(s->trace, dataset, 0, 0, n, values, err);
    for (size_t i = 0; i < n_values && status == HW_OK; i++) {
        if (values[i] != neutral && !isnan(values[i])) {
            status = hw_fail(err, HW_INPUT,
                             "%s: maps of a model with %s (%g in layer %d) cannot be rebuilt from "
                             "attention_vectors: capture with --record attention_maps",
                             hw_trace_path(s->trace), hw_schema_row(dataset)->long_name,
                             (double)values[i], (int)s->axes->layers[i / n_inner]);
        }
    }
    free(values);
    return status;
}

// Maps are rebuilt with what edits made of the attention. A window in cache form is more than
// queries, keys and a mask.
static enum hw_status open_edits(struct hw_map_source *s, struct hw_error *err) {
    enum hw_status status = hw_trace_edits_open(s->trace, &s->edits, err);
    const char *spec = status == HW_OK ? hw_trace_edits_unbuildable(s->edits) : NULL;
    s->edited_prompt = SIZE_MAX;
    return spec == NULL
               ? status
               : hw_fail(err, HW_INPUT,
                         "%s: maps under %s cannot be rebuilt from attention_vectors: capture with "
                         "--record attention_maps",
                         hw_trace_path(s->trace), spec);
}

// Which recorded key/value head each recorded query head reads.
static enum hw_status find_kv_heads(struct hw_map_source *s, struct hw_error *err) {
    const struct hw_layout *layout = hw_trace_layout(s->trace);
    size_t group = layout->n_kv_heads > 0 ? layout->n_heads / layout->n_kv_heads : 0;
    for (size_t h = 0; h < s->axes->n_heads; h++) {
        int32_t head = s->axes->heads[h];
        int64_t at = -1;
        if (group > 0 && head >= 0 && (size_t)head < layout->n_heads) {
            at = hw_trace_find(s->trace, s->group, HW_AXIS_KV_HEAD, head / (int32_t)group);
        }
        if (at < 0) {
            return hw_fail(err, HW_INPUT,
                           "%s: attention_vectors has no key/value head of query head %d (%zu "
                           "query and %zu key/value heads in the model)",
                           hw_trace_path(s->trace), (int)head, layout->n_heads, layout->n_kv_heads);
        }
        s->kv_of[h] = (size_t)at;
    }
    return HW_OK;
}

static enum hw_status open_vectors(struct hw_map_source *s,
                                   const struct hw_map_source_options *options,
                                   struct hw_error *err) {
    size_t n_layers = s->axes->n_layers;
    size_t n_heads = s->axes->n_heads;
    s->d_head = hw_layout_axis(hw_trace_layout(s->trace), s->group, HW_AXIS_HEAD_CHANNEL);
    size_t n_q = hw_trace_n_inner(s->trace, HW_DS_ATTENTION_VECTORS_QUERY);
    size_t n_k = hw_trace_n_inner(s->trace, HW_DS_ATTENTION_VECTORS_KEY);
    if (s->d_head == 0 || n_q != n_heads * s->d_head || n_k != s->axes->n_kv_heads * s->d_head) {
        return hw_fail(err, HW_INPUT,
                       "%s: attention_vectors has %zu and %zu values a row, expected %zu and %zu",
                       hw_trace_path(s->trace), n_q, n_k, n_heads * s->d_head,
                       s->axes->n_kv_heads * s->d_head);
    }
    s->score_scale = calloc(n_layers + 1, sizeof *s->score_scale);
    s->kv_of = calloc(n_heads + 1, sizeof *s->kv_of);
    if (s->score_scale == NULL || s->kv_of == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to rebuild maps");
    }
    enum hw_level best = hw_cpu_level();
    enum hw_status status = open_edits(s, err);
    status = status != HW_OK
                 ? status
                 : hw_map_rebuild_open(options->level < best ? options->level : best,
                                       options->n_threads, s->edits != NULL, &s->rebuild, err);
    status = status != HW_OK ? status : find_kv_heads(s, err);
    status = status != HW_OK ? status
                             : hw_trace_read_f32(s->trace, HW_DS_ATTENTION_VECTORS_SCORE_SCALE, 0,
                                                 0, n_layers, s->score_scale, err);
    static const struct {
        enum hw_dataset dataset;
        float neutral;
    } others[] = {{HW_DS_ATTENTION_VECTORS_SOFT_CAP, 0},
                  {HW_DS_ATTENTION_VECTORS_WINDOW, 0},
                  {HW_DS_ATTENTION_VECTORS_ALIBI_SLOPE, 0},
                  {HW_DS_ATTENTION_VECTORS_SINK_LOGIT, -INFINITY}};
    for (size_t i = 0; i < sizeof others / sizeof others[0] && status == HW_OK; i++) {
        status = check_neutral(s, others[i].dataset, others[i].neutral, err);
    }
    return status;
}

enum hw_status hw_map_source_open_with(struct hw_trace *trace,
                                       const struct hw_map_source_options *options,
                                       struct hw_map_source **ret_source, struct hw_error *err) {
    struct hw_map_source *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a map source");
    }
    s->trace = trace;
    s->n_threads = options->n_threads;
    enum hw_status status = choose(s, options, err);
    if (status == HW_OK && is_rebuilt(s)) {
        status = open_vectors(s, options, err);
    } else if (status == HW_OK) {
        s->tile = malloc(sizeof *s->tile * HW_MAP_TILE * HW_MAP_TILE);
        status =
            s->tile != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for a tile");
    }
    if (status != HW_OK) {
        hw_map_source_close(&s);
        return status;
    }
    *ret_source = s;
    return HW_OK;
}

enum hw_status hw_map_source_open(struct hw_trace *trace, const char *measure, int n_threads,
                                  struct hw_map_source **ret_source, struct hw_error *err) {
    struct hw_map_source_options options = {
        .measure = measure, .n_threads = n_threads, .level = hw_cpu_level()};
    return hw_map_source_open_with(trace, &options, ret_source, err);
}

void hw_map_source_close(struct hw_map_source **source) {
    struct hw_map_source *s = *source;
    if (s != NULL) {
        hw_map_rebuild_close(&s->rebuild);
        hw_trace_edits_close(&s->edits);
        free(s->tile);
        free(s->rows);
        free(s->score_scale);
        free(s->kv_of);
        free(s->q);
        free(s->k);
        free(s);
        *source = NULL;
    }
}

const char *hw_map_source_record(const struct hw_map_source *source) {
    return is_rebuilt(source) ? "attention_vectors" : "attention_maps";
}

size_t hw_map_source_n_layers(const struct hw_map_source *source) {
    return source->axes->n_layers;
}

size_t hw_map_source_n_heads(const struct hw_map_source *source) {
    return source->axes->n_heads;
}

const int32_t *hw_map_source_layers(const struct hw_map_source *source) {
    return source->axes->layers;
}

const int32_t *hw_map_source_heads(const struct hw_map_source *source) {
    return source->axes->heads;
}

bool hw_map_source_has(const struct hw_map_source *source, size_t layer, size_t head) {
    const struct hw_group_axes *axes = source->axes;
    return layer < axes->n_layers && head < axes->n_heads &&
           (axes->recorded == NULL || axes->recorded[layer * axes->n_heads + head] != 0);
}

double hw_map_source_error(const struct hw_map_source *source) {
    enum hw_dataset dataset =
        is_rebuilt(source) ? HW_DS_ATTENTION_VECTORS_QUERY : HW_DS_ATTENTION_PATTERN;
    enum hw_element element = hw_trace_layout(source->trace)->element[dataset];
    if (element == HW_ELEMENT_F4) {
        return 0;
    }
    return is_rebuilt(source) ? NAN : element == HW_ELEMENT_F2 ? 0x1p-12 : .5 / 65534;
}

size_t hw_map_source_n_tokens(const struct hw_map_source *source, size_t prompt) {
    const struct hw_trace_prompt *p = hw_trace_prompt(source->trace, prompt);
    return is_rebuilt(source) ? p->n_tokens : p->n_prompt_tokens;
}

// Floats of queries and keys of n_tokens; false where they overflow.
static bool vector_sizes(const struct hw_map_source *s, size_t n_tokens, size_t *ret_q,
                         size_t *ret_k, size_t *ret_bytes) {
    size_t n;
    return hw_size_mul(n_tokens, s->axes->n_heads * s->d_head, ret_q) &&
           hw_size_mul(n_tokens, s->axes->n_kv_heads * s->d_head, ret_k) &&
           hw_size_add(*ret_q, *ret_k, &n) && hw_size_mul(n, sizeof(float), ret_bytes);
}

size_t hw_map_source_bytes(const struct hw_map_source *source, size_t n_tokens) {
    size_t n_q;
    size_t n_k;
    size_t bytes;
    if (!is_rebuilt(source)) {
        bool is_small = hw_size_mul(n_tokens, HW_MAP_TILE * sizeof(float), &bytes) &&
                        hw_size_add(bytes, HW_MAP_TILE * HW_MAP_TILE * sizeof(float), &bytes);
        return is_small ? bytes : SIZE_MAX;
    }
    size_t rebuild_bytes =
        hw_map_rebuild_bytes(source->n_threads, n_tokens, source->d_head, source->edits != NULL);
    bool is_small = vector_sizes(source, n_tokens, &n_q, &n_k, &bytes) &&
                    hw_size_add(bytes, rebuild_bytes, &bytes);
    return is_small ? bytes : SIZE_MAX;
}

// One walk.
struct walk {
    struct hw_map_source *source;
    size_t prompt;
    size_t layer;
    size_t head;
    size_t n_keys;
    hw_map_visit_fn visit;
    void *self;
};

// Whether one of n values is no finite number.
static bool has_nonsense(const float *x, size_t n) {
    unsigned nonsense = 0;
    for (size_t i = 0; i < n; i++) {
        nonsense |= !(fabsf(x[i]) <= FLT_MAX);
    }
    return nonsense != 0;
}

// Checks the rows and shows them, a block at a time.
static enum hw_status show_rows(void *self, const float *rows, size_t first_row, size_t n_rows,
                                size_t stride, struct hw_error *err) {
    const struct walk *w = self;
    for (size_t r = 0; r < n_rows; r++) {
        if (has_nonsense(rows + r * stride, first_row + r + 1)) {
            const struct hw_group_axes *axes = w->source->axes;
            return hw_fail(err, HW_INPUT,
                           "%s: the attention map of prompt %d, head %d.%d has weights that are "
                           "no numbers in row %zu",
                           hw_trace_path(w->source->trace),
                           (int)hw_trace_prompt(w->source->trace, w->prompt)->prompt,
                           (int)axes->layers[w->layer], (int)axes->heads[w->head], first_row + r);
        }
    }
    enum hw_status status = HW_OK;
    for (size_t r = 0; r < n_rows && status == HW_OK; r += HW_MAP_ROWS) {
        struct hw_map_block block = {.layer = w->layer,
                                     .head = w->head,
                                     .first_row = first_row + r,
                                     .n_rows = hw_size_min(n_rows - r, HW_MAP_ROWS),
                                     .n_keys = w->n_keys,
                                     .stride = stride,
                                     .rows = rows + r * stride};
        status = w->visit(w->self, &block, err);
    }
    return status;
}

// Grows *block to n_bytes; what it held is lost.
static enum hw_status grow(float **block, size_t n_bytes, struct hw_error *err) {
    free(*block);
    *block = malloc(n_bytes + 1);
    return *block != NULL ? HW_OK
                          : hw_fail(err, HW_RESOURCE,
                                    "not enough memory: %zu bytes for an "
                                    "attention map",
                                    n_bytes);
}

// Room for a block of rows of recorded maps.
static enum hw_status reserve_rows(struct hw_map_source *s, size_t n_keys, struct hw_error *err) {
    size_t bytes;
    if (!hw_size_mul(n_keys, HW_MAP_TILE * sizeof(float), &bytes)) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for maps of %zu tokens", n_keys);
    }
    if (bytes <= s->rows_bytes) {
        return HW_OK;
    }
    enum hw_status status = grow(&s->rows, bytes, err);
    s->rows_bytes = status == HW_OK ? bytes : 0;
    return status;
}

static enum hw_status walk_tiles(struct walk *w, struct hw_error *err) {
    struct hw_map_source *s = w->source;
    struct hw_map_place place = {HW_DS_ATTENTION_PATTERN, w->prompt, w->layer, w->head};
    enum hw_status status = HW_OK;
    size_t stride = w->n_keys;
    for (size_t first = 0; first < w->n_keys && status == HW_OK; first += HW_MAP_TILE) {
        size_t n_rows = hw_size_min(HW_MAP_TILE, w->n_keys - first);
        for (size_t key = 0; key <= first && status == HW_OK; key += HW_MAP_TILE) {
            size_t n_here = hw_size_min(HW_MAP_TILE, w->n_keys - key);
            status = hw_trace_read_tile(s->trace, &place, first / HW_MAP_TILE, key / HW_MAP_TILE,
                                        s->tile, err);
            for (size_t r = 0; r < n_rows && status == HW_OK; r++) {
                memcpy(s->rows + r * stride + key, s->tile + r * HW_MAP_TILE,
                       n_here * sizeof(float));
            }
        }
        for (size_t r = 0; r < n_rows; r++) { // whatever the file holds there
            size_t n_seen = first + r + 1;
            memset(s->rows + r * stride + n_seen, 0, (w->n_keys - n_seen) * sizeof(float));
        }
        status = status == HW_OK ? show_rows(w, s->rows, first, n_rows, stride, err) : status;
    }
    return status;
}

// The vectors of the layer, and room for them.
static enum hw_status read_vectors(const struct walk *w, struct hw_error *err) {
    struct hw_map_source *s = w->source;
    size_t first = hw_trace_prompt(s->trace, w->prompt)->first_token;
    size_t n_q;
    size_t n_k;
    size_t bytes;
    if (!vector_sizes(s, w->n_keys, &n_q, &n_k, &bytes)) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for vectors of %zu tokens", w->n_keys);
    }
    enum hw_status status = HW_OK;
    if (bytes > s->vectors_bytes) {
        status = grow(&s->q, n_q * sizeof(float), err);
        status = status == HW_OK ? grow(&s->k, n_k * sizeof(float), err) : status;
        s->vectors_bytes = status == HW_OK ? bytes : 0;
    }
    status = status != HW_OK ? status
                             : hw_trace_read_f32(s->trace, HW_DS_ATTENTION_VECTORS_QUERY, w->layer,
                                                 first, w->n_keys, s->q, err);
    return status != HW_OK ? status
                           : hw_trace_read_f32(s->trace, HW_DS_ATTENTION_VECTORS_KEY, w->layer,
                                               first, w->n_keys, s->k, err);
}

static enum hw_status rebuild(struct walk *w, struct hw_error *err) {
    const struct hw_map_source *s = w->source;
    struct hw_map_vectors vectors = {.q = s->q + w->head * s->d_head,
                                     .k = s->k + s->kv_of[w->head] * s->d_head,
                                     .q_stride = s->axes->n_heads * s->d_head,
                                     .k_stride = s->axes->n_kv_heads * s->d_head,
                                     .n_tokens = w->n_keys,
                                     .d_head = s->d_head,
                                     .score_scale = s->score_scale[w->layer]};
    vectors.changes = hw_trace_edits_changes(s->edits, (size_t)s->axes->layers[w->layer],
                                             (size_t)s->axes->heads[w->head], &vectors.n_changes);
    return hw_map_rebuild_run(s->rebuild, &vectors, show_rows, w, err);
}

enum hw_status hw_map_source_walk(struct hw_map_source *source, size_t prompt, size_t layer,
                                  const bool *is_wanted, hw_map_visit_fn visit, void *self,
                                  struct hw_error *err) {
    struct walk w = {.source = source,
                     .prompt = prompt,
                     .layer = layer,
                     .n_keys = hw_map_source_n_tokens(source, prompt),
                     .visit = visit,
                     .self = self};
    if (w.n_keys == 0) {
        return HW_OK; // failed
    }
    bool is_ready = false;
    enum hw_status status = HW_OK;
    if (source->edits != NULL && source->edited_prompt != prompt) {
        status = hw_trace_edits_prompt(source->edits, source->trace, prompt, err);
        source->edited_prompt = status == HW_OK ? prompt : SIZE_MAX;
    }
    for (; w.head < source->axes->n_heads && status == HW_OK; w.head++) {
        bool is_chosen = is_wanted == NULL || is_wanted[w.head];
        if (!is_chosen || !hw_map_source_has(source, layer, w.head)) {
            continue;
        }
        if (!is_ready) {
            status =
                is_rebuilt(source) ? read_vectors(&w, err) : reserve_rows(source, w.n_keys, err);
            is_ready = true;
        }
        if (status == HW_OK) {
            status = is_rebuilt(source) ? rebuild(&w, err) : walk_tiles(&w, err);
        }
    }
    return status;
}

bool hw_map_row_is_sound(const float *row, size_t n) {
    bool is_sound = true;
    for (size_t j = 0; j < n; j++) {
        is_sound &= row[j] >= 0 && row[j] <= FLT_MAX; // false for NaN
    }
    return is_sound;
}
