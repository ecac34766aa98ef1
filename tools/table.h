// Text tables for results: aligned columns, as wide as the terminal. In a pipe or a file nothing is
// cut, and a cell of more than HW_TABLE_MAX_PADDED columns moves the rest of its line instead of
// widening every line.
//
// Columns are given by one text: names between bars; `<` in front aligns left, `>` right (the
// default); `~` after it marks the column that is cut, with an ellipsis, where the table would be
// wider than the terminal. Cells are UTF-8; hidden characters in them are shown as hw_escape does.
// A table that ran out of memory prints what it has and says so in its status.
#ifndef HW_TABLE_H
#define HW_TABLE_H

#include <stdio.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_TABLE_COLUMNS = 80, HW_TABLE_MAX_CELLS = 4000000, HW_TABLE_MAX_PADDED = 200 };

struct hw_table;

// For example "<name|>layers|<~text". NULL where there is no memory; every call accepts that.
struct hw_table *hw_table_open(const char *columns);
void hw_table_close(struct hw_table **table);

// Adds the next cell, row by row.
void hw_table_cell(struct hw_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Prints the heading and the rows, each line with `indent` blanks in front. HW_RESOURCE where cells
// were lost.
enum hw_status hw_table_print(const struct hw_table *table, FILE *out, int indent,
                              struct hw_error *err);

// Columns that a terminal needs for UTF-8 text: wide characters count two, combining ones none.
int hw_text_columns(const char *text);

// Columns of the terminal behind a file descriptor, HW_TABLE_COLUMNS where it does not say; 0: no
// terminal.
int hw_terminal_columns(int descriptor);

#ifdef __cplusplus
}
#endif
#endif
