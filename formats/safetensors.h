// The directory of one safetensors file.
#ifndef HW_SAFETENSORS_H
#define HW_SAFETENSORS_H

#include "formats/filemap.h"
#include "formats/tensor_table.h"

enum { HW_MAX_SAFETENSORS_HEADER_BYTES = 100000000 };

// Appends the tensors of the mapped file to the table in the order of their data; they point into
// the map, which must outlive them. *ret_header_bytes is where the data begin. HW_INPUT begins with
// the path of the map.
enum hw_status hw_safetensors_read(const struct hw_filemap *map, struct hw_tensor_table *table,
                                   size_t *ret_header_bytes, struct hw_error *err);

#endif
