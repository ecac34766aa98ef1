// What `headwater bench` times: each case is two pieces of work whose ratio means something.
#ifndef HW_BENCH_CASES_H
#define HW_BENCH_CASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ops.h"
#include "kernels/status.h"
#include "tools/bench_pair.h"

#ifdef __cplusplus
extern "C" {
#endif

// Sizes of the model whose layers are timed, with random numbers in them.
struct hw_bench_shape {
    size_t d_model;
    size_t d_mlp;
    size_t n_heads;
    size_t n_kv_heads;
    size_t d_head;
    size_t n_vocab;
};

struct hw_bench_setup {
    struct hw_ops ops;
    struct hw_bench_shape shape;
    int n_threads;
    size_t n_rounds;
};

// One line of the result.
struct hw_bench_row {
    const char *name;
    const char *a;   // what is timed above the line
    const char *b;   // and below
    char detail[48]; // "T=1024", "1024x576->1536"
    struct hw_bench_result result;
};

// Each fills *row; HW_RESOURCE where there is not enough memory.
// Share of the multiply-add ceiling that linear reaches: time of the bare operations over that of
// linear (n_in -> n_out, m rows).
enum hw_status hw_bench_linear(const struct hw_bench_setup *setup, size_t m, size_t n_in,
                               size_t n_out, enum hw_dtype dtype, struct hw_bench_row *row,
                               struct hw_error *err);
// Attention of one layer with all default statistics over the same without.
enum hw_status hw_bench_attention_statistics(const struct hw_bench_setup *setup, size_t n_tokens,
                                             struct hw_bench_row *row, struct hw_error *err);
// The same with statistics over the two products alone, by the library (oneDNN, causal blocks of
// 256 rows, no softmax).
enum hw_status hw_bench_attention_library(const struct hw_bench_setup *setup, size_t n_tokens,
                                          struct hw_bench_row *row, struct hw_error *err);
// Unembedding with log-sum-exp, entropy and eight ranks over the product alone, in blocks of
// columns.
enum hw_status hw_bench_unembed(const struct hw_bench_setup *setup, size_t m,
                                struct hw_bench_row *row, struct hw_error *err);

// Shuffle and deflate of map tiles by our codec over HDF5's own, on one thread.
enum hw_status hw_bench_codec(const struct hw_bench_setup *setup, struct hw_bench_row *row,
                              struct hw_error *err);

// bench_maps.c. Attention of one layer over the rebuilding of all its maps from queries and keys.
enum hw_status hw_bench_maps(const struct hw_bench_setup *setup, size_t n_tokens,
                             struct hw_bench_row *row, struct hw_error *err);
// The linear op on n_tokens^3 / 6 multiply-adds over the triangular product of rollout.
enum hw_status hw_bench_rollout(const struct hw_bench_setup *setup, size_t n_tokens,
                                struct hw_bench_row *row, struct hw_error *err);

// n floats of reproducible noise of unit variance, HW_ALIGN aligned, or NULL; free with free.
float *hw_bench_noise(size_t n, uint64_t seed);
// n_bytes zero bytes, aligned, whose pages are there; or NULL.
void *hw_bench_block(size_t n_bytes);

// The products of causal attention by the library: blocks of rows of every head, dealt to the
// threads. false: built without it.
struct hw_bench_products {
    const float *q; // [n_tokens, n_heads, d_head], k and v [n_tokens, n_kv_heads, d_head]
    const float *k;
    const float *v;
    float *z;
    float *scores; // [n_threads, block, n_tokens]
    size_t n_tokens;
    size_t n_heads;
    size_t n_kv_heads;
    size_t d_head;
    int n_threads;
};
enum { HW_BENCH_BLOCK = 256 };
bool hw_bench_has_library(void);
void hw_bench_library_products(void *products);

#ifdef __cplusplus
}
#endif
#endif
