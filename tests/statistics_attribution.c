// Attribution from the activations, weights and logits of the same capture: each part is centred by
// itself, scaled by the final norm's scale and dotted with the unembedding's rows.
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "statistics_study.h"

enum { MAX_WIDTH = 512 };

// What a vector added to the stream gives to the logit; without centring where it is a bias.
static double share(const struct study *study, size_t prompt, const double *x) {
    const struct hw_model *m = study->model;
    const struct hw_model_desc *d = &m->desc;
    const struct hw_prompt *p = &study->prompts.items[prompt];
    const float *last = run_floats(&study->run, HW_DS_ACTIVATIONS_RESIDUAL, d->n_layers, prompt) +
                        (p->n_ids - 1) * d->d_model;
    double normed[MAX_WIDTH];
    double scale;
    study_normalise(d, &m->final_norm, last, normed, &scale);
    double mean = 0.0;
    for (size_t c = 0; c < d->d_model && d->norm == HW_NORM_LAYER; c++) {
        mean += x[c] / (double)d->d_model;
    }
    double sum = 0.0;
    for (size_t c = 0; c < d->d_model; c++) {
        double u = study_weight(&m->unembed.w, (size_t)p->target_id, c);
        u -= p->foil_id >= 0 ? study_weight(&m->unembed.w, (size_t)p->foil_id, c) : 0.0;
        sum += u * (double)m->final_norm.weight[c] * scale * (x[c] - mean);
    }
    return sum;
}

static double share_of_row(const struct study *study, size_t prompt, enum hw_dataset dataset,
                           size_t slab) {
    const struct hw_model_desc *d = &study->model->desc;
    const float *row = run_floats(&study->run, dataset, slab, prompt) +
                       (study->prompts.items[prompt].n_ids - 1) * d->d_model;
    double x[MAX_WIDTH];
    for (size_t c = 0; c < d->d_model; c++) {
        x[c] = (double)row[c];
    }
    return share(study, prompt, x);
}

static bool has_target(const struct study *study, size_t prompt) {
    return study->prompts.items[prompt].target_id >= 0;
}

static void check_position(const struct study *study, enum hw_dataset dataset) {
    for (size_t p = 0; p < study->prompts.n; p++) {
        double want = has_target(study, p) ? (double)study->prompts.items[p].n_ids - 1 : -1.0;
        expect_same((double)run_ints(&study->run, dataset, 0, p)[0], want,
                    "position of %s, prompt %zu", study->name, p);
    }
}

static double logit_at(const struct study *study, size_t prompt) {
    const struct hw_prompt *p = &study->prompts.items[prompt];
    const float *row = run_floats(&study->run, HW_DS_LOGITS_LOGITS, 0, prompt) +
                       (p->n_ids - 1) * study->model->desc.n_vocab;
    return (double)row[p->target_id] - (p->foil_id >= 0 ? (double)row[p->foil_id] : 0.0);
}

static void check_logit(const struct study *study, enum hw_dataset dataset) {
    for (size_t p = 0; p < study->prompts.n; p++) {
        double want = has_target(study, p) ? logit_at(study, p) : NAN;
        expect((double)run_floats(&study->run, dataset, 0, p)[0], want, "logit of %s, prompt %zu",
               study->name, p);
        expect((double)run_floats(&study->generated, dataset, 0, p)[0], want,
               "logit of %s, prompt %zu, with generation", study->name, p);
    }
}

static void check_embedding(const struct study *study, enum hw_dataset dataset) {
    for (size_t p = 0; p < study->prompts.n; p++) {
        expect((double)run_floats(&study->run, dataset, 0, p)[0],
               has_target(study, p) ? share_of_row(study, p, HW_DS_ACTIVATIONS_RESIDUAL, 0) : NAN,
               "embedding of %s, prompt %zu", study->name, p);
    }
}

static void check_mlp(const struct study *study, enum hw_dataset dataset) {
    for (size_t p = 0; p < study->prompts.n; p++) {
        for (size_t l = 0; l < study->model->desc.n_layers; l++) {
            double want = has_target(study, p)
                              ? share_of_row(study, p, HW_DS_ACTIVATIONS_MLP_OUTPUT, l)
                              : NAN;
            expect((double)run_floats(&study->run, dataset, l, p)[0], want,
                   "mlp_logit of %s, prompt %zu, layer %zu", study->name, p, l);
        }
    }
}

static void check_head(const struct study *study, enum hw_dataset dataset) {
    const struct hw_model_desc *d = &study->model->desc;
    for (size_t i = 0; i < study->prompts.n * d->n_layers * d->n_heads; i++) {
        size_t p = i / (d->n_layers * d->n_heads);
        size_t l = i / d->n_heads % d->n_layers;
        size_t h = i % d->n_heads;
        const float *z = run_floats(&study->run, HW_DS_ACTIVATIONS_Z, l, p) +
                         ((study->prompts.items[p].n_ids - 1) * d->n_heads + h) * d->d_head;
        double x[MAX_WIDTH];
        for (size_t c = 0; c < d->d_model; c++) {
            x[c] = 0.0;
            for (size_t k = 0; k < d->d_head; k++) {
                x[c] +=
                    study_weight(&study->model->layers[l].o.w, c, h * d->d_head + k) * (double)z[k];
            }
        }
        expect((double)run_floats(&study->run, dataset, l, p)[h],
               has_target(study, p) ? share(study, p, x) : NAN,
               "head_logit of %s, prompt %zu, head %zu.%zu", study->name, p, l, h);
    }
}

// What is left: the parts add up to the logit.
static void check_bias(const struct study *study, enum hw_dataset dataset) {
    const struct hw_model_desc *d = &study->model->desc;
    for (size_t p = 0; p < study->prompts.n; p++) {
        double rest = NAN;
        if (has_target(study, p)) {
            rest = logit_at(study, p) -
                   (double)run_floats(&study->run, HW_DS_ATTRIBUTION_EMBEDDING, 0, p)[0];
            for (size_t l = 0; l < d->n_layers; l++) {
                rest -= (double)run_floats(&study->run, HW_DS_ATTRIBUTION_MLP, l, p)[0];
                for (size_t h = 0; h < d->n_heads; h++) {
                    rest -= (double)run_floats(&study->run, HW_DS_ATTRIBUTION_HEAD, l, p)[h];
                }
            }
        }
        expect((double)run_floats(&study->run, dataset, 0, p)[0], rest, "bias of %s, prompt %zu",
               study->name, p);
    }
}

static void check_lens(const struct study *study, enum hw_dataset dataset) {
    const struct hw_model *m = study->model;
    const struct hw_model_desc *d = &m->desc;
    double *logits = malloc(d->n_vocab * sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    for (size_t i = 0; i < study->prompts.n * (d->n_layers + 1); i++) {
        size_t p = i / (d->n_layers + 1);
        size_t depth = i % (d->n_layers + 1);
        const struct hw_prompt *prompt = &study->prompts.items[p];
        double normed[MAX_WIDTH];
        double scale;
        study_normalise(d, &m->final_norm,
                        run_floats(&study->run, HW_DS_ACTIVATIONS_RESIDUAL, depth, p) +
                            (prompt->n_ids - 1) * d->d_model,
                        normed, &scale);
        study_apply(&m->unembed, normed, logits);
        if (dataset == HW_DS_ATTRIBUTION_LENS_LOGIT) {
            double want = NAN;
            if (has_target(study, p)) {
                want = logits[prompt->target_id];
                want -= prompt->foil_id >= 0 ? logits[prompt->foil_id] : 0.0;
            }
            expect((double)run_floats(&study->run, dataset, depth, p)[0], want,
                   "lens_logit of %s, prompt %zu, depth %zu", study->name, p, depth);
            continue;
        }
        double rank = has_target(study, p) ? 0.0 : -1.0;
        for (size_t v = 0; v < d->n_vocab && has_target(study, p); v++) {
            rank += logits[v] > logits[prompt->target_id];
        }
        expect_same((double)run_ints(&study->run, dataset, depth, p)[0], rank,
                    "lens_rank of %s, prompt %zu, depth %zu", study->name, p, depth);
    }
    free(logits);
}

const struct study_check attribution_checks[] = {
    {HW_DS_ATTRIBUTION_POSITION, check_position},   {HW_DS_ATTRIBUTION_LOGIT, check_logit},
    {HW_DS_ATTRIBUTION_EMBEDDING, check_embedding}, {HW_DS_ATTRIBUTION_MLP, check_mlp},
    {HW_DS_ATTRIBUTION_HEAD, check_head},           {HW_DS_ATTRIBUTION_BIAS, check_bias},
    {HW_DS_ATTRIBUTION_LENS_LOGIT, check_lens},     {HW_DS_ATTRIBUTION_LENS_RANK, check_lens},
};
const size_t n_attribution_checks = sizeof attribution_checks / sizeof attribution_checks[0];
