// A file of lines of JSON that grows by whole lines, each on the disk before the call returns, and
// the lock that keeps a second process out: what journals of parts and logs of cells are made of.
#ifndef HW_LINE_LOG_H
#define HW_LINE_LOG_H

#include <stddef.h>

#include <jansson.h>

#include "kernels/status.h"

struct hw_line_log;

// What a line says; anything but HW_OK ends the reading. For a line that is not understood it
// returns HW_INPUT, and the log says which one "is no <noun>".
typedef enum hw_status (*hw_line_fn)(void *self, const json_t *line, struct hw_error *err);

// Opens or creates the file, locks it and hands every line to `read`, but those in which earlier
// processes said who they are. A last line that a crash cut short is dropped. HW_OUTPUT: another
// process has it, and which.
enum hw_status hw_line_log_open(const char *path, const char *noun, hw_line_fn read, void *self,
                                struct hw_line_log **ret_log, struct hw_error *err);
void hw_line_log_close(struct hw_line_log **log);

// Appends one or more whole lines, newlines included, in one write, and syncs.
enum hw_status hw_line_log_append(struct hw_line_log *log, const char *lines, struct hw_error *err);

const char *hw_line_log_path(const struct hw_line_log *log);

#endif
