// headwater outliers: massive activations, activation, attention and weight outliers, and whether
// the tokens that carry them are the attention sinks.
#include <stdio.h>
#include <stdlib.h>

#include "analysis/outliers.h"
#include "analysis/outliers_weights.h"
#include "tools/analysis_command.h"
#include "tools/command.h"
#include "tools/outliers_report.h"
#include "tools/places.h"

enum { MAX_LENGTH = 1 << 24 };

struct outliers_options {
    struct hw_analysis_options analysis;
    double least;
    double ratio;
    double mean_ratio;
    double attention_share;
    double epsilon;
    double share;
    uint64_t least_rows;
    const char *model;
    uint64_t top;
    // Filled by run(), once for all captures.
    struct hw_model *opened;
    struct hw_weight_layer *weights;
};

static const struct hw_option options[] = {
    HW_OPTION_REAL(struct outliers_options, least, "least", "X", "100", 0, 1e30,
                   "An activation is massive where its magnitude is above X"),
    HW_OPTION_REAL(struct outliers_options, ratio, "ratio", "R", "1000", 0, 1e30,
                   "and at least R times the median magnitude of the state. Below 100 and 1000 "
                   "only the largest few values of every state are known."),
    HW_OPTION_REAL(struct outliers_options, mean_ratio, "mean-ratio", "R", "1000", 0, 1e30,
                   "A token is an outlier where its largest magnitude is above R times the mean "
                   "magnitude of the state."),
    HW_OPTION_REAL(struct outliers_options, attention_share, "attention-share", "S", ".1", 0, 1,
                   "A key is an attention outlier where the queries' attention to it, summed, is "
                   "at least S times T (mean of the heads)."),
    HW_OPTION_STRING(struct outliers_options, model, "model", "MODEL", NULL,
                     "Also the weight outliers of this model: a GGUF file, a folder, or a name in "
                     "the hub cache."),
    HW_OPTION_GROUP("Sinks"),
    HW_OPTION_REAL(struct outliers_options, epsilon, "epsilon", "E", ".3", 0, 1,
                   "A head has a sink at a token where the mean attention of the queries that see "
                   "it is above E."),
    HW_OPTION_REAL(struct outliers_options, share, "share", "S", ".1", 0, 1,
                   "A token is a sink where at least this share of the heads have one there."),
    HW_OPTION_COUNT(struct outliers_options, least_rows, "least-rows", "N", "16", 1, MAX_LENGTH,
                    "Keys that fewer than N queries see are no sinks, but for the first."),
    HW_OPTION_GROUP("Text"),
    HW_OPTION_COUNT(struct outliers_options, top, "top", "N", "10", 1, 1000000,
                    "Most lines in the tables of tokens and channels."),
    HW_OPTIONS_ANALYSIS(struct outliers_options, analysis),
};

// The weights must be those that the capture was made with; the shape is what both files say.
static enum hw_status check_model(const struct outliers_options *opt, const struct hw_trace *trace,
                                  struct hw_error *err) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    const struct hw_model_desc *d = &opt->opened->desc;
    if (layout->n_heads == d->n_heads && layout->n_kv_heads == d->n_kv_heads) {
        return HW_OK;
    }
    return hw_fail(err, HW_INPUT,
                   "%s: is not the model of %s (expected %zu heads of %zu kv heads, found %zu of "
                   "%zu)",
                   opt->model, hw_trace_path(trace), layout->n_heads, layout->n_kv_heads,
                   d->n_heads, d->n_kv_heads);
}

static enum hw_status look(struct hw_invocation *in, struct hw_analysis_report *report,
                           struct hw_error *err) {
    const struct outliers_options *opt = in->options;
    struct hw_outliers_options how = {.least = opt->least,
                                      .ratio = opt->ratio,
                                      .mean_ratio = opt->mean_ratio,
                                      .attention_share = opt->attention_share,
                                      .epsilon = opt->epsilon,
                                      .share = opt->share,
                                      .least_rows = opt->least_rows};
    struct hw_outliers outliers = {0};
    struct hw_outliers_report shown = {.trace = report->trace,
                                       .outliers = &outliers,
                                       .weights = opt->weights,
                                       .n_weight_layers =
                                           opt->weights != NULL ? opt->opened->desc.n_layers : 0,
                                       .top = opt->top};
    enum hw_status status = opt->opened != NULL ? check_model(opt, report->trace, err) : HW_OK;
    if (status == HW_OK) {
        status = hw_outliers_compute(report->trace, &how, &outliers, err);
    }
    if (status == HW_OK && (opt->analysis.out != NULL || in->common.json)) {
        status = hw_outliers_fill(&shown, report->result, err);
    }
    if (status == HW_OK && in->common.json) {
        report->json = hw_outliers_json(&shown, report->result);
        status = report->json != NULL
                     ? HW_OK
                     : hw_fail(err, HW_RESOURCE, "not enough memory for the result as JSON");
    } else if (status == HW_OK) {
        (void)fputs(report->index > 0 ? "\n" : "", stdout);
        status = hw_outliers_print(&shown, err);
    }
    hw_outliers_free(&outliers);
    return status;
}

static enum hw_status measure_weights(struct hw_invocation *in, struct hw_error *err) {
    struct outliers_options *opt = in->options;
    char *path = NULL;
    enum hw_status status = hw_place_of_model(opt->model, &path, err);
    status = status == HW_OK ? hw_model_open(path, &opt->opened, err) : status;
    free(path);
    if (status != HW_OK) {
        return status;
    }
    opt->weights = calloc(opt->opened->desc.n_layers, sizeof *opt->weights);
    return opt->weights != NULL
               ? hw_outliers_weights(opt->opened, (int)in->common.threads, opt->weights, err)
               : hw_fail(err, HW_RESOURCE, "not enough memory for the weights of %zu layers",
                         opt->opened->desc.n_layers);
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    struct outliers_options *opt = in->options;
    enum hw_status status = opt->model != NULL ? measure_weights(in, err) : HW_OK;
    if (status == HW_OK) {
        status = hw_analysis_run(in, &opt->analysis, look, err);
    }
    free(opt->weights);
    hw_model_close(&opt->opened);
    return status;
}

const struct hw_command hw_command_outliers = {
    .name = "outliers",
    .summary = "find massive activations and other systematic outliers",
    .arguments = "RUN.h5...",
    .min_arguments = 1,
    .max_arguments = HW_ANY_NUMBER,
    .description =
        "Massive activations of the residual stream by both published criteria, which differ in "
        "their yardstick: the median of all magnitudes of a state, or their mean. The ratios stand "
        "beside the answers, because values just below a threshold are there as well.\n\n"
        "Every token that carries one is listed with its kind, with the layers in which it is an "
        "attention outlier, and with the share of heads that have an attention sink there. With "
        "--model also the rows and columns of the weights in which one weight stands far above "
        "the others. All of it depends on the number of tokens T, which is printed.",
    .examples = "headwater outliers run.h5\n"
                "headwater outliers --model model.gguf --json run.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET | HW_COMMON_THREADS,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct outliers_options),
    .run = run,
};
