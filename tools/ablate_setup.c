// Opening what an ablation runs on; see ablate_setup.h. Everything is read and checked here, before
// anything is computed.
#include "tools/ablate_setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/sha256.h"
#include "kernels/size.h"
#include "probes/plan.h"
#include "tools/places.h"
#include "tools/progress.h"
#include "tools/report.h"

enum { MAX_SIZES = 64 };

static enum hw_status parse_metrics(const char *text, bool *ret_wanted, struct hw_error *err) {
    memset(ret_wanted, 0, HW_N_METRICS * sizeof *ret_wanted);
    for (const char *at = text; at != NULL;) {
        size_t n = strcspn(at, ",");
        int found = -1;
        for (int k = 0; k < HW_N_METRICS; k++) {
            if (strlen(hw_metric_rows[k].name) == n && memcmp(hw_metric_rows[k].name, at, n) == 0) {
                found = k;
            }
        }
        if (found < 0) {
            return hw_fail(err, HW_USAGE,
                           "--metric: there is no metric %.*s (`headwater list metrics`)",
                           (int)hw_size_min(n, 40), at);
        }
        ret_wanted[found] = true;
        at = at[n] == ',' ? at + n + 1 : NULL;
    }
    return HW_OK;
}

static enum hw_status parse_arms(const struct ablate_options *opt, struct ablate_setup *s,
                                 struct hw_error *err) {
    if (opt->edits.n == 0) {
        return hw_fail(err, HW_USAGE, "ablate needs --edit REPLACEMENT (zero, mean, uniform, ...)");
    }
    s->arms = calloc(opt->edits.n, sizeof(struct hw_edit *));
    if (s->arms == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the edits");
    }
    for (size_t i = 0; i < opt->edits.n; i++) {
        enum hw_status status =
            hw_edit_parse(opt->edits.items[i], &s->inputs.model->desc, true, &s->arms[i], err);
        if (status != HW_OK) {
            return hw_fail_context(err, status, "--edit %s: ", opt->edits.items[i]);
        }
        s->n_arms++;
    }
    return HW_OK;
}

static enum hw_status add_sets(const struct ablate_options *opt, struct ablate_setup *s,
                               struct hw_error *err) {
    size_t sizes[MAX_SIZES];
    struct hw_sweep_sets sets = {.selector = opt->heads != NULL ? opt->heads : "all",
                                 .sizes = sizes,
                                 .n_controls = opt->random_controls,
                                 .seed = opt->seed};
    if (opt->cumulative != NULL &&
        !hw_parse_counts(opt->cumulative, 1, 1 << 20, MAX_SIZES, sizes, &sets.n_sizes)) {
        return hw_fail(err, HW_USAGE,
                       "--cumulative %s (expected counts with commas between: 1,5,10)",
                       opt->cumulative);
    }
    return hw_sweep_units_add_sets(&s->units, &s->inputs.model->desc, &sets, err);
}

// One way of choosing units; full specs are a unit of their own.
static enum hw_status make_units(const struct ablate_options *opt, struct ablate_setup *s,
                                 struct hw_error *err) {
    const struct hw_model_desc *d = &s->inputs.model->desc;
    size_t n_aimed = 0;
    int n_ways = (opt->heads != NULL) + (opt->kv_heads != NULL) + (opt->attn != NULL) +
                 (opt->mlp != NULL) + (opt->groups != NULL);
    bool has_sets = opt->cumulative != NULL || opt->random_controls > 0;
    for (size_t i = 0; i < s->n_arms; i++) {
        n_aimed += s->arms[i]->target == HW_TARGET_NONE;
    }
    if (n_ways > 1) {
        return hw_fail(err, HW_USAGE,
                       "expected one of --heads, --kv-heads, --attn, --mlp and --groups");
    }
    if ((has_sets || opt->only) && n_ways > 0 && opt->heads == NULL) {
        return hw_fail(err, HW_USAGE, "--%s goes with --heads",
                       opt->only ? "only" : "cumulative and --random-controls");
    }
    if (has_sets && opt->only) {
        return hw_fail(err, HW_USAGE, "--only goes with single heads (found --%s)",
                       opt->cumulative != NULL ? "cumulative" : "random-controls");
    }
    if (n_aimed == 0 && n_ways > 0) {
        return hw_fail(err, HW_USAGE, "every --edit has a target of its own: nothing is swept");
    }
    enum hw_status status = HW_OK;
    if (n_aimed == 0) {
        // Full specs only.
    } else if (opt->kv_heads != NULL) {
        status = hw_sweep_units_add_kv_heads(&s->units, d, opt->kv_heads, err);
    } else if (opt->attn != NULL) {
        status = hw_sweep_units_add_layers(&s->units, d, HW_TARGET_ATTN, opt->attn, err);
    } else if (opt->mlp != NULL) {
        status = hw_sweep_units_add_layers(&s->units, d, HW_TARGET_MLP, opt->mlp, err);
    } else if (opt->groups != NULL) {
        status = hw_sweep_units_add_groups(&s->units, d, opt->groups, err);
    } else if (has_sets) {
        status = add_sets(opt, s, err);
    } else {
        status = hw_sweep_units_add_heads(&s->units, d, opt->heads != NULL ? opt->heads : "all",
                                          opt->only, err);
    }
    return status == HW_OK && n_aimed < s->n_arms ? hw_sweep_units_add_given(&s->units, err)
                                                  : status;
}

// Everything before the plan.
static enum hw_status open_all(const struct hw_invocation *in, struct ablate_setup *s,
                               struct hw_error *err) {
    const struct ablate_options *opt = in->options;
    enum hw_status status = parse_metrics(opt->metric, s->wanted, err);
    if (status == HW_OK && s->wanted[HW_METRIC_EXACT_MATCH] != (opt->generate > 0)) {
        status = hw_fail(err, HW_USAGE,
                         "--metric exact_match and --generate N go together (found one of them)");
    }
    if (status == HW_OK && opt->positions != NULL) {
        status = hw_positions_parse(opt->positions, &s->positions, err);
        if (status != HW_OK) {
            (void)hw_fail_context(err, status, "--positions: ");
        }
    }
    status =
        status == HW_OK ? hw_inputs_open(in, &opt->input, opt->generate, &s->inputs, err) : status;
    status = status == HW_OK ? parse_arms(opt, s, err) : status;
    status = status == HW_OK ? make_units(opt, s, err) : status;
    if (status == HW_OK) {
        status = hw_ablation_open(&s->units, s->arms, s->n_arms, &s->inputs.model->desc, s->wanted,
                                  s->inputs.prompts.n, &s->ablation, err);
    }
    return status == HW_OK ? hw_inputs_hash(s->inputs.model, &opt->input, s->model_sha256, err)
                           : status;
}

// An arm aimed at everything that it will change, so that what it takes from elsewhere is opened
// once; NULL without memory or where it is for no unit.
static enum hw_status aim_at_all(const struct ablate_setup *s, size_t arm,
                                 struct hw_edit **ret_edit, struct hw_error *err) {
    const struct hw_model_desc *d = &s->inputs.model->desc;
    enum hw_edit_target target = HW_TARGET_NONE;
    bool *all = calloc(d->n_layers * d->n_heads + 1, sizeof *all);
    if (all == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the edits");
    }
    for (size_t u = 0; u < s->units.n; u++) {
        const struct hw_sweep_unit *unit = &s->units.items[u];
        if (s->ablation.edits[u * s->n_arms + arm] == NULL || unit->target == HW_TARGET_NONE) {
            continue;
        }
        target = unit->target;
        bool is_layers = target == HW_TARGET_ATTN || target == HW_TARGET_MLP;
        for (size_t i = 0; i < d->n_layers * (is_layers ? 1 : d->n_heads); i++) {
            all[i] = all[i] || unit->selected[i];
        }
    }
    enum hw_status status = target != HW_TARGET_NONE
                                ? hw_edit_aim(s->arms[arm], d, target, all, ret_edit, err)
                                : hw_edit_parse(s->arms[arm]->spec, d, false, ret_edit, err);
    free(all);
    return status;
}

static enum hw_status open_sources(const struct ablate_options *opt, struct ablate_setup *s,
                                   struct hw_error *err) {
    struct hw_edit **edits = calloc(s->n_arms + 1, sizeof(struct hw_edit *));
    enum hw_status status =
        edits != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for the edits");
    bool has_source = false;
    size_t n = 0;
    for (; n < s->n_arms && status == HW_OK; n++) {
        enum hw_site site;
        status = aim_at_all(s, n, &edits[n], err);
        has_source = has_source || (status == HW_OK && hw_edit_has_source(edits[n], &site));
    }
    s->hash_folder = hw_place_of_hashes();
    struct hw_edit_source_options options = {.model = s->inputs.model,
                                             .hash_folder = s->hash_folder,
                                             .tokenizer = s->inputs.tokenizer,
                                             .add_bos = (enum hw_add_bos)opt->input.add_bos,
                                             .prompts = &s->inputs.prompts,
                                             .means_by = opt->means_by,
                                             .stop_signal = &hw_stop_signal};
    if (status == HW_OK && has_source) {
        status = hw_edit_sources_open((const struct hw_edit *const *)edits, n, &options,
                                      &s->sources, err);
    }
    for (size_t i = 0; i < n; i++) {
        hw_edit_close(&edits[i]);
    }
    free(edits);
    return status;
}

static void add_work(struct ablate_setup *s, const struct hw_invocation *in) {
    const double overhead = 1.35; // measured for captures: all but the linear maps
    const struct hw_model_desc *d = &s->inputs.model->desc;
    const struct ablate_options *opt = in->options;
    for (size_t p = 0; p < s->inputs.prompts.n; p++) {
        const struct hw_prompt *prompt = &s->inputs.prompts.items[p];
        if (prompt->status == HW_PROMPT_FAILED) {
            s->n_failed++;
            continue;
        }
        size_t t = prompt->n_ids;
        bool is_all = s->wanted[HW_METRIC_LOSS] || s->wanted[HW_METRIC_LOSS_CHANGE] ||
                      s->wanted[HW_METRIC_KL] || s->wanted[HW_METRIC_TOP1_CHANGE];
        size_t n_rows = is_all ? t : 1;
        if (s->positions != NULL) {
            bool *selected = calloc(t + 1, sizeof *selected);
            n_rows = selected != NULL ? hw_positions_resolve(s->positions, prompt, t, selected) : t;
            free(selected);
        }
        bool has_logits_only = !is_all && !s->wanted[HW_METRIC_RANK];
        double read =
            has_logits_only ? 0 : 2.0 * (double)n_rows * (double)d->d_model * (double)d->n_vocab;
        s->n_tokens += t;
        s->flops += hw_session_flops(d, t, false) + read;
        if (opt->generate > 0) {
            // A generated token costs what one row costs and streams all weights.
            double run = hw_session_flops(d, t, false) +
                         16.0 * (double)opt->generate * hw_session_flops(d, 1, true);
            s->flops += (double)(s->ablation.n_runs + 1) * run;
        }
        for (size_t pair = 0; pair < s->units.n * s->n_arms; pair++) {
            const struct hw_edit *edit = s->ablation.edits[pair];
            size_t first = 0;
            while (edit != NULL && first < d->n_layers && !edit->layers[first]) {
                first++;
            }
            s->flops += edit != NULL ? hw_branch_flops(d, t, first, n_rows) + read : 0;
        }
    }
    s->flops += s->sources != NULL ? hw_edit_sources_flops(s->sources) : 0;
    double rate = hw_plan_rate((int)in->common.threads, hw_input_level(opt->kernels));
    s->seconds = rate > 0 ? overhead * s->flops / rate : 0;
}

static enum hw_status make_plan(const struct hw_invocation *in, struct ablate_setup *s,
                                struct hw_error *err) {
    const struct ablate_options *opt = in->options;
    s->sweep = (struct hw_sweep_options){.model = s->inputs.model,
                                         .tokenizer = s->inputs.tokenizer,
                                         .n_threads = (int)in->common.threads,
                                         .level = hw_input_level(opt->kernels),
                                         .positions = s->positions,
                                         .max_cells = s->ablation.n_runs,
                                         .max_edits = 1,
                                         .n_generate = opt->generate,
                                         .batch = opt->batch,
                                         .sources = s->sources};
    memcpy(s->sweep.wanted, s->wanted, sizeof s->sweep.wanted);
    for (size_t i = 0; i < s->n_arms; i++) {
        s->sweep.has_cache_windows = s->sweep.has_cache_windows || s->arms[i]->is_cache_form;
    }
    for (size_t p = 0; p < s->inputs.prompts.n; p++) {
        s->sweep.max_tokens = hw_size_max(s->sweep.max_tokens, s->inputs.prompts.items[p].n_ids);
    }
    size_t source_bytes = 0;
    if (s->sources != NULL) {
        s->sweep.max_tokens =
            hw_size_max(s->sweep.max_tokens, hw_edit_sources_max_tokens(s->sources));
        source_bytes = hw_edit_sources_bytes(s->sources);
    }
    if (s->sweep.max_tokens == 0) {
        return hw_fail(err, HW_INPUT, "none of the %zu prompts can be run (the first: %s)",
                       s->inputs.prompts.n, s->inputs.prompts.items[0].error);
    }
    s->weights_bytes = hw_plan_weights_bytes(s->inputs.model);
    size_t cells = hw_size_max(1, s->ablation.n_runs) * s->inputs.prompts.n *
                   (s->ablation.n_wanted * sizeof(double) + 16) * 3;
    s->base_bytes = hw_plan_base_bytes() + source_bytes + cells;
    uint64_t limit = in->common.memory_limit, taken = s->weights_bytes + s->base_bytes;
    if (limit > 0 && limit <= taken) {
        return hw_fail(err, HW_RESOURCE,
                       "weights, program and sources alone need %.0f MB where --memory-limit "
                       "allows %.0f MB",
                       (double)taken / 1e6, (double)limit / 1e6);
    }
    s->sweep.memory_bytes = limit > 0 ? limit - taken : 0;
    enum hw_status status = hw_sweep_plan(&s->sweep, &s->plan, err);
    s->peak_bytes = taken + s->plan.session_bytes + s->plan.other_bytes;
    if (status == HW_OK) {
        add_work(s, in);
    }
    return status;
}

// Names and members of all units: @FILE may change behind its name.
static void hash_units(const struct ablate_setup *s, char ret_hex[65]) {
    const struct hw_model_desc *d = &s->inputs.model->desc;
    struct hw_sha256 state;
    hw_sha256_init(&state);
    for (size_t u = 0; u < s->units.n; u++) {
        const struct hw_sweep_unit *unit = &s->units.items[u];
        bool is_layers = unit->target == HW_TARGET_ATTN || unit->target == HW_TARGET_MLP;
        size_t n = unit->target == HW_TARGET_NONE ? 0
                   : is_layers                    ? d->n_layers
                                                  : d->n_layers * d->n_heads;
        hw_sha256_update(&state, unit->name, strlen(unit->name) + 1);
        hw_sha256_update(&state, unit->selected, n * sizeof *unit->selected);
    }
    hw_sha256_hex(&state, ret_hex);
}

static enum hw_status describe(const struct hw_invocation *in, struct ablate_setup *s,
                               struct hw_error *err) {
    const struct ablate_options *opt = in->options;
    char units[65];
    struct hw_ops ops;
    hw_ops_init(&ops, s->sweep.level);
    if (s->inputs.tokenizer != NULL) {
        hw_tokenizer_sha256(s->inputs.tokenizer, s->tokenizer_sha256);
    }
    hw_prompts_sha256(&s->inputs.prompts, s->prompts_sha256);
    hash_units(s, units);
    json_t *edits = json_array();
    json_t *metrics = json_array();
    for (size_t i = 0; i < s->n_arms; i++) {
        (void)json_array_append_new(edits, json_string(s->arms[i]->spec));
    }
    for (int k = 0; k < HW_N_METRICS; k++) {
        if (s->wanted[k]) {
            (void)json_array_append_new(metrics, json_string(hw_metric_rows[k].name));
        }
    }
    s->manifest = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:I, s:s, s:o, s:s, s:I, s:s, s:s}",
        "command", in->command->name, "format_version", "1.0", "tool_version", HW_VERSION,
        "model_sha256", s->model_sha256, "model_family", s->inputs.model->desc.family,
        "tokenizer_sha256", s->tokenizer_sha256, "prompts_sha256", s->prompts_sha256, "n_prompts",
        (json_int_t)s->inputs.prompts.n, "edits", edits, "n_units", (json_int_t)s->units.n,
        "units_sha256", units, "metrics", metrics, "positions",
        opt->positions != NULL ? opt->positions : "", "generate", (json_int_t)opt->generate,
        "means_by", opt->means_by != NULL ? opt->means_by : "", "kernels",
        hw_level_name(ops.level));
    s->kernels = hw_kernels_json(&ops);
    s->command_line = hw_command_line(in, false);
    return s->manifest != NULL && s->kernels != NULL && s->command_line != NULL
               ? HW_OK
               : hw_fail(err, HW_RESOURCE, "not enough memory for the description of the run");
}

enum hw_status hw_ablate_setup(const struct hw_invocation *in, struct ablate_setup *setup,
                               struct hw_error *err) {
    enum hw_status status = open_all(in, setup, err);
    status = status == HW_OK ? open_sources(in->options, setup, err) : status;
    status = status == HW_OK ? make_plan(in, setup, err) : status;
    return status == HW_OK ? describe(in, setup, err) : status;
}

void hw_ablate_teardown(struct ablate_setup *s) {
    hw_edit_sources_close(&s->sources);
    hw_ablation_close(&s->ablation);
    hw_sweep_units_free(&s->units);
    for (size_t i = 0; i < s->n_arms; i++) {
        hw_edit_close(&s->arms[i]);
    }
    free(s->arms);
    hw_positions_close(&s->positions);
    hw_inputs_close(&s->inputs);
    json_decref(s->manifest);
    free(s->hash_folder);
    free(s->kernels);
    free(s->command_line);
    memset(s, 0, sizeof *s);
}

enum hw_status hw_ablate_print_estimate(const struct hw_invocation *in,
                                        const struct ablate_setup *s, struct hw_error *err) {
    if (in->common.json) {
        return hw_json_print(
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I}, s:f, s:f}",
                      "n_prompts", (json_int_t)s->inputs.prompts.n, "n_failed",
                      (json_int_t)s->n_failed, "n_tokens", (json_int_t)s->n_tokens, "n_runs",
                      (json_int_t)s->ablation.n_runs, "batch", (json_int_t)s->plan.batch,
                      "peak_bytes", (json_int_t)s->peak_bytes, "memory", "weights",
                      (json_int_t)s->weights_bytes, "pass", (json_int_t)s->plan.session_bytes,
                      "sweep", (json_int_t)s->plan.other_bytes, "base", (json_int_t)s->base_bytes,
                      "flops", s->flops, "seconds", s->seconds),
            err);
    }
    char text[32];
    printf("%zu prompts, %zu tokens, longest %zu\n", s->inputs.prompts.n, s->n_tokens,
           s->sweep.max_tokens);
    printf("changed runs           %zu of each prompt, %zu together\n", s->ablation.n_runs,
           s->plan.batch);
    const struct {
        const char *name;
        uint64_t bytes;
    } parts[] = {{"memory at peak", s->peak_bytes},
                 {"  weights", s->weights_bytes},
                 {"  pass", s->plan.session_bytes},
                 {"  prefixes, metrics", s->plan.other_bytes},
                 {"  program, sources", s->base_bytes}};
    for (size_t i = 0; i < HW_LENGTH(parts); i++) {
        printf("%-21s  %s\n", parts[i].name, hw_format_bytes(text, sizeof text, parts[i].bytes));
    }
    printf("arithmetic             %.0f GFLOP\n", s->flops / 1e9);
    printf("time                   about %s on %llu thread%s\n",
           hw_format_seconds(text, sizeof text, s->seconds), (unsigned long long)in->common.threads,
           in->common.threads == 1 ? "" : "s");
    return HW_OK;
}
