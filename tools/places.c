// The variables that say where caches lie; see places.h.
#include "tools/places.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/commit.h"
#include "formats/hub.h"

char *hw_place_of_hashes(void) {
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    // The specification of the base directories: a relative path there is to be ignored.
    if (cache != NULL && cache[0] == '/') {
        return hw_path_format("%s/headwater/model-hashes", cache);
    }
    return home != NULL && home[0] == '/' ? hw_path_format("%s/.cache/headwater/model-hashes", home)
                                          : NULL;
}

// huggingface_hub, "Understand caching". *ret_folder is to be freed.
static enum hw_status hub_cache(char **ret_folder, struct hw_error *err) {
    static const struct {
        const char *variable;
        const char *rest;
    } places[] = {{"HF_HUB_CACHE", ""},
                  {"HF_HOME", "/hub"},
                  {"XDG_CACHE_HOME", "/huggingface/hub"},
                  {"HOME", "/.cache/huggingface/hub"}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *value = getenv(places[i].variable);
        if (value != NULL && value[0] != '\0') {
            *ret_folder = hw_path_format("%s%s", value, places[i].rest);
            return *ret_folder != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "out of memory");
        }
    }
    return hw_fail(
        err, HW_INPUT,
        "no such file or folder, and no hub cache: HF_HUB_CACHE, HF_HOME and HOME are not set");
}

enum hw_status hw_place_of_model(const char *model, char **ret_path, struct hw_error *err) {
    struct stat info;
    bool is_there = stat(model, &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
    if (!is_there && hw_hub_is_name(model)) {
        char *cache = NULL;
        enum hw_status status = hub_cache(&cache, err);
        status = status == HW_OK ? hw_hub_find(cache, model, ret_path, err)
                                 : hw_fail_context(err, status, "%s: ", model);
        free(cache);
        return status;
    }
    char *copy = strdup(model);
    if (copy == NULL) {
        return hw_fail(err, HW_RESOURCE, "%s: out of memory", model);
    }
    *ret_path = copy;
    return HW_OK;
}
