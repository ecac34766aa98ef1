// Status and message; see status.h.
#include "kernels/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

enum hw_status hw_fail(struct hw_error *err, enum hw_status status, const char *format, ...) {
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        err->status = status;
    }
    return status;
}

enum hw_status hw_fail_context(struct hw_error *err, enum hw_status status, const char *format,
                               ...) {
    if (err == NULL) {
        return status;
    }
    char message[HW_ERROR_BYTES];
    memcpy(message, err->message, sizeof message);
    message[sizeof message - 1] = '\0';
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->message) {
        (void)snprintf(err->message + n, sizeof err->message - (size_t)n, "%.*s",
                       (int)(sizeof message - 1), message);
    }
    return err->status != HW_OK ? err->status : status;
}

int hw_is_hidden(int code) {
    const utf8proc_property_t *property = utf8proc_get_property(code);
    switch (property->category) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return 1;
    default:
        return property->ignorable;
    }
}

// The character at s as it is shown, with its NUL; returns its length in s, at least 1.
static unsigned long show_character(const char *s, unsigned long n, char *ret_shown,
                                    unsigned long shown_bytes) {
    utf8proc_int32_t code;
    utf8proc_ssize_t length =
        utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &code);
    if (length <= 0 || (length == 1 && hw_is_hidden(code))) {
        (void)snprintf(ret_shown, shown_bytes, "\\x%02x", (unsigned)(unsigned char)*s);
        return 1;
    }
    if (hw_is_hidden(code)) {
        (void)snprintf(ret_shown, shown_bytes, "\\u{%04x}", (unsigned)code);
    } else {
        memcpy(ret_shown, s, (size_t)length);
        ret_shown[length] = '\0';
    }
    return (unsigned long)length;
}

const char *hw_escape(char *ret_text, unsigned long text_bytes, const char *bytes,
                      unsigned long n_bytes) {
    unsigned long at = 0;
    unsigned long i = 0;
    while (i < n_bytes) {
        char shown[16];
        unsigned long n = show_character(bytes + i, n_bytes - i, shown, sizeof shown);
        unsigned long need = strlen(shown);
        unsigned long reserve = i + n < n_bytes ? 3 : 0;
        if (at + need + reserve + 1 > text_bytes) {
            for (int dot = 0; dot < 3 && at + 1 < text_bytes; dot++) {
                ret_text[at++] = '.';
            }
            break;
        }
        memcpy(ret_text + at, shown, need);
        at += need;
        i += n;
    }
    if (text_bytes > 0) {
        ret_text[at < text_bytes ? at : text_bytes - 1] = '\0';
    }
    return ret_text;
}
