// The linker's --wrap sends our calls here (see tests/meson.build).
#include "failing_malloc.h"

#include <stdint.h>
#include <string.h>

void *__real_malloc(size_t n_bytes);
void *__real_calloc(size_t n, size_t n_bytes);
void *__real_realloc(void *old, size_t n_bytes);
void *__wrap_malloc(size_t n_bytes);
void *__wrap_calloc(size_t n, size_t n_bytes);
void *__wrap_realloc(void *old, size_t n_bytes);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

static size_t n_left = SIZE_MAX;
static bool has_failed;

static bool fails(void) {
    if (n_left == SIZE_MAX) {
        return false;
    }
    if (n_left > 0) {
        n_left--;
        return false;
    }
    has_failed = true;
    return true;
}

void failing_malloc_after(size_t n) {
    n_left = n;
    has_failed = false;
}

bool failing_malloc_stop(void) {
    n_left = SIZE_MAX;
    return has_failed;
}

void *__wrap_malloc(size_t n_bytes) {
    return fails() ? NULL : __real_malloc(n_bytes);
}

void *__wrap_calloc(size_t n, size_t n_bytes) {
    return fails() ? NULL : __real_calloc(n, n_bytes);
}

void *__wrap_realloc(void *old, size_t n_bytes) {
    return fails() ? NULL : __real_realloc(old, n_bytes);
}

char *__wrap_strndup(const char *text, size_t n) {
    size_t n_text = strnlen(text, n);
    char *copy = __wrap_malloc(n_text + 1);
    if (copy != NULL) {
        memcpy(copy, text, n_text);
        copy[n_text] = '\0';
    }
    return copy;
}

char *__wrap_strdup(const char *text) {
    return __wrap_strndup(text, strlen(text));
}
