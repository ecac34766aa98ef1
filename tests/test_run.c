// A run may be killed at every step, or find the disk full there, and the same options bring it to
// the same file.
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/journal.h"
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

START_TEST(run_ends_in_one_file) {
    struct hw_error err;
    make_reference();
    ck_assert_uint_eq(trace_folder_count(".parts"), 0);
    struct hw_trace *trace = NULL;
    expect_ok(hw_trace_open(reference, &trace, &err), &err);
    ck_assert(hw_trace_is_complete(trace));
    ck_assert_uint_eq(hw_trace_n_prompts(trace), SYNTHETIC_PROMPTS);
    char *text = NULL;
    ck_assert_int_eq(hw_trace_attribute(trace, HW_GROUP_ROOT, "label_step", &text, NULL), HW_OK);
    ck_assert_str_eq(text, "1000");
    free(text);
    ck_assert_int_eq(hw_trace_attribute(trace, HW_GROUP_PROVENANCE, "model_name", &text, NULL),
                     HW_OK);
    ck_assert_str_eq(text, "tiny");
    free(text);
    hw_trace_close(&trace);
    // Again: nothing to do.
    struct hw_run_options options = synthetic_run_options(reference, 5);
    struct hw_run *run = NULL;
    bool is_complete = false;
    expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
    ck_assert(is_complete);
    ck_assert_ptr_null(run);
}
END_TEST

START_TEST(stopped_run_goes_on) {
    struct hw_error err;
    make_reference();
    struct hw_run_options options = synthetic_run_options(out, 3);
    ck_assert_int_eq(synthetic_run_play(&options, 1, &err), HW_STOPPED);
    options.commit_every = 2; // the run keeps what it began with
    ck_assert_int_eq(synthetic_run_play(&options, 1, &err), HW_STOPPED);
    expect_ok(synthetic_run_play(&options, 1, &err), &err);
    expect_ok(hw_trace_equal(reference, out, &err), &err);
}
END_TEST

// Each point is met by a process of its own that dies there; the reference is of one piece.
START_TEST(killed_run_goes_on) {
    struct hw_error err;
    make_reference();
    int n_killed = 0;
    for (size_t i = 0; i < SYNTHETIC_N_POINTS; i++) {
        struct hw_run_options options = synthetic_run_options(out, 3);
        pid_t child = fork();
        if (child == 0) {
            if (hw_fault_arm(synthetic_run_points[i], &err) == HW_OK) {
                (void)synthetic_run_play(&options, SIZE_MAX, &err);
            }
            _exit(0);
        }
        int result = 0;
        ck_assert_int_eq(waitpid(child, &result, 0), child);
        ck_assert_msg(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL, "%s was not met",
                      synthetic_run_points[i]);
        n_killed++;
        ck_assert_msg(synthetic_run_play(&options, SIZE_MAX, &err) == HW_OK, "%s: %s",
                      synthetic_run_points[i], err.message);
        ck_assert_msg(hw_trace_equal(reference, out, &err) == HW_OK, "%s: %s",
                      synthetic_run_points[i], err.message);
        ck_assert_uint_eq(trace_folder_count(".parts"), 0);
        ck_assert_int_eq(unlink(out), 0);
    }
    ck_assert_int_eq(n_killed, SYNTHETIC_N_POINTS);
    // What a killed merge leaves beside the output is named after its process and harmless.
    ck_assert_uint_le(trace_folder_count(".tmp"), 2);
}
END_TEST

START_TEST(full_disk_keeps_what_was_committed) {
    struct hw_error err;
    make_reference();
    for (size_t i = 0; i < SYNTHETIC_N_POINTS; i++) {
        char spec[40];
        struct hw_run_options options = synthetic_run_options(out, 3);
        (void)snprintf(spec, sizeof spec, "%s:full", synthetic_run_points[i]);
        ck_assert_int_eq(hw_fault_arm(spec, &err), HW_OK);
        ck_assert_msg(synthetic_run_play(&options, SIZE_MAX, &err) == HW_OUTPUT, "%s",
                      synthetic_run_points[i]);
        ck_assert_msg(strstr(err.message, "No space left") != NULL, "%s", err.message);
        ck_assert_msg(synthetic_run_play(&options, SIZE_MAX, &err) == HW_OK, "%s: %s",
                      synthetic_run_points[i], err.message);
        expect_ok(hw_trace_equal(reference, out, &err), &err);
        ck_assert_int_eq(unlink(out), 0);
    }
    ck_assert_uint_eq(trace_folder_count(".tmp"), 0);
}
END_TEST

// A part that has its name but no line in the journal, as a kill between the two leaves it.
START_TEST(part_without_a_line_is_adopted) {
    struct hw_error err;
    struct hw_run_options options = synthetic_run_options(out, 3);
    pid_t child = fork();
    if (child == 0) {
        (void)hw_fault_arm("part-renamed:2", &err);
        (void)synthetic_run_play(&options, SIZE_MAX, &err);
        _exit(0);
    }
    int result = 0;
    ck_assert_int_eq(waitpid(child, &result, 0), child);
    ck_assert(WIFSIGNALED(result));
    char folder[200], path[300], sha256[65];
    uint64_t n_bytes = 0;
    (void)snprintf(folder, sizeof folder, "%s.parts", out);
    (void)snprintf(path, sizeof path, "%s/part-00000003-00000005.h5", folder);
    expect_ok(hw_commit_hash(path, sha256, &n_bytes, &err), &err);
    struct hw_journal *journal = NULL;
    expect_ok(hw_journal_open(folder, 0, &journal, &err), &err);
    ck_assert_uint_eq(hw_journal_n_parts(journal), 1);
    hw_journal_close(&journal);
    // Opening alone counts its prompts and writes the line.
    struct hw_run *run = NULL;
    bool is_complete = false;
    size_t first = 0, end = 0;
    expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
    ck_assert_uint_eq(hw_run_n_done(run), 6);
    ck_assert(hw_run_next(run, &first, &end));
    ck_assert_uint_eq(first, 6);
    ck_assert_uint_eq(end, SYNTHETIC_PROMPTS);
    hw_run_close(&run);
    expect_ok(hw_journal_open(folder, 0, &journal, &err), &err);
    ck_assert_uint_eq(hw_journal_n_parts(journal), 2);
    const struct hw_part_info *part = hw_journal_find(journal, 3, 5);
    ck_assert_ptr_nonnull(part);
    ck_assert_uint_eq(part->n_bytes, n_bytes);
    ck_assert_str_eq(part->sha256, sha256);
    hw_journal_close(&journal);
    // From now on it is held to the line.
    int fd = open(path, O_WRONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, "x", 1, 5000), 1);
    close(fd);
    ck_assert_int_eq(synthetic_run_play(&options, SIZE_MAX, &err), HW_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "is not what the journal says"));
}
END_TEST

START_TEST(other_runs_are_refused_by_name) {
    struct hw_error err;
    struct hw_run_options options = synthetic_run_options(out, 3);
    ck_assert_int_eq(synthetic_run_play(&options, 1, &err), HW_STOPPED);
    const json_t *mine = options.manifest;
    json_t *other = json_pack("{s:{s:s, s:i}, s:[s]}", "model", "sha256", "xyz", "layers", 3,
                              "record", "default");
    options.manifest = other;
    ck_assert_int_eq(synthetic_run_play(&options, 1, &err), HW_OUTPUT);
    ck_assert_msg(strstr(err.message, "model.sha256 is \"abc\" there and \"xyz\" here") != NULL,
                  "%s", err.message);
    options.manifest = mine;
    options.n_prompts = 7;
    ck_assert_int_eq(synthetic_run_play(&options, 1, &err), HW_OUTPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "it has 8 prompts, not 7"));
    options.n_prompts = 8;
    expect_ok(synthetic_run_play(&options, SIZE_MAX, &err), &err);
    options.manifest = other;
    ck_assert_int_eq(synthetic_run_play(&options, SIZE_MAX, &err), HW_OUTPUT);
    ck_assert_msg(
        strstr(
            err.message,
            "run.h5: exists (--overwrite replaces it) and belongs to another run: model.sha256") !=
            NULL,
        "%s", err.message);
    options.is_overwriting = true;
    expect_ok(synthetic_run_play(&options, SIZE_MAX, &err), &err);
    json_decref(other);
}
END_TEST

START_TEST(foreign_output_is_not_touched) {
    struct hw_error err;
    ck_assert_int_eq(hw_commit_write(out, "mine", 4, &err), HW_OK);
    struct hw_run_options options = synthetic_run_options(out, 3);
    ck_assert_int_eq(synthetic_run_play(&options, 1, &err), HW_OUTPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "exists"));
    char *text = NULL;
    size_t n = 0;
    expect_ok(hw_commit_read(out, 100, &text, &n, &err), &err);
    ck_assert_str_eq(text, "mine");
    free(text);
}
END_TEST

START_TEST(second_writer_is_refused_with_the_pid) {
    struct hw_error err;
    struct hw_run *run = NULL, *second = NULL;
    bool is_complete;
    struct hw_run_options options = synthetic_run_options(out, 3);
    expect_ok(hw_run_open(&options, &run, &is_complete, &err), &err);
    ck_assert_int_eq(hw_run_open(&options, &second, &is_complete, &err), HW_OUTPUT);
    char pid[40];
    (void)snprintf(pid, sizeof pid, "is being written by process %ld", (long)getpid());
    ck_assert_msg(strstr(err.message, pid) != NULL, "%s", err.message);
    options.is_overwriting = true;
    ck_assert_int_eq(hw_run_open(&options, &second, &is_complete, &err), HW_OUTPUT);
    ck_assert_msg(strstr(err.message, pid) != NULL, "%s", err.message);
    hw_run_close(&run);
}
END_TEST

START_TEST(changed_part_is_refused) {
    struct hw_error err;
    struct hw_run_options options = synthetic_run_options(out, 3);
    ck_assert_int_eq(synthetic_run_play(&options, 2, &err), HW_STOPPED);
    char path[200];
    (void)snprintf(path, sizeof path, "%s.parts/part-00000003-00000005.h5", out);
    int fd = open(path, O_WRONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, "x", 1, 5000), 1);
    close(fd);
    ck_assert_int_eq(synthetic_run_play(&options, 2, &err), HW_INPUT);
    ck_assert_msg(strstr(err.message, "part-00000003-00000005.h5: is not what the journal says") !=
                      NULL,
                  "%s", err.message);
    // Taken away it is work that is left.
    ck_assert_int_eq(unlink(path), 0);
    expect_ok(synthetic_run_play(&options, SIZE_MAX, &err), &err);
}
END_TEST

START_TEST(shards_make_the_same_file) {
    struct hw_error err;
    make_reference();
    char folder[200];
    (void)snprintf(folder, sizeof folder, "%s.parts", out);
    struct hw_merge_options merging = {.out_path = out, .n_threads = 1};
    for (size_t shard = 0; shard < 3; shard++) {
        struct hw_run_options options = synthetic_run_options(out, 2);
        options.shard = shard;
        options.n_shards = 3;
        if (shard == 2) {
            ck_assert_int_eq(hw_merge_folder(folder, &merging, &err), HW_INPUT);
            ck_assert_msg(strstr(err.message, "prompts 4 to 5 are missing") != NULL, "%s",
                          err.message);
        }
        expect_ok(synthetic_run_play(&options, SIZE_MAX, &err), &err);
    }
    ck_assert(!is_there(out));
    expect_ok(hw_merge_folder(folder, &merging, &err), &err);
    ck_assert(!is_there(folder));
    expect_ok(hw_trace_equal(reference, out, &err), &err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("run");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 280);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, run_ends_in_one_file);
    tcase_add_test(tcase, stopped_run_goes_on);
    tcase_add_test(tcase, killed_run_goes_on);
    tcase_add_test(tcase, full_disk_keeps_what_was_committed);
    tcase_add_test(tcase, part_without_a_line_is_adopted);
    tcase_add_test(tcase, other_runs_are_refused_by_name);
    tcase_add_test(tcase, foreign_output_is_not_touched);
    tcase_add_test(tcase, second_writer_is_refused_with_the_pid);
    tcase_add_test(tcase, changed_part_is_refused);
    tcase_add_test(tcase, shards_make_the_same_file);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
