// Rows to metrics; see sweep_metrics.h.
//
// Three ways through the unembedding, by what a row is read for: with all its logits kept (kl,
// rank), in blocks of positions so that those of the unchanged run are computed once for many runs;
// without (loss, top1_change); and of two rows of the matrix only (target_logit,
// logit_difference), whose bits are those of the whole op.
#include "analysis/sweep_metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/logits.h"
#include "kernels/arena.h"
#include "kernels/size.h"

enum {
    ROW_BLOCK = HW_ROW_BLOCK, // rows unembedded together
    LOGIT_BYTES = 32 << 20,   // of logits kept of changed runs
    BASE_BYTES = 16 << 20,    // of what is kept of the unchanged run's
    MAX_BASE_ROWS = 64
};

// What a row is read for.
enum { FOR_LOSS = 1, FOR_TOP = 2, FOR_KL = 4, FOR_RANK = 8, FOR_LOGITS = 16 };

// What is known of a row of a run.
struct row_value {
    float logprob; // of the token that follows
    uint32_t top_id;
    double kl;
    double rank;
    float target_logit;
    float foil_logit;
};

struct hw_sweep_metrics {
    struct hw_sweep_metrics_options options;
    struct hw_arena arena;
    struct hw_exec exec;
    size_t d_model;
    size_t n_vocab;
    size_t n_logit_rows; // rows of changed runs whose logits are kept at once
    size_t n_base_rows;
    float *packed;     // [ROW_BLOCK, d_model]
    uint32_t *targets; // [ROW_BLOCK]
    float *log_z;      // [ROW_BLOCK]
    float *target;     // [ROW_BLOCK]
    uint32_t *top_id;  // [ROW_BLOCK]
    float *pair;       // [ROW_BLOCK, 2]
    float *logits;     // [n_logit_rows, n_vocab]
    double *base_p;    // [n_base_rows, n_vocab] of the unchanged run: p and ln p
    double *base_lnp;
    bool *selected;         // [max_tokens]
    uint8_t *use;           // [max_tokens] what each row is read for
    size_t *rows;           // [max_tokens] rows that are read, in order
    struct row_value *base; // [max_tokens], by place in rows
    // Of the prompt.
    const struct hw_prompt *prompt;
    const uint32_t *ids;
    size_t n_tokens;
    size_t n_rows;
    const float *base_normed;
    uint32_t pair_ids[2];
    uint32_t pair_map[2];
    float pair_bias[2];
    struct hw_weight pair_weight;
};

static bool needs(const struct hw_sweep_metrics_options *o, enum hw_metric metric) {
    return o->wanted[metric];
}

static bool keeps_logits(const struct hw_sweep_metrics_options *o) {
    return needs(o, HW_METRIC_KL) || needs(o, HW_METRIC_RANK);
}

static void take(struct hw_sweep_metrics *m, struct hw_arena *arena) {
    const struct hw_sweep_metrics_options *o = &m->options;
    size_t n = o->max_tokens;
    m->packed = hw_arena_take(arena, ROW_BLOCK * m->d_model, sizeof(float));
    m->targets = hw_arena_take(arena, ROW_BLOCK, sizeof(uint32_t));
    m->log_z = hw_arena_take(arena, ROW_BLOCK, sizeof(float));
    m->target = hw_arena_take(arena, ROW_BLOCK, sizeof(float));
    m->top_id = hw_arena_take(arena, ROW_BLOCK, sizeof(uint32_t));
    m->pair = hw_arena_take(arena, 2 * (size_t)ROW_BLOCK, sizeof(float));
    if (keeps_logits(o)) {
        m->logits = hw_arena_take(arena, m->n_logit_rows * m->n_vocab, sizeof(float));
        m->base_p = hw_arena_take(arena, m->n_base_rows * m->n_vocab, sizeof(double));
        m->base_lnp = hw_arena_take(arena, m->n_base_rows * m->n_vocab, sizeof(double));
    }
    m->selected = hw_arena_take(arena, n, sizeof(bool));
    m->use = hw_arena_take(arena, n, 1);
    m->rows = hw_arena_take(arena, n, sizeof(size_t));
    m->base = hw_arena_take(arena, n, sizeof(struct row_value));
    m->exec.n_threads = o->n_threads;
    m->exec.scratch_bytes = hw_unembed_scratch(o->n_threads, ROW_BLOCK, m->d_model, m->n_vocab, 1);
    m->exec.scratch = hw_arena_take(arena, m->exec.scratch_bytes, 1);
}

static void prepare(struct hw_sweep_metrics *m, const struct hw_sweep_metrics_options *options) {
    const size_t base_row = 2 * sizeof(double);
    *m = (struct hw_sweep_metrics){.options = *options,
                                   .d_model = options->model->desc.d_model,
                                   .n_vocab = options->model->desc.n_vocab};
    size_t rows = BASE_BYTES / (base_row * hw_size_max(1, m->n_vocab));
    m->n_base_rows = hw_size_min(hw_size_max(rows, 1), MAX_BASE_ROWS);
    rows = LOGIT_BYTES / (sizeof(float) * hw_size_max(1, m->n_vocab));
    m->n_logit_rows = hw_size_max(hw_size_min(rows, ROW_BLOCK), m->n_base_rows);
}

enum hw_status hw_sweep_metrics_measure(const struct hw_sweep_metrics_options *options,
                                        size_t *ret_bytes, struct hw_error *err) {
    struct hw_sweep_metrics m;
    struct hw_arena arena;
    prepare(&m, options);
    hw_arena_measure(&arena);
    take(&m, &arena);
    if (arena.is_overflown) {
        return hw_fail(err, HW_RESOURCE, "metrics of prompts of %zu tokens need too much memory",
                       options->max_tokens);
    }
    *ret_bytes = arena.used_bytes;
    return HW_OK;
}

enum hw_status hw_sweep_metrics_open(const struct hw_sweep_metrics_options *options,
                                     struct hw_sweep_metrics **ret_metrics, struct hw_error *err) {
    size_t bytes;
    enum hw_status status = hw_sweep_metrics_measure(options, &bytes, err);
    struct hw_sweep_metrics *m = status == HW_OK ? malloc(sizeof *m) : NULL;
    if (status == HW_OK && m == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for metrics");
    }
    if (status == HW_OK) {
        prepare(m, options);
        status = hw_arena_open(&m->arena, bytes, err);
    }
    if (status != HW_OK) {
        free(m);
        return status;
    }
    struct hw_arena arena = m->arena;
    take(m, &arena);
    *ret_metrics = m;
    return HW_OK;
}

void hw_sweep_metrics_close(struct hw_sweep_metrics **metrics) {
    if (*metrics != NULL) {
        hw_arena_close(&(*metrics)->arena);
        free(*metrics);
        *metrics = NULL;
    }
}

// The rows of the unembedding of target and foil, as a matrix of two.
static enum hw_status set_pair(struct hw_sweep_metrics *m, struct hw_error *err) {
    const struct hw_linear_weights *w = &m->options.model->unembed;
    const struct hw_prompt *p = m->prompt;
    bool needs_foil = needs(&m->options, HW_METRIC_LOGIT_DIFFERENCE);
    bool needs_target = needs_foil || needs(&m->options, HW_METRIC_TARGET_LOGIT) ||
                        needs(&m->options, HW_METRIC_RANK) ||
                        needs(&m->options, HW_METRIC_EXACT_MATCH);
    if (needs_target && p->target_id < 0) {
        return hw_fail(err, HW_WRONG, "has no target");
    }
    if (needs_foil && p->foil_id < 0) {
        return hw_fail(err, HW_WRONG, "has no foil");
    }
    if ((needs_target && (uint64_t)p->target_id >= m->n_vocab) ||
        (needs_foil && (uint64_t)p->foil_id >= m->n_vocab)) {
        return hw_fail(err, HW_WRONG, "has a target or foil beyond the vocabulary of %zu",
                       m->n_vocab);
    }
    m->pair_ids[0] = needs_target ? (uint32_t)p->target_id : 0;
    m->pair_ids[1] = needs_foil ? (uint32_t)p->foil_id : m->pair_ids[0];
    for (int i = 0; i < 2; i++) {
        m->pair_map[i] = w->w.row_map != NULL ? w->w.row_map[m->pair_ids[i]]
                                              : (uint32_t)(w->w.first + m->pair_ids[i]);
        m->pair_bias[i] = w->bias != NULL ? w->bias[m->pair_ids[i]] : 0;
    }
    m->pair_weight = w->w;
    m->pair_weight.n_out = 2;
    m->pair_weight.row_map = m->pair_map;
    return HW_OK;
}

enum hw_status hw_sweep_metrics_prompt(struct hw_sweep_metrics *m, const struct hw_prompt *prompt,
                                       const uint32_t *ids, size_t n_tokens, struct hw_error *err) {
    const struct hw_sweep_metrics_options *o = &m->options;
    m->prompt = prompt;
    m->ids = ids;
    m->n_tokens = n_tokens;
    m->n_rows = 0;
    bool has_loss = needs(o, HW_METRIC_LOSS) || needs(o, HW_METRIC_LOSS_CHANGE);
    bool has_logits = needs(o, HW_METRIC_TARGET_LOGIT) || needs(o, HW_METRIC_LOGIT_DIFFERENCE);
    size_t n_selected = n_tokens;
    if (o->positions != NULL) {
        n_selected = hw_positions_resolve(o->positions, prompt, n_tokens, m->selected);
    } else {
        memset(m->selected, 1, n_tokens);
    }
    if (n_selected == 0) {
        return hw_fail(err, HW_WRONG, "has none of the positions that are measured");
    }
    size_t n_losses = 0;
    for (size_t i = 0; i < n_tokens; i++) {
        bool is_last = i + 1 == n_tokens;
        bool is_target = o->positions != NULL ? m->selected[i] : is_last;
        int use = has_loss && !is_last && m->selected[i + 1] ? FOR_LOSS : 0;
        use |= needs(o, HW_METRIC_TOP1_CHANGE) && m->selected[i] ? FOR_TOP : 0;
        use |= needs(o, HW_METRIC_KL) && m->selected[i] ? FOR_KL : 0;
        use |= needs(o, HW_METRIC_RANK) && is_target ? FOR_RANK : 0;
        use |= has_logits && is_target ? FOR_LOGITS : 0;
        m->use[i] = (uint8_t)use;
        n_losses += (use & FOR_LOSS) != 0;
        if (use != 0) {
            m->rows[m->n_rows++] = i;
        }
    }
    if (has_loss && n_losses == 0) {
        return hw_fail(err, HW_WRONG, "has no token with a loss at the positions measured");
    }
    return set_pair(m, err);
}

size_t hw_sweep_metrics_row_first(const struct hw_sweep_metrics *m) {
    return m->n_rows > 0 ? m->rows[0] : m->n_tokens - 1;
}

double hw_sweep_metrics_flops(const struct hw_sweep_metrics *m, size_t n_runs) {
    double n = 0;
    for (size_t i = 0; i < m->n_rows; i++) {
        n += (m->use[m->rows[i]] & ~FOR_LOGITS) != 0;
    }
    return 2.0 * n * (double)n_runs * (double)m->d_model * (double)m->n_vocab;
}

// Runs whose rows lie one behind the other: row r of run b at normed + (b * n + r - first) * d.
struct runs {
    const float *normed;
    size_t first;
    size_t n;
    size_t n_runs;
    struct row_value *values; // of run b: values + b * n_rows
};

static const float *row_of(const struct hw_sweep_metrics *m, const struct runs *runs, size_t run,
                           size_t row) {
    return runs->normed + (run * runs->n + row - runs->first) * m->d_model;
}

// A row of a run that waits in the packed block.
static void pack(struct hw_sweep_metrics *m, const struct runs *runs, size_t run, size_t i,
                 size_t slot) {
    size_t row = m->rows[i];
    memcpy(m->packed + slot * m->d_model, row_of(m, runs, run, row), m->d_model * sizeof(float));
    m->targets[slot] = m->ids[row + 1 < m->n_tokens ? row + 1 : row];
}

static void unembed(struct hw_sweep_metrics *m, size_t n, float *logits) {
    const struct hw_linear_weights *w = &m->options.model->unembed;
    struct hw_unembed_out out = {.log_z = m->log_z,
                                 .target_logit = m->target,
                                 .top_id = m->top_id,
                                 .n_top = 1,
                                 .logits = logits};
    if (!needs(&m->options, HW_METRIC_TOP1_CHANGE)) {
        out.top_id = NULL;
        out.n_top = 0;
    }
    m->options.ops->unembed(&m->exec, m->packed, n, m->d_model, &w->w, w->bias, m->targets, &out);
}

static void keep(struct hw_sweep_metrics *m, size_t slot, struct row_value *value) {
    value->logprob = m->target[slot] - m->log_z[slot];
    value->top_id = m->top_id[slot];
}

// Rows that need no logits: every run's, in blocks.
static void scan(struct hw_sweep_metrics *m, const struct runs *runs, int use, int but) {
    size_t n = 0;
    struct row_value *waiting[ROW_BLOCK];
    for (size_t run = 0; run < runs->n_runs; run++) {
        for (size_t i = 0; i < m->n_rows; i++) {
            int row_use = m->use[m->rows[i]];
            if ((row_use & use) == 0 || (row_use & but) != 0) {
                continue;
            }
            pack(m, runs, run, i, n);
            waiting[n++] = runs->values + run * m->n_rows + i;
            if (n == ROW_BLOCK) {
                unembed(m, n, NULL);
                for (size_t k = 0; k < n; k++) {
                    keep(m, k, waiting[k]);
                }
                n = 0;
            }
        }
    }
    if (n > 0) {
        unembed(m, n, NULL);
    }
    for (size_t k = 0; k < n; k++) {
        keep(m, k, waiting[k]);
    }
}

// Target and foil.
static void scan_pairs(struct hw_sweep_metrics *m, const struct runs *runs) {
    const struct hw_linear_weights *w = &m->options.model->unembed;
    const struct hw_unembed_out out = {.logits = m->pair};
    for (size_t run = 0; run < runs->n_runs; run++) {
        for (size_t first = 0; first < m->n_rows;) {
            size_t n = 0, end = first;
            size_t index[ROW_BLOCK];
            for (; end < m->n_rows && n < ROW_BLOCK; end++) {
                if ((m->use[m->rows[end]] & FOR_LOGITS) != 0) {
                    pack(m, runs, run, end, n);
                    index[n++] = end;
                }
            }
            if (n > 0) {
                m->options.ops->unembed(&m->exec, m->packed, n, m->d_model, &m->pair_weight,
                                        w->bias != NULL ? m->pair_bias : NULL, m->targets, &out);
            }
            for (size_t k = 0; k < n; k++) {
                struct row_value *value = runs->values + run * m->n_rows + index[k];
                value->target_logit = m->pair[2 * k];
                value->foil_logit = m->pair[2 * k + 1];
            }
            first = end;
        }
    }
}

// p and ln p of the unchanged run's rows whose logits are there.
static void keep_base(struct hw_sweep_metrics *m, size_t n) {
#pragma omp parallel for schedule(static) num_threads(m->options.n_threads)
    for (size_t k = 0; k < n; k++) {
        size_t at = k * m->n_vocab;
        hw_logits_softmax(m->logits + at, m->n_vocab, m->base_p + at, m->base_lnp + at);
    }
}

// What is read from the logits of n packed rows.
static void read_logits(struct hw_sweep_metrics *m, size_t n, const size_t *index,
                        const size_t *base, struct row_value *const *values) {
#pragma omp parallel for schedule(dynamic) num_threads(m->options.n_threads)
    for (size_t k = 0; k < n; k++) {
        const float *x = m->logits + k * m->n_vocab;
        int use = m->use[m->rows[index[k]]];
        keep(m, k, values[k]);
        size_t at = base[k] * m->n_vocab;
        values[k]->kl =
            (use & FOR_KL) != 0 ? hw_logits_kl(m->base_p + at, m->base_lnp + at, x, m->n_vocab) : 0;
        values[k]->rank =
            (use & FOR_RANK) != 0 ? (double)hw_logits_rank(x, m->n_vocab, m->pair_ids[0]) : 0;
    }
}

// Rows from place `first` on that keep their logits, at most n_base_rows; returns where they end.
static size_t base_block(const struct hw_sweep_metrics *m, size_t first, size_t *index,
                         size_t *ret_n) {
    size_t end = first;
    for (*ret_n = 0; end < m->n_rows && *ret_n < m->n_base_rows; end++) {
        if ((m->use[m->rows[end]] & (FOR_KL | FOR_RANK)) != 0) {
            index[(*ret_n)++] = end;
        }
    }
    return end;
}

// Block of positions by block of positions: the unchanged run's rows, then those of all runs.
static void compare(struct hw_sweep_metrics *m, const struct runs *runs) {
    const struct runs base = {m->base_normed, 0, m->n_tokens, 1, NULL};
    size_t positions[MAX_BASE_ROWS], n_positions, first = 0;
    while ((first = base_block(m, first, positions, &n_positions), n_positions) > 0) {
        for (size_t k = 0; k < n_positions; k++) {
            pack(m, &base, 0, positions[k], k);
        }
        unembed(m, n_positions, m->logits);
        keep_base(m, n_positions);
        size_t index[ROW_BLOCK], place[ROW_BLOCK], n = 0;
        struct row_value *values[ROW_BLOCK];
        for (size_t cell = 0; cell < runs->n_runs * n_positions; cell++) {
            size_t run = cell / n_positions;
            place[n] = cell % n_positions;
            index[n] = positions[place[n]];
            values[n] = runs->values + run * m->n_rows + index[n];
            pack(m, runs, run, index[n], n);
            n++;
            if (n == m->n_logit_rows || cell + 1 == runs->n_runs * n_positions) {
                unembed(m, n, m->logits);
                read_logits(m, n, index, place, values);
                n = 0;
            }
        }
    }
}

static void read_runs(struct hw_sweep_metrics *m, const struct runs *runs) {
    scan(m, runs, FOR_LOSS | FOR_TOP, FOR_KL | FOR_RANK);
    if (keeps_logits(&m->options)) {
        compare(m, runs);
    }
    scan_pairs(m, runs);
}

// Rows to the numbers of a run.
static void reduce(const struct hw_sweep_metrics *m, const struct row_value *values,
                   double *ret_values) {
    double loss = 0, kl = 0, top = 0, rank = 0, target = 0, difference = 0;
    size_t n[32] = {0};
    for (size_t i = 0; i < m->n_rows; i++) {
        int use = m->use[m->rows[i]];
        const struct row_value *v = &values[i];
        loss += (use & FOR_LOSS) != 0 ? (double)v->logprob : 0;
        kl += (use & FOR_KL) != 0 ? v->kl : 0;
        top += (use & FOR_TOP) != 0 && v->top_id != m->base[i].top_id ? 1 : 0;
        rank += (use & FOR_RANK) != 0 ? v->rank : 0;
        target += (use & FOR_LOGITS) != 0 ? (double)v->target_logit : 0;
        difference += (use & FOR_LOGITS) != 0 ? (double)v->target_logit - (double)v->foil_logit : 0;
        for (int bit = FOR_LOSS; bit <= FOR_LOGITS; bit *= 2) {
            n[bit] += (use & bit) != 0;
        }
    }
    // -sum / n as the engine of captures has it (prompt_loss).
    ret_values[HW_METRIC_LOSS] = -loss / (double)n[FOR_LOSS];
    ret_values[HW_METRIC_KL] = kl / (double)n[FOR_KL];
    ret_values[HW_METRIC_TOP1_CHANGE] = top / (double)n[FOR_TOP];
    ret_values[HW_METRIC_RANK] = rank / (double)n[FOR_RANK];
    ret_values[HW_METRIC_TARGET_LOGIT] = target / (double)n[FOR_LOGITS];
    ret_values[HW_METRIC_LOGIT_DIFFERENCE] = difference / (double)n[FOR_LOGITS];
}

static void fill(const struct hw_sweep_metrics *m, const struct row_value *values,
                 double *ret_values) {
    double all[HW_N_METRICS], base[HW_N_METRICS];
    reduce(m, values, all);
    reduce(m, m->base, base);
    all[HW_METRIC_LOSS_CHANGE] = all[HW_METRIC_LOSS] - base[HW_METRIC_LOSS];
    for (int k = 0; k < HW_N_METRICS; k++) {
        bool is_read = k != HW_METRIC_EXACT_MATCH && m->options.wanted[k];
        ret_values[k] = is_read ? all[k] : (double)NAN;
    }
}

enum hw_status hw_sweep_metrics_base(struct hw_sweep_metrics *m, const float *normed,
                                     double *ret_values, struct hw_error *err) {
    (void)err;
    m->base_normed = normed;
    const struct runs runs = {normed, 0, m->n_tokens, 1, m->base};
    read_runs(m, &runs);
    fill(m, m->base, ret_values);
    return HW_OK;
}

enum hw_status hw_sweep_metrics_read(struct hw_sweep_metrics *m, size_t n, const float *normed,
                                     double *ret_values, struct hw_error *err) {
    size_t first = hw_sweep_metrics_row_first(m), n_values;
    if (!hw_size_mul(n, m->n_rows, &n_values)) {
        return hw_fail(err, HW_RESOURCE, "%zu runs at once", n);
    }
    struct row_value *values = calloc(n_values + 1, sizeof *values);
    if (values == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the rows of %zu runs", n);
    }
    const struct runs runs = {normed, first, m->n_tokens - first, n, values};
    read_runs(m, &runs);
    for (size_t run = 0; run < n; run++) {
        fill(m, values + run * m->n_rows, ret_values + run * HW_N_METRICS);
    }
    free(values);
    return HW_OK;
}
