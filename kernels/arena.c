// The arena; see arena.h.
#include "kernels/arena.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/size.h"

void hw_arena_measure(struct hw_arena *arena) {
    memset(arena, 0, sizeof *arena);
}

enum hw_status hw_arena_open(struct hw_arena *arena, size_t size_bytes, struct hw_error *err) {
    memset(arena, 0, sizeof *arena);
    if (size_bytes == 0) {
        size_bytes = HW_ALIGN;
    }
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return hw_fail(err, HW_RESOURCE, "cannot allocate %zu bytes of working memory", size_bytes);
    }
    // Large pages spare the matrix kernels most of their TLB misses; refusal is harmless.
    (void)madvise(base, size_bytes, MADV_HUGEPAGE);
    arena->base = base;
    arena->size_bytes = size_bytes;
    return HW_OK;
}

void *hw_arena_take(struct hw_arena *arena, size_t n, size_t element_bytes) {
    size_t bytes;
    size_t end;
    if (!hw_size_mul(n, element_bytes, &bytes) || !hw_size_round_up(bytes, HW_ALIGN, &bytes) ||
        !hw_size_add(arena->used_bytes, bytes, &end)) {
        arena->is_overflown = 1;
        return NULL;
    }
    if (arena->base == NULL) {
        arena->used_bytes = end;
        return NULL;
    }
    if (end > arena->size_bytes) {
        arena->is_overflown = 1;
        return NULL;
    }
    void *taken = arena->base + arena->used_bytes;
    arena->used_bytes = end;
    return taken;
}

void hw_arena_close(struct hw_arena *arena) {
    if (arena->base != NULL) {
        (void)munmap(arena->base, arena->size_bytes);
    }
    memset(arena, 0, sizeof *arena);
}
