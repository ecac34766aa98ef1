// The library's products as a yardstick; see bench_cases.h. Nothing else in the program uses the
// library.
#include "tools/bench_cases.h"

#ifdef HW_HAVE_DNNL

#include <dnnl.h>
#include <omp.h>

bool hw_bench_has_library(void) {
    return true;
}

void hw_bench_library_products(void *products) {
    const struct hw_bench_products *p = products;
    size_t n_blocks = (p->n_tokens + HW_BENCH_BLOCK - 1) / HW_BENCH_BLOCK;
    size_t ld = p->n_heads * p->d_head;
    size_t kv_ld = p->n_kv_heads * p->d_head;
    // The long blocks of every head first; inside the team the library runs on the thread that
    // calls it.
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(p->n_threads)
    for (size_t b = 0; b < n_blocks; b++) {
        for (size_t head = 0; head < p->n_heads; head++) {
            size_t first = (n_blocks - 1 - b) * HW_BENCH_BLOCK;
            size_t end =
                first + HW_BENCH_BLOCK < p->n_tokens ? first + HW_BENCH_BLOCK : p->n_tokens;
            size_t kv = head / (p->n_heads / p->n_kv_heads) * p->d_head;
            float *scores = p->scores + (size_t)omp_get_thread_num() * HW_BENCH_BLOCK * p->n_tokens;
            dnnl_dim_t rows = (dnnl_dim_t)(end - first);
            dnnl_dim_t keys = (dnnl_dim_t)end;
            dnnl_dim_t width = (dnnl_dim_t)p->d_head;
            (void)dnnl_sgemm('N', 'T', rows, keys, width, 1, p->q + first * ld + head * p->d_head,
                             (dnnl_dim_t)ld, p->k + kv, (dnnl_dim_t)kv_ld, 0, scores, keys);
            (void)dnnl_sgemm('N', 'N', rows, width, keys, 1, scores, keys, p->v + kv,
                             (dnnl_dim_t)kv_ld, 0, p->z + first * ld + head * p->d_head,
                             (dnnl_dim_t)ld);
        }
    }
}

#else

bool hw_bench_has_library(void) {
    return false;
}

void hw_bench_library_products(void *products) {
    (void)products;
}

#endif
