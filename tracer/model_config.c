// The reader over configurations; see model_config.h.
#include "tracer/model_config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Keys of config.json that describe training, generation, other heads or the file, for every
// family.
static const char *const harmless_everywhere[] = {"architectures",
                                                  "model_type",
                                                  "dtype",
                                                  "torch_dtype",
                                                  "transformers_version",
                                                  "_name_or_path",
                                                  "bos_token_id",
                                                  "eos_token_id",
                                                  "pad_token_id",
                                                  "sep_token_id",
                                                  "decoder_start_token_id",
                                                  "use_cache",
                                                  "initializer_range",
                                                  "attention_dropout",
                                                  "hidden_dropout",
                                                  "classifier_dropout",
                                                  "output_attentions",
                                                  "output_hidden_states",
                                                  "return_dict",
                                                  "torchscript",
                                                  "id2label",
                                                  "label2id",
                                                  "num_labels",
                                                  "problem_type",
                                                  "task_specific_params",
                                                  "gradient_checkpointing",
                                                  "is_decoder",
                                                  "unsloth_*",
                                                  "_attn_implementation*",
                                                  "attn_implementation",
                                                  "transformers.js_config",
                                                  "tokenizer_class",
                                                  "finetuning_task",
                                                  "prefix",
                                                  "license",
                                                  "max_length",
                                                  "do_sample",
                                                  "temperature",
                                                  "top_k",
                                                  "top_p",
                                                  NULL};

static const char *where(const struct hw_config *config) {
    return config->gguf != NULL ? "metadata" : "config.json";
}

enum hw_status hw_config_fail(struct hw_config *config, const char *key, const char *format, ...) {
    if (config->status != HW_OK) {
        return config->status;
    }
    char message[512];
    char safe[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    bool is_ours = config->gguf != NULL && strchr(key, ':') == NULL;
    config->status = hw_fail(config->err, HW_INPUT, "%s: %s%s%s: %s", where(config),
                             is_ours ? config->architecture : "", is_ours ? "." : "",
                             hw_escape(safe, sizeof safe, key, strlen(key)), message);
    return config->status;
}

void hw_config_init(struct hw_config *config, const struct hw_checkpoint *checkpoint,
                    struct hw_error *err) {
    memset(config, 0, sizeof *config);
    config->json = hw_checkpoint_config(checkpoint);
    config->gguf = hw_checkpoint_gguf(checkpoint);
    config->architecture = "";
    config->err = err;
}

bool hw_config_is_gguf(const struct hw_config *config) {
    return config->gguf != NULL;
}

static void note(struct hw_config *config, const char *key) {
    for (size_t i = 0; i < config->n_keys; i++) {
        if (strcmp(config->keys[i], key) == 0) {
            return;
        }
    }
    if (config->n_keys == HW_MAX_CONFIG_KEYS) {
        (void)hw_config_fail(config, key, "more than %d keys are read", HW_MAX_CONFIG_KEYS);
        return;
    }
    config->keys[config->n_keys++] = key;
}

// NULL where the key is missing or null.
static const json_t *find_json(const struct hw_config *config, const char *key) {
    const json_t *at = config->json;
    const char *dot = strchr(key, '.');
    if (dot != NULL) {
        char object[HW_CONFIG_TEXT];
        (void)snprintf(object, sizeof object, "%.*s", (int)(dot - key), key);
        at = json_object_get(at, object);
        key = dot + 1;
    }
    at = json_object_get(at, key);
    return json_is_null(at) ? NULL : at;
}

static const struct hw_gguf_value *find_gguf(struct hw_config *config, const char *key) {
    char name[160];
    int n = snprintf(name, sizeof name, "%s.%s", config->architecture, key);
    if (n < 0 || (size_t)n >= sizeof name) {
        (void)hw_config_fail(config, key, "the architecture's name is too long");
        return NULL;
    }
    return hw_gguf_find(config->gguf, name);
}

bool hw_config_has(struct hw_config *config, const char *key) {
    note(config, key);
    return config->gguf != NULL ? find_gguf(config, key) != NULL : find_json(config, key) != NULL;
}

// What a JSON value is, for messages.
static const char *describe(const json_t *value, char *ret_text, size_t n) {
    char safe[80];
    switch (json_typeof(value)) {
    case JSON_STRING:
        (void)snprintf(
            ret_text, n, "\"%s\"",
            hw_escape(safe, sizeof safe, json_string_value(value), json_string_length(value)));
        break;
    case JSON_INTEGER:
        (void)snprintf(ret_text, n, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        (void)snprintf(ret_text, n, "%.9g", json_real_value(value));
        break;
    case JSON_OBJECT:
        (void)snprintf(ret_text, n, "an object");
        break;
    case JSON_ARRAY:
        (void)snprintf(ret_text, n, "an array");
        break;
    default:
        (void)snprintf(ret_text, n, "%s", json_is_true(value) ? "true" : "false");
    }
    return ret_text;
}

static bool is_gguf_integer(enum hw_gguf_type type) {
    return type <= HW_GGUF_I32 || type == HW_GGUF_U64 || type == HW_GGUF_I64;
}

static bool is_gguf_number(enum hw_gguf_type type) {
    return is_gguf_integer(type) || type == HW_GGUF_F32 || type == HW_GGUF_F64;
}

// One number, or an array of equal ones (some files give a value per layer).
static double gguf_number(struct hw_config *config, const char *key,
                          const struct hw_gguf_value *value, bool is_integer) {
    enum hw_gguf_type type = value->type == HW_GGUF_ARRAY ? value->element_type : value->type;
    if (is_integer ? !is_gguf_integer(type) : !is_gguf_number(type)) {
        (void)hw_config_fail(config, key, "expected %s, found another type",
                             is_integer ? "an integer" : "a number");
        return 0;
    }
    if (value->n == 0) {
        (void)hw_config_fail(config, key, "expected a number, found an empty array");
        return 0;
    }
    double first = hw_gguf_number(value, 0);
    for (uint64_t i = 1; i < value->n; i++) {
        double other = hw_gguf_number(value, i);
        if (other < first || other > first) {
            (void)hw_config_fail(config, key,
                                 "differs between layers (%.9g and %.9g), which is not supported",
                                 first, other);
            break;
        }
    }
    return first;
}

// The number at `key`; false where there is none.
static bool read_number(struct hw_config *config, const char *key, bool is_integer, double *ret) {
    note(config, key);
    if (config->gguf != NULL) {
        const struct hw_gguf_value *value = find_gguf(config, key);
        if (value != NULL) {
            *ret = gguf_number(config, key, value, is_integer);
        }
        return value != NULL;
    }
    const json_t *value = find_json(config, key);
    if (value == NULL) {
        return false;
    }
    if (is_integer ? !json_is_integer(value) : !json_is_number(value)) {
        char found[120];
        (void)hw_config_fail(config, key, "expected %s, found %s",
                             is_integer ? "an integer" : "a number",
                             describe(value, found, sizeof found));
    }
    *ret = json_number_value(value);
    return true;
}

size_t hw_config_size(struct hw_config *config, const char *key, size_t fallback) {
    double value = 0;
    size_t safe = fallback == HW_REQUIRED ? 1 : fallback;
    if (!read_number(config, key, true, &value)) {
        if (fallback == HW_REQUIRED) {
            (void)hw_config_fail(config, key, "missing");
        }
        return safe;
    }
    if (config->status == HW_OK && !(value >= 1 && value <= HW_MAX_CONFIG_SIZE)) {
        (void)hw_config_fail(config, key, "expected 1 to %d, found %.0f", HW_MAX_CONFIG_SIZE,
                             value);
    }
    return config->status == HW_OK ? (size_t)value : safe;
}

double hw_config_number(struct hw_config *config, const char *key, double fallback) {
    double value = 0;
    double safe = isnan(fallback) ? 1 : fallback;
    if (!read_number(config, key, false, &value)) {
        if (isnan(fallback)) {
            (void)hw_config_fail(config, key, "missing");
        }
        return safe;
    }
    if (config->status == HW_OK && !(isfinite(value) && value > 0)) {
        (void)hw_config_fail(config, key, "expected a number above 0, found %g", value);
    }
    return config->status == HW_OK ? value : safe;
}

bool hw_config_bool(struct hw_config *config, const char *key, bool fallback) {
    note(config, key);
    if (config->gguf != NULL) {
        const struct hw_gguf_value *value = find_gguf(config, key);
        if (value == NULL) {
            return fallback;
        }
        if (value->type != HW_GGUF_BOOL) {
            (void)hw_config_fail(config, key, "expected true or false, found another type");
            return fallback;
        }
        return value->data[0] != 0;
    }
    const json_t *value = find_json(config, key);
    if (value == NULL) {
        return fallback;
    }
    if (!json_is_boolean(value)) {
        char found[120];
        (void)hw_config_fail(config, key, "expected true or false, found %s",
                             describe(value, found, sizeof found));
        return fallback;
    }
    return json_is_true(value);
}

void hw_config_string(struct hw_config *config, const char *key, const char *fallback,
                      char ret_text[HW_CONFIG_TEXT]) {
    note(config, key);
    const char *text = fallback;
    size_t n = strlen(fallback);
    if (config->gguf != NULL) {
        const struct hw_gguf_value *value = find_gguf(config, key);
        if (value != NULL && value->type == HW_GGUF_STRING) {
            const unsigned char *cursor = value->data;
            struct hw_bytes bytes = hw_gguf_next_string(&cursor);
            text = bytes.data;
            n = bytes.n;
        } else if (value != NULL) {
            (void)hw_config_fail(config, key, "expected text, found another type");
        }
    } else {
        const json_t *value = find_json(config, key);
        if (json_is_string(value)) {
            text = json_string_value(value);
            n = json_string_length(value);
        } else if (value != NULL) {
            char found[120];
            (void)hw_config_fail(config, key, "expected text, found %s",
                                 describe(value, found, sizeof found));
        }
    }
    if (n >= HW_CONFIG_TEXT || memchr(text, '\0', n) != NULL) {
        (void)hw_config_fail(config, key, "expected less than %d bytes of text, found %zu",
                             HW_CONFIG_TEXT, n);
        text = fallback;
        n = strlen(fallback);
    }
    memcpy(ret_text, text, n);
    ret_text[n] = '\0';
}

void hw_config_expect_bool(struct hw_config *config, const char *key, bool expected) {
    if (hw_config_bool(config, key, expected) != expected) {
        (void)hw_config_fail(config, key, "%s is not supported", expected ? "false" : "true");
    }
}

void hw_config_expect_number(struct hw_config *config, const char *key, double expected) {
    double value = expected;
    if (read_number(config, key, false, &value) && (value < expected || value > expected)) {
        (void)hw_config_fail(config, key, "%.9g is not supported, only %.9g", value, expected);
    }
}

enum hw_activation hw_config_activation(struct hw_config *config, const char *key,
                                        const char *fallback) {
    static const struct {
        const char *name;
        enum hw_activation f;
    } known[] = {{"gelu", HW_ACT_GELU_ERF},
                 {"gelu_new", HW_ACT_GELU_TANH},
                 {"gelu_pytorch_tanh", HW_ACT_GELU_TANH},
                 {"relu", HW_ACT_RELU},
                 {"silu", HW_ACT_SILU},
                 {"swish", HW_ACT_SILU}};
    char text[HW_CONFIG_TEXT];
    char safe[2 * HW_CONFIG_TEXT];
    hw_config_string(config, key, fallback, text);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, text) == 0) {
            return known[i].f;
        }
    }
    (void)hw_config_fail(
        config, key, "\"%s\" is not one of gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish",
        hw_escape(safe, sizeof safe, text, strlen(text)));
    return HW_ACT_RELU;
}

static bool matches(const char *pattern, const char *key) {
    size_t n = strlen(pattern);
    return n > 0 && pattern[n - 1] == '*' ? strncmp(pattern, key, n - 1) == 0
                                          : strcmp(pattern, key) == 0;
}

static bool is_listed(const char *const *list, const char *key) {
    for (; *list != NULL; list++) {
        if (matches(*list, key)) {
            return true;
        }
    }
    return false;
}

// Was `key` read, or (is_inside) a key in the object of this name?
static bool is_read(const struct hw_config *config, const char *key, bool is_inside) {
    size_t n = strlen(key);
    for (size_t i = 0; i < config->n_keys; i++) {
        const char *read = config->keys[i];
        if (is_inside ? strncmp(read, key, n) == 0 && read[n] == '.' : strcmp(read, key) == 0) {
            return true;
        }
    }
    return false;
}

static void refuse(struct hw_config *config, const char *key) {
    (void)hw_config_fail(config, key, "this key is not understood and may change the arithmetic");
}

static void refuse_unread_inside(struct hw_config *config, const char *object,
                                 const json_t *value) {
    const char *key;
    const json_t *inner;
    json_object_foreach((json_t *)value, key, inner) {
        char path[160];
        int n = snprintf(path, sizeof path, "%s.%s", object, key);
        if (!json_is_null(inner) &&
            (n < 0 || (size_t)n >= sizeof path || !is_read(config, path, false))) {
            refuse(config, path);
        }
    }
}

void hw_config_refuse_unread(struct hw_config *config, const char *const *harmless) {
    if (config->gguf != NULL) {
        size_t n = strlen(config->architecture);
        for (size_t i = 0; i < hw_gguf_n_values(config->gguf); i++) {
            const char *key = hw_gguf_value(config->gguf, i)->key;
            if (strncmp(key, config->architecture, n) != 0 || key[n] != '.') {
                continue;
            }
            if (!is_read(config, key + n + 1, false) && !is_listed(harmless, key + n + 1)) {
                refuse(config, key + n + 1);
            }
        }
        return;
    }
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)config->json, key, value) {
        if (json_is_null(value) || is_listed(harmless_everywhere, key) ||
            is_listed(harmless, key)) {
            continue;
        }
        if (json_is_object(value) && is_read(config, key, true)) {
            refuse_unread_inside(config, key, value);
        } else if (!is_read(config, key, false)) {
            refuse(config, key);
        }
    }
}
