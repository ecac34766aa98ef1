// Temporary file, fsync, rename, fsync of the folder.
#include "formats/commit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "formats/sha256.h"

char *hw_path_format(const char *format, ...) {
    va_list args;
    char *text = NULL;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    return n < 0 ? NULL : text;
}

static enum hw_status write_all(int fd, const char *bytes, size_t n_bytes) {
    while (n_bytes > 0) {
        ssize_t n = write(fd, bytes, n_bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return HW_OUTPUT;
        }
        bytes += n;
        n_bytes -= (size_t)n;
    }
    return HW_OK;
}

enum hw_status hw_commit_write(const char *path, const void *bytes, size_t n_bytes,
                               struct hw_error *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        return hw_fail(err, HW_OUTPUT, "%s: cannot be created: %s", path, strerror(errno));
    }
    enum hw_status status = write_all(fd, bytes, n_bytes);
    if (status == HW_OK && fsync(fd) != 0) {
        status = HW_OUTPUT;
    }
    int reason = errno;
    // Some file systems report a full disk only here.
    if (close(fd) != 0 && status == HW_OK) {
        reason = errno;
        status = HW_OUTPUT;
    }
    if (status != HW_OK) {
        (void)unlink(path);
        return hw_fail(err, status, "%s: cannot be written: %s", path, strerror(reason));
    }
    return HW_OK;
}

enum hw_status hw_commit_sync(const char *path, struct hw_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        int reason = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return hw_fail(err, HW_OUTPUT, "%s: cannot be written: %s", path, strerror(reason));
    }
    (void)close(fd);
    return HW_OK;
}

enum hw_status hw_commit_sync_folder(const char *path_in_it, struct hw_error *err) {
    char *copy = strdup(path_in_it);
    if (copy == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    }
    enum hw_status status = HW_OK;
    const char *folder = dirname(copy);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    // Some network file systems cannot sync a folder; they say EINVAL.
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL)) {
        status =
            hw_fail(err, HW_OUTPUT, "%s: folder cannot be synced: %s", folder, strerror(errno));
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(copy);
    return status;
}

enum hw_status hw_commit_rename(const char *temporary, const char *path, struct hw_error *err) {
    int e = renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE);
    if (e != 0 && (errno == EINVAL || errno == ENOSYS)) {
        // The file system cannot promise it in one step: a second name first, which is refused
        // where the name is taken.
        e = link(temporary, path);
        if (e == 0) {
            (void)unlink(temporary);
        }
    }
    if (e != 0) {
        return hw_fail(err, HW_OUTPUT, "%s: cannot be put in place: %s", path, strerror(errno));
    }
    return hw_commit_sync_folder(path, err);
}

enum hw_status hw_commit_replace(const char *temporary, const char *path, struct hw_error *err) {
    if (rename(temporary, path) != 0) {
        return hw_fail(err, HW_OUTPUT, "%s: cannot be put in place: %s", path, strerror(errno));
    }
    return hw_commit_sync_folder(path, err);
}

void hw_commit_host(char ret_name[HW_HOST_BYTES]) {
    memset(ret_name, 0, HW_HOST_BYTES);
    if (gethostname(ret_name, HW_HOST_BYTES - 1) != 0 || ret_name[0] == '\0') {
        (void)snprintf(ret_name, HW_HOST_BYTES, "localhost");
    }
    for (char *c = ret_name; *c != '\0'; c++) {
        bool is_plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                        (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' || *c == '.';
        *c = is_plain ? *c : '_';
    }
}

char *hw_commit_temporary(const char *path) {
    char host[HW_HOST_BYTES];
    hw_commit_host(host);
    return hw_path_format("%s.%ld.%s.tmp", path, (long)getpid(), host);
}

// Nobody has the file open for writing (HDF5 locks what it writes) and its process is gone.
static bool is_stale(const char *path, long pid) {
    if (kill((pid_t)pid, 0) == 0 || errno != ESRCH) {
        return pid == (long)getpid();
    }
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool is_free = flock(fd, LOCK_EX | LOCK_NB) == 0;
    (void)close(fd);
    return is_free;
}

void hw_commit_drop_stale(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t n = strlen(name);
    char host[HW_HOST_BYTES], tail[HW_HOST_BYTES + 8];
    hw_commit_host(host);
    (void)snprintf(tail, sizeof tail, ".%s.tmp", host);
    char *folder = slash != NULL ? hw_path_format("%.*s", (int)(slash - path) + 1, path)
                                 : hw_path_format("./");
    DIR *dir = folder != NULL ? opendir(folder) : NULL;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        const char *rest = entry->d_name + n;
        if (strncmp(entry->d_name, name, n) != 0 || rest[0] != '.' || rest[1] < '1' ||
            rest[1] > '9') {
            continue;
        }
        char *end;
        long pid = strtol(rest + 1, &end, 10);
        char *found = strcmp(end, tail) == 0 && pid > 0 && pid <= INT_MAX
                          ? hw_path_format("%s%s", folder, entry->d_name)
                          : NULL;
        if (found != NULL && is_stale(found, pid)) {
            (void)unlink(found);
        }
        free(found);
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    free(folder);
}

enum hw_status hw_commit_hash(const char *path, char ret_hex[65], uint64_t *ret_bytes,
                              struct hw_error *err) {
    enum { BLOCK = 1 << 16 };
    unsigned char *block = malloc(BLOCK);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum hw_status status = HW_OK;
    struct hw_sha256 hash;
    uint64_t n_bytes = 0;
    ssize_t n = 0;
    if (block == NULL || fd < 0) {
        status = block == NULL
                     ? hw_fail(err, HW_RESOURCE, "not enough memory to read %s", path)
                     : hw_fail(err, HW_INPUT, "%s: cannot be read: %s", path, strerror(errno));
        goto cleanup;
    }
    hw_sha256_init(&hash);
    while ((n = read(fd, block, BLOCK)) > 0) {
        hw_sha256_update(&hash, block, (size_t)n);
        n_bytes += (uint64_t)n;
    }
    if (n < 0) {
        status = hw_fail(err, HW_INPUT, "%s: cannot be read: %s", path, strerror(errno));
        goto cleanup;
    }
    hw_sha256_hex(&hash, ret_hex);
    *ret_bytes = n_bytes;
cleanup:
    if (fd >= 0) {
        (void)close(fd);
    }
    free(block);
    return status;
}

enum hw_status hw_commit_read(const char *path, size_t max_bytes, char **ret_text,
                              size_t *ret_bytes, struct hw_error *err) {
    FILE *file = fopen(path, "re");
    struct stat info;
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        int reason = errno;
        if (file != NULL) {
            (void)fclose(file);
        }
        return hw_fail(err, HW_INPUT, "%s: cannot be read: %s", path, strerror(reason));
    }
    enum hw_status status = HW_OK;
    char *text = NULL;
    if (!S_ISREG(info.st_mode) || info.st_size < 0 || (uint64_t)info.st_size > max_bytes) {
        status = hw_fail(err, HW_INPUT, "%s: has %lld bytes, expected a file of at most %zu", path,
                         (long long)info.st_size, max_bytes);
    } else if ((text = malloc((size_t)info.st_size + 1)) == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for %s", path);
    } else {
        size_t n = fread(text, 1, (size_t)info.st_size, file);
        text[n] = '\0';
        *ret_text = text;
        *ret_bytes = n;
    }
    (void)fclose(file);
    return status;
}

enum hw_status hw_commit_check_room(const char *path_in_it, uint64_t n_bytes,
                                    struct hw_error *err) {
    char *copy = strdup(path_in_it);
    if (copy == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    }
    struct statvfs info;
    enum hw_status status = HW_OK;
    const char *folder = dirname(copy);
    if (statvfs(folder, &info) != 0) {
        status = hw_fail(err, HW_OUTPUT, "%s: %s", folder, strerror(errno));
    } else if ((uint64_t)info.f_bavail * info.f_frsize < n_bytes) {
        status = hw_fail(
            err, HW_OUTPUT, "%s: not enough room on the disk (expected %llu bytes, found %llu)",
            folder, (unsigned long long)n_bytes, (unsigned long long)info.f_bavail * info.f_frsize);
    }
    free(copy);
    return status;
}
