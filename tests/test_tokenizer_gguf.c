// Tokenizers in GGUF metadata that are wrong are refused with the reason; nothing leaks when memory
// runs out.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"
#include "formats/tokenizer.h"
#include "tests/byte_buffer.h"
#include "tests/failing_malloc.h"
#include "tests/gguf_vocabulary.h"
#include "tests/tokenizer_vectors.h"

static char *folder;

static void setup(void) {
    folder = temp_folder_new();
}

static void teardown(void) {
    temp_folder_remove(&folder);
}

static const char *const tokens_good[] = {"a", "b", "ab", "<s>"};
static const int32_t types_good[] = {1, 1, 1, 3};
static const char *const merges_good[] = {"a b"};
static const char *const tokens_empty_special[] = {"a", "b", "ab", ""};
static const char *const tokens_twice[] = {"a", "b", "ab", "a"};
static const char *const tokens_not_utf8[] = {"a", "b", "ab", "\xff"};
static const int32_t types_byte[] = {1, 1, 6, 3};
static const int32_t types_zero[] = {1, 0, 1, 3};
static const char *const merges_one_part[] = {"ab"};
static const char *const merges_empty[] = {""};
static const char *const merges_no_right[] = {"a "};
static const char *const merges_unknown[] = {"a c"};
#define GOOD_TOKENS .tokens = tokens_good, .n_tokens = 4
#define GOOD_TYPES .types = types_good, .n_types = 4
#define GOOD_MERGES .merges = merges_good, .n_merges = 1
#define GOOD_NAMES .model = "gpt2", .pre = "gpt-2"
#define NO_IDS .bos = -1, .eos = -1, .add_bos = -1

static const struct {
    struct gguf_vocabulary vocabulary;
    const char *reason; // NULL: good
} ggufs[] = {
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, NO_IDS}, NULL},
    {{.model = "gpt2", GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, NO_IDS},
     NULL}, // the pattern `default`
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_MERGES, NO_IDS}, NULL},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, .bos = UINT32_MAX, .eos = 2, .add_bos = 0},
     NULL},
    {{.pre = "gpt-2", GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, NO_IDS}, "tokenizer.ggml.model"},
    {{.model = "llama", .pre = "gpt-2", GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, NO_IDS},
     "tokenizer.ggml.model 'llama' is not supported (known: gpt2)"},
    {{.model = "gpt2", .pre = "tekken", GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, NO_IDS},
     "tokenizer.ggml.pre 'tekken' is not supported (known: gpt-2, "},
    {{GOOD_NAMES, GOOD_TYPES, GOOD_MERGES, NO_IDS},
     "tokenizer.ggml.tokens is missing (expected a list of strings)"},
    {{GOOD_NAMES, .tokens = tokens_good, .n_tokens = 0, GOOD_MERGES, NO_IDS}, "has 0 tokens"},
    {{GOOD_NAMES, GOOD_TOKENS, .types = types_good, .n_types = 3, GOOD_MERGES, NO_IDS},
     "tokenizer.ggml.token_type has 3 values for 4 tokens"},
    {{GOOD_NAMES, GOOD_TOKENS, .types = types_byte, .n_types = 4, GOOD_MERGES, NO_IDS},
     "tokenizer.ggml.token_type of token 2 is 6 (expected 1 to 5)"},
    {{GOOD_NAMES, GOOD_TOKENS, .types = types_zero, .n_types = 4, GOOD_MERGES, NO_IDS},
     "of token 1 is 0"},
    {{GOOD_NAMES, .tokens = tokens_empty_special, .n_tokens = 4, GOOD_TYPES, GOOD_MERGES, NO_IDS},
     "special token 3 is empty"},
    {{GOOD_NAMES, .tokens = tokens_twice, .n_tokens = 4, GOOD_MERGES, NO_IDS},
     "token 'a' has two ids, 0 and 3"},
    {{GOOD_NAMES, .tokens = tokens_not_utf8, .n_tokens = 4, GOOD_MERGES, NO_IDS},
     "the text of token 3 is not valid UTF-8 without NUL: '\\xff'"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, NO_IDS}, "tokenizer.ggml.merges is missing"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, .merges = merges_one_part, .n_merges = 1, NO_IDS},
     "merge 0 has no two parts: 'ab'"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, .merges = merges_empty, .n_merges = 1, NO_IDS},
     "merge 0 has no two parts"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, .merges = merges_no_right, .n_merges = 1, NO_IDS},
     "merge 0 has no two parts"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, .merges = merges_unknown, .n_merges = 1, NO_IDS},
     "merge 0, 'a' 'c': the right part is not in the vocabulary"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, .bos = 4, .eos = -1, .add_bos = -1},
     "tokenizer.ggml.bos_token_id is 4 (expected below 4"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, .bos = -1, .eos = 9, .add_bos = -1},
     "tokenizer.ggml.eos_token_id is 9"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, .bos = -1, .eos = -1, .add_bos = 1},
     "BOS is to be added, but tokenizer.ggml.bos_token_id is missing"},
    {{.model = "gpt2", .pre = "llama-bpe", GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, NO_IDS},
     "BOS is to be added"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, NO_IDS,
      .set_flag = "tokenizer.ggml.add_eos_token"},
     "tokenizer.ggml.add_eos_token is true, which is not supported"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, NO_IDS,
      .set_flag = "tokenizer.ggml.add_sep_token"},
     "tokenizer.ggml.add_sep_token is true"},
    {{GOOD_NAMES, GOOD_TOKENS, GOOD_TYPES, GOOD_MERGES, NO_IDS,
      .set_flag = "tokenizer.ggml.remove_extra_whitespaces"},
     "remove_extra_whitespaces is true"},
};

static struct hw_gguf *open_gguf(const struct gguf_vocabulary *vocabulary) {
    struct byte_buffer buffer = {0};
    gguf_vocabulary_put(&buffer, vocabulary);
    char *path = temp_file(folder, "t.gguf", buffer.bytes, buffer.n);
    struct hw_gguf *gguf = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_gguf_open(path, &gguf, &err) == HW_OK, "%s", err.message);
    free(path);
    byte_buffer_free(&buffer);
    return gguf;
}

START_TEST(wrong_metadata_are_refused) {
    struct hw_gguf *gguf = open_gguf(&ggufs[_i].vocabulary);
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    enum hw_status status = hw_tokenizer_open_gguf(gguf, &tokenizer, &err);
    if (ggufs[_i].reason == NULL) {
        ck_assert_msg(status == HW_OK, "%s", err.message);
    } else {
        ck_assert_int_eq(status, HW_INPUT);
        ck_assert_ptr_null(tokenizer);
        ck_assert_msg(strstr(err.message, ggufs[_i].reason) != NULL, "expected '%s', found '%s'",
                      ggufs[_i].reason, err.message);
    }
    hw_tokenizer_close(&tokenizer);
    hw_gguf_close(&gguf);
}
END_TEST

// Walks the n-th allocation of opening and of encoding; each must end in HW_RESOURCE and leak
// nothing (the sanitizer looks).
START_TEST(running_out_of_memory_is_an_error) {
    struct hw_gguf *gguf = open_gguf(&ggufs[0].vocabulary);
    const char *path = vectors_path("added.json");
    static const char text[] = "ab  <mask> e\xCC\x81 word ab";
    bool is_done = false;
    size_t n;
    for (n = 0; !is_done; n++) {
        struct hw_tokenizer *from_json = NULL;
        struct hw_tokenizer *from_gguf = NULL;
        struct hw_tokens tokens = {0};
        struct hw_error err = {0};
        failing_malloc_after(n);
        enum hw_status status = hw_tokenizer_open_gguf(gguf, &from_gguf, &err);
        if (status == HW_OK) {
            status = hw_tokenizer_open_json(path, NULL, &from_json, &err);
        }
        if (status == HW_OK) {
            status = hw_tokenizer_encode(from_json, text, strlen(text), HW_BOS_NO, &tokens, &err);
        }
        bool has_failed = failing_malloc_stop();
        ck_assert_msg(status == (has_failed ? HW_RESOURCE : HW_OK), "allocation %zu: status %d, %s",
                      n, (int)status, err.message);
        ck_assert_uint_eq(tokens.n > 0, status == HW_OK);
        is_done = !has_failed;
        hw_tokens_free(&tokens);
        hw_tokenizer_close(&from_json);
        hw_tokenizer_close(&from_gguf);
    }
    ck_assert_uint_gt(n, 30); // as many as there are, or the walk did not happen
    hw_gguf_close(&gguf);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenizer_gguf");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, wrong_metadata_are_refused, 0, sizeof ggufs / sizeof ggufs[0]);
    tcase_add_test(tcase, running_out_of_memory_is_an_error);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
