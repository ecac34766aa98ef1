// Opening with each allocation failing once, or all from there on: no crash, no leak, nothing
// handed out, and said as what it is.
//
// The program is linked with --wrap for every allocating function that formats/ calls; jansson is
// given the same one.
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checkpoint.h"
#include "formats/hub.h"
#include "gguf_writer.h"
#include "safetensors_writer.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);
int __wrap_asprintf(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool is_counting;
static bool is_lasting; // every later allocation fails too
static long n_left;     // allocations until one fails; below 0: it has failed

static bool fails(void) {
    if (!is_counting) {
        return false;
    }
    n_left--;
    return is_lasting ? n_left < 0 : n_left == -1;
}

void *__wrap_malloc(size_t n) {
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t n) {
    return fails() ? NULL : __real_realloc(old, n);
}

char *__wrap_strdup(const char *text) {
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t n) {
    return fails() ? NULL : __real_strndup(text, n);
}

int __wrap_asprintf(char **ret, const char *format, ...) {
    if (fails()) {
        *ret = (char *)1; // undefined on failure: whoever frees it is caught
        return -1;
    }
    va_list args;
    va_start(args, format);
    int n = vasprintf(ret, format, args);
    va_end(args);
    return n;
}

// Opens a file or folder, or a name of the hub whose cache is given.
static enum hw_status open_any(const char *path, const char *cache,
                               struct hw_checkpoint **ret_checkpoint, struct hw_error *err) {
    char *found = NULL;
    enum hw_status status = cache != NULL ? hw_hub_find(cache, path, &found, err) : HW_OK;
    status = status != HW_OK
                 ? status
                 : hw_checkpoint_open(found != NULL ? found : path, ret_checkpoint, err);
    free(found);
    return status;
}

// Opens `path` with the k-th allocation failing, for every k until none fails; returns how many
// there are.
static long walk(const char *path, const char *cache, bool has_json) {
    json_set_alloc_funcs(__wrap_malloc, free);
    for (long k = 0;; k++) {
        struct hw_checkpoint *checkpoint = NULL;
        struct hw_error err = {0};
        n_left = k;
        is_counting = true;
        enum hw_status status = open_any(path, cache, &checkpoint, &err);
        is_counting = false;
        if (n_left >= 0) {
            ck_assert_msg(status == HW_OK, "%s", err.message);
            hw_checkpoint_close(&checkpoint);
            return k;
        }
        // jansson calls some of its own failures an invalid token.
        bool is_said = status == HW_RESOURCE || (has_json && status == HW_INPUT);
        ck_assert_msg(is_said, "allocation %ld: status %d: %s", k, status, err.message);
        ck_assert_ptr_null(checkpoint);
        ck_assert_msg(strstr(err.message, "memory") != NULL || status == HW_INPUT, "%s",
                      err.message);
    }
}

START_TEST(gguf_survives) {
    is_lasting = _i != 0;
    ck_assert_int_gt(walk(HW_TEST_DATA "/models/llama-gqa-q8_0.gguf", NULL, false), 50);
}
END_TEST

START_TEST(split_set_survives) {
    is_lasting = _i != 0;
    char *folder = temp_folder_new();
    char *first = NULL;
    for (uint32_t no = 0; no < 2; no++) {
        struct byte_buffer file = {0};
        char name[32];
        gguf_put_header(&file, 3, 1, 2);
        gguf_put_value_u(&file, "split.no", HW_GGUF_U16, no);
        gguf_put_value_u(&file, "split.count", HW_GGUF_U16, 2);
        gguf_put_tensor(&file, no == 0 ? "a" : "b", 1, (uint64_t[]){4}, GGUF_I8, 0);
        byte_buffer_pad(&file, 32);
        byte_buffer_put_u(&file, 0, 4);
        (void)snprintf(name, sizeof name, "m-%05u-of-00002.gguf", no + 1);
        char *path = temp_file(folder, name, file.bytes, file.n);
        if (no == 0) {
            first = path;
        } else {
            free(path);
        }
        byte_buffer_free(&file);
    }
    ck_assert_int_gt(walk(first, NULL, false), 15);
    free(first);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(hub_folder_survives) {
    is_lasting = _i != 0;
    static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
    static const char snapshot[] =
        "models--o--m/snapshots/0123456789abcdef0123456789abcdef01234567";
    static const char config[] = "{\"a\": [1, 2.5, \"x\"]}";
    static const char index[] = "{\"weight_map\":{\"w\":\"m.safetensors\"}}";
    char *cache = temp_folder_new();
    char name[128];
    struct byte_buffer file = {0};
    free(temp_file(cache, "models--o--m/refs/main", commit, sizeof commit - 1));
    (void)snprintf(name, sizeof name, "%s/config.json", snapshot);
    free(temp_file(cache, name, config, sizeof config - 1));
    (void)snprintf(name, sizeof name, "%s/model.safetensors.index.json", snapshot);
    free(temp_file(cache, name, index, sizeof index - 1));
    safetensors_put(&file, "{\"w\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    (void)snprintf(name, sizeof name, "%s/m.safetensors", snapshot);
    free(temp_file(cache, name, file.bytes, file.n));
    byte_buffer_free(&file);
    ck_assert_int_gt(walk("o/m", cache, true), 50);
    temp_folder_remove(&cache);
}
END_TEST

START_TEST(metadata_is_whole_or_not_there) {
    json_set_alloc_funcs(__wrap_malloc, free);
    struct hw_checkpoint *checkpoint = NULL;
    ck_assert_int_eq(
        hw_checkpoint_open(HW_TEST_DATA "/models/llama-gqa-q8_0.gguf", &checkpoint, NULL), HW_OK);
    char *whole = hw_checkpoint_metadata_json(checkpoint);
    ck_assert_ptr_nonnull(whole);
    for (long k = 0;; k++) {
        n_left = k;
        is_counting = true;
        char *json = hw_checkpoint_metadata_json(checkpoint);
        is_counting = false;
        if (json != NULL) {
            ck_assert_str_eq(json, whole);
            free(json);
        }
        if (n_left >= 0) {
            ck_assert_ptr_nonnull(json);
            ck_assert_int_gt(k, 50);
            break;
        }
    }
    free(whole);
    hw_checkpoint_close(&checkpoint);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("checkpoint_memory");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_loop_test(tcase, gguf_survives, 0, 2);
    tcase_add_loop_test(tcase, split_set_survives, 0, 2);
    tcase_add_loop_test(tcase, hub_folder_survives, 0, 2);
    tcase_add_test(tcase, metadata_is_whole_or_not_there);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
