// rope against the reference, half-split and interleaved, partial or whole heads; other channels
// stay as they are.
#include "check_rows.h"

static void check_rope(size_t n_heads, size_t d_head, size_t n_rot, bool is_interleaved) {
    enum { M = 4, GAP = 3 };
    size_t ld = n_heads * d_head + GAP;
    struct hw_ops ref;
    struct hw_ops ops;
    struct hw_exec exec = {1, NULL, 0};
    float *x = guarded_open(M * ld);
    float *want = guarded_open(M * ld);
    float *got = guarded_open(M * ld);
    float *cosine = guarded_open(M * n_rot / 2);
    float *sine = guarded_open(M * n_rot / 2);
    fill_rows(x, M * ld, 1, d_head);
    for (size_t i = 0; i < M * n_rot / 2; i++) {
        cosine[i] = cosf(1.7f * (float)i);
        sine[i] = sinf(1.7f * (float)i);
    }
    hw_ops_init(&ref, HW_LEVEL_REF);
    memcpy(want, x, M * ld * sizeof *x);
    ref.rope(&exec, want, M, ld, n_heads, d_head, n_rot, is_interleaved, cosine, sine);
    FOR_EACH_LEVEL(ops) {
        for (exec.n_threads = 1; exec.n_threads <= 3; exec.n_threads++) {
            memcpy(got, x, M * ld * sizeof *x);
            ops.rope(&exec, got, M, ld, n_heads, d_head, n_rot, is_interleaved, cosine, sine);
            for (size_t i = 0; i < M * ld; i++) {
                size_t c = i % ld;
                size_t channel = c % d_head;
                if (c >= n_heads * d_head || channel >= n_rot) {
                    ck_assert_mem_eq(got + i, x + i, sizeof *x);
                    continue;
                }
                size_t pair = is_interleaved ? channel / 2 : channel % (n_rot / 2);
                size_t head_at = i - channel;
                size_t a = head_at + (is_interleaved ? 2 * pair : pair);
                size_t b = head_at + (is_interleaved ? 2 * pair + 1 : pair + n_rot / 2);
                // Two products and a sum, each rounded: 1.5 units of the longer leg, and one
                // rounding of the reference.
                double unit = (fabs((double)x[a]) + fabs((double)x[b])) * 0x1p-23;
                ck_assert_double_le(fabs((double)got[i] - (double)want[i]), unit);
            }
        }
    }
    guarded_close(sine, M * n_rot / 2);
    guarded_close(cosine, M * n_rot / 2);
    guarded_close(got, M * ld);
    guarded_close(want, M * ld);
    guarded_close(x, M * ld);
}

START_TEST(rope_equals_its_definition) {
    static const size_t heads[][3] = {{1, 2, 2},   {3, 64, 64}, {2, 64, 16},   {2, 80, 20},
                                      {1, 66, 66}, {5, 6, 4},   {2, 128, 128}, {2, 8, 0}};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        check_rope(heads[i][0], heads[i][1], heads[i][2], false);
        check_rope(heads[i][0], heads[i][1], heads[i][2], true);
    }
}
END_TEST

// A quarter turn: (1, 2, 3, 4) in halves pairs 1 with 3 and 2 with 4; interleaved pairs 1 with 2
// and 3 with 4.
START_TEST(a_quarter_turn_by_hand) {
    const float cosine[2] = {0, 0};
    const float sine[2] = {1, 1};
    const float halves[4] = {-3, -4, 1, 2};
    const float neighbours[4] = {-2, 1, -4, 3};
    struct hw_ops ops;
    struct hw_exec exec = {1, NULL, 0};
    for (int level = HW_LEVEL_REF; level <= (int)hw_cpu_level(); level++) {
        hw_ops_init(&ops, (enum hw_level)level);
        float x[4] = {1, 2, 3, 4};
        ops.rope(&exec, x, 1, 4, 1, 4, 4, false, cosine, sine);
        ck_assert_mem_eq(x, halves, sizeof x);
        float y[4] = {1, 2, 3, 4};
        ops.rope(&exec, y, 1, 4, 1, 4, 4, true, cosine, sine);
        ck_assert_mem_eq(y, neighbours, sizeof y);
    }
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, rope_equals_its_definition);
    tcase_add_test(tcase, a_quarter_turn_by_hand);
    return run_suite("rope", tcase);
}
