// Which record serves which measure: the one table, for messages, for `info` and for
// docs/measures.md.
#ifndef HW_MEASURES_H
#define HW_MEASURES_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/trace_reader.h"
#include "formats/trace_records.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_MEASURE_MAX_RECORDS = 3, HW_MEASURE_MISSING_BYTES = 600 };

struct hw_measure {
    const char *name;    // "rollout"
    const char *command; // that shows it
    const char *section; // of the definitions: "I1"
    const char *text;    // half a sentence: what it says
    // Any one of these records serves; the rest are NULL.
    const char *records[HW_MEASURE_MAX_RECORDS];
    const char *also; // needed beside it, in words: "a capture of `prompts repeat`"; or NULL
};

const struct hw_measure *hw_measures(size_t *ret_n);
const struct hw_measure *hw_measure_find(const char *name); // NULL: there is none

// The first of the measure's records that the capture has. HW_INPUT where it has none: "FILE:
// rollout needs attention_maps or attention_vectors (found attention, values, ...): capture again
// with --record attention_vectors".
enum hw_status hw_measure_require(const struct hw_trace *trace, const char *measure,
                                  const char **ret_record, struct hw_error *err);

// What is missing where the capture has none of the measure's records, or (the record is there)
// what else the measure needs: "needs mlp_post (found attention, ...): capture again with --record
// mlp_post". For a table that goes on without the measure.
void hw_measure_missing(const struct hw_trace *trace, const char *measure, char *ret_text,
                        size_t n_bytes);

// The same of a command that shows what it can: HW_INPUT names the records of all its measures,
// any of which will do.
enum hw_status hw_measure_require_any(const struct hw_trace *trace, const char *command,
                                      struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
