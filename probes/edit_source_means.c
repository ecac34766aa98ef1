// Means over the prompts given: groups, sums, and the pass that adds them up. Rows are added where
// they are shown, so that nothing but sums is kept.
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/edit_source_internal.h"

size_t hw_source_group_find(const struct hw_source_groups *groups, const char *name) {
    for (size_t g = 0; g < groups->n; g++) {
        if (strcmp(groups->names[g], name) == 0) {
            return g;
        }
    }
    return SIZE_MAX;
}

enum hw_status hw_source_group_add(struct hw_source_groups *groups, const char *name,
                                   size_t *ret_group, struct hw_error *err) {
    size_t found = hw_source_group_find(groups, name);
    if (found != SIZE_MAX) {
        *ret_group = found;
        return HW_OK;
    }
    char **names = realloc(groups->names, (groups->n + 1) * sizeof *names);
    char *copy = strdup(name);
    groups->names = names != NULL ? names : groups->names;
    if (names == NULL || copy == NULL) {
        free(copy);
        return hw_fail(err, HW_RESOURCE, "not enough memory for groups of prompts");
    }
    groups->names[groups->n] = copy;
    *ret_group = groups->n++;
    return HW_OK;
}

void hw_source_groups_close(struct hw_source_groups *groups) {
    for (size_t g = 0; g < groups->n; g++) {
        free(groups->names[g]);
    }
    free(groups->names);
    free(groups->of);
    *groups = (struct hw_source_groups){0};
}

enum hw_status hw_source_groups_of_prompts(struct hw_edit_sources *s, struct hw_source_need *need,
                                           struct hw_error *err) {
    struct hw_source_groups *groups = &need->groups;
    enum hw_status status = HW_OK;
    need->n_rows = need->replacement == HW_REPLACE_POSITION_MEAN ? hw_size_max(1, s->longest) : 1;
    groups->of = calloc(s->n_prompts, sizeof *groups->of);
    if (groups->of == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for groups of prompts");
    }
    for (size_t p = 0; p < s->n_prompts && status == HW_OK; p++) {
        const struct hw_prompt *prompt = &s->options.prompts->items[p];
        char name[HW_GROUP_NAME_BYTES];
        if (prompt->status != HW_PROMPT_FAILED) {
            (void)hw_prompt_group(prompt, s->options.means_by, name, sizeof name);
            status = hw_source_group_add(groups, name, &groups->of[p], err);
        }
    }
    bool has_key = s->options.means_by == NULL || groups->n != 1 || groups->names[0][0] != '\0';
    if (status == HW_OK && !has_key) {
        status =
            hw_fail(err, HW_USAGE, "--means-by %s: no prompt has that key", s->options.means_by);
    }
    return status;
}

// Sums, and the means made of them one layer after another.
size_t hw_source_means_bytes(const struct hw_edit_sources *s, const struct hw_source_need *need) {
    (void)s;
    size_t n = hw_size_max(1, need->groups.n);
    return hw_means_bytes(n, need->n_rows, need->width) +
           n * need->n_rows * need->width * sizeof(float);
}

enum hw_status hw_source_means_open(struct hw_source_need *need, size_t n_layers,
                                    struct hw_error *err) {
    enum hw_status status = HW_OK;
    size_t n_groups = hw_size_max(1, need->groups.n); // none where every prompt failed
    for (size_t layer = 0; layer < n_layers && status == HW_OK; layer++) {
        if (need->layers[layer]) {
            status = hw_means_open(n_groups, need->n_rows, need->width, &need->sums[layer], err);
        }
    }
    return status;
}

enum hw_status hw_source_means_add(struct hw_source_need *need, size_t layer, size_t group,
                                   size_t first, size_t n, const float *rows, size_t ld,
                                   struct hw_error *err) {
    enum hw_status status = hw_means_add(need->sums[layer], group, first, n, rows, ld, err);
    return status == HW_OK
               ? HW_OK
               : hw_fail_context(err, status, "edit '%s': layer %zu: ", need->spec, layer);
}

enum hw_status hw_source_means_end(struct hw_source_need *need, size_t n_layers,
                                   struct hw_error *err) {
    size_t n_groups = hw_size_max(1, need->groups.n);
    free(need->n_counted);
    need->n_counted = calloc(n_groups, sizeof *need->n_counted);
    if (need->n_counted == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for means");
    }
    for (size_t layer = 0; layer < n_layers; layer++) {
        struct hw_means *sums = need->sums[layer];
        if (sums == NULL) {
            continue;
        }
        size_t n = need->n_rows * need->width;
        free(need->rows[layer]);
        need->rows[layer] = malloc(n_groups * n * sizeof(float));
        if (need->rows[layer] == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for means of %zu values", n);
        }
        for (size_t g = 0; g < n_groups; g++) {
            hw_means_get(sums, g, need->rows[layer] + g * n);
            size_t n_counted = 0;
            while (n_counted < need->n_rows && hw_means_count(sums, g, n_counted) > 0) {
                n_counted++;
            }
            need->n_counted[g] = n_counted;
        }
        hw_means_close(&need->sums[layer]);
    }
    return HW_OK;
}

struct adder {
    struct hw_edit_sources *sources;
    size_t prompt;
};

static enum hw_status add_rows(void *self, const struct hw_site_event *event,
                               struct hw_error *err) {
    const struct adder *adder = self;
    struct hw_edit_sources *s = adder->sources;
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < s->n_needs && status == HW_OK; i++) {
        struct hw_source_need *need = &s->needs[i];
        if (hw_source_is_mean(need) && need->capture == NULL && need->site == event->site &&
            need->layers[event->layer]) {
            status =
                hw_source_means_add(need, event->layer, need->groups.of[adder->prompt],
                                    event->row_first, event->n_rows, event->data, event->ld, err);
        }
    }
    return status;
}

enum hw_status hw_source_means_of_prompts(struct hw_edit_sources *s, struct hw_session *session,
                                          void (*progress)(void *self, uint64_t done, uint64_t all),
                                          void *self, struct hw_error *err) {
    struct adder adder = {.sources = s};
    struct hw_observer observer = {.self = &adder, .watch = s->watch, .on_site = add_rows};
    uint64_t all = 0;
    uint64_t done = 0;
    for (size_t p = 0; p < s->n_prompts; p++) {
        all += s->options.prompts->items[p].n_ids;
    }
    hw_session_set_changes(session, NULL);
    for (size_t p = 0; p < s->n_prompts; p++) {
        const struct hw_prompt *prompt = &s->options.prompts->items[p];
        if (prompt->status == HW_PROMPT_FAILED) {
            continue;
        }
        if (s->options.stop_signal != NULL && *s->options.stop_signal != 0) {
            return hw_fail(err, HW_STOPPED, "stopped by a signal while means were taken");
        }
        adder.prompt = p;
        enum hw_status status =
            hw_session_prefill(session, prompt->ids, prompt->n_ids, &observer, NULL, err);
        if (status != HW_OK) {
            return hw_fail_context(err, status, "means, prompt %zu: ", p);
        }
        done += prompt->n_ids;
        if (progress != NULL) {
            progress(self, done, all);
        }
    }
    return HW_OK;
}
