// Sizes of the scratch of the reductions; see state.h.
#include "kernels/state.h"

size_t hw_state_scratch(int n_threads) {
    return sizeof(struct hw_state_scratch) + (size_t)n_threads * sizeof(struct hw_state_thread);
}

// The selection halves the range of bit patterns and counts, so that it needs no copy of the row.
size_t hw_row_abs_median_scratch(int n_threads, size_t width) {
    return 0;
}
