// UTF-8 by the table of well-formed byte sequences (Unicode 15, table 3-7).
#include "formats/utf8.h"

// Length of the valid UTF-8 sequence at bytes (n > 0 left), 0 where there is none (Unicode 15,
// table 3-7).
static size_t utf8_length(const unsigned char *bytes, size_t n) {
    unsigned lead = bytes[0];
    if (lead < 0x80) {
        return 1;
    }
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || length > n) {
        return 0;
    }
    unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (bytes[1] < low || bytes[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((bytes[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return length;
}

size_t hw_utf8_check(const char *bytes, size_t n) {
    const unsigned char *at = (const unsigned char *)bytes;
    for (size_t i = 0; i < n;) {
        size_t length = utf8_length(at + i, n - i);
        if (length == 0) {
            return i;
        }
        i += length;
    }
    return n;
}

uint32_t hw_utf8_get(const char *bytes, size_t *ret_n) {
    const unsigned char *at = (const unsigned char *)bytes;
    if (at[0] < 0x80) {
        *ret_n = 1;
        return at[0];
    }
    size_t n = at[0] >= 0xF0 ? 4 : at[0] >= 0xE0 ? 3 : 2;
    uint32_t character = at[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        character = character << 6 | (at[i] & 0x3Fu);
    }
    *ret_n = n;
    return character;
}
