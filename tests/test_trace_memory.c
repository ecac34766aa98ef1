// Building a part, committing it and reading it with each allocation of ours failing once: a
// message, nothing handed out, nothing left behind.
//
// Linked with --wrap for every allocating function that formats/ calls; HDF5 keeps its own.
#include <check.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/part.h"
#include "formats/trace_reader.h"
#include "trace_folder.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);
char *__wrap_strdup(const char *text);

static atomic_long n_left = -1; // allocations until one fails; the writer and the team allocate too

static bool fails(void) {
    return atomic_load(&n_left) >= 0 && atomic_fetch_sub(&n_left, 1) == 0;
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

static struct hw_layout layout;
static const char *folder;
static int32_t layers[2] = {0, 1}, heads[2] = {0, 1};
static const char *const spans[2] = {"all", "first"};

static void setup(void) {
    folder = trace_folder_make();
    hw_layout_init(&layout);
    layout.has[HW_DS_ATTENTION_ENTROPY] = true;
    layout.has[HW_DS_SINK_SCORE] = true;
    layout.has[HW_DS_ATTENTION_PATTERN] = true;
    for (int g = 0; g < HW_N_GROUPS; g++) {
        layout.groups[g] =
            (struct hw_group_axes){.layers = layers, .n_layers = 2, .heads = heads, .n_heads = 2};
    }
    layout.n_heads = 2;
    layout.n_kv_heads = 2;
    layout.max_tokens = 3;
    layout.n_spans = 2;
    layout.span_names = spans;
}

static void teardown(void) {
    trace_folder_remove();
}

static enum hw_status play(struct hw_destination *to, struct hw_error *err) {
    static const float rows[6] = {1, 2, 3, 4, 5, 6};
    static const uint32_t ids[3] = {1, 2, 3};
    static const uint8_t specials[3] = {0};
    static uint16_t tile[128 * 128];
    struct hw_prompt_record record = {
        .n_tokens = 3, .n_prompt_tokens = 3, .token_ids = ids, .token_is_special = specials};
    enum hw_status status = hw_destination_begin_prompt(to, 0, err);
    for (size_t l = 0; l < 2; l++) {
        status = status != HW_OK
                     ? status
                     : hw_destination_append(to, HW_DS_ATTENTION_ENTROPY, l, 3, rows, err);
        status =
            status != HW_OK ? status : hw_destination_append(to, HW_DS_SINK_SCORE, l, 1, rows, err);
        for (size_t h = 0; h < 2; h++) {
            status = status != HW_OK ? status
                                     : hw_destination_append_map(to, HW_DS_ATTENTION_PATTERN, l, h,
                                                                 1, tile, err);
        }
        status = status != HW_OK ? status : hw_destination_flush(to, err);
    }
    return status != HW_OK ? status : hw_destination_end_prompt(to, &record, err);
}

static enum hw_status make(struct hw_error *err) {
    struct hw_part_options options = {folder, &layout, NULL, 0, 2, 1000, 0};
    struct hw_part *part = NULL;
    struct hw_part_info info;
    enum hw_status status = hw_part_open(&options, &part, err);
    status = status != HW_OK ? status : play(hw_part_base(part), err);
    if (status == HW_OK) {
        status = hw_part_commit(&part, &info, err);
    }
    hw_part_close(&part);
    return status;
}

START_TEST(every_allocation_may_fail) {
    enum hw_status status = HW_RESOURCE;
    struct hw_error err;
    long n_failed = 0;
    for (long n = 0; status != HW_OK; n++) {
        err = (struct hw_error){HW_OK, ""};
        atomic_store(&n_left, n);
        status = make(&err);
        atomic_store(&n_left, -1);
        ck_assert_msg(status == HW_OK || status == HW_RESOURCE, "allocation %ld: status %d, %s", n,
                      (int)status, err.message);
        ck_assert_uint_eq(trace_folder_count(".tmp"), 0);
        ck_assert_uint_eq(trace_folder_count(".h5"), status == HW_OK);
        n_failed += status != HW_OK;
    }
    ck_assert_int_gt(n_failed, 40);
}
END_TEST

START_TEST(every_allocation_of_a_reader_may_fail) {
    struct hw_error err;
    char path[200];
    ck_assert_int_eq(make(&err), HW_OK);
    (void)snprintf(path, sizeof path, "%s/part-00000000-00000000.h5", folder);
    enum hw_status status = HW_RESOURCE;
    long n_failed = 0;
    for (long n = 0; status != HW_OK; n++) {
        struct hw_trace *trace = NULL;
        err = (struct hw_error){HW_OK, ""};
        atomic_store(&n_left, n);
        status = hw_trace_open_trusted(path, &trace, &err);
        atomic_store(&n_left, -1);
        ck_assert_msg(status == HW_OK || (status == HW_RESOURCE && trace == NULL),
                      "allocation %ld: status %d, %s", n, (int)status, err.message);
        n_failed += status != HW_OK;
        hw_trace_close(&trace);
    }
    ck_assert_int_gt(n_failed, 30);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("trace_memory");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 200);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, every_allocation_may_fail);
    tcase_add_test(tcase, every_allocation_of_a_reader_may_fail);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
