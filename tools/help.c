// Help text from the option tables; see help.h.
#include "tools/help.h"

#include <string.h>

enum { OPTION_COLUMN = 2, HELP_COLUMN = 26 };

static void pad(FILE *out, int n) {
    for (; n > 0; n--) {
        (void)fputc(' ', out);
    }
}

// Columns of UTF-8 text whose characters all have width one.
static int text_columns(const char *text, size_t n_bytes) {
    int columns = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        columns += ((unsigned char)text[i] & 0xC0) != 0x80;
    }
    return columns;
}

void hw_help_wrap(FILE *out, const char *text, int at, int first, int columns) {
    bool is_line_empty = true;
    if (at > first) {
        (void)fputc('\n', out);
        at = 0;
    }
    while (*text != '\0') {
        size_t n = strcspn(text, " \n");
        int width = text_columns(text, n);
        if (n > 0) {
            if (!is_line_empty && at + 1 + width > columns) {
                (void)fputc('\n', out);
                at = 0;
                is_line_empty = true;
            }
            if (is_line_empty) {
                pad(out, first - at);
                at = first;
            } else {
                (void)fputc(' ', out);
                at++;
            }
            (void)fwrite(text, 1, n, out);
            at += width;
            is_line_empty = false;
        }
        text += n + (text[n] != '\0');
    }
    (void)fputc('\n', out);
}

// Paragraphs, blank lines between; lines that begin with a blank are kept.
static void print_paragraphs(FILE *out, const char *text) {
    while (*text != '\0') {
        const char *end = strstr(text, "\n\n");
        size_t n = end != NULL ? (size_t)(end - text) : strlen(text);
        if (*text == ' ') {
            (void)fprintf(out, "%.*s\n", (int)n, text);
        } else {
            char paragraph[2048];
            (void)snprintf(paragraph, sizeof paragraph, "%.*s", (int)n, text);
            hw_help_wrap(out, paragraph, 0, 0, HW_HELP_COLUMNS);
        }
        (void)fputc('\n', out);
        text += n + (end != NULL ? 2 : 0);
    }
}

// The words of a choice, one line after another where there are many; returns the column after
// them.
static int print_words(FILE *out, const char *words, int at) {
    const int indent = 2 * OPTION_COLUMN;
    while (*words != '\0') {
        size_t n = strcspn(words, "|");
        n += words[n] == '|';
        if (at + (int)n > HW_HELP_COLUMNS && at > indent) {
            at = fprintf(out, "\n%*s", indent, "") - 1;
        }
        (void)fwrite(words, 1, n, out);
        at += (int)n;
        words += n;
    }
    return at;
}

static void print_option(FILE *out, const struct hw_option *option) {
    if (option->help == NULL && option->kind != HW_KIND_GROUP) {
        return;
    }
    if (option->kind == HW_KIND_GROUP) {
        (void)fprintf(out, "\n%s:\n", option->name);
        return;
    }
    int at = fprintf(out, "%*s--%s", OPTION_COLUMN, "", option->name);
    if (option->argument != NULL) {
        (void)fputc(' ', out);
        at = print_words(out, option->argument, at + 1);
    }
    char help[1024];
    if (option->default_text != NULL) {
        (void)snprintf(help, sizeof help, "%s [%s]", option->help, option->default_text);
    } else {
        (void)snprintf(help, sizeof help, "%s", option->help);
    }
    hw_help_wrap(out, help, at + 2 > HELP_COLUMN ? HELP_COLUMN + 1 : at, HELP_COLUMN,
                 HW_HELP_COLUMNS);
}

void hw_help_overview(FILE *out) {
    (void)fputs("headwater: record what attention does in every layer and head of a transformer\n\n"
                "usage: headwater COMMAND [options] FILE...\n\n",
                out);
    const struct hw_command *const *commands = hw_commands();
    for (size_t i = 0; commands[i] != NULL; i++) {
        (void)fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    }
    (void)fputs("\nheadwater help COMMAND, or COMMAND --help, says more about one command.\n\n"
                "Exit codes: 0 done, 1 found something wrong, 2 usage, 3 bad input file,\n"
                "4 not enough memory, 5 output cannot be written, 6 finished but some prompts\n"
                "failed, 128 + signal: stopped by a signal after committing.\n",
                out);
}

void hw_help_command(FILE *out, const struct hw_command *command) {
    (void)fprintf(out, "headwater %s: %s\n\nusage: headwater %s [options]%s%s\n\n", command->name,
                  command->summary, command->name, command->arguments[0] != '\0' ? " " : "",
                  command->arguments);
    print_paragraphs(out, command->description);
    if (command->n_options > 0 && command->options[0].kind != HW_KIND_GROUP) {
        (void)fputs("Options:\n", out);
    }
    for (size_t i = 0; i < command->n_options; i++) {
        print_option(out, &command->options[i]);
    }
    struct hw_option rows[HW_N_COMMON_OPTIONS];
    size_t n_rows = hw_common_options(command->common, rows);
    (void)fprintf(out, "%sCommon options:\n", command->n_options > 0 ? "\n" : "");
    for (size_t i = 0; i < n_rows; i++) {
        print_option(out, &rows[i]);
    }
    static const struct hw_option always[] = {
        {HW_KIND_FLAG, "help", NULL, NULL, "Print this text.", 0, 0, 0},
        {HW_KIND_FLAG, "version", NULL, NULL, "Print the version.", 0, 0, 0},
    };
    for (size_t i = 0; i < HW_LENGTH(always); i++) {
        print_option(out, &always[i]);
    }
    if (command->examples != NULL) {
        (void)fputs("\nExamples:\n", out);
        for (const char *line = command->examples; *line != '\0';) {
            size_t n = strcspn(line, "\n");
            (void)fprintf(out, "  %.*s\n", (int)n, line);
            line += n + (line[n] == '\n');
        }
    }
}
