// One block of memory, sized by the plan, from which a run takes everything it needs: nothing
// allocates during a pass.
//
// Used twice with the same calls: first without memory (measure), to add up what a plan needs, then
// with it. So the size that the plan reports and the memory that is used cannot differ.
#ifndef HW_ARENA_H
#define HW_ARENA_H

#include <stddef.h>

#include "kernels/status.h"

enum { HW_ALIGN = 64 }; // cache line and AVX-512 vector

struct hw_arena {
    unsigned char *base; // NULL while measuring
    size_t size_bytes;   // 0 while measuring
    size_t used_bytes;
    int is_overflown; // a request did not fit or overflowed
};

// A measuring arena: hw_arena_take returns NULL and only counts.
void hw_arena_measure(struct hw_arena *arena);

// Allocates size_bytes, aligned and not yet touched (pages are mapped when first written).
// HW_RESOURCE where there is not enough memory.
enum hw_status hw_arena_open(struct hw_arena *arena, size_t size_bytes, struct hw_error *err);

// n elements of `element_bytes`, aligned to HW_ALIGN; NULL while measuring, or (is_overflown set)
// where they do not fit.
void *hw_arena_take(struct hw_arena *arena, size_t n, size_t element_bytes);

// Frees the block; accepts a measuring or closed arena.
void hw_arena_close(struct hw_arena *arena);

#endif
