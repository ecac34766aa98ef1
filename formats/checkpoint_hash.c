// SHA-256 of a model's weight files, kept in a cache folder; see checkpoint.h.
//
// The hash is of the files one after another, so `cat FILES | sha256sum` gives the same. What was
// hashed once is found again by the place, size, and times of every file: an entry is a small file
// whose name is the SHA-256 of those and whose content is the hash. The time of the last change of
// the inode is among them, because the time of modification survives a copy over the file.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/checkpoint_internal.h"
#include "formats/sha256.h"
#include "kernels/size.h"

enum { HEX_BYTES = 65, HEX_DIGITS = 64 };

static void hash_weights(const struct hw_checkpoint *checkpoint, bool is_header_only,
                         char ret_hex[HEX_BYTES]) {
    struct hw_sha256 hash;
    hw_sha256_init(&hash);
    for (size_t i = 0; i < hw_checkpoint_n_weights(checkpoint); i++) {
        size_t header_bytes;
        const struct hw_filemap *map = hw_checkpoint_weights(checkpoint, i, &header_bytes);
        hw_sha256_update(&hash, map->base, is_header_only ? header_bytes : map->n_bytes);
    }
    hw_sha256_hex(&hash, ret_hex);
}

// Name of the cache entry; false where a file has no place (removed since, or no memory).
static bool entry_name(const struct hw_checkpoint *checkpoint, char ret_hex[HEX_BYTES]) {
    struct hw_sha256 hash;
    hw_sha256_init(&hash);
    for (size_t i = 0; i < hw_checkpoint_n_weights(checkpoint); i++) {
        size_t header_bytes;
        const struct hw_filemap *map = hw_checkpoint_weights(checkpoint, i, &header_bytes);
        char *place = realpath(map->path, NULL);
        if (place == NULL) {
            return false;
        }
        char text[128];
        int n = snprintf(text, sizeof text, "\n%zu %" PRId64 " %" PRId64 "\n", map->n_bytes,
                         map->modified_ns, map->changed_ns);
        hw_sha256_update(&hash, place, strlen(place));
        hw_sha256_update(&hash, text, n < 0 ? 0 : (size_t)n);
        free(place);
    }
    hw_sha256_hex(&hash, ret_hex);
    return true;
}

// Makes the folder of the entries, and those above it, where they are not there; what cannot be
// made shows when an entry is written.
static void make_folders(const char *folder) {
    char *path = strdup(folder);
    if (path == NULL || path[0] == '\0') {
        free(path);
        return;
    }
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    (void)mkdir(path, 0700);
    free(path);
}

static bool read_entry(const char *path, char ret_hex[HEX_BYTES]) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    char text[HEX_DIGITS + 2] = {0};
    size_t n = fread(text, 1, sizeof text, file);
    (void)fclose(file);
    if (n != HEX_DIGITS + 1 || text[HEX_DIGITS] != '\n' ||
        strspn(text, "0123456789abcdef") != HEX_DIGITS) {
        return false;
    }
    memcpy(ret_hex, text, HEX_DIGITS);
    ret_hex[HEX_DIGITS] = '\0';
    return true;
}

// Written beside and renamed, so that no reader sees half of it. A cache that cannot be written is
// no error.
static void write_entry(const char *path, const char *hex) {
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        return;
    }
    int fd = mkstemp(temporary);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (file == NULL) {
        if (fd >= 0) {
            (void)close(fd);
            (void)unlink(temporary);
        }
        free(temporary);
        return;
    }
    bool is_written = fprintf(file, "%s\n", hex) == HEX_DIGITS + 1;
    is_written = fclose(file) == 0 && is_written;
    if (!is_written || rename(temporary, path) != 0) {
        (void)unlink(temporary);
    }
    free(temporary);
}

static enum hw_status check_current(const struct hw_checkpoint *checkpoint, struct hw_error *err) {
    for (size_t i = 0; i < hw_checkpoint_n_weights(checkpoint); i++) {
        size_t header_bytes;
        const struct hw_filemap *map = hw_checkpoint_weights(checkpoint, i, &header_bytes);
        if (!hw_filemap_is_current(map)) {
            return hw_fail(err, HW_INPUT, "%s: changed or removed while it was in use", map->path);
        }
    }
    return HW_OK;
}

// The full hash, from the cache where it is there.
static enum hw_status hash_cached(const struct hw_checkpoint *checkpoint, const char *folder,
                                  char ret_hex[HEX_BYTES], struct hw_error *err) {
    enum hw_status status = check_current(checkpoint, err);
    if (status != HW_OK) {
        return status;
    }
    char name[HEX_BYTES];
    char *path = NULL;
    bool has_name = folder != NULL && entry_name(checkpoint, name);
    if (!has_name || asprintf(&path, "%s/%s", folder, name) < 0) {
        path = NULL;
    }
    if (path == NULL || !read_entry(path, ret_hex)) {
        hash_weights(checkpoint, false, ret_hex);
        status = check_current(checkpoint, err); // what was read is what was mapped
        if (status == HW_OK && path != NULL) {
            make_folders(folder);
            write_entry(path, ret_hex);
        }
    }
    free(path);
    return status;
}

enum hw_status hw_checkpoint_sha256(const struct hw_checkpoint *checkpoint, enum hw_model_hash how,
                                    const char *cache_folder, char ret_hex[HEX_BYTES],
                                    struct hw_error *err) {
    char hex[HEX_BYTES] = "";
    if (how == HW_MODEL_HASH_FULL) {
        enum hw_status status = hash_cached(checkpoint, cache_folder, hex, err);
        if (status != HW_OK) {
            return status;
        }
    } else if (how == HW_MODEL_HASH_HEADER) {
        hash_weights(checkpoint, true, hex);
    }
    memcpy(ret_hex, hex, HEX_BYTES);
    return HW_OK;
}
