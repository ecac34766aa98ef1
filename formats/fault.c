// One armed point a process.
#include "formats/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum action { ACTION_KILL, ACTION_FULL, ACTION_STOP };

static const char *const points[] = {"folder-made",   "manifest-written", "common-written",
                                     "part-built",    "part-written",     "part-synced",
                                     "part-renamed",  "journalled",       "merge-started",
                                     "merge-written", "merge-renamed",    "folder-removed"};

static const char *armed_point;
static unsigned long passes_left;
static enum action armed_action;

static enum hw_status refuse(const char *spec, struct hw_error *err) {
    char names[300] = "";
    size_t at = 0;
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        int n = snprintf(names + at, sizeof names - at, "%s%s", i > 0 ? ", " : "", points[i]);
        at += n > 0 && (size_t)n < sizeof names - at ? (size_t)n : 0;
    }
    char shown[100];
    (void)hw_escape(shown, sizeof shown, spec, strlen(spec));
    return hw_fail(err, HW_USAGE,
                   "fault %s (expected POINT:N, POINT:N:full or POINT:N:stop, N from 1, POINT one "
                   "of %s)",
                   shown, names);
}

// ":N" or ":N:ACTION", or nothing: the first pass.
static int parse_rest(const char *text, unsigned long *ret_passes, enum action *ret_action) {
    static const char *const actions[] = {"kill", "full", "stop"};
    *ret_passes = 1;
    *ret_action = ACTION_KILL;
    if (text[0] == '\0') {
        return 1;
    }
    if (text[1] < '0' || text[1] > '9') {
        return 0;
    }
    char *end;
    *ret_passes = strtoul(text + 1, &end, 10);
    if (*ret_passes == 0 || (*end != '\0' && *end != ':')) {
        return 0;
    }
    for (size_t i = 0; i < 3 && *end == ':'; i++) {
        if (strcmp(end + 1, actions[i]) == 0) {
            *ret_action = (enum action)i;
            return 1;
        }
    }
    return *end == '\0';
}

enum hw_status hw_fault_arm(const char *spec, struct hw_error *err) {
    size_t n = strcspn(spec, ":");
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        unsigned long passes;
        enum action action;
        if (strlen(points[i]) == n && memcmp(points[i], spec, n) == 0 &&
            parse_rest(spec + n, &passes, &action)) {
            armed_point = points[i];
            passes_left = passes;
            armed_action = action;
            return HW_OK;
        }
    }
    return refuse(spec, err);
}

void hw_fault_disarm(void) {
    armed_point = NULL;
}

int hw_fault_pass(const char *point) {
    if (armed_point == NULL || strcmp(point, armed_point) != 0 || --passes_left > 0) {
        return 0;
    }
    armed_point = NULL;
    if (armed_action == ACTION_FULL) {
        return ENOSPC;
    }
    (void)kill(getpid(), armed_action == ACTION_STOP ? SIGSTOP : SIGKILL);
    return 0;
}

enum hw_status hw_fault_check(const char *point, const char *what, struct hw_error *err) {
    int reason = hw_fault_pass(point);
    return reason == 0
               ? HW_OK
               : hw_fail(err, HW_OUTPUT, "%s: cannot be written: %s", what, strerror(reason));
}
