// The table of commands and one run of the program: find the command, parse, run, report; see
// command.h.
#include "tools/command.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu.h"
#include "tools/help.h"

#define HW_COMMAND(name) extern const struct hw_command hw_command_##name;
#include "commands.h"
#undef HW_COMMAND

static const struct hw_command *const commands[] = {
#define HW_COMMAND(name) &hw_command_##name,
#include "commands.h"
#undef HW_COMMAND
    NULL,
};

static const struct {
    unsigned bit; // 0: always
    struct hw_option option;
} common_rows[HW_N_COMMON_OPTIONS] = {
    {HW_COMMON_JSON,
     HW_OPTION_FLAG(struct hw_common, json, "json", "The result as one JSON document on stdout.")},
    {HW_COMMON_PROGRESS,
     HW_OPTION_CHOICE(struct hw_common, progress, "progress", "auto|bar|json|none", "auto",
                      "On stderr: auto is a bar with rate and time left on a terminal, else a "
                      "line now and then; json is one JSON object a line.")},
    {HW_COMMON_THREADS,
     HW_OPTION_COUNT(struct hw_common, threads, "threads", "N", NULL, 1, 1024,
                     "Threads to compute with; by default the processors that this process may "
                     "use. Results never depend on it.")},
    {HW_COMMON_MEMORY,
     HW_OPTION_SIZE(struct hw_common, memory_limit, "memory-limit", "SIZE", NULL,
                    "Refuse to start where more memory than this is needed, such as 400M or "
                    "1.6G (K, M, G, T: powers of 1024; kB, MB, GB, TB: powers of 1000).")},
    {HW_COMMON_QUIET,
     HW_OPTION_FLAG(struct hw_common, quiet, "quiet",
                    "Nothing on stderr but errors, unless --progress asks for it.")},
    {HW_COMMON_VERBOSE,
     HW_OPTION_FLAG(struct hw_common, verbose, "verbose", "Say on stderr what is being done.")},
};

const struct hw_command *const *hw_commands(void) {
    return commands;
}

const struct hw_command *hw_command_find(const char *name) {
    for (size_t i = 0; commands[i] != NULL; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

size_t hw_common_options(unsigned common, struct hw_option *rows) {
    size_t n = 0;
    for (size_t i = 0; i < HW_N_COMMON_OPTIONS; i++) {
        if ((common_rows[i].bit & common) != 0) {
            rows[n++] = common_rows[i].option;
        }
    }
    return n;
}

bool hw_invocation_has(const struct hw_invocation *in, const char *name) {
    for (size_t i = 0; i < in->command->n_options; i++) {
        if (strcmp(in->command->options[i].name, name) == 0) {
            return in->given[i];
        }
    }
    return false;
}

// A message may quote what stands in a file: nothing of it shall move the cursor.
static void say(const char *prefix, const char *message) {
    char safe[2 * HW_ERROR_BYTES];
    (void)fprintf(stderr, "headwater: %s%s\n", prefix,
                  hw_escape(safe, sizeof safe, message, strlen(message)));
}

static void print_line(const char *format, va_list args) {
    char message[HW_ERROR_BYTES];
    (void)vsnprintf(message, sizeof message, format, args);
    say("", message);
}

void hw_note(const struct hw_invocation *in, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (!in->common.quiet) {
        print_line(format, args);
    }
    va_end(args);
}

void hw_detail(const struct hw_invocation *in, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (in->common.verbose) {
        print_line(format, args);
    }
    va_end(args);
}

static enum hw_status check_argument_count(const struct hw_command *command, size_t n,
                                           const char *const *arguments, struct hw_error *err) {
    if (n > command->max_arguments) {
        char shown[200];
        const char *extra = arguments[command->max_arguments];
        (void)hw_escape(shown, sizeof shown, extra, strlen(extra));
        return hw_fail(err, HW_USAGE, "too many arguments (expected at most %zu, found '%s')",
                       command->max_arguments, shown);
    }
    if (n < command->min_arguments) {
        return hw_fail(err, HW_USAGE, "too few arguments (expected %s, found %zu)",
                       command->arguments, n);
    }
    return HW_OK;
}

// Parses what follows the command's name and runs it; argv[0] is the name.
static enum hw_status run_command(struct hw_invocation *in, int argc, const char *const *argv,
                                  struct hw_error *err) {
    const struct hw_command *command = in->command;
    struct hw_option rows[HW_N_COMMON_OPTIONS];
    bool common_given[HW_N_COMMON_OPTIONS] = {false};
    enum hw_status status = HW_RESOURCE;
    in->options = calloc(1, command->options_bytes + 1);
    in->given = calloc(command->n_options + 1, sizeof *in->given);
    in->arguments = calloc((size_t)argc + 1, sizeof *in->arguments);
    struct hw_option_set sets[2] = {
        {command->options, command->n_options, in->options, in->given},
        {rows, hw_common_options(command->common, rows), &in->common, common_given},
    };
    if (in->options == NULL || in->given == NULL || in->arguments == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for the command line");
        goto cleanup;
    }
    in->common.threads = (uint64_t)hw_cpu_count();
    for (size_t s = 0; s < HW_LENGTH(sets); s++) {
        status = hw_options_default(&sets[s], err);
        if (status != HW_OK) {
            goto cleanup;
        }
    }
    status =
        hw_options_parse(sets, HW_LENGTH(sets), argc, argv, in->arguments, &in->n_arguments, err);
    if (status == HW_OK) {
        status = check_argument_count(command, in->n_arguments, in->arguments, err);
    }
    if (status != HW_OK) {
        status = hw_fail_context(err, status, "%s: ", command->name);
        goto cleanup;
    }
    if (in->common.quiet && in->common.progress == HW_PROGRESS_AUTO) {
        in->common.progress = HW_PROGRESS_NONE;
    }
    status = command->run(in, err);
cleanup:
    hw_options_free(&sets[0]);
    free(in->options);
    free(in->given);
    free(in->arguments);
    return status;
}

// What went wrong with stdout so far: HW_OK, or HW_OUTPUT with a message, or HW_STOPPED for a
// reader that left.
static enum hw_status finish_stdout(struct hw_error *err) {
    errno = 0;
    bool is_bad = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !is_bad) {
        return HW_OK;
    }
    if (errno == EPIPE) {
        return HW_STOPPED;
    }
    return hw_fail(err, HW_OUTPUT, "stdout: cannot be written (%s)",
                   errno != 0 ? strerror(errno) : "an earlier write failed");
}

static int exit_code(enum hw_status status, int signal_number) {
    switch (status) {
    case HW_STOPPED:
        return 128 + signal_number;
    case HW_INTERNAL:
        return 70; // EX_SOFTWARE of sysexits.h: outside the documented codes
    default:
        return (int)status;
    }
}

static int finish(enum hw_status status, int signal_number, struct hw_error *err) {
    struct hw_error output_error = {HW_OK, ""};
    enum hw_status output = finish_stdout(&output_error);
    if (err->message[0] != '\0' && status != HW_OK) {
        say(status == HW_INTERNAL ? "internal error: " : "", err->message);
    }
    if (output == HW_STOPPED && status == HW_OK) {
        return 128 + SIGPIPE; // as every other program in a pipeline, without a word
    }
    if (output == HW_OUTPUT && status == HW_OK) {
        say("", output_error.message);
        return (int)HW_OUTPUT;
    }
    return exit_code(status, signal_number);
}

static enum hw_status fail_no_command(const char *name, struct hw_error *err) {
    const char *names[HW_LENGTH(commands)];
    size_t n = 0;
    for (; commands[n] != NULL; n++) {
        names[n] = commands[n]->name;
    }
    char shown[100];
    (void)hw_escape(shown, sizeof shown, name, strlen(name));
    const char *nearest = hw_nearest(shown, names, n);
    if (name[0] == '-') {
        return hw_fail(err, HW_USAGE,
                       "unknown option %s (expected a command first; see headwater help)", shown);
    }
    if (nearest != NULL) {
        return hw_fail(err, HW_USAGE, "'%s' is not a command (did you mean %s?)", shown, nearest);
    }
    return hw_fail(err, HW_USAGE, "'%s' is not a command (see headwater help)", shown);
}

int hw_main(int argc, const char *const *argv) {
    struct hw_error err = {HW_OK, ""};
    struct hw_invocation in = {.argc = argc, .argv = argv};
    (void)signal(SIGPIPE, SIG_IGN); // a reader that leaves must not kill a capture
    (void)signal(SIGXFSZ, SIG_IGN); // nor a limit on file sizes: the write says so
    if (argc < 1) {
        return (int)HW_USAGE;
    }
    const char *slash = strrchr(argv[0], '/');
    const char *self = slash != NULL ? slash + 1 : argv[0];
    int first = 0;
    if (strncmp(self, "headwater-", 10) == 0) {
        in.command = hw_command_find(self + 10);
        if (in.command == NULL) {
            return finish(fail_no_command(self + 10, &err), 0, &err);
        }
    } else if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        hw_help_overview(stdout);
        return finish(HW_OK, 0, &err);
    } else if (strcmp(argv[1], "--version") == 0) {
        (void)printf("headwater %s\n", HW_VERSION);
        return finish(HW_OK, 0, &err);
    } else {
        first = 1;
        in.command = hw_command_find(argv[1]);
        if (in.command == NULL) {
            return finish(fail_no_command(argv[1], &err), 0, &err);
        }
    }
    if (hw_options_contain(argc - first, argv + first, "--help") ||
        hw_options_contain(argc - first, argv + first, "-h")) {
        hw_help_command(stdout, in.command);
        return finish(HW_OK, 0, &err);
    }
    if (hw_options_contain(argc - first, argv + first, "--version")) {
        (void)printf("headwater %s\n", HW_VERSION);
        return finish(HW_OK, 0, &err);
    }
    enum hw_status status = run_command(&in, argc - first, argv + first, &err);
    return finish(status, in.signal, &err);
}
