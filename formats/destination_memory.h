// A destination that keeps every row in memory, for tests and for sweeps that reduce at once.
#ifndef HW_DESTINATION_MEMORY_H
#define HW_DESTINATION_MEMORY_H

#include <stddef.h>

#include "formats/destination.h"

struct hw_destination_memory;

// The layout must outlive it. HW_RESOURCE without memory.
enum hw_status hw_destination_memory_open(const struct hw_layout *layout,
                                          struct hw_destination_memory **ret_memory,
                                          struct hw_error *err);
void hw_destination_memory_close(struct hw_destination_memory **memory);
struct hw_destination *hw_destination_memory_base(struct hw_destination_memory *memory);

// All rows so far of (dataset, slab), [*ret_n_rows, inner...] of the element of the layout;
// pointers to strings for vstr. NULL and 0 where there are none. Valid until the next append.
const void *hw_destination_memory_get(const struct hw_destination_memory *memory,
                                      enum hw_dataset dataset, size_t slab, size_t *ret_n_rows);

// The packed tiles of the map of the n-th prompt that ended, as they were appended; NULL where
// there is none.
const void *hw_destination_memory_map(const struct hw_destination_memory *memory,
                                      enum hw_dataset dataset, size_t prompt_index, size_t layer,
                                      size_t head, size_t *ret_n_tiles_edge);

#endif
