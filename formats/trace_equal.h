// Whether two captures are the same: objects, types, sizes, chunks, filters, attributes and values,
// but for what says when, where and by which parts they were made (run_id, dates, history,
// hostname, command line, threads, n_parts, parts_json).
#ifndef HW_TRACE_EQUAL_H
#define HW_TRACE_EQUAL_H

#include "kernels/status.h"

// HW_OK: equal. HW_WRONG: not, and the message names the first place. HW_INPUT: a file cannot be
// read. Values are compared by their bits.
enum hw_status hw_trace_equal(const char *a, const char *b, struct hw_error *err);

#endif
