// Inside of a checkpoint: shared by checkpoint.c (opening), checkpoint_folder.c (safetensors),
// checkpoint_hash.c and checkpoint_metadata.c.
#ifndef HW_CHECKPOINT_INTERNAL_H
#define HW_CHECKPOINT_INTERNAL_H

#include "formats/checkpoint.h"
#include "formats/filemap.h"
#include "formats/tensor_table.h"

enum { HW_MAX_SHARDS = 10000 };

struct hw_shard {
    struct hw_filemap *map;
    size_t header_bytes;
};

struct hw_checkpoint_file {
    char *path;
    uint64_t n_bytes;
};

struct hw_checkpoint {
    enum hw_container container;
    char *path;
    struct hw_gguf *gguf; // of GGUF; its maps and tensors are its own

    struct hw_shard *shards; // of safetensors
    size_t n_shards;
    struct hw_tensor_table tensors;
    json_t *config;
    char *tokenizer_path;
    char *tokenizer_config_path;

    struct hw_checkpoint_file *files; // weights first
    size_t n_files;
};

// Fills the safetensors part from the folder checkpoint->path. On failure the caller closes the
// half-built object.
enum hw_status hw_checkpoint_read_folder(struct hw_checkpoint *checkpoint, struct hw_error *err);
// Appends to checkpoint->files.
enum hw_status hw_checkpoint_add_file(struct hw_checkpoint *checkpoint, const char *path,
                                      uint64_t n_bytes, struct hw_error *err);

// The weight files in order, whatever the container.
size_t hw_checkpoint_n_weights(const struct hw_checkpoint *checkpoint);
const struct hw_filemap *hw_checkpoint_weights(const struct hw_checkpoint *checkpoint, size_t i,
                                               size_t *ret_header_bytes);

#endif
