// What `headwater heads` says: text, result file and JSON.
#ifndef HW_HEADS_REPORT_H
#define HW_HEADS_REPORT_H

#include <jansson.h>

#include "analysis/head_distances.h"
#include "analysis/heads.h"
#include "formats/result.h"
#include "formats/trace_reader.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_HEADS_ANY_TYPE = -1, HW_HEADS_BY_POSITION = -1 };

// What is to be shown of an analysis.
struct heads_view {
    const struct hw_heads *heads;
    const struct hw_distances *distances; // NULL: not asked for
    int by;                               // enum hw_heads_measure, or by layer and head
    int type;                             // enum hw_heads_type, or any
    size_t top;                           // most lines of a table
};

// Recorded heads of the type in the order asked for, as layer * n_heads + head; from malloc, NULL
// without memory.
size_t *hw_heads_order(const struct heads_view *view, size_t *ret_n);

enum hw_status hw_heads_print(const struct hw_trace *trace, const struct heads_view *view,
                              struct hw_error *err);
enum hw_status hw_heads_fill(struct hw_result *result, const struct heads_view *view,
                             struct hw_error *err);
// The result, and "heads": one object a head.
json_t *hw_heads_document(const struct hw_result *result, const struct heads_view *view);

#ifdef __cplusplus
}
#endif
#endif
