// One block of rows from queries to z and statistics. Included once by each architecture, which
// defines VEC, MASK, WIDTH, the sizes of its tiles and the vec_ operations before.
#ifndef HW_ATTENTION_BLOCK_H
#define HW_ATTENTION_BLOCK_H

#include "kernels/attention_change.h"

// The block's queries times the scale, in work->q.
static void load_queries(const struct attention_plan *plan, const struct attention_work *work,
                         const struct attention_block *block) {
    const struct hw_attention_args *args = plan->args;
    for (size_t r = 0; r < block->n_rows; r++) {
        size_t i = block->rows[r].query;
        const float *q = args->q + i * args->q_stride + block->rows[r].head * args->d_head;
        float *restrict to = work->q + r * args->d_head;
        float scale = args->score_scale;
        for (size_t c = 0; c < args->d_head; c++) {
            to[c] = q[c] * scale;
        }
    }
}

// Remembers the rows' maxima so far.
static void set_mark(const struct attention_work *work, struct attention_block *block,
                     const VEC *max) {
    float *mark = work->marks + block->n_marks * ATTENTION_ROWS * ATTENTION_LANES;
    for (size_t r = 0; r < block->n_rows; r++) {
        vec_store(mark + r * ATTENTION_LANES, max[r]);
    }
    block->n_marks++;
}

// Scores against all keys up to block->end, and every row's maximum over the keys that it sees.
static void block_scores(const struct attention_plan *plan, const struct attention_work *work,
                         struct attention_block *block) {
    const struct hw_attention_args *args = plan->args;
    size_t kv_head = work->head_first / plan->group;
    size_t least_seen = block->n_seen - block->n_per_head + 1;
    VEC max[ATTENTION_ROWS];
    block->n_marks = 0;
    for (size_t r = 0; r < block->n_rows; r++) {
        max[r] = vec_set(-INFINITY);
    }
    size_t seen_by_all = least_seen / ATTENTION_PANEL * ATTENTION_PANEL;
    struct score_operands at = {.q = work->q,
                                .panel = work->panel,
                                .max = max,
                                .rows = block->rows,
                                .d = args->d_head,
                                .ld = plan->ld,
                                .n_rows = block->n_rows};
    for (at.first = 0; at.first < block->end; at.first += ATTENTION_PANEL) {
        at.score = work->score + at.first;
        if (plan->is_packed) {
            at.panel = work->keys + at.first * args->d_head;
        } else {
            hw_attention_pack_keys(args, kv_head, at.first, work->panel);
        }
        if (at.first < seen_by_all) {
            score_panel(&at, true);
            size_t done = at.first + ATTENTION_PANEL;
            if (args->request.argmax != NULL && done % ATTENTION_MARK == 0) {
                set_mark(work, block, max);
            }
        } else {
            score_panel(&at, false);
        }
    }
    for (size_t r = 0; r < block->n_rows; r++) {
        const float *score = work->score + r * plan->ld;
        size_t n = block->rows[r].n_seen;
        for (size_t j = seen_by_all; j < n; j += WIDTH) {
            VEC s = vec_pick(vec_first(n - j), vec_load(score + j), vec_set(-INFINITY));
            max[r] = vec_max(max[r], s);
        }
        block->rows[r].max = vec_highest(max[r]);
    }
}

// What is known of a row's scores; row_inverse_sum until weights are changed.
static void store_scores(const struct attention_plan *plan, const struct attention_row *row,
                         const struct row_sums *sums, size_t r) {
    const struct hw_attention_request *request = &plan->args->request;
    store(request->row_max, row->out, row->max);
    store(request->row_inverse_sum, row->out, row->inverse_sum);
    store(request->logsumexp, row->out, row->max + row->log_sum);
    if (request->score_mean != NULL) {
        bool is_masked = row->n_kept < row->n_seen;
        store(request->score_mean, row->out,
              is_masked ? row->score_mean : sums->score[r] / (float)row->n_seen);
    }
}

static void store_weights(const struct attention_plan *plan, const struct attention_row *row,
                          const struct row_sums *sums, size_t r, const float *weight) {
    const struct hw_attention_request *request = &plan->args->request;
    float inverse = row->inverse_sum;
    store(request->max, row->out, row->peak * inverse);
    store(request->first, row->out, weight[0] * inverse);
    store(request->row_sum, row->out, sums->weight[r] * inverse);
    if (plan->wants.row_statistics) {
        // -sum p ln p with ln p = (s - max) - ln sum.
        float entropy = row->log_sum * row->whole - sums->entropy[r] * inverse;
        // Only rows with weights above 1 go below 0, but for rounding.
        store(request->entropy, row->out, entropy > 0 || row->whole > 1 ? entropy : 0);
        store(request->distance, row->out, sums->distance[r] * inverse);
    }
}

static void row_maps(const struct attention_plan *plan, const struct attention_row *row,
                     const float *score, const float *weight) {
    const struct hw_attention_args *args = plan->args;
    const struct hw_attention_request *request = &args->request;
    size_t map_head;
    if (!attention_map_head(request, row->head, &map_head)) {
        return;
    }
    void *pattern = attention_map_of(args, request->pattern, request->map_dtype, map_head);
    void *scores = attention_map_of(args, request->scores, request->score_dtype, map_head);
    if (weight != NULL && pattern != NULL) {
        map_row(args, pattern, request->map_dtype, weight, row->inverse_sum, row->n_seen, false);
        if (row->whole != 1) {
            hw_attention_clip_pattern(args, row, weight);
        }
    }
    if (score != NULL && scores != NULL) {
        map_row(args, scores, request->score_dtype, score, 1, row->n_seen, true);
        if (row->n_kept < row->n_seen) {
            hw_attention_mark_scores(args, row, score);
        }
    }
}

// The top keys and the plain row.
static void copy_row(const struct attention_plan *plan, const struct attention_work *work,
                     const struct attention_block *block, size_t r) {
    const struct hw_attention_request *request = &plan->args->request;
    const struct attention_row *row = &block->rows[r];
    const float *weight = work->weight + r * plan->ld;
    for (size_t rank = 0; plan->wants.top && rank < request->n_top; rank++) {
        int32_t key = work->top_key[r * request->n_top + rank];
        size_t out = row->out * request->n_top + rank;
        if (request->top_key != NULL) {
            request->top_key[out] = key;
        }
        store(request->top_weight, out, key >= 0 ? weight[key] * row->inverse_sum : NAN);
    }
    if (request->rows != NULL) {
        float *restrict to = request->rows + row->out * request->row_stride;
        const float inverse = row->inverse_sum;
        const size_t n = row->n_seen;
        for (size_t j = 0; j < n; j++) {
            to[j] = weight[j] * inverse;
        }
    }
}

// Softmax of all rows, and everything that is taken along them. Rows go through each step one after
// another, so that the processor can overlap them where a step is a chain of waits.
static void finish_rows(const struct attention_plan *plan, const struct attention_work *work,
                        struct attention_block *block) {
    struct row_lanes lanes;
    struct row_sums sums;
    for (size_t r = block->n_rows; r < BATCH_ROWS; r++) {
        lanes.weight[r] = lanes.entropy[r] = lanes.score[r] = lanes.distance[r] = vec_zero();
    }
    for (size_t r = 0; r < block->n_rows; r++) {
        struct attention_row *row = &block->rows[r];
        if (row->is_changed) {
            change_scores(plan, work, row, r);
        }
        // Before weights may take the place of the scores.
        row_keys(plan, work, row, r, row->is_changed ? 0 : block->n_marks);
        if (plan->wants.maps) {
            row_maps(plan, row, work->score + r * plan->ld, NULL);
        }
        struct softmax_row at = softmax_row_of(plan, work, block, r);
        if (plan->wants.row_statistics) {
            row_softmax(&at, true, false, &lanes, r);
        } else {
            row_softmax(&at, false, false, &lanes, r);
        }
    }
    lane_sums(lanes.weight, sums.weight);
    if (plan->wants.row_statistics) {
        lane_sums(lanes.entropy, sums.entropy);
        lane_sums(lanes.score, sums.score);
        lane_sums(lanes.distance, sums.distance);
    }
    for (size_t r = 0; r < block->n_rows; r++) {
        block->rows[r].inverse_sum = 1 / sums.weight[r];
        block->rows[r].log_sum = plan->wants.log_sum ? logf(sums.weight[r]) : 0;
    }
    for (size_t r = 0; r < block->n_rows; r++) {
        const float *weight = work->weight + r * plan->ld;
        store_scores(plan, &block->rows[r], &sums, r);
        if (block->rows[r].is_changed) {
            change_weights(plan, work, block, r, &sums);
        }
        store_weights(plan, &block->rows[r], &sums, r, weight);
        if (plan->wants.maps) {
            row_maps(plan, &block->rows[r], NULL, weight);
        }
        copy_row(plan, work, block, r);
    }
}

// The rows of one head of a block, for the key statistics.
struct column_operands {
    const float *weight;
    const float *score;
    const struct attention_row *rows;
    const struct attention_sums *sums;
    size_t ld;
    size_t n_rows;
};

// Adds the rows to the key statistics of vecs vectors of keys from key j.
INLINE void add_columns(const struct column_operands *at, size_t j, const int vecs,
                        const bool with_max, const bool with_entropy) {
    VEC sum[COLUMN_VECS], max[COLUMN_VECS], p_log_p[COLUMN_VECS];
#pragma GCC unroll 4
    for (int x = 0; x < vecs; x++) {
        size_t key = j + (size_t)x * WIDTH;
        sum[x] = vec_load(at->sums->sum + key);
        max[x] = with_max ? vec_load(at->sums->max + key) : vec_zero();
        p_log_p[x] = with_entropy ? vec_load(at->sums->p_log_p + key) : vec_zero();
    }
    for (size_t r = 0; r < at->n_rows; r++) {
        VEC inverse = vec_set(at->rows[r].inverse_sum);
        VEC row_max = vec_set(at->rows[r].max);
        VEC log_sum = vec_set(at->rows[r].log_sum);
#pragma GCC unroll 4
        for (int x = 0; x < vecs; x++) {
            size_t place = r * at->ld + j + (size_t)x * WIDTH;
            VEC p = vec_mul(vec_load(at->weight + place), inverse);
            sum[x] = vec_add(sum[x], p);
            if (with_max) {
                max[x] = vec_max(max[x], p);
            }
            if (with_entropy) {
                VEC log_p = vec_sub(vec_sub(vec_load(at->score + place), row_max), log_sum);
                p_log_p[x] = vec_fma(p, log_p, p_log_p[x]);
            }
        }
    }
#pragma GCC unroll 4
    for (int x = 0; x < vecs; x++) {
        size_t key = j + (size_t)x * WIDTH;
        vec_store(at->sums->sum + key, sum[x]);
        if (with_max) {
            vec_store(at->sums->max + key, max[x]);
        }
        if (with_entropy) {
            vec_store(at->sums->p_log_p + key, p_log_p[x]);
        }
    }
}

// The same for keys first .. end, a whole number of panels.
INLINE void add_chunk(const struct column_operands *at, size_t first, size_t end,
                      const bool with_max, const bool with_entropy) {
    size_t j = first;
    for (; j + COLUMN_VECS * WIDTH <= end; j += COLUMN_VECS * WIDTH) {
        add_columns(at, j, COLUMN_VECS, with_max, with_entropy);
    }
    for (; j < end; j += WIDTH) {
        add_columns(at, j, 1, with_max, with_entropy);
    }
}

// Key statistics of the keys first .. end, one head of the task after another.
static void block_columns(const struct attention_plan *plan, const struct attention_work *work,
                          const struct attention_block *block, size_t first, size_t end) {
    for (size_t h = 0; plan->wants.key_sum && h < work->n_heads; h++) {
        size_t r = h * block->n_per_head;
        struct column_operands at = {.weight = work->weight + r * plan->ld,
                                     .score = work->score + r * plan->ld,
                                     .rows = block->rows + r,
                                     .sums = &work->sums[h],
                                     .ld = plan->ld,
                                     .n_rows = block->n_per_head};
        if (plan->wants.key_entropy) {
            add_chunk(&at, first, end, true, true);
        } else if (plan->wants.key_max) {
            add_chunk(&at, first, end, true, false);
        } else {
            add_chunk(&at, first, end, false, false);
        }
    }
}

// Adds a chunk of keys to work->z.
static void block_values(const struct attention_plan *plan, const struct attention_work *work,
                         const struct attention_block *block, size_t first) {
    const struct hw_attention_args *args = plan->args;
    size_t kv_head = work->head_first / plan->group;
    struct value_operands at = {.weight = work->weight + first,
                                .values = work->values + first * plan->d_pad,
                                .z = work->z,
                                .rows = block->rows,
                                .ld = plan->ld,
                                .ld_values = plan->d_pad,
                                .ld_z = plan->d_pad,
                                .n_rows = block->n_rows,
                                .first = first,
                                .n = hw_size_min(block->n_seen - first, ATTENTION_CHUNK)};
    if (!plan->is_packed && plan->d_pad == args->d_head) {
        at.values = args->v + first * args->v_stride + kv_head * args->d_head;
        at.ld_values = args->v_stride;
    } else if (!plan->is_packed) {
        hw_attention_pack_values(args, kv_head, first, at.n, plan->d_pad, work->chunk);
        at.values = work->chunk;
    }
    value_chunk(&at, plan->d_pad);
}

static void store_z(const struct attention_plan *plan, const struct attention_work *work,
                    const struct attention_block *block) {
    const struct hw_attention_args *args = plan->args;
    for (size_t r = 0; r < block->n_rows; r++) {
        size_t i = block->rows[r].query;
        const float *from = work->z + r * plan->d_pad;
        float *restrict to = args->z + i * args->z_stride + block->rows[r].head * args->d_head;
        float inverse = block->rows[r].inverse_sum;
        for (size_t c = 0; c < args->d_head; c++) {
            to[c] = from[c] * inverse;
        }
    }
}

// Sums of the weights of a head's rows, which see at least n keys, over the n keys up to the
// diagonal.
static void near_sums(const struct attention_plan *plan, const struct attention_row *rows,
                      const float *weight, size_t n_rows, size_t n, float *sum) {
    size_t x = 0;
    for (; x + 4 * WIDTH <= n; x += 4 * WIDTH) {
        VEC total[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
        for (size_t r = 0; r < n_rows; r++) {
            const float *from = weight + r * plan->ld + rows[r].n_seen - n + x;
            VEC inverse = vec_set(rows[r].inverse_sum);
#pragma GCC unroll 4
            for (size_t v = 0; v < 4; v++) {
                total[v] = vec_add(total[v], vec_mul(vec_load(from + v * WIDTH), inverse));
            }
        }
        for (size_t v = 0; v < 4; v++) {
            vec_store(sum + x + v * WIDTH, total[v]);
        }
    }
    for (; x < n; x++) {
        sum[x] = 0;
        for (size_t r = 0; r < n_rows; r++) {
            sum[x] += weight[r * plan->ld + rows[r].n_seen - n + x] * rows[r].inverse_sum;
        }
    }
}

// Adds the weights near the diagonal of a head's rows to its offsets.
static void add_offsets(const struct attention_plan *plan, const struct attention_work *work,
                        const struct attention_block *block, size_t h) {
    size_t n = plan->args->request.n_offsets;
    const struct attention_row *rows = block->rows + h * block->n_per_head;
    const float *weight = work->weight + h * block->n_per_head * plan->ld;
    // The first rows of a prompt see fewer keys; they go one by one.
    size_t r = 0;
    for (; r < block->n_per_head && rows[r].n_seen < n; r++) {
        for (size_t o = 0; o < rows[r].n_seen; o++) {
            float p = weight[r * plan->ld + rows[r].n_seen - 1 - o] * rows[r].inverse_sum;
            work->sums[h].offset[o] += (double)p;
        }
    }
    near_sums(plan, rows + r, weight + r * plan->ld, block->n_per_head - r, n, work->offset_sum);
    for (size_t o = 0; o < n; o++) {
        work->sums[h].offset[o] += (double)work->offset_sum[n - 1 - o];
    }
}

// Adds rows r .. end of a block to the sums of a span.
static void add_span_rows(const struct attention_plan *plan, const struct attention_work *work,
                          const struct attention_block *block, size_t r, size_t end, size_t span) {
    float *restrict sum = work->span_sum + span * plan->n_keys_pad;
    size_t *n_summed = &work->span_end[span];
    if (r < end && *n_summed < block->end) {
        memset(sum + *n_summed, 0, (block->end - *n_summed) * sizeof *sum);
        *n_summed = block->end;
    }
    for (; r < end; r++) {
        const float *weight = work->weight + r * plan->ld;
        VEC inverse = vec_set(block->rows[r].inverse_sum);
        for (size_t j = 0; j < block->rows[r].n_seen; j += WIDTH) {
            vec_store(sum + j, vec_add(vec_load(sum + j), vec_mul(vec_load(weight + j), inverse)));
        }
    }
}

// Adds a head's rows to the spans that they are in; the spans that hold all rows are served by the
// key sums.
static void add_spans(const struct attention_plan *plan, const struct attention_work *work,
                      const struct attention_block *block, size_t h) {
    const struct hw_attention_args *args = plan->args;
    size_t first = args->query_first + block->first;
    size_t end = first + block->n_per_head;
    for (size_t a = 0; a < args->request.n_spans; a++) {
        const struct hw_span *span = &args->request.spans[a];
        if (plan->wants.key_sum && hw_attention_span_is_all(args, span)) {
            continue;
        }
        for (size_t g = hw_attention_span_range(span, first); g < span->n_ranges; g++) {
            size_t from = hw_size_max(span->ranges[g].first, first);
            size_t to = hw_size_min(span->ranges[g].end, end);
            if (from >= to) {
                break;
            }
            size_t row = h * block->n_per_head;
            add_span_rows(plan, work, block, row + from - first, row + to - first, a);
        }
    }
    if (!plan->is_packed) { // the task's other heads use the same sums
        hw_attention_spans_finish(plan, work, &work->sums[h]);
    }
}

static void attention_block(const struct attention_plan *plan, const struct attention_work *work,
                            size_t index) {
    struct attention_block block;
    hw_attention_block_rows(plan, work, index, &block);
    load_queries(plan, work, &block);
    block_scores(plan, work, &block);
    finish_rows(plan, work, &block);
    for (size_t j = 0; j < block.end; j += ATTENTION_CHUNK) {
        block_columns(plan, work, &block, j, hw_size_min(j + ATTENTION_CHUNK, block.end));
        if (plan->args->z != NULL && j < block.n_seen) {
            block_values(plan, work, &block, j);
        }
    }
    if (plan->args->z != NULL) {
        store_z(plan, work, &block);
    }
    for (size_t h = 0; h < work->n_heads; h++) {
        if (plan->wants.offsets) {
            add_offsets(plan, work, &block, h);
        }
        if (plan->wants.spans) {
            add_spans(plan, work, &block, h);
        }
    }
}

#endif
