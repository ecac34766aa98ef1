// Growing bytes and temporary folders; see byte_buffer.h.
#include "byte_buffer.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void require(int is_good, const char *what) {
    if (!is_good) {
        perror(what);
        abort();
    }
}

void byte_buffer_put(struct byte_buffer *buffer, const void *bytes, size_t n) {
    if (buffer->n + n > buffer->capacity) {
        buffer->capacity = 2 * (buffer->n + n);
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        require(buffer->bytes != NULL, "realloc");
    }
    if (n > 0) {
        memcpy(buffer->bytes + buffer->n, bytes, n);
    }
    buffer->n += n;
}

void byte_buffer_put_u(struct byte_buffer *buffer, uint64_t value, size_t width) {
    for (size_t i = 0; i < width; i++) {
        unsigned char byte = (unsigned char)(value >> (8 * i));
        byte_buffer_put(buffer, &byte, 1);
    }
}

void byte_buffer_pad(struct byte_buffer *buffer, size_t alignment) {
    while (buffer->n % alignment != 0) {
        byte_buffer_put(buffer, "", 1);
    }
}

void byte_buffer_free(struct byte_buffer *buffer) {
    free(buffer->bytes);
    *buffer = (struct byte_buffer){0};
}

unsigned char *byte_copy(const void *bytes, size_t n) {
    unsigned char *copy = malloc(n);
    require(copy != NULL || n == 0, "malloc");
    if (n > 0) {
        memcpy(copy, bytes, n);
    }
    return copy;
}

char *temp_folder_new(void) {
    const char *place = getenv("TMPDIR");
    char *folder = NULL;
    require(asprintf(&folder, "%s/headwater-test-XXXXXX", place != NULL ? place : "/tmp") > 0,
            "asprintf");
    require(mkdtemp(folder) != NULL, folder);
    return folder;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw) {
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

void temp_folder_remove(char **folder) {
    require(nftw(*folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, *folder);
    free(*folder);
    *folder = NULL;
}

char *temp_file(const char *folder, const char *name, const void *bytes, size_t n) {
    char *path = NULL;
    require(asprintf(&path, "%s/%s", folder, name) > 0, "asprintf");
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "wb");
    require(file != NULL, path);
    require(fwrite(bytes, 1, n, file) == n, path);
    require(fclose(file) == 0, path);
    return path;
}
