// A file mapped read-only, and the bounds-checked reader that every parser of such bytes uses.
//
// The size is taken from fstat once, at open; a file that another process cuts short while it is
// mapped ends this process with SIGBUS, as with every mapping, so model files are to be replaced
// (renamed over), not truncated.
#ifndef HW_FILEMAP_H
#define HW_FILEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/status.h"

struct hw_filemap {
    char *path;                // as given
    const unsigned char *base; // [n_bytes]; never NULL, also for an empty file
    size_t n_bytes;
    int64_t modified_ns; // mtime and ctime since the epoch, for caches
    int64_t changed_ns;
    bool is_mapped; // base is to be unmapped
    bool is_borrowed;
};

// HW_INPUT names a path that cannot be read or is not a regular file (symbolic links are followed).
enum hw_status hw_filemap_open(const char *path, struct hw_filemap **ret_map, struct hw_error *err);
// Bytes of the caller's, which must outlive the map, under the name `path`: for tests and fuzzing.
enum hw_status hw_filemap_borrow(const char *path, const void *bytes, size_t n_bytes,
                                 struct hw_filemap **ret_map, struct hw_error *err);
void hw_filemap_close(struct hw_filemap **map);
// The file at the path still has the size and the times that it had when it was mapped (always true
// of borrowed bytes).
bool hw_filemap_is_current(const struct hw_filemap *map);

// Reads never pass base + n_bytes and move `at` only when they succeed; integers are little-endian
// and unaligned.
struct hw_reader {
    const unsigned char *base;
    size_t n_bytes;
    size_t at;
};

static inline struct hw_reader hw_filemap_reader(const struct hw_filemap *map) {
    return (struct hw_reader){.base = map->base, .n_bytes = map->n_bytes, .at = 0};
}

static inline size_t hw_reader_left(const struct hw_reader *reader) {
    return reader->n_bytes - reader->at;
}

// n is wide: it may come straight from a file.
static inline bool hw_reader_take(struct hw_reader *reader, uint64_t n, const unsigned char **ret) {
    if (n > hw_reader_left(reader)) {
        return false;
    }
    *ret = reader->base + reader->at;
    reader->at += (size_t)n;
    return true;
}

static inline uint16_t hw_read_u16(const unsigned char *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t hw_read_u32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t hw_read_u64(const unsigned char *p) {
    return (uint64_t)hw_read_u32(p) | (uint64_t)hw_read_u32(p + 4) << 32;
}

static inline bool hw_reader_u32(struct hw_reader *reader, uint32_t *ret) {
    const unsigned char *p;
    if (!hw_reader_take(reader, 4, &p)) {
        return false;
    }
    *ret = hw_read_u32(p);
    return true;
}

static inline bool hw_reader_u64(struct hw_reader *reader, uint64_t *ret) {
    const unsigned char *p;
    if (!hw_reader_take(reader, 8, &p)) {
        return false;
    }
    *ret = hw_read_u64(p);
    return true;
}

#endif
