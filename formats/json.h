// JSON documents from files that are not trusted: size and depth capped, duplicate keys refused.
#ifndef HW_JSON_H
#define HW_JSON_H

#include <stddef.h>

#include <jansson.h>

#include "kernels/status.h"

enum {
    HW_MAX_JSON_DEPTH = 32,                 // brackets inside brackets
    HW_MAX_CONFIG_BYTES = 16 << 20,         // config.json, tokenizer_config.json
    HW_MAX_INDEX_BYTES = 128 << 20,         // model.safetensors.index.json
    HW_MAX_TOKENIZER_JSON_BYTES = 512 << 20 // tokenizer.json
};

// Parses n bytes (UTF-8, need not end with a NUL) as one object or array; `what` names them in
// messages: a path. HW_INPUT with line and column on anything wrong: duplicate keys, a NUL inside a
// string, invalid UTF-8, lone surrogates, too deep, text after the document. The caller calls
// json_decref on *ret_json.
enum hw_status hw_json_parse(const char *what, const char *bytes, size_t n_bytes, json_t **ret_json,
                             struct hw_error *err);

// The same of a file of at most max_bytes.
enum hw_status hw_json_load(const char *path, size_t max_bytes, json_t **ret_json,
                            struct hw_error *err);

#endif
