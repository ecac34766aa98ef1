// Loss and predictions from the logits of the same capture; generated rows and decode steps from
// the capture of the same tokens as a prompt.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "statistics_study.h"

static double log_sum_exp(const float *x, size_t n) {
    double largest = -INFINITY;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, (double)x[i]);
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - largest);
    }
    return largest + log(sum);
}

static double logprob_at(const struct study *study, size_t prompt, size_t token) {
    size_t n_vocab = study->model->desc.n_vocab;
    const float *logits = run_floats(&study->run, HW_DS_LOGITS_LOGITS, 0, prompt);
    const float *row = logits + (token - 1) * n_vocab;
    return (double)row[study->prompts.items[prompt].ids[token]] - log_sum_exp(row, n_vocab);
}

static void check_logprob(const struct study *study, enum hw_dataset dataset) {
    for (size_t p = 0; p < study->prompts.n; p++) {
        const float *got = run_floats(&study->run, dataset, 0, p);
        expect((double)got[0], NAN, "token_logprob of %s, prompt %zu, token 0", study->name, p);
        for (size_t i = 1; i < study->prompts.items[p].n_ids; i++) {
            expect((double)got[i], logprob_at(study, p, i),
                   "token_logprob of %s, prompt %zu, token %zu", study->name, p, i);
        }
    }
}

static void check_loss(const struct study *study, enum hw_dataset dataset) {
    for (size_t p = 0; p < study->prompts.n; p++) {
        size_t n = study->prompts.items[p].n_ids;
        double sum = 0.0;
        for (size_t i = 1; i < n; i++) {
            sum -= logprob_at(study, p, i);
        }
        double want = n > 1 ? sum / (double)(n - 1) : NAN;
        expect((double)run_floats(&study->run, dataset, 0, p)[0], want,
               "prompt_loss of %s, prompt %zu", study->name, p);
        // With generation it is still that of the given text.
        expect((double)run_floats(&study->generated, dataset, 0, p)[0], want,
               "prompt_loss of %s, prompt %zu, with generation", study->name, p);
    }
}

static void check_next_entropy(const struct study *study, enum hw_dataset dataset) {
    size_t n_vocab = study->model->desc.n_vocab;
    for (size_t p = 0; p < study->prompts.n; p++) {
        const float *logits = run_floats(&study->run, HW_DS_LOGITS_LOGITS, 0, p);
        for (size_t i = 0; i < study->prompts.items[p].n_ids; i++) {
            const float *row = logits + i * n_vocab;
            double log_z = log_sum_exp(row, n_vocab);
            double want = 0.0;
            for (size_t v = 0; v < n_vocab; v++) {
                want -= exp((double)row[v] - log_z) * ((double)row[v] - log_z);
            }
            expect((double)run_floats(&study->run, dataset, 0, p)[i], want,
                   "next_entropy of %s, prompt %zu, token %zu", study->name, p, i);
        }
    }
}

// Exact: the logits' own values in order, ties to the lower id.
static void check_next_top(const struct study *study, enum hw_dataset dataset) {
    size_t n_vocab = study->model->desc.n_vocab;
    bool *is_taken = malloc(n_vocab);
    ck_assert_ptr_nonnull(is_taken);
    for (size_t p = 0; p < study->prompts.n; p++) {
        const float *logits = run_floats(&study->run, HW_DS_LOGITS_LOGITS, 0, p);
        for (size_t i = 0; i < study->prompts.items[p].n_ids; i++) {
            const float *row = logits + i * n_vocab;
            memset(is_taken, 0, n_vocab);
            for (size_t r = 0; r < STUDY_RANK; r++) {
                size_t best = n_vocab;
                for (size_t v = 0; v < n_vocab; v++) {
                    best = !is_taken[v] && (best == n_vocab || row[v] > row[best]) ? v : best;
                }
                is_taken[best] = true;
                bool is_id = dataset == HW_DS_NEXT_TOP_ID;
                double got =
                    is_id ? (double)run_ints(&study->run, dataset, 0, p)[i * STUDY_RANK + r]
                          : (double)run_floats(&study->run, dataset, 0, p)[i * STUDY_RANK + r];
                expect_same(got, is_id ? (double)best : (double)row[best],
                            "%s of %s, prompt %zu, token %zu, rank %zu",
                            hw_schema_row(dataset)->name, study->name, p, i, r);
            }
        }
    }
    free(is_taken);
}

// The decode steps of a prompt: a step is the row of the token consumed, from the last one of the
// prompt's text on; as many as tokens were generated.
struct steps {
    size_t first; // index of the prompt's first step
    size_t n;
};

static struct steps steps_of(const struct study *study, size_t prompt) {
    struct steps steps = {0};
    for (size_t p = 0; p <= prompt; p++) {
        steps.first += steps.n;
        steps.n = run_n_tokens(&study->generated, p) - study_n_prompt(&study->generated, p);
    }
    return steps;
}

static void check_step_columns(const struct study *study, enum hw_dataset dataset) {
    size_t n_rows;
    const int32_t *rows = run_rows(&study->generated, dataset, 0, 0, &n_rows);
    size_t n = 0;
    for (size_t p = 0; p < study->prompts.n; p++) {
        struct steps steps = steps_of(study, p);
        const int32_t *ids = run_ints(&study->generated, HW_DS_TOKEN_ID, 0, p);
        ck_assert_uint_ge(steps.n, 1);
        for (size_t s = 0; s < steps.n; s++) {
            size_t at = study_n_prompt(&study->generated, p) - 1 + s;
            double want = dataset == HW_DS_DECODE_PROMPT     ? (double)p
                          : dataset == HW_DS_DECODE_POSITION ? (double)at
                          : dataset == HW_DS_DECODE_INPUT    ? (double)ids[at]
                                                             : (double)ids[at + 1];
            expect_same((double)rows[steps.first + s], want, "%s of %s, prompt %zu, step %zu",
                        hw_schema_row(dataset)->name, study->name, p, s);
            // Greedy: the output is the strongest prediction of that row.
            expect_same(
                (double)ids[at + 1],
                (double)run_ints(&study->replayed, HW_DS_NEXT_TOP_ID, 0, p)[at * STUDY_RANK],
                "token emitted by %s, prompt %zu, step %zu", study->name, p, s);
            n++;
        }
    }
    expect_same((double)n_rows, (double)n, "steps of %s", study->name);
}

// A step's statistics are those of the same row of a prefill of the whole text.
static void check_step_rows(const struct study *study, enum hw_dataset dataset) {
    size_t n_heads = study->model->desc.n_heads;
    for (size_t i = 0; i < study->prompts.n * study->model->desc.n_layers; i++) {
        size_t p = i % study->prompts.n;
        size_t layer = i / study->prompts.n;
        struct steps steps = steps_of(study, p);
        for (size_t s = 0; s < steps.n * n_heads; s++) {
            size_t at = (study_n_prompt(&study->generated, p) - 1) * n_heads + s;
            size_t row = steps.first * n_heads + s;
            size_t n;
            const void *rows = run_rows(&study->generated, dataset, layer, p, &n);
            double got;
            double want;
            if (dataset == HW_DS_DECODE_TOP_KEY) {
                got = (double)((const int32_t *)rows)[row];
                want = (double)run_ints(&study->replayed, HW_DS_ATTENTION_ARGMAX, layer, p)[at];
            } else {
                enum hw_dataset of = dataset == HW_DS_DECODE_TOP_WEIGHT ? HW_DS_ATTENTION_MAX
                                                                        : HW_DS_ATTENTION_FIRST;
                got = (double)((const float *)rows)[row];
                want = (double)run_floats(&study->replayed, of, layer, p)[at];
            }
            expect_same(got, want, "%s of %s, prompt %zu, layer %zu, step and head %zu",
                        hw_schema_row(dataset)->name, study->name, p, layer, s);
        }
    }
}

static void check_step_pattern(const struct study *study, enum hw_dataset dataset) {
    const struct hw_model_desc *d = &study->model->desc;
    size_t n_keys = study->generated.recording.layout.max_tokens;
    for (size_t i = 0; i < study->prompts.n * d->n_layers * d->n_heads; i++) {
        size_t h = i % d->n_heads;
        size_t layer = i / d->n_heads % d->n_layers;
        size_t p = i / d->n_heads / d->n_layers;
        size_t n = run_n_tokens(&study->replayed, p);
        struct steps steps = steps_of(study, p);
        float *map = malloc(n * n * sizeof *map);
        ck_assert_ptr_nonnull(map);
        ck_assert(run_map(&study->replayed, HW_DS_ATTENTION_PATTERN, p, layer, h, map));
        for (size_t s = 0; s < steps.n; s++) {
            size_t query = study_n_prompt(&study->generated, p) - 1 + s;
            size_t n_rows;
            const float *rows = run_rows(&study->generated, dataset, layer, p, &n_rows);
            const float *got = rows + ((steps.first + s) * d->n_heads + h) * n_keys;
            for (size_t k = 0; k < n_keys; k++) {
                double want = k <= query ? (double)map[query * n + k] : NAN;
                expect_same((double)got[k], want,
                            "decode pattern of %s, prompt %zu, head %zu.%zu, step %zu, key %zu",
                            study->name, p, layer, h, s, k);
            }
        }
        free(map);
    }
}

const struct study_check token_checks[] = {
    {HW_DS_TOKEN_LOGPROB, check_logprob},        {HW_DS_PROMPT_LOSS, check_loss},
    {HW_DS_NEXT_ENTROPY, check_next_entropy},    {HW_DS_NEXT_TOP_ID, check_next_top},
    {HW_DS_NEXT_TOP_LOGIT, check_next_top},      {HW_DS_DECODE_PROMPT, check_step_columns},
    {HW_DS_DECODE_POSITION, check_step_columns}, {HW_DS_DECODE_INPUT, check_step_columns},
    {HW_DS_DECODE_OUTPUT, check_step_columns},   {HW_DS_DECODE_TOP_KEY, check_step_rows},
    {HW_DS_DECODE_TOP_WEIGHT, check_step_rows},  {HW_DS_DECODE_ATTENTION_FIRST, check_step_rows},
    {HW_DS_DECODE_PATTERN, check_step_pattern},
};
const size_t n_token_checks = sizeof token_checks / sizeof token_checks[0];
