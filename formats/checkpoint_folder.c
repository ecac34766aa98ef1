// A folder as transformers writes it: config.json, model.safetensors or an index and its shards,
// tokenizer files.
//
// The index says which shard holds which tensor; both must agree in both directions. A shard is
// named by the file, so its name must be plain (no way out of the folder); that the entry of this
// name is a link is the user's business: in the hub cache every file is one.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/checkpoint_internal.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "kernels/size.h"

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

// *ret_path is the path of a file of the folder, to be freed, or NULL where there is none of this
// name.
static enum hw_status find_file(const char *folder, const char *name, char **ret_path,
                                uint64_t *ret_bytes, struct hw_error *err) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        return hw_fail(err, HW_RESOURCE, "%s: out of memory", folder);
    }
    struct stat info;
    if (stat(path, &info) != 0 || S_ISDIR(info.st_mode)) {
        free(path);
        path = NULL;
    } else {
        *ret_bytes = (uint64_t)info.st_size;
    }
    *ret_path = path;
    return HW_OK;
}

// What the folder holds instead of safetensors, to say so.
static enum hw_status no_weights(const char *folder, struct hw_error *err) {
    char found[256] = "";
    DIR *dir = opendir(folder);
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        const char *end = strrchr(entry->d_name, '.');
        if (end != NULL && strcmp(end, ".gguf") == 0) {
            (void)hw_escape(found, sizeof found, entry->d_name, strlen(entry->d_name));
            break; // the most useful thing to say
        }
        if (end != NULL && (strcmp(end, ".bin") == 0 || strcmp(end, ".pt") == 0 ||
                            strcmp(end, ".pth") == 0 || strcmp(end, ".safetensors") == 0)) {
            (void)hw_escape(found, sizeof found, entry->d_name, strlen(entry->d_name));
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    if (found[0] == '\0') {
        return hw_fail(err, HW_INPUT, "%s: neither %s nor %s", folder, single_name, index_name);
    }
    const char *end = strrchr(found, '.');
    if (end != NULL && strcmp(end, ".gguf") == 0) {
        return hw_fail(err, HW_INPUT, "%s: neither %s nor %s; for %s give the file itself", folder,
                       single_name, index_name, found);
    }
    return hw_fail(err, HW_INPUT, "%s: neither %s nor %s; %s is not read", folder, single_name,
                   index_name, found);
}

// Maps the next shard and reads its directory.
static enum hw_status add_shard(struct hw_checkpoint *checkpoint, const char *path,
                                struct hw_error *err) {
    size_t n = checkpoint->n_shards;
    struct hw_shard *shards = realloc(checkpoint->shards, (n + 1) * sizeof *shards);
    if (shards == NULL) {
        return hw_fail(err, HW_RESOURCE, "out of memory for %zu shards", n + 1);
    }
    checkpoint->shards = shards;
    shards[n] = (struct hw_shard){0};
    enum hw_status status = hw_filemap_open(path, &shards[n].map, err);
    if (status != HW_OK) {
        return status;
    }
    checkpoint->n_shards = n + 1;
    status = hw_checkpoint_add_file(checkpoint, path, shards[n].map->n_bytes, err);
    if (status == HW_OK) {
        status =
            hw_safetensors_read(shards[n].map, &checkpoint->tensors, &shards[n].header_bytes, err);
    }
    return status;
}

// Name of the shard that holds a tensor: where its data lie.
static const char *shard_of(const struct hw_checkpoint *checkpoint,
                            const struct hw_tensor *tensor) {
    const unsigned char *data = tensor->data;
    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        const struct hw_filemap *map = checkpoint->shards[i].map;
        if (data > map->base && data <= map->base + map->n_bytes) {
            return strrchr(map->path, '/') + 1; // FOLDER/NAME, built below
        }
    }
    return "?";
}

// A name in the index that stays in the folder: no separators, not hidden, and a safetensors file.
static bool is_plain_name(const char *name) {
    static const char end[] = ".safetensors";
    size_t n = strlen(name);
    return n >= sizeof end && n <= 255 && name[0] != '.' && strpbrk(name, "/\\") == NULL &&
           strcmp(name + n - (sizeof end - 1), end) == 0;
}

static enum hw_status check_map(const char *path, json_t *map, struct hw_error *err) {
    const char *tensor;
    json_t *value;
    char text[200];
    if (!json_is_object(map) || json_object_size(map) == 0) {
        return hw_fail(err, HW_INPUT, "%s: weight_map is missing, empty or not an object", path);
    }
    json_object_foreach(map, tensor, value) {
        if (!json_is_string(value)) {
            return hw_fail(err, HW_INPUT, "%s: weight_map: the value of %s is not a string", path,
                           hw_escape(text, sizeof text, tensor, strlen(tensor)));
        }
        const char *name = json_string_value(value);
        if (!is_plain_name(name)) {
            return hw_fail(
                err, HW_INPUT,
                "%s: shard \"%s\", expected the plain name of a .safetensors file in the folder",
                path, hw_escape(text, sizeof text, name, strlen(name)));
        }
    }
    return HW_OK;
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The names of the shards, each once, sorted; the strings are the map's.
static enum hw_status list_shards(const char *path, json_t *map, const char ***ret_names,
                                  size_t *ret_n, struct hw_error *err) {
    size_t n_tensors = json_object_size(map);
    const char **names = calloc(n_tensors, sizeof *names);
    if (names == NULL) {
        return hw_fail(err, HW_RESOURCE, "%s: out of memory for %zu names", path, n_tensors);
    }
    size_t n = 0;
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value) {
        names[n++] = json_string_value(value);
    }
    qsort(names, n, sizeof *names, compare_strings);
    size_t n_unique = 0;
    for (size_t i = 0; i < n; i++) {
        if (n_unique == 0 || strcmp(names[n_unique - 1], names[i]) != 0) {
            names[n_unique++] = names[i];
        }
    }
    if (n_unique > HW_MAX_SHARDS) {
        free(names);
        return hw_fail(err, HW_INPUT, "%s: %zu shards, expected at most %d", path, n_unique,
                       HW_MAX_SHARDS);
    }
    *ret_names = names;
    *ret_n = n_unique;
    return HW_OK;
}

// The tensors are in the shards that the index says, and no others are.
static enum hw_status check_agreement(const struct hw_checkpoint *checkpoint, const char *path,
                                      json_t *map, struct hw_error *err) {
    char text[200];
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) {
        const struct hw_tensor *tensor = hw_tensor_table_find(&checkpoint->tensors, name);
        const char *shard = json_string_value(value);
        const char *found = tensor == NULL ? "none" : shard_of(checkpoint, tensor);
        if (strcmp(found, shard) != 0) {
            return hw_fail(err, HW_INPUT, "%s: tensor %s, expected in %s, found in %s", path,
                           hw_escape(text, sizeof text, name, strlen(name)), shard, found);
        }
    }
    for (size_t i = 0; i < checkpoint->tensors.n; i++) {
        const struct hw_tensor *tensor = &checkpoint->tensors.items[i];
        if (json_object_get(map, tensor->name) == NULL) {
            return hw_fail(err, HW_INPUT, "%s: tensor %s of %s is not in the weight_map", path,
                           hw_escape(text, sizeof text, tensor->name, strlen(tensor->name)),
                           shard_of(checkpoint, tensor));
        }
    }
    return HW_OK;
}

static enum hw_status read_index(struct hw_checkpoint *checkpoint, const char *path,
                                 struct hw_error *err) {
    json_t *index = NULL;
    const char **names = NULL;
    size_t n = 0;
    enum hw_status status = hw_json_load(path, HW_MAX_INDEX_BYTES, &index, err);
    if (status != HW_OK) {
        return status;
    }
    json_t *map = json_object_get(index, "weight_map");
    status = check_map(path, map, err);
    if (status == HW_OK) {
        status = list_shards(path, map, &names, &n, err);
    }
    for (size_t i = 0; status == HW_OK && i < n; i++) {
        char *shard = NULL;
        if (asprintf(&shard, "%s/%s", checkpoint->path, names[i]) < 0) {
            status = hw_fail(err, HW_RESOURCE, "%s: out of memory", path);
            break;
        }
        status = add_shard(checkpoint, shard, err);
        free(shard);
    }
    if (status == HW_OK) {
        status = hw_tensor_table_index(&checkpoint->tensors, err);
        if (status != HW_OK) {
            status = hw_fail_context(err, status, "%s: ", path);
        }
    }
    if (status == HW_OK) {
        status = check_agreement(checkpoint, path, map, err);
    }
    free(names);
    json_decref(index);
    return status;
}

static enum hw_status read_single(struct hw_checkpoint *checkpoint, const char *path,
                                  struct hw_error *err) {
    enum hw_status status = add_shard(checkpoint, path, err);
    return status == HW_OK ? hw_tensor_table_index(&checkpoint->tensors, err) : status;
}

static enum hw_status read_config(struct hw_checkpoint *checkpoint, struct hw_error *err) {
    uint64_t n_bytes = 0;
    char *path = NULL;
    enum hw_status status = find_file(checkpoint->path, "config.json", &path, &n_bytes, err);
    if (status != HW_OK) {
        return status;
    }
    if (path == NULL) {
        return hw_fail(err, HW_INPUT, "%s: no config.json", checkpoint->path);
    }
    status = hw_json_load(path, HW_MAX_CONFIG_BYTES, &checkpoint->config, err);
    if (status == HW_OK && !json_is_object(checkpoint->config)) {
        status = hw_fail(err, HW_INPUT, "%s: expected an object", path);
    }
    if (status == HW_OK) {
        status = hw_checkpoint_add_file(checkpoint, path, n_bytes, err);
    }
    free(path);
    return status;
}

enum hw_status hw_checkpoint_read_folder(struct hw_checkpoint *checkpoint, struct hw_error *err) {
    uint64_t n_bytes = 0;
    char *single = NULL;
    char *index = NULL;
    enum hw_status status = find_file(checkpoint->path, single_name, &single, &n_bytes, err);
    if (status == HW_OK) {
        status = find_file(checkpoint->path, index_name, &index, &n_bytes, err);
    }
    if (status != HW_OK) {
        goto out;
    }
    if (single != NULL) { // as transformers does where both are there
        status = read_single(checkpoint, single, err);
    } else if (index != NULL) {
        status = read_index(checkpoint, index, err);
        if (status == HW_OK) {
            status = hw_checkpoint_add_file(checkpoint, index, n_bytes, err);
        }
    } else {
        status = no_weights(checkpoint->path, err);
    }
    if (status == HW_OK) {
        status = read_config(checkpoint, err);
    }
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    char **paths[] = {&checkpoint->tokenizer_path, &checkpoint->tokenizer_config_path};
    for (size_t i = 0; i < 2 && status == HW_OK; i++) {
        status = find_file(checkpoint->path, names[i], paths[i], &n_bytes, err);
        if (status == HW_OK && *paths[i] != NULL) {
            status = hw_checkpoint_add_file(checkpoint, *paths[i], n_bytes, err);
        }
    }
out:
    free(single);
    free(index);
    return status;
}
