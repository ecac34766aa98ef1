// Man pages and bash completion from the option tables; see help.h.
#include "tools/help.h"

#include <string.h>

// Text as roff: hyphens that can be copied, backslashes and leading control characters made
// harmless.
static void print_roff(FILE *out, const char *text) {
    bool is_line_start = true;
    for (; *text != '\0'; text++) {
        if (is_line_start && (*text == '.' || *text == '\'')) {
            (void)fputs("\\&", out);
        }
        if (*text == '\\') {
            (void)fputs("\\e", out);
        } else if (*text == '-') {
            (void)fputs("\\-", out);
        } else {
            (void)fputc(*text, out);
        }
        is_line_start = *text == '\n';
    }
}

static void print_roff_option(FILE *out, const struct hw_option *option) {
    if (option->help == NULL && option->kind != HW_KIND_GROUP) {
        return;
    }
    if (option->kind == HW_KIND_GROUP) {
        (void)fputs(".SS ", out);
        print_roff(out, option->name);
        (void)fputc('\n', out);
        return;
    }
    (void)fputs(".TP\n\\fB", out);
    print_roff(out, "--");
    print_roff(out, option->name);
    (void)fputs("\\fR", out);
    if (option->argument != NULL) {
        (void)fputs(" \\fI", out);
        print_roff(out, option->argument);
        (void)fputs("\\fR", out);
    }
    (void)fputc('\n', out);
    print_roff(out, option->help);
    if (option->default_text != NULL) {
        (void)fputs(" Default: ", out);
        print_roff(out, option->default_text);
        (void)fputc('.', out);
    }
    (void)fputc('\n', out);
}

static void print_roff_paragraphs(FILE *out, const char *text) {
    while (*text != '\0') {
        const char *end = strstr(text, "\n\n");
        size_t n = end != NULL ? (size_t)(end - text) : strlen(text);
        char paragraph[2048];
        (void)snprintf(paragraph, sizeof paragraph, "%.*s", (int)n, text);
        (void)fputs(*text == ' ' ? ".PP\n.nf\n" : ".PP\n", out);
        print_roff(out, paragraph);
        (void)fputs(*text == ' ' ? "\n.fi\n" : "\n", out);
        text += n + (end != NULL ? 2 : 0);
    }
}

static void print_roff_command(FILE *out, const struct hw_command *command) {
    (void)fprintf(out, ".TH HEADWATER\\-%s 1\n.SH NAME\nheadwater\\-%s \\- ", command->name,
                  command->name);
    print_roff(out, command->summary);
    (void)fprintf(out, "\n.SH SYNOPSIS\n\\fBheadwater %s\\fR [\\fIoptions\\fR] ", command->name);
    print_roff(out, command->arguments);
    (void)fputs("\n.SH DESCRIPTION\n", out);
    print_roff_paragraphs(out, command->description);
    (void)fputs(".SH OPTIONS\n", out);
    for (size_t i = 0; i < command->n_options; i++) {
        print_roff_option(out, &command->options[i]);
    }
    struct hw_option rows[HW_N_COMMON_OPTIONS];
    size_t n_rows = hw_common_options(command->common, rows);
    (void)fputs(".SS Common options\n", out);
    for (size_t i = 0; i < n_rows; i++) {
        print_roff_option(out, &rows[i]);
    }
    (void)fputs(
        ".TP\n\\fB\\-\\-help\\fR, \\fB\\-\\-version\\fR\nPrint the help text, the version.\n", out);
    if (command->examples != NULL) {
        (void)fputs(".SH EXAMPLES\n.nf\n", out);
        print_roff(out, command->examples);
        (void)fputs(".fi\n", out);
    }
    (void)fputs(".SH EXIT STATUS\nSee\n.BR headwater (1).\n", out);
}

void hw_help_man(FILE *out, const struct hw_command *command) {
    if (command != NULL) {
        print_roff_command(out, command);
        return;
    }
    (void)fputs(
        ".TH HEADWATER 1\n.SH NAME\nheadwater \\- record what attention does in every layer "
        "and head of a transformer\n"
        ".SH SYNOPSIS\n\\fBheadwater\\fR \\fICOMMAND\\fR [\\fIoptions\\fR] \\fIFILE\\fR...\n"
        ".SH COMMANDS\n",
        out);
    const struct hw_command *const *commands = hw_commands();
    for (size_t i = 0; commands[i] != NULL; i++) {
        (void)fprintf(out, ".TP\n.BR headwater\\-%s (1)\n", commands[i]->name);
        print_roff(out, commands[i]->summary);
        (void)fputc('\n', out);
    }
    static const char *const codes[][2] = {
        {"0", "Done."},
        {"1", "Found something wrong (verify)."},
        {"2", "The command line is wrong."},
        {"3", "An input file is wrong."},
        {"4", "Not enough memory."},
        {"5", "Output cannot be written, exists, is being written by another process, or belongs "
              "to another run. What was committed is kept."},
        {"6", "Finished, but some prompts failed; they are marked."},
        {"128 + signal", "Stopped by INT, TERM or USR1 after committing."},
    };
    (void)fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; i < HW_LENGTH(codes); i++) {
        (void)fprintf(out, ".TP\n%s\n%s\n", codes[i][0], codes[i][1]);
    }
}

// The case of one option's value: words of a choice, otherwise file names.
static void print_bash_choices(FILE *out, const struct hw_option *options, size_t n_options) {
    for (size_t i = 0; i < n_options; i++) {
        if (options[i].kind == HW_KIND_CHOICE) {
            (void)fprintf(out, "        %s) words=\"", options[i].name);
            for (const char *c = options[i].argument; *c != '\0'; c++) {
                (void)fputc(*c == '|' ? ' ' : *c, out);
            }
            (void)fputs("\" ;;\n", out);
        }
    }
}

static void print_bash_options(FILE *out, const struct hw_option *options, size_t n_options) {
    for (size_t i = 0; i < n_options; i++) {
        if (options[i].kind != HW_KIND_GROUP && options[i].help != NULL) {
            (void)fprintf(out, "--%s ", options[i].name);
        }
    }
}

void hw_help_bash(FILE *out) {
    const struct hw_command *const *commands = hw_commands();
    (void)fputs(
        "# bash completion for headwater, printed by `headwater help --completion bash`\n"
        "_headwater() {\n"
        "    local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
        "    local self=\"${COMP_WORDS[0]##*/}\" command words=\"\"\n"
        "    COMPREPLY=()\n"
        "    if [[ $self == headwater-* ]]; then\n"
        "        command=\"${self#headwater-}\"\n"
        "    elif ((COMP_CWORD == 1)); then\n"
        "        COMPREPLY=($(compgen -W \"",
        out);
    for (size_t i = 0; commands[i] != NULL; i++) {
        (void)fprintf(out, "%s ", commands[i]->name);
    }
    (void)fputs("--help --version\" -- \"$current\"))\n"
                "        return\n"
                "    else\n"
                "        command=\"${COMP_WORDS[1]}\"\n"
                "    fi\n"
                "    case \"$command\" in\n",
                out);
    for (size_t i = 0; commands[i] != NULL; i++) {
        struct hw_option rows[HW_N_COMMON_OPTIONS];
        size_t n_rows = hw_common_options(commands[i]->common, rows);
        (void)fprintf(out, "    %s)\n        case \"${previous#--}\" in\n", commands[i]->name);
        print_bash_choices(out, commands[i]->options, commands[i]->n_options);
        print_bash_choices(out, rows, n_rows);
        (void)fputs("        *) [[ $current == -* ]] && words=\"", out);
        print_bash_options(out, commands[i]->options, commands[i]->n_options);
        print_bash_options(out, rows, n_rows);
        (void)fputs("--help --version\" ;;\n        esac\n        ;;\n", out);
    }
    (void)fputs("    esac\n"
                "    [[ -n $words ]] && COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                "}\n"
                "complete -o default -F _headwater headwater",
                out);
    for (size_t i = 0; commands[i] != NULL; i++) {
        (void)fprintf(out, " headwater-%s", commands[i]->name);
    }
    (void)fputc('\n', out);
}
