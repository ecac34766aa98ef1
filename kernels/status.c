// Status and message; see status.h.
#include "kernels/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

// Length of the valid UTF-8 sequence at s, or 0.
static unsigned long utf8_length(const unsigned char *s, unsigned long n) {
    unsigned long want = s[0] < 0x80                   ? 1
                         : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
                         : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
                         : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                                       : 0;
    if (want == 0 || want > n) {
        return 0;
    }
    for (unsigned long i = 1; i < want; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F)) {
        return 0;
    }
    return want;
}

const char *hw_escape(char *ret_text, unsigned long text_bytes, const char *bytes,
                      unsigned long n_bytes) {
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)bytes;
    unsigned long at = 0;
    unsigned long i = 0;
    while (i < n_bytes) {
        unsigned long n = utf8_length(s + i, n_bytes - i);
        int is_plain = n > 1 || (n == 1 && s[i] >= 0x20 && s[i] != 0x7F);
        if (n == 2 && s[i] == 0xC2 && s[i + 1] < 0xA0) {
            is_plain = 0; // C1 control characters move cursors too
        }
        unsigned long need = is_plain ? n : 4;
        unsigned long reserve = i + (is_plain ? n : 1) < n_bytes ? 3 : 0;
        if (at + need + reserve + 1 > text_bytes) {
            for (int dot = 0; dot < 3 && at + 1 < text_bytes; dot++) {
                ret_text[at++] = '.';
            }
            break;
        }
        if (is_plain) {
            memcpy(ret_text + at, s + i, n);
            at += n;
            i += n;
        } else {
            ret_text[at++] = '\\';
            ret_text[at++] = 'x';
            ret_text[at++] = hex[s[i] >> 4];
            ret_text[at++] = hex[s[i] & 15];
            i++;
        }
    }
    if (text_bytes > 0) {
        ret_text[at < text_bytes ? at : text_bytes - 1] = '\0';
    }
    return ret_text;
}
