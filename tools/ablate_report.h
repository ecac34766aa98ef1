// What `headwater ablate` says: result file, JSON and text.
#ifndef HW_ABLATE_REPORT_H
#define HW_ABLATE_REPORT_H

#include <jansson.h>

#include "analysis/ablation.h"
#include "analysis/mean.h"
#include "formats/result.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ablate_view {
    const struct hw_ablation *ablation;
    const struct hw_cells *cells;
    const struct hw_prompts *prompts;
    char *const *errors; // [n_prompts], NULL: it was run
    const char *model;
    size_t top; // most lines of a table
};

// How much a metric says that something was lost: the change of the metric, with the sign that is
// positive where the model became worse.
double ablate_effect(enum hw_metric metric, double value, double baseline);
// The metric that tables are sorted by: the first that was asked for.
enum hw_metric ablate_first_metric(const struct hw_ablation *ablation);
// Means over prompts: of a metric, and of its effect.
struct hw_mean ablate_mean(const struct ablate_view *view, size_t arm, size_t unit,
                           enum hw_metric metric);
struct hw_mean ablate_mean_effect(const struct ablate_view *view, size_t arm, size_t unit);
struct hw_mean ablate_mean_baseline(const struct ablate_view *view, enum hw_metric metric);
// Units that an arm is for, the largest effect first; from malloc, NULL without memory.
size_t *ablate_order(const struct ablate_view *view, size_t arm, size_t *ret_n);

// Axes, arrays and what the whole is. HW_RESOURCE.
enum hw_status hw_ablate_fill(struct hw_result *result, const struct ablate_view *view,
                              struct hw_error *err);
// The result with "heads": single heads by their effect under the first arm, for --heads @FILE; and
// "arms": the same for each.
json_t *hw_ablate_document(const struct hw_result *result, const struct ablate_view *view);
enum hw_status hw_ablate_print(const struct ablate_view *view, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
