// headwater list: what this build can do.
#include <stdio.h>

#include "tools/command.h"

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    for (size_t i = 0; hw_commands()[i] != NULL; i++) {
        (void)printf("%-12s %s\n", hw_commands()[i]->name, hw_commands()[i]->summary);
    }
    return HW_OK;
}

const struct hw_command hw_command_list = {
    .name = "list",
    .summary = "list what this build can do",
    .arguments = "commands",
    .min_arguments = 1,
    .max_arguments = 1,
    .description = "Lists the commands of this build.",
    .examples = "headwater list commands\n",
    .run = run,
};
