// One armed point a process.
#include "formats/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const points[] = {"part-built",    "part-written",  "part-synced",
                                     "part-renamed",  "journalled",    "merge-started",
                                     "merge-written", "merge-renamed", "folder-removed"};

static const char *armed_point;
static unsigned long passes_left;
static bool is_full;

enum hw_status hw_fault_arm(const char *spec, struct hw_error *err) {
    const char *colon = strchr(spec, ':');
    size_t n = colon != NULL ? (size_t)(colon - spec) : strlen(spec);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        if (strlen(points[i]) != n || memcmp(points[i], spec, n) != 0) {
            continue;
        }
        char *end = NULL;
        unsigned long passes = colon != NULL ? strtoul(colon + 1, &end, 10) : 1;
        const char *rest = colon != NULL ? end : "";
        if (passes == 0 || (rest[0] != '\0' && strcmp(rest, ":full") != 0)) {
            break;
        }
        armed_point = points[i];
        passes_left = passes;
        is_full = rest[0] != '\0';
        return HW_OK;
    }
    return hw_fail(err, HW_USAGE,
                   "fault %s: expected POINT:N or POINT:N:full with a point such as part-written",
                   spec);
}

void hw_fault_disarm(void) {
    armed_point = NULL;
}

int hw_fault_pass(const char *point) {
    if (armed_point == NULL || strcmp(point, armed_point) != 0 || --passes_left > 0) {
        return 0;
    }
    armed_point = NULL;
    if (!is_full) {
        (void)kill(getpid(), SIGKILL);
    }
    return ENOSPC;
}
