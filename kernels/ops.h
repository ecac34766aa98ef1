// The ops: everything that is done to numbers, as one table of functions.
//
// A table is filled from the reference upwards: every level overrides what it does better, so that
// each op always exists, and the table says which implementation was chosen. Ops are pure functions
// on raw arrays: no files, no printing, no allocation, no status. Shapes are checked by callers.
// All matrices are row-major; "rows ld apart" counts floats.
//
// The same input gives the same bits on one level, whatever n_threads is, and a row's result never
// depends on the other rows in the call (so a prompt never depends on its neighbours, and a row
// computed alone equals the row computed in a block).
#ifndef HW_OPS_H
#define HW_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/attention.h"
#include "kernels/cpu.h"
#include "kernels/dtype.h"

// How an op may use the machine. scratch is one block for the op's own use, at least as large as
// its hw_<op>_scratch() says.
struct hw_exec {
    int n_threads;
    void *scratch;
    size_t scratch_bytes;
};

// A weight matrix in the file's own format, seen as w[n_out, n_in].
struct hw_weight {
    const void *data; // file row r starts at data + r * row_bytes
    size_t row_bytes;
    enum hw_dtype dtype;
    size_t n_out;
    size_t n_in;
    size_t first;            // output o is file row (is_transposed: column) first + o,
    const uint32_t *row_map; // [n_out] or row_map[o] where row_map is not NULL
    bool is_transposed;      // the file has [in, out]; only for types of one value a block
};

enum hw_activation { HW_ACT_GELU_TANH, HW_ACT_GELU_ERF, HW_ACT_SILU, HW_ACT_RELU };

// What unembed hands out per row; every pointer may be NULL.
struct hw_unembed_out {
    float *log_z;        // [m] ln sum_v exp(logit)
    float *target_logit; // [m] logit of targets[m]; NaN where that is not in the vocabulary
    float *entropy;      // [m] of softmax(logits), nats
    uint32_t *top_id;    // [m, n_top] ids of the largest logits, largest first, ties: the lower id;
                         // fewer logits above -infinity than n_top: the rest UINT32_MAX, -infinity
    float *top_logit;    // [m, n_top]
    size_t n_top;        // <= 64
    float *logits;       // [m, n_vocab]
};

// Largest |x| of a whole state.
struct hw_top_value {
    float value; // signed
    uint32_t row;
    uint32_t channel;
};

// dequantize: n values (a multiple of the block) of dtype at src to f32; bit-equal to the gguf
// package's dequantize.
typedef void (*hw_dequantize_fn)(enum hw_dtype dtype, const void *src, size_t n, float *dst);
// linear: y[m, n_out] = x[m, n_in] w^T + bias for each of n products of the same x; all w have the
// same n_in, and no y overlaps x. Every output is the sum, in order, of partial sums over blocks of
// 256 inputs, so its bits depend on nothing else.
struct hw_product {
    const struct hw_weight *w;
    const float *bias; // [n_out]; NULL: none
    float *y;          // rows ldy apart
    size_t ldy;
};
typedef void (*hw_linear_fn)(const struct hw_exec *exec, const float *x, size_t m, size_t ldx,
                             const struct hw_product *products, size_t n);
// unembed: linear to the vocabulary with log-sum-exp, entropy and top-k on the way, without an [m,
// vocab] buffer.
typedef void (*hw_unembed_fn)(const struct hw_exec *exec, const float *x, size_t m, size_t ldx,
                              const struct hw_weight *w, const float *bias, const uint32_t *targets,
                              const struct hw_unembed_out *out);
// attention: see attention.h.
typedef void (*hw_attention_fn)(const struct hw_exec *exec, const struct hw_attention_args *args);
// rms_norm: y = x / sqrt(mean(x^2) + eps) * weight; scale[m] (NULL: none) = 1 / sqrt(mean(x^2) +
// eps). [m, d], rows d apart; y may be x.
typedef void (*hw_rms_norm_fn)(const struct hw_exec *exec, const float *x, size_t m, size_t d,
                               const float *weight, float eps, float *y, float *scale);
// layer_norm: y = (x - mean) / sqrt(var + eps) * weight + bias (each NULL: none); scale[m] = 1 /
// sqrt(var + eps).
typedef void (*hw_layer_norm_fn)(const struct hw_exec *exec, const float *x, size_t m, size_t d,
                                 const float *weight, const float *bias, float eps, float *y,
                                 float *scale);
// rope: rotates the first n_rot channels of each of n_heads heads (d_head apart) of m rows (ld
// apart) in place. cos, sin [m, n_rot / 2]. Half-split pairs channel c with c + n_rot / 2,
// interleaved pairs 2c with 2c + 1.
typedef void (*hw_rope_fn)(const struct hw_exec *exec, float *x, size_t m, size_t ld,
                           size_t n_heads, size_t d_head, size_t n_rot, bool is_interleaved,
                           const float *cosine, const float *sine);
// activate: x[i] = f(x[i]), and times up[i] where up is not NULL; n values.
typedef void (*hw_activate_fn)(const struct hw_exec *exec, enum hw_activation f, float *x,
                               const float *up, size_t n);
// add: y[i] += x[i].
typedef void (*hw_add_fn)(const struct hw_exec *exec, float *y, const float *x, size_t n);
// row_norm: out[r, g] = L2 norm of the g-th run of `width` values of row r (n_groups runs, one
// after another); rows ld apart.
typedef void (*hw_row_norm_fn)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                               size_t n_groups, size_t width, float *out);
// projected_norm: out[r, h] = |R_h x_h| where x_h is head h * n_shown / n_heads of row r, heads
// d_head apart and rows ld apart: query heads with a factor of their own over n_shown states.
struct hw_head_factors {
    const float *factors; // R [n_heads, d_head (out), d_head (in)]
    size_t n_heads;
    size_t n_shown; // divides n_heads
    size_t d_head;
};
typedef void (*hw_projected_norm_fn)(const struct hw_exec *exec, const float *x, size_t m,
                                     size_t ld, const struct hw_head_factors *factors, float *out);
// row_abs_max: out[r] = max |x[r, c]| over `width` values.
typedef void (*hw_row_abs_max_fn)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                  size_t width, float *out);
// row_abs_median: out[r] = lower median of |x[r, c]| over `width` values (<= 65536: scratch holds a
// row per thread).
typedef void (*hw_row_abs_median_fn)(const struct hw_exec *exec, const float *x, size_t m,
                                     size_t ld, size_t width, float *out);
// row_cosine: out[r] = cosine of row r with `reference` [width]; 0 where a norm is 0.
typedef void (*hw_row_cosine_fn)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                 size_t width, const float *reference, float *out);
// state_stats: of all m * width values: lower median of |x|, mean of |x|, standard deviation of x
// (population, in double), in fixed order.
typedef void (*hw_state_stats_fn)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                  size_t width, float *median, float *mean_abs, float *std);
// state_top: the n (<= 64) values largest in magnitude, largest first; ties: lower row, then lower
// channel. Fewer values: filled with NaN, row and channel UINT32_MAX.
typedef void (*hw_state_top_fn)(const struct hw_exec *exec, const float *x, size_t m, size_t ld,
                                size_t width, size_t n, struct hw_top_value *out);
// state_events: values with |x| > floor and |x| >= least, in order of row and channel, at most
// `limit` of them; returns how many there are in all.
typedef size_t (*hw_state_events_fn)(const struct hw_exec *exec, const float *x, size_t m,
                                     size_t ld, size_t width, float floor, float least,
                                     size_t limit, struct hw_top_value *out);
// to_half: IEEE half, round to nearest even.
typedef void (*hw_to_half_fn)(const struct hw_exec *exec, const float *x, size_t n, uint16_t *out);

#define HW_OPS(X)                                                                                  \
    X(dequantize)                                                                                  \
    X(linear)                                                                                      \
    X(unembed)                                                                                     \
    X(attention)                                                                                   \
    X(rms_norm)                                                                                    \
    X(layer_norm)                                                                                  \
    X(rope)                                                                                        \
    X(activate)                                                                                    \
    X(add)                                                                                         \
    X(row_norm)                                                                                    \
    X(projected_norm)                                                                              \
    X(row_abs_max)                                                                                 \
    X(row_abs_median)                                                                              \
    X(row_cosine)                                                                                  \
    X(state_stats)                                                                                 \
    X(state_top)                                                                                   \
    X(state_events)                                                                                \
    X(to_half)

enum hw_op {
#define HW_OP_ENUM(name) HW_OP_##name,
    HW_OPS(HW_OP_ENUM)
#undef HW_OP_ENUM
        HW_N_OPS
};

struct hw_ops {
#define HW_OP_FIELD(name) hw_##name##_fn name;
    HW_OPS(HW_OP_FIELD)
#undef HW_OP_FIELD
    const char
        *implementation[HW_N_OPS]; // name of the chosen implementation, such as "attention_avx512"
    enum hw_level level;
};

// Fills the table with the best implementations up to `level` (at most what the processor has).
void hw_ops_init(struct hw_ops *ops, enum hw_level level);

const char *hw_op_name(enum hw_op op);

// An implementing file op_arch.c defines void hw_register_op_arch(struct hw_ops *) with this macro
// per op it fills.
#define HW_OPS_SET(ops, op, function)                                                              \
    do {                                                                                           \
        (ops)->op = (function);                                                                    \
        (ops)->implementation[HW_OP_##op] = #function;                                             \
    } while (0)

// Bytes of exec->scratch that each op needs, for every level; ops that are not named need none.
size_t hw_linear_scratch(int n_threads, size_t n_in);
size_t hw_unembed_scratch(int n_threads, size_t m, size_t n_in, size_t n_vocab, size_t n_top);
size_t hw_attention_scratch(int n_threads, const struct hw_attention_args *args);
size_t hw_projected_norm_scratch(int n_threads, size_t d_head);
size_t hw_row_abs_median_scratch(int n_threads, size_t width);
size_t hw_state_scratch(int n_threads); // state_stats, state_top, state_events

#endif
