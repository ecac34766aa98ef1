// From the axes of a golden tensor to rows of a capture, site by site.
#include "golden_sites.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

const struct golden_site golden_sites[N_GOLDEN_SITES] = {
    {"residual", HW_DS_ACTIVATIONS_RESIDUAL, false},
    {"value", HW_DS_ACTIVATIONS_VALUE, false},
    {"pattern", HW_DS_ATTENTION_PATTERN, true},
    {"z", HW_DS_ACTIVATIONS_Z, false},
    {"head_result", HW_DS_ACTIVATIONS_HEAD_RESULT, false},
    {"attention_output", HW_DS_ACTIVATIONS_ATTENTION_OUTPUT, false},
    {"mlp_output", HW_DS_ACTIVATIONS_MLP_OUTPUT, false},
    {"final", HW_N_DATASETS, false},
    {"logits", HW_DS_LOGITS_LOGITS, false},
    {"token_logprob", HW_DS_TOKEN_LOGPROB, true},
};

size_t golden_index(const int32_t *axis, size_t n, size_t value) {
    size_t i = 0;
    while (i < n && axis[i] != (int32_t)value) {
        i++;
    }
    ck_assert_msg(i < n, "%zu is not on the axis", value);
    return i;
}

static size_t row_of(const struct golden_tensor *listed, size_t i) {
    return listed->values != NULL ? (size_t)listed->values[i] : i;
}

// Our row of the token at `position`; activations and logits may hold chosen positions only.
static const float *our_row(const struct run *run, enum hw_dataset dataset, size_t slab,
                            size_t prompt, size_t position) {
    enum hw_group group = hw_schema_row(dataset)->group;
    size_t at = position;
    if (group == HW_GROUP_ACTIVATIONS || group == HW_GROUP_LOGITS) {
        size_t n;
        const int32_t *positions =
            run_rows(run,
                     group == HW_GROUP_LOGITS ? HW_DS_LOGITS_TOKEN_POSITION
                                              : HW_DS_ACTIVATIONS_TOKEN_POSITION,
                     0, prompt, &n);
        at = golden_index(positions, n, position);
    }
    return run_floats(run, dataset, slab, prompt) + at * run_width(run, dataset);
}

static double pattern_error(const struct run *run, size_t prompt, const struct golden_tensor *want,
                            const struct golden_tensor *listed, double *ret_by_layer) {
    size_t n = run->prompts->items[prompt].n_ids;
    float *map = malloc(n * n * sizeof *map);
    double largest = 0.0;
    ck_assert_ptr_nonnull(map);
    ck_assert_uint_eq(want->shape[3], n);
    for (size_t i = 0; i < want->shape[0] * want->shape[1]; i++) {
        size_t layer = i / want->shape[1];
        ck_assert(run_map(run, HW_DS_ATTENTION_PATTERN, prompt, layer, i % want->shape[1], map));
        for (size_t r = 0; r < want->shape[2]; r++) {
            size_t query = row_of(listed, r);
            const double *row = want->values + (i * want->shape[2] + r) * n;
            double error = golden_absolute_error(row, map + query * n, query + 1);
            for (size_t k = query + 1; k < n; k++) {
                ck_assert_double_eq(row[k], 0.0); // the reference is causal too
            }
            largest = fmax(largest, error);
            if (ret_by_layer != NULL) {
                ret_by_layer[layer] = fmax(ret_by_layer[layer], error);
            }
        }
    }
    free(map);
    return largest;
}

static double rows_error(const struct golden_site *site, const struct run *run, size_t prompt,
                         const struct golden_tensor *want, const struct golden_tensor *listed,
                         double *ret_by_layer) {
    size_t n_rows = want->shape[1];
    size_t width = want->n / (want->shape[0] * n_rows);
    bool is_logprob = site->dataset == HW_DS_TOKEN_LOGPROB;
    // What one head writes for one token is a row of its own.
    size_t n_units = site->dataset == HW_DS_ACTIVATIONS_HEAD_RESULT ? want->shape[2] : 1;
    double largest = 0.0;
    ck_assert_uint_eq(width, is_logprob ? 1 : run_width(run, site->dataset));
    for (size_t i = 0; i < want->shape[0] * n_rows; i++) {
        size_t layer = i / n_rows;
        size_t position = row_of(listed, i % n_rows) + (is_logprob ? 1 : 0);
        const float *got = our_row(run, site->dataset, layer, prompt, position);
        const double *row = want->values + i * width;
        for (size_t u = 0; u < n_units; u++) {
            size_t at = u * (width / n_units);
            double error = site->is_absolute
                               ? golden_absolute_error(row + at, got + at, width / n_units)
                               : golden_row_error(row + at, got + at, width / n_units);
            largest = fmax(largest, error);
            if (ret_by_layer != NULL) {
                ret_by_layer[layer] = fmax(ret_by_layer[layer], error);
            }
        }
    }
    return largest;
}

double golden_site_error(const struct golden_site *site, const struct run *run, size_t prompt,
                         const struct golden *golden, const char *prefix, double *ret_by_layer) {
    struct golden_tensor want = golden_read(golden, "%s.%s", prefix, site->name);
    if (want.values == NULL) {
        return -1.0;
    }
    struct golden_tensor listed = golden_read(golden, "%s.rows.%s", prefix, site->name);
    double error = site->dataset == HW_DS_ATTENTION_PATTERN
                       ? pattern_error(run, prompt, &want, &listed, ret_by_layer)
                       : rows_error(site, run, prompt, &want, &listed, ret_by_layer);
    golden_free(&listed);
    golden_free(&want);
    return error;
}

double golden_final_error(const struct run *run, size_t prompt, enum hw_level level,
                          const struct golden *golden, const char *prefix) {
    struct golden_tensor want = golden_read(golden, "%s.final", prefix);
    if (want.values == NULL) {
        return -1.0;
    }
    struct golden_tensor listed = golden_read(golden, "%s.rows.final", prefix);
    size_t width;
    float *got =
        run_site(run->model, &run->prompts->items[prompt], level, HW_SITE_FINAL, 0, &width);
    double largest = 0.0;
    ck_assert_uint_eq(want.shape[2], width);
    for (size_t i = 0; i < want.shape[1]; i++) {
        largest = fmax(largest, golden_row_error(want.values + i * width,
                                                 got + row_of(&listed, i) * width, width));
    }
    free(got);
    golden_free(&listed);
    golden_free(&want);
    return largest;
}
