// What the implementations of attention share: how maps are laid out and numbers stored in them.
#ifndef HW_ATTENTION_INTERNAL_H
#define HW_ATTENTION_INTERNAL_H

#include <math.h>
#include <string.h>

#include "kernels/ops.h"
#include "kernels/size.h"

// Keys that query row i of the call sees: 0 .. this - 1.
static inline size_t attention_keys_seen(const struct hw_attention_args *args, size_t i) {
    return args->query_first + i + 1;
}

// Index of value (query, key) of a head's tiles; both are positions, key's tile is not right of the
// query's.
static inline size_t attention_tile_index(size_t query, size_t key) {
    size_t a = query / HW_MAP_TILE;
    size_t tile = a * (a + 1) / 2 + key / HW_MAP_TILE;
    return (tile * HW_MAP_TILE + query % HW_MAP_TILE) * HW_MAP_TILE + key % HW_MAP_TILE;
}

// Values in the tiles of one head.
static inline size_t attention_map_values(const struct hw_attention_args *args) {
    size_t n = hw_size_div_up(args->n_keys, HW_MAP_TILE);
    return n * (n + 1) / 2 * HW_MAP_TILE * HW_MAP_TILE;
}

static inline size_t attention_map_value_bytes(enum hw_map_dtype dtype) {
    return dtype == HW_MAP_F32 ? 4 : 2;
}

// Whether the head's maps were asked for, and which one it is among them.
static inline bool attention_map_head(const struct hw_attention_request *request, size_t head,
                                      size_t *ret_index) {
    *ret_index = head - request->map_head_first;
    return head >= request->map_head_first && *ret_index < request->map_n_heads;
}

// The first value of the tiles of one of the heads of a map; NULL where there is no map.
static inline void *attention_map_of(const struct hw_attention_args *args, void *map,
                                     enum hw_map_dtype dtype, size_t map_head) {
    if (map == NULL) {
        return NULL;
    }
    return (char *)map + map_head * attention_map_values(args) * attention_map_value_bytes(dtype);
}

// IEEE half, round to nearest, ties to even.
static inline uint16_t attention_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00);
    }
    if (magnitude >= 0x477ff000) { // rounds past the largest half
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude < 0x38800000) { // subnormal: adding 0.5 leaves the rounded value in the low bits
        float shifted;
        memcpy(&shifted, &magnitude, sizeof shifted);
        shifted += 0.5f;
        memcpy(&magnitude, &shifted, sizeof magnitude);
        return (uint16_t)(sign | (magnitude - 0x3f000000));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

// Stores x at map[at]; NaN becomes 65535 in u16.
static inline void attention_map_store(void *map, enum hw_map_dtype dtype, size_t at, float x) {
    if (dtype == HW_MAP_F32) {
        ((float *)map)[at] = x;
    } else if (dtype == HW_MAP_F16) {
        ((uint16_t *)map)[at] = attention_half(x);
    } else {
        ((uint16_t *)map)[at] = isnan(x) ? UINT16_MAX : (uint16_t)rintf(x * 65534.0f);
    }
}

// Fills the rows of the last tiles that lie behind the prompt.
void hw_attention_pad_tiles(const struct hw_attention_args *args, void *map,
                            enum hw_map_dtype dtype);

// Scratch of the reference.
size_t hw_attention_ref_scratch(const struct hw_attention_args *args);

#endif
