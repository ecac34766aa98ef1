// A model on disk opens whatever its container, and what is wrong with a folder is named.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/gguf.h"

static struct hw_checkpoint *open_good(const char *path) {
    struct hw_checkpoint *checkpoint = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_checkpoint_open(path, &checkpoint, &err) == HW_OK, "%s", err.message);
    return checkpoint;
}

START_TEST(folder_and_gguf_twin_have_the_same_weights) {
    struct hw_checkpoint *folder = open_good(HW_TEST_DATA "/models/llama-gqa");
    struct hw_checkpoint *gguf = open_good(HW_TEST_DATA "/models/llama-gqa-f32.gguf");
    ck_assert_int_eq(hw_checkpoint_container(folder), HW_CONTAINER_SAFETENSORS);
    ck_assert_int_eq(hw_checkpoint_container(gguf), HW_CONTAINER_GGUF);
    const struct hw_tensor *a = hw_checkpoint_find(folder, "model.embed_tokens.weight");
    const struct hw_tensor *b = hw_checkpoint_find(gguf, "token_embd.weight");
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(a->n_dims, 2);
    ck_assert_uint_eq(a->shape[0], b->shape[0]);
    ck_assert_uint_eq(a->shape[1], b->shape[1]);
    ck_assert_uint_eq(a->n_bytes, b->n_bytes);
    ck_assert_mem_eq(a->data, b->data, a->n_bytes);
    ck_assert_ptr_nonnull(hw_checkpoint_config(folder));
    ck_assert_ptr_null(hw_checkpoint_config(gguf));
    ck_assert_ptr_nonnull(hw_checkpoint_gguf(gguf));
    ck_assert_str_eq(hw_checkpoint_tokenizer_path(folder),
                     HW_TEST_DATA "/models/llama-gqa/tokenizer.json");
    hw_checkpoint_close(&folder);
    hw_checkpoint_close(&gguf);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, folder_and_gguf_twin_have_the_same_weights);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
