// GGUF's tensor directory: names, shapes, types and offsets, checked against each other and against
// the file.
//
// A record is name (u64 length, bytes), n_dims u32, n_dims x u64 (fastest axis first), type u32,
// offset u64 from the start of the data, which begins at the next multiple of the alignment after
// the directory. Tensors lie in the order of the directory, each at the next multiple of the
// alignment: what ggml writes and demands.
#include <inttypes.h>
#include <string.h>

#include "formats/gguf_internal.h"
#include "kernels/size.h"

#define KNOWN(type)                                                                                \
    { #type, HW_##type, true }
#define UNKNOWN(name)                                                                              \
    { name, HW_F32, false }
static const struct {
    const char *name; // NULL: no such type
    enum hw_dtype dtype;
    bool is_known;
} types[] = {
    [0] = KNOWN(F32),
    [1] = KNOWN(F16),
    [2] = KNOWN(Q4_0),
    [3] = KNOWN(Q4_1),
    [4] = UNKNOWN("Q4_2 (removed from GGUF)"),
    [5] = UNKNOWN("Q4_3 (removed from GGUF)"),
    [6] = KNOWN(Q5_0),
    [7] = KNOWN(Q5_1),
    [8] = KNOWN(Q8_0),
    [9] = UNKNOWN("Q8_1"),
    [10] = KNOWN(Q2_K),
    [11] = KNOWN(Q3_K),
    [12] = KNOWN(Q4_K),
    [13] = KNOWN(Q5_K),
    [14] = KNOWN(Q6_K),
    [15] = UNKNOWN("Q8_K"),
    [16] = UNKNOWN("IQ2_XXS"),
    [17] = UNKNOWN("IQ2_XS"),
    [18] = UNKNOWN("IQ3_XXS"),
    [19] = UNKNOWN("IQ1_S"),
    [20] = UNKNOWN("IQ4_NL"),
    [21] = UNKNOWN("IQ3_S"),
    [22] = UNKNOWN("IQ2_S"),
    [23] = UNKNOWN("IQ4_XS"),
    [24] = KNOWN(I8),
    [25] = KNOWN(I16),
    [26] = KNOWN(I32),
    [27] = KNOWN(I64),
    [28] = KNOWN(F64),
    [29] = UNKNOWN("IQ1_M"),
    [30] = KNOWN(BF16),
    [31] = UNKNOWN("Q4_0_4_4 (removed from GGUF)"),
    [32] = UNKNOWN("Q4_0_4_8 (removed from GGUF)"),
    [33] = UNKNOWN("Q4_0_8_8 (removed from GGUF)"),
    [34] = UNKNOWN("TQ1_0"),
    [35] = UNKNOWN("TQ2_0"),
    [36] = UNKNOWN("IQ4_NL_4_4 (removed from GGUF)"),
    [37] = UNKNOWN("IQ4_NL_4_8 (removed from GGUF)"),
    [38] = UNKNOWN("IQ4_NL_8_8 (removed from GGUF)"),
    [39] = UNKNOWN("MXFP4"),
    [40] = UNKNOWN("NVFP4"),
    [41] = UNKNOWN("Q1_0"),
};
enum { N_TYPES = sizeof types / sizeof types[0] };
#undef KNOWN
#undef UNKNOWN

enum { NAME_TEXT_BYTES = 4 * HW_GGUF_MAX_NAME_BYTES + 1 };

// A record as read: the tensor but for its data, its name in the map, and the offset it claims.
struct record {
    struct hw_tensor tensor;
    struct hw_bytes name;
    char text[NAME_TEXT_BYTES]; // the name, printable
    uint64_t offset;
    size_t offset_at; // where in the file the offset stands
};

static enum hw_status read_name(struct hw_reader *reader, struct record *record,
                                struct hw_error *err) {
    size_t at = reader->at;
    uint64_t n_bytes;
    const unsigned char *bytes;
    if (!hw_reader_u64(reader, &n_bytes)) {
        return hw_fail(err, HW_INPUT, "byte %zu: the file ends before a tensor's name", at);
    }
    if (n_bytes == 0 || n_bytes > HW_GGUF_MAX_NAME_BYTES) {
        return hw_fail(err, HW_INPUT,
                       "byte %zu: tensor name of %" PRIu64 " bytes, expected 1 to %d", at, n_bytes,
                       HW_GGUF_MAX_NAME_BYTES);
    }
    if (!hw_reader_take(reader, n_bytes, &bytes)) {
        return hw_fail(err, HW_INPUT, "byte %zu: tensor name of %" PRIu64 " bytes, %zu are left",
                       at, n_bytes, hw_reader_left(reader));
    }
    record->name = (struct hw_bytes){.data = (const char *)bytes, .n = (size_t)n_bytes};
    (void)hw_escape(record->text, sizeof record->text, record->name.data, record->name.n);
    if (memchr(bytes, 0, record->name.n) != NULL) {
        return hw_fail(err, HW_INPUT, "byte %zu: tensor name %s with a NUL", at, record->text);
    }
    return HW_OK;
}

static enum hw_status read_shape(struct hw_reader *reader, struct record *record,
                                 struct hw_error *err) {
    struct hw_tensor *tensor = &record->tensor;
    size_t at = reader->at;
    uint32_t n_dims;
    if (!hw_reader_u32(reader, &n_dims)) {
        return hw_fail(err, HW_INPUT, "byte %zu: tensor %s: the file ends before n_dims", at,
                       record->text);
    }
    if (n_dims == 0 || n_dims > HW_MAX_DIMS) {
        return hw_fail(err, HW_INPUT, "byte %zu: tensor %s: n_dims %" PRIu32 ", expected 1 to %d",
                       at, record->text, n_dims, HW_MAX_DIMS);
    }
    tensor->n_dims = n_dims;
    tensor->n_values = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t dim;
        at = reader->at;
        if (!hw_reader_u64(reader, &dim)) {
            return hw_fail(err, HW_INPUT,
                           "byte %zu: tensor %s: the file ends before dimension %" PRIu32, at,
                           record->text, i);
        }
        if (dim == 0 || dim > INT64_MAX || dim > SIZE_MAX) {
            return hw_fail(err, HW_INPUT,
                           "byte %zu: tensor %s: dimension %" PRIu32 " is %" PRIu64
                           ", expected 1 to 2^63-1",
                           at, record->text, i, dim);
        }
        if (!hw_size_mul(tensor->n_values, (size_t)dim, &tensor->n_values) ||
            tensor->n_values > INT64_MAX) {
            return hw_fail(err, HW_INPUT,
                           "byte %zu: tensor %s: the product of its dimensions overflows", at,
                           record->text);
        }
        tensor->shape[n_dims - 1 - i] = (size_t)dim;
    }
    return HW_OK;
}

static enum hw_status read_dtype(struct hw_reader *reader, struct record *record,
                                 struct hw_error *err) {
    struct hw_tensor *tensor = &record->tensor;
    size_t at = reader->at;
    uint32_t type;
    if (!hw_reader_u32(reader, &type)) {
        return hw_fail(err, HW_INPUT, "byte %zu: tensor %s: the file ends before its type", at,
                       record->text);
    }
    if (type >= N_TYPES || !types[type].is_known) {
        return hw_fail(err, HW_INPUT, "byte %zu: tensor %s: type %" PRIu32 "%s%s is not supported",
                       at, record->text, type, type < N_TYPES ? " " : "",
                       type < N_TYPES ? types[type].name : "");
    }
    tensor->dtype = types[type].dtype;
    size_t block = hw_dtype_block_values(tensor->dtype);
    size_t row = tensor->shape[tensor->n_dims - 1];
    if (row % block != 0) {
        return hw_fail(
            err, HW_INPUT,
            "byte %zu: tensor %s: rows of %zu values, expected a multiple of %s's block of %zu", at,
            record->text, row, types[type].name, block);
    }
    if (!hw_dtype_bytes(tensor->dtype, tensor->n_values, &tensor->n_bytes)) {
        return hw_fail(err, HW_INPUT, "byte %zu: tensor %s: the size of %zu values overflows", at,
                       record->text, tensor->n_values);
    }
    return HW_OK;
}

static enum hw_status read_record(struct hw_reader *reader, struct record *record,
                                  struct hw_error *err) {
    enum hw_status status = read_name(reader, record, err);
    if (status == HW_OK) {
        status = read_shape(reader, record, err);
    }
    if (status == HW_OK) {
        status = read_dtype(reader, record, err);
    }
    if (status != HW_OK) {
        return status;
    }
    record->offset_at = reader->at;
    if (!hw_reader_u64(reader, &record->offset)) {
        return hw_fail(err, HW_INPUT, "byte %zu: tensor %s: the file ends before its offset",
                       record->offset_at, record->text);
    }
    return HW_OK;
}

// Checks that the record's tensor stands at *next, and moves *next behind it and its padding. Sizes
// are relative to the data.
static enum hw_status place(const struct record *record, size_t alignment, size_t *next,
                            struct hw_error *err) {
    if (record->offset != *next) {
        return hw_fail(err, HW_INPUT, "byte %zu: tensor %s: offset %" PRIu64 ", expected %zu",
                       record->offset_at, record->text, record->offset, *next);
    }
    size_t end;
    if (!hw_size_add(*next, record->tensor.n_bytes, &end) ||
        !hw_size_round_up(end, alignment, &end)) {
        return hw_fail(err, HW_INPUT,
                       "byte %zu: tensor %s: offset %" PRIu64 " plus %zu bytes overflows",
                       record->offset_at, record->text, record->offset, record->tensor.n_bytes);
    }
    *next = end;
    return HW_OK;
}

// Turns offsets (kept in n_dims order of the records) into pointers, now that the start of the data
// is known.
static enum hw_status point(const struct hw_reader *reader, size_t alignment, size_t data_at,
                            struct hw_tensor *tensors, size_t n, struct hw_error *err) {
    size_t at = data_at;
    for (size_t i = 0; i < n; i++) {
        size_t left = at > reader->n_bytes ? 0 : reader->n_bytes - at;
        if (tensors[i].n_bytes > left) {
            char text[NAME_TEXT_BYTES];
            (void)hw_escape(text, sizeof text, tensors[i].name, strlen(tensors[i].name));
            return hw_fail(err, HW_INPUT,
                           "tensor %s: %zu bytes of data at byte %zu, the file has %zu bytes", text,
                           tensors[i].n_bytes, at, reader->n_bytes);
        }
        tensors[i].data = reader->base + at;
        // Cannot overflow past the last tensor in the file; padding of the last one may be missing.
        if (!hw_size_round_up(at + tensors[i].n_bytes - data_at, alignment, &at)) {
            return hw_fail(err, HW_INPUT, "the tensor data overflow");
        }
        at += data_at;
    }
    return HW_OK;
}

enum hw_status hw_gguf_tensors_read(struct hw_reader *reader, uint64_t n, size_t alignment,
                                    struct hw_tensor_table *table, size_t *ret_header_bytes,
                                    struct hw_error *err) {
    size_t first = table->n;
    size_t next = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct record record = {0};
        enum hw_status status = read_record(reader, &record, err);
        if (status == HW_OK) {
            status = place(&record, alignment, &next, err);
        }
        if (status == HW_OK) {
            status =
                hw_tensor_table_add(table, &record.tensor, record.name.data, record.name.n, err);
        }
        if (status != HW_OK) {
            return status;
        }
    }
    size_t data_at;
    if (!hw_size_round_up(reader->at, alignment, &data_at)) {
        return hw_fail(err, HW_INPUT, "byte %zu: padding to %zu overflows", reader->at, alignment);
    }
    *ret_header_bytes = hw_size_min(data_at, reader->n_bytes);
    if (table->n == first) {
        return HW_OK; // table->items may be NULL
    }
    return point(reader, alignment, data_at, table->items + first, table->n - first, err);
}
