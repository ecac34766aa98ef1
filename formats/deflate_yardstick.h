// HDF5's own shuffle and deflate on map tiles, as the yardstick for ours; only `headwater bench`
// uses it.
#ifndef HW_DEFLATE_YARDSTICK_H
#define HW_DEFLATE_YARDSTICK_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Writes n_tiles tiles of 128 x 128 halves with H5Dwrite, chunk by chunk, shuffled and deflated at
// level 1 by the library, into a file in memory that is then dropped. *ret_bytes: what they take
// there.
enum hw_status hw_deflate_yardstick(const uint16_t *tiles, size_t n_tiles, uint64_t *ret_bytes,
                                    struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
