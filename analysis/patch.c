// Cells of patching; see patch.h.
#include "analysis/patch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

// Changed runs given to the engine together: enough for full batches, few enough that their edits
// take little memory.
enum { AIM_RUNS = 2048, SPEC_BYTES = 128 };

static const struct {
    enum hw_site site;
    const char *word;
} sites[HW_MAX_PATCH_SITES] = {{HW_SITE_Z, "z"},
                               {HW_SITE_RESID_PRE, "resid_pre"},
                               {HW_SITE_RESID_MID, "resid_mid"},
                               {HW_SITE_ATTN_OUT, "attn_out"},
                               {HW_SITE_MLP_OUT, "mlp_out"}};

const char *hw_patch_site_word(enum hw_site site) {
    for (size_t i = 0; i < HW_MAX_PATCH_SITES; i++) {
        if (sites[i].site == site) {
            return sites[i].word;
        }
    }
    return NULL;
}

static size_t n_slots(const struct hw_patching *p) {
    return p->n_sites * p->desc->n_layers;
}

static size_t n_heads(const struct hw_patching *p) {
    return p->by_head ? p->desc->n_heads : 1;
}

static size_t n_slot_runs(const struct hw_patching *p, size_t n_tokens) {
    return (p->by_position ? n_tokens : 1) * n_heads(p);
}

static size_t n_wanted(const struct hw_patching *p) {
    size_t n = 0;
    for (int k = 0; k < HW_N_METRICS; k++) {
        n += p->wanted[k];
    }
    return n;
}

// The place of a metric among the wanted ones.
static size_t place_of(const struct hw_patching *p, enum hw_metric metric) {
    size_t place = 0;
    for (int k = 0; k < (int)metric; k++) {
        place += p->wanted[k];
    }
    return place;
}

// Cell 0 of a prompt has both ends, then (site, layer).
static size_t cell_of(const struct hw_patching *p, size_t prompt, size_t slot) {
    return prompt * (1 + n_slots(p)) + 1 + slot;
}

size_t hw_patch_n_cells(const struct hw_patching *p) {
    size_t n;
    return hw_size_mul(p->prompts->n, 1 + n_slots(p), &n) ? n : SIZE_MAX;
}

// Slots that go together.
static size_t chunk_slots(const struct hw_patching *p, size_t n_tokens) {
    return hw_size_min(n_slots(p), hw_size_max(1, AIM_RUNS / n_slot_runs(p, n_tokens)));
}

size_t hw_patch_max_runs(const struct hw_patching *p) {
    size_t most = hw_size_max(AIM_RUNS, n_slot_runs(p, p->max_tokens));
    return 1 + hw_size_min(most, n_slots(p) * n_slot_runs(p, p->max_tokens));
}

// position, head < 0: all.
static enum hw_status make_edit(const struct hw_patching *p, size_t slot, int64_t position,
                                int64_t head, struct hw_edit **ret_edit, struct hw_error *err) {
    char spec[SPEC_BYTES], rows[32] = "";
    size_t layer = slot % p->desc->n_layers;
    enum hw_site site = p->sites[slot / p->desc->n_layers];
    if (position >= 0) {
        (void)snprintf(rows, sizeof rows, ":rows=%lld", (long long)position);
    }
    if (site == HW_SITE_Z && head >= 0) {
        (void)snprintf(spec, sizeof spec, "from:head=%zu.%lld%s", layer, (long long)head, rows);
    } else if (site == HW_SITE_Z) {
        (void)snprintf(spec, sizeof spec, "from:head=%zu%s", layer, rows);
    } else {
        (void)snprintf(spec, sizeof spec, "from:channel=all:layer=%zu:site=%s%s", layer,
                       hw_patch_site_word(site), rows);
    }
    return hw_edit_parse(spec, p->desc, false, ret_edit, err);
}

// The whole run of the counterpart.
static enum hw_status make_end(const struct hw_patching *p, struct hw_edit **ret_edit,
                               struct hw_error *err) {
    return hw_edit_parse("from:channel=all:layer=0:site=resid_pre", p->desc, false, ret_edit, err);
}

enum hw_status hw_patch_edits(const struct hw_patching *p, struct hw_edit ***ret_edits,
                              size_t *ret_n, struct hw_error *err) {
    size_t n = 0;
    struct hw_edit **edits = calloc(n_slots(p) + 1, sizeof(struct hw_edit *));
    if (edits == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the edits");
    }
    enum hw_status status = make_end(p, &edits[n], err);
    for (size_t slot = 0; slot < n_slots(p) && status == HW_OK; slot++) {
        n++;
        status = make_edit(p, slot, -1, -1, &edits[n], err);
    }
    if (status != HW_OK) {
        for (size_t i = 0; i < n; i++) {
            hw_edit_close(&edits[i]);
        }
        free(edits);
        return status;
    }
    *ret_edits = edits;
    *ret_n = n + 1;
    return HW_OK;
}

double hw_patch_value(const struct hw_patching *p, const struct hw_cells *cells, size_t prompt,
                      struct hw_patch_place place, enum hw_metric metric) {
    size_t n;
    const double *values =
        hw_cells_find(cells, cell_of(p, prompt, place.site * p->desc->n_layers + place.layer), &n);
    size_t at = (place.position * n_heads(p) + place.head) * n_wanted(p) + place_of(p, metric);
    return values != NULL && at < n ? values[at] : (double)NAN;
}

double hw_patch_end(const struct hw_patching *p, const struct hw_cells *cells, size_t prompt,
                    int end, enum hw_metric metric) {
    size_t n, at = (size_t)end * n_wanted(p) + place_of(p, metric);
    const double *values = hw_cells_find(cells, prompt * (1 + n_slots(p)), &n);
    return values != NULL && at < n ? values[at] : (double)NAN;
}

// One chunk of a prompt on its way.
struct running {
    const struct hw_patch_job *job;
    size_t prompt;
    size_t n_runs;
    struct hw_edit **edits;     // [max_runs]
    struct hw_sweep_cell *runs; // [max_runs]
    size_t *places;             // [max_runs] slot of the chunk; SIZE_MAX: the other end
    size_t *slots;              // [n_slots] of the chunk
    size_t *n_left;             // [n_slots] runs to come, of the chunk's slots
    size_t n_chunk;
    double base[HW_N_METRICS];
    double *ends;   // [2, n_wanted]
    double *values; // [max_runs, n_wanted]
    bool has_end;   // the chunk has the other end
    struct hw_cell *ready;
    size_t n_ready;
    double done;
    double all;
};

static void put(const struct hw_patching *p, const double *values, double *ret) {
    for (int k = 0; k < HW_N_METRICS; k++) {
        if (p->wanted[k]) {
            *ret++ = values[k];
        }
    }
}

static enum hw_status on_done(void *self, size_t cell, const double *values, struct hw_error *err) {
    struct running *r = self;
    const struct hw_patching *p = r->job->patching;
    size_t wanted = n_wanted(p), place = r->places[cell];
    (void)err;
    r->done++;
    if (place == SIZE_MAX) {
        put(p, r->base, r->ends);
        put(p, values, r->ends + wanted);
        r->ready[r->n_ready++] =
            (struct hw_cell){r->prompt * (1 + n_slots(p)), r->ends, 2 * wanted};
        return HW_OK;
    }
    put(p, values, r->values + cell * wanted);
    if (--r->n_left[place] == 0) {
        size_t n = n_slot_runs(p, p->prompts->items[r->prompt].n_ids);
        size_t first = place * n + (r->has_end ? 1 : 0);
        r->ready[r->n_ready++] = (struct hw_cell){cell_of(p, r->prompt, r->slots[place]),
                                                  r->values + first * wanted, n * wanted};
    }
    return HW_OK;
}

static enum hw_status commit(void *self, struct hw_error *err) {
    struct running *r = self;
    enum hw_status status =
        r->n_ready > 0 ? hw_cells_commit(r->job->cells, r->ready, r->n_ready, err) : HW_OK;
    r->n_ready = 0;
    if (r->job->progress != NULL) {
        r->job->progress(r->job->progress_self, r->done, r->all);
    }
    return status;
}

static bool is_kept(const struct running *r, size_t cell) {
    size_t n;
    return hw_cells_find(r->job->cells, cell, &n) != NULL;
}

static void drop_edits(struct running *r) {
    for (size_t i = 0; i < r->n_runs; i++) {
        hw_edit_close(&r->edits[i]);
    }
    r->n_runs = 0;
}

static void add_run(struct running *r, size_t place) {
    r->runs[r->n_runs] =
        (struct hw_sweep_cell){(const struct hw_edit *const *)&r->edits[r->n_runs], 1};
    r->places[r->n_runs++] = place;
}

// The next slots that are left, from *slot on, and their edits.
static enum hw_status list_runs(struct running *r, size_t *slot, struct hw_error *err) {
    const struct hw_patching *p = r->job->patching;
    size_t n_tokens = p->prompts->items[r->prompt].n_ids;
    enum hw_status status = HW_OK;
    r->n_chunk = r->n_ready = 0;
    r->has_end = !is_kept(r, r->prompt * (1 + n_slots(p)));
    if (r->has_end) {
        status = make_end(p, &r->edits[0], err);
        if (status == HW_OK) {
            add_run(r, SIZE_MAX);
        }
    }
    for (; *slot < n_slots(p) && r->n_chunk < chunk_slots(p, n_tokens); ++*slot) {
        if (is_kept(r, cell_of(p, r->prompt, *slot))) {
            continue;
        }
        r->n_left[r->n_chunk] = n_slot_runs(p, n_tokens);
        r->slots[r->n_chunk] = *slot;
        for (size_t i = 0; i < n_slot_runs(p, n_tokens) && status == HW_OK; i++) {
            int64_t position = p->by_position ? (int64_t)(i / n_heads(p)) : -1;
            int64_t head = p->by_head ? (int64_t)(i % n_heads(p)) : -1;
            status = make_edit(p, *slot, position, head, &r->edits[r->n_runs], err);
            if (status == HW_OK) {
                add_run(r, r->n_chunk);
            }
        }
        r->n_chunk++;
    }
    return status;
}

static enum hw_status run_prompt(struct running *r, struct hw_error *err) {
    const struct hw_patch_job *job = r->job;
    const struct hw_prompt *prompt = &job->patching->prompts->items[r->prompt];
    const struct hw_sweep_sink sink = {on_done, commit, NULL, job->stop, r};
    struct hw_error inner = {0};
    enum hw_status status =
        prompt->status == HW_PROMPT_FAILED ? hw_fail(&inner, HW_WRONG, "%s", prompt->error) : HW_OK;
    for (size_t slot = 0; status == HW_OK && slot < n_slots(job->patching);) {
        status = list_runs(r, &slot, &inner);
        if (status == HW_OK && r->n_runs > 0) {
            status = hw_sweep_prompt(job->sweep, prompt, r->prompt, r->runs, r->n_runs, r->base,
                                     &sink, &inner);
        }
        drop_edits(r);
    }
    if (status == HW_WRONG) {
        job->errors[r->prompt] = strdup(inner.message);
        return job->errors[r->prompt] != NULL
                   ? HW_OK
                   : hw_fail(err, HW_RESOURCE, "not enough memory for a message");
    }
    return status == HW_OK ? HW_OK
                           : hw_fail(err, status, "prompt %zu: %s", r->prompt, inner.message);
}

static double left_of(const struct running *r, size_t prompt) {
    const struct hw_patching *p = r->job->patching;
    size_t n = 0;
    for (size_t slot = 0; slot < n_slots(p); slot++) {
        n += is_kept(r, cell_of(p, prompt, slot)) ? 0
                                                  : n_slot_runs(p, p->prompts->items[prompt].n_ids);
    }
    return (double)n + !is_kept(r, prompt * (1 + n_slots(p)));
}

enum hw_status hw_patch_run(const struct hw_patch_job *job, struct hw_error *err) {
    const struct hw_patching *p = job->patching;
    size_t n = hw_patch_max_runs(p), n_values;
    if (!hw_size_mul(n, n_wanted(p) + 1, &n_values)) {
        return hw_fail(err, HW_RESOURCE, "%zu changed runs at once", n);
    }
    struct running r = {.job = job,
                        .edits = calloc(n, sizeof(struct hw_edit *)),
                        .runs = calloc(n, sizeof *r.runs),
                        .places = calloc(n, sizeof *r.places),
                        .slots = calloc(n_slots(p) + 1, sizeof *r.slots),
                        .n_left = calloc(n_slots(p) + 1, sizeof *r.n_left),
                        .ends = calloc(2 * n_wanted(p) + 1, sizeof *r.ends),
                        .values = calloc(n_values, sizeof *r.values),
                        .ready = calloc(n_slots(p) + 1, sizeof *r.ready)};
    enum hw_status status = HW_OK;
    if (r.edits == NULL || r.runs == NULL || r.places == NULL || r.slots == NULL ||
        r.n_left == NULL || r.ends == NULL || r.values == NULL || r.ready == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for %zu changed runs", n);
    }
    for (size_t i = 0; i < p->prompts->n && status == HW_OK; i++) {
        r.all += left_of(&r, i);
    }
    for (r.prompt = 0; r.prompt < p->prompts->n && status == HW_OK; r.prompt++) {
        status = run_prompt(&r, err);
    }
    free((void *)r.edits);
    free(r.runs);
    free(r.places);
    free(r.slots);
    free(r.n_left);
    free(r.ends);
    free(r.values);
    free(r.ready);
    return status;
}
