// Flow over a capture: the worked numbers of the definitions, I2, for every query and level, for
// any number of threads.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/flow.h"
#include "map_capture.h"
#include "trace_folder.h"

enum { L = 2, T = 3 };

// A = 2 A' - I with A' = [1 0 0; .3 .7 0; .25 .15 .6], and B likewise.
static const float maps[L][T][T] = {{{1, 0, 0}, {.6f, .4f, 0}, {.5f, .3f, .2f}},
                                    {{1, 0, 0}, {.2f, .8f, 0}, {.1f, .6f, .3f}}};
static const double expected[L][T][T] = {{{1, 0, 0}, {.3, .7, 0}, {.25, .15, .6}},
                                         {{1, 0, 0}, {.4, .7, 0}, {.6, .45, .6}}};

static void count_pairs(void *self, size_t n_done) {
    *(size_t *)self = n_done;
}

// Weights are f32: within 2^-24 of the numbers above, and sums of three of them.
START_TEST(worked_numbers_of_i2) {
    static const size_t tops[] = {0, 1};
    static const size_t queries[] = {2, SIZE_MAX, 0, 1};
    struct hw_trace *trace = map_capture(&maps[0][0][0], L, 1, T, 0);
    struct hw_map_source *source = NULL;
    struct hw_error err;
    double found[2][4][T];
    size_t n_done = 0;
    struct hw_flow_options options = {.maps = {.residual = .5},
                                      .tops = tops,
                                      .n_tops = 2,
                                      .queries = queries,
                                      .n_queries = 4,
                                      .n_threads = _i,
                                      .progress = count_pairs,
                                      .progress_self = &n_done};
    memset(found, 0, sizeof found);
    found[1][1][0] = 7;
    ck_assert_uint_eq(hw_flow_n_pairs(&options), 12);
    ck_assert_int_eq(hw_map_source_open(trace, "flow", 1, &source, &err), HW_OK);
    ck_assert_msg(hw_flow_run(source, 0, &options, &found[0][0][0], &err) == HW_OK, "%s",
                  err.message);
    ck_assert_double_eq(found[1][1][0], 7); // no such query: untouched
    for (size_t top = 0; top < 2; top++) {
        for (size_t q = 0; q < 4; q++) {
            for (size_t j = 0; j < T && queries[q] != SIZE_MAX; j++) {
                ck_assert_double_eq_tol(found[top][q][j], expected[top][queries[q]][j], 2e-7);
            }
        }
    }
    hw_flow_normalise(found[1][3], T); // of token 1
    hw_flow_normalise(found[1][0], T); // of token 2
    static const double shares[2][T] = {{.363636, .636364, 0}, {.363636, .272727, .363636}};
    for (size_t j = 0; j < T; j++) {
        ck_assert_double_eq_tol(found[1][3][j], shares[0][j], 1e-6); // six digits are given
        ck_assert_double_eq_tol(found[1][0][j], shares[1][j], 1e-6);
    }
    double nothing[2] = {0, 0};
    hw_flow_normalise(nothing, 2);
    ck_assert(isnan(nothing[0]) && isnan(nothing[1]));
    hw_map_source_close(&source);
    hw_trace_close(&trace);
    trace_folder_remove();
}
END_TEST

int main(void) {
    Suite *suite = suite_create("flow");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, worked_numbers_of_i2, 1, 4);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
