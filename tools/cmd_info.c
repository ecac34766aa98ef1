// headwater info: what is in a model or a capture.
#include <stdio.h>

#include "tools/command.h"
#include "tools/info.h"
#include "tools/report.h"

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const char *path = in->arguments[0];
    json_t *document = NULL;
    enum hw_status status = hw_info_model(path, &document, err);
    if (status != HW_OK) {
        return status;
    }
    if (in->common.json) {
        return hw_json_print(document, err);
    }
    status = hw_info_print_model(document, err);
    json_decref(document);
    return status;
}

const struct hw_command hw_command_info = {
    .name = "info",
    .summary = "say what is in a model",
    .arguments = "FILE",
    .min_arguments = 1,
    .max_arguments = 1,
    .description = "A model: its family, shape, parameters, number formats, tokenizer. FILE is a "
                   "GGUF file, a folder with config.json and safetensors, or org/name in the local "
                   "hub cache.",
    .examples = "headwater info smollm2.gguf\n",
    .common = HW_COMMON_JSON,
    .run = run,
};
