// Progress on stderr; see progress.h.
#include "tools/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/table.h"

static const double BAR_EVERY_S = .1;
static const double LINE_EVERY_S = 10;
static const double JSON_EVERY_S = .5;
static const double WINDOW_S = 30;

enum { MIN_COLUMNS = 30, DEFAULT_COLUMNS = 80, MAX_BAR = 40, MAX_LINE = 256 };

static double now_s(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

const char *hw_format_seconds(char *text, size_t text_bytes, double seconds) {
    // A guess of more than a few days is no news.
    uint64_t s = seconds < 0 ? 0 : seconds > 3.6e6 ? 3600000 : (uint64_t)(seconds + .5);
    if (s >= 3600) {
        (void)snprintf(text, text_bytes, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600,
                       s / 60 % 60, s % 60);
    } else {
        (void)snprintf(text, text_bytes, "%" PRIu64 ":%02" PRIu64, s / 60, s % 60);
    }
    return text;
}

// A count with at most four digits: "999", "1.23k", "45.6M".
static const char *format_count(char *text, size_t text_bytes, double n) {
    static const char units[] = " kMGT";
    size_t unit = 0;
    while (n >= 999.5 && unit + 2 < sizeof units) {
        n /= 1000;
        unit++;
    }
    (void)snprintf(text, text_bytes, unit == 0 ? (n < 9.95 && n > 0 ? "%.1f" : "%.0f") : "%.3g", n);
    if (unit > 0) {
        size_t length = strlen(text);
        (void)snprintf(text + length, text_bytes - length, "%c", units[unit]);
    }
    return text;
}

static double seconds_left(const struct hw_progress *p) {
    return p->rate > 0 && p->total > p->done ? (double)(p->total - p->done) / p->rate : 0;
}

const char *hw_progress_bar(const struct hw_progress *p, int columns, char *text,
                            size_t text_bytes) {
    char tail[120];
    char rate[16];
    char left[24];
    double share = p->total > 0 ? (double)p->done / (double)p->total : 0;
    (void)snprintf(tail, sizeof tail, " %" PRIu64 "/%" PRIu64 " %s", p->done, p->total, p->unit);
    size_t n = strlen(tail);
    if (p->rate > 0) {
        (void)snprintf(tail + n, sizeof tail - n, "  %s/s  %s left",
                       format_count(rate, sizeof rate, p->rate),
                       hw_format_seconds(left, sizeof left, seconds_left(p)));
    }
    char head[64];
    (void)snprintf(head, sizeof head, "%s %3.0f%%", p->what, share * 100);
    int room = columns - 1 - (int)strlen(head) - (int)strlen(tail) - 3;
    char bar[MAX_BAR + 1];
    room = room > MAX_BAR ? MAX_BAR : room;
    if (room < 5 || p->total == 0) {
        (void)snprintf(text, text_bytes, "%s%s", head, tail);
    } else {
        int full = (int)(share * room);
        for (int i = 0; i < room; i++) {
            bar[i] = i < full ? '#' : '-';
        }
        bar[room] = '\0';
        (void)snprintf(text, text_bytes, "%s [%s]%s", head, bar, tail);
    }
    if (columns > 0 && strlen(text) > (size_t)columns - 1) {
        text[columns - 1] = '\0'; // the last column stays empty: some terminals wrap there
    }
    return text;
}

static void print_json(const struct hw_progress *p, double elapsed, bool is_end) {
    (void)fprintf(
        stderr,
        "{\"event\": \"%s\", \"what\": \"%s\", \"done\": %" PRIu64 ", \"total\": %" PRIu64
        ", \"unit\": \"%s\", \"seconds\": %.3f, \"rate\": %.6g, \"seconds_left\": %.3f}\n",
        is_end ? "end" : "progress", p->what, p->done, p->total, p->unit, elapsed, p->rate,
        seconds_left(p));
}

static void show(struct hw_progress *p, double now, bool is_end) {
    char text[MAX_LINE];
    p->shown_s = now;
    p->shown_done = p->done;
    switch (p->kind) {
    case HW_PROGRESS_BAR: {
        int columns = hw_terminal_columns(STDERR_FILENO);
        columns = columns == 0             ? DEFAULT_COLUMNS
                  : columns < MIN_COLUMNS  ? MIN_COLUMNS
                  : columns > MAX_LINE - 1 ? MAX_LINE - 1
                                           : columns;
        (void)fprintf(stderr, "\r%s\x1b[K%s", hw_progress_bar(p, columns, text, sizeof text),
                      is_end ? "\n" : "");
        (void)fflush(stderr);
        p->is_line_open = !is_end;
        break;
    }
    case HW_PROGRESS_JSON:
        print_json(p, now - p->start_s, is_end);
        break;
    case HW_PROGRESS_AUTO:
        (void)fprintf(stderr, "headwater: %s\n", hw_progress_bar(p, 0, text, sizeof text));
        break;
    case HW_PROGRESS_NONE:
        break;
    }
}

void hw_progress_begin(struct hw_progress *progress, int kind, const char *what, const char *unit,
                       uint64_t total) {
    double now = now_s();
    *progress = (struct hw_progress){.kind = (enum hw_progress_kind)kind,
                                     .what = what,
                                     .unit = unit,
                                     .total = total,
                                     .start_s = now,
                                     .shown_s = now,
                                     .window_s = now,
                                     .next_window_s = now};
    if (kind == HW_PROGRESS_AUTO && isatty(STDERR_FILENO)) {
        progress->kind = HW_PROGRESS_BAR;
    }
    if (progress->kind == HW_PROGRESS_BAR || progress->kind == HW_PROGRESS_JSON) {
        show(progress, now, false);
    }
}

void hw_progress_update(struct hw_progress *progress, uint64_t done) {
    if (progress->kind == HW_PROGRESS_NONE) {
        return;
    }
    double now = now_s();
    progress->done = done;
    if (now > progress->window_s && done > progress->window_done) {
        progress->rate = (double)(done - progress->window_done) / (now - progress->window_s);
    }
    double every = progress->kind == HW_PROGRESS_BAR    ? BAR_EVERY_S
                   : progress->kind == HW_PROGRESS_JSON ? JSON_EVERY_S
                                                        : LINE_EVERY_S;
    if (now - progress->shown_s >= every) {
        show(progress, now, false);
    }
    // The window slides in halves, so that the rate never comes from a moment alone.
    if (now - progress->next_window_s >= WINDOW_S) {
        progress->window_s = progress->next_window_s;
        progress->window_done = progress->next_window_done;
        progress->next_window_s = now;
        progress->next_window_done = done;
    }
}

void hw_progress_end(struct hw_progress *progress) {
    double now = now_s();
    if (progress->kind == HW_PROGRESS_NONE) {
        return;
    }
    if (now > progress->start_s) {
        progress->rate = (double)progress->done / (now - progress->start_s);
    }
    // Without a terminal a short job says nothing, and a long one does not repeat its last line.
    bool is_said = progress->shown_done == progress->total;
    if (progress->kind != HW_PROGRESS_AUTO ||
        (now - progress->start_s >= LINE_EVERY_S && !is_said)) {
        show(progress, now, true);
    }
    progress->kind = HW_PROGRESS_NONE;
}
