// Arrays of means and rows of structs into results; see result_fill.h.
#include "tools/result_fill.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/size.h"
#include "tools/report.h"

enum hw_status hw_result_add_means(struct hw_result *result, const struct hw_result_field *field,
                                   const struct hw_mean *means, size_t n, double factor,
                                   struct hw_error *err) {
    if (means == NULL) {
        return HW_OK;
    }
    double *values = calloc(hw_size_max(n, 1), sizeof *values);
    double *errors = calloc(hw_size_max(n, 1), sizeof *errors);
    int64_t *counts = calloc(hw_size_max(n, 1), sizeof *counts);
    enum hw_status status = HW_OK;
    if (values == NULL || errors == NULL || counts == NULL) {
        status =
            hw_fail(err, HW_RESOURCE, "not enough memory for %zu values of %s", n, field->name);
    } else {
        for (size_t i = 0; i < n; i++) {
            values[i] = factor * hw_mean_value(&means[i]);
            errors[i] = factor * hw_mean_se(&means[i]);
            counts[i] = (int64_t)means[i].n;
        }
        hw_result_add_mean(result, field, values, errors, counts);
    }
    free(values);
    free(errors);
    free(counts);
    return status;
}

static double real_of(const struct hw_column *column, const char *row) {
    const char *at = row + column->offset;
    return column->kind == HW_COLUMN_MEAN ? hw_mean_value((const struct hw_mean *)at)
                                          : *(const double *)at;
}

static int64_t integer_of(const struct hw_column *column, const char *row) {
    const char *at = row + column->offset;
    switch (column->kind) {
    case HW_COLUMN_INT:
        return *(const int32_t *)at;
    case HW_COLUMN_COUNT:
        return (int64_t) * (const size_t *)at;
    default:
        return *(const bool *)at;
    }
}

static const char *text_of(const struct hw_column *column, const char *row) {
    return *(const char *const *)(row + column->offset);
}

static enum hw_result_type type_of(const struct hw_column *column) {
    return column->kind == HW_COLUMN_TEXT                                     ? HW_RESULT_TEXT
           : column->kind == HW_COLUMN_REAL || column->kind == HW_COLUMN_MEAN ? HW_RESULT_REAL
                                                                              : HW_RESULT_INTEGER;
}

static void add_column(struct hw_result *result, const char *table, const char *rows, size_t n,
                       size_t row_bytes, const struct hw_column *column, void *values) {
    char name[128];
    struct hw_result_field field = {.name = name,
                                    .type = type_of(column),
                                    .axes = {table},
                                    .long_name = column->long_name,
                                    .units = column->units,
                                    .description = column->description};
    (void)snprintf(name, sizeof name, "%s_%s", table, column->name);
    for (size_t i = 0; i < n; i++) {
        const char *row = rows + i * row_bytes;
        if (field.type == HW_RESULT_REAL) {
            ((double *)values)[i] = real_of(column, row);
        } else if (field.type == HW_RESULT_TEXT) {
            ((const char **)values)[i] = text_of(column, row);
        } else {
            ((int64_t *)values)[i] = integer_of(column, row);
        }
    }
    hw_result_add(result, &field, values);
}

enum hw_status hw_result_add_table(struct hw_result *result, const char *table, const void *rows,
                                   size_t n, size_t row_bytes, const struct hw_column *columns,
                                   size_t n_columns, struct hw_error *err) {
    int64_t *values = calloc(hw_size_max(n, 1), sizeof *values); // as large as any column's value
    if (values == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu rows of %s", n, table);
    }
    hw_result_axis(result, table, n, NULL, NULL, "rows of the table");
    for (size_t c = 0; c < n_columns; c++) {
        add_column(result, table, rows, n, row_bytes, &columns[c], values);
    }
    free(values);
    return HW_OK;
}

json_t *hw_columns_json(const void *row, const struct hw_column *columns, size_t n_columns) {
    json_t *object = json_object();
    for (size_t c = 0; c < n_columns; c++) {
        const struct hw_column *column = &columns[c];
        json_t *value = type_of(column) == HW_RESULT_REAL   ? hw_json_real(real_of(column, row))
                        : type_of(column) == HW_RESULT_TEXT ? hw_json_text(text_of(column, row))
                        : column->kind == HW_COLUMN_BOOL
                            ? json_boolean(integer_of(column, row) != 0)
                            : json_integer((json_int_t)integer_of(column, row));
        (void)json_object_set_new(object, column->name, value);
    }
    return object;
}
