// Units times arms times prompts; see ablation.h.
#include "analysis/ablation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

// A committed cell of a prompt: 0 is the unchanged run, then (record, arm) with the values of the
// record's units, one after another.
static size_t cell_of(const struct hw_ablation *a, size_t prompt, size_t record, size_t arm) {
    return prompt * a->n_prompt_cells + 1 + record * a->n_arms + arm;
}

static bool is_pair(const struct hw_ablation *a, size_t unit, size_t arm) {
    return a->edits[unit * a->n_arms + arm] != NULL;
}

enum hw_status hw_ablation_open(const struct hw_sweep_units *units, struct hw_edit *const *arms,
                                size_t n_arms, const struct hw_model_desc *desc, const bool *wanted,
                                size_t n_prompts, struct hw_ablation *ret_ablation,
                                struct hw_error *err) {
    struct hw_ablation a = {.units = units,
                            .arms = arms,
                            .n_arms = n_arms,
                            .wanted = wanted,
                            .n_prompts = n_prompts,
                            .n_prompt_cells = 1 + units->n_records * n_arms};
    size_t n_pairs;
    for (int k = 0; k < HW_N_METRICS; k++) {
        a.n_wanted += wanted[k];
    }
    if (!hw_size_mul(units->n, n_arms, &n_pairs) ||
        (a.edits = calloc(n_pairs + 1, sizeof *a.edits)) == NULL ||
        (a.places = calloc(n_pairs + 1, sizeof *a.places)) == NULL ||
        (a.counts = calloc(n_pairs + 1, sizeof *a.counts)) == NULL) {
        hw_ablation_close(&a);
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu units", units->n);
    }
    enum hw_status status = HW_OK;
    for (size_t pair = 0; pair < n_pairs && status == HW_OK; pair++) {
        const struct hw_sweep_unit *unit = &units->items[pair / n_arms];
        const struct hw_edit *arm = arms[pair % n_arms];
        bool is_aimed = arm->target == HW_TARGET_NONE;
        if (is_aimed && unit->target != HW_TARGET_NONE) {
            status = hw_edit_aim(arm, desc, unit->target, unit->selected, &a.edits[pair], err);
        } else if (!is_aimed && unit->target == HW_TARGET_NONE) {
            status = hw_edit_parse(arm->spec, desc, false, &a.edits[pair], err);
        }
        if (status == HW_OK && a.edits[pair] != NULL) {
            a.places[pair] = a.counts[unit->record * n_arms + pair % n_arms]++;
            a.n_runs++;
        }
    }
    if (status != HW_OK) {
        hw_ablation_close(&a);
        return status;
    }
    *ret_ablation = a;
    return HW_OK;
}

void hw_ablation_close(struct hw_ablation *a) {
    for (size_t pair = 0; a->edits != NULL && pair < a->units->n * a->n_arms; pair++) {
        hw_edit_close(&a->edits[pair]);
    }
    free(a->edits);
    free(a->places);
    free(a->counts);
    a->edits = NULL;
    a->places = a->counts = NULL;
}

size_t hw_ablation_n_cells(const struct hw_ablation *a) {
    size_t n;
    return hw_size_mul(a->n_prompts, a->n_prompt_cells, &n) ? n : SIZE_MAX;
}

// The place of a metric among the wanted ones.
static size_t place_of(const struct hw_ablation *a, enum hw_metric metric) {
    size_t place = 0;
    for (int k = 0; k < (int)metric; k++) {
        place += a->wanted[k];
    }
    return place;
}

double hw_ablation_value(const struct hw_ablation *a, const struct hw_cells *cells, size_t prompt,
                         size_t arm, size_t unit, enum hw_metric metric) {
    size_t n;
    if (!is_pair(a, unit, arm)) {
        return (double)NAN;
    }
    const double *values =
        hw_cells_find(cells, cell_of(a, prompt, a->units->items[unit].record, arm), &n);
    size_t at = a->places[unit * a->n_arms + arm] * a->n_wanted + place_of(a, metric);
    return values != NULL && at < n ? values[at] : (double)NAN;
}

double hw_ablation_baseline(const struct hw_ablation *a, const struct hw_cells *cells,
                            size_t prompt, enum hw_metric metric) {
    size_t n, at = place_of(a, metric);
    const double *values = hw_cells_find(cells, prompt * a->n_prompt_cells, &n);
    return values != NULL && at < n ? values[at] : (double)NAN;
}

// One prompt on its way.
struct running {
    const struct hw_ablation_job *job;
    size_t prompt;
    size_t n_runs;
    size_t *pairs;               // [n_runs] unit * n_arms + arm of each changed run
    const struct hw_edit **edit; // [n_runs] what cells point to
    struct hw_sweep_cell *runs;  // [n_runs]
    double base[HW_N_METRICS];
    bool is_base_kept;
    double *values;        // [records, arms][units of the record, n_wanted], at starts
    size_t *starts;        // [records * arms]
    size_t *n_left;        // [records * arms] runs to come
    struct hw_cell *ready; // [records * arms + 1] finished and not committed
    size_t n_ready;
    double done; // layers times tokens
    double all;
    double before; // of the prompts before
};

static size_t slot_of(const struct hw_ablation *a, size_t unit, size_t arm) {
    return a->units->items[unit].record * a->n_arms + arm;
}

static void put(const struct hw_ablation *a, const double *values, double *ret) {
    for (int k = 0; k < HW_N_METRICS; k++) {
        if (a->wanted[k]) {
            *ret++ = values[k];
        }
    }
}

static enum hw_status on_done(void *self, size_t cell, const double *values, struct hw_error *err) {
    struct running *r = self;
    const struct hw_ablation *a = r->job->ablation;
    size_t unit = r->pairs[cell] / a->n_arms, arm = r->pairs[cell] % a->n_arms;
    size_t slot = slot_of(a, unit, arm);
    (void)err;
    put(a, values, r->values + r->starts[slot] + a->places[r->pairs[cell]] * a->n_wanted);
    if (--r->n_left[slot] == 0) {
        r->ready[r->n_ready++] = (struct hw_cell){cell_of(a, r->prompt, slot / a->n_arms, arm),
                                                  r->values + r->starts[slot], a->counts[slot] * a->n_wanted};
    }
    return HW_OK;
}

static enum hw_status commit(void *self, struct hw_error *err) {
    struct running *r = self;
    double base[HW_N_METRICS];
    if (!r->is_base_kept) {
        put(r->job->ablation, r->base, base);
        r->ready[r->n_ready++] = (struct hw_cell){r->prompt * r->job->ablation->n_prompt_cells,
                                                  base, r->job->ablation->n_wanted};
    }
    enum hw_status status =
        r->n_ready > 0 ? hw_cells_commit(r->job->cells, r->ready, r->n_ready, err) : HW_OK;
    r->is_base_kept = r->is_base_kept || status == HW_OK;
    r->n_ready = 0;
    return status;
}

static void on_progress(void *self, double n_layers) {
    struct running *r = self;
    r->done += n_layers * (double)r->job->prompts->items[r->prompt].n_ids;
    if (r->job->progress != NULL) {
        r->job->progress(r->job->progress_self, r->before + r->done, r->all);
    }
}

static bool is_kept(const struct hw_ablation_job *job, size_t prompt, size_t unit, size_t arm) {
    const struct hw_ablation *a = job->ablation;
    size_t n;
    return hw_cells_find(job->cells, cell_of(a, prompt, a->units->items[unit].record, arm), &n) !=
           NULL;
}

// Layers that a pair computes: from the first that it changes.
static double pair_layers(const struct hw_ablation_job *job, size_t pair) {
    const struct hw_edit *edit = job->ablation->edits[pair];
    size_t first = 0;
    while (first < job->desc->n_layers && !edit->layers[first]) {
        first++;
    }
    return (double)(job->desc->n_layers - first);
}

// What a prompt has left to do, layers times tokens.
static double left_of(const struct hw_ablation_job *job, size_t prompt) {
    const struct hw_ablation *a = job->ablation;
    double layers = 0;
    for (size_t pair = 0; pair < a->units->n * a->n_arms; pair++) {
        if (a->edits[pair] != NULL && !is_kept(job, prompt, pair / a->n_arms, pair % a->n_arms)) {
            layers += pair_layers(job, pair);
        }
    }
    return layers * (double)job->prompts->items[prompt].n_ids;
}

// What is left of the prompt, arm by arm within a layer.
static void list_runs(struct running *r) {
    const struct hw_ablation *a = r->job->ablation;
    size_t n_slots = a->units->n_records * a->n_arms, at = 0, n;
    r->n_runs = r->n_ready = 0;
    r->is_base_kept = hw_cells_find(r->job->cells, r->prompt * a->n_prompt_cells, &n) != NULL;
    memset(r->n_left, 0, n_slots * sizeof *r->n_left);
    for (size_t arm = 0; arm < a->n_arms; arm++) {
        for (size_t unit = 0; unit < a->units->n; unit++) {
            size_t pair = unit * a->n_arms + arm;
            if (!is_pair(a, unit, arm) || is_kept(r->job, r->prompt, unit, arm)) {
                continue;
            }
            size_t slot = slot_of(a, unit, arm);
            if (r->n_left[slot]++ == 0) {
                r->starts[slot] = at;
                at += a->counts[slot] * a->n_wanted;
            }
            r->edit[r->n_runs] = a->edits[pair];
            r->runs[r->n_runs] = (struct hw_sweep_cell){&r->edit[r->n_runs], 1};
            r->pairs[r->n_runs++] = pair;
        }
    }
}

static enum hw_status run_prompt(struct running *r, struct hw_error *err) {
    const struct hw_ablation_job *job = r->job;
    const struct hw_prompt *prompt = &job->prompts->items[r->prompt];
    const struct hw_sweep_sink sink = {on_done, commit, on_progress, job->stop, r};
    list_runs(r);
    if (r->n_runs == 0 && r->is_base_kept) {
        return HW_OK;
    }
    struct hw_error inner = {0};
    enum hw_status status = prompt->status == HW_PROMPT_FAILED
                                ? hw_fail(&inner, HW_WRONG, "%s", prompt->error)
                                : hw_sweep_prompt(job->sweep, prompt, r->prompt, r->runs, r->n_runs,
                                                  r->base, &sink, &inner);
    if (status == HW_WRONG) {
        job->errors[r->prompt] = strdup(inner.message);
        return job->errors[r->prompt] != NULL
                   ? HW_OK
                   : hw_fail(err, HW_RESOURCE, "not enough memory for a message");
    }
    return status == HW_OK ? commit(r, err)
                           : hw_fail(err, status, "prompt %zu: %s", r->prompt, inner.message);
}

enum hw_status hw_ablation_run(const struct hw_ablation_job *job, struct hw_error *err) {
    const struct hw_ablation *a = job->ablation;
    size_t n_slots = a->units->n_records * a->n_arms;
    struct running r = {.job = job,
                        .pairs = calloc(a->n_runs + 1, sizeof *r.pairs),
                        .edit = calloc(a->n_runs + 1, sizeof *r.edit),
                        .runs = calloc(a->n_runs + 1, sizeof *r.runs),
                        .values = calloc(a->n_runs * a->n_wanted + 1, sizeof *r.values),
                        .starts = calloc(n_slots + 1, sizeof *r.starts),
                        .n_left = calloc(n_slots + 1, sizeof *r.n_left),
                        .ready = calloc(n_slots + 2, sizeof *r.ready)};
    enum hw_status status = HW_OK;
    if (r.pairs == NULL || r.edit == NULL || r.runs == NULL || r.values == NULL ||
        r.starts == NULL || r.n_left == NULL || r.ready == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for %zu changed runs", a->n_runs);
    }
    for (size_t p = 0; p < a->n_prompts && status == HW_OK; p++) {
        r.all += left_of(job, p);
    }
    for (r.prompt = 0; r.prompt < a->n_prompts && status == HW_OK; r.prompt++) {
        double left = left_of(job, r.prompt);
        r.done = 0;
        status = run_prompt(&r, err);
        r.before += left;
    }
    free(r.pairs);
    free((void *)r.edit);
    free(r.runs);
    free(r.values);
    free(r.starts);
    free(r.n_left);
    free(r.ready);
    return status;
}
