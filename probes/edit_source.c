// Where edits take values from; see edit_source.h.
//
// Edits with the same replacement, site, source and seed share a need: the union of their layers is
// collected once. A need is served by a pass over all prompts (means), by a run before each prompt
// (counterpart, drawn prompt), or by a capture.
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/edit_source_internal.h"

static bool is_same_text(const char *a, const char *b) {
    return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0);
}

static struct hw_source_need *find_need(const struct hw_edit_sources *s, const struct hw_edit *edit,
                                        enum hw_site site) {
    for (size_t i = 0; i < s->n_needs; i++) {
        struct hw_source_need *need = &s->needs[i];
        bool has_seed = edit->replacement == HW_REPLACE_RESAMPLE;
        if (need->replacement == edit->replacement && need->site == site &&
            is_same_text(need->source, edit->source) && (!has_seed || need->seed == edit->seed)) {
            return need;
        }
    }
    return NULL;
}

static size_t heads_of_site(const struct hw_model_desc *d, enum hw_site site) {
    return site == HW_SITE_Z ? d->n_heads : site == HW_SITE_V ? d->n_kv_heads : 1;
}

enum hw_status hw_source_fail_prompt(const struct hw_edit_sources *sources,
                                     const struct hw_source_need *need, size_t p,
                                     struct hw_error *err) {
    char name[200];
    const char *text = sources->options.prompts->items[p].name;
    return hw_fail_context(err, HW_USAGE, "edit '%s': prompt %zu (%s): ", need->spec, p,
                           hw_escape(name, sizeof name, text, strlen(text)));
}

static enum hw_status no_memory(struct hw_error *err) {
    return hw_fail(err, HW_RESOURCE, "not enough memory for the sources of edits");
}

static enum hw_status make_need(struct hw_edit_sources *s, const struct hw_edit *edit,
                                enum hw_site site, struct hw_source_need **ret_need,
                                struct hw_error *err) {
    const struct hw_model_desc *d = s->desc;
    struct hw_source_need *need = &s->needs[s->n_needs++]; // closed with the rest whatever happens
    *need = (struct hw_source_need){.replacement = edit->replacement,
                                    .site = site,
                                    .seed = edit->seed,
                                    .means_by = s->options.means_by,
                                    .width = hw_site_width(d, site)};
    need->spec = strdup(edit->spec);
    need->source = edit->source != NULL ? strdup(edit->source) : NULL;
    need->layers = calloc(d->n_layers, sizeof *need->layers);
    need->heads = calloc(d->n_layers * heads_of_site(d, site), sizeof *need->heads);
    need->rows = calloc(d->n_layers, sizeof *need->rows);
    need->sums = calloc(d->n_layers, sizeof(struct hw_means *));
    if (need->spec == NULL || (edit->source != NULL && need->source == NULL) ||
        need->layers == NULL || need->heads == NULL || need->rows == NULL || need->sums == NULL) {
        return no_memory(err);
    }
    *ret_need = need;
    return HW_OK;
}

// What of the site the edit reads.
static void add_places(const struct hw_edit_sources *s, struct hw_source_need *need,
                       const struct hw_edit *edit) {
    const struct hw_model_desc *d = s->desc;
    size_t n = heads_of_site(d, need->site);
    size_t per = d->n_heads / n; // query heads of one of them
    bool has_heads = n > 1 || need->site == HW_SITE_Z || need->site == HW_SITE_V;
    for (size_t layer = 0; layer < d->n_layers; layer++) {
        if (!edit->layers[layer]) {
            continue;
        }
        need->layers[layer] = true;
        for (size_t h = 0; h < n; h++) {
            bool is_read = !has_heads || edit->heads == NULL;
            for (size_t q = h * per; q < (h + 1) * per && !is_read; q++) {
                is_read = edit->heads[layer * d->n_heads + q];
            }
            need->heads[layer * n + h] = need->heads[layer * n + h] || is_read;
        }
    }
}

static enum hw_status add_edit(struct hw_edit_sources *s, const struct hw_edit *edit,
                               struct hw_error *err) {
    enum hw_site site;
    if (!hw_edit_has_source(edit, &site)) {
        return HW_OK;
    }
    struct hw_source_need *need = find_need(s, edit, site);
    enum hw_status status = need == NULL ? make_need(s, edit, site, &need, err) : HW_OK;
    if (status == HW_OK) {
        add_places(s, need, edit);
        need->uses_own_group = need->uses_own_group || edit->group == NULL;
    }
    return status;
}

// group= must be one that there is; without it, the group of every prompt.
static enum hw_status check_group(const struct hw_edit_sources *s, const struct hw_edit *edit,
                                  struct hw_error *err) {
    enum hw_site site;
    if (!hw_edit_has_source(edit, &site)) {
        return HW_OK;
    }
    const struct hw_source_need *need = find_need(s, edit, site);
    if (!hw_source_is_mean(need) || edit->group == NULL ||
        hw_source_group_find(&need->groups, edit->group) != SIZE_MAX) {
        return HW_OK;
    }
    char name[200];
    const char *first = need->groups.n > 0 ? need->groups.names[0] : "";
    return hw_fail(err, HW_USAGE,
                   "edit '%s': there is no group '%s' (found %zu, the first is '%s')", edit->spec,
                   edit->group, need->groups.n, hw_escape(name, sizeof name, first, strlen(first)));
}

// Without group= every prompt's own group must be in the capture. The prompt's group is kept in
// `of`.
static enum hw_status check_own_groups(struct hw_edit_sources *s, struct hw_source_need *need,
                                       struct hw_error *err) {
    if (need->capture == NULL) {
        return HW_OK;
    }
    free(need->groups.of);
    need->groups.of = calloc(s->n_prompts, sizeof *need->groups.of);
    if (need->groups.of == NULL) {
        return no_memory(err);
    }
    for (size_t p = 0; p < s->n_prompts && need->uses_own_group; p++) {
        const struct hw_prompt *prompt = &s->options.prompts->items[p];
        char name[HW_GROUP_NAME_BYTES];
        (void)hw_prompt_group(prompt, need->means_by, name, sizeof name);
        need->groups.of[p] = hw_source_group_find(&need->groups, name);
        if (need->groups.of[p] == SIZE_MAX && prompt->status != HW_PROMPT_FAILED) {
            (void)hw_fail(err, HW_USAGE, "%s has no means of its group '%s' (choose with group=)",
                          need->source, name);
            return hw_source_fail_prompt(s, need, p, err);
        }
    }
    return HW_OK;
}

static enum hw_status open_need(struct hw_edit_sources *s, struct hw_source_need *need,
                                struct hw_error *err) {
    enum hw_status status = HW_OK;
    if (need->source != NULL) {
        status = hw_source_capture_open(s, need, err);
    } else if (hw_source_is_mean(need)) {
        status = hw_source_groups_of_prompts(s, need, err);
    } else {
        return hw_source_run_open(s, need, err);
    }
    if (status != HW_OK || !hw_source_is_mean(need)) {
        return status;
    }
    return check_own_groups(s, need, err);
}

// The sites that passes show, of the pass over all prompts and of the runs.
static void set_watch(struct hw_edit_sources *s) {
    for (size_t i = 0; i < s->n_needs; i++) {
        const struct hw_source_need *need = &s->needs[i];
        uint32_t *watch = need->run != NULL                                  ? need->run->watch
                          : hw_source_is_mean(need) && need->capture == NULL ? s->watch
                                                                             : NULL;
        for (size_t layer = 0; layer < s->desc->n_layers && watch != NULL; layer++) {
            watch[layer] |= need->layers[layer] ? 1u << need->site : 0;
        }
    }
}

static enum hw_status open_all(struct hw_edit_sources *s, const struct hw_edit *const *edits,
                               size_t n_edits, struct hw_error *err) {
    s->n_prompts = s->options.prompts->n;
    s->needs = calloc(n_edits, sizeof *s->needs);
    s->captures = calloc(n_edits, sizeof *s->captures);
    s->runs = calloc(n_edits, sizeof *s->runs);
    s->watch = calloc(s->desc->n_layers + 1, sizeof *s->watch);
    if (s->needs == NULL || s->captures == NULL || s->runs == NULL || s->watch == NULL) {
        return no_memory(err);
    }
    for (size_t p = 0; p < s->n_prompts; p++) {
        s->longest = hw_size_max(s->longest, s->options.prompts->items[p].n_ids);
    }
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < n_edits && status == HW_OK; i++) {
        status = add_edit(s, edits[i], err);
    }
    for (size_t i = 0; i < s->n_needs && status == HW_OK; i++) {
        status = open_need(s, &s->needs[i], err);
    }
    for (size_t i = 0; i < n_edits && status == HW_OK; i++) {
        status = check_group(s, edits[i], err);
    }
    if (status == HW_OK) {
        set_watch(s);
    }
    return status;
}

enum hw_status hw_edit_sources_open(const struct hw_edit *const *edits, size_t n_edits,
                                    const struct hw_edit_source_options *options,
                                    struct hw_edit_sources **ret_sources, struct hw_error *err) {
    struct hw_edit_sources *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return no_memory(err);
    }
    s->options = *options;
    s->desc = &options->model->desc;
    s->prompt = SIZE_MAX;
    bool is_needed = false;
    enum hw_site site;
    for (size_t i = 0; i < n_edits; i++) {
        is_needed = is_needed || hw_edit_has_source(edits[i], &site);
    }
    enum hw_status status = is_needed ? open_all(s, edits, n_edits, err) : HW_OK;
    if (status != HW_OK) {
        hw_edit_sources_close(&s);
        return status;
    }
    *ret_sources = s;
    return HW_OK;
}

void hw_edit_sources_close(struct hw_edit_sources **sources) {
    if (sources == NULL || *sources == NULL) {
        return;
    }
    struct hw_edit_sources *s = *sources;
    for (size_t i = 0; i < s->n_needs; i++) {
        struct hw_source_need *need = &s->needs[i];
        for (size_t layer = 0; layer < s->desc->n_layers; layer++) {
            if (need->sums != NULL) {
                hw_means_close(&need->sums[layer]);
            }
            if (need->rows != NULL) {
                free(need->rows[layer]);
            }
        }
        hw_source_groups_close(&need->groups);
        free(need->spec);
        free(need->source);
        free(need->layers);
        free(need->heads);
        free(need->rows);
        free(need->sums);
        free(need->n_counted);
    }
    for (size_t i = 0; i < s->n_captures; i++) {
        hw_source_capture_close(&s->captures[i]);
    }
    for (size_t i = 0; i < s->n_runs; i++) {
        hw_source_run_close(&s->runs[i], s->n_prompts);
    }
    free(s->needs);
    free(s->captures);
    free(s->runs);
    free(s->watch);
    free(s);
    *sources = NULL;
}

static bool has_pass(const struct hw_edit_sources *s) {
    for (size_t layer = 0; layer < s->desc->n_layers && s->watch != NULL; layer++) {
        if (s->watch[layer] != 0) {
            return true;
        }
    }
    return false;
}

size_t hw_edit_sources_bytes(const struct hw_edit_sources *s) {
    size_t bytes = 0;
    for (size_t i = 0; i < s->n_runs; i++) {
        bytes += hw_collect_bytes(s->desc, s->runs[i].watch, s->longest);
    }
    for (size_t i = 0; i < s->n_needs; i++) {
        const struct hw_source_need *need = &s->needs[i];
        size_t n_layers = 0;
        for (size_t layer = 0; layer < s->desc->n_layers; layer++) {
            n_layers += need->layers[layer];
        }
        if (hw_source_is_mean(need)) {
            bytes += n_layers * hw_source_means_bytes(s, need);
        } else if (need->capture != NULL) {
            bytes += n_layers * s->longest * need->width * sizeof(float);
        }
    }
    return bytes;
}

size_t hw_edit_sources_max_tokens(const struct hw_edit_sources *s) {
    return s->n_runs > 0 || has_pass(s) ? s->longest : 0;
}

const char *hw_edit_sources_run_id(const struct hw_edit_sources *s, size_t i) {
    return i < s->n_captures ? s->captures[i].run_id : NULL;
}

double hw_edit_sources_flops(const struct hw_edit_sources *s) {
    double n_passes = (double)s->n_runs + (has_pass(s) ? 1.0 : 0.0);
    double flops = 0.0;
    for (size_t p = 0; p < s->n_prompts && n_passes > 0.0; p++) {
        const struct hw_prompt *prompt = &s->options.prompts->items[p];
        if (prompt->status != HW_PROMPT_FAILED) {
            flops += n_passes * hw_session_flops(s->desc, prompt->n_ids, false);
        }
    }
    return flops;
}

enum hw_status hw_edit_sources_prepare(struct hw_edit_sources *s, struct hw_session *session,
                                       void (*progress)(void *self, uint64_t done, uint64_t all),
                                       void *self, struct hw_error *err) {
    enum hw_status status = HW_OK;
    size_t n_layers = s->desc->n_layers;
    for (size_t i = 0; i < s->n_runs && status == HW_OK; i++) {
        status = hw_collect_open(s->desc, s->runs[i].watch, s->longest, &s->runs[i].collect, err);
    }
    for (size_t i = 0; i < s->n_needs && status == HW_OK; i++) {
        struct hw_source_need *need = &s->needs[i];
        for (size_t layer = 0; layer < n_layers && status == HW_OK; layer++) {
            if (need->replacement == HW_REPLACE_FROM && need->capture != NULL &&
                need->layers[layer]) {
                need->rows[layer] = malloc(s->longest * need->width * sizeof(float));
                status = need->rows[layer] != NULL ? HW_OK : no_memory(err);
            }
        }
        if (status == HW_OK && hw_source_is_mean(need) && need->from != HW_GROUP_MEANS) {
            status = hw_source_means_open(need, n_layers, err);
        }
        if (status == HW_OK && hw_source_is_mean(need) && need->capture != NULL) {
            status = hw_source_capture_means(s, need, err);
        }
    }
    if (status == HW_OK && has_pass(s)) {
        status = hw_source_means_of_prompts(s, session, progress, self, err);
    }
    for (size_t i = 0; i < s->n_needs && status == HW_OK; i++) {
        if (hw_source_is_mean(&s->needs[i]) && s->needs[i].from != HW_GROUP_MEANS) {
            status = hw_source_means_end(&s->needs[i], n_layers, err);
        }
    }
    return status;
}

enum hw_status hw_edit_sources_prompt(struct hw_edit_sources *s, struct hw_session *session,
                                      size_t prompt, struct hw_error *err) {
    enum hw_status status = HW_OK;
    s->prompt = prompt;
    hw_session_set_changes(session, NULL);
    for (size_t i = 0; i < s->n_runs && status == HW_OK; i++) {
        status = hw_source_run_prompt(s, &s->runs[i], session, prompt, err);
    }
    for (size_t i = 0; i < s->n_needs && status == HW_OK; i++) {
        if (s->needs[i].replacement == HW_REPLACE_FROM && s->needs[i].capture != NULL) {
            status = hw_source_capture_prompt(s, &s->needs[i], prompt, err);
        }
    }
    return status;
}

// The row of means that an edit takes for the running prompt.
static enum hw_status means_of(const struct hw_edit_sources *s, const struct hw_source_need *need,
                               const struct hw_edit *edit, size_t layer,
                               struct hw_edit_values *ret_values, struct hw_error *err) {
    size_t group = edit->group != NULL     ? hw_source_group_find(&need->groups, edit->group)
                   : s->prompt != SIZE_MAX ? need->groups.of[s->prompt]
                                           : 0;
    if (need->n_counted != NULL && need->n_counted[group] == 0) {
        return hw_fail(err, HW_INPUT,
                       "edit '%s': there are no rows to take the mean of group '%s' of", edit->spec,
                       need->groups.names[group]);
    }
    bool is_by_position = need->replacement == HW_REPLACE_POSITION_MEAN;
    const float *rows = need->rows[layer];
    ret_values->rows = rows != NULL ? rows + group * need->n_rows * need->width : NULL;
    ret_values->ld = is_by_position ? need->width : 0;
    ret_values->n_positions = !is_by_position           ? 1
                              : need->n_counted != NULL ? need->n_counted[group]
                                                        : need->n_rows;
    return HW_OK;
}

enum hw_status hw_edit_sources_values(void *self, const struct hw_edit *edit, size_t layer,
                                      struct hw_edit_values *ret_values, struct hw_error *err) {
    const struct hw_edit_sources *s = self;
    enum hw_site site;
    const struct hw_source_need *need =
        hw_edit_has_source(edit, &site) ? find_need(s, edit, site) : NULL;
    if (need == NULL || layer >= s->desc->n_layers || !need->layers[layer]) {
        return hw_fail(err, HW_INTERNAL, "edit '%s': no source was opened for layer %zu",
                       edit->spec, layer);
    }
    if (hw_source_is_mean(need)) {
        return means_of(s, need, edit, layer, ret_values, err);
    }
    ret_values->ld = need->width;
    ret_values->n_positions =
        s->prompt != SIZE_MAX ? s->options.prompts->items[s->prompt].n_ids : s->longest;
    ret_values->rows = need->run == NULL ? need->rows[layer]
                       : need->run->collect != NULL
                           ? hw_collect_rows(need->run->collect, site, layer)
                           : NULL;
    return HW_OK;
}
