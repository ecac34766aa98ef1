// A result of an analysis: named arrays over named axes with what a reader must know about them,
// written as HDF5 by the same rules as captures, and stacked over several captures.
//
// A result remembers its first failure (memory, two values for one name): later additions do
// nothing, and hw_result_status, _stack and _write return it. So additions need no checks.
#ifndef HW_RESULT_H
#define HW_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/trace_reader.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_RESULT_MAX_AXES = 6 };

enum hw_result_type {
    HW_RESULT_REAL,    // double; f8 in the file, NaN where there is no value
    HW_RESULT_INTEGER, // int64_t; i8
    HW_RESULT_TEXT     // const char *; vstr
};

struct hw_result;

// What an array is called and means; all texts are copied.
struct hw_result_field {
    const char *name;
    enum hw_result_type type;
    const char *axes[HW_RESULT_MAX_AXES]; // names, in C order; the rest NULL. None: a scalar
    const char *long_name;
    const char *units;       // "1", "nat", "token", ...
    const char *description; // one sentence with the formula
};

// HW_RESOURCE. `command` is the command's name: "sinks".
enum hw_status hw_result_open(const char *command, struct hw_result **ret_result,
                              struct hw_error *err);
void hw_result_close(struct hw_result **result);

// An axis of n values with its coordinate: numbers or texts (copied); both NULL: a dimension only,
// for the rows of a table.
void hw_result_axis(struct hw_result *result, const char *name, size_t n, const int32_t *numbers,
                    const char *const *texts, const char *long_name);

// An array over axes added before; values (copied) as the type says.
void hw_result_add(struct hw_result *result, const struct hw_result_field *field,
                   const void *values);
// A mean with <name>_se, its standard error, and <name>_n, how many values it is the mean of; all
// over the field's axes.
void hw_result_add_mean(struct hw_result *result, const struct hw_result_field *field,
                        const double *mean, const double *se, const int64_t *n);

// Attributes of the file: the options used, and what else describes the whole.
void hw_result_set_text(struct hw_result *result, const char *name, const char *value);
void hw_result_set_real(struct hw_result *result, const char *name, double value);
void hw_result_set_integer(struct hw_result *result, const char *name, int64_t value);

// source_run_id, source_files, model_name and the labels of the capture; what the run axis shows.
enum hw_status hw_result_set_source(struct hw_result *result, struct hw_trace *trace,
                                    struct hw_error *err);

// HW_OK, or the first failure.
enum hw_status hw_result_status(const struct hw_result *result, struct hw_error *err);

// Several results of one command as one: axes with a coordinate must be equal and the arrays over
// them gain a leading axis `run` (labels as coordinate); prompts and positions are padded to the
// longest with NaN, -1 and ""; numbers that describe a whole result and differ become arrays over
// the runs; tables (arrays over a dimension only) are put one below the other with a
// column <axis>_run. HW_INPUT names the axis that differs.
enum hw_status hw_result_stack(struct hw_result *const *results, size_t n,
                               struct hw_result **ret_result, struct hw_error *err);

// Writes the file in one step (a temporary beside it, synced, renamed). HW_OUTPUT where it cannot
// be written, or exists and is not to be replaced.
enum hw_status hw_result_write(const struct hw_result *result, const char *path, bool is_replaced,
                               struct hw_error *err);

// Whether the file says that it is a result; false where it cannot be opened.
bool hw_result_is_file(const char *path);
// A result file: axes, arrays with name, type, axes and long_name, and where it comes from.
// HW_INPUT where it is none, or broken.
enum hw_status hw_result_read(const char *path, struct hw_result **ret_result,
                              struct hw_error *err);

// Looking at it, in the order of addition.
struct hw_result_axis_view {
    const char *name;
    size_t n;
    const int32_t *numbers;   // NULL where the coordinate is text or there is none
    const char *const *texts; // likewise
    const char *long_name;
};
struct hw_result_array_view {
    struct hw_result_field field;
    size_t n_axes;
    size_t dims[HW_RESULT_MAX_AXES];
    size_t n_values;
    const void *values;
};
struct hw_result_attribute_view {
    const char *name;
    enum hw_result_type type;
    const char *text;
    double real;
    int64_t integer;
};
const char *hw_result_command(const struct hw_result *result);
size_t hw_result_n_axes(const struct hw_result *result);
struct hw_result_axis_view hw_result_axis_at(const struct hw_result *result, size_t i);
size_t hw_result_n_arrays(const struct hw_result *result);
struct hw_result_array_view hw_result_array_at(const struct hw_result *result, size_t i);
size_t hw_result_n_attributes(const struct hw_result *result);
struct hw_result_attribute_view hw_result_attribute_at(const struct hw_result *result, size_t i);

#ifdef __cplusplus
}
#endif
#endif
