// What analyses compute as arrays of means and as rows of structs, into results and JSON.
#ifndef HW_RESULT_FILL_H
#define HW_RESULT_FILL_H

#include <jansson.h>
#include <stddef.h>

#include "analysis/mean.h"
#include "formats/result.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// <name>, <name>_se and <name>_n over the field's axes, in which n means stand; values and errors
// are multiplied by `factor` (1, or 100 where the field is in percent). NULL means: nothing is
// added. HW_RESOURCE.
enum hw_status hw_result_add_means(struct hw_result *result, const struct hw_result_field *field,
                                   const struct hw_mean *means, size_t n, double factor,
                                   struct hw_error *err);

enum hw_column_kind {
    HW_COLUMN_REAL,  // double
    HW_COLUMN_INT,   // int32_t
    HW_COLUMN_COUNT, // size_t
    HW_COLUMN_BOOL,
    HW_COLUMN_TEXT, // char *
    HW_COLUMN_MEAN  // struct hw_mean, its value
};

// A member of a struct as a column of a table.
struct hw_column {
    const char *name;
    enum hw_column_kind kind;
    size_t offset; // of the member
    const char *long_name;
    const char *units;
    const char *description;
};

// A dimension `table` and one array <table>_<name> over it for each column. rows: n structs of
// row_bytes. HW_RESOURCE.
enum hw_status hw_result_add_table(struct hw_result *result, const char *table, const void *rows,
                                   size_t n, size_t row_bytes, const struct hw_column *columns,
                                   size_t n_columns, struct hw_error *err);

// One row as an object {name: value}; NaN is null.
json_t *hw_columns_json(const void *row, const struct hw_column *columns, size_t n_columns);

#ifdef __cplusplus
}
#endif
#endif
