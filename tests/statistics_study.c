// Three captures of one model: prompts, prompts with generation, and the generated texts as
// prompts.
#include "statistics_study.h"

#include <check.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "check_op.h"

enum { FIRST_ID = 95 }; // <s> of the tiny models

static size_t n_done;

static void compare(bool is_equal, double got, double want, const char *where, va_list args) {
    n_done++;
    if (is_equal || (isnan(got) && isnan(want))) {
        return;
    }
    char text[256];
    vsnprintf(text, sizeof text, where, args);
    ck_abort_msg("%s: expected %.9g, found %.9g", text, want, got);
}

void expect(double got, double want, const char *where, ...) {
    va_list args;
    va_start(args, where);
    compare(fabs(got - want) <= 1e-5 * fmax(1.0, fabs(want)), got, want, where, args);
    va_end(args);
}

void expect_same(double got, double want, const char *where, ...) {
    va_list args;
    va_start(args, where);
    compare(got == want, got, want, where, args);
    va_end(args);
}

size_t n_expected(void) {
    return n_done;
}

double study_weight(const struct hw_weight *w, size_t o, size_t i) {
    if (w->dtype != HW_F32) {
        ck_abort_msg("weights of type %s (expected F32)", hw_dtype_name(w->dtype));
    }
    size_t row = w->row_map != NULL ? w->row_map[o] : w->first + o;
    const unsigned char *at = w->data;
    float value;
    at += w->is_transposed ? i * w->row_bytes + row * sizeof value
                           : row * w->row_bytes + i * sizeof value;
    memcpy(&value, at, sizeof value);
    return (double)value;
}

double study_bias(const struct hw_linear_weights *w, size_t o) {
    return w->bias != NULL ? (double)w->bias[o] : 0.0;
}

void study_apply(const struct hw_linear_weights *w, const double *x, double *y) {
    for (size_t o = 0; o < w->w.n_out; o++) {
        double sum = study_bias(w, o);
        for (size_t i = 0; i < w->w.n_in; i++) {
            sum += study_weight(&w->w, o, i) * x[i];
        }
        y[o] = sum;
    }
}

void study_normalise(const struct hw_model_desc *d, const struct hw_norm_weights *w, const float *x,
                     double *y, double *ret_scale) {
    double mean = 0.0;
    double square = 0.0;
    for (size_t c = 0; c < d->d_model && d->norm == HW_NORM_LAYER; c++) {
        mean += (double)x[c] / (double)d->d_model;
    }
    for (size_t c = 0; c < d->d_model; c++) {
        square += ((double)x[c] - mean) * ((double)x[c] - mean) / (double)d->d_model;
    }
    double scale = 1.0 / sqrt(square + (double)d->norm_eps);
    for (size_t c = 0; c < d->d_model; c++) {
        y[c] = ((double)x[c] - mean) * scale * (double)w->weight[c] +
               (w->bias != NULL ? (double)w->bias[c] : 0.0);
    }
    *ret_scale = scale;
}

size_t study_n_prompt(const struct run *run, size_t prompt) {
    return (size_t)run_ints(run, HW_DS_N_PROMPT_TOKENS, 0, prompt)[0];
}

bool study_is_in_span(const struct study *study, const struct run *run, size_t prompt, size_t span,
                      size_t position) {
    const char *name = run->recording.layout.span_names[span];
    const struct hw_prompt *p = &run->prompts->items[prompt];
    size_t n_prompt = study_n_prompt(run, prompt);
    uint32_t id = (uint32_t)run_ints(run, HW_DS_TOKEN_ID, 0, prompt)[position];
    switch (span) {
    case HW_SPAN_ALL:
        return true;
    case HW_SPAN_FIRST:
        return position == 0;
    case HW_SPAN_LAST:
        return position == n_prompt - 1;
    case HW_SPAN_SPECIAL:
        return hw_tokenizer_is_special(study->tokenizer, id);
    case HW_SPAN_PUNCTUATION:
        return hw_tokenizer_is_punctuation(study->tokenizer, id);
    case HW_SPAN_GENERATED:
        return position >= n_prompt;
    default:
        break;
    }
    for (size_t i = 0; i < p->n_spans; i++) {
        if (strcmp(p->spans[i].name, name) == 0) {
            return position >= (size_t)p->spans[i].first && position < (size_t)p->spans[i].end;
        }
    }
    return false;
}

// Random ids (special and punctuation tokens among them) with repeats, as the goldens have.
static void add_prompt(struct study *study, size_t n, uint64_t seed) {
    uint32_t ids[STUDY_MAX_TOKENS];
    uint64_t state = seed;
    ck_assert_uint_le(n, STUDY_MAX_TOKENS);
    for (size_t i = 0; i < n; i++) {
        bool repeats = i > n / 2 && check_random_bits(&state) % 2 == 0;
        ids[i] = repeats ? ids[i - n / 2] : (uint32_t)(check_random_bits(&state) % 96);
    }
    ids[0] = FIRST_ID;
    run_prompts_add(&study->prompts, ids, n);
    static char objects[STUDY_GROUPS][16] = {"{\"kind\": \"a\"}", "{\"kind\": \"b\"}"};
    study->prompts.items[study->prompts.n - 1].json =
        objects[(study->prompts.n - 1) % STUDY_GROUPS];
}

static const struct run_options everything = {
    .records = {"default,attention_maps,attention_scores,attention_top,attention_vectors",
                "residual,attention_output,mlp_output,mlp_post,z,head_result,value,norm_scale",
                "logits,attribution,means"},
    .means_by = "kind",
    .is_means_by_position = true,
    .n_rank = STUDY_RANK,
    .n_offsets = STUDY_OFFSETS};

static struct run_options all_records(const struct study *study) {
    struct run_options options = everything;
    options.level = study->level;
    options.tokenizer = study->tokenizer;
    if (!study->model->desc.is_parallel) {
        options.records[3] = "residual_mid";
    }
    return options;
}

// Every token gets a massive value at depth 1 (biases are the model's own memory, not the file's).
// At depth 0 the state is made small, so that a value above 100 is massive and one of 50 is not,
// whatever its ratio.
static void make_massive(struct study *study) {
    struct hw_weight *w = &study->model->token_embedding;
    size_t n = w->n_out * w->n_in;
    ((float *)study->model->layers[0].down.bias)[STUDY_EVENT_CHANNEL] = 5000.0f;
    study->embedding = malloc(n * sizeof *study->embedding);
    ck_assert_ptr_nonnull(study->embedding);
    for (size_t i = 0; i < n; i++) {
        study->embedding[i] = (float)(study_weight(w, i / w->n_in, i % w->n_in) * 1e-3);
    }
    study->embedding[FIRST_ID * w->n_in + 3] = 50.0f;
    study->embedding[FIRST_ID * w->n_in + 4] = -200.0f;
    w->data = study->embedding;
    w->row_bytes = w->n_in * sizeof(float);
}

void study_open(struct study *study, const char *name, enum hw_level level, bool has_events) {
    struct hw_error err = {0};
    *study = (struct study){.name = name, .level = level, .has_events = has_events};
    study->model = run_model(name);
    ck_assert_msg(hw_tokenizer_open(study->model->checkpoint, &study->tokenizer, &err) == HW_OK,
                  "%s", err.message);
    if (has_events) {
        make_massive(study);
    }
    // One token; a few; and more than one map tile where positions allow.
    bool is_learned = study->model->desc.position == HW_POSITION_LEARNED;
    add_prompt(study, 1, 1);
    add_prompt(study, 7, 2);
    run_prompts_add_span(&study->prompts, "needle", 2, 5);
    add_prompt(study, is_learned ? 100 : 140, 3);
    run_prompts_add_span(&study->prompts, "question", 90, 99);
    run_prompts_add_span(&study->prompts, "needle", 0, 33);
    // One prompt without a target, one with, one with a foil too.
    study->prompts.items[1].target_id = 5;
    study->prompts.items[2].target_id = 7;
    study->prompts.items[2].foil_id = 11;
    struct run_options options = all_records(study);
    run_capture(study->model, &study->prompts, &options, &study->run);
    options.max_generate = STUDY_GENERATED;
    options.records[4] = options.records[3];
    options.records[3] = "decode_top,decode_attention";
    run_capture(study->model, &study->prompts, &options, &study->generated);
    for (size_t p = 0; p < study->prompts.n; p++) {
        run_prompts_add(&study->replay,
                        (const uint32_t *)run_ints(&study->generated, HW_DS_TOKEN_ID, 0, p),
                        run_n_tokens(&study->generated, p));
    }
    options = all_records(study);
    options.means_by = NULL; // these have no object
    run_capture(study->model, &study->replay, &options, &study->replayed);
}

void study_close(struct study *study) {
    run_close(&study->replayed);
    run_close(&study->generated);
    run_close(&study->run);
    run_prompts_free(&study->replay);
    run_prompts_free(&study->prompts);
    hw_tokenizer_close(&study->tokenizer);
    hw_model_close(&study->model);
    free(study->embedding);
}
