// Names of the hub are found in its local cache, and a name cannot lead out of it.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/checkpoint.h"
#include "safetensors_writer.h"

static void put_text(const char *folder, const char *name, const char *text) {
    free(temp_file(folder, name, text, strlen(text)));
}

static struct hw_checkpoint *open_good(const char *path) {
    struct hw_checkpoint *checkpoint = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_checkpoint_open(path, &checkpoint, &err) == HW_OK, "%s", err.message);
    return checkpoint;
}

static void expect_refused(const char *path, const char *message) {
    struct hw_checkpoint *checkpoint = NULL;
    struct hw_error err = {0};
    ck_assert_int_eq(hw_checkpoint_open(path, &checkpoint, &err), HW_INPUT);
    ck_assert_ptr_null(checkpoint);
    ck_assert_msg(strstr(err.message, message) != NULL, "expected \"%s\" in \"%s\"", message,
                  err.message);
}

static const char commit[] = "0123456789abcdef0123456789abcdef01234567";

// A hub cache as huggingface_hub lays it out: refs, and a snapshot whose files are links into
// blobs.
static char *hub_cache(void) {
    char *cache = temp_folder_new();
    put_text(cache, "models--org--m.1/blobs/c", "{}");
    safetensors_put_shard(cache, "models--org--m.1/blobs/w", "a");
    put_text(cache, "models--org--m.1/refs/main", commit);
    put_text(cache, "models--org--m.1/refs/refs/pr/1",
             "0123456789abcdef0123456789abcdef01234567\n");
    put_text(cache, "models--org--m.1/refs/bad", "../../../../etc");
    put_text(cache, "models--org--m.1/refs/gone", "ffffffffffffffffffffffffffffffffffffffff");
    static const char *const links[][2] = {{"config.json", "../../blobs/c"},
                                           {"model.safetensors", "../../blobs/w"}};
    for (size_t i = 0; i < 2; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "models--org--m.1/snapshots/%s/%s", commit, links[i][0]);
        char *path = temp_file(cache, name, "", 0);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(symlink(links[i][1], path), 0);
        free(path);
    }
    return cache;
}

START_TEST(hub_names_are_looked_up_in_the_cache) {
    char *cache = hub_cache();
    ck_assert_int_eq(setenv("HF_HUB_CACHE", cache, 1), 0);
    static const char *const good[] = {"org/m.1", "org/m.1@main", "org/m.1@refs/pr/1",
                                       "org/m.1@0123456789abcdef0123456789abcdef01234567"};
    for (size_t i = 0; i < 4; i++) {
        struct hw_checkpoint *checkpoint = open_good(good[i]);
        ck_assert_ptr_nonnull(hw_checkpoint_find(checkpoint, "a"));
        ck_assert_ptr_nonnull(strstr(hw_checkpoint_path(checkpoint), commit));
        hw_checkpoint_close(&checkpoint);
    }
    static const char *const bad[][2] = {
        {"org/other", "org/other: no such file or folder, nor a model in the local hub cache"},
        {"org/m.1@v2", "org/m.1@v2: revision v2 is not in the local hub cache"},
        {"org/m.1@bad", "refs/bad: expected a commit of 40 hex digits, found 15 bytes"},
        {"org/m.1@gone", "not in the local hub cache: no folder"},
        {"org/m.1@ffffffffffffffffffffffffffffffffffffffff",
         "not in the local hub cache: no folder"},
        {"org/m.1@../main", "No such file"},
        {"org/..", "No such file"},
        {"../m.1", "No such file"},
        {"org/m.1@", "No such file"},
        {"org/m.1/x", "No such file"},
        {"m.1", "No such file"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        expect_refused(bad[i][0], bad[i][1]);
    }
    temp_folder_remove(&cache);
}
END_TEST

START_TEST(hub_cache_is_found_by_the_environment) {
    static const char *const variables[][2] = {{"HF_HOME", "hub"},
                                               {"XDG_CACHE_HOME", "huggingface/hub"},
                                               {"HOME", ".cache/huggingface/hub"}};
    ck_assert_int_eq(unsetenv("HF_HUB_CACHE"), 0);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(unsetenv(variables[i][0]), 0);
    }
    expect_refused("org/m.1", "HF_HUB_CACHE, HF_HOME and HOME are not set");
    char *cache = hub_cache();
    for (size_t i = 0; i < 3; i++) {
        char *home = temp_folder_new();
        char *place = temp_file(home, variables[i][1], "", 0);
        ck_assert_int_eq(unlink(place), 0);
        ck_assert_int_eq(symlink(cache, place), 0);
        ck_assert_int_eq(setenv(variables[i][0], home, 1), 0);
        struct hw_checkpoint *checkpoint = open_good("org/m.1");
        hw_checkpoint_close(&checkpoint);
        ck_assert_int_eq(unsetenv(variables[i][0]), 0);
        free(place);
        temp_folder_remove(&home);
    }
    temp_folder_remove(&cache);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("hub");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, hub_names_are_looked_up_in_the_cache);
    tcase_add_test(tcase, hub_cache_is_found_by_the_environment);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
