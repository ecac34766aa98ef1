// UTF-8: checking and reading text that comes from files.
#ifndef HW_UTF8_H
#define HW_UTF8_H

#include <stddef.h>
#include <stdint.h>

// n where the n bytes are valid UTF-8 (no surrogates, no overlong forms; NUL is a character), else
// the offset of the first sequence that is not.
size_t hw_utf8_check(const char *bytes, size_t n);

// The character at bytes, which are valid UTF-8, and its length in bytes.
uint32_t hw_utf8_get(const char *bytes, size_t *ret_n);

#endif
