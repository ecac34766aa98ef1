// Rows of one source into the merged file.
#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"
#include "formats/merge_internal.h"
#include "formats/prompt_rows.h"
#include "kernels/attention.h"
#include "kernels/size.h"

enum { BLOCK_BYTES = 4 << 20, BLOCK_STRINGS = 65536 };

bool hw_merge_is_copied(const struct hw_layout *layout, enum hw_dataset dataset) {
    return hw_layout_has(layout, dataset) && !hw_schema_is_fixed(dataset);
}

int64_t hw_merge_addend(const struct hw_merge_source *source, const struct hw_trace_lengths *before,
                        enum hw_dataset dataset) {
    switch (dataset) {
    case HW_DS_TOKEN_START:
    case HW_DS_MASSIVE_TOKEN:
        return (int64_t)before->n_tokens[HW_GROUP_ROOT];
    case HW_DS_TOKEN_PROMPT:
    case HW_DS_ACTIVATIONS_TOKEN_PROMPT:
    case HW_DS_LOGITS_TOKEN_PROMPT:
    case HW_DS_SPAN_PROMPT:
    case HW_DS_MASSIVE_PROMPT:
    case HW_DS_DECODE_PROMPT:
        return source->shift;
    default:
        return 0;
    }
}

enum hw_status hw_merge_read_rows(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                  size_t first, size_t n, struct hw_merge_rows *rows,
                                  struct hw_error *err) {
    enum hw_element element = hw_layout_element(hw_trace_layout(trace), dataset);
    size_t n_values = n * hw_trace_n_inner(trace, dataset);
    size_t n_bytes = n_values * hw_element_bytes(element); // of a checked file: far from overflow
    if (n_bytes > rows->n_bytes) {
        void *data = realloc(rows->data, n_bytes);
        if (data == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu bytes of rows", n_bytes);
        }
        rows->data = data;
        rows->n_bytes = n_bytes;
    }
    enum hw_status status = hw_trace_read_raw(trace, dataset, slab, first, n, rows->data, err);
    for (size_t i = 0; i < n_values && rows->addend != 0 && status == HW_OK; i++) {
        if (element == HW_ELEMENT_I8) {
            ((int64_t *)rows->data)[i] += rows->addend;
        } else {
            ((int32_t *)rows->data)[i] += (int32_t)rows->addend;
        }
    }
    return status;
}

static enum hw_status copy_text(struct hw_trace *trace, enum hw_dataset dataset,
                                struct hw_trace_streams *streams, struct hw_error *err) {
    size_t n_rows = hw_trace_n_rows(trace, dataset);
    enum hw_status status = HW_OK;
    for (size_t at = 0; at < n_rows && status == HW_OK; at += BLOCK_STRINGS) {
        size_t n = hw_size_min(BLOCK_STRINGS, n_rows - at);
        char **texts = NULL;
        status = hw_trace_read_text(trace, dataset, at, n, &texts, err);
        if (status == HW_OK) {
            status = hw_trace_streams_append(streams, dataset, 0, n, texts, err);
            hw_trace_free_text(texts, n);
        }
    }
    return status;
}

static enum hw_status copy_rows(struct hw_trace *trace, enum hw_dataset dataset,
                                struct hw_trace_streams *streams, struct hw_merge_rows *rows,
                                struct hw_error *err) {
    size_t n_rows = hw_trace_n_rows(trace, dataset), n_slabs = hw_trace_n_slabs(trace, dataset);
    size_t row_bytes = hw_size_max(1, hw_layout_row_bytes(hw_trace_layout(trace), dataset));
    size_t block = hw_size_max(1, BLOCK_BYTES / row_bytes);
    enum hw_status status = HW_OK;
    for (size_t slab = 0; slab < n_slabs; slab++) {
        for (size_t at = 0; at < n_rows && status == HW_OK; at += block) {
            size_t n = hw_size_min(block, n_rows - at);
            status = hw_merge_read_rows(trace, dataset, slab, at, n, rows, err);
            status = status != HW_OK
                         ? status
                         : hw_trace_streams_append(streams, dataset, slab, n, rows->data, err);
        }
    }
    return status;
}

// The stored tiles of one map, as they are.
static enum hw_status copy_map(struct hw_trace *trace, const struct hw_map_place *place,
                               size_t prompt_row, struct hw_trace_streams *streams,
                               struct hw_error *err) {
    size_t n_edge = hw_size_div_up(hw_trace_prompt(trace, place->prompt)->n_tokens, HW_MAP_TILE);
    enum hw_status status = HW_OK;
    for (size_t tile = 0; tile < n_edge * n_edge && status == HW_OK; tile++) {
        size_t a = tile / n_edge, b = tile % n_edge;
        struct hw_codec_chunk chunk;
        status = hw_trace_read_chunk(trace, place, a, b, &chunk, err);
        if (status == HW_OK && chunk.n_bytes > 0) {
            hsize_t offset[HW_MAX_AXES] = {prompt_row, place->layer, place->head, a * HW_MAP_TILE,
                                           b * HW_MAP_TILE};
            status = hw_trace_streams_append_raw(streams, place->dataset, offset, &chunk, err);
        }
    }
    return status;
}

static enum hw_status copy_maps(struct hw_trace *trace, enum hw_dataset dataset, size_t prompt_row,
                                struct hw_trace_streams *streams, struct hw_error *err) {
    const struct hw_group_axes *axes = &hw_trace_layout(trace)->groups[HW_GROUP_ATTENTION];
    enum hw_status status = HW_OK;
    for (size_t prompt = 0; prompt < hw_trace_n_prompts(trace); prompt++) {
        for (size_t layer = 0; layer < axes->n_layers; layer++) {
            for (size_t head = 0; head < axes->n_heads && status == HW_OK; head++) {
                struct hw_map_place place = {dataset, prompt, layer, head};
                status = copy_map(trace, &place, prompt_row + prompt, streams, err);
            }
        }
    }
    return status;
}

enum hw_status hw_merge_copy_source(struct hw_trace *trace, const struct hw_merge_source *source,
                                    const struct hw_trace_lengths *before,
                                    struct hw_trace_streams *streams, struct hw_error *err) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    struct hw_merge_rows rows = {0};
    enum hw_status status = HW_OK;
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (!hw_merge_is_copied(layout, dataset)) {
            continue;
        }
        if (hw_dataset_is_map(dataset)) {
            status = copy_maps(trace, dataset, before->n_prompts, streams, err);
        } else if (hw_layout_element(layout, dataset) == HW_ELEMENT_VSTR) {
            status = copy_text(trace, dataset, streams, err);
        } else {
            rows.addend = hw_merge_addend(source, before, dataset);
            status = copy_rows(trace, dataset, streams, &rows, err);
        }
    }
    free(rows.data);
    return status != HW_OK ? status : hw_trace_streams_flush(streams, err);
}
