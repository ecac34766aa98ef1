// A manifest comes back as it was, differences are named, and what is none is refused.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/manifest.h"
#include "trace_folder.h"

static const char *folder;

static void setup(void) {
    folder = trace_folder_make();
}

static void teardown(void) {
    trace_folder_remove();
}

static struct hw_manifest make(const char *compared_text, size_t n_prompts) {
    struct hw_manifest manifest;
    struct hw_error err;
    json_t *compared = json_loads(compared_text, 0, NULL);
    json_t *root = json_pack("{s:s}", "run_id", "one");
    struct hw_provenance provenance = {root, NULL, "{}", NULL, "[]", NULL};
    ck_assert_msg(hw_manifest_make(compared, &provenance, n_prompts, 64, 1, &manifest, &err) ==
                      HW_OK,
                  "%s", err.message);
    json_decref(compared);
    json_decref(root);
    return manifest;
}

START_TEST(manifest_comes_back) {
    struct hw_manifest manifest = make("{\"a\": {\"b\": [1, 2]}}", 10), found;
    struct hw_error err;
    ck_assert_int_eq(hw_manifest_write(&manifest, folder, &err), HW_OK);
    ck_assert_int_eq(hw_manifest_write(&manifest, folder, &err), HW_OUTPUT); // never over another
    ck_assert_uint_eq(trace_folder_count(".tmp"), 0);
    ck_assert_int_eq(hw_manifest_read(folder, &found, &err), HW_OK);
    ck_assert_uint_eq(found.n_prompts, 10);
    ck_assert_uint_eq(found.commit_every, 64);
    ck_assert_str_eq(found.provenance.config_json, "{}");
    ck_assert_ptr_null(found.provenance.kernels_json);
    ck_assert_str_eq(json_string_value(json_object_get(found.provenance.root_attributes, "run_id")),
                     "one");
    ck_assert_int_eq(hw_manifest_compare(&found, &manifest, &err), HW_OK);
    char *kept = hw_manifest_kept_text(&found);
    ck_assert_int_eq(hw_manifest_compare_kept(kept, &manifest, &err), HW_OK);
    ck_assert_ptr_null(strstr(kept, "one")); // what differs between equal runs is not kept
    free(kept);
    hw_manifest_close(&found);
    hw_manifest_close(&manifest);
}
END_TEST

START_TEST(differences_are_named) {
    static const struct {
        const char *there;
        const char *message;
    } cases[] = {
        {"{\"a\": {\"b\": [1, 3]}}", "a.b is [1,3] there and [1,2] here"},
        {"{\"a\": {}}", "a.b is nothing there and [1,2] here"},
        {"{\"a\": {\"b\": [1, 2], \"c\": \"x\"}}", "a.c is \"x\" there and nothing here"},
        {"{\"a\": 5}", "a is 5 there and {\"b\":[1,2]} here"},
    };
    struct hw_manifest wanted = make("{\"a\": {\"b\": [1, 2]}}", 10);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hw_error err;
        struct hw_manifest there = make(cases[i].there, 10);
        ck_assert_int_eq(hw_manifest_compare(&there, &wanted, &err), HW_OUTPUT);
        ck_assert_msg(strstr(err.message, cases[i].message) != NULL, "%s", err.message);
        hw_manifest_close(&there);
    }
    hw_manifest_close(&wanted);
}
END_TEST

START_TEST(other_files_are_refused) {
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{}",
                                        "{\"version\": 2}",
                                        "{\"version\": 1, \"n_prompts\": -1, \"commit_every\": 1, "
                                        "\"n_shards\": 1, \"compared\": {}, "
                                        "\"root_attributes\": {}, \"attributes\": {}}",
                                        "{\"version\": 1, \"n_prompts\": 1, \"commit_every\": 0, "
                                        "\"n_shards\": 1, \"compared\": {}, "
                                        "\"root_attributes\": {}, \"attributes\": {}}",
                                        "{\"version\": 1, \"n_prompts\": 1, \"commit_every\": 1, "
                                        "\"n_shards\": 1, \"compared\": [], "
                                        "\"root_attributes\": {}, \"attributes\": {}}"};
    char path[200];
    (void)snprintf(path, sizeof path, "%s/manifest.json", folder);
    struct hw_error err;
    struct hw_manifest found;
    ck_assert_int_eq(hw_manifest_read(folder, &found, &err), HW_INPUT);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        (void)unlink(path);
        ck_assert_int_eq(hw_commit_write(path, texts[i], strlen(texts[i]), &err), HW_OK);
        ck_assert_int_eq(hw_manifest_read(folder, &found, &err), HW_INPUT);
        ck_assert_msg(strstr(err.message, "manifest") != NULL, "%s", err.message);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("manifest");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, manifest_comes_back);
    tcase_add_test(tcase, differences_are_named);
    tcase_add_test(tcase, other_files_are_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
