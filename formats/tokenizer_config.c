// Opening a tokenizer by path or by checkpoint, and what stands beside tokenizer.json: BOS and the
// tokens that end a text.
//
// tokenizer_config.json overrides the template's BOS where it says add_bos_token, as the tokenizer
// classes of transformers do. A BOS token that the tokenizer's own files do not mention is taken
// from config.json, where GPT-2 has it.
#include "formats/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/json.h"

// A token given as text or as an object with content. HW_TOKEN_NONE where it is absent, null, or no
// token.
static uint32_t named_token(const struct hw_tokenizer *tokenizer, const json_t *value) {
    const json_t *text = json_is_object(value) ? json_object_get(value, "content") : value;
    if (!json_is_string(text)) {
        return HW_TOKEN_NONE;
    }
    return hw_vocab_find_any(tokenizer, json_string_value(text), json_string_length(text));
}

static uint32_t numbered_token(const struct hw_tokenizer *tokenizer, const json_t *value) {
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && id < tokenizer->n_vocab ? (uint32_t)id : HW_TOKEN_NONE;
}

static enum hw_status configure_bos(struct hw_tokenizer *tokenizer,
                                    const struct tokenizer_documents *documents,
                                    struct hw_error *err) {
    const json_t *config = documents->tokenizer_config;
    const json_t *named = json_object_get(config, "bos_token");
    uint32_t id = named_token(tokenizer, named);
    if (named == NULL) {
        id = numbered_token(tokenizer, json_object_get(documents->model_config, "bos_token_id"));
    } else if (!json_is_null(named) && id == HW_TOKEN_NONE) {
        return hw_fail(err, HW_INPUT,
                       "bos_token of the tokenizer's configuration is not in the vocabulary");
    }
    bool has_bos = json_is_boolean(json_object_get(config, "add_bos_token"));
    bool adds_bos = json_is_true(json_object_get(config, "add_bos_token"));
    if (tokenizer->bos_id == HW_TOKEN_NONE || (has_bos && id != HW_TOKEN_NONE)) {
        tokenizer->bos_id = id;
    }
    if (has_bos) {
        tokenizer->adds_bos = adds_bos;
    }
    if (tokenizer->adds_bos && tokenizer->bos_id == HW_TOKEN_NONE) {
        return hw_fail(err, HW_INPUT, "add_bos_token is true, but there is no bos_token");
    }
    return HW_OK;
}

static void mark_numbered(struct hw_tokenizer *tokenizer, const json_t *value) {
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            hw_tokenizer_mark_end(tokenizer, numbered_token(tokenizer, json_array_get(value, i)));
        }
    } else {
        hw_tokenizer_mark_end(tokenizer, numbered_token(tokenizer, value));
    }
}

enum hw_status hw_tokenizer_configure(struct hw_tokenizer *tokenizer,
                                      const struct tokenizer_documents *documents,
                                      struct hw_error *err) {
    const json_t *config = documents->tokenizer_config;
    if (json_is_true(json_object_get(config, "add_eos_token"))) {
        return hw_fail(err, HW_INPUT, "add_eos_token is true, which is not supported");
    }
    const json_t *prefix = json_object_get(config, "add_prefix_space");
    if (json_is_boolean(prefix)) {
        bool has_prefix =
            tokenizer->n_steps > 0 && tokenizer->steps[tokenizer->n_steps - 1].prefix_space;
        if (json_is_true(prefix) != has_prefix) {
            return hw_fail(
                err, HW_INPUT,
                "add_prefix_space is %s in the tokenizer's configuration and %s in tokenizer.json",
                has_prefix ? "false" : "true", has_prefix ? "true" : "false");
        }
    }
    enum hw_status status = configure_bos(tokenizer, documents, err);
    hw_tokenizer_mark_end(tokenizer, named_token(tokenizer, json_object_get(config, "eos_token")));
    mark_numbered(tokenizer, json_object_get(documents->generation_config, "eos_token_id"));
    mark_numbered(tokenizer, json_object_get(documents->model_config, "eos_token_id"));
    hw_tokenizer_mark_known_ends(tokenizer);
    return status;
}

// The path of a file in the folder of `path`; the caller frees it. NULL: no memory.
static char *beside(const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    size_t n_folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    size_t n_name = strlen(name);
    char *joined = malloc(n_folder + n_name + 1);
    if (joined != NULL) {
        memcpy(joined, path, n_folder);
        memcpy(joined + n_folder, name, n_name + 1);
    }
    return joined;
}

// generation_config.json beside the tokenizer, where there is one; NULL where not.
static enum hw_status load_generation_config(const char *tokenizer_path, json_t **ret,
                                             struct hw_error *err) {
    char *path = beside(tokenizer_path, "generation_config.json");
    if (path == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    }
    enum hw_status status = HW_OK;
    if (access(path, F_OK) == 0) {
        status = hw_json_load(path, HW_MAX_CONFIG_BYTES, ret, err);
    }
    free(path);
    return status;
}

static enum hw_status open_json(const char *tokenizer_path, const char *config_path,
                                const json_t *model_config, struct hw_tokenizer **ret_tokenizer,
                                struct hw_error *err) {
    json_t *tokenizer = NULL;
    json_t *config = NULL;
    json_t *generation = NULL;
    enum hw_status status =
        hw_json_load(tokenizer_path, HW_MAX_TOKENIZER_JSON_BYTES, &tokenizer, err);
    if (status == HW_OK && config_path != NULL) {
        status = hw_json_load(config_path, HW_MAX_CONFIG_BYTES, &config, err);
    }
    if (status == HW_OK) {
        status = load_generation_config(tokenizer_path, &generation, err);
    }
    if (status == HW_OK) {
        const struct tokenizer_documents documents = {tokenizer, config, generation, model_config};
        status = hw_tokenizer_from_json(&documents, ret_tokenizer, err);
        if (status != HW_OK) {
            status = hw_fail_context(err, status, "%s: ", tokenizer_path);
        }
    }
    json_decref(tokenizer);
    json_decref(config);
    json_decref(generation);
    return status;
}

enum hw_status hw_tokenizer_open_json(const char *tokenizer_path, const char *config_path,
                                      struct hw_tokenizer **ret_tokenizer, struct hw_error *err) {
    return open_json(tokenizer_path, config_path, NULL, ret_tokenizer, err);
}

enum hw_status hw_tokenizer_open(const struct hw_checkpoint *checkpoint,
                                 struct hw_tokenizer **ret_tokenizer, struct hw_error *err) {
    const char *path = hw_checkpoint_path(checkpoint);
    if (hw_checkpoint_container(checkpoint) == HW_CONTAINER_GGUF) {
        enum hw_status status =
            hw_tokenizer_open_gguf(hw_checkpoint_gguf(checkpoint), ret_tokenizer, err);
        return status == HW_OK ? status : hw_fail_context(err, status, "%s: ", path);
    }
    const char *tokenizer_path = hw_checkpoint_tokenizer_path(checkpoint);
    if (tokenizer_path == NULL) {
        return hw_fail(err, HW_INPUT, "%s: there is no tokenizer.json in the folder", path);
    }
    return open_json(tokenizer_path, hw_checkpoint_tokenizer_config_path(checkpoint),
                     hw_checkpoint_config(checkpoint), ret_tokenizer, err);
}
