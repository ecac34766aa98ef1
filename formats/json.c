// Capped JSON parsing on jansson; see json.h.
//
// jansson itself recurses as deep as 2048; the depth is counted beforehand by one pass that knows
// strings and nothing else of JSON, which can only count too many brackets in documents that
// jansson refuses anyway.
#include "formats/json.h"

#include <string.h>

#include "formats/filemap.h"

// Byte offset of the bracket that goes too deep, or n.
static size_t find_too_deep(const char *bytes, size_t n) {
    size_t depth = 0;
    bool is_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];
        if (is_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                is_string = false;
            }
        } else if (c == '"') {
            is_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > HW_MAX_JSON_DEPTH) {
                return i;
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return n;
}

enum hw_status hw_json_parse(const char *what, const char *bytes, size_t n_bytes, json_t **ret_json,
                             struct hw_error *err) {
    size_t deep = find_too_deep(bytes, n_bytes);
    if (deep < n_bytes) {
        return hw_fail(err, HW_INPUT, "%s: byte %zu: JSON nested deeper than %d", what, deep,
                       HW_MAX_JSON_DEPTH);
    }
    json_error_t error;
    json_t *json = json_loadb(bytes, n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        char text[2 * JSON_ERROR_TEXT_LENGTH];
        (void)hw_escape(text, sizeof text, error.text, strlen(error.text));
        // jansson says nothing at all where most of its allocations fail.
        if (error.text[0] == '\0' || json_error_code(&error) == json_error_out_of_memory) {
            return hw_fail(err, HW_RESOURCE, "%s: out of memory", what);
        }
        return hw_fail(err, HW_INPUT, "%s: line %d, column %d: %s", what, error.line, error.column,
                       text);
    }
    *ret_json = json;
    return HW_OK;
}

enum hw_status hw_json_load(const char *path, size_t max_bytes, json_t **ret_json,
                            struct hw_error *err) {
    struct hw_filemap *map = NULL;
    enum hw_status status = hw_filemap_open(path, &map, err);
    if (status != HW_OK) {
        return status;
    }
    if (map->n_bytes > max_bytes) {
        status = hw_fail(err, HW_INPUT, "%s: %zu bytes, expected at most %zu", path, map->n_bytes,
                         max_bytes);
    } else {
        status = hw_json_parse(path, (const char *)map->base, map->n_bytes, ret_json, err);
    }
    hw_filemap_close(&map);
    return status;
}
