// The declarations of /means: rows of the prompt's text are added to the sums of its group.
#include <string.h>

#include "probes/edit_source.h"
#include "probes/engine_internal.h"
#include "probes/means.h"

enum hw_status hw_engine_find_group(struct hw_engine *e, struct hw_error *err) {
    const struct hw_layout *layout = e->config.layout;
    char name[HW_GROUP_NAME_BYTES];
    if (!e->has[HW_REDUCE_MEAN]) {
        return HW_OK;
    }
    (void)hw_prompt_group(e->prompt->prompt, layout->means_by, name, sizeof name);
    size_t at = 0;
    while (at < layout->n_mean_groups && strcmp(layout->mean_groups[at], name) != 0) {
        at++;
    }
    if (at == layout->n_mean_groups || e->config.means == NULL) {
        return hw_fail(err, HW_INTERNAL, "no means of group \"%s\" (%zu groups)", name,
                       layout->n_mean_groups);
    }
    e->mean_group = at;
    return HW_OK;
}

// One row of a site: whole, or the recorded heads of it.
static enum hw_status add_row(const struct hw_group_axes *heads, size_t d_head, int64_t *sums,
                              const float *row, size_t width, size_t position,
                              struct hw_error *err) {
    if (heads == NULL) {
        return hw_mean_add_row(sums, row, width, position, err);
    }
    enum hw_status status = HW_OK;
    for (size_t h = 0; h < heads->n_heads && status == HW_OK; h++) {
        const float *from = row + (size_t)heads->heads[h] * d_head;
        status = hw_mean_add_row(sums + h * d_head, from, d_head, position, err);
    }
    return status;
}

enum hw_status hw_engine_add_means(struct hw_engine *e, enum hw_dataset dataset, int64_t slab_value,
                                   const struct hw_site_event *event, struct hw_error *err) {
    const struct hw_layout *layout = e->config.layout;
    const struct hw_group_axes *axes = &layout->groups[HW_GROUP_MEANS];
    int64_t slab = hw_engine_slab(e, dataset, slab_value);
    if (slab < 0) {
        return HW_OK;
    }
    size_t n;
    int64_t *sums = hw_mean_sums_at(e->config.means, (enum hw_dataset)(dataset + 1), e->mean_group,
                                    (size_t)slab, &n);
    bool is_by_position = hw_dataset_is_by_position(dataset);
    size_t width = is_by_position ? n / layout->n_mean_positions : n;
    bool picks_heads = event->site == HW_SITE_Z && axes->n_heads != layout->n_heads;
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < event->n_rows && status == HW_OK; i++) {
        size_t position = event->row_first + i;
        status = add_row(picks_heads ? axes : NULL, layout->d_head,
                         sums + (is_by_position ? position * width : 0),
                         event->data + i * event->ld, width, position, err);
    }
    return status;
}

void hw_engine_count_means(struct hw_engine *e) {
    size_t n;
    if (!e->has[HW_REDUCE_MEAN]) {
        return;
    }
    hw_mean_sums_at(e->config.means, HW_DS_MEANS_COUNT, e->mean_group, 0, &n)[0] +=
        (int64_t)e->n_prompt;
    if (e->config.layout->has[HW_DS_MEANS_POSITION_Z]) {
        int64_t *counts =
            hw_mean_sums_at(e->config.means, HW_DS_MEANS_POSITION_COUNT, e->mean_group, 0, &n);
        for (size_t i = 0; i < e->n_prompt; i++) {
            counts[i]++;
        }
    }
}
