// Names of the hub are found in its local cache, and a name cannot lead out of it.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/checkpoint.h"
#include "formats/hub.h"
#include "safetensors_writer.h"

static void put_text(const char *folder, const char *name, const char *text) {
    free(temp_file(folder, name, text, strlen(text)));
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

START_TEST(names_are_looked_up_in_the_cache) {
    char *cache = hub_cache();
    static const char *const good[] = {"org/m.1", "org/m.1@main", "org/m.1@refs/pr/1",
                                       "org/m.1@0123456789abcdef0123456789abcdef01234567"};
    for (size_t i = 0; i < 4; i++) {
        struct hw_checkpoint *checkpoint = NULL;
        struct hw_error err = {0};
        char *folder = NULL;
        ck_assert(hw_hub_is_name(good[i]));
        ck_assert_msg(hw_hub_find(cache, good[i], &folder, &err) == HW_OK, "%s", err.message);
        ck_assert_ptr_nonnull(strstr(folder, commit));
        ck_assert_msg(hw_checkpoint_open(folder, &checkpoint, &err) == HW_OK, "%s", err.message);
        ck_assert_ptr_nonnull(hw_checkpoint_find(checkpoint, "a"));
        hw_checkpoint_close(&checkpoint);
        free(folder);
    }
    temp_folder_remove(&cache);
}
END_TEST

START_TEST(what_is_not_there_is_said) {
    char *cache = hub_cache();
    static const char *const bad[][2] = {
        {"org/other", "org/other: no such file or folder, nor a model in the local hub cache"},
        {"org/m.1@v2", "org/m.1@v2: revision v2 is not in the local hub cache"},
        {"org/m.1@bad", "refs/bad: expected a commit of 40 hex digits, found 15 bytes"},
        {"org/m.1@gone", "not in the local hub cache: no folder"},
        {"org/m.1@ffffffffffffffffffffffffffffffffffffffff",
         "not in the local hub cache: no folder"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hw_error err = {0};
        char *folder = NULL;
        ck_assert(hw_hub_is_name(bad[i][0]));
        ck_assert_int_eq(hw_hub_find(cache, bad[i][0], &folder, &err), HW_INPUT);
        ck_assert_ptr_null(folder);
        ck_assert_msg(strstr(err.message, bad[i][1]) != NULL, "expected \"%s\" in \"%s\"",
                      bad[i][1], err.message);
    }
    temp_folder_remove(&cache);
}
END_TEST

START_TEST(no_name_leads_out_of_the_cache) {
    static const char *const none[] = {"org/m.1@../main", "org/..",      "../m.1", "org/m.1@",
                                       "org/m.1/x",       "org/m.1@a/.", "m.1",    "/m.1"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        ck_assert_msg(!hw_hub_is_name(none[i]), "%s", none[i]);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("hub");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, names_are_looked_up_in_the_cache);
    tcase_add_test(tcase, what_is_not_there_is_said);
    tcase_add_test(tcase, no_name_leads_out_of_the_cache);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
