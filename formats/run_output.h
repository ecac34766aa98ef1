// What stands where a run's output goes: nothing, a capture of this very run, or something in the
// way.
#ifndef HW_RUN_OUTPUT_H
#define HW_RUN_OUTPUT_H

#include <stdbool.h>

#include "formats/manifest.h"
#include "kernels/status.h"

// What may stand there: nothing, a regular file, and for one that is replaced HDF5 or nothing in
// it. A mistyped name must not cost a device, a model or a list of prompts. HW_OUTPUT; also where
// the file's temporary name would be too long.
enum hw_status hw_run_output_check(const char *path, bool is_replaced, struct hw_error *err);

// *ret_is_complete: a finished capture of the run `wanted`; else nothing is there. HW_OUTPUT: what
// is there is another's.
enum hw_status hw_run_output_judge(const char *path, const struct hw_manifest *wanted,
                                   bool *ret_is_complete, struct hw_error *err);

// Whether a master is there (merge --virtual), whose parts are where its rows lie: they are kept.
bool hw_run_output_is_master(const char *path);

// Whether it is the finished capture, and no master, that came of the folder with this manifest: by
// run_id, so that an older capture of the same run is not taken for it.
bool hw_run_output_is_of(const char *path, const struct hw_manifest *manifest);

#endif
