// `headwater sinks` as text; see sinks_report.h.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/report.h"
#include "tools/sinks_report.h"
#include "tools/sinks_text.h"
#include "tools/table.h"

enum { BAR_COLUMNS = 16 };

const char *hw_sinks_gap_name(enum hw_sinks_gap gap) {
    static const char *const names[] = {"toy", "llm", "seen", ""};
    return names[gap];
}

// The n means that have a value, the largest first; the caller frees them. HW_RESOURCE.
static enum hw_status rank(const struct hw_mean *means, size_t n, struct sinks_ranked **ret_ranked,
                           size_t *ret_n, struct hw_error *err) {
    struct sinks_ranked *ranked = calloc(n + 1, sizeof *ranked);
    if (ranked == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to sort %zu values", n);
    }
    *ret_n = 0;
    for (size_t i = 0; i < n; i++) {
        if (means[i].n > 0) {
            ranked[(*ret_n)++] = (struct sinks_ranked){i, hw_mean_value(&means[i])};
        }
    }
    qsort(ranked, *ret_n, sizeof *ranked, sinks_compare_ranked);
    *ret_ranked = ranked;
    return HW_OK;
}

static void print_lengths(const struct hw_sinks *sinks) {
    for (size_t i = 0; i < sinks->options.n_lengths; i++) {
        size_t n = sinks->length_rates[0][i].n;
        (void)printf("  over the first T = %zu: ", sinks->options.lengths[i]);
        for (size_t e = 0; e < sinks->options.n_epsilons && n > 0; e++) {
            (void)printf("%s%.1f %%", e > 0 ? ", " : "",
                         100 * hw_mean_value(&sinks->length_rates[e][i]));
            if (e > 0) {
                (void)printf(" above %g", sinks->options.epsilons[e]);
            }
        }
        if (n > 0) {
            (void)printf(" (%zu of the prompts)\n", n);
        } else {
            (void)fputs("no prompt is that long\n", stdout);
        }
    }
}

static void print_head(const struct hw_trace *trace, const struct hw_sinks *sinks) {
    hw_print_text(hw_trace_path(trace));
    (void)printf(": %zu prompt%s", sinks->n_prompts, sinks->n_prompts == 1 ? "" : "s");
    if (sinks->n_skipped > 0) {
        (void)printf(" (%zu failed or of one token left out)", sinks->n_skipped);
    }
    if (sinks->min_tokens == sinks->max_tokens) {
        (void)printf(", T = %zu\n", sinks->max_tokens);
    } else {
        (void)printf(", T = %zu to %zu: means are over prompts of different length\n",
                     sinks->min_tokens, sinks->max_tokens);
    }
    if (sinks->n_prompts == 0) {
        (void)printf("no prompt has two tokens or more, so there are no sinks to speak of\n");
        return;
    }
    (void)printf("sink heads (alpha of the first token > %g): %.1f %% of %zu",
                 sinks->options.epsilons[0], 100 * hw_mean_value(&sinks->first_rate),
                 sinks->n_recorded);
    if (sinks->has_tokens) {
        (void)printf("; at any token %.1f %%", 100 * hw_mean_value(&sinks->any_rate));
    }
    (void)fputc('\n', stdout);
    for (size_t e = 1; e < sinks->options.n_epsilons; e++) {
        (void)printf("  alpha > %g: %.1f %%\n", sinks->options.epsilons[e],
                     100 * hw_mean_value(&sinks->rates[e * sinks->n_positions]));
    }
    print_lengths(sinks);
}

// Sink_k where more than one prompt or epsilon makes it more than the list of tokens.
static enum hw_status print_positions(const struct hw_sinks *sinks, size_t top,
                                      struct hw_error *err) {
    struct sinks_ranked *ranked = NULL;
    size_t n = 0;
    size_t n_rows = 0;
    char columns[512] = "position";
    if (sinks->n_positions < 2 || (sinks->n_prompts < 2 && sinks->options.n_epsilons < 2)) {
        return HW_OK;
    }
    enum hw_status status = rank(sinks->rates, sinks->n_positions, &ranked, &n, err);
    if (status != HW_OK) {
        return status;
    }
    for (size_t e = 0; e < sinks->options.n_epsilons; e++) {
        size_t at = strlen(columns);
        (void)snprintf(columns + at, sizeof columns - at, "|above %g", sinks->options.epsilons[e]);
    }
    (void)strncat(columns, "|prompts", sizeof columns - strlen(columns) - 1);
    struct hw_table *table = hw_table_open(columns);
    for (size_t i = 0; i < n && i < top && ranked[i].size > 0; i++, n_rows++) {
        hw_table_cell(table, "%zu", ranked[i].at);
        for (size_t e = 0; e < sinks->options.n_epsilons; e++) {
            hw_table_cell(table, "%.1f %%",
                          100 *
                              hw_mean_value(&sinks->rates[e * sinks->n_positions + ranked[i].at]));
        }
        hw_table_cell(table, "%zu", sinks->rates[ranked[i].at].n);
    }
    free(ranked);
    (void)fputs("\nsink rate by position: heads with alpha above epsilon\n", stdout);
    return hw_table_end(&table, n_rows, err);
}

static enum hw_status print_tokens(const struct hw_trace *trace, const struct hw_sinks *sinks,
                                   size_t top, struct hw_error *err) {
    static const char *const criteria[] = {"alpha > epsilon", "among the two strongest keys",
                                           "alpha > epsilon, or among the two strongest keys,"};
    size_t n = 0;
    (void)printf("\nsink tokens (%s in at least %g %% of the heads)\n",
                 criteria[sinks->options.criterion], 100 * sinks->options.share);
    struct hw_table *table =
        hw_table_open("<~prompt|at|<~token|heads|share|top 2|alpha|drain|W_O|peak|depth");
    for (size_t i = 0; i < sinks->n_tokens; i++) {
        const struct hw_sink_token *token = &sinks->tokens[i];
        bool is_sink = (token->is_absolute && sinks->options.criterion != HW_SINKS_RELATIVE) ||
                       (token->is_relative && sinks->options.criterion != HW_SINKS_ABSOLUTE);
        n += is_sink;
        if (!is_sink || n > top) {
            continue;
        }
        hw_table_cell(table, "%s", hw_trace_prompt(trace, token->prompt)->name);
        hw_table_cell(table, "%" PRId32, token->position);
        hw_table_cell(table, "%s", token->text[0] != '\0' ? token->text : "-");
        hw_table_cell(table, "%zu", token->n_heads);
        hw_table_cell(table, "%.0f %%", 100 * token->share);
        hw_table_cell(table, "%.0f %%", 100 * token->top2_share);
        hw_table_number(table, "%.3f", token->alpha_mean);
        hw_table_mean(table, "%.2f", &token->drains);
        hw_table_mean(table, "%.2f", &token->projected_drains);
        hw_table_number(table, "%.3gx", token->peak);
        hw_table_number(table, "%.0f", token->peak_depth >= 0 ? token->peak_depth : NAN);
    }
    enum hw_status status = hw_table_end(&table, n, err);
    if (n > top) {
        (void)printf("  and %zu more (--top, --json)\n", n - top);
    }
    return status;
}

static void print_window(const struct hw_sinks *sinks) {
    const struct hw_sinks_secondary *s = &sinks->secondary;
    int32_t first = -1;
    int32_t end = -1;
    for (size_t i = 0; i < sinks->n_file_prompts; i++) {
        if (s->first_layer[i] >= 0) {
            first = first < 0 || s->first_layer[i] < first ? s->first_layer[i] : first;
            end = s->end_layer[i] > end ? s->end_layer[i] : end;
        }
    }
    if (first < 0) {
        (void)fputs("\nsecondary sinks: the first token's norm has no rise and fall\n", stdout);
        return;
    }
    (void)printf("\nsecondary sinks (|cosine| with the first token > %g, blocks %" PRId32
                 " to %" PRId32 "):",
                 sinks->options.cosine, first, end - 1);
    if (!s->has_labels) {
        (void)printf("\n%zu tokens, without labels: layers - 15 leaves no room above %zu in %zu "
                     "layers\n(--first-lifetime)\n",
                     s->n_tokens[HW_SINK_NONE], sinks->options.least_lifetime - 1, s->n_layers);
    } else {
        (void)printf("\n%zu secondary, %zu like the first (%zu layers or more), %zu noise\n",
                     s->n_tokens[HW_SINK_SECONDARY], s->n_tokens[HW_SINK_LIKE_FIRST],
                     s->first_lifetime, s->n_tokens[HW_SINK_NOISE]);
    }
    if (s->n_elsewhere > 0) {
        (void)printf("%zu prompts left out: their first sink is not position 0, the one that "
                     "cosines\nare recorded to\n",
                     s->n_elsewhere);
    }
}

static enum hw_status print_secondary(const struct hw_trace *trace, const struct hw_sinks *sinks,
                                      size_t top, struct hw_error *err) {
    size_t n = 0;
    if (sinks->secondary.why_not != NULL) {
        (void)printf("\nsecondary sinks: %s\n", sinks->secondary.why_not);
        return HW_OK;
    }
    print_window(sinks);
    struct hw_table *table =
        hw_table_open("<~prompt|at|<~token|<label|birth|layers|cosine|heads|drain|peak|depth");
    for (size_t i = 0; i < sinks->n_tokens; i++) {
        const struct hw_sink_token *token = &sinks->tokens[i];
        if (token->label < HW_SINK_SECONDARY || ++n > top) {
            continue;
        }
        hw_table_cell(table, "%s", hw_trace_prompt(trace, token->prompt)->name);
        hw_table_cell(table, "%" PRId32, token->position);
        hw_table_cell(table, "%s", token->text[0] != '\0' ? token->text : "-");
        hw_table_cell(table, "%s", hw_sink_label_name(token->label));
        hw_table_cell(table, "%" PRId32, token->birth_layer);
        hw_table_cell(table, "%" PRId32, token->lifetime);
        hw_table_number(table, "%.2f", token->cosine);
        hw_table_cell(table, "%zu", token->n_heads);
        hw_table_mean(table, "%.2f", &token->drains);
        hw_table_number(table, "%.3gx", token->peak);
        hw_table_number(table, "%.0f", token->peak_depth >= 0 ? token->peak_depth : NAN);
    }
    enum hw_status status = n > 0 ? hw_table_print(table, stdout, 2, err) : HW_OK;
    hw_table_close(&table);
    if (n > top) {
        (void)printf("  and %zu more (--top, --json)\n", n - top);
    }
    return status;
}

// Where the key/value head of a query head stands on the axis of kv heads, or n_kv_heads.
static size_t kv_of(const struct hw_trace *trace, const struct hw_sinks *sinks, size_t head) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    size_t group = layout->n_kv_heads > 0 ? layout->n_heads / layout->n_kv_heads : 0;
    size_t g = 0;
    while (g < sinks->n_kv_heads && group > 0 &&
           (size_t)sinks->kv_heads[g] != (size_t)sinks->heads[head] / group) {
        g++;
    }
    return g;
}

static enum hw_status print_heads(const struct hw_trace *trace, const struct hw_sinks *sinks,
                                  enum hw_sinks_gap gap, size_t top, struct hw_error *err) {
    static const struct hw_mean none;
    struct sinks_ranked *ranked = NULL;
    size_t n = 0;
    enum hw_status status = rank(sinks->alpha, sinks->n_layers * sinks->n_heads, &ranked, &n, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_table *table =
        hw_table_open("head|alpha|prompts above|row entropy|column entropy|gap|drain|W_O");
    for (size_t i = 0; i < n && i < top; i++) {
        size_t cell = ranked[i].at;
        size_t layer = cell / sinks->n_heads;
        size_t g = kv_of(trace, sinks, cell % sinks->n_heads);
        hw_table_cell(table, "%" PRId32 ".%" PRId32, sinks->layers[layer],
                      sinks->heads[cell % sinks->n_heads]);
        hw_table_cell(table, "%.5f", ranked[i].size);
        hw_table_cell(table, "%.0f %%", 100 * sinks->alpha_rate[cell]);
        hw_table_mean(table, "%.3f", &sinks->entropy_row[cell]);
        hw_table_mean(table, "%.3f", &sinks->entropy_column[cell]);
        hw_table_mean(table, "%.2f", gap < HW_SINKS_N_GAPS ? &sinks->gap[gap][cell] : &none);
        hw_table_mean(table, "%.2f",
                      g < sinks->n_kv_heads ? &sinks->drain[layer * sinks->n_kv_heads + g] : &none);
        hw_table_mean(table, "%.2f", &sinks->drain_projected[cell]);
    }
    free(ranked);
    if (sinks->options.keys[0] == 0) {
        (void)fputs("\nstrongest heads (mean alpha of the first token)\n", stdout);
    } else {
        (void)printf("\nstrongest heads (mean alpha of position %zu; gap, drain: first token)\n",
                     sinks->options.keys[0]);
    }
    if (sinks->options.keys[0] >= sinks->max_tokens) {
        (void)printf("  no prompt has a position %zu: the longest has T = %zu\n",
                     sinks->options.keys[0], sinks->max_tokens);
    }
    return hw_table_end(&table, n, err);
}

static enum hw_status print_layers(const struct hw_sinks *sinks, enum hw_sinks_gap gap,
                                   struct hw_error *err) {
    struct hw_table *table = hw_table_open("layer|sink heads|<share|drain|W_O|peak|/max|H|gap");
    for (size_t layer = 0; layer < sinks->n_layers; layer++) {
        char bar[BAR_COLUMNS + 1];
        static const struct hw_mean none;
        double share = hw_mean_value(&sinks->layer_first[layer]);
        int n = isnan(share) ? 0 : (int)(share * BAR_COLUMNS + .5);
        memset(bar, '#', (size_t)n);
        memset(bar + n, '.', (size_t)(BAR_COLUMNS - n));
        bar[BAR_COLUMNS] = '\0';
        hw_table_cell(table, "%" PRId32, sinks->layers[layer]);
        hw_table_number(table, "%.1f %%", 100 * share);
        hw_table_cell(table, "%s", bar);
        hw_table_mean(table, "%.2f", &sinks->layer_drain[layer]);
        hw_table_mean(table, "%.2f", &sinks->layer_drain_projected[layer]);
        const struct hw_mean *peak = &none;
        const struct hw_mean *over_max = &none;
        for (size_t d = 0; d < sinks->n_depths; d++) {
            if (sinks->depths[d] == sinks->layers[layer] + 1) {
                peak = &sinks->peak[d];
                over_max = &sinks->peak_over_max[d];
            }
        }
        hw_table_mean(table, "%.3gx", peak);
        hw_table_mean(table, "%.3gx", over_max);
        struct hw_mean entropy = sinks_over_heads(sinks->entropy_row, layer, sinks->n_heads);
        struct hw_mean gaps =
            sinks_over_heads(gap < HW_SINKS_N_GAPS ? sinks->gap[gap] : NULL, layer, sinks->n_heads);
        hw_table_mean(table, "%.3f", &entropy);
        hw_table_mean(table, "%.2f", &gaps);
    }
    (void)fputs(
        "\nby layer: heads with a sink at the first token; its value norm over the mean of\n"
        "the others, before (drain) and after the output projection (W_O); its residual\n"
        "norm after the block over the mean (peak) and over the largest of the others\n"
        "(/max); row entropy (H) and logit gap, means of the heads\n",
        stdout);
    return hw_table_end(&table, sinks->n_layers, err);
}

static void print_gaps(const struct hw_sinks *sinks, enum hw_sinks_gap gap) {
    static const char *const meanings[] = {
        "toy: score of the first token - mean of keys 1 .. i-1 of query i",
        "llm: score of the first token - mean of all T keys, before the mask",
        "seen: score of the first token - mean of the other keys seen"};
    if (!sinks->options.is_gap_wanted) {
        return;
    }
    (void)fputs("\nlogit gap: ", stdout);
    (void)fputs(gap < HW_SINKS_N_GAPS ? meanings[gap] : "-", stdout);
    for (int g = 0; g < HW_SINKS_N_GAPS; g++) {
        if (sinks->gap_why_not[g] != NULL) {
            (void)printf("\n  %s %s", hw_sinks_gap_name((enum hw_sinks_gap)g),
                         sinks->gap_why_not[g]);
        }
    }
    (void)fputc('\n', stdout);
}

enum hw_status hw_sinks_print(const struct hw_trace *trace, const struct hw_sinks *sinks,
                              enum hw_sinks_gap gap, size_t top, struct hw_error *err) {
    enum hw_status status = HW_OK;
    print_head(trace, sinks);
    if (sinks->n_prompts == 0) {
        return HW_OK;
    }
    status = print_positions(sinks, top, err);
    if (status == HW_OK && sinks->has_tokens) {
        status = print_tokens(trace, sinks, top, err);
    }
    if (status == HW_OK && sinks->has_tokens) {
        status = print_secondary(trace, sinks, top, err);
    }
    if (status == HW_OK) {
        status = print_heads(trace, sinks, gap, top, err);
    }
    if (status == HW_OK) {
        status = sinks_print_domains(sinks, top, err);
    }
    if (status == HW_OK) {
        status = print_layers(sinks, gap, err);
    }
    print_gaps(sinks, gap);
    return status;
}
