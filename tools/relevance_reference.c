// Correlation with values of the user's; see relevance.h. Definitions, I3.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/rank.h"
#include "kernels/size.h"
#include "tools/relevance.h"

const double *hw_relevance_shown(const struct hw_relevance_job *job,
                                 const struct hw_relevance *relevance) {
    size_t last = job->n_layers - 1;
    if (job->options->relevance == 1 && relevance->highest != NULL) {
        return relevance->highest + last * relevance->n_tokens;
    }
    return relevance->values + last * job->n_queries * relevance->n_tokens;
}

// The list of a prompt, borrowed; NULL where the reference has none.
static const json_t *list_of(const struct hw_relevance_job *job, size_t prompt) {
    const json_t *reference = job->reference;
    if (json_is_object(reference)) {
        return json_object_get(reference, hw_trace_prompt(job->report->trace, prompt)->name);
    }
    if (json_is_array(json_array_get(reference, 0))) {
        return json_array_get(reference, prompt);
    }
    return prompt == 0 ? reference : NULL;
}

// The numbers of the list; null is NaN.
static enum hw_status read_list(const struct hw_relevance_job *job, const json_t *list,
                                const struct hw_relevance *r, double *ret_values,
                                struct hw_error *err) {
    const char *path = job->options->reference;
    int number = (int)hw_trace_prompt(job->report->trace, r->prompt)->prompt;
    if (!json_is_array(list) || json_array_size(list) != r->n_tokens) {
        return hw_fail(err, HW_INPUT,
                       "%s: prompt %d has %zu tokens (expected a list of as many numbers, found "
                       "%s%zu)",
                       path, number, r->n_tokens,
                       json_is_array(list) ? "" : "no list: ", json_array_size(list));
    }
    for (size_t i = 0; i < r->n_tokens; i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_number(value) && !json_is_null(value)) {
            return hw_fail(err, HW_INPUT, "%s: value %zu of prompt %d is no number", path, i,
                           number);
        }
        ret_values[i] = json_is_null(value) ? (double)NAN : json_number_value(value);
    }
    return HW_OK;
}

enum hw_status hw_relevance_correlate(const struct hw_relevance_kind *kind,
                                      struct hw_relevance_job *job, struct hw_error *err) {
    double *values = calloc(job->max_tokens + 1, sizeof *values);
    enum hw_status status = HW_OK;
    size_t n_found = 0;
    if (values == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a reference");
    } else if (job->n_queries != 1 && job->options->relevance == 0) {
        status = hw_fail(err, HW_USAGE, "%s: --reference needs one --query (found %zu)", kind->name,
                         job->n_queries);
    }
    for (size_t p = 0; p < job->n_prompts && status == HW_OK; p++) {
        struct hw_relevance *r = &job->prompts[p];
        const json_t *list = list_of(job, p);
        if (list == NULL || r->n_tokens == 0) {
            continue;
        }
        const double *shown = hw_relevance_shown(job, r);
        status = read_list(job, list, r, values, err);
        status = status == HW_OK ? hw_rank_spearman(shown, values, r->n_tokens, HW_RANK_DENSE,
                                                    &r->rho_dense, NULL, err)
                                 : status;
        status = status == HW_OK ? hw_rank_spearman(shown, values, r->n_tokens, HW_RANK_AVERAGE,
                                                    &r->rho_average, NULL, err)
                                 : status;
        n_found++;
    }
    if (status == HW_OK && n_found == 0) {
        status = hw_fail(err, HW_INPUT, "%s: has values for none of the %zu prompts",
                         job->options->reference, job->n_prompts);
    }
    free(values);
    return status;
}
