// What the analyses have in common as commands: several captures, --out, --json.
//
// A command's struct of options begins where it likes with a struct hw_analysis_options; its table
// has the rows of HW_OPTIONS_ANALYSIS(type, field). Its run() calls hw_analysis_run with a function
// that looks at one capture: it computes, fills report->result, and either prints the text to
// stdout or (under --json) sets report->json.
#ifndef HW_ANALYSIS_COMMAND_H
#define HW_ANALYSIS_COMMAND_H

#include <jansson.h>

#include "formats/result.h"
#include "formats/trace_reader.h"
#include "tools/command.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hw_analysis_options {
    const char *out;
    bool overwrite;
};

#define HW_OPTIONS_ANALYSIS(type, field)                                                           \
    HW_OPTION_GROUP("Result"),                                                                     \
        HW_OPTION_STRING(type, field.out, "out", "FILE.h5", NULL, "Write the result as HDF5."),    \
        HW_OPTION_FLAG(type, field.overwrite, "overwrite", "Replace FILE.h5 where it exists.")

struct hw_analysis_report {
    struct hw_trace *trace;
    struct hw_result *result; // with its source set
    json_t *json; // set under --json; the frame adds "file" and "run_id" where they are missing
    size_t index; // of the capture among n
    size_t n;
};

typedef enum hw_status (*hw_analysis_fn)(struct hw_invocation *in,
                                         struct hw_analysis_report *report, struct hw_error *err);

// Every argument of the command in turn: opened, refused where it is a part of an unfinished run
// (HW_INPUT), shown to `look`. Then --json prints one document ({"runs": [...]} where there are
// several captures) and --out writes one file, stacked over the captures. The output is refused
// before anything is computed where it exists or is one of the captures.
enum hw_status hw_analysis_run(struct hw_invocation *in, const struct hw_analysis_options *options,
                               hw_analysis_fn look, struct hw_error *err);

// The whole result: {"command", options..., "axes": {...}, "arrays": {name: nested lists}}; NaN is
// null. A command may add members, such as "heads", a list that --heads @FILE reads.
json_t *hw_result_json(const struct hw_result *result);

// [{"layer": l, "head": h, "score": s}, ...], the largest score first, ties by layer and head; NaN
// left out. scores [n_layers, n_heads] with the numbers of layers and heads.
json_t *hw_heads_json(const double *scores, const int32_t *layers, size_t n_layers,
                      const int32_t *heads, size_t n_heads);

#ifdef __cplusplus
}
#endif
#endif
