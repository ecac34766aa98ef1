// Progress on stderr: a bar on a terminal, a line now and then elsewhere, or JSON lines.
//
//     hw_progress_begin(&progress, in->common.progress, "capture", "tokens", n_tokens);
//     hw_progress_update(&progress, done);   // as often as you like
//     hw_progress_end(&progress);
//
// The rate is that of the last minute or so, the time left follows from it.
#ifndef HW_PROGRESS_H
#define HW_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/command.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hw_progress {
    enum hw_progress_kind kind; // BAR, JSON, NONE, or AUTO for a line now and then
    const char *what;
    const char *unit;
    uint64_t total; // 0: unknown
    uint64_t done;
    double start_s;
    double shown_s; // when something was last printed, and what was done then
    uint64_t shown_done;
    double window_s; // where the window of the rate began, and what was done then
    uint64_t window_done;
    double next_window_s;
    uint64_t next_window_done;
    double rate; // units a second, 0 while unknown
    bool is_line_open;
};

void hw_progress_begin(struct hw_progress *progress, int kind, const char *what, const char *unit,
                       uint64_t total);
void hw_progress_update(struct hw_progress *progress, uint64_t done);
void hw_progress_end(struct hw_progress *progress);

// The text of a bar of at most `columns` columns, for tests: "capture  41% [####----] 123/300
// tokens  1.2k/s  0:02 left".
const char *hw_progress_bar(const struct hw_progress *progress, int columns, char *text,
                            size_t text_bytes);

// Seconds for people: "0:07", "12:03", "1:02:03".
const char *hw_format_seconds(char *text, size_t text_bytes, double seconds);

#ifdef __cplusplus
}
#endif
#endif
