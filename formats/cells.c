// The log of finished cells and its folder; see cells.h.
#include "formats/cells.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/line_log.h"
#include "formats/manifest.h"
#include "formats/run_folder.h"
#include "formats/sha256.h"

enum { HW_MAX_CELLS = 1 << 28, HW_MAX_CELL_VALUES = 1 << 16, CHECK_DIGITS = 16, BITS_DIGITS = 16 };

struct kept {
    double *values;
    size_t n;
};

struct hw_cells {
    char *out_path;
    char *folder;
    bool is_overwriting;
    struct hw_manifest manifest;
    struct hw_line_log *log;
    struct kept *kept; // [n_cells]
    size_t n_cells;
    size_t n_done;
};

// The first digits of the SHA-256 of number and values: a line that a failing disk changed is not
// taken for a result.
static void checksum(uint64_t cell, const char *bits, char ret_digits[CHECK_DIGITS + 1]) {
    char number[24], hex[65];
    struct hw_sha256 state;
    int n = snprintf(number, sizeof number, "%" PRIu64 ":", cell);
    hw_sha256_init(&state);
    hw_sha256_update(&state, number, (size_t)n);
    hw_sha256_update(&state, bits, strlen(bits));
    hw_sha256_hex(&state, hex);
    memcpy(ret_digits, hex, CHECK_DIGITS);
    ret_digits[CHECK_DIGITS] = '\0';
}

static enum hw_status keep(struct hw_cells *cells, size_t cell, const double *values, size_t n,
                           struct hw_error *err) {
    struct kept *kept = &cells->kept[cell];
    double *copy = malloc((n + 1) * sizeof *copy);
    if (copy == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for cell %zu", cell);
    }
    memcpy(copy, values, n * sizeof *copy);
    cells->n_done += kept->values == NULL;
    free(kept->values);
    *kept = (struct kept){copy, n};
    return HW_OK;
}

static bool parse_bits(const char *text, double *ret_value) {
    uint64_t bits = 0;
    for (size_t i = 0; i < BITS_DIGITS; i++) {
        char c = text[i];
        uint64_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = (uint64_t)(c - 'a') + 10;
        } else {
            return false;
        }
        bits = bits << 4 | digit;
    }
    memcpy(ret_value, &bits, sizeof bits);
    return true;
}

static enum hw_status read_line(void *self, const json_t *line, struct hw_error *err) {
    struct hw_cells *cells = self;
    json_int_t cell = 0;
    const char *bits = NULL, *check = NULL;
    char expected[CHECK_DIGITS + 1];
    if (json_unpack((json_t *)line, "{s:I, s:s, s:s}", "cells", &cell, "bits", &bits, "check",
                    &check) != 0 ||
        cell < 0 || (uint64_t)cell >= cells->n_cells) {
        return HW_INPUT;
    }
    size_t n = strlen(bits) / BITS_DIGITS;
    checksum((uint64_t)cell, bits, expected);
    if (strlen(bits) % BITS_DIGITS != 0 || n > HW_MAX_CELL_VALUES || strcmp(check, expected) != 0) {
        return HW_INPUT;
    }
    double *values = malloc((n + 1) * sizeof *values);
    enum hw_status status =
        values != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for cells");
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        status = parse_bits(bits + i * BITS_DIGITS, &values[i]) ? HW_OK : HW_INPUT;
    }
    status = status == HW_OK ? keep(cells, (size_t)cell, values, n, err) : status;
    free(values);
    return status;
}

static bool exists(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

// The text of a scalar array or attribute of a result, from malloc; NULL: there is none.
static char *result_text(const struct hw_result *result, const char *name) {
    for (size_t i = 0; i < hw_result_n_attributes(result); i++) {
        struct hw_result_attribute_view a = hw_result_attribute_at(result, i);
        if (strcmp(a.name, name) == 0 && a.type == HW_RESULT_TEXT) {
            return strdup(a.text);
        }
    }
    for (size_t i = 0; i < hw_result_n_arrays(result); i++) {
        struct hw_result_array_view a = hw_result_array_at(result, i);
        if (strcmp(a.field.name, name) == 0 && a.field.type == HW_RESULT_TEXT && a.n_values == 1) {
            return strdup(((const char *const *)a.values)[0]);
        }
    }
    return NULL;
}

// What a finished file says of itself under a name, from malloc; NULL where it is no such file.
static char *output_text(const char *path, const char *name) {
    struct hw_result *result = NULL;
    struct hw_error inner;
    char *text = NULL;
    if (hw_result_is_file(path) && hw_result_read(path, &result, &inner) == HW_OK) {
        text = result_text(result, name);
    }
    hw_result_close(&result);
    return text;
}

// *ret_is_complete: a finished result of the run `wanted`; else nothing is there.
static enum hw_status judge(const char *path, const struct hw_manifest *wanted,
                            bool *ret_is_complete, struct hw_error *err) {
    if (!exists(path)) {
        *ret_is_complete = false;
        return HW_OK;
    }
    char *kept = output_text(path, "manifest_json");
    enum hw_status status;
    if (kept == NULL) {
        status = hw_fail(err, HW_OUTPUT,
                         "%s: exists and is not a finished result of this run; --overwrite "
                         "replaces it",
                         path);
    } else {
        status = hw_manifest_compare_kept(kept, wanted, err);
        if (status != HW_OK) {
            (void)hw_fail_context(err, status, "%s: exists (--overwrite replaces it) and ", path);
        }
    }
    free(kept);
    *ret_is_complete = status == HW_OK;
    return status;
}

static const char *run_id_of(const struct hw_manifest *manifest) {
    const char *id =
        json_string_value(json_object_get(manifest->provenance.root_attributes, "run_id"));
    return id != NULL ? id : "";
}

// Before a file is replaced: cells of the same run go on, those of another are thrown away.
static enum hw_status settle_folder(const struct hw_cells *cells, const struct hw_manifest *wanted,
                                    bool *ret_is_complete, struct hw_error *err) {
    struct hw_journals journals = {0};
    struct hw_manifest there = {0};
    struct hw_error inner;
    if (!exists(cells->folder)) {
        return HW_OK;
    }
    enum hw_status status = hw_journals_open(cells->folder, &journals, err);
    if (status != HW_OK) {
        return status;
    }
    enum hw_status found = hw_manifest_read(cells->folder, &there, &inner);
    if (found == HW_RESOURCE) {
        status = hw_fail(err, found, "%s", inner.message);
    } else if (found == HW_OK && hw_manifest_compare(&there, wanted, &inner) == HW_OK) {
        char *id = output_text(cells->out_path, "run_id");
        *ret_is_complete = id != NULL && strcmp(id, run_id_of(&there)) == 0;
        free(id);
    } else {
        status = hw_run_folder_remove(cells->folder, err);
    }
    hw_manifest_close(&there);
    hw_journals_close(&journals);
    return status;
}

static enum hw_status settle_manifest(struct hw_cells *cells, struct hw_manifest *wanted,
                                      struct hw_error *err) {
    char *path = hw_path_format("%s/manifest.json", cells->folder);
    enum hw_status status =
        path != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    if (status == HW_OK && !exists(path)) {
        status = hw_manifest_write(wanted, cells->folder, err);
        status = status == HW_OK ? hw_fault_check("manifest-written", path, err) : status;
    }
    status = status == HW_OK ? hw_manifest_read(cells->folder, &cells->manifest, err) : status;
    if (status == HW_OK) {
        status = hw_manifest_compare(&cells->manifest, wanted, err);
        if (status != HW_OK) {
            (void)hw_fail_context(err, status, "%s: ", cells->folder);
        }
    }
    free(path);
    return status;
}

// The manifest is looked at before the log: lines of another run mean nothing here.
static enum hw_status open_folder(struct hw_cells *cells, struct hw_manifest *wanted,
                                  bool *ret_is_complete, struct hw_error *err) {
    struct hw_journal *journal = NULL;
    char *path = hw_path_format("%s/journal-0.jsonl", cells->folder);
    enum hw_status status =
        path != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    status = status == HW_OK ? hw_run_folder_make(cells->folder, err) : status;
    // The lock, whoever's lines they are.
    status = status == HW_OK ? hw_journal_open(cells->folder, 0, &journal, err) : status;
    if (status == HW_OK && !cells->is_overwriting) {
        status = judge(cells->out_path, wanted, ret_is_complete, err);
    }
    if (status == HW_OK && !*ret_is_complete) {
        status = settle_manifest(cells, wanted, err);
    }
    hw_journal_close(&journal);
    if (status == HW_OK && !*ret_is_complete) {
        status = hw_line_log_open(path, "line of a sweep", read_line, cells, &cells->log, err);
    }
    free(path);
    return status;
}

static enum hw_status make_manifest(const struct hw_cells_options *options,
                                    struct hw_manifest *ret_manifest, struct hw_error *err) {
    char id[37];
    hw_run_id_make(id);
    json_t *root = json_pack("{s:s}", "run_id", id);
    struct hw_provenance provenance = {.root_attributes = root};
    enum hw_status status =
        hw_manifest_make(options->manifest, &provenance, 1, 1, 1, ret_manifest, err);
    json_decref(root);
    return status;
}

enum hw_status hw_cells_check_output(const char *path, bool is_overwriting, struct hw_error *err) {
    struct stat info;
    if (lstat(path, &info) != 0) {
        return HW_OK;
    }
    if (!S_ISREG(info.st_mode)) {
        return hw_fail(err, HW_OUTPUT, "%s: is no regular file (expected one, or a free name)",
                       path);
    }
    if (info.st_size > 0 && !hw_result_is_file(path)) {
        return hw_fail(err, HW_OUTPUT, "%s: exists and is no result%s", path,
                       is_overwriting ? "; --overwrite replaces only results" : "");
    }
    return HW_OK;
}

enum hw_status hw_cells_open(const struct hw_cells_options *options, struct hw_cells **ret_cells,
                             bool *ret_is_complete, struct hw_error *err) {
    struct hw_manifest wanted = {0};
    bool is_complete = false;
    struct hw_cells *cells = calloc(1, sizeof *cells);
    if (cells == NULL || options->n_cells == 0 || options->n_cells > HW_MAX_CELLS) {
        free(cells);
        return hw_fail(err, HW_RESOURCE, "a sweep of %zu cells (expected 1 to %d)",
                       options->n_cells, (int)HW_MAX_CELLS);
    }
    cells->n_cells = options->n_cells;
    cells->is_overwriting = options->is_overwriting;
    cells->out_path = strdup(options->out_path);
    cells->folder = hw_path_format("%s.parts", options->out_path);
    cells->kept = calloc(cells->n_cells, sizeof *cells->kept);
    enum hw_status status =
        cells->out_path != NULL && cells->folder != NULL && cells->kept != NULL
            ? HW_OK
            : hw_fail(err, HW_RESOURCE, "not enough memory for %zu cells", cells->n_cells);
    status = status == HW_OK ? hw_cells_check_output(cells->out_path, cells->is_overwriting, err)
                             : status;
    status = status == HW_OK ? make_manifest(options, &wanted, err) : status;
    if (status == HW_OK) {
        status = cells->is_overwriting ? settle_folder(cells, &wanted, &is_complete, err)
                                       : judge(cells->out_path, &wanted, &is_complete, err);
    }
    if (status == HW_OK && !is_complete) {
        status = open_folder(cells, &wanted, &is_complete, err);
    }
    if (status == HW_OK && is_complete) {
        status = hw_run_folder_clear(cells->folder, err); // killed between the last rename and this
    }
    hw_manifest_close(&wanted);
    if (status != HW_OK || is_complete) {
        hw_cells_close(&cells);
    }
    if (status == HW_OK) {
        *ret_cells = cells;
        *ret_is_complete = is_complete;
    }
    return status;
}

void hw_cells_close(struct hw_cells **cells) {
    struct hw_cells *c = *cells;
    if (c == NULL) {
        return;
    }
    hw_line_log_close(&c->log);
    hw_manifest_close(&c->manifest);
    for (size_t i = 0; c->kept != NULL && i < c->n_cells; i++) {
        free(c->kept[i].values);
    }
    free(c->kept);
    free(c->out_path);
    free(c->folder);
    free(c);
    *cells = NULL;
}

const double *hw_cells_find(const struct hw_cells *cells, size_t cell, size_t *ret_n) {
    *ret_n = cells->kept[cell].n;
    return cells->kept[cell].values;
}

size_t hw_cells_n_done(const struct hw_cells *cells) {
    return cells->n_done;
}

// One line at `at`, which has room for it; returns its end.
static char *print_line(const struct hw_cell *cell, char *at) {
    const size_t room = 64;
    at += snprintf(at, room, "{\"cells\": %zu, \"bits\": \"", cell->cell);
    char *bits = at;
    for (size_t i = 0; i < cell->n_values; i++) {
        uint64_t value;
        memcpy(&value, &cell->values[i], sizeof value);
        at += snprintf(at, BITS_DIGITS + 1, "%016" PRIx64, value);
    }
    char check[CHECK_DIGITS + 1];
    checksum(cell->cell, bits, check);
    return at + snprintf(at, room, "\", \"check\": \"%s\"}\n", check);
}

enum hw_status hw_cells_commit(struct hw_cells *cells, const struct hw_cell *done, size_t n_done,
                               struct hw_error *err) {
    size_t n_bytes = 1;
    for (size_t i = 0; i < n_done; i++) {
        n_bytes += done[i].n_values * BITS_DIGITS + 128;
    }
    char *lines = malloc(n_bytes);
    if (lines == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu cells", n_done);
    }
    char *at = lines;
    *at = '\0';
    for (size_t i = 0; i < n_done; i++) {
        at = print_line(&done[i], at);
    }
    enum hw_status status = hw_line_log_append(cells->log, lines, err);
    free(lines);
    for (size_t i = 0; i < n_done && status == HW_OK; i++) {
        status = keep(cells, done[i].cell, done[i].values, done[i].n_values, err);
    }
    return status == HW_OK
               ? hw_fault_check("journalled", hw_line_log_path(cells->log), err)
               : hw_fail_context(err, status, "%zu of %zu cells are kept in %s: ", cells->n_done,
                                 cells->n_cells, cells->folder);
}

enum hw_status hw_cells_finish(struct hw_cells *cells, struct hw_result *result,
                               struct hw_error *err) {
    char *manifest = hw_manifest_kept_text(&cells->manifest);
    const char *text = manifest != NULL ? manifest : "";
    enum hw_status status = hw_fault_check("merge-started", cells->out_path, err);
    hw_result_set_text(result, "run_id", run_id_of(&cells->manifest));
    hw_result_add(result,
                  &(struct hw_result_field){"manifest_json",
                                            HW_RESULT_TEXT,
                                            {NULL},
                                            "what the run is",
                                            "1",
                                            "Everything that changes results: the same command "
                                            "finds by it that this file is complete."},
                  &text);
    status = status == HW_OK ? hw_result_write(result, cells->out_path, cells->is_overwriting, err)
                             : status;
    status = status == HW_OK ? hw_fault_check("merge-renamed", cells->out_path, err) : status;
    if (status == HW_OK) {
        // Before the lock is given back: nobody else may find the folder half gone.
        status = hw_run_folder_remove(cells->folder, err);
        hw_line_log_close(&cells->log);
        status = status == HW_OK ? hw_fault_check("folder-removed", cells->out_path, err) : status;
    } else {
        (void)hw_fail_context(err, status, "all cells are kept in %s: ", cells->folder);
    }
    free(manifest);
    return status;
}
