// Runs of the synthetic prompts in the temporary folder of trace_folder.h, for tests of the commit
// protocol.
#ifndef HW_SYNTHETIC_RUN_H
#define HW_SYNTHETIC_RUN_H

#include <stddef.h>

#include "formats/run.h"

// Faults of fault.h that such a run passes, in its order.
enum { SYNTHETIC_N_POINTS = 14 };
extern const char *const synthetic_run_points[SYNTHETIC_N_POINTS];

// Makes the folder, and what the options below point to; and removes it all.
const char *synthetic_run_setup(void);
void synthetic_run_teardown(void);

// A run of SYNTHETIC_PROMPTS prompts into `path`, parts of `every` of them built in memory.
struct hw_run_options synthetic_run_options(const char *path, size_t every);

// Plays what is left, at most `most` parts. HW_STOPPED: parts are left.
enum hw_status synthetic_run_play(const struct hw_run_options *options, size_t most,
                                  struct hw_error *err);

#endif
