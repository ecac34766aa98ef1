// Compressing maps: our shuffle and deflate against HDF5's, on one thread; see bench_cases.h.
//
// The maps are those of our own attention on made-up queries and keys with a sink at the first
// token, as text gives them.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/codec.h"
#include "formats/deflate_yardstick.h"
#include "tools/bench_cases.h"

enum { N_TOKENS = 1024, N_HEADS = 3, D_HEAD = 64, EDGE_TILES = N_TOKENS / HW_MAP_TILE };
enum {
    N_TILES = N_HEADS * EDGE_TILES * (EDGE_TILES + 1) / 2,
    TILE_BYTES = HW_MAP_TILE * HW_MAP_TILE * 2
};

struct codec_work {
    uint16_t *tiles; // [N_TILES, 128, 128]
    struct hw_codec *codec;
    uint64_t ours;
    uint64_t theirs;
    enum hw_status status;
    struct hw_error error;
};

static void run_codec(void *self) {
    struct codec_work *w = self;
    struct hw_codec_chunk chunks[N_TILES];
    struct hw_codec_chunk *list[N_TILES];
    size_t n = 0;
    for (; n < N_TILES; n++) {
        void *data = malloc(TILE_BYTES);
        if (data == NULL) {
            break;
        }
        memcpy(data, (unsigned char *)w->tiles + n * TILE_BYTES, TILE_BYTES);
        chunks[n] = (struct hw_codec_chunk){
            .data = data, .n_bytes = TILE_BYTES, .element_bytes = 2, .is_filtered = true};
        list[n] = &chunks[n];
    }
    if (w->status == HW_OK) {
        w->status = hw_codec_encode(w->codec, list, n, &w->error);
    }
    w->ours = 0;
    for (size_t i = 0; i < n; i++) {
        w->ours += chunks[i].n_bytes;
        free(chunks[i].data);
    }
}

static void run_hdf5(void *self) {
    struct codec_work *w = self;
    if (w->status == HW_OK) {
        w->status = hw_deflate_yardstick(w->tiles, N_TILES, &w->theirs, &w->error);
    }
}

// Attention maps of queries that like the first key and near ones.
static enum hw_status make_tiles(const struct hw_bench_setup *setup, uint16_t *tiles,
                                 struct hw_error *err) {
    size_t n = (size_t)N_TOKENS * N_HEADS * D_HEAD;
    float *q = hw_bench_noise(n, 1);
    float *k = hw_bench_noise(n, 2);
    enum hw_status status = HW_OK;
    struct hw_attention_args args = {
        .q = q,
        .k = k,
        .v = k,
        .q_stride = N_HEADS * D_HEAD,
        .k_stride = N_HEADS * D_HEAD,
        .v_stride = N_HEADS * D_HEAD,
        .n_queries = N_TOKENS,
        .n_keys = N_TOKENS,
        .n_heads = N_HEADS,
        .n_kv_heads = N_HEADS,
        .d_head = D_HEAD,
        .score_scale = .125f,
        .request = {.pattern = tiles, .map_dtype = HW_MAP_F16, .map_n_heads = N_HEADS}};
    struct hw_exec exec = {1, NULL, hw_attention_scratch(1, &args)};
    exec.scratch = hw_bench_block(exec.scratch_bytes);
    if (q == NULL || k == NULL || exec.scratch == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for the benchmark");
        goto cleanup;
    }
    for (size_t t = 0; t < N_TOKENS; t++) {
        for (size_t h = 0; h < N_HEADS; h++) {
            float *row_q = q + (t * N_HEADS + h) * D_HEAD;
            float *row_k = k + (t * N_HEADS + h) * D_HEAD;
            row_q[0] = 8;
            row_k[0] = t == 0 ? 9 : 0;            // a score of 9 above the others' noise
            row_q[1] = 4 * cosf((float)t * .02f); // near positions agree
            row_q[2] = 4 * sinf((float)t * .02f);
            row_k[1] = 4 * cosf((float)t * .02f);
            row_k[2] = 4 * sinf((float)t * .02f);
        }
    }
    setup->ops.attention(&exec, &args);
cleanup:
    free(q);
    free(k);
    free(exec.scratch);
    return status;
}

enum hw_status hw_bench_codec(const struct hw_bench_setup *setup, struct hw_bench_row *row,
                              struct hw_error *err) {
    struct codec_work work = {.tiles = malloc((size_t)N_TILES * TILE_BYTES)};
    enum hw_status status = work.tiles != NULL
                                ? hw_codec_open(1, &work.codec, err)
                                : hw_fail(err, HW_RESOURCE, "not enough memory for the benchmark");
    if (status == HW_OK) {
        status = make_tiles(setup, work.tiles, err);
    }
    if (status == HW_OK) {
        struct hw_bench_side ours = {run_codec, &work, 1};
        struct hw_bench_side theirs = {run_hdf5, &work, 1};
        row->name = "compress maps";
        row->a = hw_codec_name();
        row->b = "HDF5's own shuffle and deflate 1, both on one thread";
        hw_bench_pair(&ours, &theirs, setup->n_rounds, &row->result);
        (void)snprintf(row->detail, sizeof row->detail, "%.2fx the size",
                       (double)work.ours / (double)work.theirs);
        status = work.status == HW_OK ? HW_OK : hw_fail(err, work.status, "%s", work.error.message);
    }
    hw_codec_close(&work.codec);
    free(work.tiles);
    return status;
}
