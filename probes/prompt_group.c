// The group of a prompt under a key of its object; see edit_source.h.
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "formats/json.h"
#include "kernels/size.h"
#include "probes/edit_source.h"

// Cuts where a character begins, so that the text stays UTF-8.
static const char *copy(char *buffer, size_t n_buffer, const char *text) {
    size_t n = hw_size_min(strlen(text), n_buffer - 1);
    while (n > 0 && ((unsigned char)text[n] & 0xc0u) == 0x80u) {
        n--;
    }
    memcpy(buffer, text, n);
    buffer[n] = '\0';
    return buffer;
}

const char *hw_object_group(const char *json, const char *key, char *buffer, size_t n_buffer) {
    json_t *object = NULL;
    buffer[0] = '\0';
    if (key == NULL || json == NULL ||
        hw_json_parse("prompt", json, strlen(json), &object, NULL) != HW_OK) {
        return buffer;
    }
    const json_t *value = json_object_get(object, key);
    if (json_is_string(value)) {
        (void)copy(buffer, n_buffer, json_string_value(value));
    } else if (value != NULL && !json_is_null(value)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        (void)copy(buffer, n_buffer, text != NULL ? text : "");
        free(text);
    }
    json_decref(object);
    return buffer;
}

const char *hw_prompt_group(const struct hw_prompt *prompt, const char *key, char *buffer,
                            size_t n_buffer) {
    return hw_object_group(prompt->json, key, buffer, n_buffer);
}
