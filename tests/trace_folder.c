// The temporary folder; see trace_folder.h.
#include "trace_folder.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "formats/part.h"
#include "synthetic.h"

static char folder[64];

const char *trace_folder_make(void) {
    (void)snprintf(folder, sizeof folder, "/tmp/hw-trace-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        abort();
    }
    return folder;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk) {
    return remove(path);
}

void trace_folder_remove(void) {
    (void)nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

size_t trace_folder_count(const char *suffix) {
    DIR *dir = opendir(folder);
    size_t n = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        size_t length = strlen(entry->d_name), tail = strlen(suffix);
        n += entry->d_name[0] != '.' && length >= tail &&
             strcmp(entry->d_name + length - tail, suffix) == 0;
    }
    (void)closedir(dir);
    return n;
}

const char *trace_folder_part(const struct hw_layout *layout, int32_t first, int32_t end) {
    static char path[200];
    json_t *attributes =
        json_pack("{s:s, s:s, s:i}", "title", "synthetic", "run_id", "a run", "seed", 3);
    struct hw_provenance provenance = {attributes, attributes, NULL, NULL, NULL, NULL};
    struct hw_part_options options = {folder, layout, &provenance, first, 2, 1000, 0};
    struct hw_part_info info;
    struct hw_part *part = NULL;
    struct hw_error err;
    if (hw_part_open(&options, &part, &err) != HW_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        abort();
    }
    synthetic_play(hw_part_base(part), layout, first, end);
    if (hw_part_commit(&part, &info, &err) != HW_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        abort();
    }
    json_decref(attributes);
    char *made = hw_part_path(folder, info.first, info.last);
    (void)snprintf(path, sizeof path, "%s", made);
    free(made);
    return path;
}
