// safetensors files for tests; see safetensors_writer.h.
#include "safetensors_writer.h"

#include <string.h>

void safetensors_put(struct byte_buffer *file, const char *header, size_t n_data) {
    byte_buffer_put_u(file, strlen(header), 8);
    byte_buffer_put(file, header, strlen(header));
    for (size_t i = 0; i < n_data; i++) {
        byte_buffer_put_u(file, i & 0xFF, 1);
    }
}
