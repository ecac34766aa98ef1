// headwater capture: run a model over prompts and record what was asked for into one HDF5 file.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/fault.h"
#include "formats/part.h"
#include "probes/capture.h"
#include "tools/capture_options.h"
#include "tools/command.h"
#include "tools/inputs.h"
#include "tools/progress.h"
#include "tools/report.h"

static const struct hw_option options[] = {
    HW_OPTIONS_INPUT(struct capture_options, input),
    HW_OPTION_GROUP("Changes of the model"),
    HW_OPTION_LIST(
        struct capture_options, edits, "edit", "REPLACEMENT:TARGET[:KEY=VALUE...]",
        "Run the model changed, as zero:head=9.6 or mean:mlp=8 (`headwater list edits`); "
        "what is recorded is of the changed model. Several act together."),
    HW_OPTION_STRING(struct capture_options, means_by, "means-by", "KEY", NULL,
                     "Key of the prompts' objects by which means are grouped; without it they are "
                     "over all prompts."),
    HW_OPTION_GROUP("What is recorded"),
    HW_OPTION_LIST(struct capture_options, records, "record", "NAME[,NAME...][:HEADS]",
                   "What to record, by name (`headwater list records`) or by TransformerLens hook; "
                   "after the colon the layers or heads "
                   "it is narrowed to. May be repeated. Without it: default."),
    HW_OPTION_STRING(struct capture_options, positions, "positions", "SELECTOR", NULL,
                     "Rows of /activations and /logits: all, first, last, 3-7, generated, prefill, "
                     "decode, or a span's name."),
    HW_OPTION_STRING(struct capture_options, attribution_at, "attribution-at", "POS", NULL,
                     "Position of each prompt whose prediction `attribution` takes apart (default: "
                     "the last)."),
    HW_OPTION_FLAG(struct capture_options, means_per_position, "means-per-position",
                   "Of the record means also the means at every position."),
    HW_OPTION_CHOICE(struct capture_options, detail, "detail", "token|prompt", "token",
                     "prompt: keep only the means of statistics over the tokens of each prompt."),
    HW_OPTION_COUNT(struct capture_options, top, "top", "N", "8", 1, HW_MAX_RANK,
                    "Ranks kept of the largest activations, predictions and keys."),
    HW_OPTION_COUNT(struct capture_options, offsets, "offsets", "N", "64", 1, 4096,
                    "Diagonals kept in attention_offset."),
    HW_OPTION_CHOICE(struct capture_options, attention_dtype, "attention-dtype", "f16|f32|u16",
                     "f16", "Type of stored maps."),
    HW_OPTION_CHOICE(struct capture_options, activation_dtype, "activation-dtype", "f32|f16", "f32",
                     "Type of stored activations, logits and vectors."),
    HW_OPTION_COUNT(struct capture_options, generate, "generate", "N", NULL, 1, 1 << 20,
                    "Generate up to N tokens greedily after each prompt; stops at end of text."),
    HW_OPTION_STRING(struct capture_options, stop, "stop", "STRING", NULL,
                     "Also stop when this text was generated; \\n is a new line."),
    HW_OPTION_GROUP("Output"),
    HW_OPTION_STRING(struct capture_options, out, "out", "FILE.h5", NULL,
                     "The capture. Parts are kept in FILE.h5.parts/ until it is complete; the same "
                     "command continues an interrupted run."),
    HW_OPTION_FLAG(
        struct capture_options, overwrite, "overwrite",
        "Replace FILE.h5, if it is a capture, when this one is whole; until then it stays. "
        "Parts of the same run go on, those of another are removed."),
    HW_OPTION_LIST(struct capture_options, labels, "label", "KEY=VALUE",
                   "A label kept as an attribute; may be repeated."),
    HW_OPTION_COUNT(struct capture_options, commit_every, "commit-every", "N", "64", 1, 1 << 20,
                    "Prompts in a part at most."),
    HW_OPTION_STRING(struct capture_options, shard, "shard", "I/N", NULL,
                     "Take every N-th block of prompts, from block I (0-based), and leave the "
                     "parts to `headwater merge`."),
    HW_OPTION_FLAG(struct capture_options, estimate, "estimate",
                   "Print bytes, memory, arithmetic and time, and stop."),
    HW_OPTION_CHOICE(struct capture_options, kernels, "kernels", "auto|plain|avx2|avx512", "auto",
                     "Highest level of kernels to use."),
    HW_OPTION_STRING(struct capture_options, fault, "fault", "POINT:N", NULL, NULL),
};

static void show_progress(void *self, uint64_t n_tokens_done, uint64_t n_tokens) {
    struct hw_progress *progress = self;
    if (strcmp(progress->what, "capture") != 0) {
        int kind = (int)progress->kind;
        hw_progress_end(progress);
        hw_progress_begin(progress, kind, "capture", "tokens", n_tokens);
    }
    progress->total = n_tokens;
    hw_progress_update(progress, n_tokens_done);
}

// The pass that means of edits need; capture's own progress begins when it is over.
static void show_preparing(void *self, uint64_t n_tokens_done, uint64_t n_tokens) {
    struct hw_progress *progress = self;
    if (strcmp(progress->what, "means") != 0) {
        int kind = (int)progress->kind;
        hw_progress_end(progress);
        hw_progress_begin(progress, kind, "means", "tokens", n_tokens);
    }
    hw_progress_update(progress, n_tokens_done);
}

// What is timed ends with the last part committed; the merge is storage.
static void end_progress(void *self) {
    hw_progress_end(self);
}

static enum hw_status check_options(const struct hw_invocation *in, struct hw_error *err) {
    const struct capture_options *opt = in->options;
    enum hw_status status = hw_inputs_check(in, &opt->input, err);
    if (status != HW_OK) {
        return status;
    }
    if (opt->out == NULL && !opt->estimate) {
        return hw_fail(err, HW_USAGE, "capture needs --out FILE.h5 (or --estimate)");
    }
    if (opt->out != NULL && opt->out[0] == '\0') {
        return hw_fail(err, HW_USAGE, "--out needs a name (found an empty one)");
    }
    if (opt->stop != NULL && opt->generate == 0) {
        return hw_fail(err, HW_USAGE, "--stop without --generate N");
    }
    if (opt->overwrite && opt->shard != NULL) {
        return hw_fail(err, HW_USAGE,
                       "--overwrite with --shard would discard what other workers committed "
                       "(expected one of them; remove %s and %s.parts to start anew)",
                       opt->out, opt->out);
    }
    return opt->fault != NULL ? hw_fault_arm(opt->fault, err) : HW_OK;
}

// Part of the error: --quiet does not silence it.
static void print_continuation(const struct hw_invocation *in) {
    char *command = hw_command_line(in, true);
    if (command != NULL) {
        (void)fprintf(stderr, "headwater: to continue: %s\n", command);
    }
    free(command);
}

// The result as JSON; a message that is there already, of prompts that failed, stays the status.
static enum hw_status print_result(const struct hw_invocation *in,
                                   const struct hw_capture_result *result, size_t n_tokens,
                                   struct hw_error *err) {
    const struct capture_options *opt = in->options;
    return hw_json_print(
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:b}", "out", opt->out, "n_prompts",
                  (json_int_t)result->n_prompts, "n_done", (json_int_t)result->n_done, "n_failed",
                  (json_int_t)result->n_failed, "n_tokens", (json_int_t)n_tokens, "seconds",
                  hw_json_real(result->seconds), "was_complete", (int)result->was_complete),
        err);
}

static enum hw_status run_capture(struct hw_invocation *in, struct capture_setup *setup,
                                  struct hw_error *err) {
    const struct capture_options *opt = in->options;
    struct hw_run_options run;
    enum hw_status status = hw_capture_describe(in, setup, &run, err);
    if (status != HW_OK) {
        return status;
    }
    run.part_image_bytes = HW_PART_MEMORY_BYTES;
    struct hw_progress progress;
    hw_progress_begin(&progress, in->common.progress, "capture", "tokens",
                      setup->plan.n_tokens + setup->plan.max_generated);
    struct hw_capture_job job = {.model = setup->model,
                                 .tokenizer = setup->tokenizer,
                                 .prompts = &setup->prompts,
                                 .plan = &setup->plan,
                                 .edits = setup->edit_run,
                                 .stop = setup->stop,
                                 .stop_signal = &hw_stop_signal,
                                 .commit_seconds = 60.0,
                                 .progress = show_progress,
                                 .preparing = show_preparing,
                                 .progress_self = &progress,
                                 .committed = end_progress};
    hw_detail(in, "kernels: %s", setup->kernels);
    hw_detail(in, "plan: %.1f MB at peak, %.0f GFLOP, about %.0f s",
              (double)setup->plan.peak_bytes / 1e6, setup->plan.flops / 1e9, setup->plan.seconds);
    struct hw_capture_result result;
    hw_catch_stop_signals();
    status = hw_capture_run(&job, &run, &result, err);
    hw_progress_end(&progress);
    if (status == HW_STOPPED) {
        in->signal = hw_stop_signal;
    }
    bool is_done = status == HW_OK || status == HW_PARTIAL;
    if (is_done && result.was_complete) {
        hw_note(in, "%s: already complete (%zu prompts)", opt->out, result.n_prompts);
    } else if (is_done && opt->shard == NULL) {
        hw_note(in, "%s: %zu prompts, %zu tokens in %.2f s", opt->out, result.n_prompts,
                setup->plan.n_tokens, result.seconds);
    }
    if (setup->edit_run != NULL && result.was_opened && !result.was_complete) {
        hw_detail(in, "edits: %" PRIu64 " rows written or changed", result.n_applied);
    }
    if (result.was_opened && !is_done) {
        print_continuation(in);
    }
    if (is_done && in->common.json) {
        struct hw_error inner;
        enum hw_status printed = print_result(in, &result, setup->plan.n_tokens, &inner);
        status = printed == HW_OK ? status : hw_fail(err, printed, "%s", inner.message);
    }
    return status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct capture_options *opt = in->options;
    struct capture_setup setup = {0};
    enum hw_status status = check_options(in, err);
    status = status == HW_OK ? hw_capture_setup(in, &setup, err) : status;
    // A file of nothing but marks of failure is worth having where there was none.
    if (status == HW_OK && opt->overwrite && !opt->estimate &&
        setup.plan.n_failed == setup.prompts.n && access(opt->out, F_OK) == 0) {
        status = hw_fail(err, HW_INPUT,
                         "%s: stays as it is: none of the %zu prompts can be run (the first: %s)",
                         opt->out, setup.prompts.n, setup.prompts.items[0].error);
    }
    if (status == HW_OK && opt->estimate) {
        status = hw_capture_print_estimate(in, &setup, err);
    } else if (status == HW_OK) {
        status = run_capture(in, &setup, err);
    }
    hw_capture_teardown(&setup);
    return status;
}

const struct hw_command hw_command_capture = {
    .name = "capture",
    .summary = "run a model over prompts and record it",
    .arguments = "",
    .description = "Runs a model over every prompt and records, for every layer and head, where "
                   "attention goes, which "
                   "tokens are sinks, which activations are massive, how large values are, and "
                   "what else --record names, into "
                   "one HDF5 file.\n\n"
                   "A run that was stopped or killed continues with the same command. Results "
                   "never depend on --threads, on "
                   "the order of prompts, or on what else is recorded.",
    .examples = "headwater capture --model smollm2.gguf --prompts prompts.jsonl --out run.h5\n"
                "headwater capture --model M --text \"Hello world\" --out run.h5 \\\n"
                "    --record default --record attention_maps:4-8\n"
                "headwater capture --model M --prompts P --out run.h5 \\\n"
                "    --generate 50 --record decode_top\n"
                "headwater capture --model M --prompts P --out run.h5 --edit zero:head=9.6,9.9\n",
    .common = HW_COMMON_JSON | HW_COMMON_PROGRESS | HW_COMMON_THREADS | HW_COMMON_MEMORY |
              HW_COMMON_QUIET | HW_COMMON_VERBOSE,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct capture_options),
    .run = run,
};
