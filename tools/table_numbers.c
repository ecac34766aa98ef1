// Cells of numbers that may be missing; see table_numbers.h.
#include "tools/table_numbers.h"

#include <math.h>
#include <stdio.h>

void hw_table_number(struct hw_table *table, const char *format, double value) {
    char text[32];
    (void)snprintf(text, sizeof text, format, value);
    hw_table_cell(table, "%s", isfinite(value) ? text : "-");
}

void hw_table_mean(struct hw_table *table, const char *format, const struct hw_mean *mean) {
    hw_table_number(table, format, hw_mean_value(mean));
}

enum hw_status hw_table_end(struct hw_table **table, size_t n_rows, struct hw_error *err) {
    enum hw_status status = n_rows > 0 ? hw_table_print(*table, stdout, 2, err) : HW_OK;
    hw_table_close(table);
    if (n_rows == 0) {
        (void)fputs("  none\n", stdout);
    }
    return status;
}
