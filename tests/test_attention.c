// Attention: the worked numbers of the definitions of sink rate and row entropy.
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "kernels/ops.h"

// The causal map [1 0 0; .6 .4 0; .5 .3 .2], made by keys that are unit vectors and queries that
// are logarithms.
START_TEST(worked_map_gives_worked_numbers) {
    const float q[9] = {0, 0, 0, logf(.6f), logf(.4f), 0, logf(.5f), logf(.3f), logf(.2f)};
    const float k[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    static const double alpha[3] = {.7, .35, .2};
    static const double entropy[3] = {0, .673012, 1.029653};
    float row_entropy[3], received[3], z[9];
    struct hw_attention_args args = {.q = q,
                                     .k = k,
                                     .v = k,
                                     .z = z,
                                     .q_stride = 3,
                                     .k_stride = 3,
                                     .v_stride = 3,
                                     .z_stride = 3,
                                     .n_queries = 3,
                                     .n_keys = 3,
                                     .n_heads = 1,
                                     .n_kv_heads = 1,
                                     .d_head = 3,
                                     .score_scale = 1};
    args.request.entropy = row_entropy;
    args.request.received_sum = received;
    struct hw_ops ops;
    hw_ops_init(&ops, (enum hw_level)_i);
    size_t bytes = hw_attention_scratch(1, &args);
    struct hw_exec exec = {.n_threads = 1, .scratch = malloc(bytes), .scratch_bytes = bytes};
    ops.attention(&exec, &args);
    for (int i = 0; i < 3; i++) {
        // The worked numbers have six decimals.
        ck_assert_double_eq_tol(row_entropy[i], entropy[i], 1e-6);
        ck_assert_double_eq_tol(received[i] / (3 - i), alpha[i], 1e-6);
    }
    ck_assert_double_eq_tol(z[7], .3, 1e-6);
    free(exec.scratch);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("attention");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, worked_map_gives_worked_numbers, 0, HW_N_LEVELS);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
