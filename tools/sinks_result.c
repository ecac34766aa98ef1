// `headwater sinks` as a result; see sinks_report.h.
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/size.h"
#include "tools/result_fill.h"
#include "tools/sinks_report.h"

#define COLUMN(name, kind, field, long_name, units, description)                                   \
    { name, kind, offsetof(struct hw_sink_token, field), long_name, units, description }

static const struct hw_column token_columns[] = {
    COLUMN("prompt", HW_COLUMN_COUNT, prompt, "prompt of the token", "1",
           "Place of the prompt on the prompt axis."),
    COLUMN("position", HW_COLUMN_INT, position, "position in the prompt", "1", "From 0."),
    COLUMN("id", HW_COLUMN_INT, id, "token id", "1", "Id of the token in the vocabulary."),
    COLUMN("text", HW_COLUMN_TEXT, text, "text of the token", "1", "As the capture shows it."),
    COLUMN("is_absolute", HW_COLUMN_BOOL, is_absolute, "a sink by alpha", "1",
           "1 where alpha > epsilon in at least `share` of the heads."),
    COLUMN("is_relative", HW_COLUMN_BOOL, is_relative, "a sink by rank", "1",
           "1 where it is among the two strongest keys in at least `share` of the heads."),
    COLUMN("n_heads", HW_COLUMN_COUNT, n_heads, "heads with a sink here", "1",
           "Heads with alpha > epsilon."),
    COLUMN("share", HW_COLUMN_REAL, share, "share of heads with a sink here", "1",
           "Of the recorded heads, alpha > epsilon."),
    COLUMN("top2_share", HW_COLUMN_REAL, top2_share, "share of heads with it in their top two", "1",
           "Of the recorded heads: among the two keys with the largest alpha."),
    COLUMN("alpha_mean", HW_COLUMN_REAL, alpha_mean, "mean alpha", "1",
           "Mean over heads of sum_i A[i,k] / (T - k)."),
    COLUMN("alpha_max", HW_COLUMN_REAL, alpha_max, "largest alpha", "1", "Over heads."),
    COLUMN("alpha_max_layer", HW_COLUMN_INT, max_layer, "layer of the largest alpha", "1",
           "Layer."),
    COLUMN("alpha_max_head", HW_COLUMN_INT, max_head, "head of the largest alpha", "1", "Head."),
    COLUMN(
        "drain", HW_COLUMN_MEAN, drains, "value drain", "1",
        "Mean over layers and kv heads of |v| over the mean |v| of the tokens that are no sinks."),
    COLUMN("drain_min", HW_COLUMN_REAL, drain_min, "strongest value drain", "1",
           "The smallest of these ratios."),
    COLUMN("drain_layer", HW_COLUMN_INT, drain_layer, "layer of the strongest drain", "1",
           "Layer."),
    COLUMN("drain_kv_head", HW_COLUMN_INT, drain_kv_head, "kv head of the strongest drain", "1",
           "Key/value head."),
    COLUMN("drain_projected", HW_COLUMN_MEAN, projected_drains, "projected value drain", "1",
           "Mean over layers and heads of |W_O,h v| over that of the tokens that are no sinks."),
    COLUMN("peak", HW_COLUMN_REAL, peak, "residual peak", "1",
           "Largest over depths of |x| over the mean |x| of the tokens that are no sinks."),
    COLUMN("peak_depth", HW_COLUMN_INT, peak_depth, "depth of the residual peak", "1", "Depth."),
    COLUMN("birth_layer", HW_COLUMN_INT, birth_layer, "birth as a secondary sink", "1",
           "First layer of the window with |cosine| above the threshold; -1: none."),
    COLUMN("lifetime", HW_COLUMN_INT, lifetime, "lifetime as a secondary sink", "layer",
           "Layers of the window with |cosine| above the threshold."),
    COLUMN("cosine", HW_COLUMN_REAL, cosine, "cosine with the first token", "1",
           "Mean over the lifetime, signed."),
};

static const char *const head_cell[] = {"layer", "head"};

// What every step of the filling needs; the first failure ends it.
struct filling {
    const struct hw_trace *trace;
    const struct hw_sinks *sinks;
    struct hw_result *result;
    enum hw_status status;
    struct hw_error *err;
};

static void add_means(struct filling *f, const struct hw_result_field *field,
                      const struct hw_mean *means, size_t n, double factor) {
    if (f->status == HW_OK) {
        f->status = hw_result_add_means(f->result, field, means, n, factor, f->err);
    }
}

// Means over [layer, head].
static void add_cells(struct filling *f, const char *name, const struct hw_mean *means,
                      const char *long_name, const char *units, const char *description) {
    struct hw_result_field field = {name,      HW_RESULT_REAL, {head_cell[0], head_cell[1]},
                                    long_name, units,          description};
    add_means(f, &field, means, f->sinks->n_layers * f->sinks->n_heads, 1);
}

// Means over one axis.
static void add_line(struct filling *f, const char *name, const char *axis, size_t n,
                     const struct hw_mean *means, const char *description) {
    struct hw_result_field field = {name, HW_RESULT_REAL, {axis}, name, "1", description};
    add_means(f, &field, means, n, 1);
}

static void add_epsilons(struct filling *f) {
    const struct hw_sinks_options *o = &f->sinks->options;
    char texts[HW_SINKS_MAX_EPSILONS][32];
    const char *names[HW_SINKS_MAX_EPSILONS];
    int32_t lengths[HW_SINKS_MAX_LENGTHS];
    for (size_t e = 0; e < o->n_epsilons; e++) {
        (void)snprintf(texts[e], sizeof texts[e], "%g", o->epsilons[e]);
        names[e] = texts[e];
    }
    for (size_t i = 0; i < o->n_lengths; i++) {
        lengths[i] = (int32_t)o->lengths[i];
    }
    hw_result_axis(f->result, "epsilon", o->n_epsilons, NULL, names, "threshold of alpha");
    if (o->n_lengths > 0) {
        hw_result_axis(f->result, "length", o->n_lengths, lengths, NULL, "first tokens looked at");
    }
}

static void add_axes(struct filling *f) {
    const struct hw_sinks *s = f->sinks;
    size_t n = hw_size_max(hw_size_max(s->n_positions, s->n_file_prompts), HW_SINKS_MAX_KEYS);
    int32_t *numbers = calloc(n, sizeof *numbers);
    const char *domains[HW_SINKS_MAX_DOMAINS];
    static const char *const gaps[] = {"toy", "llm", "seen"};
    if (numbers == NULL) {
        f->status = hw_fail(f->err, HW_RESOURCE, "not enough memory for %zu positions", n);
        return;
    }
    add_epsilons(f);
    for (size_t i = 0; i < s->n_positions; i++) {
        numbers[i] = (int32_t)i;
    }
    hw_result_axis(f->result, "position", s->n_positions, numbers, NULL, "position of the key");
    for (size_t i = 0; i < s->options.n_keys; i++) {
        numbers[i] = (int32_t)s->options.keys[i];
    }
    hw_result_axis(f->result, "key", s->options.n_keys, numbers, NULL, "position of the key");
    for (size_t i = 0; i < s->n_file_prompts; i++) {
        numbers[i] = hw_trace_prompt(f->trace, i)->prompt;
    }
    hw_result_axis(f->result, "prompt", s->n_file_prompts, numbers, NULL, "prompt");
    for (size_t i = 0; i < s->n_domains; i++) {
        domains[i] = s->domains[i].name;
    }
    hw_result_axis(f->result, "domain", s->n_domains, NULL, domains, "domain of the prompts");
    hw_result_axis(f->result, "layer", s->n_layers, s->layers, NULL, "layer");
    hw_result_axis(f->result, "head", s->n_heads, s->heads, NULL, "query head");
    hw_result_axis(f->result, "kv_head", s->n_kv_heads, s->kv_heads, NULL, "key/value head");
    hw_result_axis(f->result, "depth", s->n_depths, s->depths, NULL, "residual stream point");
    hw_result_axis(f->result, "gap", HW_SINKS_N_GAPS, NULL, gaps, "reading of the logit gap");
    free(numbers);
}

static void add_options(struct filling *f) {
    const struct hw_sinks *s = f->sinks;
    static const char *const criteria[] = {"absolute", "relative", "either"};
    struct hw_result *r = f->result;
    hw_result_set_real(r, "epsilon", s->options.epsilons[0]);
    hw_result_set_real(r, "share", s->options.share);
    hw_result_set_integer(r, "least_rows", (int64_t)s->options.least_rows);
    hw_result_set_text(r, "criterion", criteria[s->options.criterion]);
    hw_result_set_real(r, "cosine", s->options.cosine);
    hw_result_set_integer(r, "first_among", (int64_t)s->options.n_first);
    hw_result_set_integer(r, "least_lifetime", (int64_t)s->options.least_lifetime);
    hw_result_set_integer(r, "first_lifetime", (int64_t)s->secondary.first_lifetime);
    hw_result_set_integer(r, "prompts", (int64_t)s->n_prompts);
    hw_result_set_integer(r, "skipped", (int64_t)s->n_skipped);
    hw_result_set_integer(r, "T_min", (int64_t)s->min_tokens);
    hw_result_set_integer(r, "T_max", (int64_t)s->max_tokens);
}

static void add_prompts(struct filling *f) {
    const struct hw_sinks *s = f->sinks;
    size_t n = s->n_file_prompts;
    const char **texts = calloc(hw_size_max(n, 1), sizeof *texts);
    int64_t *numbers = calloc(hw_size_max(n, 1), sizeof *numbers);
    struct hw_result_field field = {.axes = {"prompt"}, .units = "1"};
    if (texts == NULL || numbers == NULL) {
        f->status = hw_fail(f->err, HW_RESOURCE, "not enough memory for %zu prompts", n);
    } else {
        for (size_t i = 0; i < n; i++) {
            texts[i] = hw_trace_prompt(f->trace, i)->name;
            numbers[i] = (int64_t)hw_trace_prompt(f->trace, i)->n_prompt_tokens;
        }
        field.name = "prompt_name";
        field.type = HW_RESULT_TEXT;
        field.long_name = "name of the prompt";
        field.description = "The name field of the user's object, or empty.";
        hw_result_add(f->result, &field, texts);
        field.name = "n_prompt_tokens";
        field.type = HW_RESULT_INTEGER;
        field.long_name = "number of tokens given";
        field.description = "T of the prompt.";
        hw_result_add(f->result, &field, numbers);
        field.name = "alpha";
        field.type = HW_RESULT_REAL;
        field.axes[1] = "key";
        field.axes[2] = "layer";
        field.axes[3] = "head";
        field.long_name = "alpha of the key";
        field.description = "sum_i A[i,k] / (T - k) of the prompt.";
        if (s->alpha_prompts != NULL) {
            hw_result_add(f->result, &field, s->alpha_prompts);
        }
    }
    free(texts);
    free(numbers);
}

static void add_rates(struct filling *f) {
    const struct hw_sinks *s = f->sinks;
    size_t n_lengths = s->options.n_lengths;
    struct hw_mean lengths[HW_SINKS_MAX_EPSILONS * HW_SINKS_MAX_LENGTHS];
    struct hw_result_field rate = {
        "sink_rate",
        HW_RESULT_REAL,
        {"epsilon", "position"},
        "sink rate",
        "percent",
        "Sink_k: 100 x mean over prompts, layers and heads of alpha[k] > epsilon."};
    struct hw_result_field running = {
        "sink_rate_length",
        HW_RESULT_REAL,
        {"epsilon", "length"},
        "sink rate of the first token over the first rows",
        "percent",
        "Sink_0 of the first T rows: 100 x mean of (mean of A[i,0] over i < T) > epsilon."};
    struct hw_result_field alpha = {"alpha_mean",
                                    HW_RESULT_REAL,
                                    {"key", "layer", "head"},
                                    "mean alpha of the key",
                                    "1",
                                    "Mean over prompts of sum_i A[i,k] / (T - k)."};
    struct hw_result_field share = {"alpha_rate",
                                    HW_RESULT_REAL,
                                    {"layer", "head"},
                                    "prompts with a sink at the first of `key`",
                                    "1",
                                    "Share of prompts with alpha > epsilon."};
    add_means(f, &rate, s->rates, s->options.n_epsilons * s->n_positions, 100);
    for (size_t e = 0; e < s->options.n_epsilons; e++) {
        for (size_t i = 0; i < n_lengths; i++) {
            lengths[e * n_lengths + i] = s->length_rates[e][i];
        }
    }
    if (n_lengths > 0) {
        add_means(f, &running, lengths, s->options.n_epsilons * n_lengths, 100);
    }
    add_means(f, &alpha, s->alpha, s->options.n_keys * s->n_layers * s->n_heads, 1);
    hw_result_add(f->result, &share, s->alpha_rate);
}

static void add_dormancy(struct filling *f) {
    const struct hw_sinks *s = f->sinks;
    size_t n = s->n_domains * s->n_layers * s->n_heads;
    struct hw_result_field field = {
        "dormancy",
        HW_RESULT_REAL,
        {"domain", "layer", "head"},
        "attention to the first token",
        "1",
        "Mean over prompts of the mean of A[i,0] over the queries that are no triggers."};
    add_means(f, &field, s->dormancy, n, 1);
    field.name = "dormancy_trigger";
    field.description = "Mean over prompts of the mean of A[i,0] over the trigger queries.";
    add_means(f, &field, s->dormancy_trigger, n, 1);
}

static void add_heads(struct filling *f) {
    const struct hw_sinks *s = f->sinks;
    size_t n_cells = s->n_layers * s->n_heads;
    add_cells(f, "entropy_row", s->entropy_row, "normalised row entropy", "1",
              "Mean over queries i of H(A[i,:]) / ln(i + 1), 0 for query 0.");
    add_cells(f, "entropy_column", s->entropy_column, "normalised column entropy", "1",
              "Largest over keys k of H(A[:,k]) / ln(T - k), 0 for the last key.");
    add_cells(f, "drain_projected", s->drain_projected, "projected value drain", "1",
              "|W_O,h v| of token 0 over the mean of the tokens that are no sinks.");
    struct hw_mean *gaps = calloc(hw_size_max(HW_SINKS_N_GAPS * n_cells, 1), sizeof *gaps);
    struct hw_result_field field = {
        "logit_gap",
        HW_RESULT_REAL,
        {"gap", "layer", "head"},
        "logit gap of the first token",
        "nat",
        "Mean over queries of s[i,0] - a mean of the others: toy over keys 1 .. i-1, llm over all "
        "T "
        "keys before the mask, seen over keys 1 .. i; NaN: not in the capture."};
    if (gaps == NULL) {
        f->status = hw_fail(f->err, HW_RESOURCE, "not enough memory for the gaps");
        return;
    }
    for (size_t i = 0; i < HW_SINKS_N_GAPS * n_cells; i++) {
        const struct hw_mean *gap = s->gap[i / n_cells];
        gaps[i] = gap != NULL ? gap[i % n_cells] : (struct hw_mean){0};
    }
    add_means(f, &field, gaps, HW_SINKS_N_GAPS * n_cells, 1);
    free(gaps);
}

static void add_values(struct filling *f) {
    const struct hw_sinks *s = f->sinks;
    size_t n = s->n_layers * s->n_kv_heads;
    struct hw_result_field field = {
        "drain",
        HW_RESULT_REAL,
        {"layer", "kv_head"},
        "value drain",
        "1",
        "|v| of token 0 over the mean of the tokens that are no sinks."};
    add_means(f, &field, s->drain, n, 1);
    field.name = "value_first";
    field.long_name = "value norm of token 0";
    field.description = "|v| of token 0.";
    add_means(f, &field, s->value_first, n, 1);
    field.name = "value_others";
    field.long_name = "value norm of the others";
    field.description = "Mean |v| of the tokens that are no sinks.";
    add_means(f, &field, s->value_others, n, 1);
    add_line(f, "peak", "depth", s->n_depths, s->peak,
             "|x| of token 0 over the mean of the tokens that are no sinks.");
    add_line(f, "peak_over_max", "depth", s->n_depths, s->peak_over_max,
             "|x| of token 0 over the largest of the other tokens.");
    add_line(f, "residual_first", "depth", s->n_depths, s->residual_first, "|x| of token 0.");
    add_line(f, "residual_excess", "depth", s->n_depths, s->residual_excess,
             "|x| of token 0 - mean of |x| over all other tokens.");
}

static void add_secondary(struct filling *f) {
    const struct hw_sinks *s = f->sinks;
    const struct hw_sinks_secondary *secondary = &s->secondary;
    size_t n = s->n_file_prompts;
    struct hw_result_field field = {.type = HW_RESULT_INTEGER, .axes = {"prompt"}, .units = "1"};
    const int32_t *const lines[] = {secondary->reference, secondary->first_layer,
                                    secondary->end_layer};
    static const char *const names[] = {"first_sink", "window_first", "window_end"};
    static const char *const descriptions[] = {
        "Position of the first sink: the largest norm of the first few, meant over layers.",
        "First layer in which secondary sinks are looked for; -1: none.",
        "The layer after the last."};
    int64_t *wide = calloc(hw_size_max(n, 1), sizeof *wide);
    if (wide == NULL) {
        f->status = hw_fail(f->err, HW_RESOURCE, "not enough memory for %zu prompts", n);
        return;
    }
    for (size_t line = 0; line < 3 && secondary->why_not == NULL; line++) {
        for (size_t i = 0; i < n; i++) {
            wide[i] = lines[line][i];
        }
        field.name = field.long_name = names[line];
        field.description = descriptions[line];
        hw_result_add(f->result, &field, wide);
    }
    free(wide);
    if (secondary->why_not != NULL) {
        return;
    }
    int32_t numbers[4098];
    size_t n_layers = hw_size_min(secondary->n_layers, 4096);
    for (size_t i = 0; i <= n_layers; i++) {
        numbers[i] = (int32_t)i;
    }
    hw_result_axis(f->result, "birth_layer", n_layers, numbers, NULL, "block of the birth");
    hw_result_axis(f->result, "lifetime", n_layers + 1, numbers, NULL, "layers");
    field = (struct hw_result_field){"secondary_count",
                                     HW_RESULT_INTEGER,
                                     {"birth_layer", "lifetime"},
                                     "tokens that follow the first sink",
                                     "1",
                                     "Tokens of all prompts by their first layer with |cosine| "
                                     "above the threshold and the number of such layers."};
    hw_result_add(f->result, &field, secondary->counts);
}

static void add_tokens(struct filling *f) {
    const struct hw_sinks *s = f->sinks;
    size_t n = s->n_tokens;
    const char **labels = calloc(hw_size_max(n, 1), sizeof *labels);
    struct hw_result_field field = {"sink_token_label",
                                    HW_RESULT_TEXT,
                                    {"sink_token"},
                                    "kind of secondary sink",
                                    "1",
                                    "secondary, like the first, or empty."};
    if (labels == NULL) {
        f->status = hw_fail(f->err, HW_RESOURCE, "not enough memory for %zu sink tokens", n);
        return;
    }
    f->status =
        hw_result_add_table(f->result, "sink_token", s->tokens, n, sizeof *s->tokens, token_columns,
                            sizeof token_columns / sizeof *token_columns, f->err);
    for (size_t i = 0; i < n; i++) {
        labels[i] = hw_sink_label_name(s->tokens[i].label);
    }
    hw_result_add(f->result, &field, labels);
    free(labels);
}

enum hw_status hw_sinks_fill(const struct hw_trace *trace, const struct hw_sinks *sinks,
                             struct hw_result *result, struct hw_error *err) {
    struct filling f = {trace, sinks, result, HW_OK, err};
    static void (*const steps[])(struct filling *) = {add_options, add_axes,      add_prompts,
                                                      add_rates,   add_dormancy,  add_heads,
                                                      add_values,  add_secondary, add_tokens};
    for (size_t i = 0; i < sizeof steps / sizeof *steps && f.status == HW_OK; i++) {
        steps[i](&f);
    }
    return f.status == HW_OK ? hw_result_status(result, err) : f.status;
}

const struct hw_column *hw_sinks_token_columns(size_t *ret_n) {
    *ret_n = sizeof token_columns / sizeof *token_columns;
    return token_columns;
}
