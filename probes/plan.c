// The plan; see plan.h. Sizes of output come from the schema; memory is in plan_memory.c.
#include "probes/plan.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/size.h"
#include "probes/plan_internal.h"

// Sizes are sums of products of counts that were capped one by one; beyond this they mean nothing
// to anybody.
static const uint64_t MOST_BYTES = (uint64_t)1 << 60;

static uint64_t capped_mul(uint64_t a, uint64_t b) {
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) || product > MOST_BYTES ? MOST_BYTES : product;
}

static bool is_narrowed(enum hw_dataset dataset) {
    enum hw_group group = hw_schema_row(dataset)->group;
    return group == HW_GROUP_ACTIVATIONS || group == HW_GROUP_LOGITS;
}

static uint64_t narrowed_rows(const struct hw_plan *plan, const struct hw_prompt *prompt) {
    size_t n = prompt->n_ids + plan->engine.max_generate;
    bool *selected = malloc(n);
    if (selected == NULL) {
        return n;
    }
    uint64_t rows = hw_positions_resolve(plan->positions, prompt, n, selected);
    free(selected);
    return rows;
}

// Rows on the lead axis of a dataset; map tiles are counted apart.
static uint64_t lead_rows(const struct hw_plan *plan, const struct hw_prompts *prompts,
                          enum hw_dataset dataset) {
    uint64_t rows = 0;
    size_t generate = plan->engine.max_generate;
    switch (hw_schema_row(dataset)->axes[0]) {
    case HW_AXIS_PROMPT:
        return prompts->n;
    case HW_AXIS_GROUP:
        return plan->recording.layout.n_mean_groups;
    case HW_AXIS_LAYER:
    case HW_AXIS_HEAD:
    case HW_AXIS_NONE:
        return 1;
    default:
        break;
    }
    for (size_t p = 0; p < prompts->n; p++) {
        const struct hw_prompt *prompt = &prompts->items[p];
        bool is_run = prompt->status != HW_PROMPT_FAILED;
        switch (hw_schema_row(dataset)->axes[0]) {
        case HW_AXIS_TOKEN:
            rows += !is_run                                           ? 0
                    : plan->positions != NULL && is_narrowed(dataset) ? narrowed_rows(plan, prompt)
                                                                      : prompt->n_ids + generate;
            break;
        case HW_AXIS_STEP:
            rows += is_run ? generate : 0;
            break;
        case HW_AXIS_EVENT:
            rows += is_run ? HW_MAX_EVENTS : 0;
            break;
        case HW_AXIS_SPAN_ROW:
            rows += prompt->n_spans;
            break;
        default:
            break;
        }
    }
    return rows;
}

uint64_t hw_plan_map_bytes(const struct hw_plan *plan, enum hw_dataset dataset, size_t n_tokens) {
    const struct hw_layout *layout = &plan->recording.layout;
    const struct hw_group_axes *axes = &layout->groups[HW_GROUP_ATTENTION];
    uint64_t maps = 0;
    for (size_t i = 0; i < axes->n_layers * axes->n_heads && layout->has[dataset]; i++) {
        maps += axes->recorded == NULL || axes->recorded[i] != 0;
    }
    uint64_t edge = hw_size_div_up(n_tokens, HW_MAP_TILE) * HW_MAP_TILE;
    return capped_mul(maps, edge * edge * hw_element_bytes(layout->element[dataset]));
}

static uint64_t map_bytes(const struct hw_plan *plan, const struct hw_prompts *prompts,
                          enum hw_dataset dataset) {
    uint64_t bytes = 0;
    for (size_t p = 0; p < prompts->n; p++) {
        bytes += hw_plan_map_bytes(plan, dataset, prompts->items[p].n_ids);
    }
    return bytes;
}

uint64_t hw_plan_dataset_bytes(const struct hw_plan *plan, const struct hw_prompts *prompts,
                               enum hw_dataset dataset) {
    const struct hw_layout *layout = &plan->recording.layout;
    const struct hw_schema_row *row = hw_schema_row(dataset);
    if (!layout->has[dataset]) {
        return 0;
    }
    if (dataset == HW_DS_ATTENTION_PATTERN || dataset == HW_DS_ATTENTION_SCORES) {
        return map_bytes(plan, prompts, dataset);
    }
    const uint64_t string_bytes = 16; // a reference into the heap of the file
    uint64_t row_bytes =
        row->element == HW_ELEMENT_VSTR ? string_bytes : hw_layout_row_bytes(layout, dataset);
    uint64_t slabs = 1;
    if (hw_schema_slab_axis(dataset) == 1) {
        slabs = hw_layout_axis(layout, row->group, row->axes[1]);
    }
    if (row->axes[0] == HW_AXIS_LAYER || row->axes[0] == HW_AXIS_HEAD) {
        slabs *= hw_layout_axis(layout, row->group, row->axes[0]);
    }
    return capped_mul(capped_mul(row_bytes, slabs), lead_rows(plan, prompts, dataset));
}

// How much of its raw size a dataset keeps in the file, least and most: measured on ordinary text,
// with room on both sides.
static void ratio_of(enum hw_dataset dataset, enum hw_element element, double *ret_least,
                     double *ret_most) {
    enum hw_group group = hw_schema_row(dataset)->group;
    if (dataset == HW_DS_ATTENTION_PATTERN || dataset == HW_DS_ATTENTION_SCORES) {
        *ret_least = element == HW_ELEMENT_U2 ? 0.02 : 0.08;
        *ret_most =
            element == HW_ELEMENT_F4
                ? 0.75
                : 0.55; // nothing is stored above the diagonal but one zero chunk, over and over
    } else if (group == HW_GROUP_MASSIVE) {
        *ret_least = 0.0;
        *ret_most = 1.0;
    } else if (is_narrowed(dataset) || group == HW_GROUP_ATTENTION_VECTORS ||
               group == HW_GROUP_MEANS) {
        *ret_least = 0.9; // not compressed
        *ret_most = 1.05;
    } else {
        *ret_least = 0.45;
        *ret_most = 1.02;
    }
}

static void add_output(struct hw_plan *plan, const struct hw_prompts *prompts) {
    double least = 0.0;
    double most = 0.0;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        uint64_t bytes = hw_plan_dataset_bytes(plan, prompts, dataset);
        enum hw_axis lead = hw_schema_row(dataset)->axes[0];
        uint64_t bound = lead == HW_AXIS_EVENT || lead == HW_AXIS_STEP ? bytes : 0;
        if (lead == HW_AXIS_TOKEN && plan->n_tokens + plan->max_generated > 0) {
            bound = (uint64_t)((double)bytes * (double)plan->max_generated /
                               (double)(plan->n_tokens + plan->max_generated));
        }
        double smallest;
        double largest;
        ratio_of(dataset, plan->recording.layout.element[i], &smallest, &largest);
        plan->raw_bytes += bytes;
        plan->bounds_bytes += bound;
        least += smallest * (double)(bytes - bound);
        most += largest * (double)bytes;
    }
    // The vocabulary, provenance, dimension scales and HDF5's own trees.
    const double fixed_least = 50e3;
    const double fixed_most = 1e6;
    double vocabulary = (double)plan->recording.layout.n_vocab * 40.0;
    plan->file_least = (uint64_t)(least + fixed_least + vocabulary * 0.5);
    plan->file_most = (uint64_t)(most + fixed_most + vocabulary * 1.5);
}

double hw_plan_rate(int n_threads, enum hw_level level) {
    enum { N = 512, REPEATS = 8 };
    struct hw_ops ops;
    hw_ops_init(&ops, level);
    size_t scratch = hw_linear_scratch(n_threads, N);
    float *x = calloc((size_t)N * N, sizeof(float));
    float *w = calloc((size_t)N * N, sizeof(float));
    float *y = calloc((size_t)N * N, sizeof(float));
    void *work = aligned_alloc(HW_ALIGN, (scratch + HW_ALIGN - 1) / HW_ALIGN * HW_ALIGN + HW_ALIGN);
    double rate = 0.0;
    if (x != NULL && w != NULL && y != NULL && work != NULL) {
        struct hw_exec exec = {.n_threads = n_threads, .scratch = work, .scratch_bytes = scratch};
        struct hw_weight weight = {
            .data = w, .row_bytes = N * sizeof(float), .dtype = HW_F32, .n_out = N, .n_in = N};
        for (int i = 0; i < REPEATS; i++) {
            struct timespec start;
            struct timespec end;
            (void)clock_gettime(CLOCK_MONOTONIC, &start);
            ops.linear(&exec, x, N, N, &(struct hw_product){&weight, NULL, y, N}, 1);
            (void)clock_gettime(CLOCK_MONOTONIC, &end);
            double seconds =
                (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
            double now = 2.0 * N * N * N / seconds;
            rate = now > rate ? now : rate;
        }
    }
    free(x);
    free(w);
    free(y);
    free(work);
    return rate;
}

static void add_work(struct hw_plan *plan, const struct hw_model *model,
                     const struct hw_prompts *prompts, const struct hw_plan_options *options) {
    const double overhead =
        1.35; // measured: attention, norms and statistics run below the rate of the linear op
    bool has_unembed = plan->recording.layout.has[HW_DS_TOKEN_LOGPROB] ||
                       plan->recording.layout.has[HW_DS_LOGITS_LOGITS];
    for (size_t p = 0; p < prompts->n; p++) {
        if (prompts->items[p].status != HW_PROMPT_FAILED) {
            plan->flops += hw_session_flops(&model->desc, prompts->items[p].n_ids, has_unembed);
        }
    }
    // A generated token costs what one row costs and streams all weights; expanding them dominates.
    double per_token = 16.0 * hw_session_flops(&model->desc, 1, true);
    plan->flops += per_token * (double)plan->max_generated;
    plan->flops += options->edits != NULL ? hw_edit_run_flops(options->edits) : 0.0;
    double rate = hw_plan_rate(options->n_threads, options->level);
    plan->seconds = rate > 0.0 ? overhead * plan->flops / rate : 0.0;
}

// Positions that select nothing are a slip of the pen: no token of any prompt, or a span that none
// has.
static enum hw_status check_positions(const struct hw_plan *plan, const struct hw_prompts *prompts,
                                      const char *text, struct hw_error *err) {
    const char *name;
    for (size_t i = 0; (name = hw_positions_span(plan->positions, i)) != NULL; i++) {
        bool is_found = plan->n_failed > 0; // perhaps for the want of it
        for (size_t p = 0; p < prompts->n && !is_found; p++) {
            for (size_t s = 0; s < prompts->items[p].n_spans && !is_found; s++) {
                is_found = strcmp(prompts->items[p].spans[s].name, name) == 0;
            }
        }
        if (!is_found) {
            return hw_fail(err, HW_USAGE, "--positions %s: no prompt has a span '%s'", text, name);
        }
    }
    uint64_t rows = 0;
    for (size_t p = 0; p < prompts->n; p++) {
        rows += narrowed_rows(plan, &prompts->items[p]);
    }
    return rows > 0 || plan->n_failed == prompts->n
               ? HW_OK
               : hw_fail(err, HW_USAGE, "--positions %s: selects no token of any prompt", text);
}

// A target somewhere, and one position in every prompt.
static enum hw_status plan_attribution(struct hw_plan *plan, const struct hw_prompts *prompts,
                                       const char *at, struct hw_error *err) {
    if (!plan->recording.layout.has[HW_DS_ATTRIBUTION_LOGIT]) {
        return at == NULL ? HW_OK
                          : hw_fail(err, HW_USAGE,
                                    "--attribution-at says where to attribute, and attribution is "
                                    "not recorded");
    }
    size_t n_targets = 0;
    for (size_t p = 0; p < prompts->n; p++) {
        n_targets += prompts->items[p].target_id >= 0;
    }
    if (n_targets == 0) {
        return hw_fail(err, HW_USAGE,
                       "record attribution needs a target (expected \"target\" in the prompts' "
                       "objects, found none in %zu prompts)",
                       prompts->n);
    }
    if (at == NULL) {
        return HW_OK;
    }
    enum hw_status status = hw_positions_parse(at, &plan->attribution_at, err);
    bool *selected = malloc(plan->recording.layout.max_tokens + 1);
    if (status == HW_OK && selected == NULL) {
        status = hw_fail(err, HW_RESOURCE, "cannot allocate %zu bytes",
                         plan->recording.layout.max_tokens);
    }
    for (size_t p = 0; p < prompts->n && status == HW_OK; p++) {
        const struct hw_prompt *prompt = &prompts->items[p];
        size_t n = hw_positions_resolve(plan->attribution_at, prompt, prompt->n_ids, selected);
        if (n != 1 && prompt->status != HW_PROMPT_FAILED) {
            status =
                hw_fail(err, HW_USAGE, "selects %zu positions of prompt %zu (expected one)", n, p);
        }
    }
    free(selected);
    return status == HW_OK ? HW_OK : hw_fail_context(err, status, "--attribution-at %s: ", at);
}

enum hw_status hw_plan_open(const struct hw_model *model, const struct hw_prompts *prompts,
                            const struct hw_plan_options *options, struct hw_plan *ret_plan,
                            struct hw_error *err) {
    struct hw_plan plan = {0};
    enum hw_status status =
        hw_recording_open(&model->desc, prompts, &options->record, &plan.recording, err);
    if (status == HW_OK && options->edits != NULL &&
        plan.recording.layout.has[HW_DS_ATTENTION_VECTORS_QUERY]) {
        // Whoever rebuilds a map has to know.
        plan.recording.layout.has[HW_DS_ATTENTION_VECTORS_EDITS_JSON] = true;
        plan.recording.layout.fixed[HW_DS_ATTENTION_VECTORS_EDITS_JSON] = options->edits_json;
    }
    if (status == HW_OK && options->positions != NULL) {
        status = hw_positions_parse(options->positions, &plan.positions, err);
        status = status == HW_OK
                     ? HW_OK
                     : hw_fail_context(err, status, "--positions %s: ", options->positions);
    }
    const bool *has = plan.recording.layout.has;
    if (status == HW_OK && options->positions != NULL && !has[HW_DS_ACTIVATIONS_TOKEN_POSITION] &&
        !has[HW_DS_LOGITS_TOKEN_POSITION]) {
        status = hw_fail(err, HW_USAGE,
                         "--positions narrows activations and logits, and none are recorded");
    }
    status =
        status == HW_OK ? plan_attribution(&plan, prompts, options->attribution_at, err) : status;
    for (size_t p = 0; p < prompts->n && status == HW_OK; p++) {
        plan.n_failed += prompts->items[p].status == HW_PROMPT_FAILED;
        plan.n_tokens += prompts->items[p].n_ids;
    }
    plan.max_generated = (prompts->n - plan.n_failed) * options->record.max_generate;
    plan.engine = (struct hw_engine_config){
        .model = model,
        .layout = &plan.recording.layout,
        .max_tokens =
            hw_size_max(1, plan.recording.layout.max_tokens - options->record.max_generate),
        .max_generate = options->record.max_generate,
        .positions = plan.positions,
        .attribution_at = plan.attribution_at,
    };
    if (status == HW_OK && options->positions != NULL) {
        status = check_positions(&plan, prompts, options->positions, err);
    }
    if (status == HW_OK) {
        add_output(&plan, prompts);
        status = hw_plan_add_memory(&plan, model, prompts, options, err);
    }
    if (status != HW_OK) {
        hw_plan_close(&plan);
        return status;
    }
    add_work(&plan, model, prompts, options);
    *ret_plan = plan;
    ret_plan->engine.layout = &ret_plan->recording.layout; // the plan points into itself
    return HW_OK;
}

void hw_plan_close(struct hw_plan *plan) {
    hw_positions_close(&plan->positions);
    hw_positions_close(&plan->attribution_at);
    hw_recording_close(&plan->recording);
    memset(plan, 0, sizeof *plan);
}
