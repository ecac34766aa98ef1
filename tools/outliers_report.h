// The three shapes of what `headwater outliers` finds: text, result, JSON.
#ifndef HW_OUTLIERS_REPORT_H
#define HW_OUTLIERS_REPORT_H

#include <jansson.h>

#include "analysis/outliers.h"
#include "analysis/outliers_weights.h"
#include "formats/result.h"
#include "tools/result_fill.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hw_outliers_report {
    struct hw_trace *trace;
    const struct hw_outliers *outliers;
    const struct hw_weight_layer *weights; // [n_weight_layers] or NULL: no model was given
    size_t n_weight_layers;
    size_t top; // most lines of the tables of tokens and channels
};

// Tables on stdout.
enum hw_status hw_outliers_print(const struct hw_outliers_report *report, struct hw_error *err);

// The datasets of the results file.
enum hw_status hw_outliers_fill(const struct hw_outliers_report *report, struct hw_result *result,
                                struct hw_error *err);

// The columns of a token, in files and JSON alike.
const struct hw_column *hw_outliers_token_columns(size_t *ret_n);

// The filled result with tokens, depths, layers and weights by rows; "heads": the share of a head's
// attention on attention outliers, which --heads @FILE reads. NULL without memory.
json_t *hw_outliers_json(const struct hw_outliers_report *report, const struct hw_result *result);

#ifdef __cplusplus
}
#endif
#endif
