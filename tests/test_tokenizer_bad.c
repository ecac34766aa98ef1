// Tokenizer files that are wrong are refused with the reason, and so are texts that are not UTF-8.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "formats/tokenizer.h"
#include "tests/byte_buffer.h"

static const char good[] =
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":3,"
    "\"content\":\"<s>\","
    "\"special\":true}],\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\","
    "\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{L}+|\\\\s+\"},\"behavior\":\"Isolated\","
    "\"invert\":false},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},\"post_processor\":{"
    "\"type\":"
    "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{"
    "\"Sequence\":{\"id\":\"A\","
    "\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[3],"
    "\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_"
    "token\":null,"
    "\"continuing_subword_prefix\":\"\",\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_"
    "fallback\":false,"
    "\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";

static char *folder;

static void setup(void) {
    folder = temp_folder_new();
}

static void teardown(void) {
    temp_folder_remove(&folder);
}

// Opens n bytes as tokenizer.json; on failure nothing may have been returned.
static enum hw_status open_bytes(const char *bytes, size_t n, const char *config,
                                 struct hw_tokenizer **ret, struct hw_error *err) {
    char *path = temp_file(folder, "tokenizer.json", bytes, n);
    char *config_path =
        config == NULL ? NULL : temp_file(folder, "tokenizer_config.json", config, strlen(config));
    struct hw_tokenizer *tokenizer = NULL;
    enum hw_status status = hw_tokenizer_open_json(path, config_path, &tokenizer, err);
    if (status != HW_OK) {
        ck_assert_ptr_null(tokenizer);
        ck_assert_int_eq(err->status, status);
        ck_assert_uint_gt(strlen(err->message), 0);
    }
    free(config_path);
    free(path);
    *ret = tokenizer;
    return status;
}

static void assert_refused(const char *bytes, size_t n, const char *config, const char *reason) {
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    enum hw_status status = open_bytes(bytes, n, config, &tokenizer, &err);
    ck_assert_msg(status == HW_INPUT, "status %d for a file with: %s", (int)status, reason);
    ck_assert_msg(strstr(err.message, reason) != NULL, "expected '%s', found '%s'", reason,
                  err.message);
}

START_TEST(the_good_file_is_good) {
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    ck_assert_msg(open_bytes(good, strlen(good), NULL, &tokenizer, &err) == HW_OK, "%s",
                  err.message);
    ck_assert_str_eq(hw_tokenizer_pre(tokenizer), "custom");
    hw_tokenizer_close(&tokenizer);
}
END_TEST

// The good file with one value replaced: where it is (keys and indices with dots), the value as
// JSON, and the reason.
static const struct {
    const char *place;
    const char *value;
    const char *reason;
} changes[] = {
    {"extra", "1", "key 'extra' that is not known"},
    {"model", "null", "model is not an object"},
    {"model.type", "\"Unigram\"", "model type 'Unigram' is not supported (known: BPE)"},
    {"model.type", "5", "model type '?' is not supported"},
    {"model.new_option", "true", "model has a key 'new_option' that is not known"},
    {"model.dropout", "0.1", "model.dropout is not supported"},
    {"model.byte_fallback", "true", "model.byte_fallback is not supported"},
    {"model.byte_fallback", "1", "model.byte_fallback is neither true nor false"},
    {"model.ignore_merges", "\"yes\"", "model.ignore_merges is neither true nor false"},
    {"model.continuing_subword_prefix", "\"##\"",
     "model.continuing_subword_prefix is not supported"},
    {"model.continuing_subword_prefix", "5", "model.continuing_subword_prefix is not supported"},
    {"model.end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix is not supported"},
    {"model.unk_token", "\"?\"", "model.unk_token is not in the vocabulary"},
    {"model.unk_token", "5", "model.unk_token is not in the vocabulary"},
    {"model.vocab", "[]", "model has no vocab object"},
    {"model.vocab", "{}", "merge 0, 'a' 'b': the left part is not in the vocabulary"},
    {"model.vocab.a", "-1",
     "the id of token 'a' is out of range (expected 0 to 2097151, found -1)"},
    {"model.vocab.a", "4294967296", "found 4294967296"},
    {"model.vocab.a", "9223372036854775807", "found 9223372036854775807"},
    {"model.vocab.a", "2097152", "found 2097152"},
    {"model.vocab.a", "1.0", "the id of token 'a' is not an integer"},
    {"model.vocab.a", "\"0\"", "the id of token 'a' is not an integer"},
    {"model.vocab.a", "1", "token id 1 is given to both"},
    {"model.vocab.<s>", "9", "added token '<s>' has id 3, but 9 in the vocabulary"},
    {"model.vocab.c", "3", "token id 3 is given to both"},
    {"model.merges", "null", "no merges list"},
    {"model.merges.0", "\"ab\"", "merge 0 is neither"},
    {"model.merges.0", "\"a b c\"", "merge 0 is neither"},
    {"model.merges.0", "[\"a\"]", "merge 0 is neither"},
    {"model.merges.0", "[\"a\", 5]", "merge 0 is neither"},
    {"model.merges.0", "5", "merge 0 is neither"},
    {"model.merges.0", "\"a c\"", "merge 0, 'a' 'c': the right part is not in the vocabulary"},
    {"model.merges.0", "\" b\"", "merge 0, '' 'b': the left part is not in the vocabulary"},
    {"model.merges.0", "\"b a\"", "merge 0, 'b' 'a': what they make is not in the vocabulary"},
    {"model.merges.0", "[\"ab\", \"ab\"]",
     "what they make is not in the vocabulary"}, // a cycle would need a longer token
    {"added_tokens", "{}", "added_tokens is not a list"},
    {"added_tokens.0", "5", "an added token is not an object"},
    {"added_tokens.0.content", "\"\"", "an added token has no content"},
    {"added_tokens.0.content", "5", "an added token has no content"},
    {"added_tokens.0.id", "-1", "the id of token '<s>' is out of range"},
    {"added_tokens.0.id", "null", "the id of token '<s>' is not an integer"},
    {"added_tokens.0.id", "1", "token id 1 is given to both"},
    {"added_tokens.0.lstrip", "0", "an added token.lstrip is neither true nor false"},
    {"added_tokens.0.new_flag", "true", "an added token has a key 'new_flag'"},
    {"added_tokens.1", "{\"id\": 4, \"content\": \"<s>\", \"special\": true}",
     "added token '<s>' has two ids, 3 and 4"},
    {"normalizer.type", "\"Lowercase\"", "normalizer 'Lowercase' is not supported (known: NFC"},
    {"normalizer.type", "null", "normalizer '' is not supported"},
    {"normalizer.form", "1", "NFC has a key 'form'"},
    {"normalizer", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKC\"}]}",
     "normalizer 'NFKC'"},
    {"normalizer", "{\"type\": \"Sequence\", \"normalizers\": 5}",
     "Sequence.normalizers is not a list"},
    {"pre_tokenizer", "null", "pre-tokenizer '' at the end is not supported (expected ByteLevel)"},
    {"pre_tokenizer", "{\"type\": \"Metaspace\"}", "pre-tokenizer 'Metaspace' at the end"},
    {"pre_tokenizer", "{\"type\": \"Sequence\", \"pretokenizers\": []}",
     "the pre-tokenizer is an empty Sequence"},
    {"pre_tokenizer.pretokenizers.0.type", "\"Punctuation\"",
     "pre-tokenizer 'Punctuation' is not supported"},
    {"pre_tokenizer.pretokenizers.0.type", "\"ByteLevel\"",
     "a pre-tokenizer after ByteLevel is not supported"},
    {"pre_tokenizer.pretokenizers.1.type", "\"Digits\"", "pre-tokenizer 'Digits' at the end"},
    {"pre_tokenizer.pretokenizers.1.use_regex", "0", "ByteLevel.use_regex is neither"},
    {"pre_tokenizer.pretokenizers.0.behavior", "\"Merged\"",
     "Split.behavior 'Merged' is not known"},
    {"pre_tokenizer.pretokenizers.0.behavior", "null", "Split.behavior '?' is not known"},
    {"pre_tokenizer.pretokenizers.0.pattern", "\"x\"",
     "Split.pattern is neither a Regex nor a String"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Glob\": \"x\"}", "Split.pattern is neither"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"(\"}",
     "does not compile: missing closing parenthesis"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"a*\"}", "can match nothing"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"\"}", "a split pattern of 0 bytes"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"\\\\d+\"}",
     "'\\d+' at byte 0 of the pattern"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"a\\\\w\"}",
     "at byte 1 of the pattern 'a\\w' is not supported"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"(*ACCEPT)a\"}", "'(*AC' at byte 0"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"(?x)a\"}", "'(?x)' at byte 0"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"a(?R)?\"}", "'(?R)' at byte 1"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"[a[b]]\"}", "'[b]]' at byte 2"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"[a&&b]\"}", "'&&b]' at byte 2"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"[]a]\"}", "'[]a]' at byte 0"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"^a\"}", "'^a' at byte 0"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"a{,3}\"}", "'{,3}' at byte 1"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"a{2}+\"}", "'}+' at byte 3"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"\\\\p{Greek_Extended}\"}",
     "at byte 0 of the pattern"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"\\\\p{L\"}",
     "at byte 0 of the pattern"},
    {"pre_tokenizer.pretokenizers.0.pattern", "{\"Regex\": \"a\\\\\"}", "at byte 1 of the pattern"},
    {"post_processor", "{\"type\": \"RobertaProcessing\"}",
     "post-processor 'RobertaProcessing' is not supported"},
    {"post_processor.single", "5", "TemplateProcessing.single is not a list"},
    {"post_processor.single", "[]", "TemplateProcessing.single has no place for the text"},
    {"post_processor.single.2", "{\"SpecialToken\": {\"id\": \"<s>\"}}", "has more after the text"},
    {"post_processor.single.1", "{\"SpecialToken\": {\"id\": \"<s>\"}}",
     "puts more than one token in front"},
    {"post_processor.single.0", "{\"SpecialToken\": {\"id\": \"<t>\"}}",
     "special token without one valid id"},
    {"post_processor.special_tokens.<s>.ids", "[99]", "special token without one valid id"},
    {"post_processor.special_tokens.<s>.ids", "[-1]", "special token without one valid id"},
    {"post_processor.special_tokens.<s>.ids", "[3, 3]", "special token without one valid id"},
    {"decoder.type", "\"WordPiece\"", "decoder 'WordPiece' is not supported (known: ByteLevel)"},
};

// Sets the value at the place; an index just past the end of a list appends.
static void set_at(json_t *root, const char *place, json_t *value) {
    char path[200];
    ck_assert_uint_lt(strlen(place), sizeof path);
    (void)snprintf(path, sizeof path, "%s", place);
    char *key = path;
    json_t *at = root;
    for (char *dot = strchr(key, '.'); dot != NULL; dot = strchr(key, '.')) {
        *dot = '\0';
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(key, NULL, 10))
                               : json_object_get(at, key);
        ck_assert_msg(at != NULL, "no %s", place);
        key = dot + 1;
    }
    if (json_is_array(at)) {
        size_t i = (size_t)strtoul(key, NULL, 10);
        ck_assert_int_eq(i < json_array_size(at) ? json_array_set_new(at, i, value)
                                                 : json_array_append_new(at, value),
                         0);
    } else {
        ck_assert_int_eq(json_object_set_new(at, key, value), 0);
    }
}

START_TEST(a_wrong_component_is_refused_by_name) {
    json_t *root = json_loads(good, 0, NULL);
    json_error_t error;
    json_t *value = json_loads(changes[_i].value, JSON_DECODE_ANY, &error);
    ck_assert_msg(value != NULL, "%s: %s", changes[_i].value, error.text);
    set_at(root, changes[_i].place, value);
    char *bytes = json_dumps(root, 0);
    assert_refused(bytes, strlen(bytes), NULL, changes[_i].reason);
    free(bytes);
    json_decref(root);
}
END_TEST

static const struct {
    const char *config;
    const char *reason;
} configs[] = {
    {"{\"bos_token\": \"<nobody>\"}",
     "bos_token of the tokenizer's configuration is not in the vocabulary"},
    {"{\"add_eos_token\": true}", "add_eos_token is true"},
    {"{\"add_prefix_space\": true}",
     "add_prefix_space is true in the tokenizer's configuration and false in"},
    {"{\"added_tokens_decoder\": {\"x\": {\"content\": \"<x>\"}}}", "key 'x' that is no id"},
    {"{\"added_tokens_decoder\": {\"-1\": {\"content\": \"<x>\"}}}", "out of range"},
    {"{\"added_tokens_decoder\": {\"99999999999\": {\"content\": \"<x>\"}}}", "that is no id"},
    {"{\"added_tokens_decoder\": {\"9999999999\": {\"content\": \"<x>\"}}}", "out of range"},
    {"{\"added_tokens_decoder\": {\"9\": {}}}", "an added token has no content"},
    {"{\"added_tokens_decoder\": {\"9\": 5}}", "an added token is not an object"},
    {"{\"added_tokens_decoder\": {\"0\": {\"content\": \"<x>\"}}}", "token id 0 is given to both"},
    {"[", "tokenizer_config.json: line 1"},
};

START_TEST(a_wrong_configuration_is_refused) {
    assert_refused(good, strlen(good), configs[_i].config, configs[_i].reason);
}
END_TEST

START_TEST(a_missing_bos_is_refused) {
    json_t *root = json_loads(good, 0, NULL);
    set_at(root, "post_processor", json_null());
    char *bytes = json_dumps(root, 0);
    assert_refused(bytes, strlen(bytes), "{\"add_bos_token\": true}",
                   "add_bos_token is true, but there is no bos_token");
    free(bytes);
    json_decref(root);
}
END_TEST

START_TEST(what_is_not_json_is_refused) {
    static const char deep[] = "{\"model\":";
    struct byte_buffer bomb = {0};
    for (size_t i = 0; i < 100000; i++) {
        byte_buffer_put(&bomb, deep, strlen(deep));
    }
    assert_refused((const char *)bomb.bytes, bomb.n, NULL, "nested deeper than 32");
    byte_buffer_free(&bomb);
    static const char *const texts[][2] = {
        {"", "line 1"},
        {"[]", "the document is not an object"},
        {"{}", "model is not an object"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", "uplicate"},
        {"{\"model\":{\"vocab\":{\"\\ud800\":0},\"merges\":[]}}", "nvalid Unicode"},
        {"{\"model\":{\"vocab\":{\"a\\u0000b\":0},\"merges\":[]}}", "\\u0000"},
        {"{\"model\":{\"vocab\":{\"a\xff\":0},\"merges\":[]}}", "unable to decode byte 0xff"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_refused(texts[i][0], strlen(texts[i][0]), NULL, texts[i][1]);
    }
}
END_TEST

START_TEST(every_truncation_is_refused) {
    for (size_t n = 0; n < strlen(good); n++) {
        struct hw_tokenizer *tokenizer = NULL;
        struct hw_error err = {0};
        ck_assert_msg(open_bytes(good, n, NULL, &tokenizer, &err) == HW_INPUT,
                      "cut after %zu bytes", n);
    }
}
END_TEST

START_TEST(a_catastrophic_pattern_ends_in_an_error) {
    json_t *root = json_loads(good, 0, NULL);
    set_at(root, "pre_tokenizer.pretokenizers.0.pattern",
           json_pack("{s:s}", "Regex", "(?:a|aa)+[bc]"));
    char *bytes = json_dumps(root, 0);
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    ck_assert_msg(open_bytes(bytes, strlen(bytes), NULL, &tokenizer, &err) == HW_OK, "%s",
                  err.message);
    struct hw_tokens tokens = {0};
    char text[65];
    memset(text, 'a', 64);
    text[64] = '\0';
    ck_assert_int_eq(hw_tokenizer_encode(tokenizer, text, 64, HW_BOS_NO, &tokens, &err), HW_INPUT);
    ck_assert_ptr_nonnull(
        strstr(err.message, "the split pattern gives up at byte 0 of a piece of 64 bytes"));
    ck_assert_uint_eq(tokens.n, 0);
    hw_tokens_free(&tokens);
    hw_tokenizer_close(&tokenizer);
    free(bytes);
    json_decref(root);
}
END_TEST

START_TEST(texts_that_are_no_utf8_are_refused_with_the_place) {
    static const struct {
        const char *text;
        size_t n;
        size_t bad;
    } texts[] = {
        {"\x80", 1, 0},
        {"a\xff", 2, 1},
        {"\xc0\x80", 2, 0},         // overlong NUL
        {"\xc1\xbf", 2, 0},         // overlong
        {"ab\xe0\x80\x80", 5, 2},   // overlong
        {"\xed\xa0\x80", 3, 0},     // a surrogate
        {"\xed\xbf\xbf", 3, 0},     // a surrogate
        {"\xf0\x8f\xbf\xbf", 4, 0}, // overlong
        {"\xf4\x90\x80\x80", 4, 0}, // past U+10FFFF
        {"\xf5\x80\x80\x80", 4, 0}, //
        {"\xc3", 1, 0},             // cut
        {"a\xe4\xb8", 3, 1},        // cut
        {"a\xf0\x9f\x99", 4, 1},    // cut
        {"\xe4\xb8\xad\xe4\xb8\x41", 6, 3},
        {"\xc3\x28", 2, 0},
    };
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    ck_assert_int_eq(open_bytes(good, strlen(good), NULL, &tokenizer, &err), HW_OK);
    struct hw_tokens tokens = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        unsigned char *exact = byte_copy(texts[i].text, texts[i].n);
        char reason[80];
        (void)snprintf(reason, sizeof reason,
                       "the text is not valid UTF-8 at byte %zu (found 0x%02x)", texts[i].bad,
                       (unsigned char)texts[i].text[texts[i].bad]);
        ck_assert_int_eq(hw_tokenizer_encode(tokenizer, (const char *)exact, texts[i].n,
                                             HW_BOS_AUTO, &tokens, &err),
                         HW_INPUT);
        ck_assert_str_eq(err.message, reason);
        ck_assert_uint_eq(tokens.n, 0);
        free(exact);
    }
    hw_tokens_free(&tokens);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

START_TEST(a_run_too_long_to_merge_is_refused) {
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    ck_assert_int_eq(open_bytes(good, strlen(good), NULL, &tokenizer, &err), HW_OK);
    size_t n = ((size_t)1 << 24) + 1;
    char *text = malloc(n);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', n);
    struct hw_tokens tokens = {0};
    ck_assert_int_eq(hw_tokenizer_encode(tokenizer, text, n, HW_BOS_NO, &tokens, &err), HW_INPUT);
    ck_assert_str_eq(err.message,
                     "a run of 16777217 bytes without a place to split (limit 16777216)");
    hw_tokens_free(&tokens);
    free(text);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenizer_bad");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_good_file_is_good);
    tcase_add_loop_test(tcase, a_wrong_component_is_refused_by_name, 0,
                        sizeof changes / sizeof changes[0]);
    tcase_add_loop_test(tcase, a_wrong_configuration_is_refused, 0,
                        sizeof configs / sizeof configs[0]);
    tcase_add_test(tcase, a_missing_bos_is_refused);
    tcase_add_test(tcase, what_is_not_json_is_refused);
    tcase_add_test(tcase, every_truncation_is_refused);
    tcase_add_test(tcase, a_catastrophic_pattern_ends_in_an_error);
    tcase_add_test(tcase, texts_that_are_no_utf8_are_refused_with_the_place);
    tcase_add_test(tcase, a_run_too_long_to_merge_is_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
