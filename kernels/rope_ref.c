// The definition of rope: each pair of channels turned by the angle whose cosine and sine are
// given.
#include "kernels/ops.h"

void hw_register_rope_ref(struct hw_ops *ops);

static void rope_ref(const struct hw_exec *exec, float *x, size_t m, size_t ld, size_t n_heads,
                     size_t d_head, size_t n_rot, bool is_interleaved, const float *cosine,
                     const float *sine) {
    size_t n_pairs = n_rot / 2;
    for (size_t r = 0; r < m; r++) {
        for (size_t head = 0; head < n_heads; head++) {
            float *at = x + r * ld + head * d_head;
            for (size_t pair = 0; pair < n_pairs; pair++) {
                float *first = at + (is_interleaved ? 2 * pair : pair);
                float *second = at + (is_interleaved ? 2 * pair + 1 : pair + n_pairs);
                double c = (double)cosine[r * n_pairs + pair];
                double s = (double)sine[r * n_pairs + pair];
                double a = (double)*first;
                double b = (double)*second;
                *first = (float)(a * c - b * s);
                *second = (float)(b * c + a * s);
            }
        }
    }
}

void hw_register_rope_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, rope, rope_ref);
}
