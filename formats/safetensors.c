// safetensors: u64 header length, JSON header, data; see safetensors.h and the format's README.
//
// The data are covered by the tensors without holes or overlap, so a file has one meaning only:
// sorted by their first byte, each tensor begins where the one before ended, and the last ends with
// the file.
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "kernels/size.h"

// Types that headwater has; the format's others (F8_*, F6_*, F4, C64, U16 ...) are refused by name.
static const enum hw_dtype dtypes[] = {HW_F64, HW_F32, HW_F16, HW_BF16, HW_I64,
                                       HW_I32, HW_I16, HW_I8,  HW_U8,   HW_BOOL};
enum { N_DTYPES = sizeof dtypes / sizeof dtypes[0], TEXT_BYTES = 200 };

struct entry {
    struct hw_tensor tensor; // name borrowed from the JSON
    size_t n_name;
    uint64_t begin; // relative to the data
    uint64_t end;
};

static const char *printable(char text[TEXT_BYTES], const char *name, size_t n) {
    return hw_escape(text, TEXT_BYTES, name, n);
}

// A JSON integer from 0 to 2^63 - 1.
static bool is_count(const json_t *json, uint64_t *ret) {
    if (!json_is_integer(json) || json_integer_value(json) < 0) {
        return false;
    }
    *ret = (uint64_t)json_integer_value(json);
    return true;
}

static enum hw_status read_dtype(const json_t *json, const char *text, enum hw_dtype *ret_dtype,
                                 struct hw_error *err) {
    if (!json_is_string(json)) {
        return hw_fail(err, HW_INPUT, "tensor %s: dtype is missing or not a string", text);
    }
    const char *name = json_string_value(json);
    for (size_t i = 0; i < N_DTYPES; i++) {
        if (strcmp(name, hw_dtype_name(dtypes[i])) == 0) {
            *ret_dtype = dtypes[i];
            return HW_OK;
        }
    }
    char found[64];
    (void)hw_escape(found, sizeof found, name, json_string_length(json));
    return hw_fail(
        err, HW_INPUT,
        "tensor %s: dtype %s is not supported, expected F64, F32, F16, BF16, I64, I32, I16, "
        "I8, U8 or BOOL",
        text, found);
}

static enum hw_status read_shape(const json_t *json, const char *text, struct hw_tensor *tensor,
                                 struct hw_error *err) {
    if (!json_is_array(json)) {
        return hw_fail(err, HW_INPUT, "tensor %s: shape is missing or not an array", text);
    }
    tensor->n_dims = json_array_size(json);
    if (tensor->n_dims > HW_MAX_DIMS) {
        return hw_fail(err, HW_INPUT, "tensor %s: %zu dimensions, expected at most %d", text,
                       tensor->n_dims, HW_MAX_DIMS);
    }
    tensor->n_values = 1;
    for (size_t i = 0; i < tensor->n_dims; i++) {
        uint64_t dim;
        if (!is_count(json_array_get(json, i), &dim) || dim > SIZE_MAX) {
            return hw_fail(err, HW_INPUT,
                           "tensor %s: dimension %zu is not an integer from 0 to 2^63-1", text, i);
        }
        tensor->shape[i] = (size_t)dim;
        if (!hw_size_mul(tensor->n_values, (size_t)dim, &tensor->n_values)) {
            return hw_fail(err, HW_INPUT, "tensor %s: the product of its shape overflows", text);
        }
    }
    if (!hw_dtype_bytes(tensor->dtype, tensor->n_values, &tensor->n_bytes)) {
        return hw_fail(err, HW_INPUT, "tensor %s: the size of %zu values overflows", text,
                       tensor->n_values);
    }
    return HW_OK;
}

static enum hw_status read_offsets(const json_t *json, const char *text, uint64_t data_bytes,
                                   struct entry *entry, struct hw_error *err) {
    if (!json_is_array(json) || json_array_size(json) != 2 ||
        !is_count(json_array_get(json, 0), &entry->begin) ||
        !is_count(json_array_get(json, 1), &entry->end)) {
        return hw_fail(err, HW_INPUT,
                       "tensor %s: data_offsets are not two integers from 0 to 2^63-1", text);
    }
    if (entry->begin > entry->end) {
        return hw_fail(err, HW_INPUT,
                       "tensor %s: data_offsets [%" PRIu64 ", %" PRIu64 "] go backwards", text,
                       entry->begin, entry->end);
    }
    if (entry->end > data_bytes) {
        return hw_fail(err, HW_INPUT,
                       "tensor %s: data_offsets [%" PRIu64 ", %" PRIu64 "], the file has %" PRIu64
                       " bytes of data",
                       text, entry->begin, entry->end, data_bytes);
    }
    if (entry->end - entry->begin != entry->tensor.n_bytes) {
        return hw_fail(err, HW_INPUT,
                       "tensor %s: data_offsets [%" PRIu64 ", %" PRIu64
                       "], expected %zu bytes for its shape and dtype",
                       text, entry->begin, entry->end, entry->tensor.n_bytes);
    }
    return HW_OK;
}

static enum hw_status read_entry(const char *name, size_t n_name, const json_t *json,
                                 uint64_t data_bytes, struct entry *ret_entry,
                                 struct hw_error *err) {
    char text[TEXT_BYTES];
    (void)printable(text, name, n_name);
    if (!json_is_object(json)) {
        return hw_fail(err, HW_INPUT, "tensor %s: expected an object", text);
    }
    if (n_name == 0) {
        return hw_fail(err, HW_INPUT, "a tensor without a name");
    }
    struct entry entry = {.tensor = {.name = name}, .n_name = n_name};
    enum hw_status status =
        read_dtype(json_object_get(json, "dtype"), text, &entry.tensor.dtype, err);
    if (status == HW_OK) {
        status = read_shape(json_object_get(json, "shape"), text, &entry.tensor, err);
    }
    if (status == HW_OK) {
        status = read_offsets(json_object_get(json, "data_offsets"), text, data_bytes, &entry, err);
    }
    if (status == HW_OK && json_object_size(json) != 3) {
        status = hw_fail(err, HW_INPUT,
                         "tensor %s: %zu fields, expected only dtype, shape and data_offsets", text,
                         json_object_size(json));
    }
    if (status == HW_OK) {
        *ret_entry = entry;
    }
    return status;
}

static enum hw_status check_metadata(json_t *json, struct hw_error *err) {
    if (!json_is_object(json)) {
        return hw_fail(err, HW_INPUT, "__metadata__ is not an object");
    }
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value) {
        if (!json_is_string(value)) {
            char text[TEXT_BYTES];
            return hw_fail(err, HW_INPUT, "__metadata__: the value of %s is not a string",
                           printable(text, key, strlen(key)));
        }
    }
    return HW_OK;
}

static int compare_entries(const void *a, const void *b) {
    const struct entry *x = a;
    const struct entry *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    if (x->end != y->end) {
        return x->end < y->end ? -1 : 1;
    }
    return strcmp(x->tensor.name,
                  y->tensor.name); // empty tensors share a place: keep the order fixed
}

static enum hw_status check_cover(const struct entry *entries, size_t n, uint64_t data_bytes,
                                  struct hw_error *err) {
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].begin != at) {
            char text[TEXT_BYTES];
            return hw_fail(err, HW_INPUT,
                           "tensor %s: data begin at %" PRIu64 ", expected %" PRIu64 " (%s)",
                           printable(text, entries[i].tensor.name, entries[i].n_name),
                           entries[i].begin, at, entries[i].begin > at ? "a hole" : "an overlap");
        }
        at = entries[i].end;
    }
    if (at != data_bytes) {
        return hw_fail(err, HW_INPUT,
                       "the tensors end at byte %" PRIu64 " of the data, the file has %" PRIu64, at,
                       data_bytes);
    }
    return HW_OK;
}

static enum hw_status read_entries(json_t *header, const unsigned char *data, uint64_t data_bytes,
                                   struct hw_tensor_table *table, struct hw_error *err) {
    size_t capacity = json_object_size(header);
    if (capacity > HW_MAX_TENSORS + 1) { // and __metadata__
        return hw_fail(err, HW_INPUT, "%zu tensors, expected at most %d", capacity, HW_MAX_TENSORS);
    }
    struct entry *entries = calloc(hw_size_max(capacity, 1), sizeof *entries);
    if (entries == NULL) {
        return hw_fail(err, HW_RESOURCE, "out of memory for %zu tensors", capacity);
    }
    enum hw_status status = HW_OK;
    size_t n = 0;
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value) {
        if (strcmp(name, "__metadata__") == 0) {
            status = check_metadata(value, err);
        } else {
            status = read_entry(name, strlen(name), value, data_bytes, &entries[n], err);
            n += status == HW_OK;
        }
        if (status != HW_OK) {
            goto out;
        }
    }
    qsort(entries, n, sizeof *entries, compare_entries);
    status = check_cover(entries, n, data_bytes, err);
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        entries[i].tensor.data = data + entries[i].begin;
        status = hw_tensor_table_add(table, &entries[i].tensor, entries[i].tensor.name,
                                     entries[i].n_name, err);
    }
out:
    free(entries);
    return status;
}

static enum hw_status find_header(const struct hw_filemap *map, size_t *ret_bytes,
                                  struct hw_error *err) {
    struct hw_reader reader = hw_filemap_reader(map);
    uint64_t n_bytes;
    if (!hw_reader_u64(&reader, &n_bytes)) {
        return hw_fail(err, HW_INPUT, "%zu bytes, too short for a safetensors file", map->n_bytes);
    }
    if (n_bytes < 2 || n_bytes > HW_MAX_SAFETENSORS_HEADER_BYTES) {
        return hw_fail(err, HW_INPUT, "byte 0: header of %" PRIu64 " bytes, expected 2 to %d",
                       n_bytes, HW_MAX_SAFETENSORS_HEADER_BYTES);
    }
    const unsigned char *header;
    if (!hw_reader_take(&reader, n_bytes, &header)) {
        return hw_fail(err, HW_INPUT, "byte 0: header of %" PRIu64 " bytes, %zu are left", n_bytes,
                       hw_reader_left(&reader));
    }
    if (header[0] != '{') {
        return hw_fail(err, HW_INPUT, "byte 8: header begins with 0x%02x, expected {", header[0]);
    }
    *ret_bytes = (size_t)n_bytes;
    return HW_OK;
}

enum hw_status hw_safetensors_read(const struct hw_filemap *map, struct hw_tensor_table *table,
                                   size_t *ret_header_bytes, struct hw_error *err) {
    json_t *header = NULL;
    size_t n_bytes = 0;
    enum hw_status status = find_header(map, &n_bytes, err);
    if (status == HW_OK) {
        status = hw_json_parse("header", (const char *)map->base + 8, n_bytes, &header, err);
    }
    if (status == HW_OK) {
        size_t data_at = 8 + n_bytes;
        status = read_entries(header, map->base + data_at, map->n_bytes - data_at, table, err);
    }
    json_decref(header);
    if (status != HW_OK) {
        return hw_fail_context(err, status, "%s: ", map->path);
    }
    *ret_header_bytes = 8 + n_bytes;
    return HW_OK;
}
