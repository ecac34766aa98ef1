// headwater help: help texts, man pages, completion.
#include <stdio.h>
#include <string.h>

#include "tools/command.h"
#include "tools/help.h"

struct help_options {
    bool is_man;
    int completion;
};

static const struct hw_option options[] = {
    HW_OPTION_FLAG(struct help_options, is_man, "man",
                   "Print the manual page as roff: of COMMAND, or of headwater itself."),
    HW_OPTION_CHOICE(struct help_options, completion, "completion", "none|bash", "none",
                     "Print the completion script of a shell."),
};

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct help_options *opt = in->options;
    const struct hw_command *command = NULL;
    if (in->n_arguments == 1) {
        command = hw_command_find(in->arguments[0]);
        if (command == NULL) {
            char shown[100];
            return hw_fail(
                err, HW_USAGE, "help: '%s' is not a command (see headwater help)",
                hw_escape(shown, sizeof shown, in->arguments[0], strlen(in->arguments[0])));
        }
    }
    if (opt->completion != 0) {
        hw_help_bash(stdout);
    } else if (opt->is_man) {
        hw_help_man(stdout, command);
    } else if (command != NULL) {
        hw_help_command(stdout, command);
    } else {
        hw_help_overview(stdout);
    }
    return HW_OK;
}

const struct hw_command hw_command_help = {
    .name = "help",
    .summary = "explain headwater or one of its commands",
    .arguments = "[COMMAND]",
    .max_arguments = 1,
    .description = "Prints what a command does and every option that it takes. Without COMMAND, "
                   "lists the commands.",
    .examples = "headwater help list\nheadwater help --man list | man -l -\n"
                "source <(headwater help --completion bash)\n",
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct help_options),
    .run = run,
};
