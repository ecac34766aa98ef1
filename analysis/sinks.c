// Attention sinks; see sinks.h. One prompt and one layer at a time, so memory grows with the
// longest prompt only (and with what is kept of every prompt, which is capped).
#include "analysis/sinks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/arrays.h"
#include "analysis/measures.h"
#include "analysis/sinks_internal.h"
#include "kernels/size.h"

void hw_sinks_defaults(struct hw_sinks_options *ret_options) {
    *ret_options = (struct hw_sinks_options){.epsilons = {.3},
                                             .n_epsilons = 1,
                                             .share = .1,
                                             .least_rows = 16,
                                             .n_keys = 1,
                                             .cosine = .9,
                                             .n_first = 2,
                                             .least_lifetime = 5,
                                             .n_threads = 1,
                                             .is_gap_wanted = true};
}

void hw_sinks_free(struct hw_sinks *sinks) {
    for (size_t i = 0; i < sinks->n_tokens; i++) {
        free(sinks->tokens[i].text);
    }
    free(sinks->tokens);
    hw_arena_close(&sinks->arena);
    memset(sinks, 0, sizeof *sinks);
}

const char *hw_sink_label_name(enum hw_sink_label label) {
    static const char *const names[] = {"", "noise", "secondary", "like the first"};
    return names[label];
}

// What the running computation needs; the same code measures.
static void take_work(struct sinks_work *w, struct hw_arena *arena) {
    struct hw_sinks *out = w->out;
    size_t n = w->longest;
    size_t n_cells = out->n_layers * out->n_heads; // far below 2^32: the axes of a checked file
    size_t widest = hw_size_max(hw_size_max(out->n_heads, out->n_kv_heads), 1);
    size_t n_values;
    size_t n_over;
    if (!hw_size_mul(n, widest, &n_values) || !hw_size_mul(n, out->options.n_epsilons, &n_over)) {
        arena->is_overflown = 1;
        return;
    }
    w->rows = hw_arena_take(arena, n_values, sizeof *w->rows);
    w->second = hw_arena_take(arena, n_values, sizeof *w->second);
    w->third = hw_arena_take(arena, n_values, sizeof *w->third);
    w->over = hw_arena_take(arena, n_over, sizeof *w->over);
    w->top2 = hw_arena_take(arena, n, sizeof *w->top2);
    w->alpha_sum = hw_arena_take(arena, n, sizeof *w->alpha_sum);
    w->alpha_max = hw_arena_take(arena, n, sizeof *w->alpha_max);
    w->max_layer = hw_arena_take(arena, n, sizeof *w->max_layer);
    w->max_head = hw_arena_take(arena, n, sizeof *w->max_head);
    w->is_sink = hw_arena_take(arena, n, sizeof *w->is_sink);
    w->is_top = hw_arena_take(arena, n, sizeof *w->is_top);
    w->is_trigger = hw_arena_take(arena, n, sizeof *w->is_trigger);
    w->birth = hw_arena_take(arena, n, sizeof *w->birth);
    w->lifetime = hw_arena_take(arena, n, sizeof *w->lifetime);
    w->cosine_sum = hw_arena_take(arena, n, sizeof *w->cosine_sum);
    w->hits = hw_arena_take(arena, n_cells, sizeof *w->hits);
    w->counts = hw_arena_take(arena, n_cells, sizeof *w->counts);
    w->domain_of = hw_arena_take(arena, out->n_file_prompts, sizeof *w->domain_of);
}

static void take_secondary(struct hw_sinks *out, struct hw_arena *arena) {
    struct hw_sinks_secondary *s = &out->secondary;
    if (s->why_not != NULL) {
        return;
    }
    s->reference = hw_arena_take(arena, out->n_file_prompts, sizeof *s->reference);
    s->first_layer = hw_arena_take(arena, out->n_file_prompts, sizeof *s->first_layer);
    s->end_layer = hw_arena_take(arena, out->n_file_prompts, sizeof *s->end_layer);
    s->counts = hw_arena_take(arena, s->n_layers * (s->n_layers + 1), sizeof *s->counts);
}

static void take_results(struct sinks_work *w, struct hw_arena *arena) {
    struct hw_sinks *out = w->out;
    size_t n_cells = out->n_layers * out->n_heads;
    size_t n_kv_cells = out->n_layers * out->n_kv_heads;
    size_t n_keys = out->options.n_keys;
    size_t n_domain_cells = hw_size_max(out->n_domains, 1) * n_cells; // both capped
    size_t n_kept;
    out->rates = hw_arena_take(arena, out->n_positions * out->options.n_epsilons,
                               sizeof *out->rates); // like `over`, which was checked
    out->alpha = hw_arena_take(arena, n_keys * n_cells, sizeof *out->alpha);
    out->alpha_rate = hw_arena_take(arena, n_cells, sizeof *out->alpha_rate);
    if (out->options.is_every_prompt_kept && hw_size_mul(out->n_file_prompts, n_keys, &n_kept) &&
        hw_size_mul(n_kept, n_cells, &n_kept) && n_kept <= HW_SINKS_MAX_VALUES) {
        out->alpha_prompts = hw_arena_take(arena, n_kept, sizeof *out->alpha_prompts);
        for (size_t i = 0; i < n_kept && out->alpha_prompts != NULL; i++) {
            out->alpha_prompts[i] = NAN;
        }
    }
    out->layer_first = hw_arena_take(arena, out->n_layers, sizeof *out->layer_first);
    out->layer_any = hw_arena_take(arena, out->n_layers, sizeof *out->layer_any);
    out->domains = hw_arena_take(arena, HW_SINKS_MAX_DOMAINS, sizeof *out->domains);
    out->dormancy = hw_arena_take(arena, n_domain_cells, sizeof *out->dormancy);
    if (out->options.n_triggers > 0) {
        out->dormancy_trigger = hw_arena_take(arena, n_domain_cells, sizeof *out->dormancy_trigger);
    }
    out->entropy_row = hw_arena_take(arena, n_cells, sizeof *out->entropy_row);
    out->entropy_column = hw_arena_take(arena, n_cells, sizeof *out->entropy_column);
    for (int g = 0; g < HW_SINKS_N_GAPS; g++) {
        if (out->gap_why_not[g] == NULL) {
            out->gap[g] = hw_arena_take(arena, n_cells, sizeof *out->gap[g]);
        }
    }
    out->drain = hw_arena_take(arena, n_kv_cells, sizeof *out->drain);
    out->value_first = hw_arena_take(arena, n_kv_cells, sizeof *out->value_first);
    out->value_others = hw_arena_take(arena, n_kv_cells, sizeof *out->value_others);
    out->drain_projected = hw_arena_take(arena, n_cells, sizeof *out->drain_projected);
    out->layer_drain = hw_arena_take(arena, out->n_layers, sizeof *out->layer_drain);
    out->layer_drain_projected =
        hw_arena_take(arena, out->n_layers, sizeof *out->layer_drain_projected);
    out->peak = hw_arena_take(arena, out->n_depths, sizeof *out->peak);
    out->peak_over_max = hw_arena_take(arena, out->n_depths, sizeof *out->peak_over_max);
    out->residual_first = hw_arena_take(arena, out->n_depths, sizeof *out->residual_first);
    out->residual_excess = hw_arena_take(arena, out->n_depths, sizeof *out->residual_excess);
    take_secondary(out, arena);
}

// Failed prompts and those of a single token, which can only see itself, are left out.
static bool is_counted(const struct hw_trace_prompt *prompt) {
    return prompt->n_prompt_tokens >= 2 && prompt->n_prompt_tokens <= prompt->n_tokens;
}

// Keys that enough queries see are 0 .. n - 1. Key 0 always counts.
static size_t count_eligible(const struct hw_sinks_options *options, size_t n_prompt_tokens) {
    size_t rows = hw_size_max(1, options->least_rows);
    return n_prompt_tokens > rows ? n_prompt_tokens - rows + 1 : 1;
}

// Which domain every prompt is of; domains in order of appearance.
static void find_domains(struct sinks_work *w) {
    struct hw_sinks *out = w->out;
    for (size_t i = 0; i < out->n_file_prompts; i++) {
        const struct hw_trace_prompt *prompt = hw_trace_prompt(w->trace, i);
        size_t d = 0;
        if (!is_counted(prompt)) {
            continue;
        }
        const char *name = out->are_domains_folded ? "" : prompt->domain;
        while (d < out->n_domains && strcmp(out->domains[d].name, name) != 0) {
            d++;
        }
        if (d == HW_SINKS_MAX_DOMAINS) {
            memset(out->domains, 0, HW_SINKS_MAX_DOMAINS * sizeof *out->domains);
            out->n_domains = 0;
            out->are_domains_folded = true;
            find_domains(w);
            return;
        }
        struct hw_sinks_domain *domain = &out->domains[d];
        size_t n = prompt->n_prompt_tokens;
        domain->name = name;
        domain->min_tokens = domain->n_prompts == 0 ? n : hw_size_min(domain->min_tokens, n);
        domain->max_tokens = hw_size_max(domain->max_tokens, n);
        domain->n_prompts++;
        w->domain_of[i] = (uint32_t)d;
        out->n_domains = hw_size_max(out->n_domains, d + 1);
    }
}

// An upper bound of the number of domains, before there is memory to list them.
static size_t bound_domains(struct hw_trace *trace) {
    size_t n = 0;
    const char *last = NULL;
    for (size_t i = 0; i < hw_trace_n_prompts(trace) && n < HW_SINKS_MAX_DOMAINS; i++) {
        const char *domain = hw_trace_prompt(trace, i)->domain;
        n += last == NULL || strcmp(domain, last) != 0;
        last = domain;
    }
    return n;
}

static enum hw_status open_arrays(struct sinks_work *w, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    const struct hw_group_axes *axes = &hw_trace_layout(w->trace)->groups[HW_GROUP_ROOT];
    out->n_file_prompts = hw_trace_n_prompts(w->trace);
    w->longest = 1;
    for (size_t i = 0; i < out->n_file_prompts; i++) {
        w->longest = hw_size_max(w->longest, hw_trace_prompt(w->trace, i)->n_tokens);
    }
    out->n_positions = out->has_tokens ? count_eligible(&out->options, w->longest) : 1;
    out->n_layers = axes->n_layers;
    out->n_heads = axes->n_heads;
    out->n_kv_heads = axes->n_kv_heads;
    out->n_depths = axes->n_depths;
    out->layers = axes->layers;
    out->heads = axes->heads;
    out->kv_heads = axes->kv_heads;
    out->depths = axes->depths;
    hw_sinks_plan_gaps(w);
    hw_sinks_plan_secondary(w);
    out->n_domains = bound_domains(w->trace);
    struct hw_arena measure;
    hw_arena_measure(&measure);
    take_work(w, &measure);
    take_results(w, &measure);
    enum hw_status status = hw_arrays_open(&measure, w->trace, &out->arena, err);
    if (status == HW_OK) {
        take_work(w, &out->arena); // zero, as fresh pages are
        take_results(w, &out->arena);
        out->n_domains = 0;
        find_domains(w);
    }
    return status;
}

// What is left of the sums when all prompts are through.
static void finish(struct sinks_work *w) {
    struct hw_sinks *out = w->out;
    for (size_t cell = 0; cell < out->n_layers * out->n_heads; cell++) {
        out->n_recorded += w->counts[cell] > 0;
        out->alpha_rate[cell] =
            w->counts[cell] > 0 ? (double)w->hits[cell] / (double)w->counts[cell] : NAN;
    }
}

static enum hw_status read_triggers(struct sinks_work *w, const struct sinks_prompt *p,
                                    struct hw_error *err) {
    const struct hw_sinks_options *options = &w->out->options;
    int32_t ids[256];
    enum { AT_ONCE = sizeof ids / sizeof ids[0] };
    for (size_t t = 0; t < p->n_tokens && options->n_triggers > 0; t += AT_ONCE) {
        size_t n = hw_size_min(AT_ONCE, p->n_tokens - t);
        enum hw_status status =
            hw_trace_read_i32(w->trace, HW_DS_TOKEN_ID, 0, p->prompt->first_token + t, n, ids, err);
        if (status != HW_OK) {
            return status;
        }
        for (size_t i = 0; i < n; i++) {
            w->is_trigger[t + i] = false;
            for (size_t j = 0; j < options->n_triggers; j++) {
                w->is_trigger[t + i] |= (uint32_t)ids[i] == options->triggers[j];
            }
        }
    }
    return HW_OK;
}

static enum hw_status add_prompt(struct sinks_work *w, size_t index, struct hw_error *err) {
    struct hw_sinks *out = w->out;
    struct sinks_prompt p = {.index = index, .prompt = hw_trace_prompt(w->trace, index)};
    if (out->secondary.why_not == NULL) {
        out->secondary.reference[index] = -1;
        out->secondary.first_layer[index] = -1;
        out->secondary.end_layer[index] = -1;
    }
    if (!is_counted(p.prompt)) {
        out->n_skipped++;
        return HW_OK;
    }
    p.n_tokens = p.prompt->n_prompt_tokens;
    p.n_eligible = count_eligible(&out->options, p.n_tokens);
    enum hw_status status = read_triggers(w, &p, err);
    if (status == HW_OK) {
        status =
            out->has_tokens ? hw_sinks_add_alphas(w, &p, err) : hw_sinks_add_scores(w, &p, err);
    }
    if (status == HW_OK) {
        status = hw_sinks_add_rows(w, &p, err);
    }
    if (status == HW_OK && out->has_tokens) {
        status = hw_sinks_add_secondary(w, &p, err);
    }
    if (status == HW_OK && out->has_tokens) {
        status = hw_sinks_add_tokens(w, &p, err);
    }
    if (status == HW_OK) {
        status = hw_sinks_add_gaps(w, &p, err);
    }
    out->min_tokens = out->n_prompts == 0 ? p.n_tokens : hw_size_min(out->min_tokens, p.n_tokens);
    out->max_tokens = hw_size_max(out->max_tokens, p.n_tokens);
    out->n_prompts++;
    return status;
}

static enum hw_status check_records(struct hw_trace *trace, const struct hw_sinks_options *options,
                                    struct hw_error *err) {
    if (!hw_trace_has(trace, HW_DS_ATTENTION_RECEIVED) && !hw_trace_has(trace, HW_DS_SINK_SCORE)) {
        const char *record;
        return hw_measure_require(trace, "sink_score", &record, err);
    }
    bool has_first = hw_trace_has(trace, HW_DS_ATTENTION_FIRST);
    if (!has_first && (options->n_lengths > 0 || options->n_triggers > 0)) {
        return hw_fail(err, HW_INPUT,
                       "%s: no attention_first, which %s need (capture with --record attention "
                       "and --detail token)",
                       hw_trace_path(trace),
                       options->n_lengths > 0 ? "shorter lengths" : "triggers");
    }
    return HW_OK;
}

// Prompts are read one after another, each through all layers.
static void keep_chunks(struct hw_trace *trace) {
    static const enum hw_dataset read[] = {
        HW_DS_ATTENTION_RECEIVED,         HW_DS_ATTENTION_FIRST,   HW_DS_ATTENTION_LOGSUMEXP,
        HW_DS_ATTENTION_SCORE_MEAN,       HW_DS_ATTENTION_ENTROPY, HW_DS_ATTENTION_ROW_SUM,
        HW_DS_ATTENTION_RECEIVED_ENTROPY, HW_DS_SINK_SCORE,        HW_DS_VALUE_NORM,
        HW_DS_VALUE_NORM_PROJECTED,       HW_DS_RESIDUAL_NORM,     HW_DS_RESIDUAL_COSINE_FIRST};
    for (size_t i = 0; i < sizeof read / sizeof *read; i++) {
        hw_trace_keep_chunks(trace, read[i]);
    }
}

enum hw_status hw_sinks_compute(struct hw_trace *trace, const struct hw_sinks_options *options,
                                struct hw_sinks *ret_sinks, struct hw_error *err) {
    struct hw_sinks sinks = {.options = *options,
                             .has_tokens = hw_trace_has(trace, HW_DS_ATTENTION_RECEIVED)};
    struct sinks_work work = {.trace = trace, .out = &sinks};
    sinks.options.n_threads = sinks.options.n_threads < 1 ? 1 : sinks.options.n_threads;
    if (sinks.options.n_keys == 0) {
        sinks.options.n_keys = 1; // keys[0]: the first token
        sinks.options.keys[0] = 0;
    }
    enum hw_status status = check_records(trace, options, err);
    if (status == HW_OK) {
        keep_chunks(trace);
        status = open_arrays(&work, err);
    }
    for (size_t i = 0; i < sinks.n_file_prompts && status == HW_OK; i++) {
        status = add_prompt(&work, i, err);
    }
    if (status != HW_OK) {
        hw_sinks_free(&sinks);
        return status;
    }
    finish(&work);
    *ret_sinks = sinks;
    return HW_OK;
}
