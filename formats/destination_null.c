// Counts what would be written, with the same checks as everywhere.
#include "formats/destination_null.h"

#include "kernels/attention.h"

static enum hw_status begin_prompt(struct hw_destination *self, int32_t prompt,
                                   struct hw_error *err) {
    return hw_prompt_rows_begin(&((struct hw_destination_null *)self)->rows, prompt, err);
}

static enum hw_status append(struct hw_destination *self, enum hw_dataset dataset, size_t slab,
                             size_t n_rows, const void *rows, struct hw_error *err) {
    struct hw_destination_null *null = (struct hw_destination_null *)self;
    enum hw_status status = hw_prompt_rows_append(&null->rows, dataset, slab, n_rows, err);
    if (status == HW_OK) {
        null->n_bytes += (uint64_t)n_rows * hw_layout_row_bytes(null->rows.layout, dataset);
    }
    return status;
}

static enum hw_status append_map(struct hw_destination *self, enum hw_dataset dataset, size_t layer,
                                 size_t head, size_t n_tiles_edge, const void *tiles,
                                 struct hw_error *err) {
    struct hw_destination_null *null = (struct hw_destination_null *)self;
    enum hw_status status =
        hw_prompt_rows_append_map(&null->rows, dataset, layer, head, n_tiles_edge, err);
    if (status == HW_OK) {
        null->n_bytes += (uint64_t)n_tiles_edge * (n_tiles_edge + 1) / 2 * HW_MAP_TILE *
                         HW_MAP_TILE *
                         hw_element_bytes(hw_layout_element(null->rows.layout, dataset));
    }
    return status;
}

static enum hw_status flush(struct hw_destination *self, struct hw_error *err) {
    return HW_OK;
}

static enum hw_status end_prompt(struct hw_destination *self, const struct hw_prompt_record *record,
                                 struct hw_error *err) {
    return hw_prompt_rows_end(&((struct hw_destination_null *)self)->rows, record, err);
}

static const struct hw_destination_ops null_ops = {begin_prompt, append, append_map, flush,
                                                   end_prompt};

enum hw_status hw_destination_null_open(struct hw_destination_null *null,
                                        const struct hw_layout *layout, struct hw_error *err) {
    *null = (struct hw_destination_null){.base.ops = &null_ops};
    return hw_prompt_rows_open(&null->rows, layout, err);
}

void hw_destination_null_close(struct hw_destination_null *null) {
    hw_prompt_rows_close(&null->rows);
}
