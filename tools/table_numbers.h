// Cells of numbers that may be missing, and tables that may be empty.
#ifndef HW_TABLE_NUMBERS_H
#define HW_TABLE_NUMBERS_H

#include <stddef.h>

#include "analysis/mean.h"
#include "tools/table.h"

#ifdef __cplusplus
extern "C" {
#endif

// format has one conversion of a double: "0.87"; "-" for NaN and infinities.
void hw_table_number(struct hw_table *table, const char *format, double value);
void hw_table_mean(struct hw_table *table, const char *format, const struct hw_mean *mean);

// Prints the table, or "none" where it has no rows, and closes it.
enum hw_status hw_table_end(struct hw_table **table, size_t n_rows, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
