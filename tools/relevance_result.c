// Relevance as a result and as JSON; see relevance.h.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/flow.h"
#include "kernels/size.h"
#include "tools/relevance.h"
#include "tools/report.h"

// Values of the grid [prompt, layer, query, key] from those of the prompts, NaN where there are
// none; divided by their sum where is_divided.
static void spread(const struct hw_relevance_job *job, bool is_highest, bool is_divided,
                   double *grid) {
    size_t n_queries = is_highest ? 1 : job->n_queries;
    size_t n_keys = job->max_tokens;
    for (size_t i = 0; i < job->n_prompts * job->n_layers * n_queries * n_keys; i++) {
        grid[i] = NAN;
    }
    for (size_t p = 0; p < job->n_prompts; p++) {
        const struct hw_relevance *r = &job->prompts[p];
        const double *from = is_highest ? r->highest : r->values;
        for (size_t row = 0; row < job->n_layers * n_queries && r->n_tokens > 0; row++) {
            double *to = grid + (p * job->n_layers * n_queries + row) * n_keys;
            memcpy(to, from + row * r->n_tokens, r->n_tokens * sizeof *to);
            if (is_divided) {
                hw_flow_normalise(to, r->n_tokens);
            }
        }
    }
}

static enum hw_status add_grids(const struct hw_relevance_kind *kind,
                                const struct hw_relevance_job *job, struct hw_error *err) {
    struct hw_result *result = job->report->result;
    size_t n = job->n_prompts * job->n_layers * job->max_tokens; // checked with the memory
    double *grid = malloc((n * hw_size_max(job->n_queries, 1) + 1) * sizeof *grid);
    char name[64];
    char text[200];
    if (grid == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the result");
    }
    struct hw_result_field field = {.name = kind->name,
                                    .type = HW_RESULT_REAL,
                                    .axes = {"prompt", "layer", "query", "key"},
                                    .long_name = kind->long_name,
                                    .units = "1",
                                    .description = kind->description};
    spread(job, false, false, grid);
    hw_result_add(result, &field, grid);
    if (kind->is_normalised_apart) {
        (void)snprintf(name, sizeof name, "%s_normalised", kind->name);
        (void)snprintf(text, sizeof text, "%s over its sum over the keys; NaN where that is 0.",
                       kind->name);
        field.name = name;
        field.description = text;
        spread(job, false, true, grid);
        hw_result_add(result, &field, grid);
    }
    if (job->has_highest) {
        (void)snprintf(name, sizeof name, "%s_max", kind->name);
        (void)snprintf(text, sizeof text, "Largest %s of the key over all queries.", kind->name);
        field = (struct hw_result_field){.name = name,
                                         .type = HW_RESULT_REAL,
                                         .axes = {"prompt", "layer", "key"},
                                         .long_name = "largest relevance of the token",
                                         .units = "1",
                                         .description = text};
        spread(job, true, false, grid);
        hw_result_add(result, &field, grid);
    }
    free(grid);
    return HW_OK;
}

static enum hw_status add_prompts(const struct hw_relevance_job *job, struct hw_error *err) {
    struct hw_result *result = job->report->result;
    size_t n = job->n_prompts;
    const char **names = calloc(n + 1, sizeof *names);
    int64_t *lengths = calloc(n + 1, sizeof *lengths);
    int64_t *positions = calloc(n * job->n_queries + 1, sizeof *positions);
    if (names != NULL && lengths != NULL && positions != NULL) {
        for (size_t p = 0; p < n; p++) {
            const struct hw_relevance *r = &job->prompts[p];
            names[p] = hw_trace_prompt(job->report->trace, p)->name;
            lengths[p] = (int64_t)r->n_tokens;
            for (size_t q = 0; q < job->n_queries; q++) {
                bool is_there = r->n_tokens > 0 && r->queries[q] != SIZE_MAX;
                positions[p * job->n_queries + q] = is_there ? (int64_t)r->queries[q] : -1;
            }
        }
        hw_result_add(result,
                      &(struct hw_result_field){"prompt_name",
                                                HW_RESULT_TEXT,
                                                {"prompt"},
                                                "name of the prompt",
                                                "1",
                                                "Name of the prompt."},
                      names);
        hw_result_add(result,
                      &(struct hw_result_field){"n_tokens",
                                                HW_RESULT_INTEGER,
                                                {"prompt"},
                                                "number of tokens",
                                                "1",
                                                "T of the prompt's maps; 0: it failed."},
                      lengths);
        hw_result_add(result,
                      &(struct hw_result_field){"query_position",
                                                HW_RESULT_INTEGER,
                                                {"prompt", "query"},
                                                "position of the query",
                                                "1",
                                                "Position in the prompt; -1: it has none."},
                      positions);
    }
    bool is_memory = names != NULL && lengths != NULL && positions != NULL;
    free(names);
    free(lengths);
    free(positions);
    return is_memory ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for %zu prompts", n);
}

// rho per prompt, and its mean over prompts.
static enum hw_status add_rho(const struct hw_relevance_job *job, bool is_dense,
                              struct hw_error *err) {
    double *rho = calloc(job->n_prompts + 1, sizeof *rho);
    double sum = 0;
    double squares = 0;
    int64_t n = 0;
    if (rho == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu prompts", job->n_prompts);
    }
    for (size_t p = 0; p < job->n_prompts; p++) {
        rho[p] = is_dense ? job->prompts[p].rho_dense : job->prompts[p].rho_average;
        n += !isnan(rho[p]);
        sum += isnan(rho[p]) ? 0 : rho[p];
    }
    double mean = n > 0 ? sum / (double)n : (double)NAN;
    for (size_t p = 0; p < job->n_prompts; p++) {
        squares += isnan(rho[p]) ? 0 : (rho[p] - mean) * (rho[p] - mean);
    }
    double se = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : (double)NAN;
    struct hw_result_field field = {
        .name = is_dense ? "spearman_dense" : "spearman_average",
        .type = HW_RESULT_REAL,
        .axes = {"prompt"},
        .long_name = "rank correlation with the reference",
        .units = "1",
        .description = is_dense ? "Pearson's correlation of ranks; ties share one, without gaps."
                                : "Pearson's correlation of ranks; ties have the mean of theirs."};
    hw_result_add(job->report->result, &field, rho);
    field.name = is_dense ? "spearman_dense_mean" : "spearman_average_mean";
    memset(field.axes, 0, sizeof field.axes);
    hw_result_add_mean(job->report->result, &field, &mean, &se, &n);
    free(rho);
    return HW_OK;
}

static enum hw_status add_axes(const struct hw_relevance_job *job, struct hw_error *err) {
    struct hw_result *result = job->report->result;
    size_t n = hw_size_max(job->n_prompts, hw_size_max(job->max_tokens, job->n_layers));
    int32_t *numbers = calloc(n + 1, sizeof *numbers);
    if (numbers == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for axes of %zu", n);
    }
    for (size_t p = 0; p < job->n_prompts; p++) {
        numbers[p] = hw_trace_prompt(job->report->trace, p)->prompt;
    }
    hw_result_axis(result, "prompt", job->n_prompts, numbers, NULL, "prompt");
    for (size_t l = 0; l < job->n_layers; l++) {
        numbers[l] = (int32_t)job->layers[l];
    }
    hw_result_axis(result, "layer", job->n_layers, numbers, NULL, "layer after which it is taken");
    hw_result_axis(result, "query", job->n_queries, job->query_numbers, NULL,
                   "position of the output token, -1: the last");
    for (size_t k = 0; k < job->max_tokens; k++) {
        numbers[k] = (int32_t)k;
    }
    hw_result_axis(result, "key", job->max_tokens, numbers, NULL, "position of the input token");
    free(numbers);
    return HW_OK;
}

enum hw_status hw_relevance_fill(const struct hw_relevance_kind *kind,
                                 const struct hw_relevance_job *job, struct hw_error *err) {
    struct hw_result *result = job->report->result;
    hw_result_set_text(result, "reduce", job->options->reduce);
    hw_result_set_real(result, "residual", job->maps.is_raw ? 0 : job->maps.residual);
    hw_result_set_text(result, "maps", job->maps.is_raw ? "raw" : "normalised");
    hw_result_set_text(result, "record", hw_map_source_record(job->source));
    hw_result_set_real(result, "map_error", hw_map_source_error(job->source));
    if (job->reference != NULL) {
        hw_result_set_text(result, "reference", job->options->reference);
        hw_result_set_text(result, "relevance", job->options->relevance == 1 ? "max" : "row");
    }
    enum hw_status status = add_axes(job, err);
    status = status == HW_OK ? add_prompts(job, err) : status;
    status = status == HW_OK ? add_grids(kind, job, err) : status;
    if (status == HW_OK && job->reference != NULL) {
        status = add_rho(job, true, err);
        status = status == HW_OK ? add_rho(job, false, err) : status;
    }
    return status == HW_OK ? hw_result_status(result, err) : status;
}

json_t *hw_relevance_json(const struct hw_relevance_kind *kind,
                          const struct hw_relevance_job *job) {
    json_t *document = hw_result_json(job->report->result);
    json_t *prompts = json_array();
    for (size_t p = 0; p < job->n_prompts; p++) {
        const struct hw_relevance *r = &job->prompts[p];
        const struct hw_trace_prompt *prompt = hw_trace_prompt(job->report->trace, p);
        json_t *item =
            json_pack("{s:i, s:o, s:I, s:o, s:o}", "prompt", prompt->prompt, "name",
                      hw_json_text(prompt->name), "T", (json_int_t)r->n_tokens, "spearman_dense",
                      hw_json_real(r->rho_dense), "spearman_average", hw_json_real(r->rho_average));
        (void)json_array_append_new(prompts, item);
    }
    (void)json_object_set_new(document, "prompts", prompts);
    return document;
}
