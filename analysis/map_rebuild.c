// Maps from queries and keys. The op writes only the keys that a row sees; what lies beyond must be
// 0, so the buffer is remembered up to where it was written, and no more than that is cleared.
#include "analysis/map_rebuild.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/arena.h"
#include "kernels/size.h"

enum {
    PIECE_BYTES = 8 << 20, // of rows handed out by one call of the op, at least HW_MAP_TILE rows
    STRIDE_PAD = 16,       // floats that rows are padded to
};

struct hw_map_rebuild {
    struct hw_ops ops;
    int n_threads;
    struct hw_arena arena;
    size_t n_tokens; // that the arena is for
    size_t d_head;
    bool has_changes;
    float *rows;     // [n_rows, stride]
    size_t *written; // [n_rows] keys of the row that may not be 0
    void *scratch;
    size_t n_rows;
    size_t stride;
    size_t scratch_bytes;
};

// The sizes for prompts of n_tokens; false where they overflow.
static bool sizes_of(size_t n_tokens, size_t *ret_stride, size_t *ret_rows, size_t *ret_values) {
    size_t row_bytes;
    if (!hw_size_round_up(n_tokens, STRIDE_PAD, ret_stride) ||
        !hw_size_mul(*ret_stride, sizeof(float), &row_bytes)) {
        return false;
    }
    size_t n_tiles = PIECE_BYTES / hw_size_max(row_bytes, 1) / HW_MAP_TILE;
    n_tiles = hw_size_max(n_tiles, 1);
    n_tiles = hw_size_min(n_tiles, hw_size_div_up(n_tokens, HW_MAP_TILE));
    *ret_rows = n_tiles * HW_MAP_TILE;
    return hw_size_mul(*ret_rows, *ret_stride, ret_values);
}

// The call for the rows from query `first` on.
static struct hw_attention_args args_of(const struct hw_map_rebuild *r, size_t first,
                                        size_t n_tokens, size_t d_head) {
    size_t n_rows = hw_size_min(r->n_rows, n_tokens - first);
    return (struct hw_attention_args){.n_queries = n_rows,
                                      .n_keys = first + n_rows,
                                      .n_heads = 1,
                                      .n_kv_heads = 1,
                                      .d_head = d_head,
                                      .query_first = first,
                                      .n_changes = r->has_changes, // of those that may come
                                      .request = {.rows = r->rows, .row_stride = r->stride}};
}

// Takes everything for heads of n_tokens and d_head from the arena; false where sizes overflow.
static bool carve(struct hw_map_rebuild *r, size_t n_tokens, size_t d_head) {
    size_t n_values;
    if (!sizes_of(n_tokens, &r->stride, &r->n_rows, &n_values)) {
        return false;
    }
    r->scratch_bytes = 0;
    for (size_t first = 0; first < n_tokens; first += r->n_rows) {
        struct hw_attention_args args = args_of(r, first, n_tokens, d_head);
        r->scratch_bytes = hw_size_max(r->scratch_bytes, hw_attention_scratch(r->n_threads, &args));
    }
    r->rows = hw_arena_take(&r->arena, n_values, sizeof *r->rows);
    r->written = hw_arena_take(&r->arena, r->n_rows, sizeof *r->written);
    r->scratch = hw_arena_take(&r->arena, r->scratch_bytes, 1);
    return !r->arena.is_overflown;
}

size_t hw_map_rebuild_bytes(int n_threads, size_t n_tokens, size_t d_head, bool has_changes) {
    struct hw_map_rebuild r = {.n_threads = n_threads, .has_changes = has_changes};
    hw_arena_measure(&r.arena);
    return carve(&r, n_tokens, d_head) ? r.arena.used_bytes : SIZE_MAX;
}

enum hw_status hw_map_rebuild_open(enum hw_level level, int n_threads, bool has_changes,
                                   struct hw_map_rebuild **ret_rebuild, struct hw_error *err) {
    struct hw_map_rebuild *rebuild = calloc(1, sizeof *rebuild);
    if (rebuild == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to rebuild maps");
    }
    hw_ops_init(&rebuild->ops, level);
    rebuild->n_threads = n_threads;
    rebuild->has_changes = has_changes;
    *ret_rebuild = rebuild;
    return HW_OK;
}

void hw_map_rebuild_close(struct hw_map_rebuild **rebuild) {
    if (*rebuild != NULL) {
        hw_arena_close(&(*rebuild)->arena);
        free(*rebuild);
        *rebuild = NULL;
    }
}

static enum hw_status reserve(struct hw_map_rebuild *r, size_t n_tokens, size_t d_head,
                              struct hw_error *err) {
    if (n_tokens == r->n_tokens && d_head == r->d_head) {
        return HW_OK;
    }
    size_t bytes = hw_map_rebuild_bytes(r->n_threads, n_tokens, d_head, r->has_changes);
    hw_arena_close(&r->arena);
    r->n_tokens = 0;
    if (bytes == SIZE_MAX) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for maps of %zu tokens", n_tokens);
    }
    enum hw_status status = hw_arena_open(&r->arena, bytes, err);
    if (status == HW_OK) {
        (void)carve(r, n_tokens, d_head);
        memset(r->rows, 0, r->n_rows * r->stride * sizeof *r->rows);
        memset(r->written, 0, r->n_rows * sizeof *r->written);
        r->n_tokens = n_tokens;
        r->d_head = d_head;
    }
    return status;
}

enum hw_status hw_map_rebuild_run(struct hw_map_rebuild *rebuild,
                                  const struct hw_map_vectors *vectors, hw_map_rows_fn rows,
                                  void *self, struct hw_error *err) {
    struct hw_map_rebuild *r = rebuild;
    struct hw_exec exec = {r->n_threads, NULL, 0};
    enum hw_status status = reserve(r, vectors->n_tokens, vectors->d_head, err);
    exec.scratch = r->scratch;
    exec.scratch_bytes = r->scratch_bytes;
    for (size_t first = 0; first < vectors->n_tokens && status == HW_OK; first += r->n_rows) {
        struct hw_attention_args args = args_of(r, first, vectors->n_tokens, vectors->d_head);
        size_t n_rows = args.n_queries;
        args.q = vectors->q + first * vectors->q_stride;
        args.k = vectors->k;
        args.q_stride = vectors->q_stride;
        args.k_stride = vectors->k_stride;
        args.score_scale = vectors->score_scale;
        args.changes = vectors->changes;
        args.n_changes = vectors->n_changes;
        r->ops.attention(&exec, &args);
        for (size_t i = 0; i < n_rows; i++) {
            size_t n_seen = first + i + 1;
            if (r->written[i] > n_seen) {
                memset(r->rows + i * r->stride + n_seen, 0,
                       (r->written[i] - n_seen) * sizeof *r->rows);
            }
            r->written[i] = n_seen;
        }
        status = rows(self, r->rows, first, n_rows, r->stride, err);
    }
    return status;
}
