// Finding outputs of a weight matrix in its file; see struct hw_weight in ops.h.
#ifndef HW_WEIGHT_INTERNAL_H
#define HW_WEIGHT_INTERNAL_H

#include "kernels/dequantize_internal.h"
#include "kernels/ops.h"

// The file row (is_transposed: column) that holds output o.
static inline size_t weight_line(const struct hw_weight *w, size_t o) {
    return w->row_map != NULL ? w->row_map[o] : w->first + o;
}

// Where output o begins: its file row, or (is_transposed) its value in the first file row.
static inline const uint8_t *weight_start(const struct hw_weight *w, size_t o) {
    size_t line = weight_line(w, o);
    const uint8_t *data = w->data;
    return w->is_transposed ? data + line * hw_dtype_block_bytes(w->dtype)
                            : data + line * w->row_bytes;
}

// All n_in weights of output o.
static inline void weight_expand_output(const struct hw_weight *w, size_t o, float *dst) {
    const uint8_t *start = weight_start(w, o);
    if (!w->is_transposed) {
        expand_values(w->dtype, start, w->n_in, dst);
        return;
    }
    for (size_t i = 0; i < w->n_in; i++) {
        expand_values(w->dtype, start + i * w->row_bytes, 1, dst + i);
    }
}

#endif
