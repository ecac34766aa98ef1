// headwater retrieval: retrieval heads of captures of needle-in-a-haystack trials.
#include <stdlib.h>
#include <string.h>

#include "tools/retrieval_report.h"

static const struct hw_option options[] = {
    HW_OPTION_GROUP("Trials"),
    HW_OPTION_REAL(struct retrieval_options, min_rouge, "min-rouge", "R", "50", -1, 100,
                   "Keep a trial where the response has more than R per cent of the answer's words "
                   "(ROUGE-1 recall, stemmed). -1 keeps all."),
    HW_OPTION_CHOICE(struct retrieval_options, span, "span", "find|given", "find",
                     "Where the needle is: the first window of tokens that holds more than 90 % of "
                     "the answer's distinct ids, as the script finds it, or the span \"needle\" of "
                     "the prompt."),
    HW_OPTION_STRING(struct retrieval_options, stop, "stop", "STRING", "\\n",
                     "Steps after the one that completes this text do not count; an empty text: "
                     "all count."),
    HW_OPTION_GROUP("Scores"),
    HW_OPTION_CHOICE(struct retrieval_options, measure, "measure", "hits|set|positions", "hits",
                     "Which score ranks the heads: hits over the needle's tokens, each hit counted "
                     "(the script); distinct ids, or distinct positions, hit (the paper)."),
    HW_OPTION_REAL(struct retrieval_options, threshold, "threshold", "S", ".1", 0, 1000,
                   "A retrieval head has at least this score; these are listed under \"heads\"."),
    HW_OPTION_COUNT(struct retrieval_options, top, "top", "N", "10", 1, 1000000,
                    "Most lines in a table."),
    HW_OPTION_FLAG(struct retrieval_options, trials, "trials", "Also a table of the trials."),
    HW_OPTION_CHOICE(struct retrieval_options, format, "format", "text|published", "text",
                     "published: only the JSON that the script writes, {\"LAYER-HEAD\": [score of "
                     "each kept trial, ...], ...}."),
    HW_OPTIONS_ANALYSIS(struct retrieval_options, result),
};

static enum hw_status look(struct hw_invocation *in, struct hw_analysis_report *report,
                           struct hw_error *err) {
    const struct retrieval_options *opt = in->options;
    struct hw_retrieval retrieval = {0};
    char *stop = hw_unescape(opt->stop);
    if (stop == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for --stop");
    }
    struct hw_retrieval_options how = {.min_rouge = opt->min_rouge,
                                       .is_span_given = opt->span == 1,
                                       .stop = stop[0] != '\0' ? stop : NULL};
    enum hw_status status = hw_retrieval_compute(report->trace, &how, &retrieval, err);
    if (status == HW_OK) {
        status = retrieval_fill(report->trace, opt, &retrieval, report->result, err);
    }
    if (status == HW_OK) {
        if (retrieval.n_kept == 0) {
            hw_note(in, "%s: no trial was kept, so there are no scores",
                    hw_trace_path(report->trace));
        }
        if (opt->format == RETRIEVAL_PUBLISHED) {
            status = hw_json_print(retrieval_published(&retrieval, opt->measure), err);
        } else if (in->common.json) {
            report->json = retrieval_json(report->trace, opt, &retrieval, report->result);
        } else {
            status = retrieval_print(report, opt, &retrieval, err);
        }
    }
    hw_retrieval_free(&retrieval);
    free(stop);
    return status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct retrieval_options *opt = in->options;
    if (opt->format == RETRIEVAL_PUBLISHED && (in->common.json || in->n_arguments > 1)) {
        return hw_fail(err, HW_USAGE,
                       "retrieval: --format published is for one capture, and "
                       "without --json");
    }
    return hw_analysis_run(in, &opt->result, look, err);
}

const struct hw_command hw_command_retrieval = {
    .name = "retrieval",
    .summary = "find heads that look at what is copied",
    .arguments = "RUN.h5...",
    .min_arguments = 1,
    .max_arguments = HW_ANY_NUMBER,
    .description =
        "A trial asks for a sentence (the needle) that stands in a long text. A step of the "
        "response is a hit of a head where the head's strongest key lies in the needle and the "
        "token emitted is the one that stands there. The score of a head in a trial is its hits "
        "over the tokens of the needle; over trials, the mean of those that were answered.\n\n"
        "Trials are made and recorded by\n\n"
        " headwater prompts needle --model M --out needle.jsonl\n"
        " headwater capture --model M --prompts needle.jsonl --out run.h5 \\\n"
        "     --record decode_top --generate 50 --stop '\\n'\n\n"
        "Where no trial is kept, the model does not answer: a chat model may want its own "
        "template (prompts needle --template).",
    .examples = "headwater retrieval run.h5\n"
                "headwater retrieval --json run.h5 > heads.json\n"
                "headwater retrieval --format published run.h5 > scores.json\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct retrieval_options),
    .run = run,
};
