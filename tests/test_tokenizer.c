// Ids, offsets and decoded bytes equal those of HF tokenizers, from tokenizer.json and from GGUF;
// BOS rules; tokens' texts.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/tokenizer.h"
#include "tests/byte_buffer.h"
#include "tests/gguf_vocabulary.h"
#include "tests/tokenizer_vectors.h"

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

// Tokens, merges and types of a tokenizer.json, as a GGUF file has them.
static void put_gguf(const char *name, const char *pre, struct byte_buffer *buffer) {
    char file[64];
    (void)snprintf(file, sizeof file, "%s.json", name);
    json_t *root = vectors_load(file);
    const json_t *model = json_object_get(root, "model");
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    const json_t *added = json_object_get(root, "added_tokens");
    size_t n = json_object_size(vocab) + json_array_size(added);
    size_t n_merges = json_array_size(merges);
    const char **texts = calloc(n, sizeof *texts);
    int32_t *types = calloc(n, sizeof *types);
    char **joined = calloc(n_merges + 1, sizeof *joined);
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
    const struct gguf_vocabulary vocabulary = {.model = "gpt2",
                                               .pre = pre,
                                               .tokens = texts,
                                               .n_tokens = last + 1,
                                               .types = types,
                                               .n_types = last + 1,
                                               .merges = (const char *const *)joined,
                                               .n_merges = n_merges,
                                               .bos = (int64_t)last,
                                               .eos = -1,
                                               .add_bos = -1};
    gguf_vocabulary_put(buffer, &vocabulary);
    for (i = 0; i < n_merges; i++) {
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
    struct byte_buffer buffer = {0};
    put_gguf(names[_i], pres[_i], &buffer);
    char *folder = temp_folder_new();
    char *path = temp_file(folder, "t.gguf", buffer.bytes, buffer.n);
    struct hw_tokenizer *tokenizer = open_gguf(path);
    free(path);
    temp_folder_remove(&folder);
    byte_buffer_free(&buffer);
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
    char *folder = temp_folder_new();
    char *path = temp_file(folder, "t.json", "", 0);
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
                size_t n = json_string_length(text);
                const char *bytes = json_string_value(text);
                size_t first = vectors_widen(bytes, n, tokens.items[i].first, false);
                size_t end = vectors_widen(bytes, n, tokens.items[i].end, true);
                size_t want_first = (size_t)json_integer_value(json_array_get(offsets, 2 * i));
                size_t want_end = (size_t)json_integer_value(json_array_get(offsets, 2 * i + 1));
                ck_assert_msg(first == want_first && end == want_end,
                              "variant %zu, '%s', token %zu: %zu to %zu, expected %zu to %zu", v,
                              bytes, i, first, end, want_first, want_end);
            }
            hw_tokens_free(&tokens);
        }
        hw_tokenizer_close(&tokenizer);
    }
    free(path);
    temp_folder_remove(&folder);
    json_decref(base);
    json_decref(variants);
}
END_TEST

// Writes files into a new folder, opens tokenizer.json there (with the configuration where given).
static struct hw_tokenizer *open_folder(const char *tokenizer_json, const char *config,
                                        const char *generation) {
    char *folder = temp_folder_new();
    char *path = temp_file(folder, "tokenizer.json", tokenizer_json, strlen(tokenizer_json));
    char *config_path =
        config == NULL ? NULL : temp_file(folder, "tokenizer_config.json", config, strlen(config));
    if (generation != NULL) {
        free(temp_file(folder, "generation_config.json", generation, strlen(generation)));
    }
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_tokenizer_open_json(path, config_path, &tokenizer, &err) == HW_OK, "%s",
                  err.message);
    free(config_path);
    free(path);
    temp_folder_remove(&folder);
    return tokenizer;
}

static const char tiny[] =
    "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 3, \"content\": \"<s>\", \"special\": "
    "true}, {\"id\": 6, "
    "\"content\": \"a b\", \"special\": false}], \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
    "\"add_prefix_space\": false}, \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, "
    "\"ab\": 2, "
    "\"\u0120,\": 4}, \"merges\": [\"a b\"]}}";

static size_t n_tokens(const struct hw_tokenizer *tokenizer, const char *text,
                       enum hw_add_bos add_bos, uint32_t *ret_first) {
    struct hw_tokens tokens = {0};
    struct hw_error err = {0};
    ck_assert_msg(hw_tokenizer_encode(tokenizer, text, strlen(text), add_bos, &tokens, &err) ==
                      HW_OK,
                  "%s", err.message);
    size_t n = tokens.n;
    *ret_first = n > 0 ? tokens.items[0].id : UINT32_MAX;
    hw_tokens_free(&tokens);
    return n;
}

START_TEST(bos_follows_template_and_configuration) {
    uint32_t first;
    struct hw_tokenizer *tokenizer = open_json("llama3");
    uint32_t bos = (uint32_t)hw_tokenizer_bos(tokenizer);
    ck_assert_str_eq(hw_tokenizer_text(tokenizer, bos), "<|begin_of_text|>");
    ck_assert(hw_tokenizer_adds_bos(tokenizer));
    ck_assert_uint_eq(n_tokens(tokenizer, "a", HW_BOS_AUTO, &first), 2);
    ck_assert_uint_eq(first, bos);
    ck_assert_uint_eq(n_tokens(tokenizer, "<|begin_of_text|>a", HW_BOS_AUTO, &first), 2);
    ck_assert_uint_eq(n_tokens(tokenizer, "<|begin_of_text|>a", HW_BOS_YES, &first), 3);
    ck_assert_uint_eq(n_tokens(tokenizer, "a", HW_BOS_NO, &first), 1);
    ck_assert_uint_eq(n_tokens(tokenizer, "", HW_BOS_AUTO, &first), 1);
    hw_tokenizer_close(&tokenizer);

    tokenizer = open_folder(tiny, NULL, NULL);
    ck_assert_int_eq(hw_tokenizer_bos(tokenizer), -1);
    ck_assert_uint_eq(n_tokens(tokenizer, "a", HW_BOS_AUTO, &first), 1);
    struct hw_tokens none = {0};
    struct hw_error err;
    ck_assert_int_eq(hw_tokenizer_encode(tokenizer, "a", 1, HW_BOS_YES, &none, &err), HW_INPUT);
    ck_assert_uint_eq(none.n, 0);
    hw_tokens_free(&none);
    hw_tokenizer_close(&tokenizer);

    tokenizer = open_folder(tiny, "{\"bos_token\": \"<s>\", \"add_bos_token\": true}", NULL);
    ck_assert_int_eq(hw_tokenizer_bos(tokenizer), 3);
    ck_assert_uint_eq(n_tokens(tokenizer, "a", HW_BOS_AUTO, &first), 2);
    hw_tokenizer_close(&tokenizer);
    tokenizer = open_folder(tiny, "{\"bos_token\": {\"content\": \"<s>\"}}", NULL);
    ck_assert_int_eq(hw_tokenizer_bos(tokenizer), 3);
    ck_assert_uint_eq(n_tokens(tokenizer, "a", HW_BOS_AUTO, &first), 1);
    ck_assert_uint_eq(n_tokens(tokenizer, "a", HW_BOS_YES, &first), 2);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

START_TEST(ends_come_from_configuration_and_known_names) {
    struct hw_tokenizer *tokenizer =
        open_folder(tiny, "{\"eos_token\": \"<s>\"}", "{\"eos_token_id\": [0, 2]}");
    static const bool ends[] = {true, false, true, true, false, false, false};
    for (uint32_t id = 0; id < 7; id++) {
        ck_assert_int_eq(hw_tokenizer_is_end(tokenizer, id), ends[id]);
    }
    ck_assert(!hw_tokenizer_is_end(tokenizer, 7) && !hw_tokenizer_is_end(tokenizer, UINT32_MAX));
    hw_tokenizer_close(&tokenizer);
    tokenizer = open_json("gpt2");
    ck_assert(hw_tokenizer_is_end(tokenizer, (uint32_t)hw_tokenizer_n_vocab(tokenizer) - 1));
    ck_assert(!hw_tokenizer_is_end(tokenizer, 0));
    hw_tokenizer_close(&tokenizer);
}
END_TEST

START_TEST(configuration_adds_tokens_that_the_file_lacks) {
    static const char config[] =
        "{\"added_tokens_decoder\": {\"3\": {\"content\": \"<s>\", \"special\": true}, "
        "\"9\": {\"content\": \"<x>\", \"special\": true, \"lstrip\": true}}}";
    struct hw_tokenizer *tokenizer = open_folder(tiny, config, NULL);
    uint32_t first;
    ck_assert_uint_eq(hw_tokenizer_n_vocab(tokenizer), 10);
    ck_assert_uint_eq(n_tokens(tokenizer, "  <x>a", HW_BOS_NO, &first), 2);
    ck_assert_uint_eq(first, 9);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

START_TEST(tokens_have_texts_bytes_and_kinds) {
    struct hw_tokenizer *tokenizer = open_folder(tiny, NULL, NULL);
    size_t n;
    ck_assert_uint_eq(hw_tokenizer_n_vocab(tokenizer), 7);
    ck_assert_str_eq(hw_tokenizer_text(tokenizer, 4), "\xC4\xA0,"); // a blank is written U+0120
    ck_assert_mem_eq(hw_tokenizer_bytes(tokenizer, 4, &n), " ,", 2);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(hw_tokenizer_text(tokenizer, 6), "a\xC4\xA0"
                                                      "b");
    ck_assert_mem_eq(hw_tokenizer_bytes(tokenizer, 6, &n), "a b", 3);
    ck_assert_str_eq(hw_tokenizer_text(tokenizer, 5), ""); // a gap
    ck_assert_str_eq(hw_tokenizer_text(tokenizer, 99), "");
    (void)hw_tokenizer_bytes(tokenizer, 99, &n);
    ck_assert_uint_eq(n, 0);
    ck_assert(hw_tokenizer_is_special(tokenizer, 3) && !hw_tokenizer_is_special(tokenizer, 6) &&
              !hw_tokenizer_is_special(tokenizer, 0) && !hw_tokenizer_is_special(tokenizer, 99));
    ck_assert(
        hw_tokenizer_is_punctuation(tokenizer, 4) && !hw_tokenizer_is_punctuation(tokenizer, 0) &&
        !hw_tokenizer_is_punctuation(tokenizer, 5) && !hw_tokenizer_is_punctuation(tokenizer, 3));
    ck_assert_str_eq(hw_tokenizer_kind(tokenizer), "bpe");
    ck_assert_str_eq(hw_tokenizer_pre(tokenizer), "gpt-2");
    const uint32_t ids[] = {2, 4, 6, 5, 3};
    char *bytes = NULL;
    ck_assert_int_eq(hw_tokenizer_decode(tokenizer, ids, 5, &bytes, &n, NULL), HW_OK);
    ck_assert_str_eq(bytes, "ab ,a b<s>");
    ck_assert_uint_eq(n, 10);
    free(bytes);
    struct hw_error err;
    const uint32_t bad[] = {0, 7};
    bytes = NULL;
    ck_assert_int_eq(hw_tokenizer_decode(tokenizer, bad, 2, &bytes, &n, &err), HW_INPUT);
    ck_assert_str_eq(err.message, "token id 7 at place 1 is out of range (expected 0 to 6)");
    ck_assert_ptr_null(bytes);
    hw_tokenizer_close(&tokenizer);
    hw_tokenizer_close(&tokenizer); // closed already
}
END_TEST

// Punctuation and symbols by the Unicode categories, over tokens of one character each.
START_TEST(punctuation_is_categories_p_and_s) {
    struct hw_tokenizer *tokenizer = open_json("gpt2");
    size_t n_found = 0;
    for (uint32_t id = 0; id < hw_tokenizer_n_vocab(tokenizer); id++) {
        size_t n;
        const char *bytes = hw_tokenizer_bytes(tokenizer, id, &n);
        if (n == 1 && (unsigned char)bytes[0] < 0x80) {
            ck_assert_int_eq(hw_tokenizer_is_punctuation(tokenizer, id),
                             bytes[0] > ' ' &&
                                 strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", bytes[0]) != NULL);
            n_found++;
        }
    }
    ck_assert_uint_eq(n_found, 128);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

// A token that touches characters which NFC joined covers all of them in the text given.
START_TEST(offsets_go_back_through_nfc) {
    struct hw_tokenizer *tokenizer = open_json("qwen2");
    static const char *const texts[] = {"caf\xC3\xA9 x", "cafe\xCC\x81 x", "e\xCC\x81",
                                        "a\xE2\x84\xAB\xE1\x84\x92\xE1\x85\xA1z"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct hw_tokens tokens = {0};
        size_t n = strlen(texts[i]);
        ck_assert_int_eq(hw_tokenizer_encode(tokenizer, texts[i], n, HW_BOS_NO, &tokens, NULL),
                         HW_OK);
        ck_assert_uint_gt(tokens.n, 0);
        ck_assert_uint_eq(tokens.items[0].first, 0);
        ck_assert_uint_eq(tokens.items[tokens.n - 1].end, n);
        for (size_t t = 1; t < tokens.n;
             t++) { // no byte is left out; only joined characters are shared
            ck_assert_uint_le(tokens.items[t].first, tokens.items[t - 1].end);
            ck_assert_uint_ge(tokens.items[t].first, tokens.items[t - 1].first);
        }
        hw_tokens_free(&tokens);
    }
    // The last token of "cafe\u0301 x" is " x": bytes 6 and 7 of the text given, 5 and 6 of its
    // NFC.
    struct hw_tokens tokens = {0};
    ck_assert_int_eq(hw_tokenizer_encode(tokenizer, texts[1], 8, HW_BOS_NO, &tokens, NULL), HW_OK);
    ck_assert_uint_eq(tokens.items[tokens.n - 1].end, 8);
    ck_assert_uint_eq(tokens.items[tokens.n - 1].first,
                      strlen("cafe\xCC\x81 x") - 2 +
                          (hw_tokenizer_text(tokenizer, tokens.items[tokens.n - 1].id)[0] == 'x'));
    hw_tokens_free(&tokens);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

START_TEST(tokens_are_appended) {
    struct hw_tokenizer *tokenizer = open_json("llama3");
    struct hw_tokens tokens = {0};
    ck_assert_int_eq(hw_tokenizer_encode(tokenizer, "the", 3, HW_BOS_YES, &tokens, NULL), HW_OK);
    size_t n = tokens.n;
    ck_assert_int_eq(hw_tokenizer_encode(tokenizer, "the", 3, HW_BOS_YES, &tokens, NULL), HW_OK);
    ck_assert_uint_eq(tokens.n, 2 * n);
    ck_assert_mem_eq(tokens.items, tokens.items + n, n * sizeof *tokens.items);
    hw_tokens_free(&tokens);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

// The comparison itself must see a wrong id, a wrong count and a wrong offset.
START_TEST(the_comparison_can_fail) {
    struct hw_tokenizer *tokenizer = open_folder(tiny, NULL, NULL);
    static const char *const wrong[] = {"[[1],null,1]", "[[2,2],null,1]", "[[],null,1]",
                                        "[[2],\"0000000000000000\",1]", "[[2],null,\"ba\"]"};
    json_t *right = json_loads("[[2],null,1]", 0, NULL);
    ck_assert_str_eq(vectors_compare(tokenizer, "ab", 2, right, true), "");
    json_decref(right);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        json_t *vector = json_loads(wrong[i], 0, NULL);
        ck_assert_str_ne(vectors_compare(tokenizer, "ab", 2, vector, true), "");
        json_decref(vector);
    }
    hw_tokenizer_close(&tokenizer);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenizer");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, json_gives_the_ids_of_hf_tokenizers, 0, N_NAMES);
    tcase_add_loop_test(tcase, gguf_gives_the_same_ids, 0, N_NAMES - 1);
    tcase_add_test(tcase, changed_components_give_the_ids_of_hf_tokenizers);
    tcase_add_test(tcase, bos_follows_template_and_configuration);
    tcase_add_test(tcase, ends_come_from_configuration_and_known_names);
    tcase_add_test(tcase, configuration_adds_tokens_that_the_file_lacks);
    tcase_add_test(tcase, tokens_have_texts_bytes_and_kinds);
    tcase_add_test(tcase, punctuation_is_categories_p_and_s);
    tcase_add_test(tcase, offsets_go_back_through_nfc);
    tcase_add_test(tcase, tokens_are_appended);
    tcase_add_test(tcase, the_comparison_can_fail);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
