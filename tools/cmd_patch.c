// headwater patch: put activations of one run into another, one after another, and say what each
// restores or destroys.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/plan.h"
#include "tools/analysis_command.h"
#include "tools/inputs.h"
#include "tools/patch_report.h"
#include "tools/places.h"
#include "tools/progress.h"
#include "tools/report.h"

struct patch_options {
    struct hw_input_options input;
    const char *site;
    const char *over;
    int direction;
    const char *metric;
    const char *positions;
    uint64_t top;
    const char *out;
    bool overwrite;
    uint64_t batch;
    int kernels;
};

static const struct hw_option options[] = {
    HW_OPTIONS_INPUT(struct patch_options, input),
    HW_OPTION_GROUP("What is put in, one after another"),
    HW_OPTION_STRING(struct patch_options, site, "site", "LIST", "resid_pre",
                     "z, resid_pre, resid_mid, attn_out, mlp_out; several with commas."),
    HW_OPTION_STRING(struct patch_options, over, "over", "LIST", "layer,position",
                     "layer, and position and head (z only) where they go one by one; what is "
                     "left out goes all together."),
    HW_OPTION_CHOICE(struct patch_options, direction, "direction", "denoise|noise", "denoise",
                     "denoise: the counterpart is run, and gets activations of the text; noise: "
                     "the text is run, and gets those of the counterpart."),
    HW_OPTION_GROUP("What is measured"),
    HW_OPTION_STRING(struct patch_options, metric, "metric", "LIST", "logit_difference",
                     "Metrics with commas between (`headwater list metrics`); the first one of "
                     "that list orders the table."),
    HW_OPTION_STRING(struct patch_options, positions, "positions", "SELECTOR", NULL,
                     "As in `headwater ablate`: positions that metrics read."),
    HW_OPTION_GROUP("Output"),
    HW_OPTION_STRING(struct patch_options, out, "out", "FILE.h5", NULL,
                     "The result. What is done is kept in FILE.h5.parts/ until it is complete; the "
                     "same command continues an interrupted run."),
    HW_OPTION_FLAG(struct patch_options, overwrite, "overwrite",
                   "Replace FILE.h5, if it is a result, when this one is whole."),
    HW_OPTION_COUNT(struct patch_options, top, "top", "N", "20", 1, 1000000,
                    "Most lines in a table."),
    HW_OPTION_COUNT(struct patch_options, batch, "batch", "N", NULL, 1, 1 << 20,
                    "Changed runs that pass together at most. Results do not depend on it."),
    HW_OPTION_CHOICE(struct patch_options, kernels, "kernels", "auto|plain|avx2|avx512", "auto",
                     "Highest level of kernels to use."),
};

struct setup {
    struct hw_inputs inputs;
    struct hw_patching patching;
    bool wanted[HW_N_METRICS];
    struct hw_positions *positions;
    struct hw_edit_sources *sources;
    struct hw_sweep_options sweep;
    uint32_t **clean_ids;
    char (*hashes)[65];
    char **errors;
    char model_sha256[65];
    char prompts_sha256[65];
    char *hash_folder;
    json_t *manifest;
};

// Whether the word of n bytes at text is `word`.
static bool is_word(const char *text, size_t n, const char *word) {
    return strlen(word) == n && memcmp(word, text, n) == 0;
}

static enum hw_status read_word(struct setup *s, const char *option, const char *at, size_t n,
                                struct hw_error *err) {
    static const enum hw_site sites[] = {HW_SITE_Z, HW_SITE_RESID_PRE, HW_SITE_RESID_MID,
                                         HW_SITE_ATTN_OUT, HW_SITE_MLP_OUT};
    struct hw_patching *p = &s->patching;
    bool is_found = false;
    if (strcmp(option, "metric") == 0) {
        for (int k = 0; k < HW_N_METRICS && !is_found; k++) {
            is_found = k != HW_METRIC_EXACT_MATCH && is_word(at, n, hw_metric_rows[k].name);
            s->wanted[k] = s->wanted[k] || is_found;
        }
    } else if (strcmp(option, "over") == 0) {
        p->by_position = p->by_position || is_word(at, n, "position");
        p->by_head = p->by_head || is_word(at, n, "head");
        is_found = is_word(at, n, "position") || is_word(at, n, "head") || is_word(at, n, "layer");
    } else {
        for (size_t i = 0; i < HW_LENGTH(sites) && !is_found; i++) {
            is_found = is_word(at, n, hw_patch_site_word(sites[i]));
            for (size_t k = 0; k < p->n_sites && is_found; k++) {
                if (p->sites[k] == sites[i]) {
                    return hw_fail(err, HW_USAGE, "--site: %s stands there twice",
                                   hw_patch_site_word(sites[i]));
                }
            }
            if (is_found) {
                p->sites[p->n_sites++] = sites[i];
            }
        }
    }
    char shown[60];
    return is_found ? HW_OK
                    : hw_fail(err, HW_USAGE, "--%s: there is no '%s' (see --help)", option,
                              hw_escape(shown, sizeof shown, at, hw_size_min(n, 20)));
}

static enum hw_status read_list(struct setup *s, const char *option, const char *text,
                                struct hw_error *err) {
    enum hw_status status = HW_OK;
    while (status == HW_OK && text != NULL) {
        size_t n = strcspn(text, ",");
        status = read_word(s, option, text, n, err);
        text = text[n] == ',' ? text + n + 1 : NULL;
    }
    return status;
}

static enum hw_status read_options(const struct patch_options *opt, struct setup *s,
                                   struct hw_error *err) {
    enum hw_status status = read_list(s, "site", opt->site, err);
    status = status == HW_OK ? read_list(s, "over", opt->over, err) : status;
    status = status == HW_OK ? read_list(s, "metric", opt->metric, err) : status;
    if (status == HW_OK && s->patching.by_head &&
        (s->patching.n_sites > 1 || s->patching.sites[0] != HW_SITE_Z)) {
        status = hw_fail(err, HW_USAGE, "--over head goes with --site z (found %s)", opt->site);
    }
    if (status == HW_OK && opt->positions != NULL) {
        status = hw_positions_parse(opt->positions, &s->positions, err);
    }
    if (status == HW_OK && opt->out == NULL) {
        status = hw_fail(err, HW_USAGE, "patch needs --out FILE.h5");
    }
    return status == HW_OK ? hw_cells_check_output(opt->out, opt->overwrite, err) : status;
}

// Ids of a text as the prompt's were read; of one that was cut, as much of it.
static enum hw_status encode(const struct setup *s, const struct patch_options *opt,
                             const struct hw_prompt *prompt, const char *text, uint32_t **ret_ids,
                             struct hw_error *err) {
    struct hw_tokens tokens = {0};
    enum hw_status status = hw_tokenizer_encode(s->inputs.tokenizer, text, strlen(text),
                                                (enum hw_add_bos)opt->input.add_bos, &tokens, err);
    bool is_cut = prompt->status == HW_PROMPT_TRUNCATED;
    size_t n = is_cut ? hw_size_min(tokens.n, prompt->n_ids) : tokens.n;
    if (status == HW_OK && n != prompt->n_ids) {
        status = hw_fail(err, HW_INPUT,
                         "its counterpart has %zu tokens (expected %zu, as many as the prompt)", n,
                         prompt->n_ids);
    }
    uint32_t *ids = status == HW_OK ? calloc(n + 1, sizeof *ids) : NULL;
    if (status == HW_OK && ids == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a counterpart");
    }
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        ids[i] = tokens.items[i].id;
    }
    hw_tokens_free(&tokens);
    if (status == HW_OK) {
        *ret_ids = ids;
    }
    return status;
}

// Keeps the clean tokens; to denoise, text and counterpart change places.
static enum hw_status turn_prompt(struct setup *s, const struct patch_options *opt, size_t p,
                                  struct hw_error *err) {
    struct hw_prompt *prompt = &s->inputs.prompts.items[p];
    uint32_t *ids = NULL, *again = NULL;
    enum hw_status status = HW_OK;
    hw_prompt_sha256(prompt, s->hashes[p]);
    if (prompt->counterpart[0] == '\0') {
        status = hw_fail(err, HW_INPUT, "it has no counterpart");
    } else if (s->inputs.tokenizer == NULL) {
        status = hw_fail(err, HW_INPUT, "its counterpart is text, and the model has no tokenizer");
    }
    status = status == HW_OK ? encode(s, opt, prompt, prompt->counterpart, &ids, err) : status;
    status = status == HW_OK ? encode(s, opt, prompt, prompt->text, &again, err) : status;
    if (status == HW_OK && memcmp(again, prompt->ids, prompt->n_ids * sizeof *again) != 0) {
        status =
            hw_fail(err, HW_INPUT,
                    "its tokens are not those of their text (expected \"text\" in its object)");
    }
    if (status == HW_OK && opt->direction == 0) {
        uint32_t *clean = prompt->ids;
        char *text = prompt->text;
        prompt->ids = ids;
        prompt->text = prompt->counterpart;
        prompt->counterpart = text;
        ids = clean;
    }
    free(ids);
    s->clean_ids[p] = again;
    return status == HW_OK ? HW_OK : hw_fail_context(err, status, "prompt %s: ", prompt->name);
}

static enum hw_status turn_prompts(struct setup *s, const struct patch_options *opt,
                                   struct hw_error *err) {
    size_t n = s->inputs.prompts.n;
    enum hw_status status = HW_OK;
    s->clean_ids = calloc(n, sizeof(uint32_t *));
    s->hashes = calloc(n, sizeof *s->hashes);
    s->errors = calloc(n, sizeof(char *));
    if (s->clean_ids == NULL || s->hashes == NULL || s->errors == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the prompts");
    }
    hw_prompts_sha256(&s->inputs.prompts, s->prompts_sha256);
    for (size_t p = 0; p < n && status == HW_OK; p++) {
        if (s->inputs.prompts.items[p].status != HW_PROMPT_FAILED) {
            s->patching.max_tokens =
                hw_size_max(s->patching.max_tokens, s->inputs.prompts.items[p].n_ids);
            status = turn_prompt(s, opt, p, err);
        }
    }
    return status == HW_OK && s->patching.max_tokens == 0
               ? hw_fail(err, HW_INPUT, "none of the %zu prompts can be run (the first: %s)", n,
                         s->inputs.prompts.items[0].error)
               : status;
}

static enum hw_status open_sources(struct setup *s, const struct patch_options *opt,
                                   struct hw_error *err) {
    struct hw_edit **edits = NULL;
    size_t n = 0;
    enum hw_status status = hw_patch_edits(&s->patching, &edits, &n, err);
    if (status == HW_OK) {
        s->hash_folder = hw_place_of_hashes();
        const struct hw_edit_source_options sources = {.model = s->inputs.model,
                                                       .hash_folder = s->hash_folder,
                                                       .tokenizer = s->inputs.tokenizer,
                                                       .add_bos =
                                                           (enum hw_add_bos)opt->input.add_bos,
                                                       .prompts = &s->inputs.prompts,
                                                       .stop_signal = &hw_stop_signal};
        status = hw_edit_sources_open((const struct hw_edit *const *)edits, n, &sources,
                                      &s->sources, err);
    }
    for (size_t i = 0; i < n; i++) {
        hw_edit_close(&edits[i]);
    }
    free(edits);
    return status;
}

static enum hw_status describe(const struct hw_invocation *in, struct setup *s,
                               struct hw_error *err) {
    const struct patch_options *opt = in->options;
    struct hw_ops ops;
    hw_ops_init(&ops, s->sweep.level);
    s->manifest = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "command",
        in->command->name, "format_version", "1.0", "tool_version", HW_VERSION, "model_sha256",
        s->model_sha256, "model_family", s->inputs.model->desc.family, "prompts_sha256",
        s->prompts_sha256, "n_prompts", (json_int_t)s->inputs.prompts.n, "site", opt->site, "over",
        opt->over, "direction", opt->direction == 0 ? "denoise" : "noise", "metric", opt->metric,
        "positions", opt->positions != NULL ? opt->positions : "", "kernels",
        hw_level_name(ops.level));
    return s->manifest != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory");
}

static enum hw_status open_all(const struct hw_invocation *in, struct setup *s,
                               struct hw_error *err) {
    const struct patch_options *opt = in->options;
    enum hw_status status = hw_inputs_check(in, &opt->input, err);
    status = status == HW_OK ? read_options(opt, s, err) : status;
    status = status == HW_OK ? hw_inputs_open(in, &opt->input, 0, &s->inputs, err) : status;
    if (status != HW_OK) {
        return status;
    }
    s->patching.desc = &s->inputs.model->desc;
    s->patching.prompts = &s->inputs.prompts;
    s->patching.wanted = s->wanted;
    status = turn_prompts(s, opt, err);
    status = status == HW_OK ? open_sources(s, opt, err) : status;
    status = status == HW_OK ? hw_inputs_hash(s->inputs.model, &opt->input, s->model_sha256, err)
                             : status;
    if (status != HW_OK) {
        return status;
    }
    s->sweep = (struct hw_sweep_options){
        .model = s->inputs.model,
        .tokenizer = s->inputs.tokenizer,
        .n_threads = (int)in->common.threads,
        .level = hw_input_level(opt->kernels),
        .positions = s->positions,
        .max_tokens = hw_size_max(s->patching.max_tokens, hw_edit_sources_max_tokens(s->sources)),
        .max_cells = hw_patch_max_runs(&s->patching),
        .max_edits = 1,
        .batch = opt->batch,
        .sources = s->sources};
    memcpy(s->sweep.wanted, s->wanted, sizeof s->sweep.wanted);
    uint64_t limit = in->common.memory_limit;
    uint64_t taken = hw_plan_weights_bytes(s->inputs.model) + hw_plan_base_bytes() +
                     hw_edit_sources_bytes(s->sources);
    if (limit > 0 && limit <= taken) {
        return hw_fail(err, HW_RESOURCE,
                       "weights, program and counterparts alone need %.0f MB where --memory-limit "
                       "allows %.0f MB",
                       (double)taken / 1e6, (double)limit / 1e6);
    }
    s->sweep.memory_bytes = limit > 0 ? limit - taken : 0;
    return describe(in, s, err);
}

static void teardown(struct setup *s) {
    size_t n = s->inputs.prompts.n;
    for (size_t p = 0; p < n && s->errors != NULL; p++) {
        free(s->errors[p]);
        free(s->clean_ids[p]);
    }
    free(s->errors);
    free(s->clean_ids);
    free(s->hashes);
    free(s->hash_folder);
    hw_edit_sources_close(&s->sources);
    hw_positions_close(&s->positions);
    hw_inputs_close(&s->inputs);
    json_decref(s->manifest);
}

static void show_progress(void *self, double done, double all) {
    struct hw_progress *progress = self;
    progress->total = (uint64_t)all;
    hw_progress_update(progress, (uint64_t)done);
}

static enum hw_status run_cells(struct hw_invocation *in, struct setup *s, struct hw_cells *cells,
                                struct hw_error *err) {
    struct hw_sweep *sweep = NULL;
    struct hw_progress progress;
    enum hw_status status = hw_sweep_open(&s->sweep, &sweep, err);
    if (status == HW_OK) {
        status = hw_edit_sources_prepare(s->sources, hw_sweep_session(sweep), NULL, NULL, err);
    }
    if (status == HW_OK) {
        hw_progress_begin(&progress, in->common.progress, "patch", "runs", 0);
        const struct hw_patch_job job = {.patching = &s->patching,
                                         .sweep = sweep,
                                         .cells = cells,
                                         .progress = show_progress,
                                         .progress_self = &progress,
                                         .stop = &hw_stop_signal,
                                         .errors = s->errors};
        status = hw_patch_run(&job, err);
        hw_progress_end(&progress);
    }
    hw_sweep_close(&sweep);
    return status;
}

static enum hw_status report(const struct hw_invocation *in, struct setup *s,
                             struct hw_cells *cells, struct hw_error *err) {
    const struct patch_options *opt = in->options;
    const struct patch_view view = {.patching = &s->patching,
                                    .cells = cells,
                                    .tokenizer = s->inputs.tokenizer,
                                    .clean_ids = s->clean_ids,
                                    .hashes = s->hashes,
                                    .errors = s->errors,
                                    .is_denoise = opt->direction == 0,
                                    .model = opt->input.model,
                                    .top = opt->top};
    struct hw_result *result = NULL;
    json_t *document = NULL;
    char *command = hw_command_line(in, false);
    enum hw_status status = hw_result_open(in->command->name, &result, err);
    if (status == HW_OK) {
        hw_result_set_text(result, "model_name", opt->input.model);
        hw_result_set_text(result, "model_sha256", s->model_sha256);
        hw_result_set_text(result, "prompts_sha256", s->prompts_sha256);
        hw_result_set_text(result, "direction", opt->direction == 0 ? "denoise" : "noise");
        hw_result_set_text(result, "positions", opt->positions != NULL ? opt->positions : "");
        hw_result_set_text(result, "command_line", command != NULL ? command : "");
        status = hw_patch_fill(result, &view, err);
    }
    free(command);
    status = status == HW_OK ? hw_result_status(result, err) : status;
    document = status == HW_OK && in->common.json ? hw_result_json(result) : NULL;
    status = status == HW_OK ? hw_cells_finish(cells, result, err) : status;
    if (status == HW_OK) {
        hw_note(in, "%s: written", opt->out);
        status = in->common.json ? hw_json_print(document, err) : hw_patch_print(&view, err);
        document = NULL;
    }
    json_decref(document);
    hw_result_close(&result);
    return status;
}

static enum hw_status judge(const struct hw_invocation *in, const struct setup *s,
                            struct hw_error *err) {
    size_t n = s->inputs.prompts.n, n_failed = 0, first = 0;
    for (size_t p = n; p-- > 0;) {
        if (s->errors[p] != NULL) {
            hw_note(in, "prompt %zu failed: %s", p, s->errors[p]);
            n_failed++;
            first = p;
        }
    }
    return n_failed == 0 ? HW_OK
           : n_failed == n
               ? hw_fail(err, HW_INPUT, "none of the %zu prompts can be measured (the first: %s)",
                         n, s->errors[first])
               : hw_fail(err, HW_PARTIAL,
                         "%zu of %zu prompts failed and are marked (prompt_status, prompt_error)",
                         n_failed, n);
}

static enum hw_status run_all(struct hw_invocation *in, struct setup *s, struct hw_error *err) {
    const struct patch_options *opt = in->options;
    struct hw_cells *cells = NULL;
    bool is_complete = false;
    const struct hw_cells_options how = {.out_path = opt->out,
                                         .manifest = s->manifest,
                                         .n_cells = hw_patch_n_cells(&s->patching),
                                         .is_overwriting = opt->overwrite};
    enum hw_status status = hw_cells_open(&how, &cells, &is_complete, err);
    if (status == HW_OK && is_complete) {
        hw_note(in, "%s: already complete", opt->out);
        return HW_OK;
    }
    struct hw_error inner = {0};
    enum hw_status judged = HW_OK;
    if (status == HW_OK) {
        hw_catch_stop_signals();
        status = run_cells(in, s, cells, err);
        in->signal = status == HW_STOPPED ? hw_stop_signal : 0;
        judged = status == HW_OK ? judge(in, s, &inner) : HW_OK;
        if (status == HW_OK && judged != HW_INPUT) {
            status = report(in, s, cells, err);
        }
    }
    hw_cells_close(&cells);
    return status == HW_OK && judged != HW_OK ? hw_fail(err, judged, "%s", inner.message) : status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    struct setup setup = {0};
    enum hw_status status = open_all(in, &setup, err);
    status = status == HW_OK ? run_all(in, &setup, err) : status;
    teardown(&setup);
    return status;
}

const struct hw_command hw_command_patch = {
    .name = "patch",
    .summary = "put activations of one run into another and measure each",
    .arguments = "",
    .description =
        "Activation patching between a prompt (clean) and its counterpart (corrupted), which must "
        "have as many tokens. Every value equals, bit for bit, that of `headwater capture --edit "
        "from:...` of the run that is changed.\n\n"
        "Beside each metric m stands (m - m_corrupted) / (m_clean - m_corrupted). Means over "
        "prompts are made where all have the same length, or position is not in --over. The table "
        "is sorted by what is restored (denoise) or destroyed (noise).",
    .examples = "headwater prompts ioi --model M --forms met --order abba --out ioi.jsonl\n"
                "headwater patch --model M --prompts ioi.jsonl --out p.h5\n"
                "headwater patch --model M --prompts ioi.jsonl --site z --over layer,head \\\n"
                "    --direction noise --out z.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_PROGRESS | HW_COMMON_THREADS | HW_COMMON_MEMORY |
              HW_COMMON_QUIET | HW_COMMON_VERBOSE,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct patch_options),
    .run = run,
};
