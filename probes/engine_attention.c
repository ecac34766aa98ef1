// What the declarations on attention do: what is asked of the op, and what becomes of its answers.
#include <math.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/engine_internal.h"

// In this layer, as rows or as their mean.
static bool is_recorded(const struct hw_engine *e, enum hw_dataset dataset, size_t layer) {
    const struct hw_layout *layout = e->config.layout;
    bool has =
        layout->has[dataset] || (hw_schema_row(dataset)->has_mean && layout->has[dataset + 1]);
    return has && hw_engine_slab(e, dataset, (int64_t)layer) >= 0;
}

static bool is_prompt_pass(const struct hw_site_event *pass) {
    return pass->pass_first == 0;
}

static enum hw_map_dtype map_dtype(enum hw_element element) {
    return element == HW_ELEMENT_F4   ? HW_MAP_F32
           : element == HW_ELEMENT_F2 ? HW_MAP_F16
                                      : HW_MAP_U16;
}

size_t hw_engine_map_bytes(const struct hw_layout *layout, enum hw_dataset dataset,
                           size_t n_tokens) {
    size_t edge = hw_size_div_up(n_tokens, HW_MAP_TILE);
    size_t values = edge * (edge + 1) / 2 * HW_MAP_TILE * HW_MAP_TILE;
    return values * hw_element_bytes(layout->element[dataset]);
}

// Row statistics go to the buffer of their member of the request.
static void ask_rows(struct hw_engine *e, size_t layer, struct hw_attention_request *request) {
    bool is_decode_top =
        e->has[HW_REDUCE_DECODE_TOP] && is_recorded(e, HW_DS_DECODE_TOP_KEY, layer);
    for (size_t i = 0; i < e->n_row_buffers; i++) {
        const struct hw_row_buffer *buffer = &e->row_buffers[i];
        bool is_wanted = is_decode_top && buffer->is_decode_top;
        for (size_t j = 0; j < e->n_active && !is_wanted; j++) {
            const struct hw_probe_row *row = e->active[j].row;
            is_wanted = row->reduce == HW_REDUCE_REQUEST_ROW && row->member == buffer->member &&
                        is_recorded(e, row->dataset, layer);
        }
        if (is_wanted) {
            memcpy((char *)request + buffer->member, &buffer->data, sizeof buffer->data);
        }
    }
}

static void ask_statistics(struct hw_engine *e, size_t layer, bool is_prompt,
                           struct hw_attention_request *request) {
    const struct hw_layout *layout = e->config.layout;
    ask_rows(e, layer, request);
    bool has_sink = is_recorded(e, HW_DS_SINK_SCORE, layer);
    if (is_prompt && (has_sink || is_recorded(e, HW_DS_ATTENTION_RECEIVED, layer))) {
        request->received_sum = e->received_sum;
    }
    if (is_prompt && is_recorded(e, HW_DS_ATTENTION_RECEIVED_MAX, layer)) {
        request->received_max = e->received_max;
    }
    if (is_prompt && is_recorded(e, HW_DS_ATTENTION_RECEIVED_ENTROPY, layer)) {
        request->received_entropy = e->received_entropy;
    }
    if (is_prompt && is_recorded(e, HW_DS_ATTENTION_OFFSET, layer)) {
        request->offset = e->offset;
        request->n_offsets = layout->n_offsets;
    }
    if (is_recorded(e, HW_DS_ATTENTION_SPAN, layer)) {
        request->span = e->span;
        request->spans = e->spans;
        request->n_spans = layout->n_spans;
    }
    if (is_recorded(e, HW_DS_ATTENTION_TOP_KEY, layer)) {
        request->top_key = e->top_key;
        request->top_weight = e->top_weight;
        request->n_top = layout->n_key_rank;
    }
    if (!is_prompt && is_recorded(e, HW_DS_DECODE_PATTERN, layer)) {
        request->rows = e->decode_row;
        request->row_stride = layout->max_tokens;
    }
}

bool hw_engine_attention(void *self, size_t layer, size_t call, const struct hw_site_event *pass,
                         struct hw_attention_request *request) {
    struct hw_engine *e = self;
    const struct hw_layout *layout = e->config.layout;
    bool is_prompt = is_prompt_pass(pass);
    if (call == 0) {
        ask_statistics(e, layer, is_prompt, request);
    }
    bool has_pattern = is_prompt && is_recorded(e, HW_DS_ATTENTION_PATTERN, layer);
    bool has_scores = is_prompt && is_recorded(e, HW_DS_ATTENTION_SCORES, layer);
    size_t first = call * e->map_heads;
    if ((has_pattern || has_scores) && first < layout->n_heads) {
        request->pattern = has_pattern ? e->tiles : NULL;
        request->scores = has_scores ? e->score_tiles : NULL;
        request->map_dtype = map_dtype(layout->element[HW_DS_ATTENTION_PATTERN]);
        request->score_dtype = map_dtype(layout->element[HW_DS_ATTENTION_SCORES]);
        request->map_head_first = first;
        request->map_n_heads = hw_size_min(e->map_heads, layout->n_heads - first);
        return true;
    }
    return call == 0;
}

static enum hw_status put_rows(struct hw_engine *e, size_t layer, const struct hw_site_event *pass,
                               struct hw_error *err) {
    size_t n_heads = e->config.layout->n_heads;
    for (size_t i = 0; i < e->n_active; i++) {
        const struct hw_probe_row *row = e->active[i].row;
        if (row->reduce != HW_REDUCE_REQUEST_ROW) {
            continue;
        }
        struct hw_put put = {.dataset = row->dataset,
                             .slab_value = (int64_t)layer,
                             .first = pass->pass_first,
                             .n = pass->n_rows,
                             .ld = n_heads,
                             .data = e->active[i].buffer};
        enum hw_status status = hw_engine_put_statistic(e, &put, n_heads, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}

// Per key: over the rows of the prompt's text; a generated token's column has no such rows and is
// NaN.
static enum hw_status put_keys(struct hw_engine *e, size_t layer, const struct hw_site_event *pass,
                               struct hw_error *err) {
    size_t n_heads = e->config.layout->n_heads;
    size_t n = pass->n_rows;
    const struct {
        enum hw_dataset dataset;
        float *data;
    } keys[] = {{HW_DS_ATTENTION_RECEIVED, e->received_sum},
                {HW_DS_ATTENTION_RECEIVED_MAX, e->received_max},
                {HW_DS_ATTENTION_RECEIVED_ENTROPY, e->received_entropy}};
    for (size_t k = 0; k < 3; k++) {
        if (!is_recorded(e, keys[k].dataset, layer)) {
            continue;
        }
        for (size_t i = 0; i < n * n_heads; i++) {
            if (!is_prompt_pass(pass)) {
                keys[k].data[i] = NAN;
            } else if (k == 0) {
                keys[k].data[i] /= (float)(n - i / n_heads);
            }
        }
        struct hw_put put = {.dataset = keys[k].dataset,
                             .slab_value = (int64_t)layer,
                             .first = pass->pass_first,
                             .n = n,
                             .ld = n_heads,
                             .data = keys[k].data};
        enum hw_status status = hw_engine_put_statistic(e, &put, n_heads, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}

static enum hw_status put_per_prompt(struct hw_engine *e, size_t layer, size_t n_tokens,
                                     struct hw_error *err) {
    const struct hw_layout *layout = e->config.layout;
    size_t n_heads = layout->n_heads;
    struct hw_put put = {.slab_value = (int64_t)layer, .n = 1};
    if (is_recorded(e, HW_DS_SINK_SCORE, layer)) {
        for (size_t h = 0; h < n_heads; h++) {
            e->reduced[h] = e->received_sum[h] / (float)n_tokens;
        }
        put.dataset = HW_DS_SINK_SCORE;
        put.ld = n_heads;
        put.data = e->reduced;
        enum hw_status status = hw_engine_put(e, &put, err);
        if (status != HW_OK) {
            return status;
        }
    }
    if (!is_recorded(e, HW_DS_ATTENTION_OFFSET, layer)) {
        return HW_OK;
    }
    for (size_t i = 0; i < n_heads * layout->n_offsets; i++) {
        size_t o = i % layout->n_offsets;
        e->offset[i] = o < n_tokens ? e->offset[i] / (float)(n_tokens - o) : NAN;
    }
    put.dataset = HW_DS_ATTENTION_OFFSET;
    put.ld = n_heads * layout->n_offsets;
    put.data = e->offset;
    return hw_engine_put(e, &put, err);
}

static void add_spans(struct hw_engine *e, size_t layer) {
    const struct hw_layout *layout = e->config.layout;
    size_t n = layout->n_heads * layout->n_spans * layout->n_spans;
    double *sums = e->span_sum + layer * n;
    for (size_t i = 0; i < n; i++) {
        sums[i] += (double)e->span[i];
    }
}

static size_t span_length(const struct hw_span *span) {
    size_t n = 0;
    for (size_t i = 0; i < span->n_ranges; i++) {
        n += span->ranges[i].end - span->ranges[i].first;
    }
    return n;
}

enum hw_status hw_engine_spans_end(struct hw_engine *e, struct hw_error *err) {
    const struct hw_layout *layout = e->config.layout;
    size_t n_spans = layout->n_spans;
    size_t n = layout->n_heads * n_spans * n_spans;
    for (size_t layer = 0; layer < e->config.model->desc.n_layers; layer++) {
        if (!is_recorded(e, HW_DS_ATTENTION_SPAN, layer)) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            const struct hw_span *queries = &e->spans[i / n_spans % n_spans];
            const struct hw_span *keys = &e->spans[i % n_spans];
            size_t n_queries = span_length(queries);
            bool is_defined = n_queries > 0 && keys->n_ranges > 0;
            e->span[i] = is_defined ? (float)(e->span_sum[layer * n + i] / (double)n_queries) : NAN;
        }
        struct hw_put put = {.dataset = HW_DS_ATTENTION_SPAN,
                             .slab_value = (int64_t)layer,
                             .n = 1,
                             .ld = n,
                             .data = e->span};
        enum hw_status status = hw_engine_put(e, &put, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}

static enum hw_status put_maps(struct hw_engine *e, enum hw_dataset dataset, size_t layer,
                               const unsigned char *tiles,
                               const struct hw_attention_request *request, size_t n_tokens,
                               struct hw_error *err) {
    const struct hw_group_axes *axes = &e->config.layout->groups[HW_GROUP_ATTENTION];
    size_t bytes = hw_engine_map_bytes(e->config.layout, dataset, n_tokens);
    size_t slab = (size_t)hw_engine_slab(e, dataset, (int64_t)layer);
    for (size_t i = 0; i < axes->n_heads; i++) {
        size_t head = (size_t)axes->heads[i] - request->map_head_first;
        if (head >= request->map_n_heads ||
            (axes->recorded != NULL && !axes->recorded[slab * axes->n_heads + i])) {
            continue;
        }
        enum hw_status status = e->destination->ops->append_map(
            e->destination, dataset, slab, i, hw_size_div_up(n_tokens, HW_MAP_TILE),
            tiles + head * bytes, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return e->destination->ops->flush(e->destination, err);
}

// Decode rows: the last row of the prompt's pass, and every row after it.
static enum hw_status put_decode_top(struct hw_engine *e, size_t layer,
                                     const struct hw_site_event *pass, struct hw_error *err) {
    if (!e->is_step || !e->has[HW_REDUCE_DECODE_TOP] ||
        !is_recorded(e, HW_DS_DECODE_TOP_KEY, layer)) {
        return HW_OK;
    }
    size_t n_heads = e->config.layout->n_heads;
    size_t at = (pass->n_rows - 1) * n_heads;
    struct hw_put put = {
        .dataset = HW_DS_DECODE_TOP_KEY, .slab_value = (int64_t)layer, .n = 1, .ld = n_heads};
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < e->n_row_buffers && status == HW_OK; i++) {
        const struct hw_row_buffer *buffer = &e->row_buffers[i];
        if (buffer->is_decode_top) {
            put.dataset = buffer->decode_dataset;
            put.data = (const float *)buffer->data + at;
            status = hw_engine_put(e, &put, err);
        }
    }
    return status;
}

// The op once more for the last row of the prompt, under the changes that the pass was under.
// Turned queries of windows in cache form are those of the pass: its last row's are meant.
static void attend_last_row(struct hw_engine *e, size_t layer, size_t row,
                            struct hw_attention_args *args) {
    const struct hw_changes *changes = hw_session_changes(e->session);
    struct hw_layer_changes none = {0};
    const struct hw_layer_changes *at = changes != NULL ? &changes->layers[layer] : &none;
    args->changes = at->attention;
    args->n_changes = at->n_attention;
    for (size_t i = 0; i < at->n_attention; i++) {
        at->attention[i].q_sinks += at->attention[i].q_sinks != NULL ? row * args->q_stride : 0;
    }
    hw_session_ops(e->session)->attention(hw_session_exec(e->session), args);
    for (size_t i = 0; i < at->n_attention; i++) {
        at->attention[i].q_sinks -= at->attention[i].q_sinks != NULL ? row * args->q_stride : 0;
    }
}

static enum hw_status put_decode_row(struct hw_engine *e, size_t layer,
                                     const struct hw_site_event *pass, struct hw_error *err) {
    if (!e->is_step || !is_recorded(e, HW_DS_DECODE_PATTERN, layer)) {
        return HW_OK;
    }
    const struct hw_layout *layout = e->config.layout;
    const struct hw_model_desc *d = &e->config.model->desc;
    size_t n_keys = pass->pass_first + pass->n_rows;
    if (is_prompt_pass(pass)) {
        struct hw_attention_args args = {
            .q = e->rotated_q + (pass->n_rows - 1) * d->n_heads * d->d_head,
            .k = e->rotated_k,
            .v = e->rotated_k, // z is not computed
            .q_stride = d->n_heads * d->d_head,
            .k_stride = d->n_kv_heads * d->d_head,
            .v_stride = d->n_kv_heads * d->d_head,
            .n_queries = 1,
            .n_keys = n_keys,
            .n_heads = d->n_heads,
            .n_kv_heads = d->n_kv_heads,
            .d_head = d->d_head,
            .query_first = n_keys - 1,
            .score_scale = d->score_scale[layer],
            .request = {.rows = e->decode_row, .row_stride = layout->max_tokens},
        };
        attend_last_row(e, layer, pass->n_rows - 1, &args);
    }
    for (size_t h = 0; h < layout->n_heads; h++) {
        for (size_t k = n_keys; k < layout->max_tokens; k++) {
            e->decode_row[h * layout->max_tokens + k] = NAN;
        }
    }
    struct hw_put put = {.dataset = HW_DS_DECODE_PATTERN,
                         .slab_value = (int64_t)layer,
                         .n = 1,
                         .ld = layout->n_heads * layout->max_tokens,
                         .data = e->decode_row};
    return hw_engine_put(e, &put, err);
}

static enum hw_status put_top_keys(struct hw_engine *e, size_t layer,
                                   const struct hw_site_event *pass, struct hw_error *err) {
    if (!is_recorded(e, HW_DS_ATTENTION_TOP_KEY, layer)) {
        return HW_OK;
    }
    struct hw_put put = {.dataset = HW_DS_ATTENTION_TOP_KEY,
                         .slab_value = (int64_t)layer,
                         .first = pass->pass_first,
                         .n = pass->n_rows,
                         .ld = e->config.layout->n_heads * e->config.layout->n_key_rank,
                         .data = e->top_key};
    enum hw_status status = hw_engine_put(e, &put, err);
    put.dataset = HW_DS_ATTENTION_TOP_WEIGHT;
    put.data = e->top_weight;
    return status == HW_OK ? hw_engine_put(e, &put, err) : status;
}

enum hw_status hw_engine_attention_done(void *self, size_t layer, const struct hw_site_event *pass,
                                        const struct hw_attention_request *request,
                                        struct hw_error *err) {
    struct hw_engine *e = self;
    enum hw_status status = HW_OK;
    if (request->map_head_first == 0) { // the first call, the one with the statistics
        if (request->span != NULL) {
            add_spans(e, layer);
        }
        status = put_rows(e, layer, pass, err);
        if (status == HW_OK && is_prompt_pass(pass)) {
            status = put_per_prompt(e, layer, pass->n_rows, err);
        }
        status = status == HW_OK ? put_keys(e, layer, pass, err) : status;
        status = status == HW_OK ? put_top_keys(e, layer, pass, err) : status;
        status = status == HW_OK ? put_decode_top(e, layer, pass, err) : status;
        status = status == HW_OK ? put_decode_row(e, layer, pass, err) : status;
    }
    if (status == HW_OK && request->pattern != NULL) {
        status = put_maps(e, HW_DS_ATTENTION_PATTERN, layer, e->tiles, request, pass->n_rows, err);
    }
    if (status == HW_OK && request->scores != NULL) {
        status =
            put_maps(e, HW_DS_ATTENTION_SCORES, layer, e->score_tiles, request, pass->n_rows, err);
    }
    return status;
}
