// Opening what a capture runs on; see capture_options.h. Everything is read and checked here,
// before anything is computed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/capture_options.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/table.h"

// An option that would do nothing is a slip.
static enum hw_status check_means(const struct capture_setup *setup,
                                  const struct capture_options *opt, struct hw_error *err) {
    bool is_taken = setup->plan.recording.layout.has[HW_DS_MEANS_COUNT];
    for (size_t i = 0; i < setup->n_edits; i++) {
        enum hw_replacement replacement = setup->edits[i]->replacement;
        is_taken =
            is_taken || replacement == HW_REPLACE_MEAN || replacement == HW_REPLACE_POSITION_MEAN;
    }
    return opt->means_by == NULL || is_taken
               ? HW_OK
               : hw_fail(err, HW_USAGE,
                         "--means-by groups means, and none are recorded or taken by --edit");
}

static enum hw_status make_plan(const struct hw_invocation *in, struct capture_setup *setup,
                                struct hw_error *err) {
    const struct capture_options *opt = in->options;
    static const enum hw_element attention[] = {HW_ELEMENT_F2, HW_ELEMENT_F4, HW_ELEMENT_U2};
    static const enum hw_element activation[] = {HW_ELEMENT_F4, HW_ELEMENT_F2};
    const size_t most_token_texts =
        1000000; // beyond this the vocabulary and the ids say the same for less
    struct hw_plan_options options = {
        .record = {.records = opt->records.items,
                   .n_records = opt->records.n,
                   .n_rank = opt->top,
                   .n_offsets = opt->offsets,
                   .max_generate = opt->generate,
                   .means_by = opt->means_by,
                   .is_means_by_position = opt->means_per_position,
                   .is_detail_prompt = opt->detail == 1,
                   .attention_element = attention[opt->attention_dtype],
                   .activation_element = activation[opt->activation_dtype],
                   .keeps_prompt_text = true},
        .positions = opt->positions,
        .attribution_at = opt->attribution_at,
        .n_threads = (int)in->common.threads,
        .level = hw_input_level(opt->kernels),
        .part_prompts = opt->commit_every,
        .edits = setup->edit_run,
        .edits_json = setup->edits_json};
    size_t n_tokens = 0;
    for (size_t p = 0; p < setup->prompts.n; p++) {
        n_tokens += setup->prompts.items[p].n_ids + opt->generate;
    }
    options.record.keeps_token_text = setup->tokenizer != NULL && n_tokens <= most_token_texts;
    enum hw_status status =
        hw_plan_open(setup->model, &setup->prompts, &options, &setup->plan, err);
    setup->has_plan = status == HW_OK;
    status = status == HW_OK ? check_means(setup, opt, err) : status;
    return status == HW_OK ? hw_plan_check_memory(&setup->plan, in->common.memory_limit, err)
                           : status;
}

enum hw_status hw_capture_setup(const struct hw_invocation *in, struct capture_setup *setup,
                                struct hw_error *err) {
    const struct capture_options *opt = in->options;
    struct hw_inputs inputs = {0};
    if (opt->stop != NULL && (setup->stop = hw_unescape(opt->stop)) == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for --stop");
    }
    enum hw_status status = hw_inputs_open(in, &opt->input, opt->generate, &inputs, err);
    if (status != HW_OK) {
        return status;
    }
    setup->model = inputs.model;
    setup->tokenizer = inputs.tokenizer;
    setup->prompts = inputs.prompts;
    status = hw_capture_edits_open(in, setup, err);
    return status == HW_OK ? make_plan(in, setup, err) : status;
}

void hw_capture_teardown(struct capture_setup *setup) {
    if (setup->has_plan) {
        hw_plan_close(&setup->plan);
    }
    hw_capture_edits_close(setup);
    hw_prompts_free(&setup->prompts);
    hw_tokenizer_close(&setup->tokenizer);
    hw_model_close(&setup->model);
    json_decref(setup->manifest);
    free(setup->stop);
    free(setup->model_metadata);
    free(setup->config);
    free(setup->kernels);
    free(setup->command_line);
    memset(setup, 0, sizeof *setup);
}

static enum hw_status print_estimate_json(const struct capture_setup *setup, struct hw_error *err) {
    const struct hw_plan *plan = &setup->plan;
    json_t *datasets = json_object();
    for (int i = 0; i < HW_N_DATASETS; i++) {
        uint64_t bytes = hw_plan_dataset_bytes(plan, &setup->prompts, (enum hw_dataset)i);
        if (bytes > 0) {
            const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
            char name[96];
            (void)snprintf(name, sizeof name, "%s%s%s", hw_group_name(row->group),
                           row->group != HW_GROUP_ROOT ? "/" : "", row->name);
            (void)json_object_set_new(datasets, name, json_integer((json_int_t)bytes));
        }
    }
    return hw_json_print(
        json_pack(
            "{s:I, s:I, s:I, s:I, s:I, s:I, s:[I,I], s:{s:I,s:I,s:I,s:I,s:I,s:I}, s:f, s:f, s:o}",
            "n_prompts", (json_int_t)setup->prompts.n, "n_failed", (json_int_t)plan->n_failed,
            "n_tokens", (json_int_t)plan->n_tokens, "raw_bytes", (json_int_t)plan->raw_bytes,
            "upper_bound_bytes", (json_int_t)plan->bounds_bytes, "peak_bytes",
            (json_int_t)plan->peak_bytes, "file_bytes", (json_int_t)plan->file_least,
            (json_int_t)plan->file_most, "memory", "weights", (json_int_t)plan->weights_bytes,
            "pass", (json_int_t)plan->session_bytes, "records", (json_int_t)plan->engine_bytes,
            "edits", (json_int_t)plan->edit_bytes, "output", (json_int_t)plan->storage_bytes,
            "base", (json_int_t)plan->base_bytes, "flops", plan->flops, "seconds", plan->seconds,
            "datasets", datasets),
        err);
}

enum hw_status hw_capture_print_estimate(const struct hw_invocation *in,
                                         const struct capture_setup *setup, struct hw_error *err) {
    const struct hw_plan *plan = &setup->plan;
    if (in->common.json) {
        return print_estimate_json(setup, err);
    }
    char text[2][32];
    printf("%zu prompts", setup->prompts.n);
    if (plan->n_failed > 0) {
        printf(" (%zu of them cannot run)", plan->n_failed);
    }
    printf(", %zu tokens", plan->n_tokens);
    if (plan->max_generated > 0) {
        printf(" and up to %zu generated", plan->max_generated);
    }
    printf(", longest %zu\n", setup->plan.recording.layout.max_tokens);
    const struct {
        const char *name;
        uint64_t bytes;
    } parts[] = {{"  weights", plan->weights_bytes}, {"  pass", plan->session_bytes},
                 {"  records", plan->engine_bytes},  {"  edits", plan->edit_bytes},
                 {"  output", plan->storage_bytes},  {"  program, vocabulary", plan->base_bytes}};
    printf("memory at peak         %s\n",
           hw_format_bytes(text[0], sizeof text[0], plan->peak_bytes));
    for (size_t i = 0; i < HW_LENGTH(parts); i++) {
        if (parts[i].bytes == 0) {
            continue;
        }
        printf("%-21s  %s\n", parts[i].name,
               hw_format_bytes(text[0], sizeof text[0], parts[i].bytes));
    }
    printf("records, uncompressed  %s\n",
           hw_format_bytes(text[0], sizeof text[0], plan->raw_bytes));
    if (plan->bounds_bytes > 0) {
        printf("  upper bounds in it   %s (generated tokens, table of massive activations)\n",
               hw_format_bytes(text[0], sizeof text[0], plan->bounds_bytes));
    }
    printf("file                   %s to %s\n",
           hw_format_bytes(text[0], sizeof text[0], plan->file_least),
           hw_format_bytes(text[1], sizeof text[1], plan->file_most));
    printf("arithmetic             %.0f GFLOP\n", plan->flops / 1e9);
    printf("time                   about %s on %d thread%s\n",
           hw_format_seconds(text[0], sizeof text[0], plan->seconds), plan->session.n_threads,
           plan->session.n_threads == 1 ? "" : "s");
    return HW_OK;
}
