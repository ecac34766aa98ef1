// The three shapes of what `headwater sinks` finds: text, result, JSON.
#ifndef HW_SINKS_REPORT_H
#define HW_SINKS_REPORT_H

#include <jansson.h>

#include "analysis/sinks.h"
#include "formats/result.h"
#include "tools/result_fill.h"

#ifdef __cplusplus
extern "C" {
#endif

// Tables on stdout, at most `top` lines each; gap: which logit gap is shown, HW_SINKS_N_GAPS: none.
enum hw_status hw_sinks_print(const struct hw_trace *trace, const struct hw_sinks *sinks,
                              enum hw_sinks_gap gap, size_t top, struct hw_error *err);

// The datasets of the results file.
enum hw_status hw_sinks_fill(const struct hw_trace *trace, const struct hw_sinks *sinks,
                             struct hw_result *result, struct hw_error *err);

// The columns of a sink token, in files and JSON alike.
const struct hw_column *hw_sinks_token_columns(size_t *ret_n);

// The filled result with what readers want by rows: tokens, layers, depths, lengths, domains, and
// the sink heads, which --heads @FILE reads. NULL without memory.
json_t *hw_sinks_json(const struct hw_trace *trace, const struct hw_sinks *sinks,
                      const struct hw_result *result);

// "toy", "llm", "seen".
const char *hw_sinks_gap_name(enum hw_sinks_gap gap);

#ifdef __cplusplus
}
#endif
#endif
