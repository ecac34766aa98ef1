// A command of the headwater binary, and what it is called with; options.h shows a whole command
// file.
#ifndef HW_COMMAND_H
#define HW_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "tools/options.h"

#ifdef __cplusplus
extern "C" {
#endif

// Which of the common options a command honours; what it does not honour it does not accept. --help
// and --version always.
enum hw_common_bits {
    HW_COMMON_JSON = 1,
    HW_COMMON_PROGRESS = 2,
    HW_COMMON_THREADS = 4,
    HW_COMMON_MEMORY = 8,
    HW_COMMON_QUIET = 16,
    HW_COMMON_VERBOSE = 32,
};

enum hw_progress_kind { HW_PROGRESS_AUTO, HW_PROGRESS_BAR, HW_PROGRESS_JSON, HW_PROGRESS_NONE };

struct hw_common {
    bool json;
    bool quiet;            // no notes on stderr; errors still
    bool verbose;          // details on stderr
    int progress;          // enum hw_progress_kind; NONE under --quiet unless it was asked for
    uint64_t threads;      // at least 1
    uint64_t memory_limit; // bytes, 0: none
};

enum { HW_ANY_NUMBER = 1 << 20 };

struct hw_invocation {
    const struct hw_command *command;
    struct hw_common common;
    void *options; // the command's struct
    const char **arguments;
    size_t n_arguments;
    int argc; // the whole command line, for provenance
    const char *const *argv;
    int signal; // set by the command with HW_STOPPED: the exit code is 128 + signal
    bool *given;
};

struct hw_command {
    const char *name;
    const char *summary;     // one line, lower case, no full stop
    const char *arguments;   // "FILE...", "" where there are none
    const char *description; // paragraphs, blank line between; a line that begins with a blank is
                             // kept as it is
    const char *examples;    // command lines, or NULL
    size_t min_arguments;
    size_t max_arguments;
    unsigned common; // bits above
    const struct hw_option *options;
    size_t n_options;
    size_t options_bytes;
    enum hw_status (*run)(struct hw_invocation *in, struct hw_error *err);
};

// All commands in the order of the list in meson.build, NULL-terminated.
const struct hw_command *const *hw_commands(void);
const struct hw_command *hw_command_find(const char *name); // NULL: there is none

// True where the option (of the command's own table) stood on the command line.
bool hw_invocation_has(const struct hw_invocation *in, const char *name);

// "headwater: ..." on stderr: a note unless --quiet, a detail only with --verbose.
void hw_note(const struct hw_invocation *in, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void hw_detail(const struct hw_invocation *in, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// The rows of the common table that a command honours, for parsing and help; returns how many were
// written to rows [HW_N_COMMON_OPTIONS]. They fill a struct hw_common.
enum { HW_N_COMMON_OPTIONS = 6 };
size_t hw_common_options(unsigned common, struct hw_option *rows);

// One run of the program: finds the command (argv[0] = headwater-COMMAND or argv[1]), parses, runs,
// prints the error; returns the exit code.
int hw_main(int argc, const char *const *argv);

#ifdef __cplusplus
}
#endif
#endif
