// Opening a model refuses what it does not understand, by name; and the angles of rope.
//
// Each case is a folder of tests/golden/models whose config.json is changed: keys of a JSON text
// replace or (null) remove those of the file.
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracer/model.h"
#include "tracer/rope.h"

static char folder[64];

static void make_folder(void) {
    (void)snprintf(folder, sizeof folder, "/tmp/test_model.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void) {
    static const char *const files[] = {"config.json", "model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    ck_assert_int_eq(rmdir(folder), 0);
}

static void write_variant(const char *model, const char *changes) {
    char path[512];
    char target[512];
    json_error_t error;
    (void)snprintf(path, sizeof path, "%s/models/%s/config.json", HW_TEST_DATA, model);
    json_t *config = json_load_file(path, 0, &error);
    json_t *change = json_loads(changes, 0, &error);
    ck_assert_msg(config != NULL && change != NULL, "%s: %s", changes, error.text);
    const char *key;
    json_t *value;
    json_object_foreach(change, key, value) {
        // "-" removes the key; null stays a null
        if (json_is_string(value) && strcmp(json_string_value(value), "-") == 0) {
            ck_assert_int_eq(json_object_del(config, key), 0);
        } else {
            ck_assert_int_eq(json_object_set(config, key, value), 0);
        }
    }
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    json_decref(change);
    json_decref(config);
    (void)snprintf(target, sizeof target, "%s/models/%s/model.safetensors", HW_TEST_DATA, model);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    ck_assert_int_eq(symlink(target, path), 0);
}

struct refusal {
    const char *model;
    const char *changes;
    const char *message; // part of it
};

static const struct refusal refusals[] = {
    {"llama-gqa", "{\"model_type\": \"mamba\"}",
     "config.json: model_type: \"mamba\" is not one of gpt2, gpt_neox, llama"},
    {"llama-gqa", "{\"model_type\": \"-\"}", "model_type: missing"},
    {"llama-gqa", "{\"attention_multiplier\": 0.5}",
     "config.json: attention_multiplier: this key is not understood"},
    {"llama-gqa", "{\"quantization_config\": {\"bits\": 4}}",
     "quantization_config: this key is not understood"},
    {"llama-gqa", "{\"hidden_act\": \"quick_gelu\"}",
     "hidden_act: \"quick_gelu\" is not one of gelu,"},
    {"llama-gqa", "{\"hidden_size\": \"32\"}", "hidden_size: expected an integer, found \"32\""},
    {"llama-gqa", "{\"hidden_size\": 0}", "hidden_size: expected 1 to "},
    {"llama-gqa", "{\"hidden_size\": -32}", "hidden_size: expected 1 to "},
    {"llama-gqa", "{\"hidden_size\": 1e300}", "hidden_size: expected an integer"},
    {"llama-gqa", "{\"rms_norm_eps\": 0}", "rms_norm_eps: expected a number above 0, found 0"},
    {"llama-gqa", "{\"tie_word_embeddings\": 1}",
     "tie_word_embeddings: expected true or false, found 1"},
    {"llama-gqa", "{\"tie_word_embeddings\": false}", "tensor \"lm_head.weight\" is missing"},
    {"llama-gqa", "{\"num_hidden_layers\": 3}",
     "tensor \"model.layers.2.input_layernorm.weight\" is missing"},
    {"llama-gqa", "{\"num_hidden_layers\": 1}",
     "\" [32] is not one that a model of family llama has"},
    {"llama-gqa", "{\"num_hidden_layers\": 1000000}", "1000000 layers, at most"},
    {"llama-gqa", "{\"num_key_value_heads\": 3}", "3 key-value heads do not divide 4 heads"},
    {"llama-gqa", "{\"num_key_value_heads\": 4}",
     "k_proj.weight\": expected shape [32, 32], found [16, 32]"},
    {"llama-gqa", "{\"num_key_value_heads\": null}", "k_proj.weight\": expected shape [32, 32]"},
    {"llama-gqa", "{\"head_dim\": 7}", "rotary positions on 7 of the 7 channels"},
    {"llama-gqa", "{\"vocab_size\": 96}",
     "embed_tokens.weight\": expected shape [96, 32], found [97, 32]"},
    {"llama-gqa", "{\"attention_bias\": true}", "q_proj.bias\" is missing"},
    {"llama-bias", "{\"mlp_bias\": false}",
     ".bias\" [32] is not one that a model of family llama has"},
    {"llama-gqa", "{\"rope_theta\": 20000}",
     "rope_parameters.rope_theta: 10000 differs from 20000 of rope_theta"},
    {"llama-gqa", "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}",
     "rope_scaling: rope_type differs from that of rope_parameters"},
    {"llama-gqa", "{\"rope_scaling\": \"linear\"}", "rope_scaling: expected an object"},
    {"llama-rope-linear", "{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2}}",
     "rope_scaling.rope_type: \"yarn\" is not one of default, linear, llama3"},
    {"llama-rope-linear", "{\"rope_scaling\": {\"type\": \"linear\"}}",
     "rope_scaling.factor: missing"},
    {"llama-rope-linear", "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2, \"beta\": 3}}",
     "rope_scaling.beta: this key is not understood"},
    {"llama-rope-llama3",
     "{\"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 1e4, \"factor\": 8, "
     "\"low_freq_factor\": 4,"
     " \"high_freq_factor\": 4, \"original_max_position_embeddings\": 64}}",
     "high_freq_factor 4 is not above low_freq_factor 4"},
    {"llama-gqa", "{\"rope_parameters\": {\"rope_theta\": 1e4, \"partial_rotary_factor\": 0.5}}",
     "rope_parameters.partial_rotary_factor: 0.5 is not supported, only 1"},
    {"gpt2", "{\"n_head\": 5}", "n_head: 5 heads do not divide the width 36"},
    {"gpt2", "{\"n_positions\": 64}", "wpe.weight\": expected shape [64, 36], found [128, 36]"},
    {"gpt2", "{\"n_inner\": 36}", "c_fc.weight\": expected shape [36, 36], found [36, 72]"},
    {"gpt2", "{\"add_cross_attention\": true}", "add_cross_attention: true is not supported"},
    {"gpt-neox-parallel", "{\"rotary_pct\": 0.5}", "rotary_pct: 0.5 is not supported, only 0.25"},
    {"gpt-neox-parallel", "{\"tie_word_embeddings\": false, \"attention_bias\": false}",
     ".bias\" [32] is not one that a model of family gpt_neox has"},
    {"gpt-neox-parallel", "{\"sliding_window\": 16}", "sliding_window: this key is not understood"},
};
enum { N_REFUSALS = sizeof refusals / sizeof refusals[0] };

START_TEST(what_is_not_understood_is_refused_by_name) {
    const struct refusal *r = &refusals[_i];
    struct hw_model *model = NULL;
    struct hw_error err = {0};
    make_folder();
    write_variant(r->model, r->changes);
    enum hw_status status = hw_model_open(folder, &model, &err);
    remove_folder();
    ck_assert_msg(status == HW_INPUT, "%s: accepted", r->changes);
    ck_assert_ptr_null(model);
    ck_assert_msg(strstr(err.message, r->message) != NULL, "%s: %s", r->changes, err.message);
    ck_assert_msg(strncmp(err.message, folder, strlen(folder)) == 0, "%s", err.message);
}
END_TEST

// The same for GGUF: bytes of a golden file are replaced by as many others.
static const char *const gguf_refusals[][4] = {
    {"llama-gqa-f32.gguf", "llama.attention.value_length", "llama.attention.value_lengtX",
     "metadata: llama.attention.value_lengtX: this key is not understood"},
    {"llama-gqa-f32.gguf", "llama.block_count", "llama.block_counX", "llama.block_count: missing"},
    {"llama-gqa-f32.gguf", "output_norm.weight", "output_norX.weight",
     "tensor \"output_norm.weight\" is missing"},
    {"llama-gqa-f32.gguf", "blk.1.attn_norm.weight", "blk.7.attn_norm.weight",
     "tensor \"blk.1.attn_norm.weight\" is missing"},
    {"llama-rope-llama3-f32.gguf", "rope_freqs.weight", "rope_freqX.weight",
     "tensor \"rope_freqX.weight\" [4] is not one that a model of family llama has"},
    {"gpt-neox-parallel-f32.gguf", "gptneox.use_parallel_residual", "gptneox.use_parallel_residuaX",
     "gptneox.use_parallel_residuaX: this key is not understood"},
    {"gpt2-f32.gguf", "general.architecture", NULL,
     "general.architecture: \"gptX\" is not one of gpt2, gptneox, llama"},
};
enum { N_GGUF_REFUSALS = sizeof gguf_refusals / sizeof gguf_refusals[0] };

// Writes the golden file `name` to `path`, its first occurrence of the text replaced; `replace`
// NULL: the X goes behind architecture's "gpt".
static void write_patched(const char *name, const char *find, const char *replace,
                          const char *path) {
    enum { LIMIT = 1 << 20 };
    static char bytes[LIMIT];
    char source[512];
    (void)snprintf(source, sizeof source, "%s/models/%s", HW_TEST_DATA, name);
    FILE *file = fopen(source, "rb");
    ck_assert_ptr_nonnull(file);
    size_t n = fread(bytes, 1, LIMIT, file);
    ck_assert(n > 0 && n < LIMIT);
    (void)fclose(file);
    char *at = memmem(bytes, n, find, strlen(find));
    ck_assert_ptr_nonnull(at);
    if (replace != NULL) {
        memcpy(at, replace, strlen(replace));
    } else {
        at[strlen("general.architecture") + 4 + 8 + 3] = 'X'; // type, length, "gpt"
    }
    file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
    (void)fclose(file);
}

START_TEST(gguf_metadata_and_tensors_are_refused_by_name) {
    char path[128];
    struct hw_model *model = NULL;
    struct hw_error err = {0};
    make_folder();
    (void)snprintf(path, sizeof path, "%s/m.gguf", folder);
    write_patched(gguf_refusals[_i][0], gguf_refusals[_i][1], gguf_refusals[_i][2], path);
    enum hw_status status = hw_model_open(path, &model, &err);
    (void)unlink(path);
    remove_folder();
    ck_assert_int_eq(status, HW_INPUT);
    ck_assert_msg(strstr(err.message, gguf_refusals[_i][3]) != NULL, "%s", err.message);
}
END_TEST

// Nothing here changes the arithmetic, so all of it is accepted.
START_TEST(harmless_keys_are_accepted) {
    static const char *const accepted[][2] = {
        {"llama-gqa",
         "{\"_name_or_path\": \"x\", \"transformers_version\": \"4.1\", \"sliding_window\": null}"},
        {"llama-gqa", "{\"pretraining_tp\": 2, \"rope_scaling\": null, \"rope_theta\": 10000}"},
        {"llama-gqa", "{\"head_dim\": \"-\", \"rms_norm_eps\": \"-\", \"rope_parameters\": \"-\"}"},
        {"llama-rope-linear",
         "{\"rope_scaling\": {\"rope_type\": \"linear\", \"type\": \"linear\", \"factor\": 4}}"},
        {"llama-rope-llama3", "{\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, "
                              "\"low_freq_factor\": 1.0}}"},
        {"gpt2",
         "{\"n_ctx\": 128, \"summary_type\": \"mean\", \"task_specific_params\": {\"a\": 1}}"},
        {"gpt2", "{\"tie_word_embeddings\": \"-\", \"scale_attn_weights\": \"-\"}"},
        {"gpt-neox-parallel",
         "{\"rotary_emb_base\": 10000, \"rotary_pct\": 0.25, \"rope_parameters\": \"-\"}"},
    };
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        struct hw_model *model = NULL;
        struct hw_error err = {0};
        make_folder();
        write_variant(accepted[i][0], accepted[i][1]);
        enum hw_status status = hw_model_open(folder, &model, &err);
        remove_folder();
        ck_assert_msg(status == HW_OK, "%s: %s", accepted[i][1], err.message);
        hw_model_close(&model);
    }
}
END_TEST

START_TEST(scale_attn_weights_off_means_no_scale) {
    struct hw_model *model = NULL;
    make_folder();
    write_variant("gpt2", "{\"scale_attn_weights\": false}");
    ck_assert_int_eq(hw_model_open(folder, &model, NULL), HW_OK);
    remove_folder();
    ck_assert_float_eq(model->desc.score_scale[1], 1);
    hw_model_close(&model);
}
END_TEST

// 30-digit arithmetic over the rule of transformers' modeling_rope_utils: theta 1e4, width 8,
// factor 8, low 1, high 4, original 64.
START_TEST(frequencies_equal_their_definition) {
    static const double llama3[4] = {1, 0.013042256043820462677, 0.00125, 0.000125};
    struct hw_rope rope = {.theta = 10000,
                           .scaling = HW_ROPE_LLAMA3,
                           .factor = 8,
                           .low_frequency = 1,
                           .high_frequency = 4,
                           .original_context = 64};
    double frequency[4];
    hw_rope_frequencies(&rope, 8, NULL, frequency);
    for (size_t c = 0; c < 4; c++) {
        ck_assert_double_eq_tol(frequency[c] / llama3[c], 1, 1e-15); // a few roundings in double
    }
    rope.scaling = HW_ROPE_LINEAR;
    hw_rope_frequencies(&rope, 8, (const float[]){1, 2, 4, 8}, frequency);
    for (size_t c = 0; c < 4; c++) {
        ck_assert_double_eq_tol(frequency[c] * 8 * pow(20, (double)c), 1,
                                1e-15); // 1, 1/10, ... over 8 over 2^c
    }
}
END_TEST

START_TEST(rope_table_starts_at_the_first_position) {
    double frequency[2] = {1, 0.25};
    struct hw_model_desc desc = {.n_rot = 4, .inverse_frequency = frequency, .rope_factor = 2};
    float cosine[4];
    float sine[4];
    hw_model_rope_table(&desc, 5, 2, cosine, sine);
    ck_assert_float_eq(cosine[0], (float)(2 * cos(5.0)));
    ck_assert_float_eq(sine[1], (float)(2 * sin(1.25)));
    ck_assert_float_eq(cosine[3], (float)(2 * cos(1.5)));
    ck_assert_float_eq(sine[2], (float)(2 * sin(6.0)));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("model");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, what_is_not_understood_is_refused_by_name, 0, N_REFUSALS);
    tcase_add_loop_test(tcase, gguf_metadata_and_tensors_are_refused_by_name, 0, N_GGUF_REFUSALS);
    tcase_add_test(tcase, harmless_keys_are_accepted);
    tcase_add_test(tcase, scale_attn_weights_off_means_no_scale);
    tcase_add_test(tcase, frequencies_equal_their_definition);
    tcase_add_test(tcase, rope_table_starts_at_the_first_position);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
