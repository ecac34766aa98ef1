// The journal of one worker: a line per committed part.
#include "formats/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/line_log.h"

struct hw_journal {
    struct hw_line_log *log;
    struct hw_part_info *parts;
    size_t n_parts;
    size_t capacity;
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

static enum hw_status read_line(void *self, const json_t *line, struct hw_error *err) {
    json_int_t first = 0, last = 0, bytes = 0;
    const char *sha256 = NULL;
    if (json_object_get(line, "cells") != NULL) {
        return HW_OK; // of a sweep (cell_log.h): no part, and the manifest says whose folder it is
    }
    if (json_unpack((json_t *)line, "{s:I, s:I, s:I, s:s}", "first", &first, "last", &last, "bytes",
                    &bytes, "sha256", &sha256) != 0 ||
        first < 0 || last < first || last > INT32_MAX || bytes < 0 || strlen(sha256) != 64) {
        return HW_INPUT;
    }
    struct hw_part_info part = {(int32_t)first, (int32_t)last, (uint64_t)bytes, ""};
    memcpy(part.sha256, sha256, sizeof part.sha256);
    return keep(self, &part, err);
}

enum hw_status hw_journal_open(const char *folder, size_t shard, struct hw_journal **ret_journal,
                               struct hw_error *err) {
    struct hw_journal *journal = calloc(1, sizeof *journal);
    char *path = hw_path_format("%s/journal-%zu.jsonl", folder, shard);
    enum hw_status status =
        journal != NULL && path != NULL
            ? hw_line_log_open(path, "journal entry", read_line, journal, &journal->log, err)
            : hw_fail(err, HW_RESOURCE, "not enough memory for a journal");
    free(path);
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
    hw_line_log_close(&(*journal)->log);
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
    enum hw_status status = hw_line_log_append(journal->log, line, err);
    status = status != HW_OK ? status : keep(journal, part, err);
    return status != HW_OK ? status
                           : hw_fault_check("journalled", hw_line_log_path(journal->log), err);
}
