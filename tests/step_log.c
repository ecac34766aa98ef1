// Wrapped system calls; see step_log.h.
#include "step_log.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_STEPS = 1000 };

ssize_t __real_write(int fd, const void *bytes, size_t n);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_rename(const char *from, const char *to);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __real_link(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_mkdir(const char *path, mode_t mode);
int __real_rmdir(const char *path);
ssize_t __wrap_write(int fd, const void *bytes, size_t n);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_link(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_rmdir(const char *path);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct step steps[MAX_STEPS];
static size_t n_steps;
static bool is_on;

void step_log_start(void) {
    n_steps = 0;
    is_on = true;
}

const struct step *step_log_stop(size_t *ret_n) {
    is_on = false;
    if (n_steps > MAX_STEPS) {
        abort();
    }
    *ret_n = n_steps;
    return steps;
}

static void note(enum step_kind kind, const char *path, const char *text, size_t n_text) {
    (void)pthread_mutex_lock(&lock);
    if (is_on && n_steps++ < MAX_STEPS) {
        struct step *step = &steps[n_steps - 1];
        step->kind = kind;
        (void)snprintf(step->path, sizeof step->path, "%s", path);
        (void)snprintf(step->text, sizeof step->text, "%.*s", (int)n_text, text);
    }
    (void)pthread_mutex_unlock(&lock);
}

static void note_open(enum step_kind kind, int fd, const char *text, size_t n_text) {
    char link[64], path[200] = "";
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) > 0) {
        note(kind, path, text, n_text);
    }
}

ssize_t __wrap_write(int fd, const void *bytes, size_t n) {
    ssize_t written = __real_write(fd, bytes, n);
    if (written >= 0) {
        note_open(STEP_WRITE, fd, bytes, (size_t)written < 100 ? (size_t)written : 100);
    }
    return written;
}

int __wrap_fsync(int fd) {
    int e = __real_fsync(fd);
    if (e == 0) {
        note_open(STEP_SYNC, fd, "", 0);
    }
    return e;
}

int __wrap_fdatasync(int fd) {
    int e = __real_fdatasync(fd);
    if (e == 0) {
        note_open(STEP_SYNC, fd, "", 0);
    }
    return e;
}

static int named(int e, const char *from, const char *to) {
    if (e == 0) {
        note(STEP_NAME, from, to, strlen(to));
    }
    return e;
}

int __wrap_rename(const char *from, const char *to) {
    return named(__real_rename(from, to), from, to);
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    return named(__real_renameat2(from_fd, from, to_fd, to, flags), from, to);
}

int __wrap_link(const char *from, const char *to) {
    return named(__real_link(from, to), from, to);
}

int __wrap_unlink(const char *path) {
    int e = __real_unlink(path);
    if (e == 0) {
        note(STEP_UNLINK, path, "", 0);
    }
    return e;
}

int __wrap_mkdir(const char *path, mode_t mode) {
    int e = __real_mkdir(path, mode);
    if (e == 0) {
        note(STEP_MKDIR, path, "", 0);
    }
    return e;
}

int __wrap_rmdir(const char *path) {
    int e = __real_rmdir(path);
    if (e == 0) {
        note(STEP_RMDIR, path, "", 0);
    }
    return e;
}
