// Carrying out what changes say about sites; see change.h.
#ifndef HW_WRITES_H
#define HW_WRITES_H

#include "tracer/change.h"

// Carries out the writes of a layer at a site, in their order, on rows [n, ld] of positions
// `position` and on, and counts the rows written.
void hw_writes_apply(struct hw_changes *changes, size_t layer, enum hw_site site, size_t position,
                     size_t n, float *rows, size_t ld);

#endif
