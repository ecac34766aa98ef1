// Flow over all pairs; see flow.h. Pairs are independent: they are dealt to the threads one by one,
// the longest first.
#include "analysis/flow.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "analysis/max_flow.h"
#include "kernels/size.h"

enum { PROGRESS_PAIRS = 16 };

size_t hw_flow_n_pairs(const struct hw_flow_options *options) {
    size_t n = 0;
    for (size_t q = 0; q < options->n_queries; q++) {
        n += options->queries[q] != SIZE_MAX ? options->queries[q] + 1 : 0;
    }
    return n * options->n_tops;
}

size_t hw_flow_bytes(const struct hw_map_source *source, size_t n_tokens, int n_threads) {
    size_t n_layers = hw_map_source_n_layers(source);
    size_t one = hw_max_flow_bytes(n_layers, n_tokens);
    size_t graph = hw_flow_graph_bytes(n_layers, n_tokens);
    size_t all;
    size_t maps;
    bool is_small = hw_size_mul(n_tokens, n_tokens, &maps) &&
                    hw_size_mul(maps, n_layers * sizeof(double), &maps) &&
                    hw_size_mul(one, (size_t)n_threads, &all) && hw_size_add(all, graph, &all) &&
                    hw_size_add(all, maps, &all) &&
                    hw_size_add(all, hw_map_source_bytes(source, n_tokens), &all);
    return is_small ? all : SIZE_MAX;
}

static void run_pairs(struct hw_max_flow **flows, const struct hw_flow_options *options,
                      size_t n_tokens, double *ret_flow) {
    size_t n_rows = options->n_tops * options->n_queries;
    size_t n_done = 0;
#pragma omp parallel for schedule(dynamic, 1) num_threads(options->n_threads)
    for (size_t at = 0; at < n_rows * n_tokens; at++) {
        // Far tokens first: rows from the last, targets from token 0.
        size_t row = n_rows - 1 - at / n_tokens;
        size_t target = at % n_tokens;
        size_t source = options->queries[row % options->n_queries];
        size_t top = options->tops[row / options->n_queries] + 1;
        if (source == SIZE_MAX) {
            continue;
        }
        ret_flow[row * n_tokens + target] =
            hw_max_flow(flows[omp_get_thread_num()], top, source, target);
        if (options->progress != NULL && target <= source) {
            size_t n;
#pragma omp atomic capture
            n = ++n_done;
            if (omp_get_thread_num() == 0 && n % PROGRESS_PAIRS == 0) {
                options->progress(options->progress_self, n);
            }
        }
    }
}

enum hw_status hw_flow_run(struct hw_map_source *source, size_t prompt,
                           const struct hw_flow_options *options, double *ret_flow,
                           struct hw_error *err) {
    size_t n = hw_map_source_n_tokens(source, prompt);
    size_t n_layers = hw_map_source_n_layers(source);
    size_t n_values;
    struct hw_flow_graph *graph = NULL;
    enum hw_status status = HW_OK;
    bool is_small = hw_flow_bytes(source, n, options->n_threads) != SIZE_MAX;
    double *capacity = is_small && hw_size_mul(n_layers * n, n, &n_values)
                           ? malloc((n_values + 1) * sizeof *capacity)
                           : NULL;
    struct hw_max_flow **flows = calloc((size_t)options->n_threads, sizeof *flows);
    if (capacity == NULL || flows == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for flow over %zu tokens", n);
    }
    for (size_t layer = 0; layer < n_layers && status == HW_OK; layer++) {
        status = hw_layer_map(source, prompt, layer, &options->maps, capacity + layer * n * n, err);
    }
    status = status == HW_OK ? hw_flow_graph_open(capacity, n_layers, n, &graph, err) : status;
    for (int t = 0; t < options->n_threads && status == HW_OK; t++) {
        status = hw_max_flow_open(graph, &flows[t], err);
    }
    if (status == HW_OK) {
        run_pairs(flows, options, n, ret_flow);
    }
    for (int t = 0; t < options->n_threads && flows != NULL; t++) {
        hw_max_flow_close(&flows[t]);
    }
    hw_flow_graph_close(&graph);
    free(flows);
    free(capacity);
    return status;
}

void hw_flow_normalise(double *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
    }
    for (size_t i = 0; i < n; i++) {
        values[i] = sum > 0 ? values[i] / sum : (double)NAN;
    }
}
