// Activations from one another: each is computed in double from what it is made of, through the
// model's own weights; then the logits.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "statistics_study.h"

enum { MAX_WIDTH = 512 };

// One token of one layer, whose activations a check computes anew.
struct place {
    const struct study *study;
    size_t prompt;
    size_t layer;
    size_t token;
};

static const float *row_at(const struct place *at, enum hw_dataset dataset, size_t slab) {
    const struct run *run = &at->study->run;
    return run_floats(run, dataset, slab, at->prompt) + at->token * run_width(run, dataset);
}

static void widen(const float *x, size_t n, double *y) {
    ck_assert_uint_le(n, MAX_WIDTH);
    for (size_t i = 0; i < n; i++) {
        y[i] = (double)x[i];
    }
}

typedef void (*place_fn)(const struct place *at, double *ret_want);

static void for_each_token(const struct study *study, enum hw_dataset dataset, place_fn compute) {
    double want[4 * MAX_WIDTH];
    size_t width = run_width(&study->run, dataset);
    ck_assert_uint_le(width, sizeof want / sizeof want[0]);
    struct place at = {.study = study};
    for (at.prompt = 0; at.prompt < study->prompts.n; at.prompt++) {
        for (at.layer = 0; at.layer < run_n_slabs(&study->run, dataset); at.layer++) {
            for (at.token = 0; at.token < study->prompts.items[at.prompt].n_ids; at.token++) {
                const float *got = row_at(&at, dataset, at.layer);
                compute(&at, want);
                for (size_t i = 0; i < width; i++) {
                    expect((double)got[i], want[i],
                           "%s of %s, prompt %zu, slab %zu, token %zu [%zu]",
                           hw_schema_row(dataset)->name, study->name, at.prompt, at.layer, at.token,
                           i);
                }
            }
        }
    }
}

// Depth 0 is the embedding, every other one what its block adds.
static void residual_of(const struct place *at, double *want) {
    const struct hw_model *m = at->study->model;
    uint32_t id = at->study->prompts.items[at->prompt].ids[at->token];
    for (size_t c = 0; c < m->desc.d_model; c++) {
        if (at->layer == 0) {
            bool is_learned = m->desc.position == HW_POSITION_LEARNED;
            want[c] = study_weight(&m->token_embedding, id, c) +
                      (is_learned ? study_weight(&m->position_embedding, at->token, c) : 0.0);
        } else {
            want[c] = (double)row_at(at, HW_DS_ACTIVATIONS_RESIDUAL, at->layer - 1)[c] +
                      (double)row_at(at, HW_DS_ACTIVATIONS_ATTENTION_OUTPUT, at->layer - 1)[c] +
                      (double)row_at(at, HW_DS_ACTIVATIONS_MLP_OUTPUT, at->layer - 1)[c];
        }
    }
}

static void check_residual(const struct study *study, enum hw_dataset dataset) {
    for_each_token(study, dataset, residual_of);
}

static void residual_mid_of(const struct place *at, double *want) {
    for (size_t c = 0; c < at->study->model->desc.d_model; c++) {
        want[c] = (double)row_at(at, HW_DS_ACTIVATIONS_RESIDUAL, at->layer)[c] +
                  (double)row_at(at, HW_DS_ACTIVATIONS_ATTENTION_OUTPUT, at->layer)[c];
    }
}

static void check_residual_mid(const struct study *study, enum hw_dataset dataset) {
    if (!study->model->desc.is_parallel) {
        for_each_token(study, dataset, residual_mid_of);
        return;
    }
    // A parallel block has no such state, and the record says so.
    struct hw_record_options options = {
        .records = (const char *const[]){"residual_mid"}, .n_records = 1, .n_rank = 1};
    struct hw_recording recording;
    struct hw_error err;
    enum hw_status status =
        hw_recording_open(&study->model->desc, &study->prompts, &options, &recording, &err);
    expect_same(status, HW_USAGE, "residual_mid of %s", study->name);
}

static void attention_output_of(const struct place *at, double *want) {
    double z[MAX_WIDTH];
    const struct hw_linear_weights *o = &at->study->model->layers[at->layer].o;
    widen(row_at(at, HW_DS_ACTIVATIONS_Z, at->layer), o->w.n_in, z);
    study_apply(o, z, want);
}

static void check_attention_output(const struct study *study, enum hw_dataset dataset) {
    for_each_token(study, dataset, attention_output_of);
}

static void mlp_output_of(const struct place *at, double *want) {
    double neurons[MAX_WIDTH];
    const struct hw_linear_weights *down = &at->study->model->layers[at->layer].down;
    widen(row_at(at, HW_DS_ACTIVATIONS_MLP_POST, at->layer), down->w.n_in, neurons);
    study_apply(down, neurons, want);
}

static void check_mlp_output(const struct study *study, enum hw_dataset dataset) {
    for_each_token(study, dataset, mlp_output_of);
}

// What the MLP of a block reads: in a parallel block the block's own input.
static const float *mlp_input(const struct place *at) {
    bool is_parallel = at->study->model->desc.is_parallel;
    return row_at(at, is_parallel ? HW_DS_ACTIVATIONS_RESIDUAL : HW_DS_ACTIVATIONS_RESIDUAL_MID,
                  at->layer);
}

static double activate(enum hw_activation f, double x) {
    switch (f) {
    case HW_ACT_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case HW_ACT_GELU_ERF:
        return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    case HW_ACT_SILU:
        return x / (1.0 + exp(-x));
    default: // HW_ACT_RELU
        return fmax(x, 0.0);
    }
}

static void mlp_post_of(const struct place *at, double *want) {
    const struct hw_model_desc *d = &at->study->model->desc;
    const struct hw_layer_weights *w = &at->study->model->layers[at->layer];
    double x[MAX_WIDTH];
    double gate[MAX_WIDTH];
    double scale;
    study_normalise(d, &w->mlp_norm, mlp_input(at), x, &scale);
    study_apply(&w->up, x, want);
    if (d->is_gated) {
        study_apply(&w->gate, x, gate);
    }
    for (size_t i = 0; i < d->d_mlp; i++) {
        want[i] = d->is_gated ? activate(d->activation, gate[i]) * want[i]
                              : activate(d->activation, want[i]);
    }
}

static void check_mlp_post(const struct study *study, enum hw_dataset dataset) {
    for_each_token(study, dataset, mlp_post_of);
}

static void norm_scale_of(const struct place *at, double *want) {
    const struct hw_model_desc *d = &at->study->model->desc;
    const struct hw_layer_weights *w = &at->study->model->layers[at->layer];
    double unused[MAX_WIDTH];
    study_normalise(d, &w->attention_norm, row_at(at, HW_DS_ACTIVATIONS_RESIDUAL, at->layer),
                    unused, &want[0]);
    study_normalise(d, &w->mlp_norm, mlp_input(at), unused, &want[1]);
}

static void check_norm_scale(const struct study *study, enum hw_dataset dataset) {
    for_each_token(study, dataset, norm_scale_of);
}

static void value_of(const struct place *at, double *want) {
    const struct hw_layer_weights *w = &at->study->model->layers[at->layer];
    double x[MAX_WIDTH];
    double scale;
    study_normalise(&at->study->model->desc, &w->attention_norm,
                    row_at(at, HW_DS_ACTIVATIONS_RESIDUAL, at->layer), x, &scale);
    study_apply(&w->v, x, want);
}

static void check_value(const struct study *study, enum hw_dataset dataset) {
    for_each_token(study, dataset, value_of);
}

// z_i = sum_j A[i, j] v_j: query head h mixes the values of its own kv head.
static void check_z(const struct study *study, enum hw_dataset dataset) {
    const struct hw_model_desc *d = &study->model->desc;
    for (size_t i = 0; i < study->prompts.n * d->n_layers * d->n_heads; i++) {
        size_t h = i % d->n_heads;
        size_t layer = i / d->n_heads % d->n_layers;
        size_t p = i / d->n_heads / d->n_layers;
        size_t n = study->prompts.items[p].n_ids;
        size_t kv = h / (d->n_heads / d->n_kv_heads);
        float *map = malloc(n * n * sizeof *map);
        ck_assert_ptr_nonnull(map);
        ck_assert(run_map(&study->run, HW_DS_ATTENTION_PATTERN, p, layer, h, map));
        const float *v = run_floats(&study->run, HW_DS_ACTIVATIONS_VALUE, layer, p);
        const float *z = run_floats(&study->run, dataset, layer, p);
        for (size_t t = 0; t < n * d->d_head; t++) {
            size_t query = t / d->d_head;
            size_t c = t % d->d_head;
            double sum = 0.0;
            for (size_t j = 0; j <= query; j++) {
                sum += (double)map[query * n + j] *
                       (double)v[(j * d->n_kv_heads + kv) * d->d_head + c];
            }
            expect((double)z[(query * d->n_heads + h) * d->d_head + c], sum,
                   "z of %s, prompt %zu, head %zu.%zu, query %zu [%zu]", study->name, p, layer, h,
                   query, c);
        }
        free(map);
    }
}

static void head_result_of(const struct place *at, double *want) {
    const struct hw_model_desc *d = &at->study->model->desc;
    const struct hw_weight *o = &at->study->model->layers[at->layer].o.w;
    const float *z = row_at(at, HW_DS_ACTIVATIONS_Z, at->layer);
    for (size_t i = 0; i < d->n_heads * d->d_model; i++) {
        size_t h = i / d->d_model;
        want[i] = 0.0;
        for (size_t c = 0; c < d->d_head; c++) {
            want[i] +=
                study_weight(o, i % d->d_model, h * d->d_head + c) * (double)z[h * d->d_head + c];
        }
    }
}

static void check_head_result(const struct study *study, enum hw_dataset dataset) {
    for_each_token(study, dataset, head_result_of);
}

// Queries and keys as an observer of its own sees them; that they are right, the scores and the
// goldens say.
static void check_vectors(const struct study *study, enum hw_dataset dataset) {
    enum hw_site site = dataset == HW_DS_ATTENTION_VECTORS_QUERY ? HW_SITE_ROT_Q : HW_SITE_ROT_K;
    for (size_t p = 0; p < study->prompts.n; p++) {
        for (size_t layer = 0; layer < study->model->desc.n_layers; layer++) {
            size_t width;
            float *want =
                run_site(study->model, &study->prompts.items[p], study->level, site, layer, &width);
            const float *got = run_floats(&study->run, dataset, layer, p);
            ck_assert_uint_eq(width, run_width(&study->run, dataset));
            for (size_t i = 0; i < study->prompts.items[p].n_ids * width; i++) {
                expect_same((double)got[i], (double)want[i],
                            "%s of %s, prompt %zu, layer %zu [%zu]", hw_schema_row(dataset)->name,
                            study->name, p, layer, i);
            }
            free(want);
        }
    }
}

static void logits_of(const struct place *at, double *want) {
    const struct hw_model *m = at->study->model;
    double x[MAX_WIDTH];
    double scale;
    study_normalise(&m->desc, &m->final_norm,
                    row_at(at, HW_DS_ACTIVATIONS_RESIDUAL, m->desc.n_layers), x, &scale);
    study_apply(&m->unembed, x, want);
}

static void check_logits(const struct study *study, enum hw_dataset dataset) {
    for_each_token(study, dataset, logits_of);
}

const struct study_check activation_checks[] = {
    {HW_DS_ACTIVATIONS_RESIDUAL, check_residual},
    {HW_DS_ACTIVATIONS_RESIDUAL_MID, check_residual_mid},
    {HW_DS_ACTIVATIONS_ATTENTION_OUTPUT, check_attention_output},
    {HW_DS_ACTIVATIONS_MLP_OUTPUT, check_mlp_output},
    {HW_DS_ACTIVATIONS_MLP_POST, check_mlp_post},
    {HW_DS_ACTIVATIONS_NORM_SCALE, check_norm_scale},
    {HW_DS_ACTIVATIONS_VALUE, check_value},
    {HW_DS_ACTIVATIONS_Z, check_z},
    {HW_DS_ACTIVATIONS_HEAD_RESULT, check_head_result},
    {HW_DS_ATTENTION_VECTORS_QUERY, check_vectors},
    {HW_DS_ATTENTION_VECTORS_KEY, check_vectors},
    {HW_DS_LOGITS_LOGITS, check_logits},
};
const size_t n_activation_checks = sizeof activation_checks / sizeof activation_checks[0];
