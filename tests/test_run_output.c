// What stands where a run's output goes: it is replaced by the last rename or not at all.
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/merge.h"
#include "formats/run.h"
#include "formats/trace_equal.h"
#include "formats/trace_reader.h"
#include "synthetic.h"
#include "synthetic_run.h"
#include "trace_folder.h"

static char out[100], reference[100];

static void setup(void) {
    const char *folder = synthetic_run_setup();
    (void)snprintf(out, sizeof out, "%s/run.h5", folder);
    (void)snprintf(reference, sizeof reference, "%s/reference.h5", folder);
}

static void teardown(void) {
    hw_fault_disarm();
    synthetic_run_teardown();
}

static void expect_ok(enum hw_status status, const struct hw_error *err) {
    ck_assert_msg(status == HW_OK, "%s", err->message);
}

static bool is_there(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

static void make_reference(void) {
    struct hw_error err;
    struct hw_run_options options = synthetic_run_options(reference, 5);
    expect_ok(synthetic_run_play(&options, SIZE_MAX, &err), &err);
}

static char *hash_of(const char *path) {
    static char hex[65];
    uint64_t n_bytes = 0;
    ck_assert_int_eq(hw_commit_hash(path, hex, &n_bytes, NULL), HW_OK);
    return hex;
}

// An older capture at `out`, of other options than the reference; gives its hash. Made once.
static void put_older(char ret_hash[65]) {
    struct hw_error err;
    char kept[120], *bytes = NULL;
    size_t n = 0;
    (void)snprintf(kept, sizeof kept, "%s.kept", out);
    if (!is_there(kept)) {
        struct hw_run_options options = synthetic_run_options(kept, SYNTHETIC_PROMPTS);
        json_t *older = json_pack("{s:s}", "model", "an older one");
        options.manifest = older;
        expect_ok(synthetic_run_play(&options, SIZE_MAX, &err), &err);
        json_decref(older);
    }
    (void)unlink(out);
    expect_ok(hw_commit_read(kept, (size_t)1 << 30, &bytes, &n, &err), &err);
    expect_ok(hw_commit_write(out, bytes, n, &err), &err);
    free(bytes);
    (void)snprintf(ret_hash, 65, "%s", hash_of(out));
}

static bool is_after_the_last_rename(const char *point) {
    return strcmp(point, "merge-renamed:1") == 0 || strcmp(point, "folder-removed:1") == 0;
}

// Killed or out of room at any step: the file there is the older one, whole, until it is the new
// one; and the same options end in the new one.
START_TEST(overwritten_file_stays_until_the_last_rename) {
    struct hw_error err;
    make_reference();
    // Each point kills; those of the merge, where the older file could go, find the disk full too.
    enum { N_MERGE = 3, FIRST_MERGE = SYNTHETIC_N_POINTS - 1 - N_MERGE };
    ck_assert_str_eq(synthetic_run_points[FIRST_MERGE], "merge-started:1");
    for (size_t i = 0; i < SYNTHETIC_N_POINTS + N_MERGE; i++) {
        bool is_full = i >= SYNTHETIC_N_POINTS;
        const char *point =
            synthetic_run_points[is_full ? FIRST_MERGE + i - SYNTHETIC_N_POINTS : i];
        char older[65], spec[40];
        put_older(older);
        struct hw_run_options options = synthetic_run_options(out, 3);
        options.is_overwriting = true;
        (void)snprintf(spec, sizeof spec, "%s%s", point, is_full ? ":full" : "");
        pid_t child = fork();
        if (child == 0) {
            ck_assert_int_eq(hw_fault_arm(spec, &err), HW_OK);
            _exit(synthetic_run_play(&options, SIZE_MAX, &err) == HW_OUTPUT ? 5 : 0);
        }
        int result = 0;
        ck_assert_int_eq(waitpid(child, &result, 0), child);
        ck_assert_msg(is_full ? WIFEXITED(result) && WEXITSTATUS(result) == 5 : WIFSIGNALED(result),
                      "%s was not met", spec);
        if (is_after_the_last_rename(point)) {
            ck_assert_msg(hw_trace_equal(reference, out, &err) == HW_OK, "%s: %s", spec,
                          err.message);
        } else {
            ck_assert_msg(strcmp(hash_of(out), older) == 0, "%s: the older file has changed", spec);
            // Nobody else's run puts its parts over it.
            options.is_overwriting = false;
            ck_assert_int_eq(synthetic_run_play(&options, SIZE_MAX, &err), HW_OUTPUT);
            ck_assert_ptr_nonnull(strstr(err.message, "exists (--overwrite replaces it)"));
            ck_assert_str_eq(hash_of(out), older);
            options.is_overwriting = true;
        }
        ck_assert_msg(synthetic_run_play(&options, SIZE_MAX, &err) == HW_OK, "%s: %s", spec,
                      err.message);
        ck_assert_msg(hw_trace_equal(reference, out, &err) == HW_OK, "%s: %s", spec, err.message);
        ck_assert_uint_eq(trace_folder_count(".parts"), 0);
    }
}
END_TEST

START_TEST(overwriting_run_goes_on_with_its_own_parts) {
    struct hw_error err;
    char older[65];
    put_older(older);
    struct hw_run_options options = synthetic_run_options(out, 3);
    options.is_overwriting = true;
    ck_assert_int_eq(synthetic_run_play(&options, 2, &err), HW_STOPPED);
    struct hw_run *run = NULL;
    bool is_complete = false;
    expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
    ck_assert_uint_eq(hw_run_n_done(run), 6);
    hw_run_close(&run);
    // With the parts of another run it starts anew.
    json_t *other = json_pack("{s:s}", "model", "another");
    options.manifest = other;
    expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
    ck_assert_uint_eq(hw_run_n_done(run), 0);
    hw_run_close(&run);
    ck_assert_str_eq(hash_of(out), older);
    json_decref(other);
}
END_TEST

// What comes to the output's place while the run is at its end is nobody's to replace: without
// overwriting anything, with it what is no capture. The parts stay.
START_TEST(file_that_comes_in_the_way_stays) {
    struct hw_error err;
    struct hw_run_options options = synthetic_run_options(out, 3);
    options.is_overwriting = _i == 1;
    pid_t child = fork();
    if (child == 0) {
        (void)hw_fault_arm("merge-written:1:stop", &err);
        bool is_told = synthetic_run_play(&options, SIZE_MAX, &err) == HW_OUTPUT &&
                       strstr(err.message, _i == 1 ? "--overwrite replaces only captures"
                                                   : "File exists") != NULL;
        _exit(is_told ? 5 : 0);
    }
    int result = 0;
    ck_assert_int_eq(waitpid(child, &result, WUNTRACED), child);
    ck_assert(WIFSTOPPED(result));
    expect_ok(hw_commit_write(out, "precious", 8, &err), &err);
    ck_assert_int_eq(kill(child, SIGCONT), 0);
    ck_assert_int_eq(waitpid(child, &result, 0), child);
    ck_assert(WIFEXITED(result) && WEXITSTATUS(result) == 5);
    char *text = NULL;
    size_t n = 0;
    expect_ok(hw_commit_read(out, 100, &text, &n, &err), &err);
    ck_assert_str_eq(text, "precious");
    free(text);
    ck_assert_uint_eq(trace_folder_count(".parts"), 1);
    ck_assert_uint_eq(trace_folder_count(".tmp"), 0);
}
END_TEST

// The older file is of the very same run: which of the two is there is told by run_id.
START_TEST(older_file_of_the_same_run_is_overwritten_once) {
    struct hw_error err;
    struct hw_run_options options = synthetic_run_options(out, 3);
    struct hw_run *run = NULL;
    bool is_complete = false;
    expect_ok(synthetic_run_play(&options, SIZE_MAX, &err), &err);
    options.is_overwriting = true;
    ck_assert_int_eq(synthetic_run_play(&options, 1, &err), HW_STOPPED);
    expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
    ck_assert(!is_complete);
    ck_assert_uint_eq(hw_run_n_done(run), 3);
    hw_run_close(&run);
    ck_assert_int_eq(hw_fault_arm("merge-renamed:1:full", &err), HW_OK);
    ck_assert_int_eq(synthetic_run_play(&options, SIZE_MAX, &err), HW_OUTPUT);
    ck_assert_uint_eq(trace_folder_count(".parts"), 1);
    struct stat before, after;
    ck_assert_int_eq(stat(out, &before), 0);
    expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
    ck_assert(is_complete);
    ck_assert_int_eq(stat(out, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    ck_assert_uint_eq(trace_folder_count(".parts"), 0);
}
END_TEST

// Opening a master looks at every part it names.
static void expect_whole_master(void) {
    struct hw_trace *trace = NULL;
    struct hw_error err;
    expect_ok(hw_trace_open(out, &trace, &err), &err);
    ck_assert(hw_trace_is_virtual(trace));
    ck_assert_uint_eq(hw_trace_n_prompts(trace), SYNTHETIC_PROMPTS);
    hw_trace_close(&trace);
}

// A master's rows lie in the parts: no run takes them away from under it.
START_TEST(parts_of_a_master_stay) {
    struct hw_error err;
    make_reference();
    char folder[120];
    (void)snprintf(folder, sizeof folder, "%s.parts", out);
    struct hw_run_options options = synthetic_run_options(out, 3);
    options.n_shards = 2;
    for (options.shard = 0; options.shard < 2; options.shard++) {
        expect_ok(synthetic_run_play(&options, SIZE_MAX, &err), &err);
    }
    struct hw_merge_options merging = {.out_path = out, .is_virtual = true, .n_threads = 1};
    expect_ok(hw_merge_folder(folder, &merging, &err), &err);
    // The same run again, of one worker or of two, is complete.
    struct hw_run *run = NULL;
    for (options.n_shards = 1; options.n_shards <= 2; options.n_shards++) {
        bool is_complete = false;
        options.shard = options.n_shards - 1;
        expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
        ck_assert(is_complete);
        expect_whole_master();
    }
    // A run that replaces it would have to begin by taking the parts of two workers away.
    options.n_shards = 1;
    options.shard = 0;
    options.is_overwriting = true;
    ck_assert_int_eq(synthetic_run_play(&options, SIZE_MAX, &err), HW_OUTPUT);
    ck_assert_msg(strstr(err.message, "its rows lie in parts") != NULL, "%s", err.message);
    expect_whole_master();
    merging = (struct hw_merge_options){.out_path = out, .is_overwrite = true, .n_threads = 1};
    expect_ok(hw_merge_folder(folder, &merging, &err), &err);
    expect_ok(hw_trace_equal(reference, out, &err), &err);
    expect_ok(synthetic_run_play(&options, SIZE_MAX, &err), &err);
}
END_TEST

// With the parts of one worker, what replaces the master is made of them.
START_TEST(master_is_replaced_by_what_it_refers_to) {
    struct hw_error err;
    make_reference();
    char folder[120];
    (void)snprintf(folder, sizeof folder, "%s.parts", out);
    struct hw_run_options options = synthetic_run_options(out, 3);
    ck_assert_int_eq(hw_fault_arm("merge-started:1:full", &err), HW_OK);
    ck_assert_int_eq(synthetic_run_play(&options, SIZE_MAX, &err), HW_OUTPUT);
    struct hw_merge_options merging = {.out_path = out, .is_virtual = true, .n_threads = 1};
    expect_ok(hw_merge_folder(folder, &merging, &err), &err);
    options.is_overwriting = true;
    struct hw_run *run = NULL;
    bool is_complete = false;
    expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
    ck_assert(!is_complete);
    ck_assert_uint_eq(hw_run_n_done(run), SYNTHETIC_PROMPTS);
    expect_ok(hw_run_finish(run, &err), &err);
    hw_run_close(&run);
    ck_assert(!is_there(folder));
    expect_ok(hw_trace_equal(reference, out, &err), &err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("run_output");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 280);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, overwritten_file_stays_until_the_last_rename);
    tcase_add_test(tcase, overwriting_run_goes_on_with_its_own_parts);
    tcase_add_loop_test(tcase, file_that_comes_in_the_way_stays, 0, 2);
    tcase_add_test(tcase, older_file_of_the_same_run_is_overwritten_once);
    tcase_add_test(tcase, parts_of_a_master_stay);
    tcase_add_test(tcase, master_is_replaced_by_what_it_refers_to);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
