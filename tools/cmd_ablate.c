// headwater ablate: change heads, layers or groups of a model one after another, and say what each
// costs.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/fault.h"
#include "tools/ablate_report.h"
#include "tools/ablate_setup.h"
#include "tools/progress.h"
#include "tools/report.h"

static const struct hw_option options[] = {
    HW_OPTIONS_INPUT(struct ablate_options, input),
    HW_OPTION_GROUP("What is changed, one after another"),
    HW_OPTION_STRING(struct ablate_options, heads, "heads", "SEL", NULL,
                     "Query heads: 9.6,9.9 or 10 (a layer) or all or @FILE. Without any selection: "
                     "all."),
    HW_OPTION_STRING(struct ablate_options, kv_heads, "kv-heads", "SEL", NULL,
                     "Key/value heads, each with all its query heads."),
    HW_OPTION_STRING(struct ablate_options, attn, "attn", "LAYERS", NULL,
                     "The attention of each of these layers."),
    HW_OPTION_STRING(struct ablate_options, mlp, "mlp", "LAYERS", NULL,
                     "The MLP of each of these layers."),
    HW_OPTION_STRING(struct ablate_options, groups, "groups", "FILE.json", NULL,
                     "Named groups of heads: {\"name\": \"9.6,9.9\", ...}."),
    HW_OPTION_FLAG(struct ablate_options, only, "only",
                   "Change all other heads of the layer in each head's place."),
    HW_OPTION_STRING(struct ablate_options, cumulative, "cumulative", "N,N...", NULL,
                     "The first N heads of --heads together, for each N."),
    HW_OPTION_COUNT(struct ablate_options, random_controls, "random-controls", "N", NULL, 1, 10000,
                    "Beside each set of heads, N sets of as many others at random; without "
                    "--cumulative the set is all of --heads."),
    HW_OPTION_COUNT(struct ablate_options, seed, "seed", "S", "0", 0, UINT32_MAX,
                    "Of the random sets."),
    HW_OPTION_GROUP("How, and what is measured"),
    HW_OPTION_LIST(struct ablate_options, edits, "edit", "REPLACEMENT[:key=value...]",
                   "How a unit is changed: zero, mean, uniform, ... (`headwater list edits`). Each "
                   "is an arm of its own; one with a target is measured as given."),
    HW_OPTION_STRING(struct ablate_options, metric, "metric", "LIST", "loss,loss_change",
                     "Metrics with commas between (`headwater list metrics`); the first one orders "
                     "the table."),
    HW_OPTION_STRING(struct ablate_options, positions, "positions", "SELECTOR", NULL,
                     "Tokens whose loss counts, and positions whose predictions count: all, first, "
                     "last, 3-7, or a span's name. Without it all, and the last for metrics of a "
                     "target."),
    HW_OPTION_STRING(struct ablate_options, means_by, "means-by", "KEY", NULL,
                     "For mean and position_mean: prompts with the same value under this key of "
                     "their objects are a group."),
    HW_OPTION_COUNT(struct ablate_options, generate, "generate", "N", NULL, 1, 1 << 16,
                    "For exact_match: generate up to N tokens greedily after each prompt, with the "
                    "change, until they begin with the target or cannot any more."),
    HW_OPTION_GROUP("Output"),
    HW_OPTION_STRING(struct ablate_options, out, "out", "FILE.h5", NULL,
                     "The result. What is done is kept in FILE.h5.parts/ until it is complete; the "
                     "same command continues an interrupted run."),
    HW_OPTION_FLAG(struct ablate_options, overwrite, "overwrite",
                   "Replace FILE.h5, if it is a result, when this one is whole."),
    HW_OPTION_COUNT(struct ablate_options, top, "top", "N", "20", 1, 1000000,
                    "Most lines in a table."),
    HW_OPTION_FLAG(struct ablate_options, estimate, "estimate",
                   "Print memory, arithmetic and time, and stop."),
    HW_OPTION_COUNT(struct ablate_options, batch, "batch", "N", NULL, 1, 1 << 20,
                    "Changed runs that pass together at most; without it as memory allows. Results "
                    "do not depend on it."),
    HW_OPTION_CHOICE(struct ablate_options, kernels, "kernels", "auto|plain|avx2|avx512", "auto",
                     "Highest level of kernels to use."),
    HW_OPTION_STRING(struct ablate_options, fault, "fault", "POINT:N", NULL, NULL),
};

static enum hw_status check_options(const struct hw_invocation *in, struct hw_error *err) {
    const struct ablate_options *opt = in->options;
    enum hw_status status = hw_inputs_check(in, &opt->input, err);
    if (status != HW_OK) {
        return status;
    }
    if (opt->out == NULL && !opt->estimate) {
        return hw_fail(err, HW_USAGE, "ablate needs --out FILE.h5 (or --estimate)");
    }
    if (opt->out != NULL && opt->out[0] == '\0') {
        return hw_fail(err, HW_USAGE, "--out needs a name (found an empty one)");
    }
    status = opt->out != NULL ? hw_cells_check_output(opt->out, opt->overwrite, err) : HW_OK;
    return status == HW_OK && opt->fault != NULL ? hw_fault_arm(opt->fault, err) : status;
}

// Logits are of single tokens.
static void warn_targets(const struct hw_invocation *in, const struct ablate_setup *setup) {
    const bool *wanted = setup->wanted;
    const struct hw_tokenizer *tokenizer = setup->inputs.tokenizer;
    if (tokenizer == NULL || !(wanted[HW_METRIC_TARGET_LOGIT] || wanted[HW_METRIC_RANK] ||
                               wanted[HW_METRIC_LOGIT_DIFFERENCE])) {
        return;
    }
    for (size_t p = 0; p < setup->inputs.prompts.n; p++) {
        const struct hw_prompt *prompt = &setup->inputs.prompts.items[p];
        const char *texts[] = {prompt->target, prompt->foil};
        for (int i = 0; i < 2; i++) {
            struct hw_tokens tokens = {0};
            struct hw_error inner;
            if (texts[i][0] != '\0' &&
                hw_tokenizer_encode(tokenizer, texts[i], strlen(texts[i]), HW_BOS_NO, &tokens,
                                    &inner) == HW_OK &&
                tokens.n > 1) {
                hw_note(in, "prompt %zu: its %s has %zu tokens; the first one counts", p,
                        i == 0 ? "target" : "foil", tokens.n);
            }
            hw_tokens_free(&tokens);
        }
    }
}

static void show_progress(void *self, double done, double all) {
    struct hw_progress *progress = self;
    progress->total = (uint64_t)all;
    hw_progress_update(progress, (uint64_t)done);
}

static void show_preparation(void *self, uint64_t done, uint64_t all) {
    struct hw_progress *progress = self;
    progress->total = all;
    hw_progress_update(progress, done);
}

// Part of the error: --quiet does not silence it.
static void print_continuation(const struct hw_invocation *in) {
    char *command = hw_command_line(in, true);
    if (command != NULL) {
        (void)fprintf(stderr, "headwater: to continue: %s\n", command);
    }
    free(command);
}

static enum hw_status run_cells(struct hw_invocation *in, struct ablate_setup *setup,
                                struct hw_cells *cells, char **errors, struct hw_error *err) {
    struct hw_sweep *sweep = NULL;
    struct hw_progress progress;
    enum hw_status status = hw_sweep_open(&setup->sweep, &sweep, err);
    if (status == HW_OK && setup->sources != NULL) {
        hw_progress_begin(&progress, in->common.progress, "means", "tokens", 0);
        status = hw_edit_sources_prepare(setup->sources, hw_sweep_session(sweep), show_preparation,
                                         &progress, err);
        hw_progress_end(&progress);
    }
    if (status == HW_OK) {
        hw_progress_begin(&progress, in->common.progress, "ablate", "layers", 0);
        struct hw_ablation_job job = {.ablation = &setup->ablation,
                                      .desc = &setup->inputs.model->desc,
                                      .prompts = &setup->inputs.prompts,
                                      .sweep = sweep,
                                      .cells = cells,
                                      .progress = show_progress,
                                      .progress_self = &progress,
                                      .stop = &hw_stop_signal,
                                      .errors = errors};
        status = hw_ablation_run(&job, err);
        hw_progress_end(&progress);
    }
    hw_sweep_close(&sweep);
    return status;
}

static void describe_result(const struct hw_invocation *in, const struct ablate_setup *setup,
                            struct hw_result *result) {
    const struct ablate_options *opt = in->options;
    char *edits = json_dumps(json_object_get(setup->manifest, "edits"), JSON_COMPACT);
    const char *text = edits != NULL ? edits : "";
    hw_result_set_text(result, "model_name", opt->input.model);
    hw_result_set_text(result, "model_sha256", setup->model_sha256);
    hw_result_set_text(result, "prompts_sha256", setup->prompts_sha256);
    hw_result_set_text(result, "positions", opt->positions != NULL ? opt->positions : "");
    hw_result_set_text(result, "heads", opt->heads != NULL ? opt->heads : "");
    hw_result_set_text(result, "means_by", opt->means_by != NULL ? opt->means_by : "");
    hw_result_set_integer(result, "only", opt->only);
    hw_result_set_integer(result, "seed", (int64_t)opt->seed);
    hw_result_set_integer(result, "n_prompts", (int64_t)setup->inputs.prompts.n);
    hw_result_set_text(result, "command_line", setup->command_line);
    hw_result_add(result,
                  &(struct hw_result_field){"edits_json",
                                            HW_RESULT_TEXT,
                                            {NULL},
                                            "how units are changed",
                                            "1",
                                            "The edits as a JSON list, expanded."},
                  &text);
    free(edits);
}

// File, then text or JSON.
static enum hw_status report(const struct hw_invocation *in, const struct ablate_setup *setup,
                             struct hw_cells *cells, char *const *errors, struct hw_error *err) {
    const struct ablate_options *opt = in->options;
    struct ablate_view view = {.ablation = &setup->ablation,
                               .cells = cells,
                               .prompts = &setup->inputs.prompts,
                               .errors = errors,
                               .model = opt->input.model,
                               .top = opt->top};
    struct hw_result *result = NULL;
    json_t *document = NULL;
    enum hw_status status = hw_result_open(in->command->name, &result, err);
    if (status == HW_OK) {
        describe_result(in, setup, result);
        status = hw_ablate_fill(result, &view, err);
    }
    status = status == HW_OK ? hw_result_status(result, err) : status;
    if (status == HW_OK && in->common.json) {
        document = hw_ablate_document(result, &view);
    }
    status = status == HW_OK ? hw_cells_finish(cells, result, err) : status;
    if (status == HW_OK) {
        hw_note(in, "%s: written", opt->out);
        status = in->common.json ? hw_json_print(document, err) : hw_ablate_print(&view, err);
        document = NULL;
    }
    json_decref(document);
    hw_result_close(&result);
    return status;
}

static enum hw_status judge_count(size_t n_failed, size_t n, struct hw_error *err) {
    return n_failed == 0
               ? HW_OK
               : hw_fail(err, HW_PARTIAL,
                         "%zu of %zu prompts failed and are marked (prompt_status, prompt_error)",
                         n_failed, n);
}

static enum hw_status judge_errors(const struct hw_invocation *in, const struct ablate_setup *setup,
                                   char *const *errors, struct hw_error *err) {
    size_t n = setup->inputs.prompts.n, n_failed = 0, first = 0;
    for (size_t p = n; p-- > 0;) {
        if (errors[p] != NULL) {
            hw_note(in, "prompt %zu failed: %s", p, errors[p]);
            n_failed++;
            first = p;
        }
    }
    return n_failed == n
               ? hw_fail(err, HW_INPUT, "none of the %zu prompts can be measured (the first: %s)",
                         n, errors[first])
               : judge_count(n_failed, n, err);
}

// Of a file that is complete already.
static enum hw_status judge_file(const struct hw_invocation *in, size_t n, struct hw_error *err) {
    const struct ablate_options *opt = in->options;
    struct hw_result *result = NULL;
    size_t n_failed = 0;
    enum hw_status status = hw_result_read(opt->out, &result, err);
    for (size_t i = 0; status == HW_OK && i < hw_result_n_arrays(result); i++) {
        struct hw_result_array_view a = hw_result_array_at(result, i);
        bool is_status =
            strcmp(a.field.name, "prompt_status") == 0 && a.field.type == HW_RESULT_INTEGER;
        for (size_t p = 0; p < a.n_values && is_status; p++) {
            n_failed += ((const int64_t *)a.values)[p] == HW_PROMPT_FAILED;
        }
    }
    hw_result_close(&result);
    hw_note(in, "%s: already complete (%zu prompts)", opt->out, n);
    return status == HW_OK ? judge_count(n_failed, n, err) : status;
}

static enum hw_status run_ablation(struct hw_invocation *in, struct ablate_setup *setup,
                                   struct hw_error *err) {
    const struct ablate_options *opt = in->options;
    struct hw_cells *cells = NULL;
    bool is_complete = false;
    size_t n = setup->inputs.prompts.n;
    char **errors = calloc(n, sizeof *errors);
    struct hw_cells_options how = {.out_path = opt->out,
                                   .manifest = setup->manifest,
                                   .n_cells = hw_ablation_n_cells(&setup->ablation),
                                   .is_overwriting = opt->overwrite};
    enum hw_status status = errors != NULL ? hw_cells_open(&how, &cells, &is_complete, err)
                                           : hw_fail(err, HW_RESOURCE, "not enough memory");
    if (status == HW_OK && is_complete) {
        status = judge_file(in, n, err);
    } else if (status == HW_OK) {
        warn_targets(in, setup);
        hw_detail(in, "kernels: %s", setup->kernels);
        hw_detail(in, "plan: %zu changed runs together, %.1f MB at peak, %.0f GFLOP, about %.0f s",
                  setup->plan.batch, (double)setup->peak_bytes / 1e6, setup->flops / 1e9,
                  setup->seconds);
        hw_catch_stop_signals();
        status = run_cells(in, setup, cells, errors, err);
        in->signal = status == HW_STOPPED ? hw_stop_signal : 0;
        struct hw_error inner = {0};
        enum hw_status judged = status == HW_OK ? judge_errors(in, setup, errors, &inner) : status;
        if (status == HW_OK && judged != HW_INPUT) {
            status = report(in, setup, cells, errors, err);
        }
        if (status != HW_OK) {
            print_continuation(in);
        }
        status =
            status == HW_OK && judged != HW_OK ? hw_fail(err, judged, "%s", inner.message) : status;
    }
    hw_cells_close(&cells);
    for (size_t p = 0; errors != NULL && p < n; p++) {
        free(errors[p]);
    }
    free(errors);
    return status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct ablate_options *opt = in->options;
    struct ablate_setup setup = {0};
    enum hw_status status = check_options(in, err);
    status = status == HW_OK ? hw_ablate_setup(in, &setup, err) : status;
    if (status == HW_OK) {
        status = opt->estimate ? hw_ablate_print_estimate(in, &setup, err)
                               : run_ablation(in, &setup, err);
    }
    hw_ablate_teardown(&setup);
    return status;
}

const struct hw_command hw_command_ablate = {
    .name = "ablate",
    .summary = "change heads, layers or groups one after another and measure each",
    .arguments = "",
    .description =
        "Changes every head of a model (or key/value heads, layers, groups) in turn, in each of "
        "the ways named by --edit, and says what that does to the metrics, over all prompts. A "
        "value equals, bit for bit, that of a run of the changed model by itself.\n\n"
        "The table is sorted by effect: how much the first metric got worse. A run that was "
        "stopped or killed continues with the same command.",
    .examples = "headwater ablate --model M --prompts P --edit zero --out a.h5\n"
                "headwater ablate --model M --prompts P --heads 9-11 --edit zero --edit mean \\\n"
                "    --metric loss,kl --out a.h5\n"
                "headwater ablate --model M --prompts P --heads @retrieval.json \\\n"
                "    --cumulative 5,10 --random-controls 5 --edit uniform:rows=decode --out a.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_PROGRESS | HW_COMMON_THREADS | HW_COMMON_MEMORY |
              HW_COMMON_QUIET | HW_COMMON_VERBOSE,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct ablate_options),
    .run = run,
};
