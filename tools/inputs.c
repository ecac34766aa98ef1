// Opening what a model is run on; see inputs.h. Everything is read and checked here, before
// anything is computed.
#include "tools/inputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/places.h"

static enum hw_status open_tokenizer(const struct hw_input_options *opt, struct hw_inputs *inputs,
                                     struct hw_error *err) {
    const struct hw_checkpoint *checkpoint = inputs->model->checkpoint;
    bool has_none = hw_checkpoint_container(checkpoint) == HW_CONTAINER_SAFETENSORS &&
                    hw_checkpoint_tokenizer_path(checkpoint) == NULL;
    if (has_none && opt->prompts.n + opt->texts.n == 0) {
        return HW_OK; // token ids need none
    }
    return hw_tokenizer_open(checkpoint, &inputs->tokenizer, err);
}

static enum hw_status read_prompts(const struct hw_input_options *opt, size_t n_generate,
                                   struct hw_inputs *inputs, struct hw_error *err) {
    const struct hw_model_desc *d = &inputs->model->desc;
    struct hw_prompt_source source = {.files = opt->prompts.items,
                                      .n_files = opt->prompts.n,
                                      .texts = opt->texts.items,
                                      .n_texts = opt->texts.n,
                                      .token_files = opt->tokens.items,
                                      .n_token_files = opt->tokens.n};
    size_t limit = 0;
    if (d->position == HW_POSITION_LEARNED) {
        if (n_generate >= d->n_context) {
            return hw_fail(err, HW_USAGE,
                           "--generate %zu (expected less than the model's %zu learned positions)",
                           n_generate, d->n_context);
        }
        limit = d->n_context - n_generate;
    }
    struct hw_prompt_options options = {.add_bos = (enum hw_add_bos)opt->add_bos,
                                        .max_tokens = opt->max_tokens,
                                        .hard_limit = limit};
    return hw_prompts_read(&source, inputs->tokenizer, &options, &inputs->prompts, err);
}

// Ids must exist in the model too: an embedding may have fewer rows than the tokenizer has tokens.
static void check_vocabulary(struct hw_inputs *inputs) {
    for (size_t p = 0; p < inputs->prompts.n; p++) {
        struct hw_prompt *prompt = &inputs->prompts.items[p];
        for (size_t i = 0; i < prompt->n_ids && prompt->status != HW_PROMPT_FAILED; i++) {
            if (prompt->ids[i] >= inputs->model->desc.n_vocab) {
                char text[160];
                (void)snprintf(
                    text, sizeof text,
                    "token %zu is %u (expected an id below the model's vocabulary of %zu)", i,
                    prompt->ids[i], inputs->model->desc.n_vocab);
                char *copy = strdup(text);
                if (copy != NULL) {
                    free(prompt->error);
                    prompt->error = copy;
                }
                prompt->status = HW_PROMPT_FAILED;
                prompt->n_ids = 0;
            }
        }
    }
}

static void warn_prompts(const struct hw_invocation *in, const struct hw_inputs *inputs) {
    const struct hw_model_desc *d = &inputs->model->desc;
    size_t n_long = 0;
    for (size_t p = 0; p < inputs->prompts.n; p++) {
        const struct hw_prompt *prompt = &inputs->prompts.items[p];
        if (prompt->status == HW_PROMPT_FAILED) {
            hw_note(in, "prompt %zu failed: %s", p, prompt->error);
        } else if (prompt->status == HW_PROMPT_TRUNCATED) {
            hw_note(in, "prompt %zu was cut to %zu tokens", p, prompt->n_ids);
        }
        n_long += d->n_context > 0 && prompt->n_ids > d->n_context;
    }
    if (n_long > 0) {
        hw_note(in, "%zu prompts are longer than the %zu tokens the model was trained on", n_long,
                d->n_context);
    }
}

enum hw_status hw_inputs_check(const struct hw_invocation *in, const struct hw_input_options *opt,
                               struct hw_error *err) {
    const char *name = in->command->name;
    if (opt->model == NULL) {
        return hw_fail(err, HW_USAGE, "%s needs --model PATH", name);
    }
    if (opt->prompts.n + opt->texts.n + opt->tokens.n == 0) {
        return hw_fail(err, HW_USAGE,
                       "%s needs prompts: --prompts FILE, --text STRING or --tokens FILE", name);
    }
    return HW_OK;
}

enum hw_status hw_inputs_open(const struct hw_invocation *in, const struct hw_input_options *opt,
                              size_t n_generate, struct hw_inputs *ret_inputs,
                              struct hw_error *err) {
    struct hw_inputs inputs = {0};
    char *path = NULL;
    enum hw_status status = hw_place_of_model(opt->model, &path, err);
    status = status == HW_OK ? hw_model_open(path, &inputs.model, err) : status;
    free(path);
    status = status == HW_OK ? open_tokenizer(opt, &inputs, err) : status;
    status = status == HW_OK ? read_prompts(opt, n_generate, &inputs, err) : status;
    if (status != HW_OK) {
        hw_inputs_close(&inputs);
        return status;
    }
    check_vocabulary(&inputs);
    warn_prompts(in, &inputs);
    *ret_inputs = inputs;
    return HW_OK;
}

void hw_inputs_close(struct hw_inputs *inputs) {
    hw_prompts_free(&inputs->prompts);
    hw_tokenizer_close(&inputs->tokenizer);
    hw_model_close(&inputs->model);
    *inputs = (struct hw_inputs){0};
}

enum hw_status hw_inputs_hash(const struct hw_model *model, const struct hw_input_options *opt,
                              char ret_hex[65], struct hw_error *err) {
    char *hashes = hw_place_of_hashes();
    enum hw_status status = hw_checkpoint_sha256(
        model->checkpoint, (enum hw_model_hash)opt->model_hash, hashes, ret_hex, err);
    free(hashes);
    return status;
}

enum hw_level hw_input_level(int kernels) {
    static const enum hw_level levels[] = {HW_LEVEL_AVX512, HW_LEVEL_PLAIN, HW_LEVEL_AVX2,
                                           HW_LEVEL_AVX512};
    return levels[kernels];
}

// Whether argv[i] disturbs a run, or is the value of such an option.
static bool is_disturbing(const char *const *argv, int i) {
    return strncmp(argv[i], "--fault", 7) == 0 || (i > 0 && strcmp(argv[i - 1], "--fault") == 0);
}

char *hw_command_line(const struct hw_invocation *in, bool is_continuing) {
    int argc = in->argc;
    const char *const *argv = in->argv;
    size_t bytes = 1;
    for (int i = 0; i < argc; i++) {
        bytes += 4 * strlen(argv[i]) + 3;
    }
    char *text = malloc(bytes);
    if (text == NULL) {
        return NULL;
    }
    char *at = text;
    for (int i = 0; i < argc; i++) {
        if (is_continuing && is_disturbing(argv, i)) {
            continue;
        }
        const char *plain =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%^";
        bool is_plain = argv[i][0] != '\0' && argv[i][strspn(argv[i], plain)] == '\0';
        if (i > 0) {
            *at++ = ' ';
        }
        if (!is_plain) {
            *at++ = '\'';
        }
        for (const char *c = argv[i]; *c != '\0'; c++) {
            if (*c == '\'') {
                memcpy(at, "'\\''", 4);
                at += 4;
            } else {
                *at++ = *c;
            }
        }
        if (!is_plain) {
            *at++ = '\'';
        }
    }
    *at = '\0';
    return text;
}

char *hw_kernels_json(const struct hw_ops *ops) {
    json_t *object = json_object();
    for (int op = 0; op < HW_N_OPS; op++) {
        (void)json_object_set_new(object, hw_op_name((enum hw_op)op),
                                  json_string(ops->implementation[op]));
    }
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

volatile sig_atomic_t hw_stop_signal;

static void on_signal(int number) {
    hw_stop_signal = number;
}

void hw_catch_stop_signals(void) {
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND; // a second signal ends the process at once
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGUSR1, &action, NULL);
}
