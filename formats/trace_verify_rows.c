// Columns and statistics: what their rows must be.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/sha256.h"
#include "formats/trace_verify_internal.h"
#include "kernels/size.h"

// A mean over n rows is a sum in f4 or better and one rounding: with sums of pairs or of 256 rows
// the error stays below 2^-18 of the mean magnitude.
static const double mean_share = 0x1p-18;

static enum hw_status expect_integer(struct hw_verify_line *line, int64_t found, int64_t expected,
                                     const char *name, size_t prompt, size_t row,
                                     struct hw_error *err) {
    return hw_verify_check(line, (double)found, (double)expected, 0.5, err,
                           "%s of prompt %zu, token %zu", name, prompt, row);
}

static enum hw_status check_prompt_columns(struct hw_verify *verify, size_t index, int32_t *rows,
                                           struct hw_error *err) {
    const struct hw_trace_prompt *prompt = hw_trace_prompt(verify->trace, index);
    struct hw_verify_line *line = hw_verify_line(verify, "columns of tokens");
    size_t n = prompt->n_tokens;
    int32_t *prompts = rows, *positions = rows + n, *generated = rows + 2 * n, *ids = rows + 3 * n;
    struct hw_trace *trace = verify->trace;
    enum hw_status status =
        hw_trace_read_i32(trace, HW_DS_TOKEN_PROMPT, 0, prompt->first_token, n, prompts, err);
    status = status != HW_OK ? status
                             : hw_trace_read_i32(trace, HW_DS_TOKEN_POSITION, 0,
                                                 prompt->first_token, n, positions, err);
    status = status != HW_OK ? status
                             : hw_trace_read_i32(trace, HW_DS_TOKEN_IS_GENERATED, 0,
                                                 prompt->first_token, n, generated, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_read_i32(trace, HW_DS_TOKEN_ID, 0, prompt->first_token, n, ids, err);
    struct hw_sha256 hash;
    char hex[65];
    hw_sha256_init(&hash);
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        status = expect_integer(line, prompts[i], prompt->prompt, "token_prompt", index, i, err);
        status = status != HW_OK ? status
                                 : expect_integer(line, positions[i], (int64_t)i, "token_position",
                                                  index, i, err);
        status = status != HW_OK ? status
                                 : expect_integer(line, generated[i], i >= prompt->n_prompt_tokens,
                                                  "token_is_generated", index, i, err);
        uint32_t id = (uint32_t)ids[i];
        uint8_t bytes[4] = {(uint8_t)id, (uint8_t)(id >> 8), (uint8_t)(id >> 16),
                            (uint8_t)(id >> 24)};
        if (i < prompt->n_prompt_tokens) {
            hw_sha256_update(&hash, bytes, sizeof bytes);
        }
    }
    hw_sha256_hex(&hash, hex);
    if (status == HW_OK && strcmp(hex, prompt->sha256) != 0) {
        status = hw_fail(err, HW_WRONG, "prompt_sha256 of prompt %zu is not that of its token ids",
                         index);
    }
    return status;
}

enum hw_status hw_verify_columns(struct hw_verify *verify, struct hw_error *err) {
    size_t most = 0;
    for (size_t p = 0; p < hw_trace_n_prompts(verify->trace); p++) {
        most = hw_size_max(most, hw_trace_prompt(verify->trace, p)->n_tokens);
    }
    int32_t *rows = malloc((most + 1) * 4 * sizeof *rows);
    enum hw_status status =
        rows != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for %zu tokens", most);
    for (size_t p = 0; p < hw_trace_n_prompts(verify->trace) && status == HW_OK; p++) {
        status = check_prompt_columns(verify, p, rows, err);
    }
    free(rows);
    return status;
}

// What the values of a statistic may be.
static void find_range(enum hw_dataset dataset, double *ret_least, double *ret_most) {
    // Sums of weights come out a little above one.
    static const double share_most = 1 + 0x1p-12;
    *ret_least = 0;
    *ret_most = INFINITY;
    switch (dataset) {
    case HW_DS_ATTENTION_MAX:
    case HW_DS_ATTENTION_FIRST:
    case HW_DS_ATTENTION_ROW_SUM:
    case HW_DS_ATTENTION_RECEIVED_MAX:
        *ret_most = share_most;
        break;
    case HW_DS_ATTENTION_LOGSUMEXP:
    case HW_DS_ATTENTION_SCORE_MEAN:
        *ret_least = -INFINITY;
        break;
    case HW_DS_RESIDUAL_COSINE_FIRST:
        *ret_least = -share_most;
        *ret_most = share_most;
        break;
    case HW_DS_ATTENTION_ENTROPY:
    case HW_DS_ATTENTION_RECEIVED_ENTROPY:
        *ret_least = -0x1p-12;
        break;
    default:
        break;
    }
}

static bool is_recorded(const struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                        size_t inner) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    const struct hw_group_axes *axes = &hw_trace_layout(trace)->groups[row->group];
    return axes->recorded == NULL || row->axes[1] != HW_AXIS_LAYER || row->n_axes < 3 ||
           row->axes[2] != HW_AXIS_HEAD || axes->recorded[slab * axes->n_heads + inner] != 0;
}

// Whether edits changed the attention that the statistic is of: its rows may sum to anything, be
// empty, or have weights beyond one.
static bool is_changed(struct hw_verify *verify, enum hw_dataset dataset, size_t slab,
                       size_t inner) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    const struct hw_group_axes *axes = &hw_trace_layout(verify->trace)->groups[row->group];
    return strcmp(row->record, "attention") == 0 && row->n_axes >= 3 &&
           row->axes[1] == HW_AXIS_LAYER && row->axes[2] == HW_AXIS_HEAD && slab < axes->n_layers &&
           inner < axes->n_heads &&
           hw_verify_is_edited(verify, HW_EDITED_PATTERN, axes->layers[slab], axes->heads[inner]);
}

// One prompt, one slab of a statistic: values in range, and their mean where it is stored.
static enum hw_status check_statistic(struct hw_verify *verify, enum hw_dataset dataset,
                                      size_t slab, size_t index, const float *rows,
                                      const float *means, struct hw_error *err) {
    const struct hw_trace_prompt *prompt = hw_trace_prompt(verify->trace, index);
    size_t n_inner = hw_trace_n_inner(verify->trace, dataset);
    struct hw_verify_line *range = hw_verify_line(verify, "values in range");
    struct hw_verify_line *mean = hw_verify_line(verify, "means of rows");
    const char *name = hw_schema_row(dataset)->name;
    double least, most;
    find_range(dataset, &least, &most);
    for (size_t i = 0; i < n_inner; i++) {
        double sum = 0, magnitude = 0;
        if (!is_recorded(verify->trace, dataset, slab, i) || is_changed(verify, dataset, slab, i)) {
            continue;
        }
        for (size_t t = 0; t < prompt->n_prompt_tokens; t++) {
            double x = rows[t * n_inner + i];
            sum += x;
            magnitude += fabs(x);
            range->n_checked++;
            if (!(x >= least && x <= most) || isinf(x)) {
                return hw_fail(err, HW_WRONG,
                               "%s of prompt %zu, token %zu, layer or depth %zu, place %zu is %g, "
                               "expected %g to %g",
                               name, index, t, slab, i, x, least, most);
            }
        }
        if (means != NULL && prompt->n_prompt_tokens > 0) {
            double n = (double)prompt->n_prompt_tokens;
            enum hw_status status = hw_verify_check(
                mean, means[i], sum / n, mean_share * magnitude / n + 1e-37, err,
                "%s_mean of prompt %zu, layer or depth %zu, place %zu", name, index, slab, i);
            if (status != HW_OK) {
                return status;
            }
        }
    }
    return HW_OK;
}

// sink_score is the mean of attention_first.
static enum hw_status check_sinks(struct hw_verify *verify, size_t slab, size_t index,
                                  const float *first, const float *sinks, struct hw_error *err) {
    const struct hw_trace_prompt *prompt = hw_trace_prompt(verify->trace, index);
    size_t n_heads = hw_trace_n_inner(verify->trace, HW_DS_SINK_SCORE);
    struct hw_verify_line *line =
        hw_verify_line(verify, "sink_score is the mean of attention_first");
    enum hw_status status = HW_OK;
    for (size_t h = 0; h < n_heads && status == HW_OK && prompt->n_prompt_tokens > 0; h++) {
        double sum = 0;
        for (size_t t = 0; t < prompt->n_prompt_tokens; t++) {
            sum += first[t * n_heads + h];
        }
        double mean = sum / (double)prompt->n_prompt_tokens;
        if (is_recorded(verify->trace, HW_DS_SINK_SCORE, slab, h)) {
            status = hw_verify_check(line, sinks[h], mean, mean_share * mean + 1e-37, err,
                                     "prompt %zu, layer %zu, head %zu", index, slab, h);
        }
    }
    return status;
}

static enum hw_status check_dataset(struct hw_verify *verify, enum hw_dataset dataset,
                                    struct hw_error *err) {
    struct hw_trace *trace = verify->trace;
    size_t n_inner = hw_trace_n_inner(trace, dataset);
    bool has_means = hw_trace_has(trace, dataset + 1);
    bool has_sinks = dataset == HW_DS_ATTENTION_FIRST && hw_trace_has(trace, HW_DS_SINK_SCORE);
    size_t most = hw_size_max(1, hw_trace_layout(trace)->max_tokens);
    float *rows = calloc(most * n_inner + 1, sizeof *rows),
          *means = calloc(n_inner + 1, sizeof *means);
    enum hw_status status = rows == NULL || means == NULL
                                ? hw_fail(err, HW_RESOURCE, "not enough memory for %zu rows", most)
                                : HW_OK;
    for (size_t slab = 0; slab < hw_trace_n_slabs(trace, dataset); slab++) {
        for (size_t p = 0; p < hw_trace_n_prompts(trace) && status == HW_OK; p++) {
            const struct hw_trace_prompt *prompt = hw_trace_prompt(trace, p);
            status = hw_trace_read_f32(trace, dataset, slab, prompt->first_token,
                                       prompt->n_prompt_tokens, rows, err);
            if (status == HW_OK && has_means) {
                status = hw_trace_read_f32(trace, dataset + 1, slab, p, 1, means, err);
            }
            status = status != HW_OK ? status
                                     : check_statistic(verify, dataset, slab, p, rows,
                                                       has_means ? means : NULL, err);
            if (status == HW_OK && has_sinks) {
                status = hw_trace_read_f32(trace, HW_DS_SINK_SCORE, slab, p, 1, means, err);
                status = status != HW_OK ? status : check_sinks(verify, slab, p, rows, means, err);
            }
        }
    }
    free(rows);
    free(means);
    return status;
}

// prompt_loss is the mean of -token_logprob over positions 1 .. T - 1.
static enum hw_status check_loss(struct hw_verify *verify, struct hw_error *err) {
    struct hw_trace *trace = verify->trace;
    struct hw_verify_line *line =
        hw_verify_line(verify, "prompt_loss is the mean of -token_logprob");
    size_t most = hw_size_max(1, hw_trace_layout(trace)->max_tokens);
    float *rows = calloc(most, sizeof *rows), loss = 0;
    enum hw_status status =
        rows == NULL ? hw_fail(err, HW_RESOURCE, "not enough memory for %zu rows", most) : HW_OK;
    for (size_t p = 0; p < hw_trace_n_prompts(trace) && status == HW_OK; p++) {
        const struct hw_trace_prompt *prompt = hw_trace_prompt(trace, p);
        status = hw_trace_read_f32(trace, HW_DS_TOKEN_LOGPROB, 0, prompt->first_token,
                                   prompt->n_prompt_tokens, rows, err);
        status = status != HW_OK ? status
                                 : hw_trace_read_f32(trace, HW_DS_PROMPT_LOSS, 0, p, 1, &loss, err);
        double sum = 0;
        for (size_t t = 1; t < prompt->n_prompt_tokens && status == HW_OK; t++) {
            sum -= rows[t];
        }
        if (status == HW_OK && prompt->n_prompt_tokens > 1) {
            double mean = sum / (double)(prompt->n_prompt_tokens - 1);
            status = hw_verify_check(line, loss, mean, mean_share * fabs(mean) + 1e-37, err,
                                     "prompt %zu", p);
        }
    }
    free(rows);
    return status;
}

enum hw_status hw_verify_statistics(struct hw_verify *verify, struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        if (hw_trace_has(verify->trace, (enum hw_dataset)i) &&
            hw_schema_row((enum hw_dataset)i)->has_mean) {
            status = check_dataset(verify, (enum hw_dataset)i, err);
        }
    }
    if (status == HW_OK && hw_trace_has(verify->trace, HW_DS_TOKEN_LOGPROB) &&
        hw_trace_has(verify->trace, HW_DS_PROMPT_LOSS)) {
        status = check_loss(verify, err);
    }
    return status;
}
