// The engine of sweeps; see sweep.h.
#include "analysis/sweep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/sweep_metrics.h"
#include "kernels/arena.h"
#include "kernels/size.h"
#include "probes/collect.h"

// Rows that pass together: matrices are efficient from about 512 on, and the unchanged run beside
// the changed ones weighs less with more.
enum { AIM_ROWS = 8192 };

const struct hw_metric_row hw_metric_rows[HW_N_METRICS] = {
#define HW_METRIC_ROW(id, word, units, needs, text) {word, units, needs, text},
    HW_METRICS(HW_METRIC_ROW)
#undef HW_METRIC_ROW
};

struct hw_sweep {
    struct hw_sweep_options options;
    size_t batch;
    struct hw_session *session;
    struct hw_sweep_metrics *metrics;
    struct hw_arena arena; // of a batch's changes
    // Of the prompt under way.
    const struct hw_prompt *prompt;
    size_t index;
    const struct hw_sweep_cell *cells;
    size_t *order;        // [max_cells] cells by the layer they start at
    size_t *first_layer;  // [max_cells]
    size_t *change_bytes; // [max_cells]
    const double *base;
    const struct hw_sweep_sink *sink;
    // Of the batch under way: order[batch_first ...].
    size_t batch_first;
    size_t batch_n;
    size_t layer_next;          // the layer after the last that ended
    struct hw_changes *changes; // [batch]
    struct hw_changes **branches;
    double *values; // [batch, HW_N_METRICS]
    struct hw_collect *prefix;
    uint32_t *generated; // [n_generate + 1]
};

static bool needs_pass(const struct hw_sweep_options *o) {
    for (int k = 0; k < HW_N_METRICS; k++) {
        if (o->wanted[k] && k != HW_METRIC_EXACT_MATCH) {
            return true;
        }
    }
    return false;
}

static struct hw_session_options session_options(const struct hw_sweep_options *o, size_t batch) {
    return (struct hw_session_options){.n_threads = o->n_threads,
                                       .level = o->level,
                                       .max_tokens = o->max_tokens,
                                       .max_generate =
                                           o->wanted[HW_METRIC_EXACT_MATCH] ? o->n_generate : 0,
                                       .unembed_top = 1,
                                       .max_branches = needs_pass(o) ? batch : 0,
                                       .has_cache_windows = o->has_cache_windows};
}

static struct hw_sweep_metrics_options metrics_options(const struct hw_sweep_options *o,
                                                       const struct hw_ops *ops) {
    struct hw_sweep_metrics_options metrics = {.model = o->model,
                                               .ops = ops,
                                               .n_threads = o->n_threads,
                                               .max_tokens = o->max_tokens,
                                               .positions = o->positions};
    memcpy(metrics.wanted, o->wanted, sizeof metrics.wanted);
    return metrics;
}

// Layers where a batch can start: all, at worst as many as there are batches.
static size_t prefix_bytes(const struct hw_sweep_options *o, size_t batch) {
    const struct hw_model_desc *d = &o->model->desc;
    size_t n = hw_size_min(d->n_layers, hw_size_div_up(o->max_cells, batch));
    return (n + 1) * o->max_tokens * d->d_model * sizeof(float);
}

static enum hw_status measure(const struct hw_sweep_options *o, size_t batch,
                              struct hw_sweep_plan *ret_plan, struct hw_error *err) {
    struct hw_session_options session = session_options(o, batch);
    struct hw_sweep_metrics_options metrics = metrics_options(o, NULL);
    struct hw_sweep_plan plan = {.batch = batch};
    size_t metric_bytes = 0;
    // Masks of rows and keys, by position, and their descriptions in every layer.
    size_t change = o->max_edits * (2 * (o->max_tokens + o->n_generate) + 1024) +
                    o->model->desc.n_layers * sizeof(struct hw_layer_changes) + sizeof(double[64]);
    enum hw_status status = hw_session_measure(o->model, &session, &plan.session_bytes, err);
    status = status == HW_OK ? hw_sweep_metrics_measure(&metrics, &metric_bytes, err) : status;
    plan.other_bytes = metric_bytes + prefix_bytes(o, batch) + batch * change;
    *ret_plan = plan;
    return status;
}

enum hw_status hw_sweep_plan(const struct hw_sweep_options *o, struct hw_sweep_plan *ret_plan,
                             struct hw_error *err) {
    size_t most = hw_size_max(1, o->max_cells);
    size_t batch = o->batch > 0 ? o->batch : hw_size_div_up(AIM_ROWS, o->max_tokens);
    batch = hw_size_min(batch, most);
    for (;;) {
        struct hw_sweep_plan plan;
        enum hw_status status = measure(o, batch, &plan, err);
        if (status != HW_OK) {
            return status;
        }
        if (o->memory_bytes == 0 || plan.session_bytes + plan.other_bytes <= o->memory_bytes) {
            *ret_plan = plan;
            return HW_OK;
        }
        if (batch == 1) {
            return hw_fail(err, HW_RESOURCE,
                           "a single changed run of %zu tokens needs %.0f MB beside the weights, "
                           "%.0f MB are left",
                           o->max_tokens, (double)(plan.session_bytes + plan.other_bytes) / 1e6,
                           (double)o->memory_bytes / 1e6);
        }
        batch -= hw_size_max(1, batch / 8);
    }
}

enum hw_status hw_sweep_open(const struct hw_sweep_options *options, struct hw_sweep **ret_sweep,
                             struct hw_error *err) {
    struct hw_sweep_plan plan;
    enum hw_status status = hw_sweep_plan(options, &plan, err);
    struct hw_sweep *s = status == HW_OK ? calloc(1, sizeof *s) : NULL;
    if (status != HW_OK) {
        return status;
    }
    if (s == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a sweep");
    }
    size_t n = options->max_cells + 1;
    s->options = *options;
    s->batch = plan.batch;
    s->order = calloc(n, sizeof *s->order);
    s->first_layer = calloc(n, sizeof *s->first_layer);
    s->change_bytes = calloc(n, sizeof *s->change_bytes);
    s->changes = calloc(s->batch, sizeof *s->changes);
    s->branches = calloc(s->batch, sizeof(struct hw_changes *));
    s->values = calloc(s->batch, HW_N_METRICS * sizeof *s->values);
    s->generated = calloc(options->n_generate + 1, sizeof *s->generated);
    if (s->generated == NULL || s->order == NULL || s->first_layer == NULL ||
        s->change_bytes == NULL || s->changes == NULL || s->branches == NULL || s->values == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a sweep of %zu runs", n);
    }
    struct hw_session_options session = session_options(options, s->batch);
    status = status == HW_OK ? hw_session_open(options->model, &session, &s->session, err) : status;
    if (status == HW_OK) {
        struct hw_sweep_metrics_options metrics =
            metrics_options(options, hw_session_ops(s->session));
        status = hw_sweep_metrics_open(&metrics, &s->metrics, err);
    }
    if (status != HW_OK) {
        hw_sweep_close(&s);
        return status;
    }
    *ret_sweep = s;
    return HW_OK;
}

void hw_sweep_close(struct hw_sweep **sweep) {
    struct hw_sweep *s = *sweep;
    if (s == NULL) {
        return;
    }
    hw_sweep_metrics_close(&s->metrics);
    hw_session_close(&s->session);
    hw_collect_close(&s->prefix);
    hw_arena_close(&s->arena);
    free(s->order);
    free(s->first_layer);
    free(s->change_bytes);
    free(s->changes);
    free(s->branches);
    free(s->values);
    free(s->generated);
    free(s);
    *sweep = NULL;
}

struct hw_session *hw_sweep_session(struct hw_sweep *sweep) {
    return sweep->session;
}

static enum hw_status compile(struct hw_sweep *s, size_t cell, struct hw_arena *arena,
                              struct hw_changes *ret_changes, struct hw_error *err) {
    const struct hw_sweep_options *o = &s->options;
    bool has_generation = o->wanted[HW_METRIC_EXACT_MATCH];
    struct hw_edit_context context = {.desc = &o->model->desc,
                                      .prompt = s->prompt,
                                      .n_positions =
                                          s->prompt->n_ids + (has_generation ? o->n_generate : 0),
                                      .values = o->sources != NULL ? hw_edit_sources_values : NULL,
                                      .self = o->sources};
    return hw_edits_compile(s->cells[cell].edits, s->cells[cell].n_edits, &context, arena,
                            ret_changes, err);
}

// Compiles over a measuring arena: where each cell starts and what its changes take. What cannot be
// compiled is the prompt's fault: specs were checked against the model.
static enum hw_status look_at_cells(struct hw_sweep *s, size_t n_cells, struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < n_cells && status == HW_OK; i++) {
        struct hw_arena arena;
        struct hw_changes changes = {0};
        hw_arena_measure(&arena);
        status = compile(s, i, &arena, &changes, err);
        s->first_layer[i] = changes.first_layer;
        s->change_bytes[i] = arena.used_bytes + HW_ALIGN;
        s->order[i] = i;
    }
    return status == HW_USAGE ? HW_WRONG : status;
}

// Stable and by layer: cells are done in the order given, the earlier layers first.
static void sort_cells(struct hw_sweep *s, size_t n_cells) {
    size_t n = 0;
    for (size_t layer = 0; layer <= s->options.model->desc.n_layers; layer++) {
        for (size_t i = 0; i < n_cells; i++) {
            if (s->first_layer[i] == layer) {
                s->order[n++] = i;
            }
        }
    }
}

// Where the batch that begins at place `first` starts: the block's input that it needs.
static size_t batch_layer(const struct hw_sweep *s, size_t first) {
    return hw_size_min(s->first_layer[s->order[first]], s->options.model->desc.n_layers - 1);
}

// *ret_match: 1 where the text generated begins with the target, 0 where it still may, else -1.
static enum hw_status compare_text(const struct hw_sweep *s, const uint32_t *ids, size_t n,
                                   int *ret_match, struct hw_error *err) {
    const char *target = s->prompt->target;
    char *bytes = NULL;
    size_t n_bytes = 0, n_target = strlen(target);
    if (s->options.tokenizer == NULL || n_target == 0) {
        *ret_match = ids[0] == (uint64_t)s->prompt->target_id ? 1 : -1;
        return HW_OK;
    }
    enum hw_status status =
        hw_tokenizer_decode(s->options.tokenizer, ids, n, &bytes, &n_bytes, err);
    if (status == HW_OK) {
        size_t common = hw_size_min(n_bytes, n_target);
        *ret_match = memcmp(bytes, target, common) != 0 ? -1 : n_bytes >= n_target ? 1 : 0;
    }
    free(bytes);
    return status;
}

// Runs the prompt by itself with the changes (NULL: none) and generates until the text is told.
static enum hw_status generate(struct hw_sweep *s, struct hw_changes *changes, double *ret_match,
                               struct hw_error *err) {
    const struct hw_prompt *p = s->prompt;
    int match = 0;
    hw_session_set_changes(s->session, changes);
    enum hw_status status =
        hw_session_prefill(s->session, p->ids, p->n_ids, NULL, &s->generated[0], err);
    for (size_t n = 1; status == HW_OK; n++) {
        status = compare_text(s, s->generated, n, &match, err);
        if (status != HW_OK || match != 0 || n == s->options.n_generate) {
            break;
        }
        status = hw_session_decode(s->session, s->generated[n - 1], p->n_ids + n - 1, NULL,
                                   &s->generated[n], err);
    }
    hw_session_set_changes(s->session, NULL);
    *ret_match = match > 0 ? 1 : 0;
    return status;
}

// The unchanged run: the stream where batches start, and the rows that are measured.
static enum hw_status run_unchanged(struct hw_sweep *s, size_t n_cells, double *ret_base,
                                    struct hw_error *err) {
    const struct hw_model_desc *d = &s->options.model->desc;
    uint32_t *watch = calloc(d->n_layers + 1, sizeof *watch);
    if (watch == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the unchanged run");
    }
    for (size_t first = 0; first < n_cells; first += s->batch) {
        watch[batch_layer(s, first)] |= (uint32_t)1 << HW_SITE_RESID_PRE;
    }
    watch[d->n_layers] |= (uint32_t)1 << HW_SITE_FINAL;
    hw_collect_close(&s->prefix);
    enum hw_status status = hw_collect_open(d, watch, s->prompt->n_ids, &s->prefix, err);
    free(watch);
    if (status == HW_OK) {
        hw_session_set_changes(s->session, NULL);
        status = hw_session_prefill(s->session, s->prompt->ids, s->prompt->n_ids,
                                    hw_collect_observer(s->prefix), NULL, err);
    }
    status = status == HW_OK
                 ? hw_sweep_metrics_base(s->metrics, hw_collect_rows(s->prefix, HW_SITE_FINAL, 0),
                                         ret_base, err)
                 : status;
    return status == HW_OK && s->options.wanted[HW_METRIC_EXACT_MATCH]
               ? generate(s, NULL, &ret_base[HW_METRIC_EXACT_MATCH], err)
               : status;
}

static enum hw_status take_changes(struct hw_sweep *s, struct hw_error *err) {
    size_t bytes = HW_ALIGN;
    for (size_t i = 0; i < s->batch_n; i++) {
        bytes += s->change_bytes[s->order[s->batch_first + i]];
    }
    if (s->arena.size_bytes < bytes) {
        hw_arena_close(&s->arena);
        s->arena = (struct hw_arena){0};
        enum hw_status status = hw_arena_open(&s->arena, bytes, err);
        if (status != HW_OK) {
            return status;
        }
    }
    s->arena.used_bytes = 0;
    s->arena.is_overflown = 0;
    for (size_t i = 0; i < s->batch_n; i++) {
        size_t cell = s->order[s->batch_first + i];
        enum hw_status status = compile(s, cell, &s->arena, &s->changes[i], err);
        if (status != HW_OK) {
            return status == HW_USAGE ? HW_WRONG : status;
        }
        s->branches[i] = &s->changes[i];
    }
    return s->arena.is_overflown
               ? hw_fail(err, HW_INTERNAL, "changes of %zu runs take more than they measured",
                         s->batch_n)
               : HW_OK;
}

static bool is_stopped(const struct hw_sweep *s) {
    return s->sink->stop != NULL && *s->sink->stop != 0;
}

static enum hw_status stop(struct hw_error *err) {
    return hw_fail(err, HW_STOPPED, "stopped by a signal");
}

static enum hw_status on_final(void *self, size_t first, size_t n, const float *normed,
                               struct hw_error *err) {
    struct hw_sweep *s = self;
    if (is_stopped(s)) {
        return stop(err);
    }
    return hw_sweep_metrics_read(s->metrics, n, normed, s->values + first * HW_N_METRICS, err);
}

static enum hw_status on_layer_end(void *self, size_t layer, struct hw_error *err) {
    struct hw_sweep *s = self;
    size_t n = 0;
    for (size_t i = 0; i < s->batch_n; i++) {
        n += s->changes[i].first_layer <= layer;
    }
    if (s->sink->progress != NULL) {
        s->sink->progress(s->sink->self, (double)n);
    }
    return is_stopped(s) ? stop(err) : HW_OK;
}

static enum hw_status hand_out(struct hw_sweep *s, struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < s->batch_n && status == HW_OK; i++) {
        status = s->sink->done(s->sink->self, s->order[s->batch_first + i],
                               s->values + i * HW_N_METRICS, err);
    }
    if (status == HW_OK && s->sink->batch_done != NULL) {
        status = s->sink->batch_done(s->sink->self, err);
    }
    return status;
}

static enum hw_status run_batch(struct hw_sweep *s, struct hw_error *err) {
    const struct hw_model_desc *d = &s->options.model->desc;
    enum hw_status status = take_changes(s, err);
    for (size_t i = 0; i < s->batch_n * HW_N_METRICS; i++) {
        s->values[i] = (double)NAN;
    }
    if (status == HW_OK && needs_pass(&s->options)) {
        size_t n_changed = 0;
        while (n_changed < s->batch_n && s->changes[n_changed].first_layer < d->n_layers) {
            n_changed++;
        }
        // Those that change nothing are the unchanged run.
        for (size_t i = n_changed; i < s->batch_n; i++) {
            memcpy(s->values + i * HW_N_METRICS, s->base, HW_N_METRICS * sizeof *s->values);
        }
        size_t layer = batch_layer(s, s->batch_first);
        struct hw_branch_job job = {.ids = s->prompt->ids,
                                    .n_tokens = s->prompt->n_ids,
                                    .resid = hw_collect_rows(s->prefix, HW_SITE_RESID_PRE, layer),
                                    .layer_first = layer,
                                    .branches = s->branches,
                                    .n_branches = n_changed,
                                    .row_first = hw_sweep_metrics_row_first(s->metrics),
                                    .final = on_final,
                                    .layer_end = on_layer_end,
                                    .self = s};
        status = n_changed > 0 ? hw_session_branch(s->session, &job, err) : HW_OK;
    }
    for (size_t i = 0; i < s->batch_n && s->options.wanted[HW_METRIC_EXACT_MATCH]; i++) {
        double *match = s->values + i * HW_N_METRICS + HW_METRIC_EXACT_MATCH;
        status = status != HW_OK ? status
                 : is_stopped(s) ? stop(err)
                                 : generate(s, s->branches[i], match, err);
    }
    return status == HW_OK ? hand_out(s, err) : status;
}

enum hw_status hw_sweep_prompt(struct hw_sweep *s, const struct hw_prompt *prompt, size_t index,
                               const struct hw_sweep_cell *cells, size_t n_cells, double *ret_base,
                               const struct hw_sweep_sink *sink, struct hw_error *err) {
    if (n_cells > s->options.max_cells || prompt->n_ids > s->options.max_tokens) {
        return hw_fail(err, HW_INTERNAL, "%zu runs of %zu tokens where %zu of %zu were planned",
                       n_cells, prompt->n_ids, s->options.max_cells, s->options.max_tokens);
    }
    s->index = index;
    s->sink = sink;
    s->base = ret_base;
    s->prompt = prompt;
    s->cells = cells;
    enum hw_status status = HW_OK;
    if (s->options.sources != NULL) {
        status = hw_edit_sources_prompt(s->options.sources, s->session, index, err);
    }
    status = status == HW_OK
                 ? hw_sweep_metrics_prompt(s->metrics, prompt, prompt->ids, prompt->n_ids, err)
                 : status;
    status = status == HW_OK ? look_at_cells(s, n_cells, err) : status;
    if (status != HW_OK) {
        return status;
    }
    sort_cells(s, n_cells);
    status = run_unchanged(s, n_cells, ret_base, err);
    for (size_t first = 0; first < n_cells && status == HW_OK; first += s->batch) {
        s->batch_first = first;
        s->batch_n = hw_size_min(s->batch, n_cells - first);
        status = is_stopped(s) ? stop(err) : run_batch(s, err);
    }
    return status;
}
