// `headwater outliers` as text; see outliers_report.h.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "analysis/measures.h"
#include "tools/help.h"
#include "tools/outliers_report.h"
#include "tools/report.h"
#include "tools/table_numbers.h"

static void print_head(const struct hw_outliers_report *r) {
    const struct hw_outliers *o = r->outliers;
    hw_print_text(hw_trace_path(r->trace));
    (void)printf(": %zu prompt%s", o->n_prompts, o->n_prompts == 1 ? "" : "s");
    if (o->n_skipped > 0) {
        (void)printf(" (%zu failed or of one token left out)", o->n_skipped);
    }
    if (o->min_tokens == o->max_tokens) {
        (void)printf(", T = %zu\n", o->max_tokens);
    } else {
        (void)printf(", T = %zu to %zu: means are over prompts of different length\n",
                     o->min_tokens, o->max_tokens);
    }
    if (o->n_prompts == 0) {
        (void)printf("no prompt has two tokens or more\n");
    }
}

// A table that the capture has no records for.
static void print_missing(const struct hw_outliers_report *r, const char *what,
                          const char *measure) {
    char text[HW_MEASURE_MISSING_BYTES];
    char line[HW_MEASURE_MISSING_BYTES + 100];
    hw_measure_missing(r->trace, measure, text, sizeof text);
    (void)snprintf(line, sizeof line, "%s: %s", what, text);
    (void)fputc('\n', stdout);
    hw_help_wrap(stdout, line, 0, 0, HW_HELP_COLUMNS);
}

static void cell_share(struct hw_table *table, double share) {
    hw_table_number(table, "%.0f%%", 100 * share);
}

// Magnitudes from hundredths to tens of thousands, in six columns.
static void cell_size(struct hw_table *table, double value) {
    hw_table_number(table, fabs(value) >= 100 ? "%.0f" : "%.3g", value);
}

static enum hw_status print_depths(const struct hw_outliers_report *r, struct hw_error *err) {
    const struct hw_outliers *o = r->outliers;
    struct hw_table *table =
        hw_table_open("depth|top 1|top 2|top 3|median|/median|C1|/mean|E1|at|channel");
    if (!o->has_states) {
        hw_table_close(&table);
        print_missing(r, "massive activations", "massive_activations");
        return HW_OK;
    }
    for (size_t d = 0; d < o->n_depths; d++) {
        const struct hw_outlier_depth *of = &o->by_depth[d];
        hw_table_cell(table, "%" PRId32, o->depths[d]);
        for (size_t i = 0; i < HW_OUTLIERS_TOP; i++) {
            cell_size(table, hw_mean_value(&of->top[i]));
        }
        hw_table_mean(table, "%.3g", &of->median);
        hw_table_mean(table, "%.0f", &of->median_ratio);
        cell_share(table, (double)of->n_median_prompts / (double)o->n_prompts);
        hw_table_mean(table, "%.0f", &of->mean_ratio);
        cell_share(table, o->has_norms ? (double)of->n_mean_prompts / (double)o->n_prompts : NAN);
        hw_table_number(table, "%.0f", of->position >= 0 ? of->position : NAN);
        hw_table_number(table, "%.0f", of->channel >= 0 ? of->channel : NAN);
    }
    (void)printf(
        "\nby depth (0: embedding): largest magnitudes and median of the state; prompts\nwith "
        "a massive activation (C1: > %g and at least %g medians) and with an\noutlier "
        "token (E1: above %g means); position and channel of the largest\n",
        o->options.least, o->options.ratio, o->options.mean_ratio);
    enum hw_status status = hw_table_end(&table, o->n_depths, err);
    if (o->is_from_top) {
        (void)fputs("  looser than what was recorded: only the largest few values of every state "
                    "are known\n",
                    stdout);
    }
    if (o->n_spoiled > 0) {
        (void)printf("  NaN or infinity in the states of %zu prompt%s: left out where it is\n",
                     o->n_spoiled, o->n_spoiled == 1 ? "" : "s");
    }
    if (o->n_dropped > 0) {
        (void)printf("  %zu massive activations were dropped when they were recorded\n",
                     o->n_dropped);
    }
    return status;
}

static size_t count_kind(const struct hw_outliers *o, enum hw_token_class token_class) {
    size_t n = 0;
    for (size_t i = 0; i < o->n_tokens; i++) {
        n += o->tokens[i].n_outlier > 0 && o->tokens[i].token_class == token_class;
    }
    return n;
}

static void print_joint(const struct hw_outliers *o) {
    if (o->has_states && o->has_attention) {
        (void)printf(
            "\ntokens with massive activations that are sinks: %zu, that are none: %zu; sinks\n"
            "without: %zu\n",
            o->n_both, o->n_massive_only, o->n_sink_only);
    }
    if (o->has_norms) {
        (void)fputs("outlier tokens (E1) by kind: ", stdout);
        for (int kind = 0; kind < HW_N_TOKEN_CLASSES; kind++) {
            size_t n = count_kind(o, (enum hw_token_class)kind);
            if (kind != HW_TOKEN_UNKNOWN || n > 0) {
                (void)printf("%s%zu %s", kind > 0 ? ", " : "", n,
                             hw_token_class_name((enum hw_token_class)kind));
            }
        }
        (void)fputc('\n', stdout);
    }
}

static enum hw_status print_tokens(const struct hw_outliers_report *r, struct hw_error *err) {
    const struct hw_outliers *o = r->outliers;
    struct hw_table *table =
        hw_table_open("<~prompt|at|<~token|<kind|C1|value|channel|/median|E1|E3|sink");
    static const char *const kinds[] = {"initial", "delimiter", "weak", "other", "-"};
    for (size_t i = 0; i < o->n_tokens && i < r->top; i++) {
        const struct hw_outlier_token *t = &o->tokens[i];
        hw_table_cell(table, "%s", hw_trace_prompt(r->trace, t->prompt)->name);
        hw_table_cell(table, "%" PRId32, t->position);
        hw_table_cell(table, "%s", t->text[0] != '\0' ? t->text : "-");
        hw_table_cell(table, "%s", kinds[t->token_class]);
        hw_table_cell(table, "%zu", t->n_massive);
        cell_size(table, t->value);
        hw_table_number(table, "%.0f", t->channel >= 0 ? t->channel : NAN);
        hw_table_number(table, "%.0f", t->ratio);
        hw_table_cell(table, "%zu", t->n_outlier);
        hw_table_cell(table, "%zu", t->n_attention);
        if (t->is_sink) {
            cell_share(table, t->sink_share);
        } else {
            hw_table_cell(table, "%s", o->has_attention ? "no" : "-");
        }
    }
    (void)fputs("\nthe tokens: depths with a massive activation (C1) and the largest of them;\n"
                "depths as an outlier token (E1); layers as an attention outlier (E3); heads\n"
                "with a sink there\n",
                stdout);
    enum hw_status status = hw_table_end(&table, o->n_tokens, err);
    if (o->n_tokens > r->top) {
        (void)printf("  and %zu more (--top, --json)\n", o->n_tokens - r->top);
    }
    return status;
}

// One channel over all depths.
struct channel {
    size_t at;
    int64_t n_massive;
    size_t n_depths; // with a massive activation
    double largest;
    size_t depth;
};

static int compare_channels(const void *a, const void *b) {
    const struct channel *x = a;
    const struct channel *y = b;
    double x_size = fabs(x->largest);
    double y_size = fabs(y->largest);
    return x_size != y_size ? (x_size < y_size ? 1 : -1) : (x->at > y->at) - (x->at < y->at);
}

static enum hw_status print_channels(const struct hw_outliers_report *r, struct hw_error *err) {
    const struct hw_outliers *o = r->outliers;
    struct channel *channels = calloc(o->n_channels + 1, sizeof *channels);
    if (channels == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu channels", o->n_channels);
    }
    for (size_t c = 0; c < o->n_channels; c++) {
        channels[c] = (struct channel){.at = c};
        for (size_t d = 0; d < o->n_depths; d++) {
            size_t cell = d * o->n_channels + c;
            channels[c].n_massive += o->channel_counts[cell];
            channels[c].n_depths += o->channel_counts[cell] > 0;
            if (fabs(o->channel_largest[cell]) > fabs(channels[c].largest)) {
                channels[c].largest = o->channel_largest[cell];
                channels[c].depth = d;
            }
        }
    }
    qsort(channels, o->n_channels, sizeof *channels, compare_channels);
    struct hw_table *table = hw_table_open("channel|largest|at depth|massive|depths");
    for (size_t i = 0; i < o->n_channels && i < r->top; i++) {
        hw_table_cell(table, "%" PRId32, o->channels[channels[i].at]);
        hw_table_cell(table, "%.5g", channels[i].largest);
        hw_table_cell(table, "%" PRId32, o->depths[channels[i].depth]);
        hw_table_cell(table, "%" PRId64, channels[i].n_massive);
        hw_table_cell(table, "%zu", channels[i].n_depths);
    }
    free(channels);
    (void)fputs("\nthe channels: largest activation, massive ones of all prompts and depths\n",
                stdout);
    return hw_table_end(&table, o->n_channels, err);
}

static enum hw_status print_layers(const struct hw_outliers_report *r, struct hw_error *err) {
    const struct hw_outliers *o = r->outliers;
    if (!o->has_attention) {
        print_missing(r, "attention outliers", "attention_outliers");
        return HW_OK;
    }
    struct hw_table *table = hw_table_open("layer|outlier keys|largest|second|median");
    for (size_t l = 0; l < o->n_layers; l++) {
        hw_table_cell(table, "%" PRId32, o->layers[l]);
        hw_table_mean(table, "%.2f", &o->by_layer[l].n_keys);
        hw_table_mean(table, "%.4f", &o->by_layer[l].top[0]);
        hw_table_mean(table, "%.4f", &o->by_layer[l].top[1]);
        hw_table_mean(table, "%.5f", &o->by_layer[l].median);
    }
    (void)printf(
        "\nattention by layer: what keys get from all queries, as a share of T, mean of the\n"
        "heads; keys with at least %g are outliers (E3)\n",
        o->options.attention_share);
    return hw_table_end(&table, o->n_layers, err);
}

// E2: the input of down_proj.
static enum hw_status print_neurons(const struct hw_outliers_report *r, struct hw_error *err) {
    const struct hw_outliers *o = r->outliers;
    if (!o->has_neurons) {
        print_missing(r, "neurons", "neuron_outliers");
        return HW_OK;
    }
    struct hw_table *table =
        hw_table_open("layer|top 1|top 2|top 3|median|/median|at|neuron|max|second|max");
    for (size_t l = 0; l < o->n_mlp_layers; l++) {
        const struct hw_outlier_mlp *of = &o->by_mlp_layer[l];
        hw_table_cell(table, "%" PRId32, o->mlp_layers[l]);
        for (size_t i = 0; i < HW_OUTLIERS_TOP; i++) {
            cell_size(table, hw_mean_value(&of->top[i]));
        }
        hw_table_mean(table, "%.3g", &of->median);
        hw_table_mean(table, "%.0f", &of->median_ratio);
        hw_table_number(table, "%.0f", of->position >= 0 ? of->position : NAN);
        for (size_t i = 0; i < HW_OUTLIERS_NEURONS; i++) {
            int32_t neuron = of->neuron[i];
            const struct hw_mean *max = &o->neuron_max[l * o->n_neurons + (size_t)neuron];
            hw_table_number(table, "%.0f", neuron >= 0 ? neuron : NAN);
            cell_size(table, neuron >= 0 ? hw_mean_value(max) : NAN);
        }
    }
    (void)fputs(
        "\nneurons by layer (E2): largest magnitudes and median of the input of down_proj,\n"
        "position of the largest; the two neurons with the largest maximum over tokens\n",
        stdout);
    enum hw_status status = hw_table_end(&table, o->n_mlp_layers, err);
    if (o->n_mlp_missing > 0) {
        (void)printf("  over the %zu tokens that were recorded (--positions), of %zu\n",
                     o->n_mlp_tokens, o->n_mlp_tokens + o->n_mlp_missing);
    }
    if (o->n_mlp_spoiled > 0) {
        (void)printf("  NaN or infinity in the neurons of %zu prompt%s: left out where it is\n",
                     o->n_mlp_spoiled, o->n_mlp_spoiled == 1 ? "" : "s");
    }
    return status;
}

static enum hw_status print_weights(const struct hw_outliers_report *r, struct hw_error *err) {
    if (r->weights == NULL) {
        return HW_OK;
    }
    struct hw_table *table = hw_table_open("layer|q|k|v|o|gate|up|down|mean|neuron|first|median");
    for (size_t l = 0; l < r->n_weight_layers; l++) {
        const struct hw_weight_layer *w = &r->weights[l];
        hw_table_cell(table, "%zu", l);
        for (size_t m = 0; m < HW_WEIGHT_MODULES; m++) {
            hw_table_number(table, "%.1f", w->modules[m].exists ? w->modules[m].score : NAN);
        }
        hw_table_cell(table, "%.1f", w->score_mean);
        hw_table_cell(table, "%zu", w->down_neuron[0]);
        hw_table_cell(table, "%.1f", w->down_max);
        hw_table_cell(table, "%.1f", w->down_median);
    }
    (void)fputs(
        "\nweights (E4): largest max |w| / mean |w| of a row or column, by matrix, and\n"
        "their mean; of the columns of down (neurons) the first, its ratio and the median\n",
        stdout);
    return hw_table_end(&table, r->n_weight_layers, err);
}

enum hw_status hw_outliers_print(const struct hw_outliers_report *r, struct hw_error *err) {
    enum hw_status status = HW_OK;
    print_head(r);
    if (r->outliers->n_prompts > 0) {
        status = print_depths(r, err);
        print_joint(r->outliers);
        if (status == HW_OK) {
            status = print_tokens(r, err);
        }
        if (status == HW_OK && r->outliers->has_states) {
            status = print_channels(r, err);
        }
        if (status == HW_OK) {
            status = print_layers(r, err);
        }
        if (status == HW_OK) {
            status = print_neurons(r, err);
        }
    }
    return status == HW_OK ? print_weights(r, err) : status;
}
