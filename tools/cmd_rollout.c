// headwater rollout: attention multiplied through the layers.
#include <string.h>

#include "analysis/rollout.h"
#include "tools/command.h"
#include "tools/relevance.h"

static const struct hw_option options[] = {
    HW_OPTIONS_LAYER_MAPS(struct hw_relevance_options),
    HW_OPTION_STRING(struct hw_relevance_options, layers, "layers", "LIST", NULL,
                     "Layers after which the rollout is kept, such as 0,5,11 (default: all); the "
                     "table shows the last of them."),
    HW_OPTION_STRING(struct hw_relevance_options, query, "query", "last|all|LIST", NULL,
                     "Output tokens, by position (default: last; with --out all of them); the "
                     "table shows the first of them."),
    HW_OPTION_CHOICE(struct hw_relevance_options, relevance, "relevance", "row|max", "row",
                     "What the table and the correlation take: the row of the output token, or for "
                     "every input token the largest value over all output tokens."),
    HW_OPTIONS_REFERENCE(struct hw_relevance_options),
    HW_OPTIONS_ANALYSIS(struct hw_relevance_options, analysis),
};

struct keeping {
    const struct hw_relevance_job *job;
    struct hw_relevance *relevance;
    size_t n_kept; // layers
};

static enum hw_status keep(void *self, size_t layer, const float *rollout, size_t n_tokens,
                           size_t stride, struct hw_error *err) {
    struct keeping *k = self;
    const struct hw_relevance_job *job = k->job;
    if (k->n_kept == job->n_layers || job->layers[k->n_kept] != layer) {
        return HW_OK;
    }
    double *to = k->relevance->values + k->n_kept * job->n_queries * n_tokens;
    double *highest = k->relevance->highest + k->n_kept * n_tokens;
    for (size_t q = 0; q < job->n_queries; q++, to += n_tokens) {
        size_t query = k->relevance->queries[q];
        for (size_t j = 0; j < n_tokens && query != SIZE_MAX; j++) {
            to[j] = (double)rollout[query * stride + j];
        }
    }
    for (size_t i = 0; i < n_tokens; i++) {
        for (size_t j = 0; j <= i; j++) {
            double value = (double)rollout[i * stride + j];
            highest[j] = value > highest[j] ? value : highest[j];
        }
    }
    k->n_kept++;
    return HW_OK;
}

static enum hw_status compute(const struct hw_relevance_job *job, struct hw_relevance *relevance,
                              struct hw_error *err) {
    struct keeping keeping = {job, relevance, 0};
    return hw_rollout_run(job->source, relevance->prompt, &job->maps, (int)job->in->common.threads,
                          keep, &keeping, err);
}

static const struct hw_relevance_kind kind = {
    .name = "rollout",
    .long_name = "attention rollout",
    .description = "R_l = M'_l R_{l-1}, R_0 = M'_0: share of the key in the query after the layer.",
    .has_highest = true,
    .is_large = true,
    .bytes = hw_rollout_bytes,
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

const struct hw_command hw_command_rollout = {
    .name = "rollout",
    .summary = "multiply attention through the layers",
    .arguments = "RUN.h5...",
    .min_arguments = 1,
    .max_arguments = HW_ANY_NUMBER,
    .description =
        "Attention rollout (Abnar and Zuidema 2020): the heads of a layer are reduced to one map, "
        "the residual stream is mixed in, and the maps are multiplied from the first layer on. Row "
        "i after layer l says how much of each input token is in token i, if attention mixed "
        "tokens linearly. With --raw the maps are multiplied as they are.\n\n"
        "Needs attention_vectors or attention_maps of every layer from 0 on. What is recorded is "
        "taken for all the model has.",
    .examples = "headwater rollout run.h5\n"
                "headwater rollout --query 17 --reduce max --json run.h5\n"
                "headwater rollout --out rollout.h5 --layers 5,11 run.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET | HW_COMMON_THREADS | HW_COMMON_MEMORY,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct hw_relevance_options),
    .run = run,
};
