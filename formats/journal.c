// Lines of JSON under a lock.
#include "formats/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "formats/commit.h"
#include "formats/fault.h"

enum { HW_MAX_JOURNAL_BYTES = 256 << 20 };

struct hw_journal {
    char *path;
    int fd;
    struct hw_part_info *parts;
    size_t n_parts;
    size_t capacity;
    long long pid; // of the last process that opened it
    char host[HW_HOST_BYTES];
};

static enum hw_status keep(struct hw_journal *journal, const struct hw_part_info *part,
                           struct hw_error *err) {
    if (journal->n_parts == journal->capacity) {
        size_t capacity = journal->capacity * 2 + 64;
        struct hw_part_info *parts = realloc(journal->parts, capacity * sizeof *parts);
        if (parts == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for a journal of %zu parts",
                           capacity);
        }
        journal->parts = parts;
        journal->capacity = capacity;
    }
    journal->parts[journal->n_parts++] = *part;
    return HW_OK;
}

static enum hw_status read_line(struct hw_journal *journal, const char *line, size_t n,
                                size_t number, struct hw_error *err) {
    json_error_t reason;
    json_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES, &reason);
    enum hw_status status = HW_OK;
    json_int_t first = 0, last = 0, bytes = 0, pid = 0;
    const char *sha256 = NULL, *host = "";
    if (object != NULL && json_unpack(object, "{s:I, s?s}", "pid", &pid, "host", &host) == 0) {
        journal->pid = pid;
        (void)hw_escape(journal->host, sizeof journal->host, host, strlen(host));
    } else if (object == NULL ||
               json_unpack(object, "{s:I, s:I, s:I, s:s}", "first", &first, "last", &last, "bytes",
                           &bytes, "sha256", &sha256) != 0 ||
               first < 0 || last < first || last > INT32_MAX || bytes < 0 || strlen(sha256) != 64) {
        status = hw_fail(err, HW_INPUT, "%s: line %zu is no journal entry", journal->path, number);
    } else {
        struct hw_part_info part = {(int32_t)first, (int32_t)last, (uint64_t)bytes, ""};
        memcpy(part.sha256, sha256, sizeof part.sha256);
        status = keep(journal, &part, err);
    }
    json_decref(object);
    return status;
}

// Reads whole lines; *ret_end is where the last one ends.
static enum hw_status read_lines(struct hw_journal *journal, size_t *ret_end,
                                 struct hw_error *err) {
    char *text = NULL;
    size_t n = 0, at = 0, number = 0;
    enum hw_status status = hw_commit_read(journal->path, HW_MAX_JOURNAL_BYTES, &text, &n, err);
    while (status == HW_OK && at < n) {
        char *end = memchr(text + at, '\n', n - at);
        if (end == NULL) {
            break; // cut short by a crash: the part it was for is found without it
        }
        status = read_line(journal, text + at, (size_t)(end - text) - at, ++number, err);
        at = (size_t)(end - text) + 1;
    }
    free(text);
    *ret_end = at;
    return status;
}

static enum hw_status append_text(struct hw_journal *journal, const char *text,
                                  struct hw_error *err) {
    size_t n = strlen(text);
    ssize_t written;
    do {
        written = write(journal->fd, text, n);
    } while (written < 0 && errno == EINTR);
    if (written != (ssize_t)n || fdatasync(journal->fd) != 0) {
        return hw_fail(err, HW_OUTPUT, "%s: cannot be written: %s", journal->path,
                       written >= 0 && written < (ssize_t)n ? strerror(ENOSPC) : strerror(errno));
    }
    return HW_OK;
}

static enum hw_status refuse(struct hw_journal *journal, struct hw_error *err) {
    size_t end = 0;
    char host[HW_HOST_BYTES];
    (void)read_lines(journal, &end, NULL);
    hw_commit_host(host);
    bool is_here = journal->host[0] == '\0' || strcmp(journal->host, host) == 0;
    return hw_fail(err, HW_OUTPUT, "%s: is being written by process %lld%s%s", journal->path,
                   journal->pid, is_here ? "" : " of ", is_here ? "" : journal->host);
}

enum hw_status hw_journal_open(const char *folder, size_t shard, struct hw_journal **ret_journal,
                               struct hw_error *err) {
    struct hw_journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a journal");
    }
    enum hw_status status = HW_OK;
    size_t end = 0;
    char line[200], host[HW_HOST_BYTES];
    journal->fd = -1;
    journal->path = hw_path_format("%s/journal-%zu.jsonl", folder, shard);
    if (journal->path == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a path");
        goto cleanup;
    }
    journal->fd = open(journal->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (journal->fd < 0) {
        status =
            hw_fail(err, HW_OUTPUT, "%s: cannot be opened: %s", journal->path, strerror(errno));
        goto cleanup;
    }
    if (flock(journal->fd, LOCK_EX | LOCK_NB) != 0) {
        status = refuse(journal, err);
        goto cleanup;
    }
    struct stat info;
    if (fstat(journal->fd, &info) != 0 || info.st_nlink == 0) {
        status =
            hw_fail(err, HW_OUTPUT, "%s: was removed by another process just now", journal->path);
        goto cleanup;
    }
    status = read_lines(journal, &end, err);
    if (status == HW_OK && ftruncate(journal->fd, (off_t)end) != 0) {
        status =
            hw_fail(err, HW_OUTPUT, "%s: cannot be written: %s", journal->path, strerror(errno));
    }
    if (status == HW_OK) {
        hw_commit_host(host);
        (void)snprintf(line, sizeof line, "{\"pid\": %ld, \"host\": \"%s\"}\n", (long)getpid(),
                       host);
        status = append_text(journal, line, err);
    }
cleanup:
    if (status != HW_OK) {
        hw_journal_close(&journal);
        return status;
    }
    *ret_journal = journal;
    return HW_OK;
}

void hw_journal_close(struct hw_journal **journal) {
    if (*journal == NULL) {
        return;
    }
    if ((*journal)->fd >= 0) {
        (void)close((*journal)->fd); // gives the lock back
    }
    free((*journal)->path);
    free((*journal)->parts);
    free(*journal);
    *journal = NULL;
}

size_t hw_journal_n_parts(const struct hw_journal *journal) {
    return journal->n_parts;
}

const struct hw_part_info *hw_journal_part(const struct hw_journal *journal, size_t i) {
    return &journal->parts[i];
}

const struct hw_part_info *hw_journal_find(const struct hw_journal *journal, int32_t first,
                                           int32_t last) {
    for (size_t i = journal->n_parts; i-- > 0;) {
        if (journal->parts[i].first == first && journal->parts[i].last == last) {
            return &journal->parts[i];
        }
    }
    return NULL;
}

enum hw_status hw_journal_append(struct hw_journal *journal, const struct hw_part_info *part,
                                 struct hw_error *err) {
    char line[200];
    (void)snprintf(line, sizeof line,
                   "{\"first\": %" PRId32 ", \"last\": %" PRId32 ", \"bytes\": %" PRIu64
                   ", \"sha256\": \"%s\"}\n",
                   part->first, part->last, part->n_bytes, part->sha256);
    enum hw_status status = append_text(journal, line, err);
    status = status != HW_OK ? status : keep(journal, part, err);
    return status != HW_OK ? status : hw_fault_check("journalled", journal->path, err);
}
