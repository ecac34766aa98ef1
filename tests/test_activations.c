// activate, add and to_half. Activations are held to units in the last place of the double result
// over their whole range, tails included; to_half to every bit.
#include "check_rows.h"

static const enum hw_activation functions[] = {HW_ACT_GELU_TANH, HW_ACT_GELU_ERF, HW_ACT_SILU,
                                               HW_ACT_RELU};
// exp 2, sum and quotient 1.5, product .5, the polynomial of erf's tail 2: 6; .5 is the reference's
// own rounding.
static const double most_ulps[] = {5.5, 6.5, 5.5, 0};

enum { N = 40013 };

START_TEST(activations_equal_their_definition) {
    static float x[N], want[N], got[N];
    struct hw_ops ref;
    struct hw_ops ops;
    hw_ops_init(&ref, HW_LEVEL_REF);
    for (size_t f = 0; f < 4; f++) {
        for (size_t i = 0; i < N; i++) {
            x[i] = 110 * ((float)i / (N / 2) - 1) * powf((float)(i % 7) / 7, 4);
        }
        x[0] = 0;
        x[1] = -0.0f;
        x[2] = 1e-40f;
        x[3] = -1e-40f;
        x[4] = 3e38f;
        x[5] = 1e-20f;
        x[6] = -3e38f;
        x[8] = -1e10f;
        x[9] = -110;
        struct hw_exec exec = {1, NULL, 0};
        memcpy(want, x, sizeof x);
        ref.activate(&exec, functions[f], want, NULL, N);
        FOR_EACH_LEVEL(ops) {
            for (exec.n_threads = 1; exec.n_threads <= 3; exec.n_threads++) {
                memcpy(got, x, sizeof x);
                ops.activate(&exec, functions[f], got, NULL, N);
                for (size_t i = 0; i < N; i++) {
                    double error = ulps_between(got[i], (double)want[i]);
                    ck_assert_msg(error <= most_ulps[f], "%s f %zu x %a: got %a, want %a, %g ulps",
                                  ops.implementation[HW_OP_activate], f, (double)x[i],
                                  (double)got[i], (double)want[i], error);
                }
            }
        }
    }
}
END_TEST

START_TEST(gate_times_up_and_sizes) {
    struct hw_ops ref;
    struct hw_ops ops;
    struct hw_exec exec = {2, NULL, 0};
    hw_ops_init(&ref, HW_LEVEL_REF);
    for (size_t n = 0; n < 40; n++) {
        float *x = guarded_open(n);
        float *up = guarded_open(n);
        float *want = guarded_open(n);
        float *got = guarded_open(n);
        fill_rows(x, n, 1, n);
        fill_rows(up, n, 0, n + 1);
        memcpy(want, x, n * sizeof *x);
        ref.activate(&exec, HW_ACT_SILU, want, up, n);
        FOR_EACH_LEVEL(ops) {
            memcpy(got, x, n * sizeof *x);
            ops.activate(&exec, HW_ACT_SILU, got, up, n);
            for (size_t i = 0; i < n; i++) {
                ck_assert_double_le(ulps_between(got[i], (double)want[i]),
                                    6.5); // as above, and one product
            }
            memcpy(got, x, n * sizeof *x);
            ops.add(&exec, got, up, n);
            for (size_t i = 0; i < n; i++) {
                ck_assert_float_eq(got[i], x[i] + up[i]);
            }
        }
        guarded_close(got, n);
        guarded_close(want, n);
        guarded_close(up, n);
        guarded_close(x, n);
    }
}
END_TEST

// Every half, every neighbour of every midpoint between halves, and NaN.
START_TEST(halves_are_rounded_to_even) {
    enum { BLOCK = 6 };
    static float x[BLOCK * 65536];
    static uint16_t want[BLOCK * 65536], got[BLOCK * 65536 + 8];
    struct hw_ops ops;
    struct hw_exec exec = {1, NULL, 0};
    size_t n = 0;
    for (uint32_t half = 0; half < 0x7C00; half++) {
        for (int sign = 0; sign < 2; sign++) {
            uint32_t fraction = half & 0x3FF;
            uint32_t exponent = half >> 10;
            double unit = ldexp(1, (exponent == 0 ? 1 : (int)exponent) - 25);
            double value = (exponent == 0 ? fraction : fraction + 1024) * unit;
            float midpoint = (float)(value + unit / 2); // exact: one bit more than a half has
            float s = sign ? -1 : 1;
            uint16_t bits = (uint16_t)(half | (uint32_t)sign << 15);
            x[n] = s * (float)value;
            want[n++] = bits;
            x[n] = s * midpoint;
            want[n++] = (uint16_t)(bits + (half & 1));
            x[n] = s * nextafterf(midpoint, 1e30f);
            want[n++] = (uint16_t)(bits + 1);
            x[n] = s * nextafterf(midpoint, 0);
            want[n++] = bits;
        }
    }
    x[n] = INFINITY;
    want[n++] = 0x7C00;
    x[n] = -3e38f;
    want[n++] = 0xFC00;
    x[n] = 1e-45f;
    want[n++] = 0;
    for (int level = HW_LEVEL_REF; level <= (int)hw_cpu_level(); level++) {
        hw_ops_init(&ops, (enum hw_level)level);
        memset(got, 0xA5, sizeof got);
        ops.to_half(&exec, x, n, got);
        for (size_t i = 0; i < n; i++) {
            ck_assert_msg(got[i] == want[i], "%s: %a gives %04x, not %04x",
                          ops.implementation[HW_OP_to_half], (double)x[i], got[i], want[i]);
        }
        ck_assert_uint_eq(got[n], 0xA5A5);
        ops.to_half(&exec, (const float[]){NAN, -NAN}, 2, got);
        ck_assert_uint_eq(got[0] & 0x7E00, 0x7E00);
        ck_assert_uint_eq(got[1] >> 15, 1);
    }
}
END_TEST

START_TEST(ulps_are_counted) {
    ck_assert_double_eq(ulps_between(1, 1), 0);
    ck_assert_double_gt(ulps_between(1.0000002f, 1), 1); // the helper must be able to fail
    ck_assert_double_eq(ulps_between(2e-45f, 0x1p-149), 0);
    ck_assert(isinf(ulps_between(1, (double)NAN)));
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, activations_equal_their_definition);
    tcase_add_test(tcase, gate_times_up_and_sizes);
    tcase_add_test(tcase, halves_are_rounded_to_even);
    tcase_add_test(tcase, ulps_are_counted);
    return run_suite("activations", tcase);
}
