// An ablation as a result file and as JSON; see ablate_report.h.
#include "tools/ablate_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/analysis_command.h"
#include "tools/report.h"

double ablate_effect(enum hw_metric metric, double value, double baseline) {
    switch (metric) {
    case HW_METRIC_LOSS:
    case HW_METRIC_RANK:
        return value - baseline;
    case HW_METRIC_LOGIT_DIFFERENCE:
    case HW_METRIC_TARGET_LOGIT:
    case HW_METRIC_EXACT_MATCH:
        return baseline - value;
    default:
        return value;
    }
}

enum hw_metric ablate_first_metric(const struct hw_ablation *ablation) {
    int metric = 0;
    while (metric < HW_N_METRICS - 1 && !ablation->wanted[metric]) {
        metric++;
    }
    return (enum hw_metric)metric;
}

struct hw_mean ablate_mean(const struct ablate_view *view, size_t arm, size_t unit,
                           enum hw_metric metric) {
    struct hw_mean mean = {0};
    for (size_t p = 0; p < view->prompts->n; p++) {
        double value = hw_ablation_value(view->ablation, view->cells, p, arm, unit, metric);
        if (!isnan(value)) {
            hw_mean_add(&mean, value);
        }
    }
    return mean;
}

struct hw_mean ablate_mean_effect(const struct ablate_view *view, size_t arm, size_t unit) {
    const struct hw_ablation *a = view->ablation;
    enum hw_metric metric = ablate_first_metric(a);
    struct hw_mean mean = {0};
    for (size_t p = 0; p < view->prompts->n; p++) {
        double value =
            ablate_effect(metric, hw_ablation_value(a, view->cells, p, arm, unit, metric),
                          hw_ablation_baseline(a, view->cells, p, metric));
        if (!isnan(value)) {
            hw_mean_add(&mean, value);
        }
    }
    return mean;
}

struct hw_mean ablate_mean_baseline(const struct ablate_view *view, enum hw_metric metric) {
    struct hw_mean mean = {0};
    for (size_t p = 0; p < view->prompts->n; p++) {
        double value = hw_ablation_baseline(view->ablation, view->cells, p, metric);
        if (!isnan(value)) {
            hw_mean_add(&mean, value);
        }
    }
    return mean;
}

struct ranked {
    size_t unit;
    double effect;
};

static int by_effect(const void *a, const void *b) {
    const struct ranked *x = a;
    const struct ranked *y = b;
    bool x_is_last = isnan(x->effect), y_is_last = isnan(y->effect);
    if (x_is_last != y_is_last) {
        return x_is_last ? 1 : -1;
    }
    if (!x_is_last && x->effect != y->effect) {
        return x->effect < y->effect ? 1 : -1;
    }
    return (x->unit > y->unit) - (x->unit < y->unit);
}

size_t *ablate_order(const struct ablate_view *view, size_t arm, size_t *ret_n) {
    const struct hw_ablation *a = view->ablation;
    struct ranked *ranked = calloc(a->units->n + 1, sizeof *ranked);
    size_t *order = calloc(a->units->n + 1, sizeof *order);
    size_t n = 0;
    if (ranked == NULL || order == NULL) {
        free(ranked);
        free(order);
        return NULL;
    }
    for (size_t u = 0; u < a->units->n; u++) {
        if (a->edits[u * a->n_arms + arm] != NULL) {
            struct hw_mean mean = ablate_mean_effect(view, arm, u);
            ranked[n++] = (struct ranked){u, hw_mean_value(&mean)};
        }
    }
    qsort(ranked, n, sizeof *ranked, by_effect);
    for (size_t i = 0; i < n; i++) {
        order[i] = ranked[i].unit;
    }
    free(ranked);
    *ret_n = n;
    return order;
}

// The places of the units on the axes of the result: [layer, head] or [unit].
struct grid {
    int32_t *layers;
    int32_t *heads;
    size_t n_layers;
    size_t n_heads; // without heads: 1, and layers are units
    size_t *cell;   // [n_units]
    size_t n_cells;
};

static void add_number(int32_t *numbers, size_t *n, int32_t number) {
    size_t at = 0;
    while (at < *n && numbers[at] < number) {
        at++;
    }
    if (at < *n && numbers[at] == number) {
        return;
    }
    memmove(numbers + at + 1, numbers + at, (*n - at) * sizeof *numbers);
    numbers[at] = number;
    ++*n;
}

static size_t find_number(const int32_t *numbers, size_t n, int32_t number) {
    size_t at = 0;
    while (at < n && numbers[at] != number) {
        at++;
    }
    return at;
}

static bool make_grid(const struct hw_sweep_units *units, struct grid *ret) {
    struct grid g = {.layers = calloc(units->n + 1, sizeof *g.layers),
                     .heads = calloc(units->n + 1, sizeof *g.heads),
                     .cell = calloc(units->n + 1, sizeof *g.cell),
                     .n_cells = units->n};
    *ret = g;
    if (g.layers == NULL || g.heads == NULL || g.cell == NULL) {
        return false;
    }
    for (size_t u = 0; u < units->n && units->is_heads; u++) {
        add_number(g.layers, &g.n_layers, units->items[u].layer);
        add_number(g.heads, &g.n_heads, units->items[u].head);
    }
    for (size_t u = 0; u < units->n; u++) {
        const struct hw_sweep_unit *unit = &units->items[u];
        g.cell[u] = units->is_heads ? find_number(g.layers, g.n_layers, unit->layer) * g.n_heads +
                                          find_number(g.heads, g.n_heads, unit->head)
                                    : u;
    }
    g.n_cells = units->is_heads ? g.n_layers * g.n_heads : units->n;
    *ret = g;
    return true;
}

static void free_grid(struct grid *g) {
    free(g->layers);
    free(g->heads);
    free(g->cell);
}

static bool add_axes(struct hw_result *result, const struct ablate_view *view,
                     const struct grid *grid) {
    const struct hw_ablation *a = view->ablation;
    size_t most = a->n_arms > a->units->n ? a->n_arms : a->units->n;
    const char **texts = calloc(most + 1, sizeof *texts);
    int32_t *prompts = calloc(view->prompts->n + 1, sizeof *prompts);
    if (texts == NULL || prompts == NULL) {
        free(texts);
        free(prompts);
        return false;
    }
    for (size_t i = 0; i < a->n_arms; i++) {
        texts[i] = a->arms[i]->spec;
    }
    for (size_t p = 0; p < view->prompts->n; p++) {
        prompts[p] = (int32_t)p;
    }
    hw_result_axis(result, "edit", a->n_arms, NULL, texts, "how units are changed");
    hw_result_axis(result, "prompt", view->prompts->n, prompts, NULL, "prompt");
    if (a->units->is_heads) {
        hw_result_axis(result, "layer", grid->n_layers, grid->layers, NULL, "layer");
        hw_result_axis(result, "head", grid->n_heads, grid->heads, NULL, "query head");
    } else {
        for (size_t u = 0; u < a->units->n; u++) {
            texts[u] = a->units->items[u].name;
        }
        hw_result_axis(result, "unit", a->units->n, NULL, texts, "what is changed together");
    }
    free(texts);
    free(prompts);
    return true;
}

static bool add_prompts(struct hw_result *result, const struct ablate_view *view) {
    size_t n = view->prompts->n;
    const char **names = calloc(3 * n + 1, sizeof *names);
    int64_t *status = calloc(2 * n + 1, sizeof *status);
    char(*hashes)[65] = calloc(n + 1, sizeof *hashes);
    for (size_t p = 0; p < n && names != NULL && status != NULL && hashes != NULL; p++) {
        const struct hw_prompt *prompt = &view->prompts->items[p];
        hw_prompt_sha256(prompt, hashes[p]);
        names[p] = prompt->name;
        names[n + p] = view->errors[p] != NULL ? view->errors[p] : "";
        names[2 * n + p] = hashes[p];
        status[p] = view->errors[p] != NULL ? HW_PROMPT_FAILED : prompt->status;
        status[n + p] = (int64_t)prompt->n_ids;
    }
    bool has_memory = names != NULL && status != NULL && hashes != NULL;
    if (has_memory) {
        const struct hw_result_field fields[] = {
            {"prompt_name", HW_RESULT_TEXT, {"prompt"}, "name", "1", "The prompt's name."},
            {"prompt_error",
             HW_RESULT_TEXT,
             {"prompt"},
             "why it failed",
             "1",
             "Empty unless the prompt failed; its values are NaN then."},
            {"prompt_sha256",
             HW_RESULT_TEXT,
             {"prompt"},
             "hash of its tokens",
             "1",
             "SHA-256 of the token ids as little-endian u4, as in captures."},
            {"prompt_status",
             HW_RESULT_INTEGER,
             {"prompt"},
             "status",
             "1",
             "0 ok, 1 truncated, 2 failed."},
            {"n_tokens", HW_RESULT_INTEGER, {"prompt"}, "tokens", "token", "Tokens of the prompt."},
        };
        for (size_t i = 0; i < 3; i++) {
            hw_result_add(result, &fields[i], names + i * n);
        }
        for (size_t i = 0; i < 2; i++) {
            hw_result_add(result, &fields[3 + i], status + i * n);
        }
    }
    free(names);
    free(status);
    free(hashes);
    return has_memory;
}

struct gathered {
    double *values;  // [edit, prompt, cell]
    double *means;   // [edit, cell], and behind them their standard errors
    int64_t *counts; // [edit, cell]
};

static void gather(const struct ablate_view *view, const struct grid *grid, enum hw_metric metric,
                   bool is_relative, const struct gathered *ret) {
    const struct hw_ablation *a = view->ablation;
    size_t n_prompts = view->prompts->n, n_means = a->n_arms * grid->n_cells;
    for (size_t arm = 0; arm < a->n_arms; arm++) {
        for (size_t u = 0; u < a->units->n; u++) {
            struct hw_mean mean = {0};
            for (size_t p = 0; p < n_prompts; p++) {
                double value = hw_ablation_value(a, view->cells, p, arm, u, metric);
                if (is_relative) {
                    double base = hw_ablation_baseline(a, view->cells, p, HW_METRIC_LOSS);
                    value = (value - base) / base;
                }
                ret->values[(arm * n_prompts + p) * grid->n_cells + grid->cell[u]] = value;
                if (!isnan(value)) {
                    hw_mean_add(&mean, value);
                }
            }
            size_t at = arm * grid->n_cells + grid->cell[u];
            ret->means[at] = hw_mean_value(&mean);
            ret->means[n_means + at] = hw_mean_se(&mean);
            ret->counts[at] = (int64_t)mean.n;
        }
    }
}

// [edit, prompt, cells] of a metric, and its mean over prompts.
static bool add_metric(struct hw_result *result, const struct ablate_view *view,
                       const struct grid *grid, enum hw_metric metric, bool is_relative) {
    const struct hw_ablation *a = view->ablation;
    const struct hw_metric_row *row = &hw_metric_rows[metric];
    size_t n_prompts = view->prompts->n, n_means = a->n_arms * grid->n_cells;
    double *values = calloc(n_means * n_prompts + 1, sizeof *values);
    double *means = calloc(2 * n_means + 1, sizeof *means);
    int64_t *counts = calloc(n_means + 1, sizeof *counts);
    bool has_memory = values != NULL && means != NULL && counts != NULL;
    if (!has_memory) {
        goto cleanup;
    }
    for (size_t i = 0; i < n_means * n_prompts; i++) {
        values[i] = (double)NAN;
    }
    for (size_t i = 0; i < 2 * n_means; i++) {
        means[i] = (double)NAN;
    }
    gather(view, grid, metric, is_relative, &(struct gathered){values, means, counts});
    const char *name = is_relative ? "loss_relative" : row->name;
    char mean_name[64];
    (void)snprintf(mean_name, sizeof mean_name, "%s_mean", name);
    struct hw_result_field field = {.name = name,
                                    .type = HW_RESULT_REAL,
                                    .axes = {"edit", "prompt", "layer", "head"},
                                    .long_name = name,
                                    .units = is_relative ? "1" : row->units,
                                    .description = is_relative ? "(loss - baseline_loss) / "
                                                                 "baseline_loss: the score of "
                                                                 "AttentionInfluence."
                                                               : row->text};
    struct hw_result_field mean_field = field;
    mean_field.name = mean_name;
    mean_field.axes[1] = "layer";
    mean_field.axes[2] = "head";
    mean_field.axes[3] = NULL;
    if (!a->units->is_heads) {
        field.axes[2] = mean_field.axes[1] = "unit";
        field.axes[3] = mean_field.axes[2] = NULL;
    }
    hw_result_add(result, &field, values);
    hw_result_add_mean(result, &mean_field, means, means + n_means, counts);
cleanup:
    free(values);
    free(means);
    free(counts);
    return has_memory;
}

static bool add_baseline(struct hw_result *result, const struct ablate_view *view,
                         enum hw_metric metric) {
    const struct hw_metric_row *row = &hw_metric_rows[metric];
    size_t n = view->prompts->n;
    double *values = calloc(n + 1, sizeof *values);
    char name[64];
    (void)snprintf(name, sizeof name, "baseline_%s", row->name);
    for (size_t p = 0; p < n && values != NULL; p++) {
        values[p] = hw_ablation_baseline(view->ablation, view->cells, p, metric);
    }
    if (values != NULL) {
        hw_result_add(result,
                      &(struct hw_result_field){name,
                                                HW_RESULT_REAL,
                                                {"prompt"},
                                                name,
                                                row->units,
                                                "The same of the unchanged model."},
                      values);
    }
    bool has_memory = values != NULL;
    free(values);
    return has_memory;
}

enum hw_status hw_ablate_fill(struct hw_result *result, const struct ablate_view *view,
                              struct hw_error *err) {
    const struct hw_ablation *a = view->ablation;
    struct grid grid;
    bool is_ok =
        make_grid(a->units, &grid) && add_axes(result, view, &grid) && add_prompts(result, view);
    for (int k = 0; k < HW_N_METRICS && is_ok; k++) {
        if (a->wanted[k]) {
            is_ok = add_metric(result, view, &grid, (enum hw_metric)k, false);
            // Changes of the unchanged model are 0.
            if (k != HW_METRIC_LOSS_CHANGE && k != HW_METRIC_KL && k != HW_METRIC_TOP1_CHANGE) {
                is_ok = is_ok && add_baseline(result, view, (enum hw_metric)k);
            }
        }
    }
    if (a->wanted[HW_METRIC_LOSS] && is_ok) {
        is_ok = add_metric(result, view, &grid, HW_METRIC_LOSS, true);
    }
    free_grid(&grid);
    return is_ok ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for the result");
}

// Units of an arm by their effect.
static json_t *arm_json(const struct ablate_view *view, size_t arm) {
    const struct hw_ablation *a = view->ablation;
    size_t n = 0;
    size_t *order = ablate_order(view, arm, &n);
    json_t *list = order != NULL ? json_array() : NULL;
    for (size_t i = 0; i < n && list != NULL; i++) {
        const struct hw_sweep_unit *unit = &a->units->items[order[i]];
        struct hw_mean effect = ablate_mean_effect(view, arm, order[i]);
        json_t *item = unit->head >= 0
                           ? json_pack("{s:i, s:i}", "layer", unit->layer, "head", unit->head)
                           : json_pack("{s:o}", "unit", hw_json_text(unit->name));
        (void)json_object_set_new(item, "effect", hw_json_real(hw_mean_value(&effect)));
        (void)json_object_set_new(item, "effect_se", hw_json_real(hw_mean_se(&effect)));
        for (int k = 0; k < HW_N_METRICS; k++) {
            if (a->wanted[k]) {
                struct hw_mean mean = ablate_mean(view, arm, order[i], (enum hw_metric)k);
                (void)json_object_set_new(item, hw_metric_rows[k].name,
                                          hw_json_real(hw_mean_value(&mean)));
            }
        }
        (void)json_array_append_new(list, item);
    }
    free(order);
    return list;
}

json_t *hw_ablate_document(const struct hw_result *result, const struct ablate_view *view) {
    const struct hw_ablation *a = view->ablation;
    json_t *document = hw_result_json(result);
    json_t *arms = json_array();
    for (size_t arm = 0; arm < a->n_arms; arm++) {
        json_t *units = arm_json(view, arm);
        if (arm == 0 && a->units->is_heads) {
            (void)json_object_set(document, "heads", units);
        }
        (void)json_array_append_new(
            arms,
            json_pack("{s:o, s:o}", "edit", hw_json_text(a->arms[arm]->spec), "units", units));
    }
    (void)json_object_set_new(document, "arms", arms);
    return document;
}
