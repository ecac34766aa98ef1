// Opening GGUF files and split sets; see gguf.h. Layout: ggml's docs/gguf.md.
//
// magic "GGUF", version u32, n_tensors u64, n_values u64, the values (gguf_metadata.c), the
// directory of tensors and their data (gguf_tensors.c). A split set is NAME-00001-of-0000N.gguf and
// on; the metadata of the model are in the first file, and what a later file repeats must be the
// same bytes, so that files of different models do not pass as one.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_internal.h"
#include "kernels/size.h"

enum { VERSION_MIN = 2, VERSION_MAX = 3, QUANTIZATION_VERSION = 2 };

struct header {
    uint64_t n_tensors;
    uint64_t n_values;
};

static enum hw_status read_version(struct hw_reader *reader, struct hw_error *err) {
    const unsigned char *magic;
    uint32_t version;
    if (!hw_reader_take(reader, 4, &magic)) {
        return hw_fail(err, HW_INPUT, "%zu bytes, too short for a GGUF file", reader->n_bytes);
    }
    if (memcmp(magic, "GGUF", 4) != 0) {
        char text[17];
        (void)hw_escape(text, sizeof text, (const char *)magic, 4);
        return hw_fail(err, HW_INPUT, "byte 0: magic \"%s\", expected \"GGUF\"", text);
    }
    if (!hw_reader_u32(reader, &version)) {
        return hw_fail(err, HW_INPUT, "byte 4: the file ends before its version");
    }
    if (version != 0 && (version & 0xFFFF) == 0) {
        return hw_fail(err, HW_INPUT,
                       "byte 4: version 0x%08" PRIx32
                       ": a big-endian file, only little-endian ones are read",
                       version);
    }
    if (version < VERSION_MIN || version > VERSION_MAX) {
        return hw_fail(err, HW_INPUT, "byte 4: version %" PRIu32 ", expected %d or %d", version,
                       VERSION_MIN, VERSION_MAX);
    }
    return HW_OK;
}

static enum hw_status read_header(struct hw_reader *reader, struct header *ret_header,
                                  struct hw_error *err) {
    enum hw_status status = read_version(reader, err);
    if (status != HW_OK) {
        return status;
    }
    struct header header;
    if (!hw_reader_u64(reader, &header.n_tensors) || !hw_reader_u64(reader, &header.n_values)) {
        return hw_fail(err, HW_INPUT, "byte %zu: the file ends before its counts", reader->at);
    }
    size_t left = hw_reader_left(reader);
    if (header.n_tensors > HW_MAX_TENSORS || header.n_tensors > left / HW_GGUF_MIN_TENSOR_BYTES) {
        return hw_fail(err, HW_INPUT, "byte 8: %" PRIu64 " tensors, %zu bytes are left",
                       header.n_tensors, left);
    }
    if (header.n_values > left / HW_GGUF_MIN_VALUE_BYTES) {
        return hw_fail(err, HW_INPUT, "byte 16: %" PRIu64 " metadata values, %zu bytes are left",
                       header.n_values, left);
    }
    *ret_header = header;
    return HW_OK;
}

static enum hw_status read_alignment(const struct hw_gguf_values *values, size_t *ret_alignment,
                                     struct hw_error *err) {
    const struct hw_gguf_value *value = hw_gguf_values_find(values, "general.alignment");
    if (value == NULL) {
        *ret_alignment = HW_GGUF_DEFAULT_ALIGNMENT;
        return HW_OK;
    }
    if (value->type != HW_GGUF_U32) {
        return hw_fail(err, HW_INPUT, "key general.alignment: type %s, expected u32",
                       hw_gguf_type_name(value->type));
    }
    uint32_t alignment = hw_read_u32(value->data);
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > HW_GGUF_MAX_ALIGNMENT) {
        return hw_fail(err, HW_INPUT,
                       "key general.alignment: %" PRIu32 ", expected a power of two up to %d",
                       alignment, HW_GGUF_MAX_ALIGNMENT);
    }
    *ret_alignment = alignment;
    return HW_OK;
}

// The first quantised blocks of GGUF (version 1) had the same sizes and other bits.
static enum hw_status check_quantization(const struct hw_gguf *gguf, struct hw_error *err) {
    static const char key[] = "general.quantization_version";
    const struct hw_gguf_value *value = hw_gguf_values_find(&gguf->values, key);
    if (value == NULL) {
        return HW_OK;
    }
    uint64_t version = 0;
    bool is_integer = hw_gguf_value_u64(value, &version);
    for (size_t i = 0; i < gguf->tensors.n; i++) {
        bool is_quantised = hw_dtype_block_values(gguf->tensors.items[i].dtype) > 1;
        if (is_quantised && !(is_integer && version == QUANTIZATION_VERSION)) {
            return hw_fail(err, HW_INPUT, "key %s: %s %" PRIu64 ", expected %d", key,
                           hw_gguf_type_name(value->type), version, QUANTIZATION_VERSION);
        }
    }
    return HW_OK;
}

// What a later file of a split set repeats must be what the first one says; only its split.no is
// its own.
static enum hw_status check_same_model(const struct hw_gguf_values *first,
                                       const struct hw_gguf_values *later, struct hw_error *err) {
    for (size_t i = 0; i < later->n; i++) {
        const struct hw_gguf_value *value = &later->items[i];
        const struct hw_gguf_value *same = hw_gguf_values_find(first, value->key);
        if (same == NULL || strcmp(value->key, "split.no") == 0) {
            continue;
        }
        size_t n_bytes = hw_gguf_value_bytes(value);
        if (same->type != value->type || same->element_type != value->element_type ||
            same->n != value->n || hw_gguf_value_bytes(same) != n_bytes ||
            memcmp(same->data, value->data, n_bytes) != 0) {
            char text[96];
            (void)hw_escape(text, sizeof text, value->key, strlen(value->key));
            return hw_fail(err, HW_INPUT, "key %s differs from the first file of the split set",
                           text);
        }
    }
    return HW_OK;
}

// Value of a split key: `missing` where it is not there.
static enum hw_status split_number(const struct hw_gguf_values *values, const char *key,
                                   uint64_t missing, uint64_t *ret, struct hw_error *err) {
    const struct hw_gguf_value *value = hw_gguf_values_find(values, key);
    if (value == NULL) {
        *ret = missing;
        return HW_OK;
    }
    if (!hw_gguf_value_u64(value, ret)) {
        return hw_fail(err, HW_INPUT, "key %s: type %s, expected an integer that is not negative",
                       key, hw_gguf_type_name(value->type));
    }
    return HW_OK;
}

// Reads the file just mapped, number `no` of its set, into gguf.
static enum hw_status read_file(struct hw_gguf *gguf, size_t no, struct hw_error *err) {
    struct hw_gguf_file *file = &gguf->files[no];
    struct hw_reader reader = hw_filemap_reader(file->map);
    struct hw_gguf_values values = {0};
    struct header header = {0};
    size_t alignment = HW_GGUF_DEFAULT_ALIGNMENT;
    uint64_t found_no = 0;
    enum hw_status status = read_header(&reader, &header, err);
    if (status == HW_OK) {
        status = hw_gguf_values_read(&reader, header.n_values, &values, err);
    }
    if (status == HW_OK) {
        status = read_alignment(&values, &alignment, err);
    }
    if (status == HW_OK) {
        status = split_number(&values, "split.no", no == 0 ? 0 : UINT64_MAX, &found_no, err);
    }
    if (status == HW_OK && found_no != no) {
        status = no == 0 ? hw_fail(err, HW_INPUT,
                                   "file %" PRIu64 " of a split set, expected the first of the set",
                                   found_no + 1)
                         : hw_fail(err, HW_INPUT, "key split.no: %" PRIu64 ", expected %zu",
                                   found_no, no);
    }
    if (status == HW_OK && no > 0) {
        status = check_same_model(&gguf->values, &values, err);
    }
    if (status == HW_OK) {
        status = hw_gguf_tensors_read(&reader, header.n_tensors, alignment, &gguf->tensors,
                                      &file->header_bytes, err);
    }
    if (status == HW_OK && no == 0) {
        gguf->values = values;
        values = (struct hw_gguf_values){0};
    }
    hw_gguf_values_free(&values);
    return status;
}

// The path of file `no` (0-based) of n from that of the first, to be freed.
static enum hw_status split_path(const char *first, size_t no, size_t n, char **ret_path,
                                 struct hw_error *err) {
    char suffix[64];
    int n_suffix = snprintf(suffix, sizeof suffix, "-%05d-of-%05zu.gguf", 1, n);
    size_t n_first = strlen(first);
    if (n_suffix < 0 || n_first < (size_t)n_suffix ||
        strcmp(first + n_first - (size_t)n_suffix, suffix) != 0) {
        return hw_fail(err, HW_INPUT, "%s: one of %zu files, expected a name ending in %s", first,
                       n, suffix);
    }
    int n_stem = (int)(n_first - (size_t)n_suffix);
    if (asprintf(ret_path, "%.*s-%05zu-of-%05zu.gguf", n_stem, first, no + 1, n) < 0) {
        *ret_path = NULL;
        return hw_fail(err, HW_RESOURCE, "%s: out of memory", first);
    }
    return HW_OK;
}

static enum hw_status read_later_files(struct hw_gguf *gguf, struct hw_error *err) {
    const char *first = gguf->files[0].map->path;
    uint64_t n = 1;
    enum hw_status status = split_number(&gguf->values, "split.count", 1, &n, err);
    if (status != HW_OK) {
        return hw_fail_context(err, status, "%s: ", first);
    }
    if (n > HW_GGUF_MAX_FILES) {
        return hw_fail(err, HW_INPUT, "%s: key split.count: %" PRIu64 ", expected at most %d",
                       first, n, HW_GGUF_MAX_FILES);
    }
    if (n <= 1) {
        return HW_OK;
    }
    struct hw_gguf_file *files = realloc(gguf->files, (size_t)n * sizeof *files);
    if (files == NULL) {
        return hw_fail(err, HW_RESOURCE, "%s: out of memory for %" PRIu64 " files", first, n);
    }
    gguf->files = files;
    for (size_t no = 1; no < n; no++) {
        char *path = NULL;
        status = split_path(first, no, (size_t)n, &path, err);
        if (status != HW_OK) {
            return status;
        }
        files[no] = (struct hw_gguf_file){0};
        status = hw_filemap_open(path, &files[no].map, err);
        if (status == HW_OK) {
            gguf->n_files = no + 1;
            status = read_file(gguf, no, err);
            if (status != HW_OK) {
                status = hw_fail_context(err, status, "%s: ", path);
            }
        }
        free(path);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}

// Takes the map over, also on failure.
static enum hw_status open_map(struct hw_filemap *map, struct hw_gguf **ret_gguf,
                               struct hw_error *err) {
    enum hw_status status = HW_OK;
    const char *path = map->path;
    uint64_t n_tensors = 0;
    struct hw_gguf *gguf = calloc(1, sizeof *gguf);
    struct hw_gguf_file *files = calloc(1, sizeof *files);
    if (gguf == NULL || files == NULL) {
        free(gguf);
        free(files);
        status = hw_fail(err, HW_RESOURCE, "%s: out of memory", path);
        hw_filemap_close(&map);
        return status;
    }
    files[0].map = map;
    gguf->files = files;
    gguf->n_files = 1;
    status = read_file(gguf, 0, err);
    if (status != HW_OK) {
        status = hw_fail_context(err, status, "%s: ", path);
        goto out;
    }
    status = read_later_files(gguf, err);
    if (status != HW_OK) {
        goto out;
    }
    status = split_number(&gguf->values, "split.tensors.count", gguf->tensors.n, &n_tensors, err);
    if (status == HW_OK && n_tensors != gguf->tensors.n) {
        status =
            hw_fail(err, HW_INPUT, "key split.tensors.count: %" PRIu64 ", found %zu in %zu files",
                    n_tensors, gguf->tensors.n, gguf->n_files);
    }
    if (status == HW_OK) {
        status = check_quantization(gguf, err);
    }
    if (status == HW_OK) {
        status = hw_tensor_table_index(&gguf->tensors, err);
    }
    if (status != HW_OK) {
        status = hw_fail_context(err, status, "%s: ", path);
        goto out;
    }
    *ret_gguf = gguf;
    gguf = NULL;
out:
    hw_gguf_close(&gguf);
    return status;
}

enum hw_status hw_gguf_open(const char *path, struct hw_gguf **ret_gguf, struct hw_error *err) {
    struct hw_filemap *map = NULL;
    enum hw_status status = hw_filemap_open(path, &map, err);
    return status != HW_OK ? status : open_map(map, ret_gguf, err);
}

enum hw_status hw_gguf_open_bytes(const char *path, const void *bytes, size_t n_bytes,
                                  struct hw_gguf **ret_gguf, struct hw_error *err) {
    struct hw_filemap *map = NULL;
    enum hw_status status = hw_filemap_borrow(path, bytes, n_bytes, &map, err);
    return status != HW_OK ? status : open_map(map, ret_gguf, err);
}

void hw_gguf_close(struct hw_gguf **gguf) {
    if (*gguf == NULL) {
        return;
    }
    hw_tensor_table_free(&(*gguf)->tensors);
    hw_gguf_values_free(&(*gguf)->values);
    for (size_t i = 0; i < (*gguf)->n_files; i++) {
        hw_filemap_close(&(*gguf)->files[i].map);
    }
    free((*gguf)->files);
    free(*gguf);
    *gguf = NULL;
}

size_t hw_gguf_n_values(const struct hw_gguf *gguf) {
    return gguf->values.n;
}

const struct hw_gguf_value *hw_gguf_value(const struct hw_gguf *gguf, size_t i) {
    return i < gguf->values.n ? &gguf->values.items[i] : NULL;
}

const struct hw_gguf_value *hw_gguf_find(const struct hw_gguf *gguf, const char *key) {
    return hw_gguf_values_find(&gguf->values, key);
}

size_t hw_gguf_n_tensors(const struct hw_gguf *gguf) {
    return gguf->tensors.n;
}

const struct hw_tensor *hw_gguf_tensor(const struct hw_gguf *gguf, size_t i) {
    return i < gguf->tensors.n ? &gguf->tensors.items[i] : NULL;
}
