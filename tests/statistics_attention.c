// Attention statistics from the maps of the same capture, and the maps from the scores, the scores
// from the stored queries and keys.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "statistics_study.h"

// The maps of one head of one prompt; rows are [T, T].
struct head {
    const struct study *study;
    size_t prompt;
    size_t layer;
    size_t head;
    size_t n; // T
    float *pattern;
    float *scores;
};

typedef void (*head_fn)(const struct head *h, enum hw_dataset dataset);

static void for_each_head(const struct study *study, enum hw_dataset dataset, head_fn check) {
    const struct hw_model_desc *d = &study->model->desc;
    for (size_t p = 0; p < study->prompts.n; p++) {
        struct head h = {.study = study, .prompt = p, .n = study->prompts.items[p].n_ids};
        h.pattern = malloc(h.n * h.n * sizeof(float));
        h.scores = malloc(h.n * h.n * sizeof(float));
        ck_assert(h.pattern != NULL && h.scores != NULL);
        for (h.layer = 0; h.layer < d->n_layers; h.layer++) {
            for (h.head = 0; h.head < d->n_heads; h.head++) {
                ck_assert(
                    run_map(&study->run, HW_DS_ATTENTION_PATTERN, p, h.layer, h.head, h.pattern));
                ck_assert(
                    run_map(&study->run, HW_DS_ATTENTION_SCORES, p, h.layer, h.head, h.scores));
                check(&h, dataset);
            }
        }
        free(h.pattern);
        free(h.scores);
    }
}

static const char *name_of(enum hw_dataset dataset) {
    return hw_schema_row(dataset)->name;
}

// Ours of one row (query or key) of the head.
static double ours(const struct head *h, enum hw_dataset dataset, size_t row) {
    size_t at = row * h->study->model->desc.n_heads + h->head;
    if (hw_schema_row(dataset)->element == HW_ELEMENT_I4) {
        return run_ints(&h->study->run, dataset, h->layer, h->prompt)[at];
    }
    return (double)run_floats(&h->study->run, dataset, h->layer, h->prompt)[at];
}

static double entropy(const float *p, size_t n) {
    double sum = 0.0;
    for (size_t j = 0; j < n; j++) {
        sum -= p[j] > 0 ? (double)p[j] * log((double)p[j]) : 0.0;
    }
    return sum;
}

// The statistic of query i from its row of the map and of the scores.
static double row_statistic(enum hw_dataset dataset, const float *p, const float *s, size_t i) {
    double largest = -INFINITY;
    double sum_exp = 0.0;
    double mean_score = 0.0;
    double sum = 0.0;
    double distance = 0.0;
    double largest_p = 0.0;
    size_t argmax = 0;
    for (size_t j = 0; j <= i; j++) {
        argmax = s[j] > s[argmax] ? j : argmax;
        largest = fmax(largest, (double)s[j]);
        largest_p = fmax(largest_p, (double)p[j]);
        mean_score += (double)s[j] / (double)(i + 1);
        sum += (double)p[j];
        distance += (double)p[j] * (double)(i - j);
    }
    for (size_t j = 0; j <= i; j++) {
        sum_exp += exp((double)s[j] - largest);
    }
    switch (dataset) {
    case HW_DS_ATTENTION_ENTROPY:
        return entropy(p, i + 1);
    case HW_DS_ATTENTION_MAX:
        return largest_p;
    case HW_DS_ATTENTION_FIRST:
        return (double)p[0];
    case HW_DS_ATTENTION_LOGSUMEXP:
        return largest + log(sum_exp);
    case HW_DS_ATTENTION_SCORE_MEAN:
        return mean_score;
    case HW_DS_ATTENTION_ROW_SUM:
        return sum;
    case HW_DS_ATTENTION_DISTANCE:
        return distance;
    case HW_DS_ATTENTION_ARGMAX:
        return (double)argmax;
    case HW_DS_ATTENTION_VECTORS_ROW_MAX:
        return largest;
    default: // HW_DS_ATTENTION_VECTORS_ROW_INVERSE_SUM
        return 1.0 / sum_exp;
    }
}

static void check_rows_of(const struct head *h, enum hw_dataset dataset) {
    for (size_t i = 0; i < h->n; i++) {
        double want = row_statistic(dataset, h->pattern + i * h->n, h->scores + i * h->n, i);
        expect(ours(h, dataset, i), want, "%s of %s, prompt %zu, head %zu.%zu, query %zu",
               name_of(dataset), h->study->name, h->prompt, h->layer, h->head, i);
    }
}

static void check_rows(const struct study *study, enum hw_dataset dataset) {
    for_each_head(study, dataset, check_rows_of);
}

static double key_statistic(enum hw_dataset dataset, const struct head *h, size_t k) {
    double sum = 0.0;
    double largest = 0.0;
    double sum_entropy = 0.0;
    for (size_t i = k; i < h->n; i++) {
        double p = (double)h->pattern[i * h->n + k];
        sum += p;
        largest = fmax(largest, p);
    }
    for (size_t i = k; i < h->n && sum > 0; i++) {
        double r = (double)h->pattern[i * h->n + k] / sum;
        sum_entropy -= r > 0 ? r * log(r) : 0.0;
    }
    return dataset == HW_DS_ATTENTION_RECEIVED       ? sum / (double)(h->n - k)
           : dataset == HW_DS_ATTENTION_RECEIVED_MAX ? largest
                                                     : sum_entropy;
}

static void check_keys_of(const struct head *h, enum hw_dataset dataset) {
    for (size_t k = 0; k < h->n; k++) {
        expect(ours(h, dataset, k), key_statistic(dataset, h, k),
               "%s of %s, prompt %zu, head %zu.%zu, key %zu", name_of(dataset), h->study->name,
               h->prompt, h->layer, h->head, k);
    }
}

static void check_keys(const struct study *study, enum hw_dataset dataset) {
    for_each_head(study, dataset, check_keys_of);
}

static void check_sink_of(const struct head *h, enum hw_dataset dataset) {
    double sum = 0.0;
    for (size_t i = 0; i < h->n; i++) {
        sum += (double)h->pattern[i * h->n];
    }
    expect(ours(h, dataset, 0), sum / (double)h->n, "sink_score of %s, prompt %zu, head %zu.%zu",
           h->study->name, h->prompt, h->layer, h->head);
}

static void check_sink(const struct study *study, enum hw_dataset dataset) {
    for_each_head(study, dataset, check_sink_of);
}

static void check_offsets_of(const struct head *h, enum hw_dataset dataset) {
    const float *got = run_floats(&h->study->run, dataset, h->layer, h->prompt);
    for (size_t o = 0; o < STUDY_OFFSETS; o++) {
        double sum = 0.0;
        for (size_t i = o; i < h->n; i++) {
            sum += (double)h->pattern[i * h->n + i - o];
        }
        expect((double)got[h->head * STUDY_OFFSETS + o], o < h->n ? sum / (double)(h->n - o) : NAN,
               "attention_offset of %s, prompt %zu, head %zu.%zu, offset %zu", h->study->name,
               h->prompt, h->layer, h->head, o);
    }
}

static void check_offsets(const struct study *study, enum hw_dataset dataset) {
    for_each_head(study, dataset, check_offsets_of);
}

// Mean over the queries of span a of their mass on span b, from any [n, n] map; NaN where a span is
// empty.
static double span_mean(const struct study *study, const struct run *run, size_t prompt,
                        const float *map, size_t n, size_t a, size_t b) {
    size_t n_queries = 0;
    size_t n_keys = 0;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        n_keys += study_is_in_span(study, run, prompt, b, i);
        if (!study_is_in_span(study, run, prompt, a, i)) {
            continue;
        }
        n_queries++;
        for (size_t j = 0; j <= i; j++) {
            sum += study_is_in_span(study, run, prompt, b, j) ? (double)map[i * n + j] : 0.0;
        }
    }
    return n_queries > 0 && n_keys > 0 ? sum / (double)n_queries : NAN;
}

// With generation the queries are those of the whole text, whose map the replay has.
static void check_spans(const struct study *study, enum hw_dataset dataset) {
    const struct run *runs[2][2] = {{&study->run, &study->run},
                                    {&study->generated, &study->replayed}};
    const struct hw_model_desc *d = &study->model->desc;
    for (size_t r = 0; r < 2; r++) {
        size_t n_spans = runs[r][0]->recording.layout.n_spans;
        ck_assert_uint_eq(n_spans, HW_N_BUILTIN_SPANS + 2);
        for (size_t i = 0; i < study->prompts.n * d->n_layers * d->n_heads; i++) {
            size_t head = i % d->n_heads;
            size_t layer = i / d->n_heads % d->n_layers;
            size_t p = i / d->n_heads / d->n_layers;
            size_t n = run_n_tokens(runs[r][0], p);
            float *map = malloc(n * n * sizeof *map);
            ck_assert_ptr_nonnull(map);
            ck_assert(run_map(runs[r][1], HW_DS_ATTENTION_PATTERN, p, layer, head, map));
            const float *got = run_floats(runs[r][0], dataset, layer, p);
            for (size_t s = 0; s < n_spans * n_spans; s++) {
                expect((double)got[head * n_spans * n_spans + s],
                       span_mean(study, runs[r][0], p, map, n, s / n_spans, s % n_spans),
                       "attention_span of %s, run %zu, prompt %zu, head %zu.%zu, spans %zu to %zu",
                       study->name, r, p, layer, head, s / n_spans, s % n_spans);
            }
            free(map);
        }
    }
}

static void check_pattern_of(const struct head *h, enum hw_dataset dataset) {
    for (size_t i = 0; i < h->n; i++) {
        const float *s = h->scores + i * h->n;
        double log_sum = row_statistic(HW_DS_ATTENTION_LOGSUMEXP, h->pattern + i * h->n, s, i);
        for (size_t j = 0; j <= i; j++) {
            expect((double)h->pattern[i * h->n + j], exp((double)s[j] - log_sum),
                   "pattern of %s, prompt %zu, head %zu.%zu [%zu, %zu]", h->study->name, h->prompt,
                   h->layer, h->head, i, j);
        }
    }
}

static void check_pattern(const struct study *study, enum hw_dataset dataset) {
    for_each_head(study, dataset, check_pattern_of);
}

static void check_scores_of(const struct head *h, enum hw_dataset dataset) {
    const struct hw_model_desc *d = &h->study->model->desc;
    const struct run *run = &h->study->run;
    size_t kv = h->head / (d->n_heads / d->n_kv_heads);
    const float *q = run_floats(run, HW_DS_ATTENTION_VECTORS_QUERY, h->layer, h->prompt);
    const float *k = run_floats(run, HW_DS_ATTENTION_VECTORS_KEY, h->layer, h->prompt);
    bool is_divided = strcmp(h->study->name, "gpt2-inverse-layer") == 0;
    double scale = 1.0 / sqrt((double)d->d_head) / (is_divided ? (double)h->layer + 1 : 1.0);
    for (size_t i = 0; i < h->n; i++) {
        for (size_t j = 0; j <= i; j++) {
            double sum = 0.0;
            for (size_t c = 0; c < d->d_head; c++) {
                sum += (double)q[(i * d->n_heads + h->head) * d->d_head + c] *
                       (double)k[(j * d->n_kv_heads + kv) * d->d_head + c];
            }
            expect((double)h->scores[i * h->n + j], sum * scale,
                   "scores of %s, prompt %zu, head %zu.%zu [%zu, %zu]", h->study->name, h->prompt,
                   h->layer, h->head, i, j);
        }
    }
}

static void check_scores(const struct study *study, enum hw_dataset dataset) {
    for_each_head(study, dataset, check_scores_of);
}

// The strongest keys are exact: the map's own values in order, ties to the lower key.
static void check_top_of(const struct head *h, enum hw_dataset dataset) {
    size_t n_heads = h->study->model->desc.n_heads;
    for (size_t i = 0; i < h->n; i++) {
        const float *p = h->pattern + i * h->n;
        size_t at = (i * n_heads + h->head) * STUDY_RANK;
        bool is_taken[STUDY_MAX_TOKENS] = {false};
        for (size_t r = 0; r < STUDY_RANK; r++) {
            size_t best = h->n;
            for (size_t j = 0; j <= i; j++) {
                best = !is_taken[j] && (best == h->n || p[j] > p[best]) ? j : best;
            }
            bool is_there = best < h->n;
            double want = is_there ? (double)best : -1.0;
            double got;
            if (dataset == HW_DS_ATTENTION_TOP_KEY) {
                got = run_ints(&h->study->run, dataset, h->layer, h->prompt)[at + r];
            } else {
                got = (double)run_floats(&h->study->run, dataset, h->layer, h->prompt)[at + r];
                want = is_there ? (double)p[best] : NAN;
            }
            expect_same(got, want, "%s of %s, prompt %zu, head %zu.%zu, query %zu, rank %zu",
                        name_of(dataset), h->study->name, h->prompt, h->layer, h->head, i, r);
            if (is_there) {
                is_taken[best] = true;
            }
        }
    }
}

static void check_top(const struct study *study, enum hw_dataset dataset) {
    for_each_head(study, dataset, check_top_of);
}

static void check_score_scale(const struct study *study, enum hw_dataset dataset) {
    const float *got = study->run.recording.layout.fixed[dataset];
    bool is_divided = strcmp(study->name, "gpt2-inverse-layer") == 0;
    for (size_t l = 0; l < study->model->desc.n_layers; l++) {
        double want = 1.0 / sqrt((double)study->model->desc.d_head);
        expect((double)got[l], is_divided ? want / (double)(l + 1) : want,
               "score_scale of %s, layer %zu", study->name, l);
    }
}

const struct study_check attention_checks[] = {
    {HW_DS_ATTENTION_ENTROPY, check_rows},
    {HW_DS_ATTENTION_MAX, check_rows},
    {HW_DS_ATTENTION_FIRST, check_rows},
    {HW_DS_ATTENTION_LOGSUMEXP, check_rows},
    {HW_DS_ATTENTION_SCORE_MEAN, check_rows},
    {HW_DS_ATTENTION_ROW_SUM, check_rows},
    {HW_DS_ATTENTION_DISTANCE, check_rows},
    {HW_DS_ATTENTION_ARGMAX, check_rows},
    {HW_DS_ATTENTION_VECTORS_ROW_MAX, check_rows},
    {HW_DS_ATTENTION_VECTORS_ROW_INVERSE_SUM, check_rows},
    {HW_DS_ATTENTION_RECEIVED, check_keys},
    {HW_DS_ATTENTION_RECEIVED_MAX, check_keys},
    {HW_DS_ATTENTION_RECEIVED_ENTROPY, check_keys},
    {HW_DS_SINK_SCORE, check_sink},
    {HW_DS_ATTENTION_OFFSET, check_offsets},
    {HW_DS_ATTENTION_SPAN, check_spans},
    {HW_DS_ATTENTION_PATTERN, check_pattern},
    {HW_DS_ATTENTION_SCORES, check_scores},
    {HW_DS_ATTENTION_TOP_KEY, check_top},
    {HW_DS_ATTENTION_TOP_WEIGHT, check_top},
    {HW_DS_ATTENTION_VECTORS_SCORE_SCALE, check_score_scale},
};
const size_t n_attention_checks = sizeof attention_checks / sizeof attention_checks[0];
