// Read-only maps of files; see filemap.h.
#include "formats/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const unsigned char nothing[1]; // base of an empty file: mmap refuses length 0

static int64_t nanoseconds(struct timespec time) {
    return (int64_t)time.tv_sec * 1000000000 + (int64_t)time.tv_nsec;
}

static struct hw_filemap *map_new(const char *path) {
    struct hw_filemap *map = calloc(1, sizeof *map);
    if (map == NULL) {
        return NULL;
    }
    map->base = nothing;
    map->path = strdup(path);
    if (map->path == NULL) {
        free(map);
        return NULL;
    }
    return map;
}

static enum hw_status map_descriptor(struct hw_filemap *map, int fd, struct hw_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return hw_fail(err, HW_INPUT, "%s: %s", map->path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return hw_fail(err, HW_INPUT, "%s: expected a regular file, found %s", map->path,
                       S_ISDIR(info.st_mode) ? "a folder" : "a device, pipe or socket");
    }
    if (info.st_size < 0 || (uint64_t)info.st_size > SIZE_MAX) {
        return hw_fail(err, HW_INPUT, "%s: %lld bytes do not fit the address space", map->path,
                       (long long)info.st_size);
    }
    map->modified_ns = nanoseconds(info.st_mtim);
    map->changed_ns = nanoseconds(info.st_ctim);
    if (info.st_size == 0) {
        return HW_OK;
    }
    void *base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (base == MAP_FAILED) {
        return hw_fail(err, errno == ENOMEM ? HW_RESOURCE : HW_INPUT,
                       "%s: cannot map %lld bytes: %s", map->path, (long long)info.st_size,
                       strerror(errno));
    }
    map->base = base;
    map->n_bytes = (size_t)info.st_size;
    map->is_mapped = true;
    return HW_OK;
}

enum hw_status hw_filemap_open(const char *path, struct hw_filemap **ret_map,
                               struct hw_error *err) {
    // O_NONBLOCK: opening a pipe must not wait for a writer before it is refused.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return hw_fail(err, HW_INPUT, "%s: %s", path, strerror(errno));
    }
    enum hw_status status = HW_OK;
    struct hw_filemap *map = map_new(path);
    if (map == NULL) {
        status = hw_fail(err, HW_RESOURCE, "%s: out of memory", path);
        goto out;
    }
    status = map_descriptor(map, fd, err);
    if (status == HW_OK) {
        *ret_map = map;
        map = NULL;
    }
out:
    hw_filemap_close(&map);
    (void)close(fd);
    return status;
}

enum hw_status hw_filemap_borrow(const char *path, const void *bytes, size_t n_bytes,
                                 struct hw_filemap **ret_map, struct hw_error *err) {
    struct hw_filemap *map = map_new(path);
    if (map == NULL) {
        return hw_fail(err, HW_RESOURCE, "%s: out of memory", path);
    }
    map->is_borrowed = true;
    if (n_bytes > 0) {
        map->base = bytes;
        map->n_bytes = n_bytes;
    }
    *ret_map = map;
    return HW_OK;
}

void hw_filemap_close(struct hw_filemap **map) {
    if (*map == NULL) {
        return;
    }
    if ((*map)->is_mapped) {
        (void)munmap((void *)(uintptr_t)(*map)->base, (*map)->n_bytes);
    }
    free((*map)->path);
    free(*map);
    *map = NULL;
}

bool hw_filemap_is_current(const struct hw_filemap *map) {
    struct stat info;
    return map->is_borrowed || (stat(map->path, &info) == 0 && info.st_size >= 0 &&
                                (uint64_t)info.st_size == map->n_bytes &&
                                nanoseconds(info.st_mtim) == map->modified_ns);
}
