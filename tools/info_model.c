// What is in a model; see info.h. Everything said comes from the same description that the forward
// pass reads.
#include "tools/info.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/tokenizer.h"
#include "tools/options.h"
#include "tools/places.h"
#include "tools/report.h"
#include "tools/table.h"
#include "tracer/model.h"

// Tensors, values and bytes by number format.
static json_t *weights_json(const struct hw_checkpoint *checkpoint, uint64_t *ret_values) {
    uint64_t counts[HW_N_DTYPES][3] = {{0}};
    json_t *list = json_array();
    *ret_values = 0;
    for (size_t i = 0; i < hw_checkpoint_n_tensors(checkpoint); i++) {
        const struct hw_tensor *tensor = hw_checkpoint_tensor(checkpoint, i);
        counts[tensor->dtype][0]++;
        counts[tensor->dtype][1] += tensor->n_values;
        counts[tensor->dtype][2] += tensor->n_bytes;
        *ret_values += tensor->n_values;
    }
    for (int dtype = 0; dtype < HW_N_DTYPES; dtype++) {
        if (counts[dtype][0] > 0) {
            (void)json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I}", "type",
                                                        hw_dtype_name((enum hw_dtype)dtype),
                                                        "tensors", (json_int_t)counts[dtype][0],
                                                        "values", (json_int_t)counts[dtype][1],
                                                        "bytes", (json_int_t)counts[dtype][2]));
        }
    }
    return list;
}

static json_t *files_json(const struct hw_checkpoint *checkpoint) {
    json_t *list = json_array();
    for (size_t i = 0; i < hw_checkpoint_n_files(checkpoint); i++) {
        uint64_t n_bytes = 0;
        const char *path = hw_checkpoint_file(checkpoint, i, &n_bytes);
        (void)json_array_append_new(list, json_pack("{s:o, s:I}", "path", hw_json_text(path),
                                                    "bytes", (json_int_t)n_bytes));
    }
    return list;
}

static json_t *tokenizer_json(const struct hw_checkpoint *checkpoint) {
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {HW_OK, ""};
    if (hw_tokenizer_open(checkpoint, &tokenizer, &err) != HW_OK) {
        // A model without one still runs on token ids.
        return json_pack("{s:o}", "error", hw_json_text(err.message));
    }
    char sha256[65];
    int64_t bos = hw_tokenizer_bos(tokenizer);
    hw_tokenizer_sha256(tokenizer, sha256);
    json_t *document = json_pack(
        "{s:s, s:s, s:I, s:I, s:o, s:b, s:s}", "kind", hw_tokenizer_kind(tokenizer), "pre",
        hw_tokenizer_pre(tokenizer), "vocabulary", (json_int_t)hw_tokenizer_n_vocab(tokenizer),
        "bos", (json_int_t)bos, "bos_text",
        bos >= 0 ? hw_json_text(hw_tokenizer_text(tokenizer, (uint32_t)bos)) : json_null(),
        "adds_bos", hw_tokenizer_adds_bos(tokenizer), "sha256", sha256);
    hw_tokenizer_close(&tokenizer);
    return document;
}

static json_t *shape_json(const struct hw_model_desc *d) {
    static const char *const norms[] = {"rms", "layer"};
    static const char *const positions[] = {"learned", "rope"};
    static const char *const activations[] = {"gelu (tanh)", "gelu (erf)", "silu", "relu"};
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:s, s:I, s:s, s:b, s:b, "
                     "s:b}",
                     "layers", (json_int_t)d->n_layers, "d_model", (json_int_t)d->d_model, "heads",
                     (json_int_t)d->n_heads, "kv_heads", (json_int_t)d->n_kv_heads, "d_head",
                     (json_int_t)d->d_head, "d_mlp", (json_int_t)d->d_mlp, "vocabulary",
                     (json_int_t)d->n_vocab, "context", (json_int_t)d->n_context, "norm",
                     norms[d->norm], "norm_epsilon", hw_json_float(d->norm_eps), "positions",
                     positions[d->position], "rotated_channels",
                     (json_int_t)(d->position == HW_POSITION_ROPE ? d->n_rot : 0), "activation",
                     activations[d->activation], "gated_mlp", d->is_gated, "parallel_block",
                     d->is_parallel, "tied_output", d->is_output_tied);
}

enum hw_status hw_info_model(const char *name, json_t **ret_document, struct hw_error *err) {
    struct hw_model *model = NULL;
    char *path = NULL;
    enum hw_status status = hw_place_of_model(name, &path, err);
    status = status == HW_OK ? hw_model_open(path, &model, err) : status;
    free(path);
    if (status != HW_OK) {
        return status;
    }
    const struct hw_checkpoint *checkpoint = model->checkpoint;
    uint64_t n_values = 0;
    json_t *weights = weights_json(checkpoint, &n_values);
    json_t *document = json_pack(
        "{s:s, s:o, s:s, s:s, s:I, s:s, s:o, s:o, s:o, s:o}", "kind", "model", "path",
        hw_json_text(hw_checkpoint_path(checkpoint)), "container",
        hw_checkpoint_container(checkpoint) == HW_CONTAINER_GGUF ? "GGUF" : "safetensors", "family",
        model->desc.family, "parameters", (json_int_t)n_values, "quantisation",
        hw_checkpoint_quantisation(checkpoint), "shape", shape_json(&model->desc), "weights",
        weights, "files", files_json(checkpoint), "tokenizer", tokenizer_json(checkpoint));
    hw_model_close(&model);
    if (document == NULL) {
        return hw_fail(err, HW_RESOURCE, "%s: not enough memory to describe the model", name);
    }
    *ret_document = document;
    return HW_OK;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static json_int_t number_of(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

static int is_true(const json_t *object, const char *key) {
    return json_is_true(json_object_get(object, key));
}

static void print_shape(const json_t *shape) {
    (void)printf("layers      %" JSON_INTEGER_FORMAT ", width %" JSON_INTEGER_FORMAT
                 ", MLP %" JSON_INTEGER_FORMAT "\n",
                 number_of(shape, "layers"), number_of(shape, "d_model"),
                 number_of(shape, "d_mlp"));
    (void)printf("heads       %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
                 " channels, %" JSON_INTEGER_FORMAT " key/value heads\n",
                 number_of(shape, "heads"), number_of(shape, "d_head"),
                 number_of(shape, "kv_heads"));
    (void)printf("block       %s, %s norm, %s%s MLP\n",
                 is_true(shape, "parallel_block") ? "parallel" : "sequential",
                 text_of(shape, "norm"), is_true(shape, "gated_mlp") ? "gated " : "",
                 text_of(shape, "activation"));
    (void)printf("positions   %s, trained on %" JSON_INTEGER_FORMAT " tokens\n",
                 text_of(shape, "positions"), number_of(shape, "context"));
    (void)printf("output      %" JSON_INTEGER_FORMAT " tokens, %s\n",
                 number_of(shape, "vocabulary"),
                 is_true(shape, "tied_output") ? "tied to the embedding" : "a matrix of its own");
}

static void print_tokenizer(const json_t *tokenizer) {
    if (json_object_get(tokenizer, "error") != NULL) {
        hw_print_line("tokenizer   none: %s", text_of(tokenizer, "error"));
        return;
    }
    bool has_bos = number_of(tokenizer, "bos") >= 0;
    hw_print_line("tokenizer   %s (%s), %" JSON_INTEGER_FORMAT " tokens, %s%s%s",
                  text_of(tokenizer, "kind"), text_of(tokenizer, "pre"),
                  number_of(tokenizer, "vocabulary"), has_bos ? "BOS " : "no BOS",
                  has_bos ? text_of(tokenizer, "bos_text") : "",
                  !has_bos || is_true(tokenizer, "adds_bos") ? "" : " (not added)");
}

enum hw_status hw_info_print_model(const json_t *document, struct hw_error *err) {
    char text[32];
    hw_print_line("model       %s", text_of(document, "path"));
    hw_print_line("family      %s (%s)", text_of(document, "family"),
                  text_of(document, "container"));
    hw_print_line("parameters  %.4g M, mostly %s", (double)number_of(document, "parameters") * 1e-6,
                  text_of(document, "quantisation"));
    print_shape(json_object_get(document, "shape"));
    print_tokenizer(json_object_get(document, "tokenizer"));
    (void)fputc('\n', stdout);
    struct hw_table *table = hw_table_open("<weights|tensors|values|bytes");
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(document, "weights"), i, one) {
        hw_table_cell(table, "%s", text_of(one, "type"));
        hw_table_cell(table, "%" JSON_INTEGER_FORMAT, number_of(one, "tensors"));
        hw_table_cell(table, "%" JSON_INTEGER_FORMAT, number_of(one, "values"));
        hw_table_cell(table, "%s",
                      hw_format_bytes(text, sizeof text, (uint64_t)number_of(one, "bytes")));
    }
    enum hw_status status = hw_table_print(table, stdout, 0, err);
    hw_table_close(&table);
    return status;
}
