// GGUF metadata: key-value records, every length checked against the bytes left; see gguf.h and
// ggml's docs/gguf.md.
//
// A record is key (u64 length, ASCII), type u32, value. Strings are u64 length and bytes; arrays
// are element type u32, count u64 and elements. Values stay in the map; only keys are copied, to
// end them with a NUL.
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_internal.h"
#include "kernels/size.h"

static const struct {
    const char *name;
    size_t n_bytes; // 0: varies
} types[] = {
    [HW_GGUF_U8] = {"u8", 1},       [HW_GGUF_I8] = {"i8", 1},     [HW_GGUF_U16] = {"u16", 2},
    [HW_GGUF_I16] = {"i16", 2},     [HW_GGUF_U32] = {"u32", 4},   [HW_GGUF_I32] = {"i32", 4},
    [HW_GGUF_F32] = {"f32", 4},     [HW_GGUF_BOOL] = {"bool", 1}, [HW_GGUF_STRING] = {"string", 0},
    [HW_GGUF_ARRAY] = {"array", 0}, [HW_GGUF_U64] = {"u64", 8},   [HW_GGUF_I64] = {"i64", 8},
    [HW_GGUF_F64] = {"f64", 8},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

const char *hw_gguf_type_name(enum hw_gguf_type type) {
    return types[type].name;
}

static enum hw_status read_type(struct hw_reader *reader, const char *key, const char *what,
                                enum hw_gguf_type *ret_type, struct hw_error *err) {
    size_t at = reader->at;
    uint32_t type;
    if (!hw_reader_u32(reader, &type)) {
        return hw_fail(err, HW_INPUT, "byte %zu: key %s: the file ends before its %s", at, key,
                       what);
    }
    if (type >= N_TYPES) {
        return hw_fail(err, HW_INPUT, "byte %zu: key %s: %s %" PRIu32 ", expected 0 to %d", at, key,
                       what, type, N_TYPES - 1);
    }
    *ret_type = (enum hw_gguf_type)type;
    return HW_OK;
}

static enum hw_status skip_string(struct hw_reader *reader, const char *key, struct hw_error *err) {
    size_t at = reader->at;
    uint64_t n_bytes;
    const unsigned char *bytes;
    if (!hw_reader_u64(reader, &n_bytes)) {
        return hw_fail(err, HW_INPUT, "byte %zu: key %s: the file ends before a string's length",
                       at, key);
    }
    if (!hw_reader_take(reader, n_bytes, &bytes)) {
        return hw_fail(err, HW_INPUT, "byte %zu: key %s: string of %" PRIu64 " bytes, %zu are left",
                       at, key, n_bytes, hw_reader_left(reader));
    }
    return HW_OK;
}

// Moves past n elements of one type, which it checks.
static enum hw_status skip_elements(struct hw_reader *reader, const char *key,
                                    enum hw_gguf_type type, uint64_t n, struct hw_error *err) {
    size_t at = reader->at;
    if (type == HW_GGUF_STRING) {
        if (n > hw_reader_left(reader) / 8) {
            return hw_fail(err, HW_INPUT,
                           "byte %zu: key %s: %" PRIu64 " strings, %zu bytes are left", at, key, n,
                           hw_reader_left(reader));
        }
        for (uint64_t i = 0; i < n; i++) {
            enum hw_status status = skip_string(reader, key, err);
            if (status != HW_OK) {
                return status;
            }
        }
        return HW_OK;
    }
    const unsigned char *bytes;
    if (n > hw_reader_left(reader) / types[type].n_bytes ||
        !hw_reader_take(reader, n * types[type].n_bytes, &bytes)) {
        return hw_fail(err, HW_INPUT,
                       "byte %zu: key %s: %" PRIu64 " values of type %s, %zu bytes are left", at,
                       key, n, types[type].name, hw_reader_left(reader));
    }
    for (uint64_t i = 0; type == HW_GGUF_BOOL && i < n; i++) {
        if (bytes[i] > 1) {
            return hw_fail(err, HW_INPUT, "byte %zu: key %s: bool %d, expected 0 or 1",
                           at + (size_t)i, key, bytes[i]);
        }
    }
    return HW_OK;
}

static enum hw_status read_key(struct hw_reader *reader, char **ret_key, struct hw_error *err) {
    size_t at = reader->at;
    uint64_t n_bytes;
    const unsigned char *bytes;
    if (!hw_reader_u64(reader, &n_bytes)) {
        return hw_fail(err, HW_INPUT, "byte %zu: the file ends before a key", at);
    }
    if (n_bytes == 0 || n_bytes > HW_GGUF_MAX_KEY_BYTES) {
        return hw_fail(err, HW_INPUT, "byte %zu: key of %" PRIu64 " bytes, expected 1 to %d", at,
                       n_bytes, HW_GGUF_MAX_KEY_BYTES);
    }
    if (!hw_reader_take(reader, n_bytes, &bytes)) {
        return hw_fail(err, HW_INPUT, "byte %zu: key of %" PRIu64 " bytes, %zu are left", at,
                       n_bytes, hw_reader_left(reader));
    }
    for (size_t i = 0; i < n_bytes; i++) {
        if (bytes[i] < 0x20 || bytes[i] > 0x7E) {
            return hw_fail(err, HW_INPUT,
                           "byte %zu: key with byte 0x%02x, expected printable ASCII", at + 8 + i,
                           bytes[i]);
        }
    }
    char *key = strndup((const char *)bytes, (size_t)n_bytes);
    if (key == NULL) {
        return hw_fail(err, HW_RESOURCE, "out of memory for a key of %" PRIu64 " bytes", n_bytes);
    }
    *ret_key = key;
    return HW_OK;
}

static enum hw_status read_value(struct hw_reader *reader, struct hw_gguf_value *ret_value,
                                 struct hw_error *err) {
    char *key = NULL;
    enum hw_status status = read_key(reader, &key, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_gguf_value value = {.key = key, .n = 1};
    char text[96]; // keys are long where somebody wants them to be
    (void)hw_escape(text, sizeof text, key, strlen(key));
    status = read_type(reader, text, "value type", &value.type, err);
    if (status != HW_OK) {
        goto out;
    }
    value.element_type = value.type;
    if (value.type == HW_GGUF_ARRAY) {
        size_t at = reader->at;
        status = read_type(reader, text, "element type", &value.element_type, err);
        if (status != HW_OK) {
            goto out;
        }
        if (value.element_type == HW_GGUF_ARRAY) {
            status = hw_fail(err, HW_INPUT, "byte %zu: key %s: an array of arrays", at, text);
            goto out;
        }
        if (!hw_reader_u64(reader, &value.n)) {
            status =
                hw_fail(err, HW_INPUT, "byte %zu: key %s: the file ends before the array's count",
                        reader->at, text);
            goto out;
        }
    }
    value.data = reader->base + reader->at;
    status = skip_elements(reader, text, value.element_type, value.n, err);
    if (status == HW_OK) {
        *ret_value = value;
        key = NULL;
    }
out:
    free(key);
    return status;
}

static enum hw_status values_append(struct hw_gguf_values *values,
                                    const struct hw_gguf_value *value, struct hw_error *err) {
    if (values->n == values->capacity) {
        size_t capacity = values->capacity == 0 ? 64 : values->capacity * 2;
        struct hw_gguf_value *items = realloc(values->items, capacity * sizeof *items);
        if (items == NULL) {
            return hw_fail(err, HW_RESOURCE, "out of memory for %zu metadata values", capacity);
        }
        values->items = items;
        values->capacity = capacity;
    }
    values->items[values->n++] = *value;
    return HW_OK;
}

static int compare_keys(const void *a, const void *b, void *context) {
    const struct hw_gguf_value *items = context;
    return strcmp(items[*(const size_t *)a].key, items[*(const size_t *)b].key);
}

static enum hw_status values_index(struct hw_gguf_values *values, struct hw_error *err) {
    values->by_key = malloc(hw_size_max(values->n, 1) * sizeof *values->by_key);
    if (values->by_key == NULL) {
        return hw_fail(err, HW_RESOURCE, "out of memory for %zu metadata values", values->n);
    }
    for (size_t i = 0; i < values->n; i++) {
        values->by_key[i] = i;
    }
    if (values->n > 0) {
        qsort_r(values->by_key, values->n, sizeof *values->by_key, compare_keys, values->items);
    }
    for (size_t i = 1; i < values->n; i++) {
        const char *key = values->items[values->by_key[i]].key;
        if (strcmp(values->items[values->by_key[i - 1]].key, key) == 0) {
            char text[96];
            (void)hw_escape(text, sizeof text, key, strlen(key));
            return hw_fail(err, HW_INPUT, "key %s occurs twice", text);
        }
    }
    return HW_OK;
}

enum hw_status hw_gguf_values_read(struct hw_reader *reader, uint64_t n,
                                   struct hw_gguf_values *ret_values, struct hw_error *err) {
    struct hw_gguf_values values = {0};
    enum hw_status status = HW_OK;
    for (uint64_t i = 0; i < n; i++) {
        struct hw_gguf_value value;
        status = read_value(reader, &value, err);
        if (status != HW_OK) {
            goto out;
        }
        status = values_append(&values, &value, err);
        if (status != HW_OK) {
            free((void *)(uintptr_t)value.key);
            goto out;
        }
    }
    status = values_index(&values, err);
    if (status == HW_OK) {
        *ret_values = values;
        values = (struct hw_gguf_values){0};
    }
out:
    hw_gguf_values_free(&values);
    return status;
}

const struct hw_gguf_value *hw_gguf_values_find(const struct hw_gguf_values *values,
                                                const char *key) {
    size_t first = 0;
    size_t end = values->by_key == NULL ? 0 : values->n;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        const struct hw_gguf_value *value = &values->items[values->by_key[middle]];
        int order = strcmp(key, value->key);
        if (order == 0) {
            return value;
        }
        if (order < 0) {
            end = middle;
        } else {
            first = middle + 1;
        }
    }
    return NULL;
}

void hw_gguf_values_free(struct hw_gguf_values *values) {
    for (size_t i = 0; i < values->n; i++) {
        free((void *)(uintptr_t)values->items[i].key);
    }
    free(values->items);
    free(values->by_key);
    *values = (struct hw_gguf_values){0};
}

size_t hw_gguf_value_bytes(const struct hw_gguf_value *value) {
    if (value->element_type != HW_GGUF_STRING) {
        return (size_t)value->n * types[value->element_type].n_bytes;
    }
    const unsigned char *cursor = value->data;
    for (uint64_t i = 0; i < value->n; i++) {
        (void)hw_gguf_next_string(&cursor);
    }
    return (size_t)(cursor - value->data);
}

struct hw_bytes hw_gguf_next_string(const unsigned char **cursor) {
    struct hw_bytes bytes = {.data = (const char *)*cursor + 8, .n = (size_t)hw_read_u64(*cursor)};
    *cursor += 8 + bytes.n;
    return bytes;
}

int64_t hw_gguf_integer(const struct hw_gguf_value *value, uint64_t i) {
    assert(i < value->n);
    const unsigned char *p = value->data + i * types[value->element_type].n_bytes;
    switch (value->element_type) {
    case HW_GGUF_U8:
    case HW_GGUF_BOOL:
        return p[0];
    case HW_GGUF_I8:
        return (int8_t)p[0];
    case HW_GGUF_U16:
        return hw_read_u16(p);
    case HW_GGUF_I16:
        return (int16_t)hw_read_u16(p);
    case HW_GGUF_U32:
        return hw_read_u32(p);
    case HW_GGUF_I32:
        return (int32_t)hw_read_u32(p);
    case HW_GGUF_U64:
        return hw_read_u64(p) > INT64_MAX ? INT64_MAX : (int64_t)hw_read_u64(p);
    case HW_GGUF_I64:
        return (int64_t)hw_read_u64(p);
    case HW_GGUF_F32:
    case HW_GGUF_F64: {
        double number = hw_gguf_number(value, i);
        return isnan(number)       ? 0
               : number >= 0x1p63  ? INT64_MAX
               : number <= -0x1p63 ? INT64_MIN
                                   : (int64_t)number;
    }
    case HW_GGUF_STRING:
    case HW_GGUF_ARRAY:
        break;
    }
    return 0;
}

double hw_gguf_number(const struct hw_gguf_value *value, uint64_t i) {
    assert(i < value->n);
    const unsigned char *p = value->data + i * types[value->element_type].n_bytes;
    if (value->element_type == HW_GGUF_F32) {
        uint32_t bits = hw_read_u32(p);
        float number;
        memcpy(&number, &bits, sizeof number);
        return (double)number;
    }
    if (value->element_type == HW_GGUF_F64) {
        uint64_t bits = hw_read_u64(p);
        double number;
        memcpy(&number, &bits, sizeof number);
        return number;
    }
    if (value->element_type == HW_GGUF_U64) {
        return (double)hw_read_u64(p);
    }
    return (double)hw_gguf_integer(value, i);
}

bool hw_gguf_value_u64(const struct hw_gguf_value *value, uint64_t *ret) {
    switch (value->type) {
    case HW_GGUF_U64:
        *ret = hw_read_u64(value->data);
        return true;
    case HW_GGUF_U8:
    case HW_GGUF_I8:
    case HW_GGUF_U16:
    case HW_GGUF_I16:
    case HW_GGUF_U32:
    case HW_GGUF_I32:
    case HW_GGUF_I64:
        if (hw_gguf_integer(value, 0) < 0) {
            return false;
        }
        *ret = (uint64_t)hw_gguf_integer(value, 0);
        return true;
    case HW_GGUF_F32:
    case HW_GGUF_F64:
    case HW_GGUF_BOOL:
    case HW_GGUF_STRING:
    case HW_GGUF_ARRAY:
        break;
    }
    return false;
}
