// headwater sinks: sink tokens, sink heads, dormancy, value drains, residual peaks and secondary
// sinks of captures.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/sinks.h"
#include "tools/analysis_command.h"
#include "tools/command.h"
#include "tools/sinks_report.h"

enum { MAX_LENGTH = 1 << 24, GAP_AUTO = 0, GAP_NONE = 4 };

struct sinks_options {
    struct hw_analysis_options analysis;
    const char *epsilon;
    double share;
    uint64_t least_rows;
    int criterion;
    const char *at;
    const char *key;
    const char *triggers;
    int gap;
    double cosine;
    uint64_t first_among;
    uint64_t least_lifetime;
    uint64_t first_lifetime;
    uint64_t top;
};

static const struct hw_option options[] = {
    HW_OPTION_STRING(struct sinks_options, epsilon, "epsilon", "LIST", ".3",
                     "A head has a sink at a token where the mean attention of the queries that "
                     "see it (alpha) is above it; several, such as .3,.5, give several rates, and "
                     "the first decides on tokens."),
    HW_OPTION_REAL(struct sinks_options, share, "share", "S", ".1", 0, 1,
                   "List tokens that are a sink in at least this share of the heads."),
    HW_OPTION_COUNT(struct sinks_options, least_rows, "least-rows", "N", "16", 1, MAX_LENGTH,
                    "Leave out keys that fewer than N queries see, but never the first."),
    HW_OPTION_CHOICE(struct sinks_options, criterion, "criterion", "absolute|relative|either",
                     "absolute",
                     "Which tokens are sinks: alpha above epsilon, or among the two strongest keys "
                     "of the head."),
    HW_OPTION_STRING(struct sinks_options, at, "at", "LIST", NULL,
                     "Also the share of sink heads over the first T tokens only, such as 64,256."),
    HW_OPTION_STRING(struct sinks_options, key, "key", "LIST", "0",
                     "Positions whose alpha is kept for every head (and prompt, in files); the "
                     "first ranks the heads."),
    HW_OPTION_STRING(struct sinks_options, triggers, "triggers", "IDS", NULL,
                     "Token ids that dormancy leaves out as queries and shows apart, such as "
                     "1,43,58."),
    HW_OPTION_CHOICE(
        struct sinks_options, gap, "gap", "auto|toy|llm|seen|none", "auto",
        "Which logit gap of the first token to show: toy and llm are the two published "
        "ones, which need attention_scores or attention_vectors; seen is over the "
        "keys that a query sees, from any capture; auto: the first that is there."),
    HW_OPTION_GROUP("Secondary sinks"),
    HW_OPTION_REAL(struct sinks_options, cosine, "cosine", "C", ".9", 0, 1,
                   "A token follows the first sink where |cosine| of their residuals is above C."),
    HW_OPTION_COUNT(struct sinks_options, first_among, "first-among", "N", "2", 1, 3,
                    "Positions among which the first sink is looked for (3 under a chat "
                    "template)."),
    HW_OPTION_COUNT(struct sinks_options, least_lifetime, "least-lifetime", "N", "5", 1, 4096,
                    "Tokens that follow it in fewer layers are noise."),
    HW_OPTION_COUNT(struct sinks_options, first_lifetime, "first-lifetime", "N", "0", 0, 4096,
                    "Tokens that follow it in at least N layers are like the first; 0: layers - "
                    "15."),
    HW_OPTION_GROUP("Text"),
    HW_OPTION_COUNT(struct sinks_options, top, "top", "N", "10", 1, 1000000,
                    "Most lines in the tables of tokens and heads."),
    HW_OPTIONS_ANALYSIS(struct sinks_options, analysis),
};

static enum hw_status wrong(const char *option, const char *expected, const char *found,
                            struct hw_error *err) {
    char shown[100];
    return hw_fail(err, HW_USAGE, "sinks: option --%s: wrong value (expected %s, found '%s')",
                   option, expected, hw_escape(shown, sizeof shown, found, strlen(found)));
}

// Numbers from 0 to 1 with commas between.
static bool parse_epsilons(const char *text, struct hw_sinks_options *how) {
    char one[32];
    how->n_epsilons = 0;
    for (const char *at = text; how->n_epsilons < HW_SINKS_MAX_EPSILONS;) {
        size_t n = strcspn(at, ",");
        double value;
        if (n == 0 || n >= sizeof one) {
            return false;
        }
        memcpy(one, at, n);
        one[n] = '\0';
        if (!hw_parse_real(one, &value) || value < 0 || value > 1) {
            return false;
        }
        how->epsilons[how->n_epsilons++] = value;
        if (at[n] == '\0') {
            return true;
        }
        at += n + 1;
    }
    return false;
}

static enum hw_status parse(const struct sinks_options *opt, struct hw_sinks_options *how,
                            struct hw_error *err) {
    size_t triggers[HW_SINKS_MAX_TRIGGERS];
    hw_sinks_defaults(how);
    if (!parse_epsilons(opt->epsilon, how)) {
        return wrong("epsilon", "at most 8 numbers from 0 to 1", opt->epsilon, err);
    }
    if (opt->at != NULL && !hw_parse_counts(opt->at, 1, MAX_LENGTH, HW_SINKS_MAX_LENGTHS,
                                            how->lengths, &how->n_lengths)) {
        return wrong("at", "at most 16 numbers of tokens", opt->at, err);
    }
    if (!hw_parse_counts(opt->key, 0, MAX_LENGTH, HW_SINKS_MAX_KEYS, how->keys, &how->n_keys)) {
        return wrong("key", "at most 16 positions", opt->key, err);
    }
    if (opt->triggers != NULL &&
        !hw_parse_counts(opt->triggers, 0, INT32_MAX, HW_SINKS_MAX_TRIGGERS, triggers,
                         &how->n_triggers)) {
        return wrong("triggers", "at most 64 token ids", opt->triggers, err);
    }
    for (size_t i = 0; i < how->n_triggers; i++) {
        how->triggers[i] = (uint32_t)triggers[i];
    }
    how->share = opt->share;
    how->least_rows = opt->least_rows;
    how->criterion = (enum hw_sinks_criterion)opt->criterion;
    how->cosine = opt->cosine;
    how->n_first = opt->first_among;
    how->least_lifetime = opt->least_lifetime;
    how->first_lifetime = opt->first_lifetime;
    how->is_gap_wanted = opt->gap != GAP_NONE;
    return HW_OK;
}

// The gap to show; HW_INPUT where the one that was asked for cannot be had.
static enum hw_status choose_gap(const struct hw_trace *trace, const struct hw_sinks *sinks,
                                 int wanted, enum hw_sinks_gap *ret_gap, struct hw_error *err) {
    *ret_gap = HW_SINKS_N_GAPS;
    if (wanted == GAP_NONE) {
        return HW_OK;
    }
    for (int g = 0; g < HW_SINKS_N_GAPS && wanted == GAP_AUTO; g++) {
        if (sinks->gap[g] != NULL) {
            *ret_gap = (enum hw_sinks_gap)g;
            return HW_OK;
        }
    }
    if (wanted == GAP_AUTO) {
        return HW_OK;
    }
    *ret_gap = (enum hw_sinks_gap)(wanted - 1);
    return sinks->gap[*ret_gap] != NULL
               ? HW_OK
               : hw_fail(err, HW_INPUT, "%s: the logit gap %s %s", hw_trace_path(trace),
                         hw_sinks_gap_name(*ret_gap), sinks->gap_why_not[*ret_gap]);
}

static enum hw_status look(struct hw_invocation *in, struct hw_analysis_report *report,
                           struct hw_error *err) {
    const struct sinks_options *opt = in->options;
    struct hw_sinks_options how;
    struct hw_sinks sinks = {0};
    enum hw_sinks_gap gap;
    enum hw_status status = parse(opt, &how, err);
    how.n_threads = (int)in->common.threads;
    how.is_every_prompt_kept = opt->analysis.out != NULL || in->common.json;
    if (status == HW_OK) {
        status = hw_sinks_compute(report->trace, &how, &sinks, err);
    }
    if (status == HW_OK) {
        status = choose_gap(report->trace, &sinks, opt->gap, &gap, err);
    }
    if (status == HW_OK && !sinks.has_tokens) {
        hw_note(in,
                "%s: statistics of single tokens were not recorded (--detail prompt): no sink "
                "tokens",
                hw_trace_path(report->trace));
    }
    if (status == HW_OK && (opt->analysis.out != NULL || in->common.json)) {
        status = hw_sinks_fill(report->trace, &sinks, report->result, err);
    }
    if (status == HW_OK && in->common.json) {
        report->json = hw_sinks_json(report->trace, &sinks, report->result);
        status = report->json != NULL
                     ? HW_OK
                     : hw_fail(err, HW_RESOURCE, "not enough memory for the result as JSON");
    } else if (status == HW_OK) {
        (void)fputs(report->index > 0 ? "\n" : "", stdout);
        status = hw_sinks_print(report->trace, &sinks, gap, opt->top, err);
    }
    hw_sinks_free(&sinks);
    return status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct sinks_options *opt = in->options;
    struct hw_sinks_options how;
    enum hw_status status = parse(opt, &how, err); // before any file is opened
    return status == HW_OK ? hw_analysis_run(in, &opt->analysis, look, err) : status;
}

const struct hw_command hw_command_sinks = {
    .name = "sinks",
    .summary = "find attention sinks: tokens, heads, drains and peaks",
    .arguments = "RUN.h5...",
    .min_arguments = 1,
    .max_arguments = HW_ANY_NUMBER,
    .description =
        "alpha of a token in a head is the mean attention that the queries which see it pay to it. "
        "A sink is where alpha is above epsilon. Shares depend on the number of tokens T, which is "
        "printed with them; means are over prompts.\n\n"
        "For every sink token: the heads that have a sink there, the heads that have it among "
        "their "
        "two strongest keys, its drain (norm of its value over that of the other tokens, before "
        "and after the output projection) and its peak (the same for the residual stream). For "
        "every head: the mean attention of all queries to the first token by the domain of the "
        "prompts (a dormant head attends to nothing else), the entropies of its rows and columns "
        "as shares of the largest possible, and the gap of the first token's score. Secondary "
        "sinks are tokens whose residual points where the first token's does, over some layers.\n\n"
        "The list \"heads\" of the JSON output holds the sink heads, the strongest first.",
    .examples = "headwater sinks run.h5\n"
                "headwater sinks --epsilon .3,.5 --at 64,256,1024 --json run.h5\n"
                "headwater sinks --out sinks.h5 step1000.h5 step2000.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET | HW_COMMON_THREADS,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct sinks_options),
    .run = run,
};
