// How much scratch linear and unembed need; the layouts are those of linear_internal.h.
#include "kernels/linear_internal.h"
#include "kernels/ops.h"

size_t hw_linear_scratch(int n_threads, size_t n_in) {
    struct linear_layout layout = linear_layout((size_t)n_threads, n_in);
    return hw_size_max(layout.bytes, (size_t)n_threads * n_in * sizeof(float));
}

size_t hw_unembed_scratch(int n_threads, size_t m, size_t n_in, size_t n_vocab, size_t n_top) {
    struct unembed_layout layout = unembed_layout((size_t)n_threads, m, n_in, n_vocab, n_top);
    return layout.bytes;
}
