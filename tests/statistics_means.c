// Means by group from the activations of the same capture: again in double, and the exact sums as
// integers.
#include <check.h>
#include <math.h>

#include "statistics_study.h"

// What the means are of.
static enum hw_dataset source_of(enum hw_dataset dataset) {
    switch (dataset) {
    case HW_DS_MEANS_Z:
    case HW_DS_MEANS_POSITION_Z:
        return HW_DS_ACTIVATIONS_Z;
    case HW_DS_MEANS_ATTENTION_OUTPUT:
    case HW_DS_MEANS_POSITION_ATTENTION_OUTPUT:
        return HW_DS_ACTIVATIONS_ATTENTION_OUTPUT;
    case HW_DS_MEANS_MLP_OUTPUT:
    case HW_DS_MEANS_POSITION_MLP_OUTPUT:
        return HW_DS_ACTIVATIONS_MLP_OUTPUT;
    default:
        return HW_DS_ACTIVATIONS_RESIDUAL;
    }
}

// One value of a group: its sum in units of 2^-30 rounded row by row, the sum in double, the rows.
struct total {
    int64_t units;
    double sum;
    int64_t n;
};

// position < 0: at all of them.
static struct total total_of(const struct study *study, enum hw_dataset source, size_t group,
                             size_t slab, int64_t position, size_t i) {
    struct total total = {0};
    size_t width = run_width(&study->run, source);
    for (size_t p = 0; p < study->prompts.n; p++) {
        size_t n = study->prompts.items[p].n_ids;
        if (p % STUDY_GROUPS != group) {
            continue;
        }
        const float *rows = run_floats(&study->run, source, slab, p);
        for (size_t t = 0; t < n; t++) {
            if (position < 0 || (size_t)position == t) {
                double x = (double)rows[t * width + i];
                total.units += (int64_t)rint(x * 0x1p30);
                total.sum += x;
                total.n++;
            }
        }
    }
    return total;
}

static void check_group(const struct study *study, enum hw_dataset mean, size_t group, size_t slab,
                        int64_t position) {
    enum hw_dataset source = source_of(mean);
    size_t width = run_width(&study->run, source);
    size_t first = position < 0 ? 0 : (size_t)position * width;
    size_t n;
    const float *got = run_means(&study->run, mean, group, slab) + first;
    const int64_t *sums =
        hw_mean_sums_at(&study->run.means, (enum hw_dataset)(mean + 1), group, slab, &n) + first;
    enum hw_dataset count = position < 0 ? HW_DS_MEANS_COUNT : HW_DS_MEANS_POSITION_COUNT;
    int64_t found = hw_mean_sums_at(&study->run.means, count, group, 0,
                                    &n)[position < 0 ? 0 : (size_t)position];
    for (size_t i = 0; i < width; i++) {
        struct total want = total_of(study, source, group, slab, position, i);
        expect_same((double)found, (double)want.n, "rows of group %zu of %s", group, study->name);
        // Both below 2^53.
        expect_same((double)sums[i], (double)want.units, "%s_sum of %s, group %zu, slab %zu [%zu]",
                    hw_schema_row(mean)->name, study->name, group, slab, i);
        expect((double)got[i], want.n > 0 ? want.sum / (double)want.n : NAN,
               "%s of %s, group %zu, slab %zu, position %d [%zu]", hw_schema_row(mean)->name,
               study->name, group, slab, (int)position, i);
    }
}

// Means, or the sums beside them.
static void check_means(const struct study *study, enum hw_dataset dataset) {
    const struct hw_layout *layout = &study->run.recording.layout;
    enum hw_dataset mean =
        hw_dataset_is_mean_sum(dataset) ? (enum hw_dataset)(dataset - 1) : dataset;
    ck_assert_uint_eq(layout->n_mean_groups, STUDY_GROUPS);
    for (size_t group = 0; group < STUDY_GROUPS; group++) {
        for (size_t slab = 0; slab < run_n_slabs(&study->run, mean); slab++) {
            if (!hw_dataset_is_by_position(mean)) {
                check_group(study, mean, group, slab, -1);
                continue;
            }
            // The ends, and a place that only the longest prompt has.
            int64_t last = (int64_t)layout->n_mean_positions - 1;
            const int64_t positions[] = {0, 1, 6, 7, last / 2, last};
            for (size_t k = 0; k < sizeof positions / sizeof *positions; k++) {
                check_group(study, mean, group, slab, positions[k]);
            }
        }
    }
    // Generated rows are not counted.
    for (size_t group = 0; group < STUDY_GROUPS; group++) {
        size_t n;
        const int64_t *sums =
            hw_mean_sums_at(&study->run.means, (enum hw_dataset)(mean + 1), group, 0, &n);
        const int64_t *with =
            hw_mean_sums_at(&study->generated.means, (enum hw_dataset)(mean + 1), group, 0, &n);
        for (size_t i = 0; i < n; i++) {
            expect_same((double)with[i], (double)sums[i], "%s_sum of %s with generated tokens",
                        hw_schema_row(mean)->name, study->name);
        }
    }
}

#define BOTH(name)                                                                                 \
    {HW_DS_MEANS_##name, check_means}, {                                                           \
        HW_DS_MEANS_##name##_SUM, check_means                                                      \
    }
const struct study_check mean_checks[] = {
    BOTH(Z),
    BOTH(ATTENTION_OUTPUT),
    BOTH(MLP_OUTPUT),
    BOTH(RESIDUAL),
    BOTH(POSITION_Z),
    BOTH(POSITION_ATTENTION_OUTPUT),
    BOTH(POSITION_MLP_OUTPUT),
    BOTH(POSITION_RESIDUAL),
};
const size_t n_mean_checks = sizeof mean_checks / sizeof mean_checks[0];
