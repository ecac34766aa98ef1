// Listing, locking and removing a run folder.
#include "formats/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/trace_reader.h"

enum hw_status hw_run_folder_walk(const char *folder,
                                  bool (*visit)(const char *name, void *context), void *context,
                                  struct hw_error *err) {
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        return hw_fail(err, HW_INPUT, "%s: cannot be listed: %s", folder, strerror(errno));
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !visit(entry->d_name, context)) {
            break;
        }
    }
    (void)closedir(dir);
    return HW_OK;
}

// Reads "<prefix><digits><suffix>"; returns what follows the digits, or NULL.
static const char *read_number(const char *text, int32_t *ret) {
    int64_t value = 0;
    size_t n = 0;
    for (; text[n] >= '0' && text[n] <= '9' && value <= INT32_MAX; n++) {
        value = value * 10 + (text[n] - '0');
    }
    if (n == 0 || value > INT32_MAX) {
        return NULL;
    }
    *ret = (int32_t)value;
    return text + n;
}

static bool parse_part(const char *name, struct hw_part_info *ret) {
    const char *rest = strncmp(name, "part-", 5) == 0 ? read_number(name + 5, &ret->first) : NULL;
    rest = rest != NULL && rest[0] == '-' ? read_number(rest + 1, &ret->last) : NULL;
    return rest != NULL && strcmp(rest, ".h5") == 0 && ret->last >= ret->first;
}

struct listing {
    const char *folder;
    struct hw_part_list list;
    size_t capacity;
    bool has_memory;
};

static bool add_part(const char *name, void *context) {
    struct listing *listing = context;
    struct hw_part_info part = {0};
    struct stat info;
    if (!parse_part(name, &part)) {
        return true;
    }
    if (listing->list.n == listing->capacity) {
        size_t capacity = listing->capacity * 2 + 64;
        struct hw_part_info *parts = realloc(listing->list.parts, capacity * sizeof *parts);
        if (parts == NULL) {
            listing->has_memory = false;
            return false;
        }
        listing->list.parts = parts;
        listing->capacity = capacity;
    }
    char *path = hw_path_format("%s/%s", listing->folder, name);
    if (path != NULL && stat(path, &info) == 0) {
        part.n_bytes = (uint64_t)info.st_size;
    }
    free(path);
    listing->list.parts[listing->list.n++] = part;
    return true;
}

static int by_first(const void *a, const void *b) {
    int32_t x = ((const struct hw_part_info *)a)->first,
            y = ((const struct hw_part_info *)b)->first;
    return (x > y) - (x < y);
}

enum hw_status hw_part_list_read(const char *folder, struct hw_part_list *ret_list,
                                 struct hw_error *err) {
    struct listing listing = {folder, {NULL, 0}, 0, true};
    enum hw_status status = hw_run_folder_walk(folder, add_part, &listing, err);
    if (status == HW_OK && !listing.has_memory) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for %zu parts", listing.capacity);
    }
    struct hw_part_info *parts = listing.list.parts;
    if (status == HW_OK && listing.list.n > 0) {
        qsort(parts, listing.list.n, sizeof *parts, by_first);
    }
    for (size_t i = 1; i < listing.list.n && status == HW_OK; i++) {
        if (parts[i].first <= parts[i - 1].last) {
            status = hw_fail(err, HW_INPUT, "%s: parts %d to %d and %d to %d overlap", folder,
                             (int)parts[i - 1].first, (int)parts[i - 1].last, (int)parts[i].first,
                             (int)parts[i].last);
        }
    }
    if (status != HW_OK) {
        free(parts);
        return status;
    }
    *ret_list = listing.list;
    return HW_OK;
}

void hw_part_list_free(struct hw_part_list *list) {
    free(list->parts);
    *list = (struct hw_part_list){0};
}

struct shards {
    int32_t *numbers;
    size_t n;
    size_t capacity;
};

static bool add_shard(const char *name, void *context) {
    struct shards *shards = context;
    int32_t number = 0;
    const char *rest = strncmp(name, "journal-", 8) == 0 ? read_number(name + 8, &number) : NULL;
    if (rest == NULL || strcmp(rest, ".jsonl") != 0) {
        return true;
    }
    if (shards->n == shards->capacity) {
        int32_t *numbers = realloc(shards->numbers, (shards->capacity * 2 + 16) * sizeof *numbers);
        if (numbers == NULL) {
            return false;
        }
        shards->numbers = numbers;
        shards->capacity = shards->capacity * 2 + 16;
    }
    shards->numbers[shards->n++] = number;
    return true;
}

enum hw_status hw_journals_open(const char *folder, struct hw_journals *ret_journals,
                                struct hw_error *err) {
    struct shards shards = {0};
    struct hw_journals journals = {0};
    enum hw_status status = hw_run_folder_walk(folder, add_shard, &shards, err);
    if (status == HW_OK) {
        journals.items = calloc(shards.n + 1, sizeof *journals.items);
        status = journals.items != NULL
                     ? HW_OK
                     : hw_fail(err, HW_RESOURCE, "not enough memory for journals");
    }
    for (size_t i = 0; i < shards.n && status == HW_OK; i++) {
        status = hw_journal_open(folder, (size_t)shards.numbers[i], &journals.items[i], err);
        journals.n += status == HW_OK;
    }
    free(shards.numbers);
    if (status != HW_OK) {
        hw_journals_close(&journals);
        return status;
    }
    *ret_journals = journals;
    return HW_OK;
}

void hw_journals_close(struct hw_journals *journals) {
    for (size_t i = 0; i < journals->n; i++) {
        hw_journal_close(&journals->items[i]);
    }
    free(journals->items);
    *journals = (struct hw_journals){0};
}

const struct hw_part_info *hw_journals_find(const struct hw_journals *journals, int32_t first,
                                            int32_t last) {
    const struct hw_part_info *found = NULL;
    for (size_t i = 0; i < journals->n && found == NULL; i++) {
        found = hw_journal_find(journals->items[i], first, last);
    }
    return found;
}

static bool is_ours(const char *name) {
    struct hw_part_info part;
    size_t n = strlen(name);
    return parse_part(name, &part) || strcmp(name, "manifest.json") == 0 ||
           strcmp(name, "common.h5") == 0 ||
           (strncmp(name, "journal-", 8) == 0 && n > 6 && strcmp(name + n - 6, ".jsonl") == 0) ||
           (n > 4 && strcmp(name + n - 4, ".tmp") == 0);
}

struct removal {
    const char *folder;
    bool is_manifest_turn;
};

static bool remove_ours(const char *name, void *context) {
    struct removal *removal = context;
    // The manifest goes last: without it what is left could not be told from another run's.
    if (!is_ours(name) || (strcmp(name, "manifest.json") == 0) != removal->is_manifest_turn) {
        return true;
    }
    char *path = hw_path_format("%s/%s", removal->folder, name);
    if (path != NULL) {
        (void)unlink(path);
    }
    free(path);
    return true;
}

enum hw_status hw_run_folder_remove(const char *folder, struct hw_error *err) {
    struct stat info;
    if (stat(folder, &info) != 0 && errno == ENOENT) {
        return HW_OK;
    }
    char *manifest = hw_path_format("%s/manifest.json", folder);
    if (manifest == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    }
    struct removal removal = {folder, false};
    enum hw_status status = hw_run_folder_walk(folder, remove_ours, &removal, err);
    // The last also on the disk, should the machine stop here.
    status = status != HW_OK ? status : hw_commit_sync_folder(manifest, err);
    free(manifest);
    removal.is_manifest_turn = true;
    status = status != HW_OK ? status : hw_run_folder_walk(folder, remove_ours, &removal, err);
    // What is left is not ours to remove, and in nobody's way.
    if (status == HW_OK && rmdir(folder) != 0 && errno != ENOTEMPTY && errno != EEXIST) {
        status = hw_fail(err, HW_OUTPUT, "%s: cannot be removed: %s", folder, strerror(errno));
    }
    return status;
}

static enum hw_status check_readable(const char *path, struct hw_error *err) {
    struct hw_trace *trace = NULL;
    struct hw_error inner;
    enum hw_status status = hw_trace_open(path, &trace, &inner);
    hw_trace_close(&trace);
    return status == HW_OK
               ? HW_OK
               : hw_fail(err, HW_OUTPUT, "%s: was not written whole (is the disk full?)", path);
}

enum hw_status hw_run_folder_write_common(const char *folder, const struct hw_layout *layout,
                                          const struct hw_provenance *provenance,
                                          const struct hw_vocabulary *vocabulary,
                                          struct hw_error *err) {
    char *path = hw_path_format("%s/common.h5", folder);
    char *temporary = path != NULL ? hw_commit_temporary(path) : NULL;
    struct hw_trace_lengths lengths = {0};
    struct hw_layout own = *layout;
    own.n_mean_groups = 0; // without prompts there is none
    struct hw_trace_file file;
    struct stat info;
    enum hw_status status = HW_OK;
    bool is_open = false;
    if (path == NULL || temporary == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a path");
        goto cleanup;
    }
    if (stat(path, &info) == 0) {
        goto cleanup;
    }
    (void)unlink(temporary);
    status = hw_trace_file_create(temporary, NULL, &own, &lengths, &file, err);
    is_open = status == HW_OK;
    if (status == HW_OK) {
        struct hw_trace_ending ending = {.lengths = &lengths, .provenance = provenance};
        status = hw_trace_file_finish(&file, &ending, err);
    }
    if (status == HW_OK && vocabulary != NULL) {
        status = hw_trace_file_write_vocabulary(&file, vocabulary, err);
    }
    if (status == HW_OK) {
        status = hw_trace_file_complete(&file, temporary, err);
    } else if (is_open) {
        hw_trace_file_close(&file);
    }
    status = status != HW_OK ? status : hw_commit_sync(temporary, err);
    // On a full disk the library can lose its last writes without a word, and every resumed run
    // would trip over the file.
    status = status != HW_OK ? status : check_readable(temporary, err);
    if (status == HW_OK && hw_commit_rename(temporary, path, err) != HW_OK) {
        // Another worker of the run was first, with the same content.
        status = stat(path, &info) == 0 ? HW_OK : HW_OUTPUT;
    }
    (void)unlink(temporary);
cleanup:
    free(path);
    free(temporary);
    return status;
}

enum hw_status hw_run_folder_make(const char *folder, struct hw_error *err) {
    if (mkdir(folder, 0777) == 0) {
        enum hw_status status = hw_commit_sync_folder(folder, err);
        return status != HW_OK ? status : hw_fault_check("folder-made", folder, err);
    }
    return errno == EEXIST
               ? HW_OK
               : hw_fail(err, HW_OUTPUT, "%s: cannot be made: %s", folder, strerror(errno));
}

enum hw_status hw_run_folder_clear(const char *folder, struct hw_error *err) {
    struct hw_journals journals = {0};
    struct stat info;
    if (lstat(folder, &info) != 0) {
        return HW_OK;
    }
    enum hw_status status = hw_journals_open(folder, &journals, err);
    status = status != HW_OK ? status : hw_run_folder_remove(folder, err);
    hw_journals_close(&journals);
    return status;
}

void hw_run_id_make(char ret_text[37]) {
    unsigned char b[16];
    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b) {
        uint64_t seeds[2] = {(uint64_t)time(NULL), (uint64_t)getpid()};
        memcpy(b, seeds, sizeof b);
    }
    b[6] = (unsigned char)((b[6] & 15) | 0x40);
    b[8] = (unsigned char)((b[8] & 63) | 0x80);
    (void)snprintf(ret_text, 37,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
}
