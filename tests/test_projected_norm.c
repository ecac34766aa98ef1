// projected_norm is, bit for bit, linear and row_norm one after the other, head by head: the
// definitions that test_linear and test_reductions check. The reference rounds once, not twice.
#include "check_rows.h"

enum { N_HEADS = 6, MOST_D_HEAD = 300, MOST_ROWS = 530 };

struct study {
    struct hw_head_factors f;
    size_t m;
    size_t ld;
    float *x;
    float *factors;
    float *want;
    float *got;
};

static struct study study_open(size_t d_head, size_t m, size_t n_shown, int fill) {
    struct study s = {.m = m, .ld = n_shown * d_head + 3};
    size_t n_factors = N_HEADS * d_head * d_head;
    s.x = guarded_open(m * s.ld);
    s.factors = guarded_open(n_factors);
    s.want = guarded_open(m * N_HEADS);
    s.got = guarded_open(m * N_HEADS);
    fill_rows(s.x, m * s.ld, fill, d_head + m);
    fill_rows(s.factors, n_factors, 0, d_head);
    s.f = (struct hw_head_factors){s.factors, N_HEADS, n_shown, d_head};
    return s;
}

static void study_close(struct study *s) {
    guarded_close(s->x, s->m * s->ld);
    guarded_close(s->factors, N_HEADS * s->f.d_head * s->f.d_head);
    guarded_close(s->want, s->m * N_HEADS);
    guarded_close(s->got, s->m * N_HEADS);
}

// Linear into a buffer of its own, then the norms of its rows.
static void compose(const struct study *s, const struct hw_ops *ops) {
    size_t d = s->f.d_head;
    size_t bytes = hw_linear_scratch(1, d);
    float *y = malloc(s->m * d * sizeof *y);
    float *norms = malloc(s->m * sizeof *norms);
    void *scratch = malloc(bytes);
    ck_assert(y != NULL && norms != NULL && scratch != NULL);
    struct hw_exec exec = {1, scratch, bytes};
    for (size_t h = 0; h < N_HEADS; h++) {
        struct hw_weight w = {.data = (const void *)(s->factors + h * d * d),
                              .row_bytes = d * sizeof(float),
                              .dtype = HW_F32,
                              .n_out = d,
                              .n_in = d};
        struct hw_product product = {&w, NULL, y, d};
        const float *x = s->x + h * s->f.n_shown / N_HEADS * d;
        ops->linear(&exec, x, s->m, s->ld, &product, 1);
        ops->row_norm(&exec, y, s->m, d, 1, d, norms);
        for (size_t r = 0; r < s->m; r++) {
            s->want[r * N_HEADS + h] = norms[r];
        }
    }
    free(y);
    free(norms);
    free(scratch);
}

static void check(size_t d_head, size_t m, size_t n_shown, int fill) {
    struct study s = study_open(d_head, m, n_shown, fill);
    struct hw_ops ops;
    FOR_EACH_LEVEL(ops) {
        compose(&s, &ops);
        for (int n_threads = 1; n_threads <= 3; n_threads++) {
            size_t bytes = hw_projected_norm_scratch(n_threads, d_head);
            float *scratch = guarded_open(bytes / sizeof(float));
            struct hw_exec exec = {n_threads, scratch, bytes};
            memset(s.got, 0, m * N_HEADS * sizeof *s.got);
            ops.projected_norm(&exec, s.x, m, s.ld, &s.f, s.got);
            for (size_t i = 0; i < m * N_HEADS; i++) {
                ck_assert_msg(memcmp(&s.got[i], &s.want[i], sizeof(float)) == 0,
                              "%s, d_head %zu, row %zu of %zu, head %zu: expected %.9g, found %.9g",
                              ops.implementation[HW_OP_projected_norm], d_head, i / N_HEADS, m,
                              i % N_HEADS, (double)s.want[i], (double)s.got[i]);
            }
            guarded_close(scratch, bytes / sizeof(float));
        }
    }
    // The reference keeps the products in double. Each of the d_head products that `want` has in
    // float is wrong by at most d_head half-units of the sum of its terms' magnitudes; with random
    // signs that sum is within 16 times the norm's scale, and the norm averages over outputs.
    struct hw_ops ref;
    struct hw_exec exec = {1, NULL, 0};
    hw_ops_init(&ref, HW_LEVEL_REF);
    ref.projected_norm(&exec, s.x, m, s.ld, &s.f, s.got);
    for (size_t i = 0; i < m * N_HEADS; i++) {
        ck_assert_float_le(fabsf(s.got[i] - s.want[i]), 0x1p-20f * s.want[i]);
    }
    study_close(&s);
}

START_TEST(equals_linear_and_row_norm) {
    static const size_t d_heads[] = {1, 8, 16, 33, 64, 80, 128, MOST_D_HEAD};
    for (size_t i = 0; i < sizeof d_heads / sizeof *d_heads; i++) {
        check(d_heads[i], 1, N_HEADS, 0);
        check(d_heads[i], 29, 2, 1);
    }
    check(64, MOST_ROWS, 3, 0);
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, equals_linear_and_row_norm);
    return run_suite("projected_norm", tcase);
}
