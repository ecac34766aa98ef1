// safetensors: whatever the bytes, they are refused with a message, or the tensors cover the data
// once, each byte.
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "fuzz.h"

static void require(int is_true) {
    if (!is_true) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct hw_filemap *map = NULL;
    struct hw_tensor_table table = {0};
    struct hw_error err = {0};
    size_t header_bytes = 0;
    require(hw_filemap_borrow("fuzz", data, n, &map, &err) == HW_OK);
    enum hw_status status = hw_safetensors_read(map, &table, &header_bytes, &err);
    if (status == HW_OK) {
        size_t at = header_bytes;
        for (size_t i = 0; i < table.n; i++) {
            require(table.items[i].data == map->base + at);
            at += table.items[i].n_bytes;
        }
        require(at == n);
        require(hw_tensor_table_index(&table, &err) == HW_OK); // JSON keys are unique
    } else {
        require(status == HW_INPUT && header_bytes == 0);
        require(strncmp(err.message, "fuzz: ", 6) == 0 && err.message[6] != '\0');
    }
    hw_tensor_table_free(&table);
    hw_filemap_close(&map);
    return status == HW_OK ? 0 : -1;
}
