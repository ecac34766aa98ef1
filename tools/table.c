// Text tables; see table.h. All cells lie one after another in one block of text.
#include "tools/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <utf8proc.h>

#include "kernels/size.h"

enum { MAX_TABLE_COLUMNS = 24, SHORT_CELL = 256, GAP = 2, MIN_CUT = 8 };

struct column {
    char name[64];
    bool is_left;
    bool is_cut;
};

struct hw_table {
    struct column columns[MAX_TABLE_COLUMNS];
    size_t n_columns;
    char *text; // cells, each with its NUL
    size_t n_bytes;
    size_t capacity;
    size_t n_cells;
    bool is_incomplete;
};

int hw_text_columns(const char *text) {
    int columns = 0;
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    while (*at != '\0') {
        utf8proc_int32_t code;
        utf8proc_ssize_t n = utf8proc_iterate(at, -1, &code);
        if (n <= 0) {
            at++;
            columns++;
            continue;
        }
        columns += utf8proc_charwidth(code);
        at += n;
    }
    return columns;
}

int hw_terminal_columns(int descriptor) {
    struct winsize size = {0};
    if (descriptor < 0 || isatty(descriptor) == 0) {
        return 0;
    }
    bool is_known = ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return is_known ? size.ws_col : HW_TABLE_COLUMNS;
}

struct hw_table *hw_table_open(const char *columns) {
    struct hw_table *table = calloc(1, sizeof *table);
    while (table != NULL && *columns != '\0' && table->n_columns < MAX_TABLE_COLUMNS) {
        struct column *column = &table->columns[table->n_columns++];
        column->is_left = *columns == '<';
        columns += *columns == '<' || *columns == '>';
        column->is_cut = *columns == '~';
        columns += *columns == '~';
        size_t n = strcspn(columns, "|");
        memcpy(column->name, columns, hw_size_min(n, sizeof column->name - 1));
        columns += n + (columns[n] == '|');
    }
    return table;
}

void hw_table_close(struct hw_table **table) {
    if (table != NULL && *table != NULL) {
        free((*table)->text);
        free(*table);
        *table = NULL;
    }
}

// Room for `bytes` more; false, and the table incomplete, where there is none.
static bool make_room(struct hw_table *table, size_t bytes) {
    if (bytes <= table->capacity - table->n_bytes) {
        return true;
    }
    size_t capacity = hw_size_max(4096, hw_size_max(table->n_bytes + bytes, table->capacity * 2));
    char *text = table->n_cells < HW_TABLE_MAX_CELLS ? realloc(table->text, capacity) : NULL;
    if (text == NULL) {
        table->is_incomplete = true;
        return false;
    }
    table->text = text;
    table->capacity = capacity;
    return true;
}

void hw_table_cell(struct hw_table *table, const char *format, ...) {
    char short_text[SHORT_CELL];
    char *long_text = NULL;
    if (table == NULL || table->is_incomplete) {
        return;
    }
    va_list args;
    va_start(args, format);
    int n = vsnprintf(short_text, sizeof short_text, format, args);
    va_end(args);
    if (n >= (int)sizeof short_text) {
        va_start(args, format);
        n = vasprintf(&long_text, format, args);
        va_end(args);
    }
    size_t escaped_bytes = n < 0 ? 0 : 4 * (size_t)n + 1; // hw_escape makes four of one at most
    if (n < 0 || !make_room(table, escaped_bytes)) {
        table->is_incomplete = true;
        free(long_text);
        return;
    }
    char *cell = table->text + table->n_bytes;
    (void)hw_escape(cell, escaped_bytes, long_text != NULL ? long_text : short_text, (size_t)n);
    free(long_text);
    table->n_bytes += strlen(cell) + 1;
    table->n_cells++;
}

// Bytes of text that fill at most `columns` columns; *ret_columns is what they fill.
static size_t cut_length(const char *text, int columns, int *ret_columns) {
    size_t at = 0;
    int used = 0;
    while (text[at] != '\0') {
        utf8proc_int32_t code;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at, -1, &code);
        int width = n > 0 ? utf8proc_charwidth(code) : 1;
        if (used + width > columns) {
            break;
        }
        used += width;
        at += n > 0 ? (size_t)n : 1;
    }
    *ret_columns = used;
    return at;
}

static void print_cell(FILE *out, const struct column *column, const char *text, int width,
                       bool is_page, bool is_last) {
    int used = hw_text_columns(text);
    size_t n = strlen(text);
    const char *ellipsis = "";
    if (used > width && is_page) {
        n = cut_length(text, width - 1, &used);
        used++;
        ellipsis = "\xe2\x80\xa6"; // one column wide
    }
    int padding = used > width ? 0 : width - used;
    if (column->is_left) {
        (void)fprintf(out, "%.*s%s%*s", (int)n, text, ellipsis, is_last ? 0 : padding, "");
    } else {
        (void)fprintf(out, "%*s%.*s%s", padding, "", (int)n, text, ellipsis);
    }
}

// Widths that fit a page of that many columns (0: no page), cutting the widest column that may be
// cut first.
static void fit_widths(const struct hw_table *table, int indent, int page, int *widths) {
    const char *cell = table->text;
    for (size_t i = 0; i < table->n_columns; i++) {
        widths[i] = hw_text_columns(table->columns[i].name);
    }
    for (size_t i = 0; i < table->n_cells; i++) {
        int columns = hw_text_columns(cell);
        if (columns > widths[i % table->n_columns] &&
            (page > 0 || columns <= HW_TABLE_MAX_PADDED)) {
            widths[i % table->n_columns] = columns;
        }
        cell += strlen(cell) + 1;
    }
    int total = indent - GAP;
    for (size_t i = 0; i < table->n_columns; i++) {
        total += widths[i] + GAP;
    }
    while (page > 0 && total > page) {
        size_t widest = table->n_columns;
        for (size_t i = 0; i < table->n_columns; i++) {
            if (table->columns[i].is_cut && widths[i] > MIN_CUT &&
                (widest == table->n_columns || widths[i] > widths[widest])) {
                widest = i;
            }
        }
        if (widest == table->n_columns) {
            return; // nothing left to cut: a wide line is better than a wrong one
        }
        widths[widest]--;
        total--;
    }
}

enum hw_status hw_table_print(const struct hw_table *table, FILE *out, int indent,
                              struct hw_error *err) {
    int widths[MAX_TABLE_COLUMNS];
    if (table == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a table");
    }
    int page = hw_terminal_columns(fileno(out));
    fit_widths(table, indent, page, widths);
    (void)fprintf(out, "%*s", indent, "");
    for (size_t i = 0; i < table->n_columns; i++) {
        print_cell(out, &table->columns[i], table->columns[i].name, widths[i], page > 0,
                   i + 1 == table->n_columns);
        (void)fputs(i + 1 == table->n_columns ? "\n" : "  ", out);
    }
    const char *cell = table->text;
    for (size_t i = 0; i < table->n_cells; i++) {
        size_t column = i % table->n_columns;
        bool is_last = column + 1 == table->n_columns || i + 1 == table->n_cells;
        if (column == 0) {
            (void)fprintf(out, "%*s", indent, "");
        }
        print_cell(out, &table->columns[column], cell, widths[column], page > 0, is_last);
        (void)fputs(is_last ? "\n" : "  ", out);
        cell += strlen(cell) + 1;
    }
    if (table->is_incomplete) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a table of more than %zu cells",
                       table->n_cells);
    }
    return HW_OK;
}
