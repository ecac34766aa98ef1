// Which record serves which measure; see measures.h.
#include "analysis/measures.h"

#include <stdio.h>
#include <string.h>

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
    {"attention_outliers",
     "outliers",
     "E3",
     "keys that a tenth of the rows' mass goes to",
     {"attention"},
     NULL},
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

bool hw_trace_has_record(const struct hw_trace *trace, const char *record) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (hw_trace_has(trace, (enum hw_dataset)i) &&
            strcmp(hw_schema_row((enum hw_dataset)i)->record, record) == 0) {
            return true;
        }
    }
    return false;
}

// The records of the capture, "attention, values", each once; "nothing" where there are none.
static void list_records(const struct hw_trace *trace, char *ret_text, size_t n_bytes) {
    size_t at = 0;
    ret_text[0] = '\0';
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const char *record = hw_schema_row((enum hw_dataset)i)->record;
        bool is_new = record[0] != '\0' && hw_trace_has(trace, (enum hw_dataset)i);
        for (int before = 0; before < i && is_new; before++) {
            is_new = !hw_trace_has(trace, (enum hw_dataset)before) ||
                     strcmp(hw_schema_row((enum hw_dataset)before)->record, record) != 0;
        }
        if (is_new && at < n_bytes) {
            int n = snprintf(ret_text + at, n_bytes - at, "%s%s", at > 0 ? ", " : "", record);
            at += n > 0 ? (size_t)n : 0;
        }
    }
    if (at == 0) {
        (void)snprintf(ret_text, n_bytes, "nothing");
    }
}

enum hw_status hw_measure_require(const struct hw_trace *trace, const char *measure,
                                  const char **ret_record, struct hw_error *err) {
    const struct hw_measure *m = hw_measure_find(measure);
    if (m == NULL) {
        return hw_fail(err, HW_INTERNAL, "there is no measure %s", measure);
    }
    char wanted[200] = "";
    for (size_t i = 0; i < HW_MEASURE_MAX_RECORDS && m->records[i] != NULL; i++) {
        if (hw_trace_has_record(trace, m->records[i])) {
            *ret_record = m->records[i];
            return HW_OK;
        }
        size_t at = strlen(wanted);
        (void)snprintf(wanted + at, sizeof wanted - at, "%s%s", i > 0 ? " or " : "", m->records[i]);
    }
    if (m->records[0] == NULL) {
        *ret_record = NULL;
        return HW_OK;
    }
    char found[300];
    list_records(trace, found, sizeof found);
    return hw_fail(err, HW_INPUT, "%s: %s needs %s (found %s): capture again with --record %s",
                   hw_trace_path(trace), measure, wanted, found, m->records[0]);
}
