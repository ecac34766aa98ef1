// Places where a run can be made to die or to find the disk full, for tests of the commit protocol.
// Off unless armed.
//
// The points, in the order of a run: folder-made, manifest-written, common-written; part-built,
// part-written, part-synced, part-renamed, journalled (each once a part); merge-started,
// merge-written, merge-renamed, folder-removed.
#ifndef HW_FAULT_H
#define HW_FAULT_H

#include "kernels/status.h"

// "POINT:N": kill this process at the N-th pass (from 1); "POINT:N:full": pretend there that the
// disk is full; "POINT:N:stop": stop there until SIGCONT. HW_USAGE lists the points.
enum hw_status hw_fault_arm(const char *spec, struct hw_error *err);
void hw_fault_disarm(void);

// Passes a point: 0, or ENOSPC where it was armed so. Does not return where it was armed to kill.
int hw_fault_pass(const char *point);

// The same as a status: HW_OK, or HW_OUTPUT with a message that begins with `what`.
enum hw_status hw_fault_check(const char *point, const char *what, struct hw_error *err);

#endif
