// Results as lines and as JSON; see report.h.
#include "tools/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

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

void hw_print_text(const char *text) {
    size_t n = strlen(text);
    size_t capacity = 4 * n + 1;
    char *shown = malloc(capacity);
    (void)fputs(shown != NULL ? hw_escape(shown, capacity, text, n) : "(not enough memory)",
                stdout);
    free(shown);
}

void hw_print_line(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    hw_print_text(n >= 0 ? text : "(not enough memory for this line)");
    (void)fputc('\n', stdout);
    if (n >= 0) {
        free(text);
    }
}

// Beyond ASCII there are only characters of strings, whole ones.
static int write_stdout(const char *buffer, size_t n, void *data) {
    (void)data;
    size_t plain = 0; // where what is still to be written as it is begins
    for (size_t at = 0; at < n;) {
        utf8proc_int32_t code;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)buffer + at,
                                                   (utf8proc_ssize_t)(n - at), &code);
        size_t next = at + (length > 0 ? (size_t)length : 1);
        if ((length > 1 || (length == 1 && code == 0x7f)) && hw_is_hidden(code)) {
            (void)fwrite(buffer + plain, 1, at - plain, stdout);
            unsigned rest = (unsigned)code - 0x10000U;
            (void)(code < 0x10000 ? printf("\\u%04x", (unsigned)code)
                                  : printf("\\u%04x\\u%04x", 0xd800U + (rest >> 10),
                                           0xdc00U + (rest & 0x3ffU)));
            plain = next;
        }
        at = next;
    }
    (void)fwrite(buffer + plain, 1, n - plain, stdout);
    return ferror(stdout) ? -1 : 0;
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
