// Sums by group; see mean_sums.h.
#include "formats/mean_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

static const double unit = 1073741824.0; // 2^30

float hw_mean_of_sum(int64_t sum, int64_t count) {
    return count > 0 ? (float)((double)sum / (double)count / unit) : NAN;
}

static bool is_of_means(enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    return row->group == HW_GROUP_MEANS && row->axes[0] == HW_AXIS_GROUP;
}

bool hw_dataset_is_mean_sum(enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    return is_of_means(dataset) && row->element == HW_ELEMENT_I8 && row->record[0] != '\0';
}

bool hw_dataset_is_mean_count(enum hw_dataset dataset) {
    return dataset == HW_DS_MEANS_COUNT || dataset == HW_DS_MEANS_POSITION_COUNT;
}

bool hw_dataset_is_by_position(enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    return dataset == HW_DS_MEANS_POSITION_COUNT ||
           (is_of_means(dataset) && row->n_axes > 2 && row->axes[2] == HW_AXIS_POSITION);
}

// Values of a dataset from axis `first` on; false where they cannot be counted.
static bool count_values(const struct hw_layout *layout, enum hw_dataset dataset, size_t first,
                         size_t *ret_n) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    size_t n = 1;
    for (size_t i = first; i < row->n_axes; i++) {
        if (!hw_size_mul(n, hw_layout_axis(layout, row->group, row->axes[i]), &n)) {
            return false;
        }
    }
    *ret_n = n;
    return true;
}

static bool bytes_of(const struct hw_layout *layout, enum hw_dataset dataset, size_t *ret_bytes) {
    size_t n;
    return count_values(layout, dataset, 0, &n) &&
           hw_size_mul(n, hw_element_bytes(hw_schema_row(dataset)->element), ret_bytes);
}

size_t hw_mean_sums_bytes(const struct hw_layout *layout) {
    size_t all = 0;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        size_t bytes = 0;
        if (is_of_means((enum hw_dataset)i) && hw_layout_has(layout, (enum hw_dataset)i) &&
            (!bytes_of(layout, (enum hw_dataset)i, &bytes) || !hw_size_add(all, bytes, &all))) {
            return SIZE_MAX;
        }
    }
    return all;
}

enum hw_status hw_mean_sums_open(struct hw_layout *layout, struct hw_mean_sums *ret_sums,
                                 struct hw_error *err) {
    struct hw_mean_sums sums = {.layout = layout};
    for (int i = 0; i < HW_N_DATASETS; i++) {
        size_t bytes = 0;
        if (!is_of_means((enum hw_dataset)i) || !hw_layout_has(layout, (enum hw_dataset)i)) {
            continue;
        }
        sums.values[i] = bytes_of(layout, (enum hw_dataset)i, &bytes) && bytes < SIZE_MAX
                             ? calloc(bytes + 1, 1)
                             : NULL;
        if (sums.values[i] == NULL) {
            hw_mean_sums_close(&sums);
            return hw_fail(err, HW_RESOURCE,
                           "not enough memory for the means of %zu groups of prompts",
                           layout->n_mean_groups);
        }
    }
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (sums.values[i] != NULL) {
            layout->fixed[i] = sums.values[i];
        }
    }
    *ret_sums = sums;
    return HW_OK;
}

void hw_mean_sums_close(struct hw_mean_sums *sums) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        free(sums->values[i]);
    }
    *sums = (struct hw_mean_sums){0};
}

int64_t *hw_mean_sums_at(const struct hw_mean_sums *sums, enum hw_dataset dataset, size_t group,
                         size_t slab, size_t *ret_n) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    size_t n_slabs = 1;
    size_t first = 1;
    if (hw_schema_slab_axis(dataset) == 1) {
        n_slabs = hw_layout_axis(sums->layout, row->group, row->axes[1]);
        first = 2;
    }
    (void)count_values(sums->layout, dataset, first, ret_n); // open has counted them
    return (int64_t *)sums->values[dataset] + (group * n_slabs + slab) * *ret_n;
}

void hw_mean_sums_clear(struct hw_mean_sums *sums) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        size_t bytes = 0;
        if (sums->values[i] != NULL && bytes_of(sums->layout, (enum hw_dataset)i, &bytes)) {
            memset(sums->values[i], 0, bytes);
        }
    }
}

enum hw_status hw_mean_sums_add(int64_t *to, const int64_t *more, size_t n, struct hw_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (__builtin_add_overflow(to[i], more[i], &to[i])) {
            return hw_fail(err, HW_INPUT, "sums of means beyond 63 bits");
        }
    }
    return HW_OK;
}

// Marks what stands on an axis of heads but was not recorded.
static void mark_heads(const struct hw_layout *layout, size_t slab, size_t n_rows, float *rows) {
    const struct hw_group_axes *axes = &layout->groups[HW_GROUP_MEANS];
    for (size_t i = 0; i < n_rows * axes->n_heads && axes->recorded != NULL; i++) {
        if (axes->recorded[slab * axes->n_heads + i % axes->n_heads] == 0) {
            for (size_t c = 0; c < layout->d_head; c++) {
                rows[i * layout->d_head + c] = NAN;
            }
        }
    }
}

// The means of one group and slab.
static void divide(struct hw_mean_sums *sums, enum hw_dataset dataset, size_t group, size_t slab) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    bool has_positions = hw_dataset_is_by_position(dataset);
    size_t n_rows;
    size_t n;
    const int64_t *counts = hw_mean_sums_at(
        sums, has_positions ? HW_DS_MEANS_POSITION_COUNT : HW_DS_MEANS_COUNT, group, 0, &n_rows);
    const int64_t *from = hw_mean_sums_at(sums, dataset, group, slab, &n);
    enum hw_dataset mean = (enum hw_dataset)(dataset - 1);
    size_t at = (size_t)(from - (const int64_t *)sums->values[dataset]);
    float *to = (float *)sums->values[mean] + at;
    size_t width = n_rows > 0 ? n / n_rows : 0;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t c = 0; c < width; c++) {
            to[r * width + c] = hw_mean_of_sum(from[r * width + c], counts[r]);
        }
    }
    if (row->axes[row->n_axes - 1] == HW_AXIS_HEAD_CHANNEL) {
        mark_heads(sums->layout, slab, n_rows, to);
    }
}

void hw_mean_sums_finish(struct hw_mean_sums *sums) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (sums->values[i] == NULL || !hw_dataset_is_mean_sum(dataset)) {
            continue;
        }
        const struct hw_schema_row *row = hw_schema_row(dataset);
        size_t n_slabs = hw_layout_axis(sums->layout, row->group, row->axes[1]);
        for (size_t g = 0; g < sums->layout->n_mean_groups; g++) {
            for (size_t slab = 0; slab < n_slabs; slab++) {
                divide(sums, dataset, g, slab);
            }
        }
    }
}
