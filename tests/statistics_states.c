// Norms, massive activations and their means, from the states, values and outputs of the same
// capture.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "statistics_study.h"

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

// Lower median of |x|.
static double median_of(const float *x, size_t n) {
    double *sorted = malloc(n * sizeof *sorted);
    ck_assert_ptr_nonnull(sorted);
    for (size_t i = 0; i < n; i++) {
        sorted[i] = fabs((double)x[i]);
    }
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    double median = sorted[(n - 1) / 2];
    free(sorted);
    return median;
}

static double dot(const float *a, const float *b, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

static double norm_of(const float *x, size_t n) {
    return sqrt(dot(x, x, n));
}

static double state_row_statistic(enum hw_dataset dataset, const float *x, const float *first,
                                  size_t n) {
    double largest = 0.0;
    switch (dataset) {
    case HW_DS_RESIDUAL_NORM:
        return norm_of(x, n);
    case HW_DS_RESIDUAL_MEDIAN:
        return median_of(x, n);
    case HW_DS_RESIDUAL_COSINE_FIRST:
        return dot(x, first, n) / (norm_of(x, n) * norm_of(first, n));
    default: // HW_DS_RESIDUAL_MAX
        for (size_t c = 0; c < n; c++) {
            largest = fmax(largest, fabs((double)x[c]));
        }
        return largest;
    }
}

static void check_state_rows(const struct study *study, enum hw_dataset dataset) {
    size_t d = study->model->desc.d_model;
    for (size_t p = 0; p < study->prompts.n; p++) {
        for (size_t depth = 0; depth <= study->model->desc.n_layers; depth++) {
            const float *x = run_floats(&study->run, HW_DS_ACTIVATIONS_RESIDUAL, depth, p);
            const float *got = run_floats(&study->run, dataset, depth, p);
            for (size_t i = 0; i < study->prompts.items[p].n_ids; i++) {
                expect((double)got[i], state_row_statistic(dataset, x + i * d, x, d),
                       "%s of %s, prompt %zu, depth %zu, token %zu", hw_schema_row(dataset)->name,
                       study->name, p, depth, i);
            }
        }
    }
}

// Norms of rows that the capture has as activations: [token, unit, width].
static void check_norms(const struct study *study, enum hw_dataset dataset) {
    const struct {
        enum hw_dataset norm;
        enum hw_dataset of;
        size_t n_units;
        size_t width;
    } norms[] = {
        {HW_DS_ATTENTION_OUTPUT_NORM, HW_DS_ACTIVATIONS_ATTENTION_OUTPUT, 1,
         study->model->desc.d_model},
        {HW_DS_MLP_OUTPUT_NORM, HW_DS_ACTIVATIONS_MLP_OUTPUT, 1, study->model->desc.d_model},
        {HW_DS_HEAD_RESULT_NORM, HW_DS_ACTIVATIONS_HEAD_RESULT, study->model->desc.n_heads,
         study->model->desc.d_model},
        {HW_DS_VALUE_NORM, HW_DS_ACTIVATIONS_VALUE, study->model->desc.n_kv_heads,
         study->model->desc.d_head},
        {HW_DS_KEY_NORM, HW_DS_ATTENTION_VECTORS_KEY, study->model->desc.n_kv_heads,
         study->model->desc.d_head},
    };
    size_t at = 0;
    while (norms[at].norm != dataset) {
        at++;
    }
    for (size_t p = 0; p < study->prompts.n; p++) {
        for (size_t layer = 0; layer < study->model->desc.n_layers; layer++) {
            const float *x = run_floats(&study->run, norms[at].of, layer, p);
            const float *got = run_floats(&study->run, dataset, layer, p);
            for (size_t i = 0; i < study->prompts.items[p].n_ids * norms[at].n_units; i++) {
                expect((double)got[i], norm_of(x + i * norms[at].width, norms[at].width),
                       "%s of %s, prompt %zu, layer %zu, row %zu", hw_schema_row(dataset)->name,
                       study->name, p, layer, i);
            }
        }
    }
}

// |W_O,h v| through the output projection itself, head by head.
static void check_projected(const struct study *study, enum hw_dataset dataset) {
    const struct hw_model_desc *d = &study->model->desc;
    for (size_t i = 0; i < study->prompts.n * d->n_layers * d->n_heads; i++) {
        size_t h = i % d->n_heads;
        size_t layer = i / d->n_heads % d->n_layers;
        size_t p = i / d->n_heads / d->n_layers;
        size_t kv = h / (d->n_heads / d->n_kv_heads);
        const struct hw_weight *w = &study->model->layers[layer].o.w;
        const float *v = run_floats(&study->run, HW_DS_ACTIVATIONS_VALUE, layer, p);
        const float *got = run_floats(&study->run, dataset, layer, p);
        for (size_t t = 0; t < study->prompts.items[p].n_ids; t++) {
            double square = 0.0;
            for (size_t o = 0; o < d->d_model; o++) {
                double sum = 0.0;
                for (size_t c = 0; c < d->d_head; c++) {
                    sum += study_weight(w, o, h * d->d_head + c) *
                           (double)v[(t * d->n_kv_heads + kv) * d->d_head + c];
                }
                square += sum * sum;
            }
            expect((double)got[t * d->n_heads + h], sqrt(square),
                   "value_norm_projected of %s, prompt %zu, head %zu.%zu, token %zu", study->name,
                   p, layer, h, t);
        }
    }
}

static void check_final_norm(const struct study *study, enum hw_dataset dataset) {
    for (size_t p = 0; p < study->prompts.n; p++) {
        size_t width;
        const float *got = run_floats(&study->run, dataset, 0, p);
        float *x = run_site(study->model, &study->prompts.items[p], study->level, HW_SITE_FINAL, 0,
                            &width);
        for (size_t i = 0; i < study->prompts.items[p].n_ids; i++) {
            expect((double)got[i], norm_of(x + i * width, width),
                   "final_norm of %s, prompt %zu, token %zu", study->name, p, i);
        }
        free(x);
    }
}

// The mean over the rows of the prompt's text, in all three runs; with detail "prompt" the mean is
// all there is, and the same.
static void check_mean_of(const struct study *study, const struct run *run,
                          enum hw_dataset dataset) {
    enum hw_dataset of = (enum hw_dataset)(dataset - 1);
    size_t width = run_width(run, dataset);
    ck_assert(hw_schema_row(of)->has_mean);
    for (size_t p = 0; p < run->prompts->n; p++) {
        size_t n = study_n_prompt(run, p);
        for (size_t slab = 0; slab < run_n_slabs(run, dataset); slab++) {
            const float *rows = run_floats(run, of, slab, p);
            const float *got = run_floats(run, dataset, slab, p);
            for (size_t c = 0; c < width; c++) {
                double sum = 0.0;
                for (size_t i = 0; i < n; i++) {
                    sum += (double)rows[i * width + c] / (double)n;
                }
                expect((double)got[c], sum, "%s of %s, prompt %zu, slab %zu [%zu]",
                       hw_schema_row(dataset)->name, study->name, p, slab, c);
            }
        }
    }
}

static void check_mean(const struct study *study, enum hw_dataset dataset) {
    check_mean_of(study, &study->run, dataset);
    check_mean_of(study, &study->generated, dataset);
    struct run_options options = {
        .level = study->level, .is_detail_prompt = true, .tokenizer = study->tokenizer};
    struct run detail;
    run_capture(study->model, &study->prompts, &options, &detail);
    size_t width = run_width(&study->run, dataset);
    size_t n;
    ck_assert_ptr_null(
        hw_destination_memory_get(detail.memory, (enum hw_dataset)(dataset - 1), 0, &n));
    for (size_t p = 0; p < study->prompts.n; p++) {
        for (size_t slab = 0; slab < run_n_slabs(&study->run, dataset); slab++) {
            const float *want = run_floats(&study->run, dataset, slab, p);
            const float *got = run_floats(&detail, dataset, slab, p);
            for (size_t c = 0; c < width; c++) {
                expect_same((double)got[c], (double)want[c], "%s alone of %s, prompt %zu, slab %zu",
                            hw_schema_row(dataset)->name, study->name, p, slab);
            }
        }
    }
    run_close(&detail);
}

// Largest first; ties: the lower row, then the lower channel: the flat index.
static void check_state_top(const struct study *study, enum hw_dataset dataset) {
    size_t d = study->model->desc.d_model;
    for (size_t i = 0; i < study->prompts.n * (study->model->desc.n_layers + 1); i++) {
        size_t p = i % study->prompts.n;
        size_t depth = i / study->prompts.n;
        size_t n = study->prompts.items[p].n_ids * d;
        const float *x = run_floats(&study->run, HW_DS_ACTIVATIONS_RESIDUAL, depth, p);
        bool *is_taken = calloc(n, sizeof *is_taken);
        ck_assert_ptr_nonnull(is_taken);
        for (size_t r = 0; r < STUDY_RANK; r++) {
            size_t best = n;
            for (size_t k = 0; k < n; k++) {
                best = !is_taken[k] && (best == n || fabsf(x[k]) > fabsf(x[best])) ? k : best;
            }
            is_taken[best] = true;
            double got = dataset == HW_DS_STATE_TOP_VALUE
                             ? (double)run_floats(&study->run, dataset, depth, p)[r]
                             : (double)run_ints(&study->run, dataset, depth, p)[r];
            double want = dataset == HW_DS_STATE_TOP_VALUE      ? (double)x[best]
                          : dataset == HW_DS_STATE_TOP_POSITION ? (double)(best / d)
                                                                : (double)(best % d);
            expect_same(got, want, "%s of %s, prompt %zu, depth %zu, rank %zu",
                        hw_schema_row(dataset)->name, study->name, p, depth, r);
        }
        free(is_taken);
    }
}

static void check_state_statistic(const struct study *study, enum hw_dataset dataset) {
    for (size_t i = 0; i < study->prompts.n * (study->model->desc.n_layers + 1); i++) {
        size_t p = i % study->prompts.n;
        size_t depth = i / study->prompts.n;
        size_t n = study->prompts.items[p].n_ids * study->model->desc.d_model;
        const float *x = run_floats(&study->run, HW_DS_ACTIVATIONS_RESIDUAL, depth, p);
        double mean = 0.0;
        double mean_abs = 0.0;
        double square = 0.0;
        for (size_t k = 0; k < n; k++) {
            mean += (double)x[k] / (double)n;
            mean_abs += fabs((double)x[k]) / (double)n;
        }
        for (size_t k = 0; k < n; k++) {
            square += ((double)x[k] - mean) * ((double)x[k] - mean) / (double)n;
        }
        double want = dataset == HW_DS_STATE_MEDIAN     ? median_of(x, n)
                      : dataset == HW_DS_STATE_MEAN_ABS ? mean_abs
                                                        : sqrt(square);
        expect((double)run_floats(&study->run, dataset, depth, p)[0], want,
               "%s of %s, prompt %zu, depth %zu", hw_schema_row(dataset)->name, study->name, p,
               depth);
    }
}

static double event_column(const struct run *run, enum hw_dataset dataset, size_t event) {
    size_t n;
    const void *rows = hw_destination_memory_get(run->memory, dataset, 0, &n);
    ck_assert_uint_lt(event, n);
    switch (hw_schema_row(dataset)->element) {
    case HW_ELEMENT_F4:
        return (double)((const float *)rows)[event];
    case HW_ELEMENT_I8:
        return (double)((const int64_t *)rows)[event];
    default:
        return (double)((const int32_t *)rows)[event];
    }
}

// Every event of the table, in the order of prompts, depths, positions and channels, and no other.
static void check_events(const struct study *study, enum hw_dataset dataset) {
    size_t d = study->model->desc.d_model;
    size_t n_events = 0;
    for (size_t p = 0; p < study->prompts.n; p++) {
        size_t n = study->prompts.items[p].n_ids;
        size_t start;
        const int64_t *starts =
            hw_destination_memory_get(study->run.memory, HW_DS_TOKEN_START, 0, &start);
        for (size_t depth = 0; depth <= study->model->desc.n_layers; depth++) {
            const float *x = run_floats(&study->run, HW_DS_ACTIVATIONS_RESIDUAL, depth, p);
            double median = median_of(x, n * d);
            for (size_t k = 0; k < n * d; k++) {
                double size = fabs((double)x[k]);
                if (!(size > 100.0 && size >= 1000.0 * median)) {
                    continue;
                }
                double want = dataset == HW_DS_MASSIVE_PROMPT     ? (double)p
                              : dataset == HW_DS_MASSIVE_TOKEN    ? (double)starts[p] + k / d
                              : dataset == HW_DS_MASSIVE_POSITION ? (double)(k / d)
                              : dataset == HW_DS_MASSIVE_DEPTH    ? (double)depth
                              : dataset == HW_DS_MASSIVE_CHANNEL  ? (double)(k % d)
                              : dataset == HW_DS_MASSIVE_VALUE    ? (double)x[k]
                                                                  : size / median;
                expect(event_column(&study->run, dataset, n_events), want, "%s of %s, event %zu",
                       hw_schema_row(dataset)->name, study->name, n_events);
                n_events++;
            }
        }
    }
    size_t n;
    (void)hw_destination_memory_get(study->run.memory, dataset, 0, &n);
    expect_same((double)n, (double)n_events, "events of %s", study->name);
    ck_assert(study->has_events == (n_events > 0));
}

const struct study_check state_checks[] = {
    {HW_DS_RESIDUAL_NORM, check_state_rows},
    {HW_DS_RESIDUAL_MAX, check_state_rows},
    {HW_DS_RESIDUAL_MEDIAN, check_state_rows},
    {HW_DS_RESIDUAL_COSINE_FIRST, check_state_rows},
    {HW_DS_ATTENTION_OUTPUT_NORM, check_norms},
    {HW_DS_MLP_OUTPUT_NORM, check_norms},
    {HW_DS_HEAD_RESULT_NORM, check_norms},
    {HW_DS_VALUE_NORM, check_norms},
    {HW_DS_KEY_NORM, check_norms},
    {HW_DS_VALUE_NORM_PROJECTED, check_projected},
    {HW_DS_FINAL_NORM, check_final_norm},
    {HW_DS_ATTENTION_ENTROPY_MEAN, check_mean},
    {HW_DS_ATTENTION_MAX_MEAN, check_mean},
    {HW_DS_ATTENTION_FIRST_MEAN, check_mean},
    {HW_DS_ATTENTION_LOGSUMEXP_MEAN, check_mean},
    {HW_DS_ATTENTION_SCORE_MEAN_MEAN, check_mean},
    {HW_DS_ATTENTION_ROW_SUM_MEAN, check_mean},
    {HW_DS_ATTENTION_DISTANCE_MEAN, check_mean},
    {HW_DS_ATTENTION_RECEIVED_MEAN, check_mean},
    {HW_DS_ATTENTION_RECEIVED_MAX_MEAN, check_mean},
    {HW_DS_ATTENTION_RECEIVED_ENTROPY_MEAN, check_mean},
    {HW_DS_VALUE_NORM_MEAN, check_mean},
    {HW_DS_KEY_NORM_MEAN, check_mean},
    {HW_DS_VALUE_NORM_PROJECTED_MEAN, check_mean},
    {HW_DS_RESIDUAL_NORM_MEAN, check_mean},
    {HW_DS_RESIDUAL_MAX_MEAN, check_mean},
    {HW_DS_RESIDUAL_MEDIAN_MEAN, check_mean},
    {HW_DS_RESIDUAL_COSINE_FIRST_MEAN, check_mean},
    {HW_DS_ATTENTION_OUTPUT_NORM_MEAN, check_mean},
    {HW_DS_MLP_OUTPUT_NORM_MEAN, check_mean},
    {HW_DS_HEAD_RESULT_NORM_MEAN, check_mean},
    {HW_DS_STATE_TOP_VALUE, check_state_top},
    {HW_DS_STATE_TOP_POSITION, check_state_top},
    {HW_DS_STATE_TOP_CHANNEL, check_state_top},
    {HW_DS_STATE_MEDIAN, check_state_statistic},
    {HW_DS_STATE_MEAN_ABS, check_state_statistic},
    {HW_DS_STATE_STD, check_state_statistic},
    {HW_DS_MASSIVE_PROMPT, check_events},
    {HW_DS_MASSIVE_TOKEN, check_events},
    {HW_DS_MASSIVE_POSITION, check_events},
    {HW_DS_MASSIVE_DEPTH, check_events},
    {HW_DS_MASSIVE_CHANNEL, check_events},
    {HW_DS_MASSIVE_VALUE, check_events},
    {HW_DS_MASSIVE_RATIO, check_events},
};
const size_t n_state_checks = sizeof state_checks / sizeof state_checks[0];
