// A part in which a test's own attention maps stand, for tests of what reads maps.
#ifndef HW_MAP_CAPTURE_H
#define HW_MAP_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/trace_reader.h"

// One prompt of n <= 128 tokens in the folder of trace_folder.h; maps [n_layers, n_heads, n, n].
// first_layer: number of the first. Asserts that it succeeds.
struct hw_trace *map_capture(const float *maps, size_t n_layers, size_t n_heads, size_t n,
                             int32_t first_layer);

#endif
