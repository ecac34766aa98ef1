// headwater sinks: sink tokens, sink heads, value drains and residual peaks of a capture.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/sinks.h"
#include "tools/command.h"
#include "tools/report.h"
#include "tools/table.h"

enum { BAR_COLUMNS = 30, MAX_LENGTH = 1 << 24 };

struct sinks_options {
    double epsilon;
    double share;
    uint64_t least_rows;
    uint64_t top;
    const char *at;
};

static const struct hw_option options[] = {
    HW_OPTION_REAL(struct sinks_options, epsilon, "epsilon", "E", ".3", 0, 1,
                   "A head has a sink at a token where the mean attention of the queries that see "
                   "it (alpha) is above E."),
    HW_OPTION_REAL(struct sinks_options, share, "share", "S", ".1", 0, 1,
                   "List tokens that are a sink in at least this share of the heads."),
    HW_OPTION_COUNT(struct sinks_options, least_rows, "least-rows", "N", "16", 1, MAX_LENGTH,
                    "Leave out keys that fewer than N queries see, but never the first."),
    HW_OPTION_STRING(struct sinks_options, at, "at", "LIST", NULL,
                     "Also the share of sink heads over the first T tokens only, such as 64,256."),
    HW_OPTION_COUNT(struct sinks_options, top, "top", "N", "10", 1, 1000000,
                    "Most lines in the tables of tokens and heads."),
};

// A head and its alpha, for sorting.
struct ranked {
    size_t cell;
    double alpha;
};

static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a;
    const struct ranked *y = b;
    if (x->alpha != y->alpha) {
        return x->alpha < y->alpha ? 1 : -1;
    }
    return (x->cell > y->cell) - (x->cell < y->cell);
}

// All recorded heads, the strongest first; the caller frees them. NULL without memory.
static struct ranked *rank_heads(const struct hw_sinks *sinks, size_t *ret_n) {
    size_t n_cells = sinks->n_layers * sinks->n_heads;
    struct ranked *ranked = calloc(n_cells + 1, sizeof *ranked);
    size_t n = 0;
    for (size_t cell = 0; ranked != NULL && cell < n_cells; cell++) {
        if (!isnan(sinks->alpha[cell])) {
            ranked[n++] = (struct ranked){cell, sinks->alpha[cell]};
        }
    }
    if (ranked != NULL) {
        qsort(ranked, n, sizeof *ranked, compare_ranked);
    }
    *ret_n = n;
    return ranked;
}

// "0.87", "-" for NaN.
static void cell_number(struct hw_table *table, const char *format, double value) {
    char text[32];
    (void)snprintf(text, sizeof text, format, value);
    hw_table_cell(table, "%s", isnan(value) ? "-" : text);
}

static void print_head(const struct hw_trace *trace, const struct hw_sinks *sinks) {
    (void)printf("%s: %zu prompt%s", hw_trace_path(trace), sinks->n_prompts,
                 sinks->n_prompts == 1 ? "" : "s");
    if (sinks->n_skipped > 0) {
        (void)printf(" (%zu failed or of one token left out)", sinks->n_skipped);
    }
    if (sinks->min_tokens == sinks->max_tokens) {
        (void)printf(", T = %zu\n", sinks->max_tokens);
    } else {
        (void)printf(", T = %zu to %zu\n", sinks->min_tokens, sinks->max_tokens);
    }
    if (sinks->n_prompts == 0) {
        (void)printf("no prompt has two tokens or more, so there are no sinks to speak of\n");
        return;
    }
    (void)printf("sink heads (alpha of the first token > %g): %.1f %% of %zu",
                 sinks->options.epsilon, 100 * sinks->first_rate, sinks->n_recorded);
    if (sinks->has_tokens) {
        (void)printf("; at any token %.1f %%", 100 * sinks->any_rate);
    }
    (void)fputc('\n', stdout);
    for (size_t i = 0; i < sinks->options.n_lengths; i++) {
        if (sinks->length_prompts[i] == 0) {
            (void)printf("  over the first T = %zu: no prompt is that long\n",
                         sinks->options.lengths[i]);
        } else {
            (void)printf("  over the first T = %zu: %.1f %% (%zu of the prompts)\n",
                         sinks->options.lengths[i], 100 * sinks->length_rates[i],
                         sinks->length_prompts[i]);
        }
    }
}

static enum hw_status print_tokens(const struct hw_trace *trace, const struct hw_sinks *sinks,
                                   size_t top, struct hw_error *err) {
    (void)printf("\nsink tokens (in at least %g %% of the heads)\n", 100 * sinks->options.share);
    struct hw_table *table =
        hw_table_open("<~prompt|position|<~token|heads|share|top 2|alpha|drain|peak|depth");
    for (size_t i = 0; i < sinks->n_tokens && i < top; i++) {
        const struct hw_sink_token *token = &sinks->tokens[i];
        hw_table_cell(table, "%s", hw_trace_prompt(trace, token->prompt)->name);
        hw_table_cell(table, "%" PRId32, token->position);
        hw_table_cell(table, "%s", token->text[0] != '\0' ? token->text : "-");
        hw_table_cell(table, "%zu", token->n_heads);
        hw_table_cell(table, "%.0f %%", 100 * token->share);
        hw_table_cell(table, "%.0f %%", 100 * token->top2_share);
        cell_number(table, "%.3f", token->alpha_mean);
        cell_number(table, "%.2f", token->drain);
        cell_number(table, "%.3gx", token->peak);
        cell_number(table, "%.0f", token->peak_depth >= 0 ? token->peak_depth : NAN);
    }
    enum hw_status status = sinks->n_tokens > 0 ? hw_table_print(table, stdout, 2, err) : HW_OK;
    hw_table_close(&table);
    if (sinks->n_tokens == 0) {
        (void)fputs("  none\n", stdout);
    } else if (sinks->n_tokens > top) {
        (void)printf("  and %zu more (--top, --json)\n", sinks->n_tokens - top);
    }
    return status;
}

static enum hw_status print_heads(const struct hw_sinks *sinks, size_t top, struct hw_error *err) {
    size_t n = 0;
    struct ranked *ranked = rank_heads(sinks, &n);
    struct hw_table *table = hw_table_open("head|alpha|<over epsilon");
    for (size_t i = 0; ranked != NULL && i < n && i < top; i++) {
        size_t cell = ranked[i].cell;
        hw_table_cell(table, "%" PRId32 ".%" PRId32, sinks->layers[cell / sinks->n_heads],
                      sinks->heads[cell % sinks->n_heads]);
        hw_table_cell(table, "%.5f", ranked[i].alpha);
        hw_table_cell(table, "in %.0f %% of the prompts", 100 * sinks->alpha_rate[cell]);
    }
    (void)fputs("\nstrongest heads (mean alpha of the first token)\n", stdout);
    enum hw_status status = ranked != NULL ? hw_table_print(table, stdout, 2, err)
                                           : hw_fail(err, HW_RESOURCE, "not enough memory");
    hw_table_close(&table);
    free(ranked);
    return status;
}

static enum hw_status print_layers(const struct hw_sinks *sinks, struct hw_error *err) {
    struct hw_table *table = hw_table_open("layer|sink heads|<share|drain|peak");
    for (size_t layer = 0; layer < sinks->n_layers; layer++) {
        char bar[BAR_COLUMNS + 1];
        double share = sinks->layer_first[layer];
        int n = isnan(share) ? 0 : (int)(share * BAR_COLUMNS + .5);
        memset(bar, '#', (size_t)n);
        memset(bar + n, '.', (size_t)(BAR_COLUMNS - n));
        bar[BAR_COLUMNS] = '\0';
        hw_table_cell(table, "%" PRId32, sinks->layers[layer]);
        hw_table_cell(table, "%.1f %%", 100 * share);
        hw_table_cell(table, "%s", bar);
        cell_number(table, "%.2f", sinks->layer_drain[layer]);
        double peak = NAN;
        for (size_t d = 0; d < sinks->n_depths; d++) {
            if (sinks->depths[d] == sinks->layers[layer] + 1) {
                peak = sinks->depth_peak[d];
            }
        }
        cell_number(table, "%.3gx", peak);
    }
    (void)fputs("\nby layer: heads with a sink at the first token, its value norm (drain) and its\n"
                "residual norm after the block (peak), both over the mean of the other tokens\n",
                stdout);
    enum hw_status status = hw_table_print(table, stdout, 2, err);
    hw_table_close(&table);
    return status;
}

static json_t *tokens_json(const struct hw_trace *trace, const struct hw_sinks *sinks) {
    json_t *list = json_array();
    for (size_t i = 0; i < sinks->n_tokens; i++) {
        const struct hw_sink_token *t = &sinks->tokens[i];
        const struct hw_trace_prompt *prompt = hw_trace_prompt(trace, t->prompt);
        json_t *item = json_pack(
            "{s:i, s:o, s:I, s:i, s:i, s:o, s:I, s:o, s:o, s:o, s:o, s:s}", "prompt",
            prompt->prompt, "name", hw_json_text(prompt->name), "T",
            (json_int_t)prompt->n_prompt_tokens, "position", t->position, "id", t->id, "text",
            hw_json_text(t->text), "heads", (json_int_t)t->n_heads, "share", hw_json_real(t->share),
            "top2_share", hw_json_real(t->top2_share), "alpha_mean", hw_json_real(t->alpha_mean),
            "alpha_max", hw_json_real(t->alpha_max), "alpha_max_head", "");
        char head[32];
        (void)snprintf(head, sizeof head, "%" PRId32 ".%" PRId32, t->max_layer, t->max_head);
        (void)json_object_set_new(item, "alpha_max_head", json_string(head));
        (void)json_object_set_new(item, "drain", hw_json_real(t->drain));
        (void)json_object_set_new(item, "drain_min",
                                  json_pack("{s:o, s:i, s:i}", "ratio", hw_json_real(t->drain_min),
                                            "layer", t->drain_layer, "kv_head", t->drain_kv_head));
        (void)json_object_set_new(
            item, "peak",
            json_pack("{s:o, s:i}", "ratio", hw_json_real(t->peak), "depth", t->peak_depth));
        (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *heads_json(const struct hw_sinks *sinks) {
    size_t n = 0;
    struct ranked *ranked = rank_heads(sinks, &n);
    json_t *list = ranked != NULL ? json_array() : NULL;
    for (size_t i = 0; list != NULL && i < n; i++) {
        char head[32];
        size_t cell = ranked[i].cell;
        (void)snprintf(head, sizeof head, "%" PRId32 ".%" PRId32,
                       sinks->layers[cell / sinks->n_heads], sinks->heads[cell % sinks->n_heads]);
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:f, s:f}", "head", head, "alpha",
                                              ranked[i].alpha, "rate", sinks->alpha_rate[cell]));
    }
    free(ranked);
    return list;
}

static enum hw_status print_json(const struct hw_trace *trace, const struct hw_sinks *sinks,
                                 struct hw_error *err) {
    json_t *layers = json_array();
    json_t *depths = json_array();
    json_t *lengths = json_array();
    for (size_t i = 0; i < sinks->n_layers; i++) {
        (void)json_array_append_new(layers,
                                    json_pack("{s:i, s:o, s:o, s:o}", "layer", sinks->layers[i],
                                              "first_rate", hw_json_real(sinks->layer_first[i]),
                                              "any_rate", hw_json_real(sinks->layer_any[i]),
                                              "drain", hw_json_real(sinks->layer_drain[i])));
    }
    for (size_t i = 0; i < sinks->n_depths; i++) {
        (void)json_array_append_new(depths, json_pack("{s:i, s:o}", "depth", sinks->depths[i],
                                                      "peak", hw_json_real(sinks->depth_peak[i])));
    }
    for (size_t i = 0; i < sinks->options.n_lengths; i++) {
        (void)json_array_append_new(
            lengths, json_pack("{s:I, s:o, s:I}", "T", (json_int_t)sinks->options.lengths[i],
                               "first_rate", hw_json_real(sinks->length_rates[i]), "prompts",
                               (json_int_t)sinks->length_prompts[i]));
    }
    return hw_json_print(
        json_pack(
            "{s:o, s:f, s:f, s:I, s:I, s:I, s:[I, I], s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
            "file", hw_json_text(hw_trace_path(trace)), "epsilon", sinks->options.epsilon, "share",
            sinks->options.share, "least_rows", (json_int_t)sinks->options.least_rows, "prompts",
            (json_int_t)sinks->n_prompts, "skipped", (json_int_t)sinks->n_skipped, "T",
            (json_int_t)sinks->min_tokens, (json_int_t)sinks->max_tokens, "heads",
            (json_int_t)sinks->n_recorded, "first_rate", hw_json_real(sinks->first_rate),
            "any_rate", hw_json_real(sinks->has_tokens ? sinks->any_rate : NAN), "lengths", lengths,
            "tokens", sinks->has_tokens ? tokens_json(trace, sinks) : json_null(),
            "strongest_heads", heads_json(sinks), "layers", layers, "depths", depths),
        err);
}

static enum hw_status print_text(const struct hw_trace *trace, const struct hw_sinks *sinks,
                                 size_t top, struct hw_error *err) {
    enum hw_status status = HW_OK;
    print_head(trace, sinks);
    if (sinks->n_prompts == 0) {
        return HW_OK;
    }
    if (sinks->has_tokens) {
        status = print_tokens(trace, sinks, top, err);
    }
    if (status == HW_OK) {
        status = print_heads(sinks, top, err);
    }
    return status == HW_OK ? print_layers(sinks, err) : status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct sinks_options *opt = in->options;
    struct hw_sinks_options how = {
        .epsilon = opt->epsilon, .share = opt->share, .least_rows = opt->least_rows};
    if (opt->at != NULL && !hw_parse_counts(opt->at, 1, MAX_LENGTH, HW_SINKS_MAX_LENGTHS,
                                            how.lengths, &how.n_lengths)) {
        char shown[100];
        return hw_fail(err, HW_USAGE,
                       "sinks: option --at: wrong value (expected at most %d numbers of tokens, "
                       "found '%s')",
                       (int)HW_SINKS_MAX_LENGTHS,
                       hw_escape(shown, sizeof shown, opt->at, strlen(opt->at)));
    }
    struct hw_trace *trace = NULL;
    struct hw_sinks sinks = {0};
    enum hw_status status = hw_trace_open(in->arguments[0], &trace, err);
    if (status == HW_OK) {
        status = hw_sinks_compute(trace, &how, &sinks, err);
    }
    if (status == HW_OK) {
        if (!sinks.has_tokens) {
            hw_note(in,
                    "%s: statistics of single tokens were not recorded (--detail prompt): no "
                    "sink tokens",
                    in->arguments[0]);
        }
        status = in->common.json ? print_json(trace, &sinks, err)
                                 : print_text(trace, &sinks, opt->top, err);
    }
    hw_sinks_free(&sinks);
    hw_trace_close(&trace);
    return status;
}

const struct hw_command hw_command_sinks = {
    .name = "sinks",
    .summary = "find attention sinks: tokens, heads, drains and peaks",
    .arguments = "RUN.h5",
    .min_arguments = 1,
    .max_arguments = 1,
    .description =
        "alpha of a token in a head is the mean attention that the queries which see it pay to it. "
        "A sink is where alpha is above epsilon. Shares depend on the number of tokens T, which is "
        "printed with them.\n\n"
        "Sink tokens are listed with the heads that have a sink there (share), the heads that have "
        "the token among their two strongest keys (top 2), its value norm over that of the tokens "
        "that are no sinks (drain: far below 1) and the largest such ratio of its residual norm "
        "(peak).",
    .examples = "headwater sinks run.h5\nheadwater sinks --at 64,256 --json run.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct sinks_options),
    .run = run,
};
