// Rows of an open capture from chunks that the codec decodes; inside of the trace reader.
#ifndef HW_TRACE_ROWS_H
#define HW_TRACE_ROWS_H

#include "formats/trace_reader_internal.h"

// Whether a dataset is chunked and its filters are shuffle and deflate: what the codec decodes.
bool hw_trace_is_shuffled_deflated(hid_t creation);

// Rows first .. first + n (n > 0, checked by the caller) of (dataset, slab) as stored. *ret_is_read
// false: the library is to read them. HW_INPUT where a chunk is broken.
enum hw_status hw_trace_rows_read(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                  size_t first, size_t n, void *ret_values, bool *ret_is_read,
                                  struct hw_error *err);
void hw_trace_rows_close(struct hw_trace *trace);

#endif
