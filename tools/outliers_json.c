// `headwater outliers` as JSON; see outliers_report.h.
#include <stdlib.h>

#include "kernels/size.h"
#include "tools/analysis_command.h"
#include "tools/outliers_report.h"
#include "tools/report.h"

static json_t *tokens_json(const struct hw_outliers_report *r) {
    json_t *list = json_array();
    size_t n_columns;
    const struct hw_column *columns = hw_outliers_token_columns(&n_columns);
    for (size_t i = 0; i < r->outliers->n_tokens; i++) {
        const struct hw_outlier_token *token = &r->outliers->tokens[i];
        const struct hw_trace_prompt *prompt = hw_trace_prompt(r->trace, token->prompt);
        json_t *item = hw_columns_json(token, columns, n_columns);
        (void)json_object_set_new(item, "prompt", json_integer(prompt->prompt));
        (void)json_object_set_new(item, "name", hw_json_text(prompt->name));
        (void)json_object_set_new(item, "T", json_integer((json_int_t)prompt->n_prompt_tokens));
        (void)json_object_set_new(item, "class",
                                  json_string(hw_token_class_name(token->token_class)));
        (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *depths_json(const struct hw_outliers *o) {
    json_t *list = json_array();
    for (size_t d = 0; d < o->n_depths; d++) {
        const struct hw_outlier_depth *of = &o->by_depth[d];
        (void)json_array_append_new(
            list,
            json_pack("{s:i, s:[o, o, o], s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:i, s:i}", "depth",
                      o->depths[d], "top", hw_json_real(hw_mean_value(&of->top[0])),
                      hw_json_real(hw_mean_value(&of->top[1])),
                      hw_json_real(hw_mean_value(&of->top[2])), "median",
                      hw_json_real(hw_mean_value(&of->median)), "mean_abs",
                      hw_json_real(hw_mean_value(&of->mean_abs)), "median_ratio",
                      hw_json_real(hw_mean_value(&of->median_ratio)), "mean_ratio",
                      hw_json_real(hw_mean_value(&of->mean_ratio)), "massive_prompts",
                      (json_int_t)of->n_median_prompts, "massive", (json_int_t)of->n_massive,
                      "outlier_prompts",
                      o->has_norms ? json_integer((json_int_t)of->n_mean_prompts) : json_null(),
                      "position", of->position, "channel", of->channel));
    }
    return list;
}

static json_t *neurons_json(const struct hw_outliers *o) {
    json_t *list = json_array();
    for (size_t l = 0; l < o->n_mlp_layers; l++) {
        const struct hw_outlier_mlp *of = &o->by_mlp_layer[l];
        json_t *neurons = json_array();
        for (size_t i = 0; i < HW_OUTLIERS_NEURONS && of->neuron[i] >= 0; i++) {
            size_t cell = l * o->n_neurons + (size_t)of->neuron[i];
            (void)json_array_append_new(
                neurons, json_pack("{s:i, s:o}", "neuron", of->neuron[i], "max",
                                   hw_json_real(hw_mean_value(&o->neuron_max[cell]))));
        }
        (void)json_array_append_new(
            list, json_pack("{s:i, s:[o, o, o], s:o, s:o, s:i, s:o}", "layer", o->mlp_layers[l],
                            "top", hw_json_real(hw_mean_value(&of->top[0])),
                            hw_json_real(hw_mean_value(&of->top[1])),
                            hw_json_real(hw_mean_value(&of->top[2])), "median",
                            hw_json_real(hw_mean_value(&of->median)), "median_ratio",
                            hw_json_real(hw_mean_value(&of->median_ratio)), "position",
                            of->position, "neurons", neurons));
    }
    return list;
}

static json_t *weights_json(const struct hw_outliers_report *r) {
    json_t *list = json_array();
    for (size_t l = 0; l < r->n_weight_layers; l++) {
        const struct hw_weight_layer *w = &r->weights[l];
        json_t *modules = json_object();
        json_t *neurons = json_array();
        for (size_t m = 0; m < HW_WEIGHT_MODULES; m++) {
            const struct hw_weight_ratios *ratios = &w->modules[m];
            (void)json_object_set_new(modules, hw_weight_module_name(m),
                                      !ratios->exists
                                          ? json_null()
                                          : json_pack("{s:o, s:o, s:I, s:o, s:I}", "score",
                                                      hw_json_real(ratios->score), "row_ratio",
                                                      hw_json_real(ratios->row_max), "row",
                                                      (json_int_t)ratios->row, "column_ratio",
                                                      hw_json_real(ratios->column_max), "column",
                                                      (json_int_t)ratios->column));
        }
        for (size_t i = 0; i < HW_WEIGHT_TOP; i++) {
            (void)json_array_append_new(neurons, json_pack("{s:I, s:o}", "neuron",
                                                           (json_int_t)w->down_neuron[i], "ratio",
                                                           hw_json_real(w->down_top[i])));
        }
        (void)json_array_append_new(
            list, json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "layer", (json_int_t)l, "modules",
                            modules, "score_mean", hw_json_real(w->score_mean), "down_max",
                            hw_json_real(w->down_max), "down_median", hw_json_real(w->down_median),
                            "down_neurons", neurons));
    }
    return list;
}

static json_t *heads_json(const struct hw_outliers *o) {
    size_t n_cells = o->n_layers * o->n_heads;
    double *scores = calloc(hw_size_max(n_cells, 1), sizeof *scores);
    for (size_t i = 0; i < n_cells && scores != NULL; i++) {
        scores[i] = hw_mean_value(&o->head_share[i]);
    }
    json_t *list =
        scores != NULL ? hw_heads_json(scores, o->layers, o->n_layers, o->heads, o->n_heads) : NULL;
    free(scores);
    return list;
}

json_t *hw_outliers_json(const struct hw_outliers_report *r, const struct hw_result *result) {
    const struct hw_outliers *o = r->outliers;
    json_t *document = hw_result_json(result);
    json_t *rows = json_pack(
        "{s:[I, I], s:{s:I, s:I, s:I}, s:o, s:o, s:o, s:o, s:o}", "T", (json_int_t)o->min_tokens,
        (json_int_t)o->max_tokens, "massive_and_sinks", "both", (json_int_t)o->n_both,
        "massive_only", (json_int_t)o->n_massive_only, "sink_only", (json_int_t)o->n_sink_only,
        "tokens", tokens_json(r), "depths", o->has_states ? depths_json(o) : json_null(), "neurons",
        o->has_neurons ? neurons_json(o) : json_null(), "weights",
        r->weights != NULL ? weights_json(r) : json_null(), "heads", heads_json(o));
    if (rows == NULL || json_object_update(document, rows) != 0) {
        json_decref(document);
        document = NULL;
    }
    json_decref(rows);
    return document;
}
