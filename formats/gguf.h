// GGUF v2 and v3: metadata and tensor directory of one file or of a split set.
#ifndef HW_GGUF_H
#define HW_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/checkpoint.h"
#include "kernels/status.h"

enum hw_gguf_type {
    HW_GGUF_U8,
    HW_GGUF_I8,
    HW_GGUF_U16,
    HW_GGUF_I16,
    HW_GGUF_U32,
    HW_GGUF_I32,
    HW_GGUF_F32,
    HW_GGUF_BOOL,
    HW_GGUF_STRING,
    HW_GGUF_ARRAY,
    HW_GGUF_U64,
    HW_GGUF_I64,
    HW_GGUF_F64,
};

// Bytes in the mapped file; not NUL-terminated, may hold anything.
struct hw_bytes {
    const char *data;
    size_t n;
};

struct hw_gguf_value {
    const char *key; // NUL-terminated, checked ASCII
    enum hw_gguf_type type;
    enum hw_gguf_type element_type; // of arrays; never ARRAY
    uint64_t n;                     // elements of an array, 1 otherwise
    // First value, little-endian, unaligned; strings: length u64 + bytes each.
    const unsigned char *data;
};

enum hw_status hw_gguf_open(const char *path, struct hw_gguf **ret_gguf, struct hw_error *err);
void hw_gguf_close(struct hw_gguf **gguf);

size_t hw_gguf_n_values(const struct hw_gguf *gguf);
const struct hw_gguf_value *hw_gguf_value(const struct hw_gguf *gguf, size_t i);
// NULL: not there.
const struct hw_gguf_value *hw_gguf_find(const struct hw_gguf *gguf, const char *key);
size_t hw_gguf_n_tensors(const struct hw_gguf *gguf);
const struct hw_tensor *hw_gguf_tensor(const struct hw_gguf *gguf, size_t i);

// Typed access; HW_INPUT names the key, the wanted and the found type. Integers of any width
// convert where the value fits.
enum hw_status hw_gguf_get_u64(const struct hw_gguf *gguf, const char *key, uint64_t *ret,
                               struct hw_error *err);
enum hw_status hw_gguf_get_f64(const struct hw_gguf *gguf, const char *key, double *ret,
                               struct hw_error *err);
enum hw_status hw_gguf_get_bool(const struct hw_gguf *gguf, const char *key, bool *ret,
                                struct hw_error *err);
enum hw_status hw_gguf_get_string(const struct hw_gguf *gguf, const char *key, struct hw_bytes *ret,
                                  struct hw_error *err);
// Element i (< value->n) of an array of numbers (also a scalar with i = 0), and a walk over an
// array of strings: start with *cursor = value->data.
double hw_gguf_number(const struct hw_gguf_value *value, uint64_t i);
int64_t hw_gguf_integer(const struct hw_gguf_value *value, uint64_t i);
struct hw_bytes hw_gguf_next_string(const unsigned char **cursor);

#endif
