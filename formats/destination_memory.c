// Rows in memory: one growing block per dataset and slab, one block per map.
#include "formats/destination_memory.h"

#include <stdlib.h>
#include <string.h>

#include "formats/prompt_rows.h"
#include "kernels/attention.h"
#include "kernels/size.h"

struct block {
    unsigned char *data;
    size_t n_bytes;
    size_t capacity;
    size_t n_rows;
};

struct map {
    enum hw_dataset dataset;
    size_t prompt_index;
    size_t layer;
    size_t head;
    size_t n_tiles_edge;
    void *tiles;
};

struct hw_destination_memory {
    struct hw_destination base;
    const struct hw_layout *layout;
    struct hw_prompt_rows rows;
    struct block *blocks[HW_N_DATASETS]; // [n_slabs]
    size_t n_slabs[HW_N_DATASETS];
    struct map *maps;
    size_t n_maps;
    size_t map_capacity;
    size_t n_prompts;
    size_t n_tokens;
};

static enum hw_status grow(struct block *block, size_t n_bytes, struct hw_error *err) {
    size_t needed;
    if (!hw_size_add(block->n_bytes, n_bytes, &needed)) {
        return hw_fail(err, HW_RESOURCE, "rows of %zu bytes do not fit in memory", n_bytes);
    }
    if (needed > block->capacity) {
        size_t capacity = hw_size_max(needed, block->capacity + block->capacity / 2);
        unsigned char *data = realloc(block->data, capacity);
        if (data == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu bytes of rows", capacity);
        }
        block->data = data;
        block->capacity = capacity;
    }
    return HW_OK;
}

static enum hw_status put(struct hw_destination_memory *memory, enum hw_dataset dataset,
                          size_t slab, size_t n_rows, const void *rows, struct hw_error *err) {
    struct block *block = &memory->blocks[dataset][slab];
    bool is_text = hw_layout_element(memory->layout, dataset) == HW_ELEMENT_VSTR;
    size_t row_bytes = is_text ? sizeof(char *) : hw_layout_row_bytes(memory->layout, dataset);
    size_t n_bytes;
    if (!hw_size_mul(row_bytes, n_rows, &n_bytes)) {
        return hw_fail(err, HW_RESOURCE, "%zu rows of %zu bytes do not fit in memory", n_rows,
                       row_bytes);
    }
    enum hw_status status = grow(block, n_bytes, err);
    if (status != HW_OK || n_bytes == 0) {
        return status;
    }
    if (!is_text) {
        memcpy(block->data + block->n_bytes, rows, n_bytes);
        block->n_bytes += n_bytes;
        block->n_rows += n_rows;
        return HW_OK;
    }
    for (size_t i = 0; i < n_rows; i++) {
        char *copy = strdup(((const char *const *)rows)[i]);
        if (copy == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for a string");
        }
        memcpy(block->data + block->n_bytes, &copy, sizeof copy);
        block->n_bytes += sizeof copy;
        block->n_rows++;
    }
    return HW_OK;
}

static enum hw_status begin_prompt(struct hw_destination *self, int32_t prompt,
                                   struct hw_error *err) {
    struct hw_destination_memory *memory = (struct hw_destination_memory *)self;
    return hw_prompt_rows_begin(&memory->rows, prompt, err);
}

static enum hw_status append(struct hw_destination *self, enum hw_dataset dataset, size_t slab,
                             size_t n_rows, const void *rows, struct hw_error *err) {
    struct hw_destination_memory *memory = (struct hw_destination_memory *)self;
    enum hw_status status = hw_prompt_rows_append(&memory->rows, dataset, slab, n_rows, err);
    return status == HW_OK ? put(memory, dataset, slab, n_rows, rows, err) : status;
}

static enum hw_status append_map(struct hw_destination *self, enum hw_dataset dataset, size_t layer,
                                 size_t head, size_t n_tiles_edge, const void *tiles,
                                 struct hw_error *err) {
    struct hw_destination_memory *memory = (struct hw_destination_memory *)self;
    enum hw_status status =
        hw_prompt_rows_append_map(&memory->rows, dataset, layer, head, n_tiles_edge, err);
    if (status != HW_OK) {
        return status;
    }
    size_t n_bytes = n_tiles_edge * (n_tiles_edge + 1) / 2 * HW_MAP_TILE * HW_MAP_TILE *
                     hw_element_bytes(hw_layout_element(memory->layout, dataset));
    if (memory->n_maps == memory->map_capacity) {
        size_t capacity = memory->map_capacity * 2 + 16;
        struct map *maps = realloc(memory->maps, capacity * sizeof *maps);
        if (maps == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu maps", capacity);
        }
        memory->maps = maps;
        memory->map_capacity = capacity;
    }
    void *copy = malloc(n_bytes);
    if (copy == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a map of %zu bytes", n_bytes);
    }
    memcpy(copy, tiles, n_bytes);
    memory->maps[memory->n_maps++] =
        (struct map){dataset, memory->n_prompts, layer, head, n_tiles_edge, copy};
    return HW_OK;
}

static enum hw_status flush(struct hw_destination *self, struct hw_error *err) {
    return HW_OK;
}

struct sink {
    struct hw_column_sink base;
    struct hw_destination_memory *memory;
};

static enum hw_status emit(struct hw_column_sink *self, enum hw_dataset dataset, size_t slab,
                           size_t n_rows, const void *rows, struct hw_error *err) {
    return put(((struct sink *)self)->memory, dataset, slab, n_rows, rows, err);
}

static enum hw_status end_prompt(struct hw_destination *self, const struct hw_prompt_record *record,
                                 struct hw_error *err) {
    struct hw_destination_memory *memory = (struct hw_destination_memory *)self;
    enum hw_status status = hw_prompt_rows_end(&memory->rows, record, err);
    if (status == HW_OK) {
        const struct block *events = memory->blocks[HW_DS_MASSIVE_POSITION];
        size_t n_events = events != NULL ? memory->rows.n_rows[HW_DS_MASSIVE_POSITION][0] : 0;
        const int32_t *positions =
            n_events == 0 ? NULL : (const int32_t *)events->data + events->n_rows - n_events;
        struct sink sink = {{emit}, memory};
        status = hw_prompt_record_emit(record, memory->layout, (int64_t)memory->n_tokens, positions,
                                       n_events, &sink.base, err);
    }
    if (status == HW_OK) {
        memory->n_prompts++;
        memory->n_tokens += (size_t)record->n_tokens;
    }
    return status;
}

static const struct hw_destination_ops memory_ops = {begin_prompt, append, append_map, flush,
                                                     end_prompt};

enum hw_status hw_destination_memory_open(const struct hw_layout *layout,
                                          struct hw_destination_memory **ret_memory,
                                          struct hw_error *err) {
    struct hw_destination_memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a destination");
    }
    memory->base.ops = &memory_ops;
    memory->layout = layout;
    enum hw_status status = hw_prompt_rows_open(&memory->rows, layout, err);
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        if (!hw_layout_has(layout, (enum hw_dataset)i)) {
            continue;
        }
        memory->n_slabs[i] = memory->rows.n_rows[i] != NULL ? memory->rows.n_slabs[i] : 1;
        memory->blocks[i] = calloc(memory->n_slabs[i] + 1, sizeof *memory->blocks[i]);
        if (memory->blocks[i] == NULL) {
            status = hw_fail(err, HW_RESOURCE, "not enough memory for a destination");
        }
    }
    if (status != HW_OK) {
        hw_destination_memory_close(&memory);
        return status;
    }
    *ret_memory = memory;
    return HW_OK;
}

static void free_block(struct block *block, bool is_text) {
    for (size_t i = 0; is_text && i < block->n_rows; i++) {
        free(((char **)block->data)[i]);
    }
    free(block->data);
}

void hw_destination_memory_close(struct hw_destination_memory **memory) {
    struct hw_destination_memory *m = *memory;
    if (m == NULL) {
        return;
    }
    for (int i = 0; i < HW_N_DATASETS; i++) {
        for (size_t slab = 0; m->blocks[i] != NULL && slab < m->n_slabs[i]; slab++) {
            free_block(&m->blocks[i][slab],
                       hw_layout_element(m->layout, (enum hw_dataset)i) == HW_ELEMENT_VSTR);
        }
        free(m->blocks[i]);
    }
    for (size_t i = 0; i < m->n_maps; i++) {
        free(m->maps[i].tiles);
    }
    free(m->maps);
    hw_prompt_rows_close(&m->rows);
    free(m);
    *memory = NULL;
}

struct hw_destination *hw_destination_memory_base(struct hw_destination_memory *memory) {
    return &memory->base;
}

const void *hw_destination_memory_get(const struct hw_destination_memory *memory,
                                      enum hw_dataset dataset, size_t slab, size_t *ret_n_rows) {
    bool is_there = memory->blocks[dataset] != NULL && slab < memory->n_slabs[dataset];
    *ret_n_rows = is_there ? memory->blocks[dataset][slab].n_rows : 0;
    return is_there ? memory->blocks[dataset][slab].data : NULL;
}

const void *hw_destination_memory_map(const struct hw_destination_memory *memory,
                                      enum hw_dataset dataset, size_t prompt_index, size_t layer,
                                      size_t head, size_t *ret_n_tiles_edge) {
    for (size_t i = 0; i < memory->n_maps; i++) {
        const struct map *map = &memory->maps[i];
        if (map->dataset == dataset && map->prompt_index == prompt_index && map->layer == layer &&
            map->head == head) {
            *ret_n_tiles_edge = map->n_tiles_edge;
            return map->tiles;
        }
    }
    *ret_n_tiles_edge = 0;
    return NULL;
}
