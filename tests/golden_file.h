// A golden file (tests/golden/README.md): its tensors by name, as double, and its rule of
// comparison.
#ifndef HW_GOLDEN_FILE_H
#define HW_GOLDEN_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/filemap.h"
#include "formats/tensor_table.h"

struct golden {
    struct hw_filemap *map;
    struct hw_tensor_table table;
};

struct golden_tensor {
    double *values; // NULL where the file lacks the tensor
    size_t n;
    size_t n_dims;
    size_t shape[HW_MAX_DIMS];
};

// Asserts that the file is there and whole.
void golden_open(struct golden *golden, const char *path);
void golden_close(struct golden *golden);

// The tensor of that name (printf), which golden_free frees.
struct golden_tensor golden_read(const struct golden *golden, const char *name, ...)
    __attribute__((format(printf, 2, 3)));
void golden_free(struct golden_tensor *tensor);
// A tensor of one value, which must be there.
double golden_number(const struct golden *golden, const char *name, ...)
    __attribute__((format(printf, 2, 3)));

// |got - want| / |want| of one row, the 8 channels that are largest in want left out; infinity
// where got is not a number.
double golden_row_error(const double *want, const float *got, size_t width);
// Largest |got - want|; infinity where got is not a number.
double golden_absolute_error(const double *want, const float *got, size_t n);

#endif
