// safetensors files for tests; see safetensors_writer.h.
#include "safetensors_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void safetensors_put(struct byte_buffer *file, const char *header, size_t n_data) {
    byte_buffer_put_u(file, strlen(header), 8);
    byte_buffer_put(file, header, strlen(header));
    for (size_t i = 0; i < n_data; i++) {
        byte_buffer_put_u(file, i & 0xFF, 1);
    }
}

void safetensors_put_shard(const char *folder, const char *name, const char *tensor) {
    char header[200];
    struct byte_buffer file = {0};
    (void)snprintf(header, sizeof header,
                   "{\"%s\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}", tensor);
    safetensors_put(&file, header, 4);
    free(temp_file(folder, name, file.bytes, file.n));
    byte_buffer_free(&file);
}
