// unembed for one level; included after tile_*_internal.h and expand_internal.h.
//
// The vocabulary is cut into segments, and rows into blocks. In each block the threads share the
// pairs (segment, strip of rows); a thread expands the weights of a segment panel by panel, and
// takes the logits from the tile while they are in cache. Along a segment every row carries, in
// each lane, the running maximum M, S = sum exp(logit - M) and W = sum exp(logit - M) (logit - M).
// The lanes are folded at the segment's end and the segments in their order in double, so no bit
// depends on threads or on other rows:
//     log_z = M + ln S, entropy = ln S - W / S.
// The largest logits are kept per thread, and merged: which they are depends on the set only.
#ifndef HW_UNEMBED_RUN_INTERNAL_H
#define HW_UNEMBED_RUN_INTERNAL_H

#include <assert.h>
#include <math.h>
#include <omp.h>

#include "kernels/top_internal.h"

// A start that every logit replaces, yet finite: differences with it stay numbers.
#define LEAST_MAX (-1e38f)

// exp of this or less is 0 in f32, or subnormal.
#define LEAST_EXPONENT (-105.0f)

struct unembed_job {
    const float *x;
    size_t ldx;
    const struct hw_weight *w;
    const float *bias;
    const uint32_t *targets;
    const struct hw_unembed_out *out;
    struct unembed_layout layout;
    unsigned char *scratch;
    size_t n_segments;
    size_t n_threads;
    size_t row; // the block
    size_t n_rows;
    size_t n_strips;
};

// One thread's place in a segment.
struct unembed_panel {
    size_t thread;
    size_t first;      // output of lane 0
    size_t n_out;      // lanes that are outputs
    const float *bias; // [PANEL_WIDTH]: -0 where there is none, -infinity beyond the outputs; NULL:
                       // nothing to add
    const float *weight; // packed
};

static inline float *unembed_state(const struct unembed_job *job, size_t thread, size_t row) {
    unsigned char *states = job->scratch + job->layout.state_at + thread * job->layout.state_bytes;
    return (float *)states + row * HW_UNEMBED_STATE;
}

static inline struct top_list unembed_top(const struct unembed_job *job, size_t thread,
                                          size_t row) {
    size_t at = thread * job->layout.top_bytes;
    size_t n_top = job->out->n_top;
    return (struct top_list){(float *)(job->scratch + job->layout.logit_at + at) + row * n_top,
                             (uint32_t *)(job->scratch + job->layout.id_at + at) + row * n_top};
}

// Scales S and W of every lane from the old maximum to the new one.
static inline void unembed_rescale(vf old_max, vf new_max, vf *sum, vf *weighted) {
    vf difference = vf_max(vf_set1(LEAST_EXPONENT), old_max - new_max);
    vf factor = vf_exp(difference);
    *weighted = factor * vf_multiply_add(*sum, difference, *weighted);
    *sum = *sum * factor;
}

static inline void unembed_add(float *state, vf left, vf right) {
    vf old_max = vf_load(state);
    vf sum = vf_load(state + LANES);
    vf weighted = vf_load(state + 2 * LANES);
    vf max = vf_max(vf_max(left, right), old_max);
    if (vf_greater(max, old_max) != 0) {
        unembed_rescale(old_max, max, &sum, &weighted);
        vf_store(state, max);
    }
    vf left_exponent = vf_max(vf_set1(LEAST_EXPONENT), left - max);
    vf right_exponent = vf_max(vf_set1(LEAST_EXPONENT), right - max);
    vf left_exp = vf_exp(left_exponent);
    vf right_exp = vf_exp(right_exponent);
    weighted = vf_multiply_add(left_exp, left_exponent, weighted);
    vf_store(state + LANES, sum + (left_exp + right_exp));
    vf_store(state + 2 * LANES, vf_multiply_add(right_exp, right_exponent, weighted));
}

static void unembed_offer(struct top_list list, size_t n_top, uint32_t mask, const float *logits,
                          size_t first) {
    while (mask != 0) {
        int lane = __builtin_ctz(mask);
        top_offer(list, n_top, logits[lane], (uint32_t)(first + (size_t)lane));
        mask &= mask - 1;
    }
}

// The logits of one row of the block over one panel.
static inline void unembed_take(const struct unembed_job *job, const struct unembed_panel *panel,
                                size_t row, float *logits) {
    const struct hw_unembed_out *out = job->out;
    vf left = vf_load(logits);
    vf right = vf_load(logits + LANES);
    if (panel->bias != NULL) {
        left = left + vf_load(panel->bias);
        right = right + vf_load(panel->bias + LANES);
        vf_store(logits, left);
        vf_store(logits + LANES, right);
    }
    if (out->log_z != NULL || out->entropy != NULL) {
        unembed_add(unembed_state(job, panel->thread, row), left, right);
    }
    if (out->n_top > 0) {
        struct top_list list = unembed_top(job, panel->thread, row);
        vf least = vf_set1(list.logits[out->n_top - 1]);
        uint32_t mask = vf_greater(left, least) | vf_greater(right, least) << LANES;
        unembed_offer(list, out->n_top, mask, logits, panel->first);
    }
    if (out->target_logit != NULL) {
        size_t lane = job->targets[job->row + row] - panel->first; // wraps around below `first`
        if (lane < panel->n_out) {
            out->target_logit[job->row + row] = logits[lane];
        }
    }
    if (out->logits != NULL) {
        memcpy(out->logits + (job->row + row) * job->w->n_out + panel->first, logits,
               panel->n_out * sizeof *logits);
    }
}

static void unembed_strip(const struct unembed_job *job, const struct unembed_panel *panel,
                          size_t strip) {
    _Alignas(64) float tile[STRIP_ROWS * PANEL_WIDTH];
    size_t n_in = job->w->n_in;
    size_t row = strip_row(job->n_rows, job->n_strips, strip);
    size_t n_rows = strip_row(job->n_rows, job->n_strips, strip + 1) - row;
    const float *packed = (const float *)job->scratch + row * n_in;
    tile_strip(n_rows, n_in, packed, panel->weight, tile, PANEL_WIDTH, 1);
    for (size_t i = 0; i < n_rows; i++) {
        unembed_take(job, panel, row + i, tile + i * PANEL_WIDTH);
    }
}

// What is added to the logits of a panel, or NULL.
static const float *unembed_bias(const struct unembed_job *job, size_t first, size_t n_out,
                                 float *ret) {
    if (job->bias == NULL && n_out == PANEL_WIDTH) {
        return NULL;
    }
    for (size_t lane = 0; lane < PANEL_WIDTH; lane++) {
        float value = job->bias != NULL && lane < n_out ? job->bias[first + lane] : -0.0F;
        ret[lane] = lane < n_out ? value : -INFINITY;
    }
    return ret;
}

// Folds the lanes of a row: to their common maximum in vectors, then added in double.
static void unembed_fold(const float *state, struct unembed_part *ret) {
    vf max = vf_load(state);
    vf sum = vf_load(state + LANES);
    vf weighted = vf_load(state + 2 * LANES);
    float sums[LANES];
    float weights[LANES];
    float largest = state[0];
    for (int lane = 1; lane < LANES; lane++) {
        largest = state[lane] > largest ? state[lane] : largest;
    }
    unembed_rescale(max, vf_set1(largest), &sum, &weighted);
    vf_store(sums, sum);
    vf_store(weights, weighted);
    *ret = (struct unembed_part){(double)largest, 0, 0};
    for (int lane = 0; lane < LANES; lane++) {
        ret->sum += (double)sums[lane];
        ret->weighted += (double)weights[lane];
    }
}

// One segment for strips first_strip .. end_strip.
static void unembed_segment(const struct unembed_job *job, size_t thread, size_t segment,
                            size_t first_strip, size_t end_strip) {
    size_t begin = segment * HW_UNEMBED_SEGMENT;
    size_t end = hw_size_min(job->w->n_out, begin + HW_UNEMBED_SEGMENT);
    size_t row = strip_row(job->n_rows, job->n_strips, first_strip);
    size_t end_row = strip_row(job->n_rows, job->n_strips, end_strip);
    float *weights =
        (float *)(job->scratch + job->layout.panel_at + thread * job->layout.panel_bytes);
    for (size_t r = row; r < end_row; r++) {
        float *state = unembed_state(job, thread, r);
        for (int lane = 0; lane < 3 * LANES; lane++) {
            state[lane] = lane < LANES ? LEAST_MAX : 0;
        }
    }
    for (size_t o = begin; o < end; o += HW_LINEAR_PANEL) {
        size_t n = hw_size_min(HW_LINEAR_PANEL, end - o);
        expand_panel(job->w, o, n, 0, job->w->n_in, weights);
        for (size_t strip = first_strip; strip < end_strip; strip++) {
            for (size_t at = 0; at < n; at += PANEL_WIDTH) {
                float bias[PANEL_WIDTH];
                size_t n_out = hw_size_min(PANEL_WIDTH, n - at);
                struct unembed_panel panel = {thread, o + at, n_out,
                                              unembed_bias(job, o + at, n_out, bias),
                                              weights + at * job->w->n_in};
                unembed_strip(job, &panel, strip);
            }
        }
    }
    struct unembed_part *parts = (struct unembed_part *)(job->scratch + job->layout.part_at);
    for (size_t r = row; r < end_row; r++) {
        unembed_fold(unembed_state(job, thread, r), parts + r * job->n_segments + segment);
    }
}

// Packs the rows of a block, and makes everything empty.
static void unembed_start(const struct unembed_job *job) {
    float *packed = (float *)job->scratch;
    size_t n_top = job->out->n_top;
#pragma omp for schedule(static)
    for (size_t strip = 0; strip < job->n_strips; strip++) {
        size_t row = strip_row(job->n_rows, job->n_strips, strip);
        size_t end = strip_row(job->n_rows, job->n_strips, strip + 1);
        strip_pack(job->x + (job->row + row) * job->ldx, job->ldx, end - row, job->w->n_in,
                   packed + row * job->w->n_in);
        for (size_t r = row; r < end; r++) {
            for (size_t thread = 0; thread < job->n_threads && n_top > 0; thread++) {
                top_clear(unembed_top(job, thread, r), n_top);
            }
            if (job->out->target_logit != NULL) {
                job->out->target_logit[job->row + r] = NAN;
            }
        }
    }
}

// As in linear_share: with few strips a segment is not divided.
static void unembed_share(const struct unembed_job *job, size_t thread, size_t n_threads) {
    size_t unit = job->n_strips < 8 ? job->n_strips : 1;
    size_t n_units = job->n_segments * job->n_strips / unit;
    size_t at = n_units * thread / n_threads * unit;
    size_t end = n_units * (thread + 1) / n_threads * unit;
    while (at < end) {
        size_t strip = at % job->n_strips;
        size_t end_strip = hw_size_min(job->n_strips, strip + end - at);
        unembed_segment(job, thread, at / job->n_strips, strip, end_strip);
        at += end_strip - strip;
    }
}

static void unembed_finish_row(const struct unembed_job *job, size_t row) {
    const struct hw_unembed_out *out = job->out;
    const struct unembed_part *parts =
        (const struct unembed_part *)(job->scratch + job->layout.part_at) + row * job->n_segments;
    double max = -INFINITY;
    double sum = 0;
    double weighted = 0;
    for (size_t i = 0; i < job->n_segments; i++) {
        max = parts[i].max > max ? parts[i].max : max;
    }
    for (size_t i = 0; i < job->n_segments; i++) {
        double factor = exp(parts[i].max - max);
        sum += factor * parts[i].sum;
        weighted += factor * (parts[i].weighted + parts[i].sum * (parts[i].max - max));
    }
    if (out->log_z != NULL) {
        out->log_z[job->row + row] = (float)(max + log(sum));
    }
    if (out->entropy != NULL) {
        out->entropy[job->row + row] = (float)(log(sum) - weighted / sum);
    }
    if (out->n_top == 0) {
        return;
    }
    struct top_list list = unembed_top(job, 0, row);
    for (size_t thread = 1; thread < job->n_threads; thread++) {
        struct top_list other = unembed_top(job, thread, row);
        for (size_t i = 0; i < out->n_top; i++) {
            top_offer(list, out->n_top, other.logits[i], other.ids[i]);
        }
    }
    if (out->top_logit != NULL) {
        memcpy(out->top_logit + (job->row + row) * out->n_top, list.logits,
               out->n_top * sizeof(float));
    }
    if (out->top_id != NULL) {
        memcpy(out->top_id + (job->row + row) * out->n_top, list.ids,
               out->n_top * sizeof(uint32_t));
    }
}

static void unembed_run(const struct hw_exec *exec, const struct unembed_job *call, size_t m) {
    const struct hw_weight *w = call->w;
    size_t n_threads = (size_t)exec->n_threads;
    assert(call->out->n_top <= HW_TOP_LIMIT);
    assert(exec->scratch_bytes >=
           hw_unembed_scratch(exec->n_threads, m, w->n_in, w->n_out, call->out->n_top));
    struct unembed_job shared = *call;
    shared.layout = unembed_layout(n_threads, m, w->n_in, w->n_out, call->out->n_top);
    shared.scratch = (unsigned char *)(((uintptr_t)exec->scratch + 63) / 64 * 64);
    shared.n_segments = hw_size_div_up(w->n_out, HW_UNEMBED_SEGMENT);
    shared.n_threads = n_threads;
    size_t n_blocks = hw_size_div_up(m, linear_block_rows(w->n_in));
#pragma omp parallel num_threads(exec->n_threads)
    {
        struct unembed_job job = shared;
        for (size_t block = 0; block < n_blocks; block++) {
            job.row = strip_row(m, n_blocks, block);
            job.n_rows = strip_row(m, n_blocks, block + 1) - job.row;
            job.n_strips = strip_count(job.n_rows);
            unembed_start(&job);
            unembed_share(&job, (size_t)omp_get_thread_num(), (size_t)omp_get_num_threads());
#pragma omp barrier
#pragma omp for schedule(static)
            for (size_t row = 0; row < job.n_rows; row++) {
                unembed_finish_row(&job, row);
            }
        }
    }
}

#endif
