// Ids, offsets and decoded bytes equal those of HF tokenizers, from tokenizer.json and from GGUF;
// BOS rules; tokens' texts.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/gguf.h"
#include "formats/tokenizer.h"
#include "tests/tokenizer_vectors.h"
#include "tests/write_gguf.h"

static const char *const names[] = {"gpt2", "neox", "llama3", "qwen2", "smollm", "added"};
static const char *const pres[] = {"gpt-2", "olmo", "llama-bpe", "qwen2", "smollm", NULL};
enum { N_NAMES = sizeof names / sizeof names[0] };

static struct hw_tokenizer *open_json(const char *name) {
    char file[64];
    (void)snprintf(file, sizeof file, "%s.json", name);
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    enum hw_status status = hw_tokenizer_open_json(vectors_path(file), NULL, &tokenizer, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    return tokenizer;
}

START_TEST(json_gives_the_ids_of_hf_tokenizers) {
    struct hw_tokenizer *tokenizer = open_json(names[_i]);
    ck_assert_int_eq(vectors_run(tokenizer, names[_i]), 0);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

// Tokens, merges and types of a tokenizer.json as GGUF metadata.
static void write_gguf(const char *name, const char *pre, const char *path) {
    char file[64];
    (void)snprintf(file, sizeof file, "%s.json", name);
    json_t *root = vectors_load(file);
    const json_t *model = json_object_get(root, "model");
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    const json_t *added = json_object_get(root, "added_tokens");
    size_t n = json_object_size(vocab) + json_array_size(added);
    const char **texts = calloc(n, sizeof *texts);
    int32_t *types = calloc(n, sizeof *types);
    char **joined = calloc(json_array_size(merges) + 1, sizeof *joined);
    ck_assert(texts != NULL && types != NULL && joined != NULL);
    const char *key;
    json_t *value;
    size_t last = 0;
    json_object_foreach((json_t *)vocab, key, value) {
        size_t id = (size_t)json_integer_value(value);
        texts[id] = key;
        types[id] = 1;
        last = id > last ? id : last;
    }
    size_t i;
    json_array_foreach(added, i, value) {
        size_t id = (size_t)json_integer_value(json_object_get(value, "id"));
        texts[id] = json_string_value(json_object_get(value, "content"));
        types[id] = json_is_true(json_object_get(value, "special")) ? 3 : 4;
        last = id > last ? id : last;
    }
    json_array_foreach(merges, i, value) {
        const char *left = json_string_value(json_array_get(value, 0));
        const char *right = json_string_value(json_array_get(value, 1));
        ck_assert_int_gt(asprintf(&joined[i], "%s %s", left, right), 0);
    }
    struct gguf_metadata gguf = {0};
    write_gguf_string(&gguf, "general.architecture", "llama");
    write_gguf_string(&gguf, "tokenizer.ggml.model", "gpt2");
    write_gguf_string(&gguf, "tokenizer.ggml.pre", pre);
    write_gguf_strings(&gguf, "tokenizer.ggml.tokens", texts, last + 1);
    write_gguf_i32s(&gguf, "tokenizer.ggml.token_type", types, last + 1);
    write_gguf_strings(&gguf, "tokenizer.ggml.merges", (const char *const *)joined,
                       json_array_size(merges));
    write_gguf_u32(&gguf, "tokenizer.ggml.bos_token_id", (uint32_t)last);
    write_gguf_file(&gguf, path);
    write_gguf_free(&gguf);
    for (i = 0; i < json_array_size(merges); i++) {
        free(joined[i]);
    }
    free(joined);
    free(types);
    free(texts);
    json_decref(root);
}

static struct hw_tokenizer *open_gguf(const char *path) {
    struct hw_gguf *gguf = NULL;
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_gguf_open(path, &gguf, &err) == HW_OK, "%s", err.message);
    ck_assert_msg(hw_tokenizer_open_gguf(gguf, &tokenizer, &err) == HW_OK, "%s", err.message);
    hw_gguf_close(&gguf); // the tokenizer keeps nothing of the file
    return tokenizer;
}

START_TEST(gguf_gives_the_same_ids) {
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/test_tokenizer_%ld.gguf", (long)getpid());
    write_gguf(names[_i], pres[_i], path);
    struct hw_tokenizer *tokenizer = open_gguf(path);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_str_eq(hw_tokenizer_pre(tokenizer), pres[_i]);
    // The file cannot say which added tokens are matched after normalisation; none of these texts
    // can tell.
    ck_assert_int_eq(vectors_run(tokenizer, names[_i]), 0);
    ck_assert_int_eq(hw_tokenizer_adds_bos(tokenizer), strcmp(pres[_i], "llama-bpe") == 0);
    struct hw_tokenizer *json = open_json(names[_i]);
    char from_json[65], from_gguf[65];
    hw_tokenizer_sha256(json, from_json);
    hw_tokenizer_sha256(tokenizer, from_gguf);
    ck_assert_str_eq(from_json, from_gguf);
    hw_tokenizer_close(&json);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

START_TEST(changed_components_give_the_ids_of_hf_tokenizers) {
    json_t *variants = vectors_load("variants.json");
    json_t *base = vectors_load("gpt2.json");
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/test_tokenizer_%ld.json", (long)getpid());
    size_t v, c;
    json_t *variant, *one;
    json_array_foreach(variants, v, variant) {
        ck_assert_int_eq(json_object_update(base, json_object_get(variant, "change")), 0);
        ck_assert_int_eq(json_dump_file(base, path, 0), 0);
        struct hw_tokenizer *tokenizer = NULL;
        struct hw_error err = {0};
        ck_assert_msg(hw_tokenizer_open_json(path, NULL, &tokenizer, &err) == HW_OK, "%zu: %s", v,
                      err.message);
        json_array_foreach(json_object_get(variant, "cases"), c, one) {
            const json_t *text = json_array_get(one, 0);
            const json_t *ids = json_array_get(one, 1);
            const json_t *offsets = json_array_get(one, 2);
            struct hw_tokens tokens = {0};
            ck_assert_int_eq(hw_tokenizer_encode(tokenizer, json_string_value(text),
                                                 json_string_length(text), HW_BOS_NO, &tokens,
                                                 NULL),
                             HW_OK);
            ck_assert_msg(tokens.n == json_array_size(ids),
                          "variant %zu, '%s': %zu tokens, expected %zu", v, json_string_value(text),
                          tokens.n, json_array_size(ids));
            for (size_t i = 0; i < tokens.n; i++) {
                ck_assert_msg(tokens.items[i].id == json_integer_value(json_array_get(ids, i)),
                              "variant %zu, '%s', token %zu", v, json_string_value(text), i);
                ck_assert_uint_le(tokens.items[i].first,
                                  (size_t)json_integer_value(json_array_get(offsets, 2 * i + 1)));
            }
            hw_tokens_free(&tokens);
        }
        hw_tokenizer_close(&tokenizer);
    }
    ck_assert_int_eq(unlink(path), 0);
    json_decref(base);
    json_decref(variants);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenizer");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, json_gives_the_ids_of_hf_tokenizers, 0, N_NAMES);
    tcase_add_loop_test(tcase, gguf_gives_the_same_ids, 0, N_NAMES - 1);
    tcase_add_test(tcase, changed_components_give_the_ids_of_hf_tokenizers);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
