// Means of a capture: each is its sum over its count, and the counts are the rows of the prompts.
#include <math.h>
#include <stdlib.h>

#include "formats/mean_sums.h"
#include "formats/trace_verify_internal.h"
#include "kernels/size.h"

// Room for one group and slab of every dataset of means.
struct buffers {
    int64_t *counts; // [n_mean_positions or 1]
    int64_t *sums;
    float *means;
};

static bool is_recorded(const struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                        size_t i) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    const struct hw_group_axes *axes = &layout->groups[HW_GROUP_MEANS];
    const struct hw_schema_row *row = hw_schema_row(dataset);
    if (axes->recorded == NULL || row->axes[row->n_axes - 1] != HW_AXIS_HEAD_CHANNEL) {
        return true;
    }
    size_t head = i / hw_size_max(1, layout->d_head) % hw_size_max(1, axes->n_heads);
    return axes->recorded[slab * axes->n_heads + head] != 0;
}

static enum hw_status check_slab(struct hw_verify *verify, enum hw_dataset sum, size_t slab,
                                 size_t group, struct buffers *b, struct hw_error *err) {
    struct hw_trace *trace = verify->trace;
    struct hw_verify_line *line = hw_verify_line(verify, "means are sums over counts");
    bool is_by_position = hw_dataset_is_by_position(sum);
    size_t n = hw_trace_n_inner(trace, sum);
    size_t n_rows = is_by_position ? hw_trace_layout(trace)->n_mean_positions : 1;
    enum hw_dataset mean = (enum hw_dataset)(sum - 1);
    enum hw_dataset count = is_by_position ? HW_DS_MEANS_POSITION_COUNT : HW_DS_MEANS_COUNT;
    enum hw_status status = hw_trace_read_i64(trace, count, 0, group, 1, b->counts, err);
    status = status != HW_OK ? status : hw_trace_read_i64(trace, sum, slab, group, 1, b->sums, err);
    status =
        status != HW_OK ? status : hw_trace_read_f32(trace, mean, slab, group, 1, b->means, err);
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        size_t row = i / (n / n_rows);
        float want =
            is_recorded(trace, sum, slab, i) ? hw_mean_of_sum(b->sums[i], b->counts[row]) : NAN;
        line->n_checked++;
        // To the bit: whoever merges captures gets the same mean of the same sum.
        if (want != b->means[i] && !(isnan(want) && isnan(b->means[i]))) {
            status = hw_fail(
                err, HW_WRONG,
                "means/%s of group %zu, layer or depth %zu, place %zu is %.9g, expected "
                "%.9g",
                hw_schema_row(mean)->name, group, slab, i, (double)b->means[i], (double)want);
        }
    }
    return status;
}

// All groups together have the rows of the prompts' texts.
static enum hw_status check_counts(struct hw_verify *verify, enum hw_dataset dataset,
                                   struct buffers *b, struct hw_error *err) {
    struct hw_trace *trace = verify->trace;
    struct hw_verify_line *line = hw_verify_line(verify, "rows of means are those of the prompts");
    int64_t found = 0;
    int64_t expected = 0;
    enum hw_status status = HW_OK;
    for (size_t p = 0; p < hw_trace_n_prompts(trace); p++) {
        expected += (int64_t)hw_trace_prompt(trace, p)->n_prompt_tokens;
    }
    for (size_t g = 0; g < hw_trace_n_rows(trace, dataset) && status == HW_OK; g++) {
        status = hw_trace_read_i64(trace, dataset, 0, g, 1, b->counts, err);
        for (size_t i = 0; i < hw_trace_n_inner(trace, dataset) && status == HW_OK; i++) {
            if (b->counts[i] < 0 || __builtin_add_overflow(found, b->counts[i], &found)) {
                status = hw_fail(err, HW_WRONG, "means/%s of group %zu is %lld",
                                 hw_schema_row(dataset)->name, g, (long long)b->counts[i]);
            }
        }
    }
    line->n_checked++;
    if (status == HW_OK && found != expected) {
        status = hw_fail(err, HW_WRONG,
                         "means/%s: %lld rows in all, expected those of the prompts, %lld",
                         hw_schema_row(dataset)->name, (long long)found, (long long)expected);
    }
    return status;
}

enum hw_status hw_verify_means(struct hw_verify *verify, struct hw_error *err) {
    struct hw_trace *trace = verify->trace;
    const struct hw_layout *layout = hw_trace_layout(trace);
    size_t most = 0;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (hw_trace_has(trace, dataset) && hw_dataset_is_mean_sum(dataset)) {
            most = hw_size_max(most, hw_trace_n_inner(trace, dataset));
        }
    }
    if (!hw_trace_has(trace, HW_DS_MEANS_COUNT)) {
        return HW_OK;
    }
    size_t n_counts = hw_size_max(1, layout->n_mean_positions);
    struct buffers b = {calloc(n_counts, sizeof *b.counts), calloc(most + 1, sizeof *b.sums),
                        calloc(most + 1, sizeof *b.means)};
    enum hw_status status = b.counts == NULL || b.sums == NULL || b.means == NULL
                                ? hw_fail(err, HW_RESOURCE, "not enough memory for %zu means", most)
                                : check_counts(verify, HW_DS_MEANS_COUNT, &b, err);
    if (status == HW_OK && hw_trace_has(trace, HW_DS_MEANS_POSITION_COUNT)) {
        status = check_counts(verify, HW_DS_MEANS_POSITION_COUNT, &b, err);
    }
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (!hw_trace_has(trace, dataset) || !hw_dataset_is_mean_sum(dataset) ||
            !hw_trace_has(trace, (enum hw_dataset)(i - 1))) {
            continue;
        }
        for (size_t g = 0; g < layout->n_mean_groups; g++) {
            for (size_t slab = 0; slab < hw_trace_n_slabs(trace, dataset) && status == HW_OK;
                 slab++) {
                status = check_slab(verify, dataset, slab, g, &b, err);
            }
        }
    }
    free(b.counts);
    free(b.sums);
    free(b.means);
    return status;
}
