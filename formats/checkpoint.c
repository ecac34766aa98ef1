// Opening a model by file or folder; see checkpoint.h.
#include "formats/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/checkpoint_internal.h"
#include "formats/gguf_internal.h"
#include "kernels/size.h"

enum hw_status hw_checkpoint_add_file(struct hw_checkpoint *checkpoint, const char *path,
                                      uint64_t n_bytes, struct hw_error *err) {
    size_t n = checkpoint->n_files;
    struct hw_checkpoint_file *files = realloc(checkpoint->files, (n + 1) * sizeof *files);
    if (files == NULL) {
        return hw_fail(err, HW_RESOURCE, "out of memory for %zu files", n + 1);
    }
    checkpoint->files = files;
    files[n] = (struct hw_checkpoint_file){.path = strdup(path), .n_bytes = n_bytes};
    if (files[n].path == NULL) {
        return hw_fail(err, HW_RESOURCE, "out of memory for %zu files", n + 1);
    }
    checkpoint->n_files = n + 1;
    return HW_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text);
    size_t n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static enum hw_status read_gguf(struct hw_checkpoint *checkpoint, struct hw_error *err) {
    if (ends_with(checkpoint->path, ".safetensors")) {
        return hw_fail(err, HW_INPUT,
                       "%s: a safetensors file; give the folder that holds it with its config.json",
                       checkpoint->path);
    }
    enum hw_status status = hw_gguf_open(checkpoint->path, &checkpoint->gguf, err);
    for (size_t i = 0; status == HW_OK && i < checkpoint->gguf->n_files; i++) {
        const struct hw_filemap *map = checkpoint->gguf->files[i].map;
        status = hw_checkpoint_add_file(checkpoint, map->path, map->n_bytes, err);
    }
    return status;
}

enum hw_status hw_checkpoint_open(const char *path, struct hw_checkpoint **ret_checkpoint,
                                  struct hw_error *err) {
    enum hw_status status = HW_OK;
    struct hw_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (checkpoint == NULL) {
        return hw_fail(err, HW_RESOURCE, "%s: out of memory", path);
    }
    struct stat info;
    checkpoint->path = strdup(path);
    if (checkpoint->path == NULL) {
        status = hw_fail(err, HW_RESOURCE, "%s: out of memory", path);
        goto out;
    }
    if (stat(path, &info) != 0) {
        status = hw_fail(err, HW_INPUT, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (S_ISDIR(info.st_mode)) {
        checkpoint->container = HW_CONTAINER_SAFETENSORS;
        status = hw_checkpoint_read_folder(checkpoint, err);
    } else {
        checkpoint->container = HW_CONTAINER_GGUF;
        status = read_gguf(checkpoint, err);
    }
    if (status == HW_OK) {
        *ret_checkpoint = checkpoint;
        checkpoint = NULL;
    }
out:
    hw_checkpoint_close(&checkpoint);
    return status;
}

void hw_checkpoint_close(struct hw_checkpoint **checkpoint) {
    struct hw_checkpoint *c = *checkpoint;
    if (c == NULL) {
        return;
    }
    hw_gguf_close(&c->gguf);
    hw_tensor_table_free(&c->tensors);
    for (size_t i = 0; i < c->n_shards; i++) {
        hw_filemap_close(&c->shards[i].map);
    }
    free(c->shards);
    json_decref(c->config);
    free(c->tokenizer_path);
    free(c->tokenizer_config_path);
    for (size_t i = 0; i < c->n_files; i++) {
        free(c->files[i].path);
    }
    free(c->files);
    free(c->path);
    free(c);
    *checkpoint = NULL;
}

enum hw_container hw_checkpoint_container(const struct hw_checkpoint *checkpoint) {
    return checkpoint->container;
}

const char *hw_checkpoint_path(const struct hw_checkpoint *checkpoint) {
    return checkpoint->path;
}

size_t hw_checkpoint_n_files(const struct hw_checkpoint *checkpoint) {
    return checkpoint->n_files;
}

const char *hw_checkpoint_file(const struct hw_checkpoint *checkpoint, size_t i,
                               uint64_t *ret_bytes) {
    if (i >= checkpoint->n_files) {
        return NULL;
    }
    if (ret_bytes != NULL) {
        *ret_bytes = checkpoint->files[i].n_bytes;
    }
    return checkpoint->files[i].path;
}

static const struct hw_tensor_table *tensors_of(const struct hw_checkpoint *checkpoint) {
    return checkpoint->gguf != NULL ? &checkpoint->gguf->tensors : &checkpoint->tensors;
}

size_t hw_checkpoint_n_tensors(const struct hw_checkpoint *checkpoint) {
    return tensors_of(checkpoint)->n;
}

const struct hw_tensor *hw_checkpoint_tensor(const struct hw_checkpoint *checkpoint, size_t i) {
    const struct hw_tensor_table *tensors = tensors_of(checkpoint);
    return i < tensors->n ? &tensors->items[i] : NULL;
}

const struct hw_tensor *hw_checkpoint_find(const struct hw_checkpoint *checkpoint,
                                           const char *name) {
    return hw_tensor_table_find(tensors_of(checkpoint), name);
}

const json_t *hw_checkpoint_config(const struct hw_checkpoint *checkpoint) {
    return checkpoint->config;
}

const struct hw_gguf *hw_checkpoint_gguf(const struct hw_checkpoint *checkpoint) {
    return checkpoint->gguf;
}

const char *hw_checkpoint_tokenizer_path(const struct hw_checkpoint *checkpoint) {
    return checkpoint->tokenizer_path;
}

const char *hw_checkpoint_tokenizer_config_path(const struct hw_checkpoint *checkpoint) {
    return checkpoint->tokenizer_config_path;
}

const char *hw_checkpoint_quantisation(const struct hw_checkpoint *checkpoint) {
    // A sum of sizes of parts of mapped files, which fit the address space together.
    size_t n_bytes[HW_N_DTYPES] = {0};
    const struct hw_tensor_table *tensors = tensors_of(checkpoint);
    for (size_t i = 0; i < tensors->n; i++) {
        n_bytes[tensors->items[i].dtype] += tensors->items[i].n_bytes;
    }
    size_t most = 0;
    for (size_t dtype = 1; dtype < HW_N_DTYPES; dtype++) {
        bool is_weight = hw_dtype_is_weight((enum hw_dtype)dtype) || dtype == HW_F64;
        if (is_weight && n_bytes[dtype] > n_bytes[most]) { // not masks and ids, which are buffers
            most = dtype;
        }
    }
    return hw_dtype_name((enum hw_dtype)most);
}

size_t hw_checkpoint_n_weights(const struct hw_checkpoint *checkpoint) {
    return checkpoint->gguf != NULL ? checkpoint->gguf->n_files : checkpoint->n_shards;
}

const struct hw_filemap *hw_checkpoint_weights(const struct hw_checkpoint *checkpoint, size_t i,
                                               size_t *ret_header_bytes) {
    if (checkpoint->gguf != NULL) {
        *ret_header_bytes = checkpoint->gguf->files[i].header_bytes;
        return checkpoint->gguf->files[i].map;
    }
    *ret_header_bytes = checkpoint->shards[i].header_bytes;
    return checkpoint->shards[i].map;
}
