// headwater merge: the parts of a run, or finished captures, into one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/merge.h"
#include "tools/command.h"

static const char PARTS[] = ".parts";

struct merge_options {
    const char *out;
    bool is_virtual;
    bool is_overwrite;
};

static const struct hw_option options[] = {
    HW_OPTION_STRING(struct merge_options, out, "out", "FILE.h5", NULL,
                     "The merged capture; for a folder RUN.h5.parts it is RUN.h5 where this is not "
                     "given."),
    HW_OPTION_FLAG(
        struct merge_options, is_virtual, "virtual",
        "Of a run's folder: write a small file that refers to its parts, which stay, instead "
        "of copying them."),
    HW_OPTION_FLAG(struct merge_options, is_overwrite, "overwrite",
                   "Replace FILE.h5 where it exists."),
};

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

// RUN.h5 of RUN.h5.parts (with or without a slash behind it), from malloc; NULL: the folder has
// another name.
static char *out_of_folder(const char *folder) {
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/') {
        n--;
    }
    size_t tail = sizeof PARTS - 1;
    if (n <= tail || memcmp(folder + n - tail, PARTS, tail) != 0) {
        return NULL;
    }
    return strndup(folder, n - tail);
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct merge_options *opt = in->options;
    const char *first = in->arguments[0];
    bool is_parts = in->n_arguments == 1 && is_folder(first);
    char *out = NULL;
    if (opt->out == NULL && is_parts) {
        out = out_of_folder(first);
    }
    struct hw_merge_options how = {
        .out_path = opt->out != NULL ? opt->out : out,
        .is_virtual = opt->is_virtual,
        .is_overwrite = opt->is_overwrite,
        .n_threads = (int)in->common.threads,
    };
    enum hw_status status;
    if (how.out_path == NULL) {
        status = hw_fail(err, HW_USAGE,
                         "merge: option --out is needed here (expected the name of the merged "
                         "capture, found none)");
    } else if (is_parts) {
        status = hw_merge_folder(first, &how, err);
    } else {
        status = hw_merge_captures(in->arguments, in->n_arguments, &how, err);
    }
    if (status == HW_OK) {
        hw_note(in, "%s: merged", how.out_path);
    }
    free(out);
    return status;
}

const struct hw_command hw_command_merge = {
    .name = "merge",
    .summary = "make one capture of parts or captures",
    .arguments = "RUN.h5.parts|CAPTURE.h5...",
    .min_arguments = 1,
    .max_arguments = HW_ANY_NUMBER,
    .description =
        "Of the folder of a run whose shards are all done, makes the capture that the run without "
        "shards would have made, and removes the folder. Of captures that record the same, makes "
        "one with the prompts of all, in the order given. The file appears when it is whole; what "
        "is merged is not changed.",
    .examples = "headwater merge run.h5.parts\n"
                "headwater merge --out all.h5 monday.h5 tuesday.h5\n",
    .common = HW_COMMON_THREADS | HW_COMMON_QUIET,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct merge_options),
    .run = run,
};
