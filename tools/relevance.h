// What `headwater rollout` and `headwater flow` have in common: options, the relevance of input
// tokens for chosen output tokens after chosen layers, its correlation with a reference, and the
// three shapes in which it is shown.
#ifndef HW_RELEVANCE_H
#define HW_RELEVANCE_H

#include <jansson.h>

#include "analysis/layer_maps.h"
#include "tools/analysis_command.h"
#include "tools/progress.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hw_relevance_options {
    struct hw_analysis_options analysis;
    const char *reduce;
    double residual;
    bool is_raw;
    const char *layers;
    const char *query;
    int relevance; // of rollout: 0 row, 1 max
    const char *reference;
    uint64_t top;
};

#define HW_OPTIONS_LAYER_MAPS(type)                                                                \
    HW_OPTION_STRING(type, reduce, "reduce", "mean|max|min|head=H", "mean",                        \
                     "How the heads of a layer become one map."),                                  \
        HW_OPTION_REAL(type, residual, "residual", "W", ".5", 0, 1,                                \
                       "Weight of the residual stream: M' = (1 - W) M + W I, rows divided by "     \
                       "their sum."),                                                              \
        HW_OPTION_FLAG(type, is_raw, "raw",                                                        \
                       "The maps as they are, without residual stream and division.")

#define HW_OPTIONS_REFERENCE(type)                                                                 \
    HW_OPTION_STRING(type, reference, "reference", "FILE.json", NULL,                              \
                     "Rank correlation with these values, such as gradients: a list of numbers, "  \
                     "one per token; a list of such lists, one per prompt; or an object "          \
                     "{prompt name: list}. null: left out."),                                      \
        HW_OPTION_COUNT(type, top, "top", "N", "10", 1, 1000000, "Most tokens in a table.")

// Of one prompt.
struct hw_relevance {
    size_t prompt;   // index in the file
    size_t n_tokens; // 0: a failed prompt, nothing else is set
    size_t *queries; // [n_queries] positions; SIZE_MAX where the prompt has no such token
    double *values;  // [n_layers, n_queries, n_tokens], NaN for missing queries
    double *highest; // [n_layers, n_tokens] largest over all queries; NULL: not computed
    double rho_dense;
    double rho_average; // NaN without a reference
};

// A capture in work.
struct hw_relevance_job {
    struct hw_invocation *in;
    const struct hw_relevance_options *options;
    struct hw_analysis_report *report;
    struct hw_map_source *source;
    struct hw_layer_map_options maps;
    size_t *layers; // [n_layers] chosen, rising
    size_t n_layers;
    int32_t *query_numbers; // [n_queries] axis: positions, or -1 for the last token
    size_t n_queries;
    bool has_highest;
    struct hw_relevance *prompts; // [n_prompts]
    size_t n_prompts;
    size_t n_failed;
    size_t max_tokens;
    json_t *reference;
};

// How one command does it.
struct hw_relevance_kind {
    const char *name; // "rollout"
    const char *long_name;
    const char *description;
    bool has_highest;
    bool is_normalised_apart; // flow: values and values divided by their sum
    bool is_large;            // every layer by default, and every query where a file is written
    size_t (*bytes)(const struct hw_map_source *source, size_t n_tokens, int n_threads);
    // Fills values (and highest) of a prompt whose arrays are there.
    enum hw_status (*compute)(const struct hw_relevance_job *job, struct hw_relevance *relevance,
                              struct hw_error *err);
};

// Checks what does not need a file; for run().
enum hw_status hw_relevance_parse(const char *command, const struct hw_relevance_options *options,
                                  struct hw_layer_map_options *ret_maps, struct hw_error *err);

// Everything for one capture; for hw_analysis_run.
enum hw_status hw_relevance_look(const struct hw_relevance_kind *kind, struct hw_invocation *in,
                                 const struct hw_relevance_options *options,
                                 struct hw_analysis_report *report, struct hw_error *err);

// relevance_reference.c: rho of every prompt that the reference has values for.
enum hw_status hw_relevance_correlate(const struct hw_relevance_kind *kind,
                                      struct hw_relevance_job *job, struct hw_error *err);
// The vector that is shown and compared: [n_tokens] of the last chosen layer.
const double *hw_relevance_shown(const struct hw_relevance_job *job,
                                 const struct hw_relevance *relevance);

// relevance_result.c, relevance_text.c.
enum hw_status hw_relevance_fill(const struct hw_relevance_kind *kind,
                                 const struct hw_relevance_job *job, struct hw_error *err);
json_t *hw_relevance_json(const struct hw_relevance_kind *kind, const struct hw_relevance_job *job);
enum hw_status hw_relevance_print(const struct hw_relevance_kind *kind,
                                  const struct hw_relevance_job *job, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
