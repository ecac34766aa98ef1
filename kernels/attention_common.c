// Attention: what all implementations have in common besides arithmetic.
#include "kernels/attention_internal.h"

// Four floats, for turning keys into columns four by four.
typedef float quad __attribute__((vector_size(16)));

static quad load_quad(const float *from) {
    quad x;
    memcpy(&x, from, sizeof x);
    return x;
}

// Four channels of four keys, from key rows to channel rows.
static void transpose_quad(const float *k, size_t stride, float *panel) {
    quad a = load_quad(k), b = load_quad(k + stride);
    quad c = load_quad(k + 2 * stride), d = load_quad(k + 3 * stride);
    quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    quad ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    quad cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    quad rows[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                    __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                    __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                    __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
    for (size_t r = 0; r < 4; r++) {
        memcpy(panel + r * ATTENTION_PANEL, &rows[r], sizeof rows[r]);
    }
}

void hw_attention_pack_keys(const struct hw_attention_args *args, size_t kv_head, size_t first,
                            float *panel) {
    const float *k = args->k + first * args->k_stride + kv_head * args->d_head;
    size_t n = hw_size_min(args->n_keys - first, ATTENTION_PANEL);
    size_t c = 0;
    for (; n == ATTENTION_PANEL && c + 4 <= args->d_head; c += 4) {
        for (size_t j = 0; j < ATTENTION_PANEL; j += 4) {
            transpose_quad(k + j * args->k_stride + c, args->k_stride,
                           panel + c * ATTENTION_PANEL + j);
        }
    }
    for (; c < args->d_head; c++) {
        for (size_t j = 0; j < ATTENTION_PANEL; j++) {
            panel[c * ATTENTION_PANEL + j] = j < n ? k[j * args->k_stride + c] : 0;
        }
    }
}

void hw_attention_pack_values(const struct hw_attention_args *args, size_t kv_head, size_t first,
                              size_t n, size_t d_pad, float *values) {
    size_t d = args->d_head;
    for (size_t j = 0; j < n; j++) {
        size_t used = first + j < args->n_keys ? d : 0;
        if (used > 0) {
            memcpy(values + j * d_pad, args->v + (first + j) * args->v_stride + kv_head * d,
                   used * sizeof *values);
        }
        memset(values + j * d_pad + used, 0, (d_pad - used) * sizeof *values);
    }
}

void hw_attention_block_rows(const struct attention_plan *plan, const struct attention_work *work,
                             size_t block, struct attention_block *ret) {
    const struct hw_attention_args *args = plan->args;
    ret->first = block * plan->n_rows;
    ret->n_per_head = hw_size_min(args->n_queries - ret->first, plan->n_rows);
    ret->n_rows = ret->n_per_head * work->n_heads;
    struct attention_row *row = ret->rows;
    for (size_t head = work->head_first; head < work->head_first + work->n_heads; head++) {
        for (size_t i = ret->first; i < ret->first + ret->n_per_head; i++, row++) {
            size_t n_seen = attention_keys_seen(args, i);
            *row = (struct attention_row){.n_seen = n_seen,
                                          .out = i * args->n_heads + head,
                                          .query = i,
                                          .head = head,
                                          .is_changed = args->n_changes > 0 &&
                                                        hw_attention_is_changed(args, head, i),
                                          .n_kept = n_seen,
                                          .peak = 1,
                                          .whole = 1};
        }
    }
    ret->n_seen = attention_keys_seen(args, ret->first + ret->n_per_head - 1);
    ret->end = hw_size_div_up(ret->n_seen, ATTENTION_PANEL) * ATTENTION_PANEL;
}

void hw_attention_pad_tiles(const struct hw_attention_args *args, void *map,
                            enum hw_map_dtype dtype) {
    const struct hw_attention_request *request = &args->request;
    size_t end = hw_size_div_up(args->n_keys, HW_MAP_TILE) * HW_MAP_TILE;
    for (size_t m = 0; map != NULL && m < request->map_n_heads; m++) {
        void *tiles = attention_map_of(args, map, dtype, m);
        for (size_t i = args->n_keys; i < end; i++) {
            for (size_t j = 0; j < end; j++) {
                attention_map_store(tiles, dtype, attention_tile_index(i, j), NAN);
            }
        }
    }
}
