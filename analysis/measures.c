// Which record serves which measure; see measures.h.
#include "analysis/measures.h"

#include <stdio.h>
#include <string.h>

enum { WANTED_BYTES = 200, FOUND_BYTES = 300 };

#define MAPS                                                                                       \
    { "attention_vectors", "attention_maps" }

static const struct hw_measure measures[] = {
    {"sink_score",
     "sinks",
     "A1, D1",
     "alpha of the first token in every head",
     {"attention"},
     NULL},
    {"sink_tokens",
     "sinks",
     "A1, D1",
     "which tokens are sinks, at every position",
     {"attention"},
     "statistics of single tokens (--detail token)"},
    {"sink_rate_length",
     "sinks",
     "A1",
     "share of sink heads over the first T tokens",
     {"attention"},
     "statistics of single tokens (--detail token)"},
    {"dormancy",
     "sinks",
     "D1",
     "heads active on one domain and dormant on another",
     {"attention"},
     "prompts with a domain"},
    {"value_drain",
     "sinks",
     "D2, A3",
     "value norm of a sink against the other tokens, before and "
     "after W_O",
     {"values"},
     "`attention`, by which sinks are found"},
    {"residual_peak",
     "sinks",
     "D3",
     "residual norm of a sink against the other tokens",
     {"norms"},
     "`attention`, by which sinks are found"},
    {"secondary_sinks",
     "sinks",
     "F",
     "later tokens that turn towards the first one's state",
     {"norms"},
     "`attention`; statistics of single tokens (--detail token)"},
    {"logit_gap",
     "sinks",
     "D4",
     "score of the first token less that of the others",
     {"attention_scores", "attention_vectors"},
     "`attention`, by which sinks are found"},
    {"normalised_entropy",
     "sinks",
     "D5",
     "entropy of rows and columns over its largest value",
     {"attention"},
     NULL},
    {"massive_activations",
     "outliers",
     "C1",
     "activations far above the median",
     {"massive"},
     NULL},
    {"activation_outliers",
     "outliers",
     "E1",
     "tokens with activations far above the mean",
     {"massive"},
     "norms beside it"},
    {"neuron_outliers",
     "outliers",
     "E2",
     "largest and median input of down_proj, and its largest neurons",
     {"mlp_post"},
     NULL},
    {"attention_outliers",
     "outliers",
     "E3",
     "keys that a tenth of the rows' mass goes to",
     {"attention"},
     "statistics of single tokens (--detail token)"},
    {"weight_outliers",
     "outliers",
     "E4",
     "weights far above the mean of their row or column",
     {NULL},
     "the model (--model)"},
    {"head_statistics",
     "heads",
     "L1, N1",
     "where each head looks: entropy, first, previous, self, "
     "spans, distance",
     {"attention"},
     NULL},
    {"top_p_count", "heads", "N2", "how many keys hold a share p of a row", MAPS, NULL},
    {"head_distance", "heads", "L3", "Jensen-Shannon distances between heads", MAPS, NULL},
    {"induction",
     "induction",
     "K1, K2, K5",
     "attention to what followed the same token before",
     {"attention", "attention_vectors", "attention_maps"},
     "a capture of `prompts repeat`"},
    {"echo",
     "induction",
     "H4",
     "attention to the same token of earlier periods",
     {"attention", "attention_vectors", "attention_maps"},
     "a capture of `prompts repeat`"},
    {"retrieval",
     "retrieval",
     "H1",
     "how often a head looks at the needle's token that is copied",
     {"decode_top"},
     "a capture of `prompts needle` with --generate"},
    {"rollout", "rollout", "I1", "attention multiplied through the layers", MAPS, NULL},
    {"flow", "flow", "I2", "largest flow from an output token to each input", MAPS, NULL},
};

const struct hw_measure *hw_measures(size_t *ret_n) {
    *ret_n = sizeof measures / sizeof *measures;
    return measures;
}

const struct hw_measure *hw_measure_find(const char *name) {
    for (size_t i = 0; i < sizeof measures / sizeof *measures; i++) {
        if (strcmp(measures[i].name, name) == 0) {
            return &measures[i];
        }
    }
    return NULL;
}

// Adds the record to "a or b" unless it is there.
static void add_record(char *text, size_t n_bytes, const char *record) {
    size_t n = strlen(record);
    for (const char *at = strstr(text, record); at != NULL; at = strstr(at + n, record)) {
        if ((at == text || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' ')) {
            return;
        }
    }
    size_t end = strlen(text);
    (void)snprintf(text + end, n_bytes - end, "%s%s", end > 0 ? " or " : "", record);
}

// "needs a or b (found c, d): capture again with --record a".
static void word(const struct hw_trace *trace, const char *wanted, const char *first,
                 char *ret_text, size_t n_bytes) {
    char found[FOUND_BYTES];
    hw_trace_list_records(trace, found, sizeof found);
    (void)snprintf(ret_text, n_bytes, "needs %s (found %s): capture again with --record %s", wanted,
                   found, first);
}

void hw_measure_missing(const struct hw_trace *trace, const char *measure, char *ret_text,
                        size_t n_bytes) {
    const struct hw_measure *m = hw_measure_find(measure);
    char wanted[WANTED_BYTES] = "";
    const char *present = NULL;
    for (size_t i = 0; m != NULL && i < HW_MEASURE_MAX_RECORDS && m->records[i] != NULL; i++) {
        present =
            present == NULL && hw_trace_has_record(trace, m->records[i]) ? m->records[i] : present;
        add_record(wanted, sizeof wanted, m->records[i]);
    }
    if (m == NULL || m->records[0] == NULL || present != NULL) {
        (void)snprintf(ret_text, n_bytes, "needs %s",
                       m == NULL || m->also == NULL ? "more than the capture has" : m->also);
        return;
    }
    word(trace, wanted, m->records[0], ret_text, n_bytes);
}

enum hw_status hw_measure_require(const struct hw_trace *trace, const char *measure,
                                  const char **ret_record, struct hw_error *err) {
    const struct hw_measure *m = hw_measure_find(measure);
    char text[HW_MEASURE_MISSING_BYTES];
    if (m == NULL) {
        return hw_fail(err, HW_INTERNAL, "there is no measure %s", measure);
    }
    for (size_t i = 0; i < HW_MEASURE_MAX_RECORDS && m->records[i] != NULL; i++) {
        if (hw_trace_has_record(trace, m->records[i])) {
            *ret_record = m->records[i];
            return HW_OK;
        }
    }
    if (m->records[0] == NULL) {
        *ret_record = NULL;
        return HW_OK;
    }
    hw_measure_missing(trace, measure, text, sizeof text);
    return hw_fail(err, HW_INPUT, "%s: %s %s", hw_trace_path(trace), measure, text);
}

enum hw_status hw_measure_require_any(const struct hw_trace *trace, const char *command,
                                      struct hw_error *err) {
    char wanted[WANTED_BYTES] = "";
    char text[HW_MEASURE_MISSING_BYTES];
    const char *first = NULL;
    for (size_t m = 0; m < sizeof measures / sizeof *measures; m++) {
        const struct hw_measure *of = &measures[m];
        for (size_t i = 0; strcmp(of->command, command) == 0 && i < HW_MEASURE_MAX_RECORDS &&
                           of->records[i] != NULL;
             i++) {
            first = first == NULL ? of->records[i] : first;
            add_record(wanted, sizeof wanted, of->records[i]);
            if (hw_trace_has_record(trace, of->records[i])) { // but not what goes with it
                hw_measure_missing(trace, of->name, text, sizeof text);
                return hw_fail(err, HW_INPUT, "%s: %s %s", hw_trace_path(trace), of->name, text);
            }
        }
    }
    if (first == NULL) {
        return hw_fail(err, HW_INTERNAL, "there are no measures of %s", command);
    }
    word(trace, wanted, first, text, sizeof text);
    return hw_fail(err, HW_INPUT, "%s: %s %s", hw_trace_path(trace), command, text);
}
