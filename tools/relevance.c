// From options and a capture to the relevance of every prompt; see relevance.h.
#include "tools/relevance.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "kernels/size.h"

enum { MAX_QUERIES = 4096, MAX_LAYERS = 4096, MAX_POSITION = 1 << 24 };

static enum hw_status wrong(const char *command, const char *option, const char *expected,
                            const char *found, struct hw_error *err) {
    char shown[100];
    return hw_fail(err, HW_USAGE, "%s: option --%s: wrong value (expected %s, found '%s')", command,
                   option, expected, hw_escape(shown, sizeof shown, found, strlen(found)));
}

enum hw_status hw_relevance_parse(const char *command, const struct hw_relevance_options *options,
                                  struct hw_layer_map_options *ret_maps, struct hw_error *err) {
    static const char *const words[] = {"mean", "max", "min"};
    struct hw_layer_map_options maps = {
        .reduce = HW_HEADS_ONE, .residual = options->residual, .is_raw = options->is_raw};
    uint64_t head;
    for (int i = 0; i < 3; i++) {
        if (strcmp(options->reduce, words[i]) == 0) {
            maps.reduce = (enum hw_head_reduce)i;
        }
    }
    if (maps.reduce == HW_HEADS_ONE) {
        if (strncmp(options->reduce, "head=", 5) != 0 ||
            !hw_parse_count(options->reduce + 5, &head) || head > INT32_MAX) {
            return wrong(command, "reduce", "mean, max, min or head=H", options->reduce, err);
        }
        maps.head = (int32_t)head;
    }
    size_t numbers[MAX_QUERIES];
    size_t n;
    if (options->layers != NULL && strcmp(options->layers, "all") != 0 &&
        !hw_parse_counts(options->layers, 0, MAX_POSITION, MAX_LAYERS, numbers, &n)) {
        return wrong(command, "layers", "all or layers such as 0,5,11", options->layers, err);
    }
    if (options->query != NULL && strcmp(options->query, "last") != 0 &&
        strcmp(options->query, "all") != 0 &&
        !hw_parse_counts(options->query, 0, MAX_POSITION, MAX_QUERIES, numbers, &n)) {
        return wrong(command, "query", "last, all or positions such as 5,17", options->query, err);
    }
    *ret_maps = maps;
    return HW_OK;
}

static enum hw_status out_of_memory(struct hw_error *err) {
    return hw_fail(err, HW_RESOURCE, "not enough memory for the relevance of tokens");
}

static int compare_sizes(const void *a, const void *b) {
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static enum hw_status choose_layers(const struct hw_relevance_kind *kind,
                                    struct hw_relevance_job *job, struct hw_error *err) {
    size_t n_all = hw_map_source_n_layers(job->source);
    const char *text = job->options->layers;
    job->layers = calloc(hw_size_max(n_all, MAX_LAYERS) + 1, sizeof *job->layers);
    if (job->layers == NULL) {
        return out_of_memory(err);
    }
    if (text != NULL && strcmp(text, "all") != 0) {
        (void)hw_parse_counts(text, 0, MAX_POSITION, MAX_LAYERS, job->layers, &job->n_layers);
        qsort(job->layers, job->n_layers, sizeof *job->layers, compare_sizes);
    } else if (text != NULL || kind->is_large) {
        for (job->n_layers = 0; job->n_layers < n_all; job->n_layers++) {
            job->layers[job->n_layers] = job->n_layers;
        }
    } else {
        job->layers[0] = n_all - 1;
        job->n_layers = 1;
    }
    for (size_t i = 0; i < job->n_layers; i++) {
        if (job->layers[i] >= n_all) {
            return hw_fail(err, HW_USAGE, "%s: --layers: no layer %zu (expected 0 to %zu)",
                           hw_trace_path(job->report->trace), job->layers[i], n_all - 1);
        }
        if (i > 0 && job->layers[i] == job->layers[i - 1]) {
            return hw_fail(err, HW_USAGE, "%s: --layers: layer %zu is named twice", kind->name,
                           job->layers[i]);
        }
    }
    return HW_OK;
}

static enum hw_status choose_queries(const struct hw_relevance_kind *kind,
                                     struct hw_relevance_job *job, struct hw_error *err) {
    const char *text = job->options->query;
    size_t *positions = calloc(MAX_QUERIES, sizeof *positions);
    job->query_numbers =
        calloc(hw_size_max(job->max_tokens, MAX_QUERIES) + 1, sizeof *job->query_numbers);
    enum hw_status status = HW_OK;
    if (positions == NULL || job->query_numbers == NULL) {
        status = out_of_memory(err);
    } else if (text != NULL ? strcmp(text, "all") == 0
                            : kind->is_large && job->options->analysis.out != NULL) {
        for (; job->n_queries < job->max_tokens; job->n_queries++) {
            job->query_numbers[job->n_queries] = (int32_t)job->n_queries;
        }
    } else if (text == NULL || strcmp(text, "last") == 0) {
        job->query_numbers[job->n_queries++] = -1;
    } else {
        (void)hw_parse_counts(text, 0, MAX_POSITION, MAX_QUERIES, positions, &job->n_queries);
        for (size_t i = 0; i < job->n_queries && status == HW_OK; i++) {
            job->query_numbers[i] = (int32_t)positions[i];
            if (positions[i] >= job->max_tokens && job->max_tokens > 0) {
                status = hw_fail(err, HW_USAGE,
                                 "%s: --query: no prompt has a token %zu (the longest has %zu)",
                                 hw_trace_path(job->report->trace), positions[i], job->max_tokens);
            }
        }
    }
    free(positions);
    return status;
}

// Bytes of the values of all prompts, as they are computed and once more as the result holds them.
static size_t values_bytes(const struct hw_relevance_job *job) {
    size_t bytes = 0;
    for (size_t p = 0; p < job->n_prompts; p++) {
        size_t rows;
        size_t more;
        if (!hw_size_mul(job->n_layers, job->n_queries + job->has_highest, &rows) ||
            !hw_size_mul(rows, hw_map_source_n_tokens(job->source, p), &more) ||
            !hw_size_mul(more, sizeof(double), &more) || !hw_size_add(bytes, more, &bytes)) {
            return SIZE_MAX;
        }
    }
    size_t grid;
    bool is_kept = job->options->analysis.out != NULL || job->in->common.json;
    return !is_kept ? bytes
           : hw_size_mul(job->n_prompts * job->max_tokens, job->n_layers * job->n_queries, &grid) &&
                   hw_size_mul(grid, 2 * sizeof(double), &grid) && hw_size_add(bytes, grid, &bytes)
               ? bytes
               : SIZE_MAX;
}

static enum hw_status check_memory(const struct hw_relevance_kind *kind,
                                   const struct hw_relevance_job *job, struct hw_error *err) {
    uint64_t limit = job->in->common.memory_limit;
    size_t values = values_bytes(job);
    size_t work = kind->bytes(job->source, job->max_tokens, (int)job->in->common.threads);
    size_t all;
    bool is_small = hw_size_add(values, work, &all);
    if (is_small && (limit == 0 || all <= limit)) {
        return HW_OK;
    }
    char text[2][32];
    return hw_fail(err, HW_RESOURCE,
                   "%s: %s over T = %zu needs %s of memory and %s for its values, the limit is "
                   "%" PRIu64 " bytes: choose fewer with --query and --layers",
                   hw_trace_path(job->report->trace), kind->name, job->max_tokens,
                   hw_format_bytes(text[0], sizeof text[0], work),
                   hw_format_bytes(text[1], sizeof text[1], values), limit);
}

static enum hw_status open_prompt(struct hw_relevance_job *job, struct hw_relevance *r,
                                  struct hw_error *err) {
    size_t n = r->n_tokens;
    size_t n_values = job->n_layers * job->n_queries * n; // checked by check_memory
    r->queries = calloc(job->n_queries + 1, sizeof *r->queries);
    r->values = malloc((n_values + 1) * sizeof *r->values);
    if (job->has_highest) {
        r->highest = calloc(job->n_layers * n + 1, sizeof *r->highest);
    }
    if (r->queries == NULL || r->values == NULL || (job->has_highest && r->highest == NULL)) {
        return out_of_memory(err);
    }
    for (size_t q = 0; q < job->n_queries; q++) {
        int32_t number = job->query_numbers[q];
        size_t position = number < 0 ? n - 1 : (size_t)number;
        r->queries[q] = position < n ? position : SIZE_MAX;
    }
    for (size_t i = 0; i < n_values; i++) {
        r->values[i] = NAN;
    }
    return HW_OK;
}

static enum hw_status compute(const struct hw_relevance_kind *kind, struct hw_relevance_job *job,
                              struct hw_error *err) {
    enum hw_status status = check_memory(kind, job, err);
    for (size_t p = 0; p < job->n_prompts && status == HW_OK; p++) {
        struct hw_relevance *r = &job->prompts[p];
        if (r->n_tokens > 0) {
            status = open_prompt(job, r, err);
            status = status == HW_OK ? kind->compute(job, r, err) : status;
        }
        if (status == HW_INPUT || status == HW_RESOURCE) {
            status =
                hw_fail_context(err, status, "%s: prompt %d: ", hw_trace_path(job->report->trace),
                                (int)hw_trace_prompt(job->report->trace, p)->prompt);
        }
    }
    return status;
}

static enum hw_status list_prompts(struct hw_relevance_job *job, struct hw_error *err) {
    job->n_prompts = hw_trace_n_prompts(job->report->trace);
    job->prompts = calloc(job->n_prompts + 1, sizeof *job->prompts);
    if (job->prompts == NULL) {
        return out_of_memory(err);
    }
    for (size_t p = 0; p < job->n_prompts; p++) {
        struct hw_relevance *r = &job->prompts[p];
        *r = (struct hw_relevance){.prompt = p,
                                   .n_tokens = hw_map_source_n_tokens(job->source, p),
                                   .rho_dense = NAN,
                                   .rho_average = NAN};
        job->n_failed += r->n_tokens == 0;
        job->max_tokens = hw_size_max(job->max_tokens, r->n_tokens);
    }
    return HW_OK;
}

static void close_job(struct hw_relevance_job *job) {
    for (size_t p = 0; p < job->n_prompts && job->prompts != NULL; p++) {
        free(job->prompts[p].queries);
        free(job->prompts[p].values);
        free(job->prompts[p].highest);
    }
    free(job->prompts);
    free(job->layers);
    free(job->query_numbers);
    json_decref(job->reference);
    hw_map_source_close(&job->source);
}

static bool is_given(const struct hw_invocation *in, const char *name) {
    for (size_t i = 0; i < in->command->n_options; i++) {
        if (in->given[i] && strcmp(in->command->options[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

// What the options ask for that this capture cannot mean.
static enum hw_status check_options(const struct hw_relevance_kind *kind,
                                    const struct hw_relevance_job *job, struct hw_error *err) {
    const struct hw_trace *trace = job->report->trace;
    size_t n_heads = hw_trace_layout(trace)->n_heads;
    if (job->maps.is_raw && is_given(job->in, "residual")) {
        return hw_fail(err, HW_USAGE, "%s: --raw takes the maps as they are, without --residual",
                       kind->name);
    }
    if (job->maps.reduce == HW_HEADS_ONE && (size_t)job->maps.head >= n_heads) {
        return hw_fail(err, HW_USAGE, "%s: --reduce: no head %d (expected 0 to %zu)",
                       hw_trace_path(trace), (int)job->maps.head, n_heads - 1);
    }
    if (json_is_array(job->reference) && !json_is_array(json_array_get(job->reference, 0)) &&
        hw_trace_n_prompts(trace) > 1) {
        return hw_fail(err, HW_USAGE,
                       "%s: --reference: one list for %zu prompts (expected a list of lists, one "
                       "per prompt, or an object {prompt name: list})",
                       job->options->reference, hw_trace_n_prompts(trace));
    }
    return HW_OK;
}

enum hw_status hw_relevance_look(const struct hw_relevance_kind *kind, struct hw_invocation *in,
                                 const struct hw_relevance_options *options,
                                 struct hw_analysis_report *report, struct hw_error *err) {
    struct hw_relevance_job job = {
        .in = in, .options = options, .report = report, .has_highest = kind->has_highest};
    enum hw_status status = hw_relevance_parse(kind->name, options, &job.maps, err);
    if (status == HW_OK && options->reference != NULL) {
        status = hw_json_load(options->reference, HW_MAX_CONFIG_BYTES, &job.reference, err);
    }
    status = status == HW_OK ? check_options(kind, &job, err) : status;
    status = status != HW_OK ? status
                             : hw_map_source_open(report->trace, kind->name,
                                                  (int)in->common.threads, &job.source, err);
    status = status != HW_OK
                 ? status
                 : hw_layer_maps_check(job.source, hw_trace_path(report->trace), &job.maps, err);
    status = status == HW_OK ? list_prompts(&job, err) : status;
    status = status == HW_OK ? choose_layers(kind, &job, err) : status;
    status = status == HW_OK ? choose_queries(kind, &job, err) : status;
    status = status == HW_OK ? compute(kind, &job, err) : status;
    if (status == HW_OK && job.reference != NULL) {
        status = hw_relevance_correlate(kind, &job, err);
    }
    if (status == HW_OK && (options->analysis.out != NULL || in->common.json)) {
        status = hw_relevance_fill(kind, &job, err);
    }
    if (status == HW_OK && in->common.json) {
        report->json = hw_relevance_json(kind, &job);
        status = report->json != NULL ? HW_OK : out_of_memory(err);
    } else if (status == HW_OK) {
        status = hw_relevance_print(kind, &job, err);
    }
    close_job(&job);
    return status;
}
