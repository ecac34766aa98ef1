// The steps by which this process makes, names, and removes files, in the order it took them: what
// decides which files are whole after a crash of the machine. The linker sends our calls here (see
// tests/meson.build); those of libraries, as HDF5's writes, are not seen.
#ifndef HW_STEP_LOG_H
#define HW_STEP_LOG_H

#include <stddef.h>

enum step_kind { STEP_WRITE, STEP_SYNC, STEP_NAME, STEP_UNLINK, STEP_MKDIR, STEP_RMDIR };

// A step that succeeded.
struct step {
    enum step_kind kind;
    char path[200];
    char text[200]; // NAME: the name given; WRITE: how what was written begins
};

void step_log_start(void);
// The steps since start, valid until the next start. Aborts where they were more than it holds.
const struct step *step_log_stop(size_t *ret_n);

#endif
