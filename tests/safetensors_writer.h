// safetensors files for tests: any header text, and data whose bytes count up.
#ifndef HW_TESTS_SAFETENSORS_WRITER_H
#define HW_TESTS_SAFETENSORS_WRITER_H

#include "byte_buffer.h"

void safetensors_put(struct byte_buffer *file, const char *header, size_t n_data);
// A file of the folder with one I8 tensor of 4 bytes: 0, 1, 2, 3.
void safetensors_put_shard(const char *folder, const char *name, const char *tensor);

#endif
