// linear for one level; included after tile_*_internal.h and expand_internal.h.
//
// For each block of rows and each group of inputs: the team packs the rows as strips, then each
// thread takes a share of the pairs (panel of outputs, strip of rows), panel by panel: it expands
// the panel's weights once and multiplies its strips with them. The first group sets y, the others
// add to it; after the last the bias is added.
#ifndef HW_LINEAR_RUN_INTERNAL_H
#define HW_LINEAR_RUN_INTERNAL_H

#include <assert.h>
#include <omp.h>

// One call of linear, with its scratch.
struct linear_job {
    const float *x;
    size_t m;
    size_t ldx;
    const struct hw_weight *w;
    const float *bias;
    float *y;
    size_t ldy;
    float *packed;
    unsigned char *panels;
    size_t panel_bytes;
};

// A block of rows and a group of inputs of it.
struct linear_part {
    size_t row;
    size_t n_rows;
    size_t n_strips;
    size_t k;
    size_t n_k;
};

static void linear_pack(const struct linear_job *job, const struct linear_part *part) {
#pragma omp for schedule(static)
    for (size_t strip = 0; strip < part->n_strips; strip++) {
        size_t row = strip_row(part->n_rows, part->n_strips, strip);
        size_t end = strip_row(part->n_rows, part->n_strips, strip + 1);
        strip_pack(job->x + (part->row + row) * job->ldx + part->k, job->ldx, end - row, part->n_k,
                   job->packed + row * part->n_k);
    }
}

static void add_bias(float *y, size_t ldy, size_t n_rows, size_t n_out, const float *bias) {
    for (size_t row = 0; row < n_rows; row++) {
        for (size_t o = 0; o < n_out; o++) {
            y[row * ldy + o] += bias[o];
        }
    }
}

// Strip times the panel that begins at output `first`; a narrow last panel goes through a tile of
// full width.
static void linear_strip(const struct linear_job *job, const struct linear_part *part, size_t strip,
                         size_t first, const float *panel) {
    size_t row = strip_row(part->n_rows, part->n_strips, strip);
    size_t n_rows = strip_row(part->n_rows, part->n_strips, strip + 1) - row;
    size_t n_out = hw_size_min(PANEL_WIDTH, job->w->n_out - first);
    const float *packed = job->packed + row * part->n_k;
    float *y = job->y + (part->row + row) * job->ldy + first;
    if (n_out == PANEL_WIDTH) {
        tile_strip(n_rows, part->n_k, packed, panel, y, job->ldy, part->k == 0);
    } else {
        float tile[STRIP_ROWS * PANEL_WIDTH];
        for (size_t i = 0; part->k > 0 && i < n_rows; i++) {
            memset(tile + i * PANEL_WIDTH, 0, PANEL_WIDTH * sizeof *tile);
            memcpy(tile + i * PANEL_WIDTH, y + i * job->ldy, n_out * sizeof *tile);
        }
        tile_strip(n_rows, part->n_k, packed, panel, tile, PANEL_WIDTH, part->k == 0);
        for (size_t i = 0; i < n_rows; i++) {
            memcpy(y + i * job->ldy, tile + i * PANEL_WIDTH, n_out * sizeof *tile);
        }
    }
    if (job->bias != NULL && part->k + part->n_k == job->w->n_in) {
        add_bias(y, job->ldy, n_rows, n_out, job->bias + first);
    }
}

// Share `thread` of n_threads of the pairs (panel, strip). With few strips a panel is not divided:
// expanding it would cost more than an uneven share.
static void linear_share(const struct linear_job *job, const struct linear_part *part,
                         size_t thread, size_t n_threads) {
    size_t n_out = job->w->n_out;
    size_t width =
        n_out / HW_LINEAR_PANEL >= 8 * n_threads ? HW_LINEAR_PANEL : hw_size_max(PANEL_WIDTH, 32);
    size_t n_panels = hw_size_div_up(n_out, width);
    size_t unit = part->n_strips < 8 ? part->n_strips : 1;
    size_t n_units = n_panels * part->n_strips / unit;
    size_t at = n_units * thread / n_threads * unit;
    size_t end = n_units * (thread + 1) / n_threads * unit;
    float *panel = (float *)(job->panels + thread * job->panel_bytes);
    while (at < end) {
        size_t first = at / part->n_strips * width;
        size_t strip0 = at % part->n_strips;
        size_t strip_end = hw_size_min(part->n_strips, strip0 + end - at);
        size_t n = hw_size_min(width, n_out - first);
        expand_panel(job->w, first, n, part->k, part->n_k, panel);
        for (size_t strip = strip0; strip < strip_end; strip++) {
            for (size_t o = 0; o < n; o += PANEL_WIDTH) {
                linear_strip(job, part, strip, first + o, panel + o * part->n_k);
            }
        }
        at += strip_end - strip0;
    }
}

static void linear_run(const struct hw_exec *exec, const float *x, size_t m, size_t ldx,
                       const struct hw_weight *w, const float *bias, float *y, size_t ldy) {
    assert(exec->scratch_bytes >= hw_linear_scratch(exec->n_threads, w->n_in));
    struct linear_layout layout = linear_layout((size_t)exec->n_threads, w->n_in);
    unsigned char *scratch = (unsigned char *)(((uintptr_t)exec->scratch + 63) / 64 * 64);
    struct linear_job job = {x,
                             m,
                             ldx,
                             w,
                             bias,
                             y,
                             ldy,
                             (float *)scratch,
                             scratch + layout.panel_at,
                             layout.panel_bytes};
    size_t n_blocks =
        hw_size_div_up(m, linear_block_rows(hw_size_min(w->n_in, HW_LINEAR_GROUP_INPUTS)));
#pragma omp parallel num_threads(exec->n_threads)
    {
        for (size_t block = 0; block < n_blocks; block++) {
            struct linear_part part;
            part.row = strip_row(m, n_blocks, block);
            part.n_rows = strip_row(m, n_blocks, block + 1) - part.row;
            part.n_strips = strip_count(part.n_rows);
            for (part.k = 0; part.k < w->n_in; part.k += part.n_k) {
                part.n_k = hw_size_min(HW_LINEAR_GROUP_INPUTS, w->n_in - part.k);
                linear_pack(&job, &part);
                linear_share(&job, &part, (size_t)omp_get_thread_num(),
                             (size_t)omp_get_num_threads());
#pragma omp barrier
            }
        }
    }
}

#endif
