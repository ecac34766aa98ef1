// The order of steps that keeps what was committed when the machine stops: a kill cannot show a
// missing sync, so the steps themselves are looked at. Then names of temporary files.
#include <check.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/merge.h"
#include "step_log.h"
#include "synthetic.h"
#include "synthetic_run.h"

static char out[100], folder[120];

static void setup(void) {
    (void)snprintf(out, sizeof out, "%s/run.h5", synthetic_run_setup());
    (void)snprintf(folder, sizeof folder, "%s.parts", out);
}

static void teardown(void) {
    hw_fault_disarm();
    synthetic_run_teardown();
}

static bool is_sync_of(const struct step *step, const char *path) {
    return step->kind == STEP_SYNC && strcmp(step->path, path) == 0;
}

static bool is_sync_of_folder(const struct step *step, const char *path_in_it) {
    char copy[200];
    (void)snprintf(copy, sizeof copy, "%s", path_in_it);
    return is_sync_of(step, dirname(copy));
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

// A file gets its name when its last write is on the disk, and the name is, before anything else
// happens. Returns how many names were given.
static size_t check_names(const struct step *steps, size_t n) {
    size_t n_names = 0;
    for (size_t i = 0; i < n; i++) {
        if (steps[i].kind != STEP_NAME) {
            continue;
        }
        bool is_synced = false;
        for (size_t j = i; j-- > 0 && !is_synced;) {
            bool is_same = strcmp(steps[j].path, steps[i].path) == 0;
            ck_assert_msg(!is_same || steps[j].kind != STEP_WRITE, "%s is no longer as synced",
                          steps[i].text);
            is_synced = is_same && steps[j].kind == STEP_SYNC;
        }
        ck_assert_msg(is_synced, "%s was not synced before it got its name", steps[i].text);
        // Where a name is given by a link, the old one goes in between.
        size_t next = i + 1;
        next += next < n && steps[next].kind == STEP_UNLINK &&
                strcmp(steps[next].path, steps[i].path) == 0;
        ck_assert_msg(next < n && is_sync_of_folder(&steps[next], steps[i].text),
                      "the folder was not synced when %s had its name", steps[i].text);
        n_names++;
    }
    return n_names;
}

// A line of the journal is written when its part has its name, and synced at once. Returns how many
// there are.
static size_t check_journal(const struct step *steps, size_t n) {
    size_t n_named = 0, n_lines = 0;
    for (size_t i = 0; i < n; i++) {
        n_named += steps[i].kind == STEP_NAME && strstr(steps[i].text, "/part-") != NULL;
        if (steps[i].kind != STEP_WRITE || !ends_with(steps[i].path, ".jsonl")) {
            continue;
        }
        ck_assert_msg(i + 1 < n && is_sync_of(&steps[i + 1], steps[i].path),
                      "%s was not synced after a line", steps[i].path);
        if (strncmp(steps[i].text, "{\"first\"", 8) == 0) {
            n_lines++;
            ck_assert_msg(n_lines <= n_named, "a line was written before its part had its name");
        }
    }
    return n_lines;
}

// The folder goes from `begin` on: its manifest last of all files, when the others are gone on the
// disk too; then the folder itself. Nothing but temporary files went before.
static void check_removal(const struct step *steps, size_t n, size_t begin) {
    size_t n_unlinked = 0, manifest = n, removed = n;
    for (size_t i = 0; i < n; i++) {
        bool is_inside = strncmp(steps[i].path, folder, strlen(folder)) == 0;
        if (steps[i].kind == STEP_UNLINK && is_inside && !ends_with(steps[i].path, ".tmp")) {
            ck_assert_msg(i >= begin, "%s went too early", steps[i].path);
            ck_assert_msg(manifest == n, "%s went after the manifest", steps[i].path);
            manifest = ends_with(steps[i].path, "/manifest.json") ? i : n;
            n_unlinked++;
        } else if (steps[i].kind == STEP_RMDIR && strcmp(steps[i].path, folder) == 0) {
            removed = i;
        }
        if (i >= begin && removed < n) {
            break;
        }
    }
    ck_assert_uint_ge(n_unlinked, 3); // manifest, journal, something committed
    ck_assert_uint_lt(manifest, n);
    ck_assert(is_sync_of(&steps[manifest - 1], folder));
    ck_assert_uint_lt(manifest, removed);
    ck_assert_uint_lt(removed, n);
}

static size_t find_name(const struct step *steps, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (steps[i].kind == STEP_NAME && strcmp(steps[i].text, name) == 0) {
            return i;
        }
    }
    ck_abort_msg("%s never got its name", name);
    return n;
}

// Both ways that parts are written: from memory, and by HDF5 itself.
START_TEST(run_syncs_before_it_goes_on) {
    struct hw_error err;
    struct hw_run_options options = synthetic_run_options(out, 3);
    options.part_image_bytes = _i == 0 ? options.part_image_bytes : 1;
    options.is_overwriting = _i == 2;
    size_t n, n_parts = (SYNTHETIC_PROMPTS + 2) / 3;
    step_log_start();
    enum hw_status status = synthetic_run_play(&options, SIZE_MAX, &err);
    const struct step *steps = step_log_stop(&n);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    ck_assert_uint_eq(check_names(steps, n), 3 + n_parts); // manifest, vocabulary, parts, output
    ck_assert_uint_eq(check_journal(steps, n), n_parts);
    ck_assert_int_eq(steps[0].kind, STEP_MKDIR);
    ck_assert(is_sync_of_folder(&steps[1], folder));
    check_removal(steps, n, find_name(steps, n, out));
}
END_TEST

START_TEST(folder_of_another_run_goes_in_order) {
    struct hw_error err;
    struct hw_run_options options = synthetic_run_options(out, 3);
    ck_assert_int_eq(synthetic_run_play(&options, 2, &err), HW_STOPPED);
    json_t *other = json_pack("{s:s}", "model", "another");
    options.manifest = other;
    options.is_overwriting = true;
    size_t n;
    step_log_start();
    ck_assert_int_eq(synthetic_run_play(&options, 1, &err), HW_STOPPED);
    const struct step *steps = step_log_stop(&n);
    check_removal(steps, n, 0);
    (void)check_names(steps, n);
    json_decref(other);
}
END_TEST

START_TEST(merge_by_hand_syncs_too) {
    struct hw_error err;
    struct hw_run_options options = synthetic_run_options(out, 3);
    options.n_shards = 2;
    for (options.shard = 0; options.shard < 2; options.shard++) {
        ck_assert_msg(synthetic_run_play(&options, SIZE_MAX, &err) == HW_OK, "%s", err.message);
    }
    for (int is_virtual = 1; is_virtual >= 0; is_virtual--) {
        struct hw_merge_options merging = {
            .out_path = out, .is_virtual = is_virtual, .is_overwrite = !is_virtual, .n_threads = 1};
        size_t n;
        step_log_start();
        enum hw_status status = hw_merge_folder(folder, &merging, &err);
        const struct step *steps = step_log_stop(&n);
        ck_assert_msg(status == HW_OK, "%s", err.message);
        ck_assert_uint_eq(check_names(steps, n), 1);
        if (!is_virtual) {
            check_removal(steps, n, find_name(steps, n, out));
        }
    }
}
END_TEST

static void put(const char *path) {
    struct hw_error err;
    ck_assert_msg(hw_commit_write(path, "x", 1, &err) == HW_OK, "%s", err.message);
}

static bool is_there(const char *path) {
    return access(path, F_OK) == 0;
}

START_TEST(temporaries_of_dead_processes_of_this_host_go) {
    char host[HW_HOST_BYTES];
    hw_commit_host(host);
    ck_assert_uint_gt(strlen(host), 0);
    ck_assert_uint_eq(strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789-_."),
                      strlen(host));
    char expected[300];
    (void)snprintf(expected, sizeof expected, "%s.%ld.%s.tmp", out, (long)getpid(), host);
    char *mine = hw_commit_temporary(out);
    ck_assert_str_eq(mine, expected);
    free(mine);
    // Number, host, and whether it is to go: beyond the largest process number is no process.
    const struct {
        const char *middle;
        const char *host;
        bool goes;
    } files[] = {{"2147483647", host, true},
                 {"2147483647", "another-host", false}, // alive or not: unknown here
                 {"1", host, false},                    // alive
                 {"0", host, false},
                 {"-2147483647", host, false},
                 {"2147483648", host, false},
                 {"2147483647x", host, false},
                 {"x.2147483647", host, false}};
    enum { N = sizeof files / sizeof *files };
    char paths[N][300], others[3][300];
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "%s.%s.%s.tmp", out, files[i].middle,
                       files[i].host);
        put(paths[i]);
    }
    (void)snprintf(others[0], sizeof others[0], "%s.2147483647.tmp", out);
    (void)snprintf(others[1], sizeof others[1], "%s.2147483647.%s", out, host);
    (void)snprintf(others[2], sizeof others[2], "%s2147483647.%s.tmp", out, host);
    for (size_t i = 0; i < 3; i++) {
        put(others[i]);
    }
    hw_commit_drop_stale(out);
    for (size_t i = 0; i < N; i++) {
        ck_assert_msg(is_there(paths[i]) == !files[i].goes, "%s", paths[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        ck_assert_msg(is_there(others[i]), "%s", others[i]);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("commit");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 280);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, run_syncs_before_it_goes_on, 0, 3);
    tcase_add_test(tcase, folder_of_another_run_goes_in_order);
    tcase_add_test(tcase, merge_by_hand_syncs_too);
    tcase_add_test(tcase, temporaries_of_dead_processes_of_this_host_go);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
