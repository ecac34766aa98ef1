// `headwater sinks` as JSON; see sinks_report.h.
#include <math.h>
#include <stdlib.h>

#include "kernels/size.h"
#include "tools/analysis_command.h"
#include "tools/report.h"
#include "tools/sinks_report.h"

static json_t *tokens_json(const struct hw_trace *trace, const struct hw_sinks *sinks) {
    json_t *list = json_array();
    size_t n_columns;
    const struct hw_column *columns = hw_sinks_token_columns(&n_columns);
    for (size_t i = 0; i < sinks->n_tokens; i++) {
        const struct hw_sink_token *token = &sinks->tokens[i];
        const struct hw_trace_prompt *prompt = hw_trace_prompt(trace, token->prompt);
        json_t *item = hw_columns_json(token, columns, n_columns);
        (void)json_object_set_new(item, "prompt", json_integer(prompt->prompt));
        (void)json_object_set_new(item, "name", hw_json_text(prompt->name));
        (void)json_object_set_new(item, "T", json_integer((json_int_t)prompt->n_prompt_tokens));
        (void)json_object_set_new(item, "label", json_string(hw_sink_label_name(token->label)));
        (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *layers_json(const struct hw_sinks *s) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_layers; i++) {
        (void)json_array_append_new(
            list, json_pack("{s:i, s:o, s:o, s:o, s:o}", "layer", s->layers[i], "first_rate",
                            hw_json_real(hw_mean_value(&s->layer_first[i])), "any_rate",
                            hw_json_real(hw_mean_value(&s->layer_any[i])), "drain",
                            hw_json_real(hw_mean_value(&s->layer_drain[i])), "drain_projected",
                            hw_json_real(hw_mean_value(&s->layer_drain_projected[i]))));
    }
    return list;
}

static json_t *depths_json(const struct hw_sinks *s) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_depths; i++) {
        (void)json_array_append_new(
            list, json_pack("{s:i, s:o, s:o}", "depth", s->depths[i], "peak",
                            hw_json_real(hw_mean_value(&s->peak[i])), "peak_over_max",
                            hw_json_real(hw_mean_value(&s->peak_over_max[i]))));
    }
    return list;
}

static json_t *lengths_json(const struct hw_sinks *s) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->options.n_lengths; i++) {
        (void)json_array_append_new(
            list, json_pack("{s:I, s:o, s:I}", "T", (json_int_t)s->options.lengths[i], "first_rate",
                            hw_json_real(hw_mean_value(&s->length_rates[0][i])), "prompts",
                            (json_int_t)s->length_rates[0][i].n));
    }
    return list;
}

static json_t *domains_json(const struct hw_sinks *s) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_domains; i++) {
        const struct hw_sinks_domain *d = &s->domains[i];
        (void)json_array_append_new(
            list, json_pack("{s:o, s:I, s:[I, I]}", "domain", hw_json_text(d->name), "prompts",
                            (json_int_t)d->n_prompts, "T", (json_int_t)d->min_tokens,
                            (json_int_t)d->max_tokens));
    }
    return list;
}

// The heads whose mean alpha is above epsilon.
static json_t *heads_json(const struct hw_sinks *s) {
    size_t n_cells = s->n_layers * s->n_heads;
    double *scores = calloc(hw_size_max(n_cells, 1), sizeof *scores);
    for (size_t i = 0; i < n_cells && scores != NULL; i++) {
        double alpha = hw_mean_value(&s->alpha[i]);
        scores[i] = alpha > s->options.epsilons[0] ? alpha : NAN;
    }
    json_t *list =
        scores != NULL ? hw_heads_json(scores, s->layers, s->n_layers, s->heads, s->n_heads) : NULL;
    free(scores);
    return list;
}

static json_t *secondary_json(const struct hw_sinks *s) {
    const struct hw_sinks_secondary *secondary = &s->secondary;
    if (secondary->why_not != NULL) {
        return json_pack("{s:s}", "missing", secondary->why_not);
    }
    return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I}", "labels", secondary->has_labels,
                     "like_the_first", (json_int_t)secondary->n_tokens[HW_SINK_LIKE_FIRST],
                     "secondary", (json_int_t)secondary->n_tokens[HW_SINK_SECONDARY], "noise",
                     (json_int_t)secondary->n_tokens[HW_SINK_NOISE], "unlabelled",
                     (json_int_t)secondary->n_tokens[HW_SINK_NONE], "prompts_left_out",
                     (json_int_t)secondary->n_elsewhere);
}

json_t *hw_sinks_json(const struct hw_trace *trace, const struct hw_sinks *s,
                      const struct hw_result *result) {
    json_t *missing = json_object();
    json_t *document = hw_result_json(result);
    for (int g = 0; g < HW_SINKS_N_GAPS; g++) {
        if (s->gap_why_not[g] != NULL) {
            (void)json_object_set_new(missing, hw_sinks_gap_name((enum hw_sinks_gap)g),
                                      json_string(s->gap_why_not[g]));
        }
    }
    json_t *rows = json_pack(
        "{s:[I, I], s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "T",
        (json_int_t)s->min_tokens, (json_int_t)s->max_tokens, "n_heads", (json_int_t)s->n_recorded,
        "first_rate", hw_json_real(hw_mean_value(&s->first_rate)), "any_rate",
        hw_json_real(s->has_tokens ? hw_mean_value(&s->any_rate) : NAN), "lengths", lengths_json(s),
        "domains", domains_json(s), "tokens", s->has_tokens ? tokens_json(trace, s) : json_null(),
        "layers", layers_json(s), "depths", depths_json(s), "secondary_sinks", secondary_json(s),
        "missing_gaps", missing, "heads", heads_json(s));
    if (rows == NULL || json_object_update(document, rows) != 0) {
        json_decref(document);
        document = NULL;
    }
    json_decref(rows);
    return document;
}
