// Inside of a result: result.c (building), result_stack.c, result_file.c (writing).
#ifndef HW_RESULT_INTERNAL_H
#define HW_RESULT_INTERNAL_H

#include "formats/result.h"

struct result_axis {
    const char *name;
    size_t n;
    const int32_t *numbers;
    const char *const *texts;
    const char *long_name;
};

struct result_array {
    struct hw_result_field field; // its texts are the result's
    size_t n_axes;
    size_t axes[HW_RESULT_MAX_AXES]; // indices of result->axes
    size_t n_values;
    const void *values;
};

struct result_attribute {
    const char *name;
    enum hw_result_type type;
    const char *text;
    double real;
    int64_t integer;
};

struct hw_result {
    const char *command;
    struct result_axis *axes;
    size_t n_axes;
    struct result_array *arrays;
    size_t n_arrays;
    struct result_attribute *attributes;
    size_t n_attributes;
    const char *label; // of the run axis
    void **owned;      // every block that the rest points to
    size_t n_owned;
    size_t owned_capacity;
    enum hw_status status; // of the first failure
    struct hw_error failure;
};

// Zeroed memory that lives as long as the result; NULL, and the result has failed, without it.
void *hw_result_take(struct hw_result *result, size_t n, size_t element_bytes);
const char *hw_result_copy_text(struct hw_result *result, const char *text);
// Index of the axis, or SIZE_MAX.
size_t hw_result_find_axis(const struct hw_result *result, const char *name);
size_t hw_result_value_bytes(enum hw_result_type type);

#endif
