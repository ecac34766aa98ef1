// headwater prompts: prompt files for the analyses that need prompts of a certain make. Its kinds
// are in prompts_kinds.h.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/commit.h"
#include "kernels/size.h"
#include "tools/places.h"
#include "tools/prompts_kinds.h"

static const struct prompts_kind *const kinds[] = {&hw_prompts_ioi, &hw_prompts_needle,
                                                   &hw_prompts_repeat};

static const struct hw_option options[] = {
    HW_OPTION_STRING(struct prompts_options, model, "model", "PATH", NULL,
                     "A GGUF file, a folder with safetensors, or org/name of the hub cache: ids "
                     "and lengths are counted with its tokenizer."),
    HW_OPTION_STRING(struct prompts_options, out, "out", "FILE.jsonl", NULL,
                     "Where the prompts go, an object a line; otherwise to stdout."),
    HW_OPTION_FLAG(struct prompts_options, overwrite, "overwrite",
                   "Replace FILE.jsonl where it exists."),
    HW_OPTION_COUNT(struct prompts_options, count, "count", "N", NULL, 1, 1 << 20,
                    "How many prompts."),
    HW_OPTION_COUNT(struct prompts_options, seed, "seed", "S", "0", 0, 9007199254740992.0,
                    "Start of the random numbers: the same seed gives the same prompts, and "
                    "prompt i does not depend on how many there are."),
    HW_OPTIONS_PROMPTS_IOI(struct prompts_options, ioi),
    HW_OPTIONS_PROMPTS_NEEDLE(struct prompts_options, needle),
    HW_OPTIONS_PROMPTS_REPEAT(struct prompts_options, repeat),
};

static const char *const every_kind[] = {"model", "out", "overwrite", NULL};

static bool is_among(const char *name, const char *const *names) {
    for (; *names != NULL; names++) {
        if (strcmp(name, *names) == 0) {
            return true;
        }
    }
    return false;
}

static enum hw_status find_kind(const struct hw_invocation *in,
                                const struct prompts_kind **ret_kind, struct hw_error *err) {
    char known[128] = "";
    const char *name = in->arguments[0];
    for (size_t i = 0; i < HW_LENGTH(kinds); i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            *ret_kind = kinds[i];
            return HW_OK;
        }
        size_t n = strlen(known);
        (void)snprintf(known + n, sizeof known - n, "%s%s", i > 0 ? ", " : "", kinds[i]->name);
    }
    char shown[100];
    return hw_fail(err, HW_USAGE, "prompts: no such kind (expected %s, found '%s')", known,
                   hw_escape(shown, sizeof shown, name, strlen(name)));
}

// What --overwrite would replace: prompts, which begin with a brace, and none of the inputs.
static enum hw_status check_replaced(const struct prompts_options *opt, struct hw_error *err) {
    const char *const inputs[] = {opt->model, opt->needle.needles, opt->needle.haystack};
    struct stat out;
    if (opt->out == NULL || stat(opt->out, &out) != 0) {
        return HW_OK;
    }
    if (!S_ISREG(out.st_mode)) {
        return hw_fail(err, HW_OUTPUT, "%s: is no regular file", opt->out);
    }
    for (size_t i = 0; i < HW_LENGTH(inputs); i++) {
        struct stat input;
        if (inputs[i] != NULL && stat(inputs[i], &input) == 0 && input.st_dev == out.st_dev &&
            input.st_ino == out.st_ino) {
            return hw_fail(err, HW_OUTPUT, "%s: is one of the inputs", opt->out);
        }
    }
    FILE *file = fopen(opt->out, "re");
    int first = file != NULL ? fgetc(file) : EOF;
    if (file != NULL) {
        (void)fclose(file);
    }
    return first == '{' || out.st_size == 0
               ? HW_OK
               : hw_fail(err, HW_OUTPUT,
                         "%s: is no file of prompts (--overwrite replaces only those)", opt->out);
}

static enum hw_status check_options(const struct hw_invocation *in, const struct prompts_kind *kind,
                                    struct hw_error *err) {
    for (size_t i = 0; i < HW_LENGTH(options); i++) {
        if (in->given[i] && !is_among(options[i].name, every_kind) &&
            !is_among(options[i].name, kind->options)) {
            return hw_fail(err, HW_USAGE, "prompts: option --%s is not one of %s", options[i].name,
                           kind->name);
        }
    }
    const struct prompts_options *opt = in->options;
    if (opt->model == NULL) {
        return hw_fail(err, HW_USAGE, "prompts: --model is missing");
    }
    if (opt->out != NULL && !opt->overwrite && access(opt->out, F_OK) == 0) {
        return hw_fail(err, HW_OUTPUT,
                       "%s: exists already (expected a new name, or --overwrite to replace it)",
                       opt->out);
    }
    return check_replaced(opt, err);
}

enum hw_status hw_prompts_emit(struct prompts_job *job, json_t *object, size_t n_tokens,
                               struct hw_error *err) {
    if (object == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a prompt");
    }
    errno = 0;
    bool is_good = json_dumpf(object, job->file, JSON_COMPACT) == 0 && fputc('\n', job->file) >= 0;
    json_decref(object);
    if (!is_good) {
        return hw_fail(err, HW_OUTPUT, "%s: cannot be written (%s)",
                       job->options->out != NULL ? job->options->out : "stdout",
                       errno != 0 ? strerror(errno) : "no memory");
    }
    job->min_tokens = job->n_lines > 0 ? hw_size_min(job->min_tokens, n_tokens) : n_tokens;
    job->max_tokens = hw_size_max(job->max_tokens, n_tokens);
    job->n_lines++;
    return HW_OK;
}

// To a temporary file that gets its name when all of it is there.
static enum hw_status write_file(struct prompts_job *job, const struct prompts_kind *kind,
                                 struct hw_error *err) {
    const char *path = job->options->out;
    char *temporary = hw_commit_temporary(path);
    if (temporary == NULL) {
        return hw_fail(err, HW_RESOURCE, "%s: not enough memory", path);
    }
    job->file = fopen(temporary, "wx");
    if (job->file == NULL) {
        enum hw_status status =
            hw_fail(err, HW_OUTPUT, "%s: cannot be created: %s", path, strerror(errno));
        free(temporary);
        return status;
    }
    enum hw_status status = kind->make(job, err);
    if (fclose(job->file) != 0 && status == HW_OK) {
        status = hw_fail(err, HW_OUTPUT, "%s: cannot be written: %s", path, strerror(errno));
    }
    status = status == HW_OK ? hw_commit_sync(temporary, err) : status;
    if (status == HW_OK) {
        status = job->options->overwrite ? hw_commit_replace(temporary, path, err)
                                         : hw_commit_rename(temporary, path, err);
    }
    if (status != HW_OK) {
        (void)unlink(temporary);
    }
    free(temporary);
    return status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct prompts_options *opt = in->options;
    const struct prompts_kind *kind = NULL;
    struct hw_model *model = NULL;
    struct hw_tokenizer *tokenizer = NULL;
    char *path = NULL;
    enum hw_status status = find_kind(in, &kind, err);
    status = status == HW_OK ? check_options(in, kind, err) : status;
    status = status == HW_OK ? hw_place_of_model(opt->model, &path, err) : status;
    status = status == HW_OK ? hw_model_open(path, &model, err) : status;
    status = status == HW_OK ? hw_tokenizer_open(model->checkpoint, &tokenizer, err) : status;
    if (status != HW_OK) {
        goto cleanup;
    }
    struct prompts_job job = {.in = in,
                              .options = opt,
                              .model = model,
                              .tokenizer = tokenizer,
                              .n_vocab =
                                  hw_size_min(model->desc.n_vocab, hw_tokenizer_n_vocab(tokenizer)),
                              .file = stdout};
    status = opt->out != NULL ? write_file(&job, kind, err) : kind->make(&job, err);
    if (status == HW_OK && opt->out != NULL) {
        char range[64];
        (void)snprintf(range, sizeof range,
                       job.min_tokens == job.max_tokens ? "T = %zu" : "T = %zu to %zu",
                       job.min_tokens, job.max_tokens);
        hw_note(in, "%s: %zu prompt%s, %s", opt->out, job.n_lines, job.n_lines == 1 ? "" : "s",
                range);
    }
cleanup:
    free(path);
    hw_tokenizer_close(&tokenizer);
    hw_model_close(&model);
    return status;
}

const struct hw_command hw_command_prompts = {
    .name = "prompts",
    .summary = "make prompt files for the analyses that need them",
    .arguments = "KIND",
    .min_arguments = 1,
    .max_arguments = 1,
    .description =
        "ioi: sentences in which one of two people gives the other something (indirect object "
        "identification). The line keeps target, foil and a counterpart of as many tokens, for "
        "`headwater ablate` and patching.\n\n"
        "needle: a sentence (the needle) put into a long text, and a question about it, as "
        "retrieval heads are found with. The line keeps answer, needle span, length and depth, "
        "which `headwater retrieval` reads from the capture.\n\n"
        "repeat: random token ids, repeated, as induction heads are found with. The line keeps "
        "period, repeats and first token, which `headwater induction` reads from the capture.",
    .examples =
        "headwater prompts ioi --model m.gguf --count 40 --out ioi.jsonl\n"
        "headwater prompts needle --model m.gguf --lengths 512:4096:5 --out needle.jsonl\n"
        "headwater prompts repeat --model m.gguf --out repeat.jsonl\n"
        "headwater prompts repeat --model m.gguf --preset razor --n 200 --out razor.jsonl\n",
    .common = HW_COMMON_QUIET,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct prompts_options),
    .run = run,
};
