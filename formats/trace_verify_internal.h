// Inside of verify: the walk (trace_verify.c), columns and statistics (trace_verify_rows.c), maps
// and vectors (trace_verify_maps.c).
#ifndef HW_TRACE_VERIFY_INTERNAL_H
#define HW_TRACE_VERIFY_INTERNAL_H

#include "formats/trace_reader.h"
#include "formats/trace_verify.h"

struct hw_verify {
    struct hw_trace *trace;
    struct hw_verify_report *report;
    bool has_edits;
    const struct hw_verify_edits *edits; // NULL where has_edits: not known
};

// The line of that name, made where it is not there.
struct hw_verify_line *hw_verify_line(struct hw_verify *verify, const char *name);
// Notes one check: |found - expected| against what is allowed. HW_WRONG where it is more or not a
// number; the place is printed from the format.
enum hw_status hw_verify_check(struct hw_verify_line *line, double found, double expected,
                               double allowed, struct hw_error *err, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

// Whether edits break an identity there, by the numbers of layer and head in the model; counted.
enum hw_edited { HW_EDITED_PATTERN, HW_EDITED_MIX, HW_EDITED_RESIDUAL };
bool hw_verify_is_edited(struct hw_verify *verify, enum hw_edited what, int32_t layer,
                         int32_t head);

enum hw_status hw_verify_columns(struct hw_verify *verify, struct hw_error *err);
enum hw_status hw_verify_statistics(struct hw_verify *verify, struct hw_error *err);
enum hw_status hw_verify_maps(struct hw_verify *verify, struct hw_error *err);
enum hw_status hw_verify_means(struct hw_verify *verify, struct hw_error *err);
enum hw_status hw_verify_residual(struct hw_verify *verify, struct hw_error *err);

#endif
