// Counts the rows of the running prompt and says at its end whether every dataset got its due;
// shared by all destinations.
//
// Due: datasets over tokens grow by the prompt's tokens (in /activations and /logits by the
// recorded positions), datasets over prompts by 1, maps by one per recorded layer and head. Tables
// (decode steps, massive activations) grow freely, but all columns and slabs of one by the same
// number. A failed prompt appends nothing.
#ifndef HW_PROMPT_ROWS_H
#define HW_PROMPT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/destination.h"
#include "formats/schema.h"
#include "kernels/status.h"

struct hw_prompt_rows {
    const struct hw_layout *layout;
    size_t *n_rows[HW_N_DATASETS]; // [n_slabs] rows of this prompt; NULL where the layout has no
                                   // such dataset
    size_t n_slabs[HW_N_DATASETS];
    size_t map_tiles_edge; // of the running prompt, 0 before the first map
    int32_t prompt;
    bool is_running;
};

// The layout must outlive it. HW_RESOURCE without memory.
enum hw_status hw_prompt_rows_open(struct hw_prompt_rows *rows, const struct hw_layout *layout,
                                   struct hw_error *err);
void hw_prompt_rows_close(struct hw_prompt_rows *rows);

// Each refuses what is out of order with HW_INTERNAL, naming dataset and slab.
enum hw_status hw_prompt_rows_begin(struct hw_prompt_rows *rows, int32_t prompt,
                                    struct hw_error *err);
enum hw_status hw_prompt_rows_append(struct hw_prompt_rows *rows, enum hw_dataset dataset,
                                     size_t slab, size_t n_rows, struct hw_error *err);
enum hw_status hw_prompt_rows_append_map(struct hw_prompt_rows *rows, enum hw_dataset dataset,
                                         size_t layer, size_t head, size_t n_tiles_edge,
                                         struct hw_error *err);
enum hw_status hw_prompt_rows_end(struct hw_prompt_rows *rows,
                                  const struct hw_prompt_record *record, struct hw_error *err);

bool hw_dataset_is_map(
    enum hw_dataset dataset); // [prompt, layer, head, query, key], appended as tiles

// What stands for "no value" in a prompt's row: NaN, 65535 for u2, -1 for other integers, 0 for u1.
void hw_element_fill(enum hw_element element, size_t n_values, void *ret_values);

// Where columns go.
struct hw_column_sink {
    enum hw_status (*emit)(struct hw_column_sink *self, enum hw_dataset dataset, size_t slab,
                           size_t n_rows, const void *rows, struct hw_error *err);
};

// Hands out the writer's own columns of a prompt, one call of `emit` per dataset and prompt, in the
// order of the schema. rows: n_rows values of the dataset's element; for vstr n_rows pointers to
// strings. token_start: the prompt's row on the token axis. massive_positions [n_events]: the
// prompt's rows of massive/position. For a failed prompt also a row of fill values for every
// dataset that has a row per prompt.
enum hw_status hw_prompt_record_emit(const struct hw_prompt_record *record,
                                     const struct hw_layout *layout, int64_t token_start,
                                     const int32_t *massive_positions, size_t n_events,
                                     struct hw_column_sink *sink, struct hw_error *err);

#endif
