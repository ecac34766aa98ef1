// GGUF: whatever the bytes, they are refused with a message, or everything that the reader hands
// out lies inside of them.
#include <stdlib.h>
#include <string.h>

#include "formats/checkpoint_internal.h"
#include "formats/gguf_internal.h"
#include "fuzz.h"

static void require(int is_true) {
    if (!is_true) {
        abort();
    }
}

static void walk_values(const struct hw_gguf *gguf, const uint8_t *data, size_t n) {
    for (size_t i = 0; i < hw_gguf_n_values(gguf); i++) {
        const struct hw_gguf_value *value = hw_gguf_value(gguf, i);
        require(hw_gguf_find(gguf, value->key) == value);
        require(value->data >= data && value->data + hw_gguf_value_bytes(value) <= data + n);
        const unsigned char *cursor = value->data;
        volatile double sum = 0; // every byte is read
        for (uint64_t k = 0; k < value->n; k++) {
            if (value->element_type == HW_GGUF_STRING) {
                struct hw_bytes text = hw_gguf_next_string(&cursor);
                require(text.data >= (const char *)data &&
                        text.data + text.n <= (const char *)data + n);
            } else {
                sum = sum + hw_gguf_number(value, k) + (double)hw_gguf_integer(value, k);
            }
        }
        uint64_t u;
        double f;
        bool b;
        struct hw_bytes text;
        (void)hw_gguf_get_u64(gguf, value->key, &u, NULL);
        (void)hw_gguf_get_f64(gguf, value->key, &f, NULL);
        (void)hw_gguf_get_bool(gguf, value->key, &b, NULL);
        (void)hw_gguf_get_string(gguf, value->key, &text, NULL);
    }
}

static void walk_tensors(const struct hw_gguf *gguf, const uint8_t *data, size_t n) {
    for (size_t i = 0; i < hw_gguf_n_tensors(gguf); i++) {
        const struct hw_tensor *tensor = hw_gguf_tensor(gguf, i);
        const unsigned char *bytes = tensor->data;
        size_t n_values = 1;
        for (size_t k = 0; k < tensor->n_dims; k++) {
            n_values *= tensor->shape[k];
        }
        require(n_values == tensor->n_values && n_values > 0);
        require(bytes >= data && tensor->n_bytes <= n && bytes <= data + (n - tensor->n_bytes));
        require(hw_tensor_table_find(&gguf->tensors, tensor->name) == tensor);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct hw_gguf *gguf = NULL;
    struct hw_error err = {0};
    enum hw_status status = hw_gguf_open_bytes("fuzz", data, n, &gguf, &err);
    if (status != HW_OK) {
        require(gguf == NULL && status == HW_INPUT);
        require(strncmp(err.message, "fuzz: ", 6) == 0 && err.message[6] != '\0');
        return -1;
    }
    walk_values(gguf, data, n);
    walk_tensors(gguf, data, n);
    struct hw_checkpoint checkpoint = {.container = HW_CONTAINER_GGUF, .gguf = gguf};
    char *json = hw_checkpoint_metadata_json(&checkpoint);
    require(json != NULL);
    free(json);
    hw_gguf_close(&gguf);
    return 0;
}
