// Writes at a site, row by row; see writes.h. Every value is one operation on the value that was
// there, so that rows keep their bits however a pass is cut.
#include "tracer/writes.h"

#include <string.h>

static void write_row(const struct hw_write *write, size_t position, float *x) {
    switch (write->kind) {
    case HW_WRITE_VALUE:
        for (size_t c = 0; c < write->width; c++) {
            x[c] = write->value;
        }
        break;
    case HW_WRITE_SCALE:
        for (size_t c = 0; c < write->width; c++) {
            x[c] *= write->value;
        }
        break;
    case HW_WRITE_ROWS:
        memcpy(x, write->values + position * write->ld, write->width * sizeof *x);
        break;
    }
}

static bool is_written(const struct hw_write *write, size_t position) {
    bool is_there = write->kind != HW_WRITE_ROWS || write->ld == 0 || position < write->n_positions;
    return is_there && (write->rows == NULL || write->rows[position] != 0);
}

void hw_writes_apply(struct hw_changes *changes, size_t layer, enum hw_site site, size_t position,
                     size_t n, float *rows, size_t ld) {
    const struct hw_layer_changes *at = &changes->layers[layer];
    for (size_t w = 0; w < at->n_writes; w++) {
        const struct hw_write *write = &at->writes[w];
        for (size_t i = 0; i < n && write->site == site; i++) {
            if (is_written(write, position + i)) {
                write_row(write, position + i, rows + i * ld + write->first);
                changes->n_applied++;
            }
        }
    }
}
