// The walk of verify, and reading everything.
#include "formats/trace_verify.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/prompt_rows.h"
#include "formats/trace_reader_internal.h"
#include "formats/trace_verify_internal.h"
#include "kernels/attention.h"
#include "kernels/size.h"

enum { BLOCK_BYTES = 4 << 20, BLOCK_STRINGS = 65536 };

struct hw_verify_line *hw_verify_line(struct hw_verify *verify, const char *name) {
    struct hw_verify_report *report = verify->report;
    for (size_t i = 0; i < report->n_lines; i++) {
        if (strcmp(report->lines[i].name, name) == 0) {
            return &report->lines[i];
        }
    }
    struct hw_verify_line *line =
        &report->lines[report->n_lines < HW_VERIFY_LINES ? report->n_lines++ : HW_VERIFY_LINES - 1];
    *line = (struct hw_verify_line){.name = name, .place = "-"};
    return line;
}

enum hw_status hw_verify_check(struct hw_verify_line *line, double found, double expected,
                               double allowed, struct hw_error *err, const char *format, ...) {
    double share = fabs(found - expected) / allowed;
    line->n_checked++;
    if (found == expected || share <= line->worst) {
        return HW_OK;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line->place, sizeof line->place, format, args);
    va_end(args);
    line->worst = share;
    if (share <= 1) { // NaN is not
        return HW_OK;
    }
    return hw_fail(err, HW_WRONG, "%s: %s: expected %.9g within %.3g, found %.9g", line->name,
                   line->place, expected, allowed, found);
}

// Every stored value once, so that what cannot be decompressed is found.
static enum hw_status read_numbers(struct hw_verify *verify, enum hw_dataset dataset,
                                   struct hw_error *err) {
    struct hw_trace *trace = verify->trace;
    size_t n_rows = hw_trace_n_rows(trace, dataset), n_inner = hw_trace_n_inner(trace, dataset);
    enum hw_element element = hw_layout_element(hw_trace_layout(trace), dataset);
    size_t row_bytes = hw_size_max(1, n_inner * hw_element_bytes(element));
    size_t block = hw_size_min(hw_size_max(1, BLOCK_BYTES / row_bytes), hw_size_max(1, n_rows));
    void *rows = malloc(block * row_bytes);
    enum hw_status status =
        rows != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for %zu rows", block);
    for (size_t slab = 0; slab < hw_trace_n_slabs(trace, dataset); slab++) {
        for (size_t at = 0; at < n_rows && status == HW_OK; at += block) {
            size_t n = hw_size_min(block, n_rows - at);
            status = hw_trace_read_raw(trace, dataset, slab, at, n, rows, err);
            verify->report->n_values_read += n * n_inner;
        }
    }
    free(rows);
    return status;
}

static enum hw_status read_texts(struct hw_verify *verify, enum hw_dataset dataset,
                                 struct hw_error *err) {
    size_t n_rows = hw_trace_n_rows(verify->trace, dataset);
    enum hw_status status = HW_OK;
    for (size_t at = 0; at < n_rows && status == HW_OK; at += BLOCK_STRINGS) {
        size_t n = hw_size_min(BLOCK_STRINGS, n_rows - at);
        char **texts = NULL;
        status = hw_trace_read_text(verify->trace, dataset, at, n, &texts, err);
        if (status == HW_OK) {
            hw_trace_free_text(texts, n);
            verify->report->n_values_read += n;
        }
    }
    return status;
}

static enum hw_status read_everything(struct hw_verify *verify, struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        // Maps are read tile by tile where they are checked.
        if (hw_trace_has(verify->trace, dataset) && !hw_dataset_is_map(dataset)) {
            bool is_text =
                hw_layout_element(hw_trace_layout(verify->trace), dataset) == HW_ELEMENT_VSTR;
            status =
                is_text ? read_texts(verify, dataset, err) : read_numbers(verify, dataset, err);
        }
    }
    return status;
}

// Identities of the unchanged model do not hold under edits.
static enum hw_status look_for_edits(struct hw_verify *verify, struct hw_error *err) {
    char **texts = NULL;
    if (!hw_trace_has(verify->trace, HW_DS_PROVENANCE_EDITS_JSON)) {
        return HW_OK;
    }
    enum hw_status status =
        hw_trace_read_text(verify->trace, HW_DS_PROVENANCE_EDITS_JSON, 0, 1, &texts, err);
    if (status == HW_OK) {
        verify->has_edits =
            strcmp(texts[0], "[]") != 0 && strcmp(texts[0], "null") != 0 && texts[0][0] != '\0';
        hw_trace_free_text(texts, 1);
    }
    return status;
}

bool hw_verify_is_edited(struct hw_verify *verify, enum hw_edited what, int32_t layer,
                         int32_t head) {
    const struct hw_verify_edits *edits = verify->edits;
    bool is_edited = verify->has_edits;
    if (is_edited && edits != NULL) {
        bool is_there = layer >= 0 && (size_t)layer < edits->n_layers && head >= 0 &&
                        (size_t)head < edits->n_heads;
        size_t at = is_there ? (size_t)layer * edits->n_heads + (size_t)head : 0;
        is_edited = is_there && (what == HW_EDITED_PATTERN ? edits->patterns[at]
                                 : what == HW_EDITED_MIX   ? edits->mixed[at]
                                                           : edits->residuals[layer]);
    }
    verify->report->n_left_out += is_edited;
    return is_edited;
}

enum hw_status hw_trace_verify(const char *path, const struct hw_verify_edits *edits,
                               struct hw_verify_report *ret_report, struct hw_error *err) {
    struct hw_verify verify = {.report = ret_report, .edits = edits};
    *ret_report = (struct hw_verify_report){0};
    enum hw_status status = hw_trace_open(path, &verify.trace, err);
    if (status != HW_OK) {
        return status;
    }
    status = hw_trace_check_parts(verify.trace, true, err);
    status = status != HW_OK ? status : look_for_edits(&verify, err);
    status = status != HW_OK ? status : read_everything(&verify, err);
    status = status != HW_OK ? status : hw_verify_columns(&verify, err);
    status = status != HW_OK ? status : hw_verify_statistics(&verify, err);
    status = status != HW_OK ? status : hw_verify_maps(&verify, err);
    status = status != HW_OK ? status : hw_verify_residual(&verify, err);
    status = status != HW_OK ? status : hw_verify_means(&verify, err);
    hw_trace_close(&verify.trace);
    if (status != HW_OK && err != NULL && strstr(err->message, path) == NULL) {
        (void)hw_fail_context(err, status, "%s: ", path);
    }
    return status;
}
