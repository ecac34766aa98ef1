// Typed access to GGUF metadata: the value, or what was wanted and what was found; see gguf.h.
#include <inttypes.h>

#include "formats/gguf_internal.h"

// The value of a key, or a message that it is missing.
static enum hw_status require(const struct hw_gguf *gguf, const char *key, const char *wanted,
                              const struct hw_gguf_value **ret, struct hw_error *err) {
    *ret = hw_gguf_find(gguf, key);
    return *ret != NULL ? HW_OK
                        : hw_fail(err, HW_INPUT, "%s: key %s is missing, expected %s",
                                  gguf->files[0].map->path, key, wanted);
}

static enum hw_status wrong_type(const struct hw_gguf *gguf, const struct hw_gguf_value *value,
                                 const char *wanted, struct hw_error *err) {
    return hw_fail(err, HW_INPUT, "%s: key %s: expected %s, found type %s",
                   gguf->files[0].map->path, value->key, wanted, hw_gguf_type_name(value->type));
}

enum hw_status hw_gguf_get_u64(const struct hw_gguf *gguf, const char *key, uint64_t *ret,
                               struct hw_error *err) {
    static const char wanted[] = "an integer that is not negative";
    const struct hw_gguf_value *value;
    enum hw_status status = require(gguf, key, wanted, &value, err);
    if (status == HW_OK && !hw_gguf_value_u64(value, ret)) {
        bool is_negative = value->type == HW_GGUF_I8 || value->type == HW_GGUF_I16 ||
                           value->type == HW_GGUF_I32 || value->type == HW_GGUF_I64;
        if (is_negative) {
            return hw_fail(err, HW_INPUT, "%s: key %s: expected %s, found %" PRId64,
                           gguf->files[0].map->path, key, wanted, hw_gguf_integer(value, 0));
        }
        return wrong_type(gguf, value, wanted, err);
    }
    return status;
}

enum hw_status hw_gguf_get_f64(const struct hw_gguf *gguf, const char *key, double *ret,
                               struct hw_error *err) {
    static const char wanted[] = "a number";
    const struct hw_gguf_value *value;
    enum hw_status status = require(gguf, key, wanted, &value, err);
    if (status != HW_OK) {
        return status;
    }
    if (value->type == HW_GGUF_STRING || value->type == HW_GGUF_ARRAY ||
        value->type == HW_GGUF_BOOL) {
        return wrong_type(gguf, value, wanted, err);
    }
    *ret = hw_gguf_number(value, 0);
    return HW_OK;
}

enum hw_status hw_gguf_get_bool(const struct hw_gguf *gguf, const char *key, bool *ret,
                                struct hw_error *err) {
    const struct hw_gguf_value *value;
    enum hw_status status = require(gguf, key, "a bool", &value, err);
    if (status != HW_OK) {
        return status;
    }
    if (value->type != HW_GGUF_BOOL) {
        return wrong_type(gguf, value, "a bool", err);
    }
    *ret = value->data[0] != 0;
    return HW_OK;
}

enum hw_status hw_gguf_get_string(const struct hw_gguf *gguf, const char *key, struct hw_bytes *ret,
                                  struct hw_error *err) {
    const struct hw_gguf_value *value;
    enum hw_status status = require(gguf, key, "a string", &value, err);
    if (status != HW_OK) {
        return status;
    }
    if (value->type != HW_GGUF_STRING) {
        return wrong_type(gguf, value, "a string", err);
    }
    const unsigned char *cursor = value->data;
    *ret = hw_gguf_next_string(&cursor);
    return HW_OK;
}
