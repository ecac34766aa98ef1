// One table a group, one line a dataset; means have no line of their own.
#include "tools/schema_markdown.h"

#include <string.h>

#include "formats/schema.h"

static void print_axes(FILE *out, const struct hw_schema_row *row) {
    static const char *const elements[] = {"f4", "f2", "u2", "i4", "i8", "u1", "text"};
    (void)fprintf(out, "%s", elements[row->element]);
    for (size_t i = 0; i < row->n_axes; i++) {
        (void)fprintf(out, "%s%s", i == 0 ? "[" : ", ", hw_axis_name(row->axes[i]));
    }
    (void)fprintf(out, "%s", row->n_axes > 0 ? "]" : "");
}

// Text for a cell: bars would end it.
static void print_cell(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        (void)fprintf(out, *text == '|' ? "\\|" : "%c", *text);
    }
}

static void print_row(FILE *out, const struct hw_schema_row *row) {
    (void)fprintf(out, "| `%s`%s | ", row->name, row->has_mean ? " *" : "");
    print_axes(out, row);
    (void)fprintf(out, " | %s | ", row->units);
    print_cell(out, row->description);
    (void)fprintf(out, " | %s%s%s |\n", row->hook[0] != '\0' ? "`" : "", row->hook,
                  row->hook[0] != '\0' ? "`" : "");
}

// Rows of one record in one group.
static void print_record(FILE *out, enum hw_group group, const char *record) {
    if (record[0] == '\0') {
        (void)fprintf(out, "\nWritten by itself:\n\n");
    } else {
        (void)fprintf(out, "\n`--record %s`:\n\n", record);
    }
    (void)fprintf(out,
                  "| name | type and axes | units | what it is | hook |\n|---|---|---|---|---|\n");
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        bool is_mean = i > 0 && hw_schema_row((enum hw_dataset)(i - 1))->has_mean;
        if (row->group == group && !is_mean && strcmp(row->record, record) == 0) {
            print_row(out, row);
        }
    }
}

static bool is_first_of_record(int dataset) {
    const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)dataset);
    for (int i = 0; i < dataset; i++) {
        const struct hw_schema_row *before = hw_schema_row((enum hw_dataset)i);
        if (before->group == row->group && strcmp(before->record, row->record) == 0) {
            return false;
        }
    }
    return true;
}

void hw_schema_markdown(FILE *out) {
    (void)fprintf(out, "# What a capture records\n\n"
                       "Every dataset of a capture file, by group and by the `--record` name that "
                       "writes it. This page is printed from\n"
                       "the table that the program itself uses (`formats/schema_table.h`).\n\n"
                       "Types are little-endian; f2 is IEEE half, u2 a 16-bit integer with "
                       "`scale_factor`, text UTF-8 of variable\n"
                       "length. Maps, activations, vectors and logits may be narrower or wider by "
                       "option. A name with * is a statistic\n"
                       "of every token; its mean over the rows of the prompt is written beside it "
                       "as `<name>_mean` f4[prompt, ...].\n");
    for (int g = 0; g < HW_N_GROUPS; g++) {
        enum hw_group group = (enum hw_group)g;
        (void)fprintf(out, "\n## %s%s\n", g == HW_GROUP_ROOT ? "The root group" : "/",
                      hw_group_name(group));
        for (int i = 0; i < HW_N_DATASETS; i++) {
            if (hw_schema_row((enum hw_dataset)i)->group == group && is_first_of_record(i)) {
                print_record(out, group, hw_schema_row((enum hw_dataset)i)->record);
            }
        }
    }
}
