// Lines of JSON under a lock; see line_log.h.
#include "formats/line_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/commit.h"

enum { HW_MAX_LOG_BYTES = 1 << 30 };

struct hw_line_log {
    char *path;
    int fd;
    const char *noun;
    hw_line_fn read;
    void *self;
    long long pid; // of the last process that opened it
    char host[HW_HOST_BYTES];
};

static enum hw_status read_line(struct hw_line_log *log, const char *line, size_t n, size_t number,
                                struct hw_error *err) {
    json_error_t reason;
    json_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES, &reason);
    json_int_t pid = 0;
    const char *host = "";
    enum hw_status status = HW_OK;
    if (object != NULL && json_unpack(object, "{s:I, s?s}", "pid", &pid, "host", &host) == 0) {
        log->pid = pid;
        (void)hw_escape(log->host, sizeof log->host, host, strlen(host));
    } else {
        status = object != NULL && log->read != NULL ? log->read(log->self, object, err)
                 : object != NULL                    ? HW_OK
                                                     : HW_INPUT;
        if (status == HW_INPUT) {
            (void)hw_fail(err, status, "%s: line %zu is no %s", log->path, number, log->noun);
        }
    }
    json_decref(object);
    return status;
}

// Reads whole lines; *ret_end is where the last one ends.
static enum hw_status read_lines(struct hw_line_log *log, size_t *ret_end, struct hw_error *err) {
    char *text = NULL;
    size_t n = 0, at = 0, number = 0;
    enum hw_status status = hw_commit_read(log->path, HW_MAX_LOG_BYTES, &text, &n, err);
    while (status == HW_OK && at < n) {
        char *end = memchr(text + at, '\n', n - at);
        if (end == NULL) {
            break; // cut short by a crash: what it was for is found missing
        }
        status = read_line(log, text + at, (size_t)(end - text) - at, ++number, err);
        at = (size_t)(end - text) + 1;
    }
    free(text);
    *ret_end = at;
    return status;
}

enum hw_status hw_line_log_append(struct hw_line_log *log, const char *lines,
                                  struct hw_error *err) {
    size_t n = strlen(lines);
    ssize_t written;
    do {
        written = write(log->fd, lines, n);
    } while (written < 0 && errno == EINTR);
    if (written != (ssize_t)n || fdatasync(log->fd) != 0) {
        return hw_fail(err, HW_OUTPUT, "%s: cannot be written: %s", log->path,
                       written >= 0 && written < (ssize_t)n ? strerror(ENOSPC) : strerror(errno));
    }
    return HW_OK;
}

static enum hw_status refuse(struct hw_line_log *log, struct hw_error *err) {
    size_t end = 0;
    char host[HW_HOST_BYTES];
    (void)read_lines(log, &end, NULL);
    hw_commit_host(host);
    bool is_here = log->host[0] == '\0' || strcmp(log->host, host) == 0;
    return hw_fail(err, HW_OUTPUT, "%s: is being written by process %lld%s%s", log->path, log->pid,
                   is_here ? "" : " of ", is_here ? "" : log->host);
}

enum hw_status hw_line_log_open(const char *path, const char *noun, hw_line_fn read, void *self,
                                struct hw_line_log **ret_log, struct hw_error *err) {
    struct hw_line_log *log = calloc(1, sizeof *log);
    if (log == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a log");
    }
    enum hw_status status = HW_OK;
    size_t end = 0;
    char line[200], host[HW_HOST_BYTES];
    log->fd = -1;
    log->path = strdup(path);
    if (log->path == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a path");
        goto cleanup;
    }
    log->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log->fd < 0) {
        status = hw_fail(err, HW_OUTPUT, "%s: cannot be opened: %s", path, strerror(errno));
        goto cleanup;
    }
    if (flock(log->fd, LOCK_EX | LOCK_NB) != 0) {
        status = refuse(log, err);
        goto cleanup;
    }
    struct stat info;
    if (fstat(log->fd, &info) != 0 || info.st_nlink == 0) {
        status = hw_fail(err, HW_OUTPUT, "%s: was removed by another process just now", path);
        goto cleanup;
    }
    log->noun = noun;
    log->read = read;
    log->self = self;
    status = read_lines(log, &end, err);
    if (status == HW_OK && ftruncate(log->fd, (off_t)end) != 0) {
        status = hw_fail(err, HW_OUTPUT, "%s: cannot be written: %s", path, strerror(errno));
    }
    if (status == HW_OK) {
        hw_commit_host(host);
        (void)snprintf(line, sizeof line, "{\"pid\": %ld, \"host\": \"%s\"}\n", (long)getpid(),
                       host);
        status = hw_line_log_append(log, line, err);
    }
cleanup:
    if (status != HW_OK) {
        hw_line_log_close(&log);
        return status;
    }
    *ret_log = log;
    return HW_OK;
}

void hw_line_log_close(struct hw_line_log **log) {
    if (*log == NULL) {
        return;
    }
    if ((*log)->fd >= 0) {
        (void)close((*log)->fd); // gives the lock back
    }
    free((*log)->path);
    free(*log);
    *log = NULL;
}

const char *hw_line_log_path(const struct hw_line_log *log) {
    return log->path;
}
