// headwater flow: the largest flow of attention from an output token to each input token.
#include <string.h>

#include "analysis/flow.h"
#include "tools/command.h"
#include "tools/relevance.h"

static const struct hw_option options[] = {
    HW_OPTIONS_LAYER_MAPS(struct hw_relevance_options),
    HW_OPTION_STRING(struct hw_relevance_options, layers, "layers", "all|LIST", NULL,
                     "Layers after which flow starts, such as 0,5,11 (default: the last); the "
                     "table shows the last of them."),
    HW_OPTION_STRING(struct hw_relevance_options, query, "query", "last|all|LIST", NULL,
                     "Output tokens, by position (default: last); the table shows the first of "
                     "them."),
    HW_OPTIONS_REFERENCE(struct hw_relevance_options),
    HW_OPTIONS_ANALYSIS(struct hw_relevance_options, analysis),
};

static void show_progress(void *self, size_t n_done) {
    hw_progress_update(self, n_done);
}

static enum hw_status compute(const struct hw_relevance_job *job, struct hw_relevance *relevance,
                              struct hw_error *err) {
    struct hw_progress progress;
    struct hw_flow_options how = {.maps = job->maps,
                                  .tops = job->layers,
                                  .n_tops = job->n_layers,
                                  .queries = relevance->queries,
                                  .n_queries = job->n_queries,
                                  .n_threads = (int)job->in->common.threads,
                                  .progress = show_progress,
                                  .progress_self = &progress};
    hw_progress_begin(&progress, job->in->common.progress, "flow", "pairs", hw_flow_n_pairs(&how));
    enum hw_status status =
        hw_flow_run(job->source, relevance->prompt, &how, relevance->values, err);
    hw_progress_end(&progress);
    return status;
}

static const struct hw_relevance_kind kind = {
    .name = "flow",
    .long_name = "attention flow",
    .description = "Largest flow from the query after the layer to the key below the first layer, "
                   "with M' as capacities.",
    .is_normalised_apart = true,
    .bytes = hw_flow_bytes,
    .compute = compute,
};

static enum hw_status look(struct hw_invocation *in, struct hw_analysis_report *report,
                           struct hw_error *err) {
    return hw_relevance_look(&kind, in, in->options, report, err);
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct hw_relevance_options *opt = in->options;
    struct hw_layer_map_options maps;
    enum hw_status status = hw_relevance_parse(kind.name, opt, &maps, err);
    return status == HW_OK ? hw_analysis_run(in, &opt->analysis, look, err) : status;
}

const struct hw_command hw_command_flow = {
    .name = "flow",
    .summary = "largest flow of attention from an output token to each input",
    .arguments = "RUN.h5...",
    .min_arguments = 1,
    .max_arguments = HW_ANY_NUMBER,
    .description =
        "Attention flow (Abnar and Zuidema 2020): the maps of the layers, with the residual stream "
        "mixed in, are the capacities of a network, and the relevance of an input token is the "
        "largest flow from the output token down to it, one problem per pair of tokens, solved "
        "exactly. Shares are these values over their sum.\n\n"
        "The time grows with the fourth power of T over all pairs: keep T small or --query few.",
    .examples = "headwater flow run.h5\n"
                "headwater flow --query all --out flow.h5 short.h5\n"
                "headwater flow --reference gradients.json run.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET | HW_COMMON_THREADS | HW_COMMON_MEMORY |
              HW_COMMON_PROGRESS,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct hw_relevance_options),
    .run = run,
};
