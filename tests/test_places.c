// The caches are found by the environment, and a model's name is a path where there is one.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "safetensors_writer.h"
#include "tools/places.h"

static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
static const char *const variables[] = {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};

static void forget(void) {
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(unsetenv(variables[i]), 0);
    }
}

static void set(const char *variable, const char *value) {
    ck_assert_int_eq(setenv(variable, value, 1), 0);
}

// A home with a hub cache of one snapshot at `place` in it.
static char *home_with_cache(const char *place) {
    char *home = temp_folder_new();
    char name[256];
    (void)snprintf(name, sizeof name, "%s/models--org--m/refs/main", place);
    free(temp_file(home, name, commit, strlen(commit)));
    (void)snprintf(name, sizeof name, "%s/models--org--m/snapshots/%s/config.json", place, commit);
    free(temp_file(home, name, "{}", 2));
    return home;
}

static void expect_path(const char *model, const char *path) {
    char *found = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_place_of_model(model, &found, &err) == HW_OK, "%s", err.message);
    ck_assert_str_eq(found, path);
    free(found);
}

START_TEST(hub_cache_is_the_first_that_is_set) {
    static const char *const places[] = {".", "hub", "huggingface/hub", ".cache/huggingface/hub"};
    char *found = NULL;
    struct hw_error err = {0};
    forget();
    ck_assert_int_eq(hw_place_of_model("org/m", &found, &err), HW_INPUT);
    ck_assert_ptr_null(found);
    ck_assert_str_eq(err.message, "org/m: no such file or folder, and no hub cache: HF_HUB_CACHE, "
                                  "HF_HOME and HOME are not set");
    // The last first: each goes before those that are set already.
    for (size_t i = 4; i-- > 0;) {
        char *home = home_with_cache(places[i]);
        char path[512];
        (void)snprintf(path, sizeof path, "%s%s%s/models--org--m/snapshots/%s", home,
                       i > 0 ? "/" : "", i > 0 ? places[i] : "", commit);
        set(variables[i], home);
        expect_path("org/m", path);
        temp_folder_remove(&home);
    }
    ck_assert_int_eq(hw_place_of_model("org/m", &found, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "nor a model in the local hub cache"));
}
END_TEST

START_TEST(path_that_is_there_goes_first) {
    char *home = home_with_cache("hub");
    char *file = temp_file(home, "org/m", "x", 1);
    forget();
    set("HF_HOME", home);
    ck_assert_int_eq(chdir(home), 0);
    expect_path("org/m", "org/m");
    ck_assert_int_eq(unlink(file), 0);
    char path[512];
    (void)snprintf(path, sizeof path, "%s/hub/models--org--m/snapshots/%s", home, commit);
    expect_path("org/m", path);
    // No names of the hub: whoever opens them says what is wrong.
    expect_path("org/m@../x", "org/m@../x");
    expect_path("/no/such/model", "/no/such/model");
    expect_path("", "");
    ck_assert_int_eq(chdir("/"), 0);
    free(file);
    temp_folder_remove(&home);
}
END_TEST

static void expect_hashes(const char *path) {
    char *found = hw_place_of_hashes();
    if (path == NULL) {
        ck_assert_ptr_null(found);
    } else {
        ck_assert_str_eq(found, path);
    }
    free(found);
}

START_TEST(hashes_are_kept_in_the_cache_folder) {
    forget();
    expect_hashes(NULL);
    set("HOME", "relative");
    expect_hashes(NULL);
    set("HOME", "/home/a");
    expect_hashes("/home/a/.cache/headwater/model-hashes");
    set("XDG_CACHE_HOME", "relative"); // to be ignored, says the specification
    expect_hashes("/home/a/.cache/headwater/model-hashes");
    set("XDG_CACHE_HOME", "/var/x");
    expect_hashes("/var/x/headwater/model-hashes");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("places");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, hub_cache_is_the_first_that_is_set);
    tcase_add_test(tcase, path_that_is_there_goes_first);
    tcase_add_test(tcase, hashes_are_kept_in_the_cache_folder);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
