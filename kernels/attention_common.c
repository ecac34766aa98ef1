// Attention: what all implementations have in common besides arithmetic.
#include "kernels/attention_internal.h"

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

size_t hw_attention_scratch(int n_threads, const struct hw_attention_args *args) {
    return hw_attention_ref_scratch(args);
}
