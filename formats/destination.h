// Where recorded rows go: a part file, memory (tests), or nowhere (benchmarks).
//
// A dataset is [lead, slab?, inner...]. Its lead axis is the token axis, the prompt, the decode
// step, or a table's row; the slab axis, where there is one, is the layer or depth that was
// recorded; inner are the rest. Rows are appended to (dataset, slab) in the order of the lead axis:
// the rows of the prompt's tokens, then, with generation, one row a step. One file holds many
// prompts, one after another.
//
// A destination is used by one thread. It may compress on the team of `n_threads` and write from a
// thread of its own.
#ifndef HW_DESTINATION_H
#define HW_DESTINATION_H

#include <stddef.h>
#include <stdint.h>

#include "formats/schema.h"
#include "kernels/status.h"

// What is known of a prompt when it ends, beyond the rows that were appended for it: the columns
// that are not a probe's.
struct hw_prompt_record {
    int32_t prompt;   // global index, 0-based
    int32_t n_tokens; // with generated ones; 0 for a failed prompt
    int32_t n_prompt_tokens;
    const char *name; // UTF-8 without NUL, "" where there is none
    const char *text; // NULL: not stored
    const char *json; // the user's object, whole, or "{}"
    const char *domain;
    const char *target;
    const char *foil;
    uint8_t status;                  // 0 ok, 1 truncated, 2 failed
    const char *error;               // "" unless failed
    const uint32_t *token_ids;       // [n_tokens]
    const uint8_t *token_is_special; // [n_tokens]
    const char *const *token_text;   // [n_tokens] printable, or NULL: not stored
    size_t n_spans;                  // the user's named spans of this prompt
    const char *const *span_names;
    const int32_t *span_first;
    const int32_t *span_end;
    // Positions whose rows /activations and /logits hold, rising; NULL: all of them.
    const int32_t *recorded_positions;
    size_t n_recorded_positions;
    uint64_t n_massive_dropped; // massive activations beyond the limit of the table
};

struct hw_destination {
    const struct hw_destination_ops *ops;
};

struct hw_destination_ops {
    enum hw_status (*begin_prompt)(struct hw_destination *self, int32_t prompt,
                                   struct hw_error *err);
    // Appends n_rows rows, [n_rows, inner...] contiguous, of the dataset's own type, to (dataset,
    // slab). slab is the index on the recorded slab axis (0 for datasets without one). The data are
    // copied or written before the call returns.
    enum hw_status (*append)(struct hw_destination *self, enum hw_dataset dataset, size_t slab,
                             size_t n_rows, const void *rows, struct hw_error *err);
    // Map tiles of one head of the running prompt, packed as attention.h says (n_tiles_edge
    // (n_tiles_edge + 1) / 2 tiles of 128 x 128 of the dataset's type). layer and head are indices
    // on the recorded axes.
    enum hw_status (*append_map)(struct hw_destination *self, enum hw_dataset dataset, size_t layer,
                                 size_t head, size_t n_tiles_edge, const void *tiles,
                                 struct hw_error *err);
    // Everything appended since the last flush may be compressed now and its memory let go: called
    // when a layer ends.
    enum hw_status (*flush)(struct hw_destination *self, struct hw_error *err);
    // Ends the prompt: every dataset must have grown by its due (n_tokens, 1, ...). HW_INTERNAL
    // names one that has not. For a failed prompt nothing may have been appended; its rows of
    // [prompt, ...] datasets become NaN (integers -1).
    enum hw_status (*end_prompt)(struct hw_destination *self, const struct hw_prompt_record *record,
                                 struct hw_error *err);
};

static inline enum hw_status hw_destination_begin_prompt(struct hw_destination *self,
                                                         int32_t prompt, struct hw_error *err) {
    return self->ops->begin_prompt(self, prompt, err);
}

static inline enum hw_status hw_destination_append(struct hw_destination *self,
                                                   enum hw_dataset dataset, size_t slab,
                                                   size_t n_rows, const void *rows,
                                                   struct hw_error *err) {
    return self->ops->append(self, dataset, slab, n_rows, rows, err);
}

static inline enum hw_status hw_destination_append_map(struct hw_destination *self,
                                                       enum hw_dataset dataset, size_t layer,
                                                       size_t head, size_t n_tiles_edge,
                                                       const void *tiles, struct hw_error *err) {
    return self->ops->append_map(self, dataset, layer, head, n_tiles_edge, tiles, err);
}

static inline enum hw_status hw_destination_flush(struct hw_destination *self,
                                                  struct hw_error *err) {
    return self->ops->flush(self, err);
}

static inline enum hw_status hw_destination_end_prompt(struct hw_destination *self,
                                                       const struct hw_prompt_record *record,
                                                       struct hw_error *err) {
    return self->ops->end_prompt(self, record, err);
}

#endif
