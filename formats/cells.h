// The cells of a sweep on their way to a result: the folder OUT.h5.parts beside the output holds
// manifest.json and a log in which every finished cell is a line, on the disk before it counts. A
// sweep that was killed at any moment continues with the same command and ends in an equal file.
//
// A cell is a number below n_cells with some values (doubles, kept bit for bit). The folder, the
// manifest and what is refused are as in run.h; the log is journal-0.jsonl, so that a capture and a
// sweep never write in one folder.
#ifndef HW_CELLS_H
#define HW_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "formats/result.h"
#include "kernels/status.h"

struct hw_cells_options {
    const char *out_path;   // OUT.h5
    const json_t *manifest; // object: everything that changes results
    size_t n_cells;
    bool is_overwriting; // a result at out_path stays until the last rename puts this one over it
};

struct hw_cells;

// Opens or resumes. *ret_is_complete: a finished result with the same manifest is there already,
// and *ret_cells is NULL. HW_OUTPUT: exists, locked by another process (its pid), belongs to
// another run (the field that differs), or cannot be written.
enum hw_status hw_cells_open(const struct hw_cells_options *options, struct hw_cells **ret_cells,
                             bool *ret_is_complete, struct hw_error *err);
void hw_cells_close(struct hw_cells **cells);

// The values of a committed cell, *ret_n of them; NULL where it is not there yet. They stay until
// the next commit.
const double *hw_cells_find(const struct hw_cells *cells, size_t cell, size_t *ret_n);
size_t hw_cells_n_done(const struct hw_cells *cells);

// Commits n_cells finished cells together: values[i] holds n_values[i]. HW_OUTPUT keeps what was
// committed before.
struct hw_cell {
    size_t cell;
    const double *values;
    size_t n_values;
};
enum hw_status hw_cells_commit(struct hw_cells *cells, const struct hw_cell *done, size_t n_done,
                               struct hw_error *err);

// Adds run_id and manifest_json to the result, writes it and removes the folder.
enum hw_status hw_cells_finish(struct hw_cells *cells, struct hw_result *result,
                               struct hw_error *err);

// Whether there may be an output: HW_OUTPUT where something is in its way that is no result, or
// exists and is not to be replaced. Before anything is opened; a finished sweep passes.
enum hw_status hw_cells_check_output(const char *path, bool is_overwriting, struct hw_error *err);

#endif
