// Means of many captures: their sums are added group by group, then divided once.
#include <stdlib.h>
#include <string.h>

#include "formats/merge_internal.h"
#include "kernels/size.h"

static size_t find_group(const struct hw_merge *merge, const char *name) {
    size_t at = 0;
    while (at < merge->layout.n_mean_groups && strcmp(merge->mean_groups[at], name) != 0) {
        at++;
    }
    return at;
}

static enum hw_status add_group(struct hw_merge *merge, const char *name, struct hw_error *err) {
    size_t n = merge->layout.n_mean_groups;
    if (find_group(merge, name) < n) {
        return HW_OK;
    }
    char **grown = realloc(merge->mean_groups, (n + 1) * sizeof *grown);
    merge->mean_groups = grown != NULL ? grown : merge->mean_groups;
    char *copy = grown != NULL ? strdup(name) : NULL;
    if (copy == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu groups of means", n + 1);
    }
    grown[n] = copy;
    merge->layout.mean_groups = (const char *const *)grown;
    merge->layout.n_mean_groups = n + 1;
    return HW_OK;
}

enum hw_status hw_merge_note_means(struct hw_merge *merge, struct hw_trace *trace,
                                   struct hw_error *err) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    struct hw_layout *all = &merge->layout;
    if (!hw_layout_has(all, HW_DS_MEANS_COUNT)) {
        return HW_OK;
    }
    if (merge->means_by == NULL) {
        // The first: what the layout has of the trace becomes the merge's own.
        merge->means_by = strdup(layout->means_by);
        all->means_by = merge->means_by;
        all->mean_groups = NULL;
        all->n_mean_groups = 0;
        if (merge->means_by == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for the key of means");
        }
    } else if (strcmp(merge->means_by, layout->means_by) != 0) {
        return hw_fail(err, HW_INPUT, "has means by \"%s\", the first by \"%s\"", layout->means_by,
                       merge->means_by);
    }
    all->n_mean_positions = hw_size_max(all->n_mean_positions, layout->n_mean_positions);
    enum hw_status status = HW_OK;
    for (size_t g = 0; g < layout->n_mean_groups && status == HW_OK; g++) {
        status = add_group(merge, layout->mean_groups[g], err);
    }
    return status;
}

// One dataset of one group, slab by slab; positions beyond the source's longest prompt stay.
static enum hw_status add_sums(struct hw_merge *merge, struct hw_trace *trace,
                               enum hw_dataset dataset, size_t group, struct hw_error *err) {
    struct hw_merge_rows rows = {0};
    size_t to = find_group(merge, hw_trace_layout(trace)->mean_groups[group]);
    enum hw_status status = HW_OK;
    for (size_t slab = 0; slab < hw_trace_n_slabs(trace, dataset) && status == HW_OK; slab++) {
        size_t n;
        int64_t *sums = hw_mean_sums_at(&merge->means, dataset, to, slab, &n);
        size_t n_inner = hw_trace_n_inner(trace, dataset);
        status = n_inner <= n
                     ? hw_merge_read_rows(trace, dataset, slab, group, 1, &rows, err)
                     : hw_fail(err, HW_INTERNAL, "%s: rows of %zu values where %zu are expected",
                               hw_schema_row(dataset)->name, n_inner, n);
        status = status != HW_OK ? status : hw_mean_sums_add(sums, rows.data, n_inner, err);
    }
    free(rows.data);
    return status;
}

enum hw_status hw_merge_add_means(struct hw_merge *merge, struct hw_trace *trace,
                                  struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (merge->means.values[i] == NULL ||
            !(hw_dataset_is_mean_sum(dataset) || hw_dataset_is_mean_count(dataset))) {
            continue;
        }
        for (size_t g = 0; g < hw_trace_layout(trace)->n_mean_groups && status == HW_OK; g++) {
            status = add_sums(merge, trace, dataset, g, err);
        }
    }
    return status;
}
