// Largest flows: the worked numbers of the definitions, I2, and 500 values by igraph on graphs made
// here and there from the same integers (tests/golden/flow.py).
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/max_flow.h"

struct graph {
    size_t n_layers;
    size_t n_tokens;
    size_t n_pairs;
    int sharp;
    int residual; // in 256ths
};

// As in flow.py.
static const struct graph graphs[] = {{2, 6, 21, 1, 128},
                                      {6, 24, 100, 1, 128},
                                      {12, 70, 200, 3, 128},
                                      {30, 40, 100, 2, 128},
                                      {8, 50, 79, 3, 0}};

static double power(double x, int n) {
    return n == 0 ? 1 : x * power(x, n - 1);
}

// Integers are below 2^53, so that both sides round alike.
static double *make_weights(const struct graph *g) {
    uint32_t state = 12345;
    double *maps = calloc(g->n_layers * g->n_tokens * g->n_tokens, sizeof *maps);
    ck_assert_ptr_nonnull(maps);
    for (size_t row = 0; row < g->n_layers * g->n_tokens; row++) {
        double *to = maps + row * g->n_tokens;
        size_t i = row % g->n_tokens;
        double total = 0;
        for (size_t j = 0; j <= i; j++) {
            state = state * 1664525u + 1013904223u;
            to[j] = power((double)(state >> 22), g->sharp) +
                    (j == 0 ? floor(power(4096, g->sharp) / 16) : 0);
            total += to[j];
        }
        for (size_t j = 0; j <= i; j++) {
            to[j] = to[j] / total * ((256 - g->residual) / 256.0);
        }
        to[i] += g->residual / 256.0;
    }
    return maps;
}

static void open_flow(const double *capacity, size_t n_layers, size_t n_tokens,
                      struct hw_flow_graph **graph, struct hw_max_flow **flow) {
    struct hw_error err;
    ck_assert_int_eq(hw_flow_graph_open(capacity, n_layers, n_tokens, graph, &err), HW_OK);
    ck_assert_int_eq(hw_max_flow_open(*graph, flow, &err), HW_OK);
}

START_TEST(worked_numbers_of_i2) {
    static const double capacity[2][3][3] = {{{1, 0, 0}, {.3, .7, 0}, {.25, .15, .6}},
                                             {{1, 0, 0}, {.1, .9, 0}, {.05, .3, .65}}};
    static const double expected[3][3] = {{1, 0, 0}, {.4, .7, 0}, {.6, .45, .6}};
    struct hw_flow_graph *graph = NULL;
    struct hw_max_flow *flow = NULL;
    open_flow(&capacity[0][0][0], 2, 3, &graph, &flow);
    for (size_t source = 0; source < 3; source++) {
        for (size_t target = 0; target < 3; target++) {
            // Sums of a few numbers of at most 1, in double.
            ck_assert_double_eq_tol(hw_max_flow(flow, 2, source, target), expected[source][target],
                                    1e-15);
            ck_assert_double_eq(hw_max_flow(flow, 1, source, target), capacity[0][source][target]);
        }
    }
    hw_max_flow_close(&flow);
    hw_flow_graph_close(&graph);
}
END_TEST

// Both are exact but for rounding; 1e-9 is what the reference's own tests allow.
START_TEST(values_are_those_of_igraph) {
    FILE *file = fopen(HW_TEST_DATA "/flow.bin", "rb");
    size_t n_compared = 0;
    ck_assert_ptr_nonnull(file);
    for (size_t g = 0; g < sizeof graphs / sizeof *graphs; g++) {
        double *maps = make_weights(&graphs[g]);
        struct hw_flow_graph *graph = NULL;
        struct hw_max_flow *flow = NULL;
        open_flow(maps, graphs[g].n_layers, graphs[g].n_tokens, &graph, &flow);
        for (size_t p = 0; p < graphs[g].n_pairs; p++, n_compared++) {
            uint32_t pair[2];
            double expected;
            ck_assert_uint_eq(fread(pair, sizeof pair, 1, file), 1);
            ck_assert_uint_eq(fread(&expected, sizeof expected, 1, file), 1);
            double found = hw_max_flow(flow, graphs[g].n_layers, pair[0], pair[1]);
            if (fabs(found - expected) > 1e-9) {
                ck_abort_msg("graph %zu, %u to %u: %.12g, igraph has %.12g", g, pair[0], pair[1],
                             found, expected);
            }
        }
        hw_max_flow_close(&flow);
        hw_flow_graph_close(&graph);
        free(maps);
    }
    ck_assert_uint_eq(n_compared, 500);
    ck_assert_int_eq(fgetc(file), EOF);
    (void)fclose(file);
}
END_TEST

// A pair's value is its own, whatever was solved before, and a prefix of the layers is a graph of
// its own.
START_TEST(one_flow_leaves_nothing_for_the_next) {
    const struct graph *g = &graphs[2];
    double *maps = make_weights(g);
    struct hw_flow_graph *graph = NULL;
    struct hw_max_flow *used = NULL;
    open_flow(maps, g->n_layers, g->n_tokens, &graph, &used);
    for (size_t i = 0; i < 40; i++) {
        struct hw_flow_graph *short_graph = NULL;
        struct hw_max_flow *fresh = NULL;
        size_t source = g->n_tokens - 1 - i % 30;
        size_t target = i * 7 % (source + 1);
        size_t top = 2 + i % (g->n_layers - 1);
        open_flow(maps, top, g->n_tokens, &short_graph, &fresh);
        ck_assert_double_eq(hw_max_flow(used, top, source, target),
                            hw_max_flow(fresh, top, source, target));
        hw_max_flow_close(&fresh);
        hw_flow_graph_close(&short_graph);
    }
    hw_max_flow_close(&used);
    hw_flow_graph_close(&graph);
    free(maps);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("max_flow");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, worked_numbers_of_i2);
    tcase_add_test(tcase, values_are_those_of_igraph);
    tcase_add_test(tcase, one_flow_leaves_nothing_for_the_next);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
