// The records of a capture by the names of --record, for messages and for whoever needs one.
#ifndef HW_TRACE_RECORDS_H
#define HW_TRACE_RECORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/trace_reader.h"

#ifdef __cplusplus
extern "C" {
#endif

// Whether the capture has anything that `record` writes.
bool hw_trace_has_record(const struct hw_trace *trace, const char *record);

// The records of the capture, "attention, values", each once, cut to fit; "nothing" where there are
// none.
void hw_trace_list_records(const struct hw_trace *trace, char *ret_text, size_t n_bytes);

#ifdef __cplusplus
}
#endif
#endif
