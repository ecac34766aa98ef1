// Results as JSON; see report.h.
#include "tools/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *hw_json_real(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *hw_json_float(float value) {
    char text[32];
    for (int digits = 6; digits < 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) {
            break;
        }
        (void)snprintf(text, sizeof text, "%.9g", (double)value);
    }
    return hw_json_real(isfinite(value) ? strtod(text, NULL) : NAN);
}

json_t *hw_json_text(const char *text) {
    size_t n = strlen(text);
    json_t *whole = json_stringn(text, n);
    if (whole != NULL) {
        return whole;
    }
    size_t capacity = 4 * n + 1;
    char *escaped = malloc(capacity);
    if (escaped == NULL) {
        return NULL;
    }
    json_t *value = json_string(hw_escape(escaped, capacity, text, n));
    free(escaped);
    return value;
}

static int write_stdout(const char *buffer, size_t n, void *data) {
    (void)data;
    return fwrite(buffer, 1, n, stdout) == n ? 0 : -1;
}

enum hw_status hw_json_print(json_t *document, struct hw_error *err) {
    if (document == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the JSON document");
    }
    // What could not be written shows in stdout's own state, which main looks at.
    int result =
        json_dump_callback(document, write_stdout, NULL, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(document);
    (void)fputc('\n', stdout);
    if (result != 0 && !ferror(stdout)) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the JSON document");
    }
    return HW_OK;
}
