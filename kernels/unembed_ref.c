// unembed: per row, in double, one pass over the vocabulary in rising order with the running
// maximum M of the logits, S = sum exp(logit - M) and W = sum exp(logit - M) (logit - M): log_z = M
// + ln S, entropy = ln S - W / S. The largest logits are chosen among the values rounded to f32.
#include <assert.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/ops.h"
#include "kernels/size.h"
#include "kernels/top_internal.h"
#include "kernels/weight_internal.h"

enum { ROWS = 16 }; // rows for which one expanded output is used

struct row_state {
    double max;
    double sum;
    double weighted;
    float top_logits[HW_TOP_LIMIT];
    uint32_t top_ids[HW_TOP_LIMIT];
};

static void add_logit(struct row_state *state, double logit) {
    if (logit > state->max) {
        double factor = exp(state->max - logit);
        if (state->sum > 0) {
            state->weighted = factor * (state->weighted + state->sum * (state->max - logit));
        }
        state->sum *= factor;
        state->max = logit;
    }
    double p = exp(logit - state->max);
    state->sum += p;
    state->weighted += p > 0 ? p * (logit - state->max) : 0;
}

struct job {
    const float *x;
    size_t ldx;
    const struct hw_weight *w;
    const float *bias;
    const uint32_t *targets;
    const struct hw_unembed_out *out;
};

static void start_row(const struct job *job, size_t row, struct row_state *state) {
    state->max = -INFINITY;
    state->sum = 0;
    state->weighted = 0;
    top_clear((struct top_list){state->top_logits, state->top_ids}, job->out->n_top);
    if (job->out->target_logit != NULL) {
        job->out->target_logit[row] = NAN;
    }
}

static void take_logit(const struct job *job, size_t row, size_t id, double logit,
                       struct row_state *state) {
    const struct hw_unembed_out *out = job->out;
    if (out->target_logit != NULL && job->targets[row] == id) {
        out->target_logit[row] = (float)logit;
    }
    if (out->logits != NULL) {
        out->logits[row * job->w->n_out + id] = (float)logit;
    }
    add_logit(state, logit);
    top_offer((struct top_list){state->top_logits, state->top_ids}, out->n_top, (float)logit,
              (uint32_t)id);
}

static void finish_row(const struct job *job, size_t row, const struct row_state *state) {
    const struct hw_unembed_out *out = job->out;
    if (out->log_z != NULL) {
        out->log_z[row] = (float)(state->max + log(state->sum));
    }
    if (out->entropy != NULL) {
        out->entropy[row] = (float)(log(state->sum) - state->weighted / state->sum);
    }
    if (out->top_logit != NULL) {
        memcpy(out->top_logit + row * out->n_top, state->top_logits, out->n_top * sizeof(float));
    }
    if (out->top_id != NULL) {
        memcpy(out->top_id + row * out->n_top, state->top_ids, out->n_top * sizeof(uint32_t));
    }
}

static void run_rows(const struct job *job, size_t first, size_t end, float *weights) {
    struct row_state states[ROWS];
    for (size_t row = first; row < end; row++) {
        start_row(job, row, &states[row - first]);
    }
    for (size_t id = 0; id < job->w->n_out; id++) {
        weight_expand_output(job->w, id, weights);
        for (size_t row = first; row < end; row++) {
            const float *input = job->x + row * job->ldx;
            double logit = 0;
            for (size_t i = 0; i < job->w->n_in; i++) {
                logit += (double)input[i] * (double)weights[i];
            }
            logit += job->bias != NULL ? (double)job->bias[id] : 0;
            take_logit(job, row, id, logit, &states[row - first]);
        }
    }
    for (size_t row = first; row < end; row++) {
        finish_row(job, row, &states[row - first]);
    }
}

static void unembed_ref(const struct hw_exec *exec, const float *x, size_t m, size_t ldx,
                        const struct hw_weight *w, const float *bias, const uint32_t *targets,
                        const struct hw_unembed_out *out) {
    assert(exec->scratch_bytes >=
           hw_unembed_scratch(exec->n_threads, m, w->n_in, w->n_out, out->n_top));
    assert(out->n_top <= HW_TOP_LIMIT);
    struct job job = {x, ldx, w, bias, targets, out};
#pragma omp parallel num_threads(exec->n_threads)
    {
        float *weights = (float *)exec->scratch + (size_t)omp_get_thread_num() * w->n_in;
#pragma omp for schedule(static)
        for (size_t block = 0; block < hw_size_div_up(m, ROWS); block++) {
            run_rows(&job, block * ROWS, hw_size_min(m, block * ROWS + ROWS), weights);
        }
    }
}

void hw_register_unembed_ref(struct hw_ops *ops);

void hw_register_unembed_ref(struct hw_ops *ops) {
    HW_OPS_SET(ops, unembed, unembed_ref);
}
