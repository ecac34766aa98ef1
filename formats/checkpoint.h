// A model on disk, whatever its container: its tensors by name, its metadata by key, and where its
// tokenizer is.
//
// A GGUF file (of a split set: the first), or a folder with config.json and safetensors (one file,
// or an index and its shards). Everything is mapped read-only and stays in the file's own format;
// nothing here copies a weight. Files are hostile: every length is checked before it is used, and a
// message names file, field, expected and found value.
#ifndef HW_CHECKPOINT_H
#define HW_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "kernels/dtype.h"
#include "kernels/status.h"

enum { HW_MAX_DIMS = 4, HW_MAX_TENSORS = 1000000 };

enum hw_container { HW_CONTAINER_GGUF, HW_CONTAINER_SAFETENSORS };

// A tensor as the file has it. Shape row-major, the slowest axis first (GGUF's order reversed), so
// shape[n_dims - 1] counts neighbours.
struct hw_tensor {
    const char *name; // NUL-terminated; lives as long as the checkpoint
    enum hw_dtype dtype;
    size_t n_dims;
    size_t shape[HW_MAX_DIMS];
    size_t n_values;
    size_t n_bytes;
    const void *data; // mapped, n_bytes of it are there; alignment as in the file (at least 1)
};

struct hw_checkpoint;
struct hw_gguf; // metadata of a GGUF file, formats/gguf.h

// Opens `path`, a file or a folder; for names of the hub see hub.h. HW_INPUT names what is wrong.
enum hw_status hw_checkpoint_open(const char *path, struct hw_checkpoint **ret_checkpoint,
                                  struct hw_error *err);
void hw_checkpoint_close(struct hw_checkpoint **checkpoint);

enum hw_container hw_checkpoint_container(const struct hw_checkpoint *checkpoint);
// The file or folder opened, links not resolved.
const char *hw_checkpoint_path(const struct hw_checkpoint *checkpoint);

// The files that make it up (weights, config.json, tokenizer.json where there), in a fixed order,
// with their sizes.
size_t hw_checkpoint_n_files(const struct hw_checkpoint *checkpoint);
const char *hw_checkpoint_file(const struct hw_checkpoint *checkpoint, size_t i,
                               uint64_t *ret_bytes);

size_t hw_checkpoint_n_tensors(const struct hw_checkpoint *checkpoint);
const struct hw_tensor *hw_checkpoint_tensor(const struct hw_checkpoint *checkpoint, size_t i);
// NULL: not there.
const struct hw_tensor *hw_checkpoint_find(const struct hw_checkpoint *checkpoint,
                                           const char *name);

// config.json as parsed (NULL for GGUF), and the GGUF metadata (NULL for safetensors). Both live as
// long as the checkpoint.
const json_t *hw_checkpoint_config(const struct hw_checkpoint *checkpoint);
const struct hw_gguf *hw_checkpoint_gguf(const struct hw_checkpoint *checkpoint);

// Path of tokenizer.json (and tokenizer_config.json) in the folder, NULL where there is none or the
// container is GGUF.
const char *hw_checkpoint_tokenizer_path(const struct hw_checkpoint *checkpoint);
const char *hw_checkpoint_tokenizer_config_path(const struct hw_checkpoint *checkpoint);

// How the weights are stored, for provenance: the dtype with most bytes, such as "Q4_1".
const char *hw_checkpoint_quantisation(const struct hw_checkpoint *checkpoint);

enum hw_model_hash { HW_MODEL_HASH_FULL, HW_MODEL_HASH_HEADER, HW_MODEL_HASH_NONE };

// SHA-256 (64 hex digits and NUL) over the weight files in order: the whole files, or only their
// headers and metadata. Full hashes are kept in cache_folder (made where it is not there; NULL:
// they are not kept) by path, size and time; a cache that cannot be written is no error. NONE: "".
enum hw_status hw_checkpoint_sha256(const struct hw_checkpoint *checkpoint, enum hw_model_hash how,
                                    const char *cache_folder, char ret_hex[65],
                                    struct hw_error *err);

// The metadata as one JSON document for the capture (config.json, or GGUF keys with arrays over 64
// elements shortened to their length); the caller frees it.
char *hw_checkpoint_metadata_json(const struct hw_checkpoint *checkpoint);

#endif
