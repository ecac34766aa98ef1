// How a capture describes itself: the manifest (everything that changes results) and the provenance
// (everything else worth knowing).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/capture_options.h"

// Names of the datasets with their types: what is recorded, however it was asked for.
static json_t *recorded(const struct hw_layout *layout) {
    static const char *const elements[] = {"f4", "f2", "u2", "i4", "i8", "u1", "vstr"};
    json_t *object = json_object();
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        if (layout->has[i] && row->record[0] != '\0') {
            char name[96];
            (void)snprintf(name, sizeof name, "%s%s%s", hw_group_name(row->group),
                           row->group != HW_GROUP_ROOT ? "/" : "", row->name);
            (void)json_object_set_new(object, name, json_string(elements[layout->element[i]]));
        }
    }
    return object;
}

static json_t *numbers_of(const int32_t *values, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, json_integer(values[i]));
    }
    return list;
}

static json_t *axes_of(const struct hw_layout *layout) {
    json_t *object = json_object();
    for (int g = 0; g < HW_N_GROUPS; g++) {
        const struct hw_group_axes *axes = &layout->groups[g];
        if (axes->n_layers + axes->n_depths == 0) {
            continue;
        }
        json_t *group =
            json_pack("{s:o, s:o, s:o}", "layer", numbers_of(axes->layers, axes->n_layers), "depth",
                      numbers_of(axes->depths, axes->n_depths), "head",
                      numbers_of(axes->heads, axes->n_heads));
        if (axes->recorded != NULL) {
            json_t *marks = json_array();
            for (size_t i = 0; i < axes->n_layers * axes->n_heads; i++) {
                (void)json_array_append_new(marks, json_integer(axes->recorded[i]));
            }
            (void)json_object_set_new(group, "recorded", marks);
        }
        (void)json_object_set_new(object, hw_group_name((enum hw_group)g), group);
    }
    return object;
}

// Edits are in it where there are any: their specs, how means are grouped, and the captures that
// values come from.
static void add_edits(json_t *manifest, const struct capture_options *opt,
                      const struct capture_setup *setup) {
    json_t *specs = json_array();
    json_t *sources = json_array();
    for (size_t i = 0; i < setup->n_edits; i++) {
        (void)json_array_append_new(specs, json_string(setup->edits[i]->spec));
    }
    const char *id;
    for (size_t i = 0; (id = hw_edit_run_source_id(setup->edit_run, i)) != NULL; i++) {
        (void)json_array_append_new(sources, json_string(id));
    }
    (void)json_object_set_new(manifest, "edits", specs);
    (void)json_object_set_new(manifest, "edit_sources", sources);
    (void)json_object_set_new(manifest, "edit_means_by",
                              json_string(opt->means_by != NULL ? opt->means_by : ""));
}

static json_t *make_manifest(const struct hw_invocation *in, const struct capture_setup *setup,
                             const struct hw_ops *ops) {
    const struct capture_options *opt = in->options;
    const struct hw_layout *layout = &setup->plan.recording.layout;
    json_t *labels = json_array();
    for (size_t i = 0; i < opt->labels.n; i++) {
        (void)json_array_append_new(labels, json_string(opt->labels.items[i]));
    }
    json_t *manifest = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:o, "
        "s:o, s:o}",
        "format_version", "1.0", "tool_version", HW_VERSION, "model_sha256", setup->model_sha256,
        "model_family", setup->model->desc.family, "tokenizer_sha256", setup->tokenizer_sha256,
        "prompts_sha256", setup->prompts_sha256, "n_prompts", (json_int_t)setup->prompts.n,
        "max_tokens", (json_int_t)layout->max_tokens, "detail",
        layout->is_detail_prompt ? "prompt" : "token", "top", (json_int_t)layout->n_rank, "offsets",
        (json_int_t)layout->n_offsets, "generate", (json_int_t)opt->generate, "stop",
        setup->stop != NULL ? setup->stop : "", "positions",
        opt->positions != NULL ? opt->positions : "all", "attribution_at",
        opt->attribution_at != NULL ? opt->attribution_at : "last", "kernels",
        hw_level_name(ops->level), "labels", labels, "recorded", recorded(layout), "axes",
        axes_of(layout));
    if (manifest != NULL && hw_layout_has(layout, HW_DS_MEANS_COUNT)) {
        bool is_by_position = hw_layout_has(layout, HW_DS_MEANS_POSITION_COUNT);
        (void)json_object_set_new(manifest, "means_by", json_string(layout->means_by));
        (void)json_object_set_new(manifest, "means_per_position", json_boolean(is_by_position));
    }
    return manifest;
}

static void add(struct capture_setup *setup, const char *name, const char *value) {
    if (setup->n_provenance < HW_MAX_PROVENANCE) {
        setup->provenance[setup->n_provenance++] =
            (struct hw_provenance_item){.name = name, .value = value};
    }
}

static void add_provenance(const struct hw_invocation *in, struct capture_setup *setup) {
    const struct capture_options *opt = in->options;
    static const char *const hashes[] = {"full", "header", "none"};
    static const char *const bos[] = {"auto", "yes", "no"};
    static char host[256];
    time_t seconds = time(NULL);
    struct tm utc;
    (void)gmtime_r(&seconds, &utc);
    (void)strftime(setup->numbers[0], sizeof setup->numbers[0], "%Y-%m-%dT%H:%M:%SZ", &utc);
    (void)snprintf(setup->numbers[1], sizeof setup->numbers[1], "%llu",
                   (unsigned long long)in->common.threads);
    add(setup, "command_line", setup->command_line);
    if (gethostname(host, sizeof host - 1) == 0) {
        add(setup, "hostname", host);
    }
    add(setup, "start_time", setup->numbers[0]);
    add(setup, "threads", setup->numbers[1]);
    add(setup, "dtype", "f32");
    add(setup, "math_mode", "f32, fused multiply-add where written");
    add(setup, "device", "cpu");
    add(setup, "cpu_flags", hw_cpu_flags());
    add(setup, "prompts_sha256", setup->prompts_sha256);
    add(setup, "model_name", opt->input.model);
    add(setup, "model_architecture", setup->model->desc.family);
    (void)snprintf(setup->numbers[2], sizeof setup->numbers[2], "%zu", setup->model->desc.n_layers);
    add(setup, "model_n_layers", setup->numbers[2]);
    add(setup, "model_sha256", setup->model_sha256);
    add(setup, "model_sha256_of", hashes[opt->input.model_hash]);
    add(setup, "model_quantisation", hw_checkpoint_quantisation(setup->model->checkpoint));
    if (setup->tokenizer != NULL) {
        add(setup, "model_tokenizer_kind", hw_tokenizer_kind(setup->tokenizer));
        add(setup, "model_tokenizer_pre", hw_tokenizer_pre(setup->tokenizer));
        add(setup, "model_tokenizer_sha256", setup->tokenizer_sha256);
    }
    add(setup, "model_add_bos", bos[opt->input.add_bos]);
}

static enum hw_status read_shard(const char *text, struct hw_run_options *run,
                                 struct hw_error *err) {
    run->shard = 0;
    run->n_shards = 1;
    if (text == NULL) {
        return HW_OK;
    }
    const char *slash = strchr(text, '/');
    char first[24];
    uint64_t shard;
    uint64_t n;
    if (slash != NULL && (size_t)(slash - text) < sizeof first) {
        memcpy(first, text, (size_t)(slash - text));
        first[slash - text] = '\0';
        if (hw_parse_count(first, &shard) && hw_parse_count(slash + 1, &n) && shard < n &&
            n <= 1u << 20) {
            run->shard = shard;
            run->n_shards = n;
            return HW_OK;
        }
    }
    return hw_fail(err, HW_USAGE, "--shard %s (expected I/N with I from 0 to N - 1)", text);
}

static enum hw_status check_labels(const struct capture_options *opt, struct hw_error *err) {
    for (size_t i = 0; i < opt->labels.n; i++) {
        const char *text = opt->labels.items[i];
        size_t n = strcspn(text, "=");
        const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
        if (text[n] != '=' || n == 0 || n > 64 || strspn(text, allowed) != n) {
            return hw_fail(
                err, HW_USAGE,
                "--label %s (expected KEY=VALUE, the key of letters, digits and underscores)",
                text);
        }
    }
    return HW_OK;
}

enum hw_status hw_capture_describe(const struct hw_invocation *in, struct capture_setup *setup,
                                   struct hw_run_options *ret_run, struct hw_error *err) {
    const struct capture_options *opt = in->options;
    struct hw_run_options run = {0};
    enum hw_status status = read_shard(opt->shard, &run, err);
    status = status == HW_OK ? check_labels(opt, err) : status;
    if (status == HW_OK) {
        status = hw_inputs_hash(setup->model, &opt->input, setup->model_sha256, err);
    }
    if (status != HW_OK) {
        return status;
    }
    if (setup->tokenizer != NULL) {
        hw_tokenizer_sha256(setup->tokenizer, setup->tokenizer_sha256);
    }
    hw_prompts_sha256(&setup->prompts, setup->prompts_sha256);
    struct hw_ops ops;
    hw_ops_init(&ops, setup->plan.session.level);
    setup->manifest = make_manifest(in, setup, &ops);
    if (setup->manifest != NULL && setup->n_edits > 0) {
        add_edits(setup->manifest, opt, setup);
    }
    setup->kernels = hw_kernels_json(&ops);
    setup->model_metadata = hw_checkpoint_metadata_json(setup->model->checkpoint);
    setup->config = json_dumps(setup->manifest, JSON_COMPACT);
    setup->command_line = hw_command_line(in, false);
    if (setup->manifest == NULL || setup->kernels == NULL || setup->model_metadata == NULL ||
        setup->config == NULL || setup->command_line == NULL) {
        return hw_fail(err, HW_RESOURCE, "cannot allocate the description of the run");
    }
    add_provenance(in, setup);
    run.out_path = opt->out;
    run.layout = &setup->plan.recording.layout;
    run.manifest = setup->manifest;
    run.provenance = setup->provenance;
    run.n_provenance = setup->n_provenance;
    run.model_metadata_json = setup->model_metadata;
    run.config_json = setup->config;
    run.kernels_json = setup->kernels;
    run.labels = opt->labels.items;
    run.n_labels = opt->labels.n;
    run.tokenizer = setup->tokenizer;
    run.n_prompts = setup->prompts.n;
    run.commit_every = opt->commit_every;
    run.n_threads = (int)in->common.threads;
    run.is_overwriting = opt->overwrite;
    *ret_run = run;
    return HW_OK;
}
