// linear for one level; included after tile_*_internal.h and expand_internal.h.
//
// Each team of threads has its own rows. For each block of them and each group of inputs the team
// packs the rows as strips; then, product by product, each of its threads takes a share of the
// pairs (panel of outputs, strip of rows), panel by panel: it expands the panel's weights once and
// multiplies its strips with them. The first group sets y, the others add to it; after the last the
// bias is added.
#ifndef HW_LINEAR_RUN_INTERNAL_H
#define HW_LINEAR_RUN_INTERNAL_H

#include <assert.h>
#include <omp.h>

// What a thread has of a call: rows x of its team, and its place in it.
struct linear_job {
    const float *x;
    size_t ldx;
    const struct hw_product *product;
    size_t row_first; // of the team
    size_t member;
    size_t n_members;
    float *packed; // the team's
    float *panel;  // the thread's
};

// A block of rows (of the call) and a group of inputs of it.
struct linear_part {
    size_t row;
    size_t n_rows;
    size_t n_strips;
    size_t k;
    size_t n_k;
};

static void linear_pack(const struct linear_job *job, const struct linear_part *part) {
    size_t end_strip = part->n_strips * (job->member + 1) / job->n_members;
    for (size_t strip = part->n_strips * job->member / job->n_members; strip < end_strip; strip++) {
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
    const struct hw_product *p = job->product;
    size_t n_out = hw_size_min(PANEL_WIDTH, p->w->n_out - first);
    const float *packed = job->packed + row * part->n_k;
    float *y = p->y + (part->row + row) * p->ldy + first;
    if (n_out == PANEL_WIDTH) {
        tile_strip(n_rows, part->n_k, packed, panel, y, p->ldy, part->k == 0);
    } else {
        float tile[STRIP_ROWS * PANEL_WIDTH];
        for (size_t i = 0; part->k > 0 && i < n_rows; i++) {
            memset(tile + i * PANEL_WIDTH, 0, PANEL_WIDTH * sizeof *tile);
            memcpy(tile + i * PANEL_WIDTH, y + i * p->ldy, n_out * sizeof *tile);
        }
        tile_strip(n_rows, part->n_k, packed, panel, tile, PANEL_WIDTH, part->k == 0);
        for (size_t i = 0; i < n_rows; i++) {
            memcpy(y + i * p->ldy, tile + i * PANEL_WIDTH, n_out * sizeof *tile);
        }
    }
    if (p->bias != NULL && part->k + part->n_k == p->w->n_in) {
        add_bias(y, p->ldy, n_rows, n_out, p->bias + first);
    }
}

// This thread's share of the pairs (panel, strip). With few strips a panel is not divided:
// expanding it would cost more than an uneven share.
static void linear_share(const struct linear_job *job, const struct linear_part *part) {
    size_t n_out = job->product->w->n_out;
    size_t width = n_out / HW_LINEAR_PANEL >= 8 * job->n_members ? HW_LINEAR_PANEL
                                                                 : hw_size_max(PANEL_WIDTH, 32);
    size_t n_panels = hw_size_div_up(n_out, width);
    size_t unit = part->n_strips < 8 ? part->n_strips : 1;
    size_t n_units = n_panels * part->n_strips / unit;
    size_t at = n_units * job->member / job->n_members * unit;
    size_t end = n_units * (job->member + 1) / job->n_members * unit;
    while (at < end) {
        size_t first = at / part->n_strips * width;
        size_t strip0 = at % part->n_strips;
        size_t strip_end = hw_size_min(part->n_strips, strip0 + end - at);
        size_t n = hw_size_min(width, n_out - first);
        expand_panel(job->product->w, first, n, part->k, part->n_k, job->panel);
        for (size_t strip = strip0; strip < strip_end; strip++) {
            for (size_t o = 0; o < n; o += PANEL_WIDTH) {
                linear_strip(job, part, strip, first + o, job->panel + o * part->n_k);
            }
        }
        at += strip_end - strip0;
    }
}

// One thread's part in a call of `n` products, its team having `n_rows` rows. Every team passes the
// same number of blocks, so that all threads meet at the barriers.
static void linear_work(struct linear_job *job, size_t n_rows, size_t n_blocks,
                        const struct hw_product *products, size_t n) {
    size_t n_in = products->w->n_in;
    for (size_t block = 0; block < n_blocks; block++) {
        struct linear_part part;
        size_t first = strip_row(n_rows, n_blocks, block);
        part.row = job->row_first + first;
        part.n_rows = strip_row(n_rows, n_blocks, block + 1) - first;
        part.n_strips = strip_count(part.n_rows);
        for (part.k = 0; part.k < n_in; part.k += part.n_k) {
            part.n_k = hw_size_min(HW_LINEAR_GROUP_INPUTS, n_in - part.k);
            linear_pack(job, &part);
            if (job->n_members > 1) {
#pragma omp barrier
            }
            for (size_t p = 0; p < n && part.n_rows > 0; p++) {
                job->product = &products[p];
                linear_share(job, &part);
            }
            if (job->n_members > 1) {
#pragma omp barrier
            }
        }
    }
}

static void linear_run(const struct hw_exec *exec, const float *x, size_t m, size_t ldx,
                       const struct hw_product *products, size_t n) {
    size_t n_in = products->w->n_in;
    assert(exec->scratch_bytes >= hw_linear_scratch(exec->n_threads, n_in));
    struct linear_layout layout = linear_layout((size_t)exec->n_threads, n_in);
    unsigned char *scratch = (unsigned char *)(((uintptr_t)exec->scratch + 63) / 64 * 64);
#pragma omp parallel num_threads(exec->n_threads)
    {
        size_t n_threads = (size_t)omp_get_num_threads();
        size_t thread = (size_t)omp_get_thread_num();
        size_t n_teams = linear_n_teams(n_threads, m);
        size_t n_members = n_threads / n_teams;
        size_t team = thread / n_members;
        size_t row = strip_row(m, n_teams, team);
        size_t n_rows = strip_row(m, n_teams, team + 1) - row;
        size_t most = n_members * linear_thread_rows((size_t)exec->n_threads,
                                                     hw_size_min(n_in, HW_LINEAR_GROUP_INPUTS));
        struct linear_job job = {
            .x = x,
            .ldx = ldx,
            .row_first = row,
            .member = thread % n_members,
            .n_members = n_members,
            .packed = (float *)(scratch + team * n_members * layout.packed_bytes),
            .panel = (float *)(scratch + layout.panel_at + thread * layout.panel_bytes),
        };
        linear_work(&job, n_rows, hw_size_div_up(hw_size_div_up(m, n_teams), most), products, n);
    }
}

#endif
