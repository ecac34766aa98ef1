// Memory of an engine: which declarations are active, which sites are watched, and the buffers they
// need.
//
// take_buffers runs twice: over a measuring arena for the plan, then over the real one.
#include <stdlib.h>
#include <string.h>

#include "formats/prompt_rows.h"
#include "kernels/size.h"
#include "probes/engine_internal.h"

static void add_row_buffer(struct hw_engine *e, size_t member, enum hw_dataset decode_dataset) {
    size_t at = 0;
    while (at < e->n_row_buffers && e->row_buffers[at].member != member) {
        at++;
    }
    if (at == e->n_row_buffers) {
        e->row_buffers[e->n_row_buffers++] = (struct hw_row_buffer){.member = member};
    }
    if (decode_dataset != HW_N_DATASETS) {
        e->row_buffers[at].is_decode_top = true;
        e->row_buffers[at].decode_dataset = decode_dataset;
    }
}

static bool is_active(const struct hw_layout *layout, const struct hw_probe_row *row) {
    return layout->has[row->dataset] ||
           (hw_schema_row(row->dataset)->has_mean && layout->has[row->dataset + 1]);
}

static enum hw_status find_active(struct hw_engine *e, struct hw_error *err) {
    for (size_t p = 0; hw_probes[p] != NULL; p++) {
        for (size_t r = 0; r < hw_probes[p]->n_rows; r++) {
            const struct hw_probe_row *row = &hw_probes[p]->rows[r];
            if (!is_active(e->config.layout, row)) {
                continue;
            }
            if (e->n_active == HW_MAX_ACTIVE || e->n_row_buffers + 4 > HW_MAX_ROW_BUFFERS) {
                return hw_fail(err, HW_INTERNAL, "more than %d active declarations", HW_MAX_ACTIVE);
            }
            e->active[e->n_active++] = (struct hw_engine_row){.row = row, .probe = hw_probes[p]};
            e->has[row->reduce] = true;
            if (row->reduce == HW_REDUCE_REQUEST_ROW) {
                add_row_buffer(e, row->member, HW_N_DATASETS);
            } else if (row->reduce == HW_REDUCE_DECODE_TOP) {
                add_row_buffer(e, HW_REQUEST(argmax), HW_DS_DECODE_TOP_KEY);
                add_row_buffer(e, HW_REQUEST(max), HW_DS_DECODE_TOP_WEIGHT);
                add_row_buffer(e, HW_REQUEST(first), HW_DS_DECODE_ATTENTION_FIRST);
            }
        }
    }
    return HW_OK;
}

// The scratch of puts: at least one row of the widest dataset, gathered and narrowed, and
// HW_WORK_ROWS of ordinary ones.
static size_t work_bytes(const struct hw_layout *layout) {
    size_t widest = 0;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        // Maps go out of their own tiles; what is written whole has its own place.
        if (layout->has[i] && !hw_dataset_is_map((enum hw_dataset)i) &&
            !hw_schema_is_fixed((enum hw_dataset)i)) {
            size_t bytes = hw_layout_row_bytes(layout, (enum hw_dataset)i);
            size_t element = hw_size_max(1, hw_element_bytes(layout->element[i]));
            widest = hw_size_max(widest, bytes / element * 2 * sizeof(float));
        }
    }
    size_t ordinary = HW_WORK_ROWS * layout->d_model * 2 * sizeof(float);
    return hw_size_max(widest, ordinary);
}

static void take_request_buffers(struct hw_engine *e, struct hw_arena *arena) {
    const struct hw_layout *layout = e->config.layout;
    size_t rows = e->config.max_tokens;
    size_t heads = layout->n_heads;
    for (size_t i = 0; i < e->n_row_buffers; i++) {
        e->row_buffers[i].data = hw_arena_take(arena, rows * heads, sizeof(float));
    }
    bool has_keys =
        e->has[HW_REDUCE_RECEIVED] || e->has[HW_REDUCE_SINK_SCORE] || e->has[HW_REDUCE_REQUEST_KEY];
    size_t key_values = has_keys ? rows * heads : 0;
    e->received_sum = hw_arena_take(arena, key_values, sizeof(float));
    e->received_max = hw_arena_take(arena, key_values, sizeof(float));
    e->received_entropy = hw_arena_take(arena, key_values, sizeof(float));
    e->offset = hw_arena_take(arena, heads * layout->n_offsets, sizeof(float));
    size_t spans = heads * layout->n_spans * layout->n_spans;
    e->span = hw_arena_take(arena, spans, sizeof(float));
    e->span_sum = hw_arena_take(arena, spans * e->config.model->desc.n_layers, sizeof(double));
    size_t top = e->has[HW_REDUCE_TOP_KEYS] ? rows * heads * layout->n_key_rank : 0;
    e->top_key = hw_arena_take(arena, top, sizeof(int32_t));
    e->top_weight = hw_arena_take(arena, top, sizeof(float));
    size_t pattern =
        e->has[HW_REDUCE_PATTERN] ? hw_engine_map_bytes(layout, HW_DS_ATTENTION_PATTERN, rows) : 0;
    size_t scores =
        e->has[HW_REDUCE_SCORES] ? hw_engine_map_bytes(layout, HW_DS_ATTENTION_SCORES, rows) : 0;
    size_t fit = HW_MAP_BYTES / hw_size_max(1, pattern + scores);
    e->map_heads = hw_size_min(heads, hw_size_max(1, fit));
    e->tiles = hw_arena_take(arena, e->map_heads, pattern);
    e->score_tiles = hw_arena_take(arena, e->map_heads, scores);
    e->decode_row = hw_arena_take(
        arena, e->has[HW_REDUCE_DECODE_ROW] ? heads * layout->max_tokens : 0, sizeof(float));
}

static void take_unembed_buffers(struct hw_engine *e, struct hw_arena *arena) {
    const struct hw_layout *layout = e->config.layout;
    bool is_scored = e->has[HW_REDUCE_LOGPROB] || e->has[HW_REDUCE_NEXT_ENTROPY] ||
                     e->has[HW_REDUCE_NEXT_TOP] || e->has[HW_REDUCE_PROMPT_LOSS];
    size_t rows = is_scored ? e->config.max_tokens : 0;
    size_t top = rows * hw_size_max(1, layout->n_rank);
    e->log_z = hw_arena_take(arena, rows, sizeof(float));
    e->target_logit = hw_arena_take(arena, rows, sizeof(float));
    e->logprob = hw_arena_take(arena, rows, sizeof(float));
    e->next_entropy = hw_arena_take(arena, rows, sizeof(float));
    e->next_top_id = hw_arena_take(arena, top, sizeof(uint32_t));
    e->next_top_logit = hw_arena_take(arena, top, sizeof(float));
    e->logits = hw_arena_take(arena, e->has[HW_REDUCE_LOGITS] ? HW_LOGIT_ROWS * layout->n_vocab : 0,
                              sizeof(float));
}

static void take_buffers(struct hw_engine *e, struct hw_arena *arena) {
    const struct hw_model_desc *d = &e->config.model->desc;
    const struct hw_layout *layout = e->config.layout;
    size_t rows = e->config.max_tokens;
    size_t all_rows = rows + e->config.max_generate;
    e->watch = hw_arena_take(arena, d->n_layers + 1, sizeof(uint32_t));
    for (size_t g = 0; g < HW_N_GROUPS; g++) {
        e->layer_slab[g] = hw_arena_take(arena, d->n_layers, sizeof(int32_t));
        e->depth_slab[g] = hw_arena_take(arena, d->n_layers + 1, sizeof(int32_t));
    }
    e->work_bytes = work_bytes(layout);
    e->work = hw_arena_take(arena, e->work_bytes, 1);
    e->reduced = hw_arena_take(arena, rows * hw_size_max(d->n_heads, 2), sizeof(float));
    e->means = hw_arena_take(arena, hw_size_max(d->n_heads, 2), sizeof(float));
    bool has_projection = e->has[HW_REDUCE_PROJECTED_NORM];
    e->factors =
        hw_arena_take(arena, has_projection ? d->n_layers * d->n_heads * d->d_head * d->d_head : 0,
                      sizeof(float));
    size_t results = e->has[HW_REDUCE_HEAD_RESULT] ? 1 : 0;
    size_t file_row = d->n_heads * d->d_head + d->d_model;
    e->results = hw_arena_take(
        arena, results * hw_size_max(HW_RESULT_ROWS * d->n_heads * d->d_model, file_row),
        sizeof(float));
    e->output_weights =
        hw_arena_take(arena, results * d->d_model * d->n_heads * d->d_head, sizeof(float));
    e->events = hw_arena_take(arena, e->has[HW_REDUCE_STATE_EVENTS] ? HW_MAX_EVENTS : 0,
                              sizeof(struct hw_top_value));
    e->first_state = hw_arena_take(
        arena, e->has[HW_REDUCE_COSINE_FIRST] ? (d->n_layers + 1) * d->d_model : 0, sizeof(float));
    e->ln1_scale = hw_arena_take(arena, e->has[HW_REDUCE_NORM_SCALES] ? rows : 0, sizeof(float));
    if (e->has[HW_REDUCE_ATTRIBUTION]) {
        hw_attribution_take(&e->attribution, e->config.model, arena);
    }
    take_request_buffers(e, arena);
    take_unembed_buffers(e, arena);
    e->ids = hw_arena_take(arena, all_rows, sizeof(uint32_t));
    e->is_special = hw_arena_take(arena, all_rows, 1);
    e->is_recorded = hw_arena_take(arena, all_rows, sizeof(bool));
    e->spans = hw_arena_take(arena, layout->n_spans, sizeof(struct hw_span));
    // Two scattered spans take a range a token at most; every other one is one range.
    e->ranges = hw_arena_take(arena, 2 * all_rows + layout->n_spans, sizeof(struct hw_range));
}

static void set_slabs(const int32_t *values, size_t n, int32_t *slabs, size_t n_slabs) {
    for (size_t i = 0; i < n_slabs; i++) {
        slabs[i] = -1;
    }
    for (size_t i = 0; i < n; i++) {
        slabs[values[i]] = (int32_t)i;
    }
}

static void watch_site(struct hw_engine *e, const struct hw_engine_row *active, enum hw_site site) {
    size_t n_layers = e->config.model->desc.n_layers;
    if (site == HW_N_SITES) {
        return;
    }
    bool is_single = site == HW_SITE_EMBED || site == HW_SITE_FINAL || site == HW_SITE_UNEMBED;
    if (is_single) {
        e->watch[n_layers] |= 1u << site;
        return;
    }
    enum hw_dataset dataset = active->row->dataset;
    bool is_depth = site == HW_SITE_RESID_POST;
    for (size_t layer = 0; layer < n_layers; layer++) {
        // An attribution is of the whole stream, whichever heads are kept of it.
        if (active->row->reduce == HW_REDUCE_ATTRIBUTION ||
            hw_engine_slab(e, dataset, (int64_t)layer + (is_depth ? 1 : 0)) >= 0) {
            e->watch[layer] |= 1u << site;
        }
    }
}

static void set_watch(struct hw_engine *e) {
    size_t n_layers = e->config.model->desc.n_layers;
    for (size_t g = 0; g < HW_N_GROUPS; g++) {
        const struct hw_group_axes *axes = &e->config.layout->groups[g];
        set_slabs(axes->layers, axes->n_layers, e->layer_slab[g], n_layers);
        set_slabs(axes->depths, axes->n_depths, e->depth_slab[g], n_layers + 1);
    }
    for (size_t i = 0; i < e->n_active; i++) {
        watch_site(e, &e->active[i], e->active[i].row->sites[0]);
        watch_site(e, &e->active[i], e->active[i].row->sites[1]);
        if (e->active[i].row->reduce == HW_REDUCE_DECODE_ROW) {
            watch_site(e, &e->active[i], HW_SITE_ROT_Q);
            watch_site(e, &e->active[i], HW_SITE_ROT_K);
        }
        for (size_t b = 0; b < e->n_row_buffers; b++) {
            if (e->active[i].row->reduce == HW_REDUCE_REQUEST_ROW &&
                e->row_buffers[b].member == e->active[i].row->member) {
                e->active[i].buffer = e->row_buffers[b].data;
            }
        }
    }
}

// What the session must be ready for: any pointer will do, it is not followed.
static void describe(struct hw_engine *e, struct hw_session_options *options) {
    struct hw_attention_request *request = &options->request;
    const struct hw_layout *layout = e->config.layout;
    static float anything;
    void *some = &anything;
    for (size_t i = 0; i < e->n_row_buffers; i++) {
        memcpy((char *)request + e->row_buffers[i].member, &some, sizeof some);
    }
    bool has_keys =
        e->has[HW_REDUCE_RECEIVED] || e->has[HW_REDUCE_SINK_SCORE] || e->has[HW_REDUCE_REQUEST_KEY];
    request->received_sum = has_keys ? some : NULL;
    request->received_max = has_keys ? some : NULL;
    request->received_entropy = has_keys ? some : NULL;
    request->offset = e->has[HW_REDUCE_OFFSET] ? some : NULL;
    request->n_offsets = layout->n_offsets;
    request->span = e->has[HW_REDUCE_SPAN] ? some : NULL;
    request->n_spans = layout->n_spans;
    request->top_key = e->has[HW_REDUCE_TOP_KEYS] ? some : NULL;
    request->top_weight = request->top_key != NULL ? some : NULL;
    request->n_top = layout->n_key_rank;
    request->pattern = e->has[HW_REDUCE_PATTERN] ? some : NULL;
    request->scores = e->has[HW_REDUCE_SCORES] ? some : NULL;
    request->map_n_heads = e->map_heads;
    request->rows = e->has[HW_REDUCE_DECODE_ROW] ? some : NULL;
    options->unembed_top = hw_size_max(1, layout->n_rank);
    options->max_tokens = e->config.max_tokens;
    options->max_generate = e->config.max_generate;
}

enum hw_status hw_engine_measure(const struct hw_engine_config *config, size_t *ret_bytes,
                                 struct hw_session_options *session_options, struct hw_error *err) {
    struct hw_engine *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return hw_fail(err, HW_RESOURCE, "cannot allocate %zu bytes", sizeof *e);
    }
    e->config = *config;
    enum hw_status status = find_active(e, err);
    struct hw_arena arena;
    hw_arena_measure(&arena);
    if (status == HW_OK) {
        take_buffers(e, &arena);
        if (arena.is_overflown) {
            status =
                hw_fail(err, HW_RESOURCE,
                        "recording prompts of %zu tokens needs more memory than can be addressed",
                        config->max_tokens);
        }
    }
    if (status == HW_OK) {
        *ret_bytes = arena.used_bytes;
        describe(e, session_options);
    }
    free(e);
    return status;
}

enum hw_status hw_engine_open(const struct hw_engine_config *config, struct hw_session *session,
                              struct hw_engine **ret_engine, struct hw_error *err) {
    size_t bytes;
    struct hw_session_options unused = {0};
    enum hw_status status = hw_engine_measure(config, &bytes, &unused, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_engine *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return hw_fail(err, HW_RESOURCE, "cannot allocate %zu bytes", sizeof *e);
    }
    e->config = *config;
    e->session = session;
    status = find_active(e, err);
    status = status == HW_OK ? hw_arena_open(&e->arena, bytes, err) : status;
    if (status == HW_OK) {
        take_buffers(e, &e->arena);
        set_watch(e);
    }
    if (status == HW_OK && e->has[HW_REDUCE_PROJECTED_NORM]) {
        status = hw_projection_factors(hw_session_ops(session), config->model,
                                       hw_session_exec(session)->n_threads, e->factors, err);
    }
    if (status != HW_OK) {
        hw_engine_close(&e);
        return status;
    }
    e->observer =
        (struct hw_observer){.self = e,
                             .watch = e->watch,
                             .on_site = hw_engine_on_site,
                             .attention = hw_engine_attention,
                             .attention_done = hw_engine_attention_done,
                             .unembed = hw_engine_unembed,
                             .unembed_done = hw_engine_unembed_done,
                             .layer_end = hw_engine_layer_end,
                             .unembed_block = e->has[HW_REDUCE_LOGITS] ? HW_LOGIT_ROWS : 0};
    *ret_engine = e;
    return HW_OK;
}

void hw_engine_close(struct hw_engine **engine) {
    if (engine == NULL || *engine == NULL) {
        return;
    }
    hw_arena_close(&(*engine)->arena);
    free(*engine);
    *engine = NULL;
}
