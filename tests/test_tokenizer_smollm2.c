// The tokenizer inside the SmolLM2 file (meson option `smollm2`) gives the ids of HF tokenizers.
// Exit 77, a counted skip, without it.
#include <check.h>
#include <stdio.h>

#include "formats/checkpoint.h"
#include "formats/tokenizer.h"
#include "tests/tokenizer_vectors.h"

static const char path[] = HW_SMOLLM2;

START_TEST(smollm2_gives_the_ids_of_hf_tokenizers) {
    struct hw_checkpoint *checkpoint = NULL;
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_checkpoint_open(path, &checkpoint, &err) == HW_OK, "%s", err.message);
    ck_assert_msg(hw_tokenizer_open(checkpoint, &tokenizer, &err) == HW_OK, "%s", err.message);
    hw_checkpoint_close(&checkpoint);
    ck_assert_int_eq(vectors_run(tokenizer, "smollm2"), 0);
    ck_assert_uint_eq(hw_tokenizer_n_vocab(tokenizer), 49152);
    ck_assert_str_eq(hw_tokenizer_pre(tokenizer), "smollm");
    ck_assert_int_eq(hw_tokenizer_bos(tokenizer), 1);
    ck_assert(!hw_tokenizer_adds_bos(tokenizer));
    ck_assert(hw_tokenizer_is_end(tokenizer, 2) && hw_tokenizer_is_end(tokenizer, 0));
    ck_assert(!hw_tokenizer_is_end(tokenizer, 1));
    ck_assert(hw_tokenizer_is_special(tokenizer, 16) && !hw_tokenizer_is_special(tokenizer, 17));
    hw_tokenizer_close(&tokenizer);
}
END_TEST

int main(void) {
    if (path[0] == '\0') {
        printf("skipped: needs the SmolLM2 file (meson configure -Dsmollm2=PATH)\n");
        return 77;
    }
    Suite *suite = suite_create("tokenizer_smollm2");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, smollm2_gives_the_ids_of_hf_tokenizers);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
