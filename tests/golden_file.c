// Golden files are safetensors of F64, F32 and I64; every value is read as double.
#include "golden_file.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"

void golden_open(struct golden *golden, const char *path) {
    struct hw_error err = {0};
    size_t header;
    *golden = (struct golden){0};
    ck_assert_msg(hw_filemap_open(path, &golden->map, &err) == HW_OK, "%s", err.message);
    ck_assert_msg(hw_safetensors_read(golden->map, &golden->table, &header, &err) == HW_OK, "%s",
                  err.message);
    ck_assert_int_eq(hw_tensor_table_index(&golden->table, &err), HW_OK);
}

void golden_close(struct golden *golden) {
    hw_tensor_table_free(&golden->table);
    hw_filemap_close(&golden->map);
}

static double value_at(const struct hw_tensor *tensor, size_t i) {
    const unsigned char *data = tensor->data;
    double f64;
    float f32;
    int64_t i64;
    switch (tensor->dtype) {
    case HW_F64:
        memcpy(&f64, data + i * sizeof f64, sizeof f64);
        return f64;
    case HW_F32:
        memcpy(&f32, data + i * sizeof f32, sizeof f32);
        return (double)f32;
    case HW_I64:
        memcpy(&i64, data + i * sizeof i64, sizeof i64);
        return (double)i64;
    default:
        ck_abort_msg("golden tensor %s has type %s", tensor->name, hw_dtype_name(tensor->dtype));
    }
}

static struct golden_tensor read_named(const struct golden *golden, const char *name) {
    struct golden_tensor ret = {0};
    const struct hw_tensor *tensor = hw_tensor_table_find(&golden->table, name);
    if (tensor == NULL) {
        return ret;
    }
    ret.n = tensor->n_values;
    ret.n_dims = tensor->n_dims;
    memcpy(ret.shape, tensor->shape, sizeof ret.shape);
    ret.values = malloc((ret.n + 1) * sizeof *ret.values);
    ck_assert_ptr_nonnull(ret.values);
    for (size_t i = 0; i < ret.n; i++) {
        ret.values[i] = value_at(tensor, i);
    }
    return ret;
}

struct golden_tensor golden_read(const struct golden *golden, const char *name, ...) {
    char text[128];
    va_list args;
    va_start(args, name);
    vsnprintf(text, sizeof text, name, args);
    va_end(args);
    return read_named(golden, text);
}

void golden_free(struct golden_tensor *tensor) {
    free(tensor->values);
    *tensor = (struct golden_tensor){0};
}

double golden_number(const struct golden *golden, const char *name, ...) {
    char text[128];
    va_list args;
    va_start(args, name);
    vsnprintf(text, sizeof text, name, args);
    va_end(args);
    struct golden_tensor tensor = read_named(golden, text);
    ck_assert_msg(tensor.n == 1, "golden %s has %zu values", text, tensor.n);
    double value = tensor.values[0];
    golden_free(&tensor);
    return value;
}

enum { N_LEFT_OUT = 8, MAX_WIDTH = 65536 };

// Marks the n_left_out largest magnitudes; ties: the first.
static void leave_out(const double *want, size_t width, size_t n_left_out, bool *is_left_out) {
    memset(is_left_out, 0, width * sizeof *is_left_out);
    for (size_t n = 0; n < n_left_out; n++) {
        size_t best = width;
        for (size_t c = 0; c < width; c++) {
            if (!is_left_out[c] && (best == width || fabs(want[c]) > fabs(want[best]))) {
                best = c;
            }
        }
        is_left_out[best] = true;
    }
}

double golden_row_error(const double *want, const float *got, size_t width) {
    static bool is_left_out[MAX_WIDTH];
    ck_assert_uint_le(width, MAX_WIDTH);
    leave_out(want, width, width - 1 < N_LEFT_OUT ? width - 1 : N_LEFT_OUT, is_left_out);
    double difference = 0.0;
    double norm = 0.0;
    for (size_t c = 0; c < width; c++) {
        double d = (double)got[c] - want[c];
        if (!isfinite(got[c])) {
            return INFINITY;
        }
        difference += is_left_out[c] ? 0.0 : d * d;
        norm += is_left_out[c] ? 0.0 : want[c] * want[c];
    }
    return sqrt(difference) / fmax(sqrt(norm), DBL_MIN);
}

double golden_absolute_error(const double *want, const float *got, size_t n) {
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i])) {
            return INFINITY;
        }
        largest = fmax(largest, fabs((double)got[i] - want[i]));
    }
    return largest;
}
