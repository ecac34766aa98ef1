// Rows of one head's map from its queries and keys, by the attention op of the forward pass: the
// same op gives the same bits.
//
// Many rows go through one call, so that keys are packed seldom and every thread has blocks to
// take, and few enough that the rows are still in the cache when they are looked at.
#ifndef HW_MAP_REBUILD_H
#define HW_MAP_REBUILD_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/ops.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hw_map_vectors {
    const float *q; // [n_tokens, d_head], rows q_stride floats apart, after rotation
    const float *k; // [n_tokens, d_head] of its key/value head, rows k_stride apart
    size_t q_stride;
    size_t k_stride;
    size_t n_tokens;
    size_t d_head;
    float score_scale;
    const struct hw_attention_change *changes; // [n_changes] of a call with this head alone
    size_t n_changes;
};

struct hw_map_rebuild; // the op and its buffers

// has_changes: vectors may come with changes.
enum hw_status hw_map_rebuild_open(enum hw_level level, int n_threads, bool has_changes,
                                   struct hw_map_rebuild **ret_rebuild, struct hw_error *err);
void hw_map_rebuild_close(struct hw_map_rebuild **rebuild);

// Bytes that a head of n_tokens tokens takes besides its vectors; SIZE_MAX where that overflows.
size_t hw_map_rebuild_bytes(int n_threads, size_t n_tokens, size_t d_head, bool has_changes);

// n_rows rows from query first_row on, [n_rows, stride], keys 0 .. n_tokens - 1 set, 0 where
// masked.
typedef enum hw_status (*hw_map_rows_fn)(void *self, const float *rows, size_t first_row,
                                         size_t n_rows, size_t stride, struct hw_error *err);

// All rows in rising order, in pieces that start at multiples of HW_MAP_TILE and end at one or at
// the last row; anything but HW_OK ends it. HW_RESOURCE without memory.
enum hw_status hw_map_rebuild_run(struct hw_map_rebuild *rebuild,
                                  const struct hw_map_vectors *vectors, hw_map_rows_fn rows,
                                  void *self, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
