// Map tiles of an open capture: the stored chunk is fetched and decoded here, several times faster
// than by the library's filters.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"
#include "formats/prompt_rows.h"
#include "formats/trace_rows.h"
#include "kernels/attention.h"
#include "kernels/size.h"

enum { TILE_VALUES = HW_MAP_TILE * HW_MAP_TILE };

static enum hw_status check_tile(const struct hw_trace *trace, const struct hw_map_place *place,
                                 size_t a, size_t b, struct hw_error *err) {
    const struct hw_group_axes *axes = &trace->layout.groups[HW_GROUP_ATTENTION];
    const struct hw_schema_row *row = hw_schema_row(place->dataset);
    if (!hw_dataset_is_map(place->dataset) || !trace->shape.has[place->dataset]) {
        return hw_fail(err, HW_INPUT, "%s: attention/%s is not recorded; capture with --record %s",
                       trace->path, row->name, row->record);
    }
    size_t n_edge =
        hw_size_div_up(trace->shape.axes[HW_GROUP_ATTENTION][HW_AXIS_QUERY], HW_MAP_TILE);
    if (place->prompt >= trace->shape.axes[HW_GROUP_ATTENTION][HW_AXIS_PROMPT] ||
        place->layer >= axes->n_layers || place->head >= axes->n_heads || a >= n_edge ||
        b >= n_edge) {
        return hw_fail(err, HW_INPUT,
                       "%s: attention/%s has no tile %zu, %zu of prompt %zu, layer %zu, head %zu",
                       trace->path, row->name, a, b, place->prompt, place->layer, place->head);
    }
    return HW_OK;
}

enum hw_status hw_trace_read_chunk(struct hw_trace *trace, const struct hw_map_place *place,
                                   size_t a, size_t b, struct hw_codec_chunk *ret_chunk,
                                   struct hw_error *err) {
    enum hw_status status = check_tile(trace, place, a, b, err);
    if (status != HW_OK) {
        return status;
    }
    hid_t dataset = trace->datasets[place->dataset];
    hsize_t offset[HW_MAX_AXES] = {place->prompt, place->layer, place->head, a * HW_MAP_TILE,
                                   b * HW_MAP_TILE};
    hsize_t n_bytes = 0;
    size_t element_bytes = hw_element_bytes(trace->shape.element[place->dataset]);
    size_t most = TILE_VALUES * element_bytes * 2; // encoded chunks never grow
    if (H5Dget_chunk_storage_size(dataset, offset, &n_bytes) < 0) {
        // The library of this version calls a chunk that is not stored an error.
        (void)H5Eclear2(H5E_DEFAULT);
        n_bytes = 0;
    }
    if (n_bytes > most) {
        return hw_fail(err, HW_INPUT, "%s: a tile of %llu bytes, expected at most %zu", trace->path,
                       (unsigned long long)n_bytes, most);
    }
    struct hw_codec_chunk chunk = {.n_bytes = (size_t)n_bytes, .element_bytes = element_bytes};
    if (n_bytes > 0) {
        chunk.data = malloc((size_t)n_bytes);
        if (chunk.data == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for a tile");
        }
        if (H5Dread_chunk(dataset, H5P_DEFAULT, offset, &chunk.filter_mask, chunk.data) < 0) {
            free(chunk.data);
            return hw_h5_fail(err, HW_INPUT, "%s: a tile cannot be read", trace->path);
        }
    }
    *ret_chunk = chunk;
    return HW_OK;
}

// Through the library: masters, whose tiles lie in other files, and datasets filtered in another
// way than ours.
static enum hw_status read_slowly(struct hw_trace *trace, const struct hw_map_place *place,
                                  size_t a, size_t b, unsigned char *tile, struct hw_error *err) {
    size_t edge = trace->shape.axes[HW_GROUP_ATTENTION][HW_AXIS_QUERY];
    hsize_t n_queries = hw_size_min(HW_MAP_TILE, edge - a * HW_MAP_TILE);
    hsize_t n_keys = hw_size_min(HW_MAP_TILE, edge - b * HW_MAP_TILE);
    hsize_t start[HW_MAX_AXES] = {place->prompt, place->layer, place->head, a * HW_MAP_TILE,
                                  b * HW_MAP_TILE};
    hsize_t count[HW_MAX_AXES] = {1, 1, 1, n_queries, n_keys};
    hsize_t whole[2] = {HW_MAP_TILE, HW_MAP_TILE}, origin[2] = {0, 0},
            part[2] = {n_queries, n_keys};
    enum hw_element element = trace->shape.element[place->dataset];
    hid_t dataset = trace->datasets[place->dataset];
    hw_element_fill(element, TILE_VALUES, tile);
    hid_t space = H5Dget_space(dataset);
    hid_t memory = H5Screate_simple(2, whole, NULL);
    herr_t e = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) |
               H5Sselect_hyperslab(memory, H5S_SELECT_SET, origin, NULL, part, NULL);
    enum hw_status status = HW_OK;
    if (e < 0 || H5Dread(dataset, hw_h5_type(element), memory, space, H5P_DEFAULT, tile) < 0) {
        status = hw_h5_fail(err, HW_INPUT, "%s: a tile cannot be read", trace->path);
    }
    hw_h5_close(&memory);
    hw_h5_close(&space);
    return status;
}

// Whether the codec decodes its chunks, and each is one tile.
static bool is_ours(hid_t dataset) {
    hsize_t chunk[HW_MAX_AXES] = {0};
    hid_t creation = H5Dget_create_plist(dataset);
    bool is_same = hw_trace_is_shuffled_deflated(creation) &&
                   H5Pget_chunk(creation, HW_MAX_AXES, chunk) == HW_MAX_AXES && chunk[0] == 1 &&
                   chunk[1] == 1 && chunk[2] == 1 && chunk[3] == HW_MAP_TILE &&
                   chunk[4] == HW_MAP_TILE;
    hw_h5_close(&creation);
    return is_same;
}

static float widen(enum hw_element element, const unsigned char *values, size_t i) {
    float value = NAN;
    uint16_t narrow;
    if (element == HW_ELEMENT_F4) {
        memcpy(&value, values + 4 * i, sizeof value);
        return value;
    }
    memcpy(&narrow, values + 2 * i, sizeof narrow);
    if (element == HW_ELEMENT_U2) {
        return narrow == 65535 ? NAN : (float)narrow * (1.0f / 65534);
    }
    return hw_half_to_float(narrow);
}

enum hw_status hw_trace_read_tile(struct hw_trace *trace, const struct hw_map_place *place,
                                  size_t a, size_t b, float *ret_tile, struct hw_error *err) {
    enum hw_status status = check_tile(trace, place, a, b, err);
    if (status != HW_OK) {
        return status;
    }
    enum hw_element element = trace->shape.element[place->dataset];
    size_t tile_bytes = TILE_VALUES * hw_element_bytes(element);
    unsigned char *tile = malloc(tile_bytes);
    struct hw_codec_chunk chunk = {0};
    if (tile == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a tile");
    }
    if (!is_ours(trace->datasets[place->dataset])) {
        status = read_slowly(trace, place, a, b, tile, err);
    } else {
        status = hw_trace_read_chunk(trace, place, a, b, &chunk, err);
        if (status == HW_OK && chunk.n_bytes == 0) {
            hw_element_fill(element, TILE_VALUES, tile);
        } else if (status == HW_OK) {
            status = hw_codec_decode(trace->codec, &chunk, tile, tile_bytes, err);
        }
    }
    for (size_t i = 0; i < TILE_VALUES && status == HW_OK; i++) {
        ret_tile[i] = widen(element, tile, i);
    }
    free(chunk.data);
    free(tile);
    return status;
}

enum hw_status hw_trace_read_map(struct hw_trace *trace, const struct hw_map_place *place,
                                 float *ret_map, size_t stride, struct hw_error *err) {
    if (place->prompt >= trace->n_prompts) {
        return hw_fail(err, HW_INPUT, "%s: no prompt %zu", trace->path, place->prompt);
    }
    size_t n = trace->prompts[place->prompt].n_tokens;
    float *tile = malloc(TILE_VALUES * sizeof *tile);
    if (tile == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a tile");
    }
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < n; i += HW_MAP_TILE) {
        for (size_t j = 0; j < n && status == HW_OK; j += HW_MAP_TILE) {
            status = hw_trace_read_tile(trace, place, i / HW_MAP_TILE, j / HW_MAP_TILE, tile, err);
            size_t n_keys = hw_size_min(HW_MAP_TILE, n - j);
            for (size_t r = 0; r < HW_MAP_TILE && i + r < n && status == HW_OK; r++) {
                memcpy(ret_map + (i + r) * stride + j, tile + r * HW_MAP_TILE,
                       n_keys * sizeof *tile);
            }
        }
    }
    free(tile);
    return status;
}
