// safetensors files for tests: any header text, and data whose bytes count up.
#ifndef HW_TESTS_SAFETENSORS_WRITER_H
#define HW_TESTS_SAFETENSORS_WRITER_H

#include "byte_buffer.h"

void safetensors_put(struct byte_buffer *file, const char *header, size_t n_data);

#endif
