// What a model says of itself, as one JSON document for the capture; see checkpoint.h.
//
// config.json as it is, or the GGUF values: long arrays (vocabularies) and very long strings become
// objects that say how long they are. What JSON has no form for becomes a string: integers from
// 2^63 on, numbers that are not finite, and text that is not UTF-8 (its bytes as \xNN).
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checkpoint_internal.h"
#include "formats/gguf_internal.h"
#include "kernels/size.h"

enum { MAX_ARRAY = 64, MAX_STRING_BYTES = 65536 };

static json_t *string_json(struct hw_bytes bytes) {
    if (bytes.n > MAX_STRING_BYTES) {
        return json_pack("{s:s, s:I}", "type", "string", "n_bytes", (json_int_t)bytes.n);
    }
    json_t *json = json_stringn(bytes.data, bytes.n);
    if (json != NULL) {
        return json;
    }
    size_t text_bytes = 4 * bytes.n + 1;
    char *text = malloc(text_bytes);
    if (text == NULL) {
        return NULL;
    }
    json = json_string(hw_escape(text, text_bytes, bytes.data, bytes.n));
    free(text);
    return json;
}

static json_t *number_json(const struct hw_gguf_value *value, uint64_t i) {
    enum hw_gguf_type type = value->element_type;
    if (type == HW_GGUF_F32 || type == HW_GGUF_F64) {
        double number = hw_gguf_number(value, i);
        if (isfinite(number)) {
            return json_real(number);
        }
        return json_string(isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
    }
    if (type == HW_GGUF_U64) {
        uint64_t number = hw_read_u64(value->data + 8 * i);
        if (number > INT64_MAX) {
            char text[24];
            (void)snprintf(text, sizeof text, "%" PRIu64, number);
            return json_string(text);
        }
    }
    return json_integer(hw_gguf_integer(value, i));
}

static json_t *element_json(const struct hw_gguf_value *value, uint64_t i,
                            const unsigned char **cursor) {
    if (value->element_type == HW_GGUF_STRING) {
        return string_json(hw_gguf_next_string(cursor));
    }
    return value->element_type == HW_GGUF_BOOL ? json_boolean(value->data[i] != 0)
                                               : number_json(value, i);
}

static json_t *value_json(const struct hw_gguf_value *value) {
    const unsigned char *cursor = value->data;
    if (value->type != HW_GGUF_ARRAY) {
        return element_json(value, 0, &cursor);
    }
    if (value->n > MAX_ARRAY) {
        return json_pack("{s:s, s:s, s:I}", "type", "array", "element_type",
                         hw_gguf_type_name(value->element_type), "n", (json_int_t)value->n);
    }
    json_t *array = json_array();
    for (uint64_t i = 0; i < value->n && array != NULL; i++) {
        // Also takes the element's reference where it fails.
        if (json_array_append_new(array, element_json(value, i, &cursor)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

// A growing string. jansson 2.14 drops a key without a word where its own buffer cannot grow, so
// the failure is kept here.
struct text {
    char *bytes;
    size_t n;
    size_t capacity;
    bool is_failed;
};

static int append(const char *bytes, size_t n, void *context) {
    struct text *text = context;
    size_t need;
    if (!hw_size_add(text->n, n, &need) || !hw_size_add(need, 1, &need)) {
        text->is_failed = true;
    } else if (need > text->capacity) {
        size_t capacity = hw_size_max(need, 2 * text->capacity);
        char *grown = realloc(text->bytes, capacity);
        text->is_failed = text->is_failed || grown == NULL;
        if (grown != NULL) {
            text->bytes = grown;
            text->capacity = capacity;
        }
    }
    if (text->is_failed) {
        return -1;
    }
    memcpy(text->bytes + text->n, bytes, n);
    text->n += n;
    text->bytes[text->n] = '\0';
    return 0;
}

static char *dump(const json_t *json) {
    struct text text = {0};
    if (json_dump_callback(json, append, &text, JSON_COMPACT) != 0 || text.is_failed) {
        free(text.bytes);
        return NULL;
    }
    return text.bytes;
}

char *hw_checkpoint_metadata_json(const struct hw_checkpoint *checkpoint) {
    if (checkpoint->config != NULL) {
        return dump(checkpoint->config);
    }
    json_t *object = json_object();
    char *text = NULL;
    for (size_t i = 0; object != NULL && i < hw_gguf_n_values(checkpoint->gguf); i++) {
        const struct hw_gguf_value *value = hw_gguf_value(checkpoint->gguf, i);
        if (json_object_set_new(object, value->key, value_json(value)) != 0) {
            goto out;
        }
    }
    text = object == NULL ? NULL : dump(object);
out:
    json_decref(object);
    return text;
}
