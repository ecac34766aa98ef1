// headwater info: what is in a model or a capture.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/command.h"
#include "tools/info.h"
#include "tools/report.h"

// A file that is there and begins like none that can be read.
static bool is_strange(const char *path) {
    char start[4];
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) {
        return false; // a folder, org/name, or nothing: opening it says more
    }
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    size_t n = fread(start, 1, sizeof start, file);
    (void)fclose(file);
    return n < sizeof start || memcmp(start, "GGUF", sizeof start) != 0;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const char *path = in->arguments[0];
    json_t *document = NULL;
    bool is_capture = hw_info_is_hdf5(path);
    if (!is_capture && is_strange(path)) {
        return hw_fail(err, HW_INPUT, "%s: is neither a GGUF file nor an HDF5 capture nor a folder",
                       path);
    }
    enum hw_status status =
        is_capture ? hw_info_capture(path, &document, err) : hw_info_model(path, &document, err);
    if (status != HW_OK) {
        return status;
    }
    if (in->common.json) {
        return hw_json_print(document, err);
    }
    status = is_capture ? hw_info_print_capture(document, err) : hw_info_print_model(document, err);
    json_decref(document);
    return status;
}

const struct hw_command hw_command_info = {
    .name = "info",
    .summary = "say what is in a model or a capture",
    .arguments = "FILE",
    .min_arguments = 1,
    .max_arguments = 1,
    .description = "A model: its family, shape, parameters, number formats, tokenizer. FILE is a "
                   "GGUF file, a folder with config.json and safetensors, or org/name in the local "
                   "hub cache.\n\nA capture: the run and model it comes from, its prompts, and "
                   "every dataset with its type and shape; --json adds the prompts one by one and "
                   "more of the provenance.",
    .examples = "headwater info smollm2.gguf\nheadwater info run.h5\n",
    .common = HW_COMMON_JSON,
    .run = run,
};
