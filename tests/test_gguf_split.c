// Split sets of GGUF files read as one model where they belong together, and old quantisation is
// not guessed at.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_internal.h"
#include "gguf_writer.h"

// What blocks of the first GGUF files mean is not known here; without quantised tensors the version
// does not matter.
START_TEST(old_quantisation_is_refused) {
    for (int is_quantised = 0; is_quantised < 2; is_quantised++) {
        struct byte_buffer file = {0};
        gguf_put_header(&file, 2, 1, 1);
        gguf_put_value_u(&file, "general.quantization_version", HW_GGUF_U32, 1);
        gguf_put_tensor(&file, "w", 1, (uint64_t[]){32}, is_quantised ? GGUF_Q4_1 : GGUF_F32, 0);
        byte_buffer_pad(&file, 32);
        byte_buffer_put(&file, (char[128]){0}, is_quantised ? 20 : 128);
        struct hw_gguf *gguf = NULL;
        struct hw_error err = {0};
        enum hw_status status = hw_gguf_open_bytes("old.gguf", file.bytes, file.n, &gguf, &err);
        ck_assert_int_eq(status, is_quantised ? HW_INPUT : HW_OK);
        if (is_quantised) {
            ck_assert_str_eq(err.message,
                             "old.gguf: key general.quantization_version: u32 1, expected 2");
        }
        hw_gguf_close(&gguf);
        byte_buffer_free(&file);
    }
}
END_TEST

// A split set of n files with one tensor each, as llama.cpp's gguf-split writes it: the metadata
// are in the first.
struct split {
    uint16_t no[3];
    uint16_t count[3];
    int32_t n_tensors;
    const char *tensors[3];
    const char *repeated; // a value of general.name in the last file; NULL: none
    int n_files;
};

static char *write_split(const char *folder, const struct split *split) {
    char *first = NULL;
    for (int i = 0; i < split->n_files; i++) {
        struct byte_buffer file = {0};
        bool is_repeated = i == 2 && split->repeated != NULL;
        gguf_put_header(&file, 3, 1, (i == 0 ? 4 : 3) + is_repeated);
        gguf_put_value_u(&file, "split.no", HW_GGUF_U16, split->no[i]);
        gguf_put_value_u(&file, "split.count", HW_GGUF_U16, split->count[i]);
        gguf_put_value_u(&file, "split.tensors.count", HW_GGUF_I32, (uint32_t)split->n_tensors);
        if (i == 0 || is_repeated) {
            gguf_put_value_string(&file, "general.name", i == 0 ? "a" : split->repeated);
        }
        gguf_put_tensor(&file, split->tensors[i], 1, (uint64_t[]){4}, GGUF_I8, 0);
        byte_buffer_pad(&file, 32);
        byte_buffer_put_u(&file, (uint64_t)i, 4);
        char name[64];
        (void)snprintf(name, sizeof name, "m-%05d-of-00003.gguf", i + 1);
        char *path = temp_file(folder, name, file.bytes, file.n);
        if (i == 0) {
            first = path;
        } else {
            free(path);
        }
        byte_buffer_free(&file);
    }
    return first;
}

static const struct split good_split = {.no = {0, 1, 2},
                                        .count = {3, 3, 3},
                                        .n_tensors = 3,
                                        .tensors = {"x", "y", "z"},
                                        .repeated = "a",
                                        .n_files = 3};

START_TEST(split_set_reads_as_one) {
    char *folder = temp_folder_new();
    char *first = write_split(folder, &good_split);
    struct hw_gguf *gguf = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_gguf_open(first, &gguf, &err) == HW_OK, "%s", err.message);
    ck_assert_uint_eq(hw_gguf_n_tensors(gguf), 3);
    ck_assert_str_eq(hw_gguf_tensor(gguf, 2)->name, "z");
    ck_assert_int_eq(((const unsigned char *)hw_gguf_tensor(gguf, 2)->data)[0], 2);
    ck_assert_ptr_nonnull(hw_gguf_find(gguf, "general.name"));
    hw_gguf_close(&gguf);
    free(first);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(split_set_that_does_not_fit_is_refused) {
    static const struct {
        const char *name;
        struct split change; // fields other than zero replace those of the good set
        const char *message;
    } cases[] = {
        {"file missing", {.n_files = 2}, "m-00003-of-00003.gguf: No such file"},
        {"not the first",
         {.no = {1, 1, 2}},
         "file 2 of a split set, expected the first of the set"},
        {"files exchanged",
         {.no = {0, 2, 1}},
         "m-00002-of-00003.gguf: key split.no: 2, expected 1"},
        {"other count", {.count = {3, 3, 4}}, "key split.count differs from the first file"},
        {"count and name differ",
         {.count = {5, 5, 5}},
         "expected a name ending in -00001-of-00005.gguf"},
        {"tensors missing", {.n_tensors = 4}, "key split.tensors.count: 4, found 3 in 3 files"},
        {"negative count", {.n_tensors = -1}, "split.tensors.count: type i32, expected an integer"},
        {"tensor twice", {.tensors = {"x", "y", "x"}}, "tensor x occurs twice"},
        {"other model",
         {.repeated = "b"},
         "key general.name differs from the first file of the split set"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct split *change = &cases[i].change;
        struct split split = good_split;
        for (int k = 0; k < 3; k++) {
            split.no[k] = change->no[2] != 0 ? change->no[k] : split.no[k];
            split.count[k] = change->count[0] != 0 ? change->count[k] : split.count[k];
            split.tensors[k] = change->tensors[0] != NULL ? change->tensors[k] : split.tensors[k];
        }
        split.n_tensors = change->n_tensors != 0 ? change->n_tensors : split.n_tensors;
        split.repeated = change->repeated != NULL ? change->repeated : split.repeated;
        split.n_files = change->n_files != 0 ? change->n_files : split.n_files;
        char *folder = temp_folder_new();
        char *first = write_split(folder, &split);
        struct hw_gguf *gguf = NULL;
        struct hw_error err = {0};
        enum hw_status status = hw_gguf_open(first, &gguf, &err);
        ck_assert_msg(status == HW_INPUT, "%s: status %d", cases[i].name, status);
        ck_assert_ptr_null(gguf);
        ck_assert_msg(strstr(err.message, cases[i].message) != NULL, "%s: %s", cases[i].name,
                      err.message);
        free(first);
        temp_folder_remove(&folder);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gguf_split");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, old_quantisation_is_refused);
    tcase_add_test(tcase, split_set_reads_as_one);
    tcase_add_test(tcase, split_set_that_does_not_fit_is_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
