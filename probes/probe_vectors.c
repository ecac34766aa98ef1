// Queries and keys after rotation, with the row constants: whatever map is wanted later can be
// rebuilt from them.
#include "probes/probe.h"

extern const struct hw_probe hw_probe_attention_vectors;

static const struct hw_probe_row rows[] = {
    {HW_DS_ATTENTION_VECTORS_QUERY, HW_REDUCE_COPY, HW_AT(ROT_Q), 0},
    {HW_DS_ATTENTION_VECTORS_KEY, HW_REDUCE_COPY, HW_AT(ROT_K), 0},
    {HW_DS_ATTENTION_VECTORS_ROW_MAX, HW_REDUCE_REQUEST_ROW, HW_AT_ATTENTION, HW_REQUEST(row_max)},
    {HW_DS_ATTENTION_VECTORS_ROW_INVERSE_SUM, HW_REDUCE_REQUEST_ROW, HW_AT_ATTENTION,
     HW_REQUEST(row_inverse_sum)},
    {HW_DS_ATTENTION_VECTORS_SCORE_SCALE, HW_REDUCE_CONSTANT, HW_AT_ATTENTION, 0},
};

const struct hw_probe hw_probe_attention_vectors = {
    .record = "attention_vectors",
    .hooks = "hook_rot_q hook_rot_k",
    .description = "rotated queries and keys: rebuild any map exactly, in O(T) bytes",
    HW_PROBE_ROWS(rows),
};
