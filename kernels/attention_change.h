// Rows of attention that are changed: the stages before and after the softmax.
// Included once by each architecture, after its rows.
//
// Masked scores stay in the buffers as ATTENTION_MASKED, so everything that is summed over a row
// goes through the loops of unchanged rows: exp of them is 0. After the softmax weights and scores
// change together, score = row max + ln weight, so that ln p = score - max - ln sum holds for every
// key, and sums are taken again by the softmax's own loop in its own order. So a change that alters
// nothing changes no bit.
#ifndef HW_ATTENTION_CHANGE_H
#define HW_ATTENTION_CHANGE_H

#include "kernels/attention_rows.h"

// Keys of a row that are not masked. Scores of -inf become masked ones.
static size_t count_kept(float *score, size_t n) {
    const VEC end = vec_set(ATTENTION_MASK_END);
    size_t n_masked = 0;
    for (size_t j = 0; j < n; j += WIDTH) {
        VEC s = vec_load(score + j);
        unsigned seen = (1u << hw_size_min(n - j, WIDTH)) - 1;
        unsigned masked = vec_above_bits(end, s) & seen;
        if (masked != 0) {
            n_masked += (size_t)__builtin_popcount(masked);
            // A NaN, as the second operand, stays.
            vec_store(score + j, vec_max(vec_set(ATTENTION_MASKED), s));
        }
    }
    return n - n_masked;
}

static float highest_of(const float *x, size_t n) {
    VEC max = vec_set(-INFINITY);
    for (size_t j = 0; j < n; j += WIDTH) {
        max = vec_max(max, vec_pick(vec_first(n - j), vec_load(x + j), vec_set(-INFINITY)));
    }
    return vec_highest(max);
}

// Scores of row r with the first keys from the change's own queries, by the chain of multiply-adds
// of all other scores. The row's place among the block's queries is free by now.
static void score_sinks(const struct attention_plan *plan, const struct attention_work *work,
                        const struct attention_row *row, size_t r,
                        const struct hw_attention_change *change) {
    const struct hw_attention_args *args = plan->args;
    const float *from = change->q_sinks + row->query * args->q_stride + row->head * args->d_head;
    float *q = work->q + r * args->d_head;
    for (size_t c = 0; c < args->d_head; c++) {
        q[c] = from[c] * args->score_scale;
    }
    float sinks[ATTENTION_PANEL];
    struct score_operands at = {
        .q = q, .panel = work->panel, .score = sinks, .rows = row, .d = args->d_head, .n_rows = 1};
    size_t n = hw_size_min(change->n_sinks, row->n_seen);
    for (at.first = 0; at.first < n; at.first += ATTENTION_PANEL) {
        if (plan->is_packed) {
            at.panel = work->keys + at.first * args->d_head;
        } else {
            hw_attention_pack_keys(args, row->head / plan->group, at.first, work->panel);
        }
        for (size_t x = 0; x < ATTENTION_PANEL; x += WIDTH) {
            score_tile(&at, 0, x, 1, 1, false);
        }
        size_t n_here = hw_size_min(n - at.first, ATTENTION_PANEL);
        memcpy(work->score + r * plan->ld + at.first, sinks, n_here * sizeof *sinks);
    }
}

// The first stage: row r's scores, their maximum, how many are left and what their mean is.
static void change_scores(const struct attention_plan *plan, const struct attention_work *work,
                          struct attention_row *row, size_t r) {
    const struct hw_attention_args *args = plan->args;
    float *score = work->score + r * plan->ld;
    for (size_t c = 0; c < args->n_changes; c++) {
        const struct hw_attention_change *change = &args->changes[c];
        if (change->kind == HW_CHANGE_WINDOW && change->q_sinks != NULL &&
            attention_change_holds(change, row->head, args->query_first + row->query)) {
            score_sinks(plan, work, row, r, change);
        }
    }
    hw_attention_change_scores(args, row, score);
    row->n_kept = count_kept(score, row->n_seen);
    float max = row->n_kept > 0 ? highest_of(score, row->n_seen) : 0;
    row->max = max != row->max ? max : row->max; // 0 and -0 are equal
    if (row->n_kept < row->n_seen && args->request.score_mean != NULL) {
        row->score_mean = hw_attention_kept_mean(score, row->n_seen);
    }
}

// The sums of row r anew, from its weights or, where they are not given, from its scores.
static void sum_row(const struct attention_plan *plan, const struct softmax_row *at, bool is_given,
                    size_t r, struct row_sums *sums) {
    struct row_lanes lanes;
    size_t first = r / WIDTH * WIDTH;
    for (size_t x = first; x < first + WIDTH; x++) {
        lanes.weight[x] = lanes.entropy[x] = lanes.distance[x] = vec_zero();
    }
    if (!is_given) {
        row_softmax(at, true, false, &lanes, r);
    } else if (plan->wants.row_statistics) {
        row_softmax(at, true, true, &lanes, r);
    } else {
        row_softmax(at, false, true, &lanes, r);
    }
    float sum[WIDTH];
    vec_sums(lanes.weight + first, sum);
    sums->weight[r] = sum[r - first];
    vec_sums(lanes.entropy + first, sum);
    sums->entropy[r] = sum[r - first];
    vec_sums(lanes.distance + first, sum);
    sums->distance[r] = sum[r - first];
}

// Divides the row by its sum. What is left of a row that lost its strong keys may have no weights
// to speak of; then they are made anew from its scores.
static void renormalise(const struct attention_plan *plan, struct softmax_row *at, size_t r,
                        struct attention_row *row, struct row_sums *sums) {
    const float least = 0x1p-60f; // parts of 2^-24 of this are still far from the smallest weight
    sum_row(plan, at, true, r, sums);
    if (sums->weight[r] < least && count_kept(at->score, at->n) > 0) {
        at->max = row->max = highest_of(at->score, at->n);
        sum_row(plan, at, false, r, sums);
    }
    row->inverse_sum = 1 / sums->weight[r];
    row->log_sum = plan->wants.log_sum ? logf(sums->weight[r]) : 0;
}

static void empty_row(const struct attention_plan *plan, const struct softmax_row *at, size_t r,
                      struct attention_row *row, struct row_sums *sums) {
    const struct hw_attention_request *request = &plan->args->request;
    memset(at->weight, 0, at->end * sizeof *at->weight);
    row->max = row->inverse_sum = row->log_sum = row->peak = row->whole = 0;
    sums->weight[r] = sums->entropy[r] = sums->distance[r] = 0;
    store(request->row_max, row->out, 0);
    store(request->row_inverse_sum, row->out, 0);
    store(request->logsumexp, row->out, -INFINITY);
    if (request->argmax != NULL) {
        request->argmax[row->out] = -1;
    }
}

// The second and third stage, where row r has any: its weights, their sums and its strongest keys.
static void change_weights(const struct attention_plan *plan, const struct attention_work *work,
                           struct attention_block *block, size_t r, struct row_sums *sums) {
    const struct hw_attention_args *args = plan->args;
    struct attention_row *row = &block->rows[r];
    struct softmax_row at = softmax_row_of(plan, work, block, r);
    const float scores_max = row->max;
    if (row->n_kept == 0) {
        empty_row(plan, &at, r, row, sums);
        return;
    }
    if (!plan->changes_weights) {
        return;
    }
    const struct hw_attention_change *override = hw_attention_override(args, row);
    if (override != NULL) {
        hw_attention_place(override, row, at.score, at.weight);
        renormalise(plan, &at, r, row, sums);
    }
    for (size_t c = 0; c < args->n_changes; c++) {
        const struct hw_attention_change *change = &args->changes[c];
        if (change->kind == HW_CHANGE_SCALE &&
            attention_change_holds(change, row->head, args->query_first + row->query)) {
            hw_attention_scale(change, row, at.score, at.weight);
            if (change->is_renormalised) {
                renormalise(plan, &at, r, row, sums);
            }
        }
    }
    if (count_kept(at.score, at.n) == 0) {
        row_keys(plan, work, row, r, 0);
        empty_row(plan, &at, r, row, sums);
        return;
    }
    sum_row(plan, &at, true, r, sums);
    row->peak = highest_of(at.weight, at.n);
    if (1 / sums->weight[r] != row->inverse_sum) {
        row->whole = sums->weight[r] * row->inverse_sum;
    }
    float shift = row->max - scores_max;
    store(args->request.row_inverse_sum, row->out,
          shift != 0 ? (float)((double)row->inverse_sum * exp(-(double)shift)) : row->inverse_sum);
    float max = row->max;
    row->max = highest_of(at.score, at.n);
    row_keys(plan, work, row, r, 0);
    row->max = max;
}

#endif
