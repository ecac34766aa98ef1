// `headwater outliers` as a result; see outliers_report.h.
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"
#include "tools/outliers_report.h"

enum { MAX_WIDTH = 1 << 20 };

#define COLUMN(name, kind, field, long_name, units, description)                                   \
    { name, kind, offsetof(struct hw_outlier_token, field), long_name, units, description }

static const struct hw_column token_columns[] = {
    COLUMN("prompt", HW_COLUMN_COUNT, prompt, "prompt of the token", "1",
           "Place of the prompt in the capture, from 0."),
    COLUMN("position", HW_COLUMN_INT, position, "position in the prompt", "1", "From 0."),
    COLUMN("id", HW_COLUMN_INT, id, "token id", "1", "Id of the token in the vocabulary."),
    COLUMN("text", HW_COLUMN_TEXT, text, "text of the token", "1", "As the capture shows it."),
    COLUMN("n_massive", HW_COLUMN_COUNT, n_massive, "depths with a massive activation", "1",
           "Depths with |x| > least and |x| >= ratio x median."),
    COLUMN("first_depth", HW_COLUMN_INT, first_depth, "first of these depths", "1", "-1: none."),
    COLUMN("last_depth", HW_COLUMN_INT, last_depth, "last of these depths", "1", "-1: none."),
    COLUMN("value", HW_COLUMN_REAL, value, "largest massive activation", "1", "Signed."),
    COLUMN("ratio", HW_COLUMN_REAL, ratio, "its ratio to the median", "1", "|x| / median."),
    COLUMN("depth", HW_COLUMN_INT, depth, "its depth", "1", "-1: none."),
    COLUMN("channel", HW_COLUMN_INT, channel, "its channel", "1", "-1: none."),
    COLUMN("n_outlier", HW_COLUMN_COUNT, n_outlier, "depths as an outlier token", "1",
           "Depths with max |x| > mean_ratio x mean |x|."),
    COLUMN("n_attention", HW_COLUMN_COUNT, n_attention, "layers as an attention outlier", "1",
           "Layers with a column sum of at least attention_share x T, mean of the heads."),
    COLUMN("is_sink", HW_COLUMN_BOOL, is_sink, "an attention sink", "1",
           "1 where alpha > epsilon in at least `share` of the heads."),
    COLUMN("sink_share", HW_COLUMN_REAL, sink_share, "share of heads with a sink here", "1",
           "NaN where it is no sink."),
};

const struct hw_column *hw_outliers_token_columns(size_t *ret_n) {
    *ret_n = sizeof token_columns / sizeof *token_columns;
    return token_columns;
}

// What every step of the filling needs; the first failure ends it.
struct filling {
    const struct hw_outliers_report *report;
    const struct hw_outliers *o;
    struct hw_result *result;
    enum hw_status status;
    struct hw_error *err;
};

static void *take(struct filling *f, size_t n, size_t bytes) {
    void *block = calloc(hw_size_max(n, 1), bytes);
    if (block == NULL && f->status == HW_OK) {
        f->status = hw_fail(f->err, HW_RESOURCE, "not enough memory for %zu values", n);
    }
    return block;
}

static void add_options(struct filling *f) {
    const struct hw_outliers *o = f->o;
    hw_result_set_real(f->result, "least", o->options.least);
    hw_result_set_real(f->result, "ratio", o->options.ratio);
    hw_result_set_real(f->result, "mean_ratio", o->options.mean_ratio);
    hw_result_set_real(f->result, "attention_share", o->options.attention_share);
    hw_result_set_real(f->result, "epsilon", o->options.epsilon);
    hw_result_set_real(f->result, "share", o->options.share);
    hw_result_set_integer(f->result, "least_rows", (int64_t)o->options.least_rows);
    hw_result_set_integer(f->result, "prompts", (int64_t)o->n_prompts);
    hw_result_set_integer(f->result, "skipped", (int64_t)o->n_skipped);
    hw_result_set_integer(f->result, "T_min", (int64_t)o->min_tokens);
    hw_result_set_integer(f->result, "T_max", (int64_t)o->max_tokens);
    hw_result_set_integer(f->result, "dropped", (int64_t)o->n_dropped);
    hw_result_set_integer(f->result, "spoiled", (int64_t)o->n_spoiled);
    if (o->has_neurons) {
        hw_result_set_integer(f->result, "mlp_tokens", (int64_t)o->n_mlp_tokens);
        hw_result_set_integer(f->result, "mlp_tokens_missing", (int64_t)o->n_mlp_missing);
        hw_result_set_integer(f->result, "mlp_spoiled", (int64_t)o->n_mlp_spoiled);
    }
    hw_result_set_integer(f->result, "from_largest_only", o->is_from_top);
}

// Means of one member of the depths or layers, n structs of `stride` bytes.
static void add_members(struct filling *f, const struct hw_result_field *field, const void *first,
                        size_t n, size_t stride) {
    struct hw_mean *means = take(f, n, sizeof *means);
    for (size_t i = 0; i < n && means != NULL; i++) {
        means[i] = *(const struct hw_mean *)((const char *)first + i * stride);
    }
    if (f->status == HW_OK) {
        f->status = hw_result_add_means(f->result, field, means, n, 1, f->err);
    }
    free(means);
}

static void add_depth_mean(struct filling *f, const char *name, size_t offset,
                           const char *description) {
    struct hw_result_field field = {name, HW_RESULT_REAL, {"depth"}, name, "1", description};
    add_members(f, &field, (const char *)f->o->by_depth + offset, f->o->n_depths,
                sizeof *f->o->by_depth);
}

static void add_depth_count(struct filling *f, const char *name, size_t offset,
                            const char *description) {
    struct hw_result_field field = {name, HW_RESULT_INTEGER, {"depth"}, name, "1", description};
    int64_t *counts = take(f, f->o->n_depths, sizeof *counts);
    for (size_t i = 0; i < f->o->n_depths && counts != NULL; i++) {
        counts[i] = (int64_t) * (const size_t *)((const char *)&f->o->by_depth[i] + offset);
    }
    if (counts != NULL) {
        hw_result_add(f->result, &field, counts);
    }
    free(counts);
}

static void add_top(struct filling *f) {
    static const int32_t ranks[HW_OUTLIERS_TOP] = {0, 1, 2};
    const struct hw_outliers *o = f->o;
    struct hw_mean *means = take(f, o->n_depths * HW_OUTLIERS_TOP, sizeof *means);
    struct hw_result_field field = {"state_top",
                                    HW_RESULT_REAL,
                                    {"depth", "rank"},
                                    "largest magnitudes",
                                    "1",
                                    "Mean over prompts of the largest |x|."};
    hw_result_axis(f->result, "rank", HW_OUTLIERS_TOP, ranks, NULL, "rank, the largest first");
    for (size_t i = 0; i < o->n_depths * HW_OUTLIERS_TOP && means != NULL; i++) {
        means[i] = o->by_depth[i / HW_OUTLIERS_TOP].top[i % HW_OUTLIERS_TOP];
    }
    if (f->status == HW_OK) {
        f->status =
            hw_result_add_means(f->result, &field, means, o->n_depths * HW_OUTLIERS_TOP, 1, f->err);
    }
    free(means);
}

static void add_classes(struct filling *f) {
    const struct hw_outliers *o = f->o;
    const char *names[HW_N_TOKEN_CLASSES];
    int64_t *counts = take(f, o->n_depths * HW_N_TOKEN_CLASSES, sizeof *counts);
    struct hw_result_field field = {
        "outlier_tokens",
        HW_RESULT_INTEGER,
        {"depth", "token_class"},
        "outlier tokens by kind",
        "1",
        "Tokens of all prompts with max |x| > mean_ratio x mean |x| of the state."};
    for (int i = 0; i < HW_N_TOKEN_CLASSES; i++) {
        names[i] = hw_token_class_name((enum hw_token_class)i);
    }
    hw_result_axis(f->result, "token_class", HW_N_TOKEN_CLASSES, NULL, names, "kind of token");
    for (size_t i = 0; i < o->n_depths * HW_N_TOKEN_CLASSES && counts != NULL; i++) {
        counts[i] = (int64_t)o->by_depth[i / HW_N_TOKEN_CLASSES].n_tokens[i % HW_N_TOKEN_CLASSES];
    }
    if (counts != NULL && o->has_norms) {
        hw_result_add(f->result, &field, counts);
    }
    free(counts);
}

static void add_depths(struct filling *f) {
    const struct hw_outliers *o = f->o;
    hw_result_axis(f->result, "depth", o->n_depths, o->depths, NULL, "residual stream point");
    if (!o->has_states) {
        return;
    }
    add_top(f);
    add_depth_mean(f, "state_median", offsetof(struct hw_outlier_depth, median),
                   "Mean over prompts of the lower median of |x|.");
    add_depth_mean(f, "state_mean_abs", offsetof(struct hw_outlier_depth, mean_abs),
                   "Mean over prompts of the mean of |x|.");
    add_depth_mean(f, "median_ratio", offsetof(struct hw_outlier_depth, median_ratio),
                   "Mean over prompts of max |x| / median |x|.");
    add_depth_mean(f, "mean_ratio", offsetof(struct hw_outlier_depth, mean_ratio),
                   "Mean over prompts of max |x| / mean |x|.");
    add_depth_count(f, "massive_prompts", offsetof(struct hw_outlier_depth, n_median_prompts),
                    "Prompts with a massive activation at this depth.");
    add_depth_count(f, "massive_count", offsetof(struct hw_outlier_depth, n_massive),
                    "Massive activations of all prompts at this depth.");
    if (o->has_norms) {
        add_depth_count(f, "outlier_prompts", offsetof(struct hw_outlier_depth, n_mean_prompts),
                        "Prompts with an outlier token at this depth.");
    }
    add_classes(f);
}

// The width of the residual stream, from the model's own metadata (any of its spellings), or 0.
static size_t find_width(const struct hw_outliers_report *report) {
    static const char *const names[] = {"hidden_size", "n_embd", "d_model"};
    static const char gguf[] = ".embedding_length";
    char **texts = NULL;
    int64_t width = 0;
    if (!hw_trace_has(report->trace, HW_DS_PROVENANCE_MODEL_METADATA_JSON) ||
        hw_trace_read_text(report->trace, HW_DS_PROVENANCE_MODEL_METADATA_JSON, 0, 1, &texts,
                           NULL) != HW_OK) {
        return 0;
    }
    json_t *metadata = json_loads(texts[0], 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        size_t n = strlen(key);
        bool is_width = n > sizeof gguf && strcmp(key + n - (sizeof gguf - 1), gguf) == 0;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            is_width = is_width || strcmp(key, names[i]) == 0;
        }
        width = is_width && json_is_integer(value) ? json_integer_value(value) : width;
    }
    json_decref(metadata);
    hw_trace_free_text(texts, 1);
    return width > 0 && width <= MAX_WIDTH ? (size_t)width : 0;
}

// All channels, so that captures of one model have the same axis; only those known where the width
// of the model is not.
static void add_channels(struct filling *f) {
    const struct hw_outliers *o = f->o;
    size_t width = find_width(f->report);
    bool is_whole =
        width > 0 && (o->n_channels == 0 || (size_t)o->channels[o->n_channels - 1] < width);
    size_t n = is_whole ? width : o->n_channels;
    int32_t *numbers = take(f, n, sizeof *numbers);
    double *largest = take(f, n * o->n_depths, sizeof *largest);
    int64_t *counts = take(f, n * o->n_depths, sizeof *counts);
    struct hw_result_field field = {
        "outlier_channel",
        HW_RESULT_REAL,
        {"depth", "channel"},
        "largest activation of the channel",
        "1",
        "Signed, over all prompts; NaN where the channel is never among the largest of a state."};
    if (numbers != NULL && largest != NULL && counts != NULL) {
        for (size_t c = 0; c < n; c++) {
            numbers[c] = is_whole ? (int32_t)c : o->channels[c];
        }
        for (size_t i = 0; i < n * o->n_depths; i++) {
            largest[i] = NAN;
        }
        for (size_t i = 0; i < o->n_channels * o->n_depths; i++) {
            size_t c = i % o->n_channels;
            size_t at = i / o->n_channels * n + (is_whole ? (size_t)o->channels[c] : c);
            largest[at] = o->channel_largest[i];
            counts[at] = o->channel_counts[i];
        }
        hw_result_axis(f->result, "channel", n, numbers, NULL, "channel of the residual stream");
        hw_result_add(f->result, &field, largest);
        field.name = "outlier_channel_count";
        field.type = HW_RESULT_INTEGER;
        field.long_name = "massive activations of the channel";
        field.description = "Massive activations of all prompts.";
        hw_result_add(f->result, &field, counts);
    }
    free(numbers);
    free(largest);
    free(counts);
}

static void add_layer_mean(struct filling *f, const char *name, size_t offset,
                           const char *description) {
    struct hw_result_field field = {name, HW_RESULT_REAL, {"layer"}, name, "1", description};
    add_members(f, &field, (const char *)f->o->by_layer + offset, f->o->n_layers,
                sizeof *f->o->by_layer);
}

static void add_layers(struct filling *f) {
    const struct hw_outliers *o = f->o;
    struct hw_result_field share = {"attention_outlier_share",
                                    HW_RESULT_REAL,
                                    {"layer", "head"},
                                    "attention on attention outliers",
                                    "1",
                                    "Mean over prompts of sum over outlier keys of S_k / sum of S, "
                                    "S the column sums of the head."};
    if (!o->has_attention) {
        return;
    }
    hw_result_axis(f->result, "layer", o->n_layers, o->layers, NULL, "layer");
    hw_result_axis(f->result, "head", o->n_heads, o->heads, NULL, "query head");
    add_layer_mean(
        f, "attention_outlier_keys", offsetof(struct hw_outlier_layer, n_keys),
        "Mean over prompts of the number of keys with a column sum >= attention_share T.");
    add_layer_mean(f, "column_sum_first", offsetof(struct hw_outlier_layer, top[0]),
                   "Mean over prompts of the largest column sum / T, mean of the heads.");
    add_layer_mean(f, "column_sum_second", offsetof(struct hw_outlier_layer, top[1]),
                   "Mean over prompts of the second largest column sum / T.");
    add_layer_mean(f, "column_sum_median", offsetof(struct hw_outlier_layer, median),
                   "Mean over prompts of the lower median of the column sums / T.");
    if (f->status == HW_OK) {
        f->status = hw_result_add_means(f->result, &share, o->head_share, o->n_layers * o->n_heads,
                                        1, f->err);
    }
}

static void add_mlp_tops(struct filling *f) {
    static const int32_t ranks[HW_OUTLIERS_TOP] = {0, 1, 2};
    const struct hw_outliers *o = f->o;
    size_t n = o->n_mlp_layers * HW_OUTLIERS_TOP;
    struct hw_mean *means = take(f, n, sizeof *means);
    struct hw_result_field field = {"mlp_top",
                                    HW_RESULT_REAL,
                                    {"mlp_layer", "rank"},
                                    "largest magnitudes",
                                    "1",
                                    "Mean over prompts of the largest |x| of the input of down."};
    if (!o->has_states) { // else it is there
        hw_result_axis(f->result, "rank", HW_OUTLIERS_TOP, ranks, NULL, "rank, the largest first");
    }
    for (size_t i = 0; i < n && means != NULL; i++) {
        means[i] = o->by_mlp_layer[i / HW_OUTLIERS_TOP].top[i % HW_OUTLIERS_TOP];
    }
    if (f->status == HW_OK) {
        f->status = hw_result_add_means(f->result, &field, means, n, 1, f->err);
    }
    free(means);
}

static void add_neurons(struct filling *f) {
    const struct hw_outliers *o = f->o;
    struct hw_result_field median = {
        "mlp_median",  HW_RESULT_REAL,
        {"mlp_layer"}, "median magnitude",
        "1",           "Mean over prompts of the lower median of |x|."};
    struct hw_result_field ratio = {"mlp_median_ratio",
                                    HW_RESULT_REAL,
                                    {"mlp_layer"},
                                    "largest magnitude over the median",
                                    "1",
                                    "Mean over prompts of max |x| / median |x|."};
    struct hw_result_field max = {"neuron_max",
                                  HW_RESULT_REAL,
                                  {"mlp_layer", "neuron"},
                                  "largest magnitude of the neuron",
                                  "1",
                                  "Mean over prompts of the maximum over tokens of |x|."};
    if (!o->has_neurons) {
        return;
    }
    hw_result_axis(f->result, "mlp_layer", o->n_mlp_layers, o->mlp_layers, NULL,
                   "layer of the recorded neurons");
    int32_t *numbers = take(f, o->n_neurons, sizeof *numbers);
    for (size_t i = 0; i < o->n_neurons && numbers != NULL; i++) {
        numbers[i] = (int32_t)i;
    }
    hw_result_axis(f->result, "neuron", o->n_neurons, numbers, NULL, "neuron of the MLP");
    free(numbers);
    add_mlp_tops(f);
    add_members(f, &median, &o->by_mlp_layer[0].median, o->n_mlp_layers, sizeof *o->by_mlp_layer);
    add_members(f, &ratio, &o->by_mlp_layer[0].median_ratio, o->n_mlp_layers,
                sizeof *o->by_mlp_layer);
    if (f->status == HW_OK) {
        f->status = hw_result_add_means(f->result, &max, o->neuron_max,
                                        o->n_mlp_layers * o->n_neurons, 1, f->err);
    }
}

static void add_tokens(struct filling *f) {
    const struct hw_outliers *o = f->o;
    const char **kinds = take(f, o->n_tokens, sizeof *kinds);
    struct hw_result_field field = {
        "outlier_token_class",    HW_RESULT_TEXT, {"outlier_token"}, "kind of the token", "1",
        "By fixed lists of ours."};
    if (kinds == NULL) {
        return;
    }
    f->status =
        hw_result_add_table(f->result, "outlier_token", o->tokens, o->n_tokens, sizeof *o->tokens,
                            token_columns, sizeof token_columns / sizeof *token_columns, f->err);
    for (size_t i = 0; i < o->n_tokens; i++) {
        kinds[i] = hw_token_class_name(o->tokens[i].token_class);
    }
    hw_result_add(f->result, &field, kinds);
    free(kinds);
}

static void add_weight_lines(struct filling *f) {
    size_t n = f->report->n_weight_layers;
    static const char *const names[] = {"weight_score_mean", "down_ratio_max", "down_ratio_median"};
    static const char *const descriptions[] = {
        "Mean over the modules of weight_score.", "Largest ratio of a column of down.",
        "Lower median of the ratios of the columns of down."};
    double *values = take(f, n, sizeof *values);
    for (size_t line = 0; line < 3 && values != NULL; line++) {
        struct hw_result_field field = {
            names[line], HW_RESULT_REAL, {"model_layer"}, names[line], "1", descriptions[line]};
        for (size_t l = 0; l < n; l++) {
            const struct hw_weight_layer *w = &f->report->weights[l];
            values[l] = line == 0 ? w->score_mean : line == 1 ? w->down_max : w->down_median;
        }
        hw_result_add(f->result, &field, values);
    }
    free(values);
}

static void add_weights(struct filling *f) {
    size_t n = f->report->n_weight_layers;
    const char *modules[HW_WEIGHT_MODULES];
    double *values = take(f, n * HW_WEIGHT_MODULES, sizeof *values);
    int32_t *numbers = take(f, n, sizeof *numbers);
    if (n == 0 || values == NULL || numbers == NULL) {
        free(values);
        free(numbers);
        return;
    }
    for (size_t m = 0; m < HW_WEIGHT_MODULES; m++) {
        modules[m] = hw_weight_module_name(m);
    }
    for (size_t l = 0; l < n; l++) {
        numbers[l] = (int32_t)l;
    }
    hw_result_axis(f->result, "model_layer", n, numbers, NULL, "layer of the model");
    hw_result_axis(f->result, "module", HW_WEIGHT_MODULES, NULL, modules, "matrix of the layer");
    static const char *const names[] = {"weight_row_ratio", "weight_column_ratio", "weight_score"};
    static const char *const descriptions[] = {
        "Largest over rows of max |w| / (mean |w| + 1e-8).",
        "Largest over columns of max |w| / (mean |w| + 1e-8).", "The larger of the two."};
    for (size_t side = 0; side < 3; side++) {
        struct hw_result_field field = {
            names[side], HW_RESULT_REAL,    {"model_layer", "module"}, names[side],
            "1",         descriptions[side]};
        for (size_t i = 0; i < n * HW_WEIGHT_MODULES; i++) {
            const struct hw_weight_ratios *r =
                &f->report->weights[i / HW_WEIGHT_MODULES].modules[i % HW_WEIGHT_MODULES];
            values[i] = !r->exists  ? NAN
                        : side == 0 ? r->row_max
                        : side == 1 ? r->column_max
                                    : r->score;
        }
        hw_result_add(f->result, &field, values);
    }
    free(values);
    free(numbers);
    add_weight_lines(f);
}

enum hw_status hw_outliers_fill(const struct hw_outliers_report *report, struct hw_result *result,
                                struct hw_error *err) {
    struct filling f = {report, report->outliers, result, HW_OK, err};
    static void (*const steps[])(struct filling *) = {
        add_options, add_depths, add_channels, add_layers, add_neurons, add_tokens, add_weights};
    for (size_t i = 0; i < sizeof steps / sizeof *steps && f.status == HW_OK; i++) {
        steps[i](&f);
    }
    return f.status == HW_OK ? hw_result_status(result, err) : f.status;
}
