// org/name[@revision] to a snapshot folder; see hub.h.
//
// Layout of the cache (huggingface_hub, "Understand caching"): models--ORG--NAME/refs/REVISION
// holds a commit, and snapshots/COMMIT the files, links into blobs/. A revision may be the commit
// itself, or have slashes (refs/pr/1).
#include "formats/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/filemap.h"

enum { COMMIT_DIGITS = 40, MAX_REF_BYTES = 256 };

static bool is_word_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

// One part of a name or revision: a file name that cannot lead elsewhere.
static bool is_word(const char *text, size_t n) {
    if (n == 0 || text[0] == '.' || text[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_word_character(text[i])) {
            return false;
        }
    }
    return true;
}

static bool is_revision(const char *text) {
    for (;;) {
        size_t n = strcspn(text, "/");
        if (!is_word(text, n)) {
            return false;
        }
        if (text[n] == '\0') {
            return true;
        }
        text += n + 1;
    }
}

bool hw_hub_is_name(const char *name) {
    size_t n_org = strcspn(name, "/@");
    if (name[n_org] != '/' || !is_word(name, n_org)) {
        return false;
    }
    const char *model = name + n_org + 1;
    size_t n_model = strcspn(model, "/@");
    if (!is_word(model, n_model) || model[n_model] == '/') {
        return false;
    }
    return model[n_model] == '\0' || is_revision(model + n_model + 1);
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool is_commit(const char *text, size_t n) {
    return n == COMMIT_DIGITS && strspn(text, "0123456789abcdef") >= COMMIT_DIGITS;
}

// The commit that refs/REVISION of the model's folder holds, or the revision itself where that is a
// commit.
static enum hw_status find_commit(const char *folder, const char *revision,
                                  char ret_commit[COMMIT_DIGITS + 1], struct hw_error *err) {
    char *path = NULL;
    struct hw_filemap *map = NULL;
    struct stat info;
    enum hw_status status = HW_OK;
    if (asprintf(&path, "%s/refs/%s", folder, revision) < 0) {
        return hw_fail(err, HW_RESOURCE, "out of memory");
    }
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) {
        if (!is_commit(revision, strlen(revision))) {
            status = hw_fail(err, HW_INPUT, "revision %s is not in the local hub cache: no file %s",
                             revision, path);
            goto out;
        }
        memcpy(ret_commit, revision, COMMIT_DIGITS + 1);
        goto out;
    }
    status = hw_filemap_open(path, &map, err);
    if (status != HW_OK) {
        goto out;
    }
    const char *text = (const char *)map->base;
    size_t n = map->n_bytes <= MAX_REF_BYTES ? map->n_bytes : 0;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' ' || text[n - 1] == '\r')) {
        n--;
    }
    // The map does not end with a NUL; COMMIT_DIGITS are copied before they are looked at as text.
    char commit[COMMIT_DIGITS + 1] = {0};
    if (n == COMMIT_DIGITS) {
        memcpy(commit, text, COMMIT_DIGITS);
    }
    if (!is_commit(commit, n)) {
        status = hw_fail(err, HW_INPUT, "%s: expected a commit of %d hex digits, found %zu bytes",
                         path, COMMIT_DIGITS, map->n_bytes);
        goto out;
    }
    memcpy(ret_commit, commit, sizeof commit);
out:
    hw_filemap_close(&map);
    free(path);
    return status;
}

enum hw_status hw_hub_find(const char *cache, const char *name, char **ret_folder,
                           struct hw_error *err) {
    int n_org = (int)strcspn(name, "/");
    const char *model = name + n_org + 1;
    int n_model = (int)strcspn(model, "@");
    const char *revision = model[n_model] == '@' ? model + n_model + 1 : "main";
    char commit[COMMIT_DIGITS + 1];
    char *folder = NULL;
    char *snapshot = NULL;
    enum hw_status status = HW_OK;
    if (asprintf(&folder, "%s/models--%.*s--%.*s", cache, n_org, name, n_model, model) < 0) {
        folder = NULL;
        status = hw_fail(err, HW_RESOURCE, "%s: out of memory", name);
        goto out;
    }
    if (!is_folder(folder)) {
        status = hw_fail(err, HW_INPUT,
                         "%s: no such file or folder, nor a model in the local hub cache (no %s); "
                         "nothing is downloaded",
                         name, folder);
        goto out;
    }
    status = find_commit(folder, revision, commit, err);
    if (status != HW_OK) {
        status = hw_fail_context(err, status, "%s: ", name);
        goto out;
    }
    if (asprintf(&snapshot, "%s/snapshots/%s", folder, commit) < 0) {
        snapshot = NULL;
        status = hw_fail(err, HW_RESOURCE, "%s: out of memory", name);
        goto out;
    }
    if (!is_folder(snapshot)) {
        status =
            hw_fail(err, HW_INPUT, "%s: not in the local hub cache: no folder %s", name, snapshot);
        goto out;
    }
    *ret_folder = snapshot;
    snapshot = NULL;
out:
    free(snapshot);
    free(folder);
    return status;
}
