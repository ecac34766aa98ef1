// headwater verify: whether a capture is whole and its numbers agree with each other.
#include <inttypes.h>
#include <stdio.h>

#include "analysis/trace_edits.h"
#include "formats/trace_verify.h"
#include "tools/command.h"
#include "tools/report.h"
#include "tools/table.h"

// The edits of a capture that was made of a changed model.
struct edits {
    struct hw_trace_edits *edits;
    char unknown[HW_ERROR_BYTES]; // why they cannot be read; "": they can
};

static json_t *report_json(const char *path, enum hw_status status, const struct edits *edits,
                           const struct hw_verify_report *report, const char *message) {
    json_t *specs = json_array();
    for (size_t i = 0; i < hw_trace_edits_n(edits->edits); i++) {
        (void)json_array_append_new(specs, hw_json_text(hw_trace_edits_spec(edits->edits, i)));
    }
    json_t *lines = json_array();
    for (size_t i = 0; i < report->n_lines; i++) {
        const struct hw_verify_line *line = &report->lines[i];
        (void)json_array_append_new(lines, json_pack("{s:s, s:I, s:o, s:o}", "name", line->name,
                                                     "checked", (json_int_t)line->n_checked,
                                                     "worst", hw_json_real(line->worst), "place",
                                                     hw_json_text(line->place)));
    }
    return json_pack("{s:o, s:b, s:o, s:I, s:o, s:o, s:I}", "file", hw_json_text(path), "ok",
                     status == HW_OK, "message",
                     status == HW_OK ? json_null() : hw_json_text(message), "values_read",
                     (json_int_t)report->n_values_read, "checks", lines, "edits", specs, "left_out",
                     (json_int_t)report->n_left_out);
}

static void print_edits(const struct edits *edits, const struct hw_verify_report *report) {
    if (edits->unknown[0] != '\0') {
        hw_print_line("%s; what edits can break was not demanded", edits->unknown);
    }
    for (size_t i = 0; i < hw_trace_edits_n(edits->edits); i++) {
        hw_print_line("edit %s", hw_trace_edits_spec(edits->edits, i));
    }
    if (report->n_left_out > 0) {
        hw_print_line("%" PRIu64
                      " identities of heads and blocks that edits break were not demanded",
                      report->n_left_out);
    }
}

static enum hw_status print_report(const struct edits *edits, const struct hw_verify_report *report,
                                   struct hw_error *err) {
    struct hw_table *table = hw_table_open("<check|places|worst|<~where");
    for (size_t i = 0; i < report->n_lines; i++) {
        const struct hw_verify_line *line = &report->lines[i];
        hw_table_cell(table, "%s", line->name);
        hw_table_cell(table, "%" PRIu64, line->n_checked);
        hw_table_cell(table, "%.3g", line->worst);
        hw_table_cell(table, "%s", line->place);
    }
    enum hw_status status = hw_table_print(table, stdout, 0, err);
    hw_table_close(&table);
    (void)printf("\n%" PRIu64 " values read; worst: share of the error that is allowed there\n",
                 report->n_values_read);
    print_edits(edits, report);
    return status;
}

// A capture that cannot be opened is left to verify, which says why.
static void open_edits(const char *path, struct edits *ret_edits) {
    struct hw_trace *trace = NULL;
    struct hw_error err = {HW_OK, ""};
    if (hw_trace_open(path, &trace, NULL) != HW_OK) {
        return;
    }
    if (hw_trace_edits_open(trace, &ret_edits->edits, &err) != HW_OK) {
        (void)snprintf(ret_edits->unknown, sizeof ret_edits->unknown, "%s", err.message);
    }
    hw_trace_close(&trace);
}

static enum hw_status verify(const struct hw_invocation *in, const struct edits *edits,
                             struct hw_error *err) {
    const char *path = in->arguments[0];
    static struct hw_verify_report report;
    struct hw_error found = {HW_OK, ""};
    enum hw_status status =
        hw_trace_verify(path, hw_trace_edits_verify(edits->edits), &report, &found);
    if (status != HW_OK && status != HW_WRONG) {
        return hw_fail(err, status, "%s", found.message);
    }
    enum hw_status printed = HW_OK;
    if (in->common.json) {
        printed = hw_json_print(report_json(path, status, edits, &report, found.message), err);
    } else if (!in->common.quiet) {
        printed = print_report(edits, &report, err);
    }
    if (printed != HW_OK) {
        return printed;
    }
    if (status == HW_WRONG) {
        return hw_fail(err, HW_WRONG, "%s", found.message);
    }
    if (!in->common.json && !in->common.quiet) {
        hw_print_line("%s: all of it holds", path);
    }
    return HW_OK;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    struct edits edits = {0};
    open_edits(in->arguments[0], &edits);
    enum hw_status status = verify(in, &edits, err);
    hw_trace_edits_close(&edits.edits);
    return status;
}

const struct hw_command hw_command_verify = {
    .name = "verify",
    .summary = "check that a capture is whole and agrees with itself",
    .arguments = "RUN.h5",
    .min_arguments = 1,
    .max_arguments = 1,
    .description =
        "Reads every value. Checks the structure against the schema, the hashes of parts, and what "
        "must hold between the numbers: columns agree, means are means, rows of maps sum to "
        "attention_row_sum, pattern @ v = z where both are there, the residual adds up. Of a "
        "capture under --edit, what its edits break is not demanded, and said. Exit code "
        "1 and the place where something does not hold; --quiet leaves only that.",
    .examples = "headwater verify run.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET,
    .run = run,
};
