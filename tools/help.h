// Help text, man pages and completion, all made from the option tables.
#ifndef HW_HELP_H
#define HW_HELP_H

#include <stdio.h>

#include "tools/command.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_HELP_COLUMNS = 80 };

void hw_help_overview(FILE *out);                                  // all commands
void hw_help_command(FILE *out, const struct hw_command *command); // one command
void hw_help_man(FILE *out, const struct hw_command *command);     // roff; NULL: headwater(1)
void hw_help_bash(FILE *out);                                      // completion for bash

// Prints words of text between column `first` and `columns`, starting at column `at`; ends with a
// newline.
void hw_help_wrap(FILE *out, const char *text, int at, int first, int columns);

#ifdef __cplusplus
}
#endif
#endif
