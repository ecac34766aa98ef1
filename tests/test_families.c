// Every registered family, from both containers: descriptions against the configurations in
// tests/golden/models, and weights: the GGUF twins hold the same numbers in another order, so each
// bound map must give the same bits as that of the folder.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracer/model.h"

static struct hw_model *open_golden(const char *name) {
    struct hw_model *model = NULL;
    struct hw_error err;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/models/%s", HW_TEST_DATA, name);
    enum hw_status status = hw_model_open(path, &model, &err);
    ck_assert_msg(status == HW_OK, "%s: %s", name, status == HW_OK ? "" : err.message);
    return model;
}

// Value [o, i] of a map, read the slow way.
static float weight_at(const struct hw_weight *w, size_t o, size_t i) {
    static struct hw_ops ops;
    float block[256];
    if (ops.dequantize == NULL) {
        hw_ops_init(&ops, HW_LEVEL_REF);
    }
    size_t at = w->row_map != NULL ? w->row_map[o] : w->first + o;
    size_t row = w->is_transposed ? i : at;
    size_t column = w->is_transposed ? at : i;
    size_t n = hw_dtype_block_values(w->dtype);
    const char *data =
        (const char *)w->data + row * w->row_bytes + column / n * hw_dtype_block_bytes(w->dtype);
    ops.dequantize(w->dtype, data, n, block);
    return block[column % n];
}

static void check_same_weight(const struct hw_weight *a, const struct hw_weight *b,
                              const char *what) {
    ck_assert_uint_eq(a->n_out, b->n_out);
    ck_assert_uint_eq(a->n_in, b->n_in);
    for (size_t o = 0; o < a->n_out; o++) {
        for (size_t i = 0; i < a->n_in; i++) {
            float left = weight_at(a, o, i);
            float right = weight_at(b, o, i);
            ck_assert_msg(memcmp(&left, &right, sizeof left) == 0, "%s [%zu, %zu]: %a and %a", what,
                          o, i, (double)left, (double)right);
        }
    }
}

static void check_same_vector(const float *a, const float *b, size_t n) {
    ck_assert_int_eq(a == NULL, b == NULL);
    if (a != NULL) {
        ck_assert_mem_eq(a, b, n * sizeof *a);
    }
}

static void check_same_linear(const struct hw_linear_weights *a, const struct hw_linear_weights *b,
                              const char *what) {
    check_same_weight(&a->w, &b->w, what);
    check_same_vector(a->bias, b->bias, a->w.n_out);
}

static void check_same_norm(const struct hw_norm_weights *a, const struct hw_norm_weights *b,
                            size_t d) {
    check_same_vector(a->weight, b->weight, d);
    check_same_vector(a->bias, b->bias, d);
}

static void check_same_description(const struct hw_model_desc *a, const struct hw_model_desc *b) {
    ck_assert_str_eq(a->family, b->family);
    ck_assert_uint_eq(a->n_layers, b->n_layers);
    ck_assert_uint_eq(a->d_model, b->d_model);
    ck_assert_uint_eq(a->n_heads, b->n_heads);
    ck_assert_uint_eq(a->n_kv_heads, b->n_kv_heads);
    ck_assert_uint_eq(a->d_head, b->d_head);
    ck_assert_uint_eq(a->d_mlp, b->d_mlp);
    ck_assert_uint_eq(a->n_vocab, b->n_vocab);
    ck_assert_uint_eq(a->n_context, b->n_context);
    ck_assert_int_eq(a->norm, b->norm);
    ck_assert_float_eq(a->norm_eps, b->norm_eps);
    ck_assert_int_eq(a->position, b->position);
    ck_assert_uint_eq(a->n_rot, b->n_rot);
    ck_assert_int_eq(a->is_parallel, b->is_parallel);
    ck_assert_int_eq(a->is_gated, b->is_gated);
    ck_assert_int_eq(a->activation, b->activation);
    ck_assert_int_eq(a->is_output_tied, b->is_output_tied);
    ck_assert_mem_eq(a->score_scale, b->score_scale, a->n_layers * sizeof(float));
    for (size_t c = 0; c < a->n_rot / 2; c++) {
        // llama-3 scaling is stored as float divisors in GGUF: two roundings of 2^-24.
        double relative = a->inverse_frequency[c] / b->inverse_frequency[c] - 1;
        ck_assert(relative <= 0x1p-23 && relative >= -0x1p-23);
    }
}

static const char *const twins[] = {
    "gpt2",           "gpt-neox-parallel", "llama-bias",       "llama-gqa",
    "llama-head-dim", "llama-rope-linear", "llama-rope-llama3"};
enum { N_TWINS = sizeof twins / sizeof twins[0] };

START_TEST(both_containers_bind_the_same_numbers) {
    char name[128];
    (void)snprintf(name, sizeof name, "%s-f32.gguf", twins[_i]);
    struct hw_model *a = open_golden(twins[_i]);
    struct hw_model *b = open_golden(name);
    size_t d = a->desc.d_model;
    check_same_description(&a->desc, &b->desc);
    check_same_weight(&a->token_embedding, &b->token_embedding, "token_embedding");
    if (a->desc.position == HW_POSITION_LEARNED) {
        check_same_weight(&a->position_embedding, &b->position_embedding, "position_embedding");
    }
    for (size_t l = 0; l < a->desc.n_layers; l++) {
        const struct hw_layer_weights *left = &a->layers[l];
        const struct hw_layer_weights *right = &b->layers[l];
        check_same_norm(&left->attention_norm, &right->attention_norm, d);
        check_same_norm(&left->mlp_norm, &right->mlp_norm, d);
        check_same_linear(&left->q, &right->q, "q");
        check_same_linear(&left->k, &right->k, "k");
        check_same_linear(&left->v, &right->v, "v");
        check_same_linear(&left->o, &right->o, "o");
        if (a->desc.is_gated) {
            check_same_linear(&left->gate, &right->gate, "gate");
        }
        check_same_linear(&left->up, &right->up, "up");
        check_same_linear(&left->down, &right->down, "down");
    }
    check_same_norm(&a->final_norm, &b->final_norm, d);
    check_same_linear(&a->unembed, &b->unembed, "unembed");
    hw_model_close(&b);
    hw_model_close(&a);
}
END_TEST

struct expected {
    const char *name;
    const char *family;
    size_t n_layers, d_model, n_heads, n_kv_heads, d_head, d_mlp, n_rot;
    float eps;
    enum hw_activation activation;
    bool is_parallel, is_gated, is_tied, has_qkv_bias, has_mlp_bias;
};

// From the config.json of each folder, by eye.
static const struct expected models[] = {
    {"llama-gqa", "llama", 2, 32, 4, 2, 8, 64, 8, 1e-5f, HW_ACT_SILU, 0, 1, 1, 0, 0},
    {"llama-gqa-f16.gguf", "llama", 2, 32, 4, 2, 8, 64, 8, 1e-5f, HW_ACT_SILU, 0, 1, 1, 0, 0},
    {"llama-gqa-q8_0.gguf", "llama", 2, 32, 4, 2, 8, 64, 8, 1e-5f, HW_ACT_SILU, 0, 1, 1, 0, 0},
    {"llama-untied", "llama", 2, 32, 4, 4, 8, 64, 8, 1e-6f, HW_ACT_SILU, 0, 1, 0, 0, 0},
    {"llama-bias", "llama", 2, 32, 4, 2, 8, 64, 8, 1e-5f, HW_ACT_SILU, 0, 1, 1, 1, 1},
    {"llama-head-dim", "llama", 2, 40, 4, 1, 12, 64, 12, 1e-5f, HW_ACT_SILU, 0, 1, 1, 0, 0},
    {"gpt2", "gpt2", 2, 36, 3, 3, 12, 72, 0, 1e-5f, HW_ACT_GELU_TANH, 0, 0, 1, 1, 1},
    {"gpt2-inverse-layer", "gpt2", 3, 36, 3, 3, 12, 144, 0, 1e-5f, HW_ACT_GELU_TANH, 0, 0, 1, 1, 1},
    {"gpt2-bare-names", "gpt2", 2, 36, 3, 3, 12, 72, 0, 1e-5f, HW_ACT_GELU_ERF, 0, 0, 1, 1, 1},
    {"gpt-neox-parallel", "gpt_neox", 2, 32, 2, 2, 16, 64, 4, 1e-5f, HW_ACT_GELU_ERF, 1, 0, 0, 1,
     1},
    {"gpt-neox-sequential", "gpt_neox", 2, 32, 2, 2, 16, 64, 8, 1e-5f, HW_ACT_GELU_ERF, 0, 0, 0, 1,
     1},
};
enum { N_MODELS = sizeof models / sizeof models[0] };

START_TEST(description_says_what_the_configuration_says) {
    const struct expected *e = &models[_i];
    struct hw_model *model = open_golden(e->name);
    const struct hw_model_desc *d = &model->desc;
    ck_assert_str_eq(d->family, e->family);
    ck_assert_uint_eq(d->n_layers, e->n_layers);
    ck_assert_uint_eq(d->d_model, e->d_model);
    ck_assert_uint_eq(d->n_heads, e->n_heads);
    ck_assert_uint_eq(d->n_kv_heads, e->n_kv_heads);
    ck_assert_uint_eq(d->d_head, e->d_head);
    ck_assert_uint_eq(d->d_mlp, e->d_mlp);
    ck_assert_uint_eq(d->n_vocab, 97);
    ck_assert_uint_eq(d->n_context, 128);
    ck_assert_float_eq(d->norm_eps, e->eps);
    ck_assert_int_eq(d->activation, e->activation);
    ck_assert_int_eq(d->is_parallel, e->is_parallel);
    ck_assert_int_eq(d->is_gated, e->is_gated);
    ck_assert_int_eq(d->is_output_tied, e->is_tied);
    if (e->n_rot > 0) {
        ck_assert_int_eq(d->position, HW_POSITION_ROPE);
        ck_assert_uint_eq(d->n_rot, e->n_rot);
        ck_assert_double_eq(d->rope_factor, 1);
    } else {
        ck_assert_int_eq(d->position, HW_POSITION_LEARNED);
    }
    for (size_t l = 0; l < d->n_layers; l++) {
        double divisor = strcmp(e->name, "gpt2-inverse-layer") == 0 ? (double)(l + 1) : 1;
        ck_assert_double_eq_tol((double)d->score_scale[l] * divisor * sqrt((double)e->d_head), 1,
                                0x1p-23);
        ck_assert_int_eq(model->layers[l].q.bias != NULL, e->has_qkv_bias);
        ck_assert_int_eq(model->layers[l].o.bias != NULL, e->has_qkv_bias);
        ck_assert_int_eq(model->layers[l].down.bias != NULL, e->has_mlp_bias);
    }
    ck_assert_int_eq(model->unembed.w.data == model->token_embedding.data, e->is_tied);
    hw_model_close(&model);
    ck_assert_ptr_null(model);
}
END_TEST

// A family that no golden model exercises is not tested: the runner fails for it.
START_TEST(every_family_has_a_model) {
    for (const char *const *name = hw_model_families(); *name != NULL; name++) {
        bool is_tested = false;
        for (size_t i = 0; i < N_MODELS; i++) {
            is_tested = is_tested || strcmp(models[i].family, *name) == 0;
        }
        ck_assert_msg(is_tested, "family %s has no model in this test", *name);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("families");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, both_containers_bind_the_same_numbers, 0, N_TWINS);
    tcase_add_loop_test(tcase, description_says_what_the_configuration_says, 0, N_MODELS);
    tcase_add_test(tcase, every_family_has_a_model);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
