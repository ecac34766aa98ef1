// Changes of attention that need no vectors of their own: which rows a change holds for, and what
// it makes of a row of scores or weights. Sums, maxima and the order of the stages are in
// attention_change.h.
//
// Nothing here touches a value that a change leaves as it is: adding 0 or multiplying by 1 keeps
// bits, and logarithms are added only where a factor is not 1.
#include "kernels/attention_internal.h"

bool hw_attention_is_changed(const struct hw_attention_args *args, size_t head, size_t i) {
    for (size_t c = 0; c < args->n_changes; c++) {
        if (attention_change_holds(&args->changes[c], head, args->query_first + i)) {
            return true;
        }
    }
    return false;
}

static bool is_override(const struct hw_attention_change *change) {
    return change->kind == HW_CHANGE_UNIFORM || change->kind == HW_CHANGE_TO ||
           change->kind == HW_CHANGE_IDENTITY || change->kind == HW_CHANGE_PREVIOUS;
}

bool hw_attention_changes_weights(const struct hw_attention_args *args) {
    for (size_t c = 0; c < args->n_changes; c++) {
        if (is_override(&args->changes[c]) || args->changes[c].kind == HW_CHANGE_SCALE) {
            return true;
        }
    }
    return false;
}

void hw_attention_count_changed(const struct hw_attention_args *args) {
    for (size_t c = 0; args->n_changed != NULL && c < args->n_changes; c++) {
        const struct hw_attention_change *change = &args->changes[c];
        uint64_t n_heads = 0, n_rows = 0;
        for (size_t head = 0; head < args->n_heads; head++) {
            n_heads += change->heads == NULL || change->heads[head] != 0;
        }
        for (size_t i = 0; i < args->n_queries; i++) {
            n_rows += change->queries == NULL || change->queries[args->query_first + i] != 0;
        }
        *args->n_changed += n_heads * n_rows;
    }
}

static void mask_keys(const struct hw_attention_change *change, size_t n, float *score) {
    for (size_t j = 0; j < n; j++) {
        bool is_masked = change->keys == NULL || change->keys[j] != 0;
        score[j] = is_masked ? ATTENTION_MASKED : score[j];
    }
}

static void add_bias(const struct hw_attention_change *change, size_t n, float *score) {
    float amount = fminf(change->amount, HW_BIAS_LIMIT);
    for (size_t j = 0; j < n; j++) {
        bool is_meant = change->keys == NULL || change->keys[j] != 0;
        // Not added to 0: that would turn a score of -0 into 0.
        float sum = amount != 0 ? score[j] + amount : score[j];
        score[j] = is_meant ? sum : score[j];
    }
}

void hw_attention_change_scores(const struct hw_attention_args *args,
                                const struct attention_row *row, float *score) {
    size_t position = args->query_first + row->query;
    for (size_t c = 0; c < args->n_changes; c++) {
        const struct hw_attention_change *change = &args->changes[c];
        if (!attention_change_holds(change, row->head, position)) {
            continue;
        }
        if (attention_change_masks(change)) {
            mask_keys(change, row->n_seen, score);
        } else if (change->kind == HW_CHANGE_BIAS) {
            add_bias(change, row->n_seen, score);
        } else if (change->kind == HW_CHANGE_WINDOW && change->n_recent < row->n_seen) {
            for (size_t j = change->n_sinks; j < row->n_seen - change->n_recent; j++) {
                score[j] = ATTENTION_MASKED;
            }
        }
    }
}

float hw_attention_kept_mean(const float *score, size_t n) {
    double sum = 0;
    size_t n_kept = 0;
    for (size_t j = 0; j < n; j++) {
        bool is_masked = score[j] <= ATTENTION_MASK_END;
        sum += is_masked ? 0 : (double)score[j];
        n_kept += !is_masked;
    }
    return n_kept > 0 ? (float)(sum / (double)n_kept) : 0;
}

const struct hw_attention_change *hw_attention_override(const struct hw_attention_args *args,
                                                        const struct attention_row *row) {
    size_t position = args->query_first + row->query;
    for (size_t c = args->n_changes; c > 0; c--) {
        const struct hw_attention_change *change = &args->changes[c - 1];
        if (is_override(change) && attention_change_holds(change, row->head, position)) {
            return change;
        }
    }
    return NULL;
}

void hw_attention_place(const struct hw_attention_change *change, const struct attention_row *row,
                        float *score, float *weight) {
    size_t first = 0;
    size_t end = row->n_seen;
    if (change->kind != HW_CHANGE_UNIFORM) {
        size_t own = row->n_seen - 1;
        first = change->kind == HW_CHANGE_TO         ? change->key
                : change->kind == HW_CHANGE_IDENTITY ? own
                                                     : own - (own > 0);
        end = hw_size_min(first, own) + 1;
    }
    for (size_t j = 0; j < row->n_seen; j++) {
        bool is_chosen = j >= first && j < end && !(score[j] <= ATTENTION_MASK_END);
        weight[j] = is_chosen ? 1 : 0;
        score[j] = is_chosen ? row->max : ATTENTION_MASKED;
    }
}

void hw_attention_scale(const struct hw_attention_change *change, const struct attention_row *row,
                        float *score, float *weight) {
    const float factor = change->amount;
    const float log_factor = logf(factor);
    for (size_t j = 0; factor != 1 && j < row->n_seen; j++) {
        if (change->keys == NULL || change->keys[j] != 0) {
            weight[j] *= factor;
            bool is_gone = factor == 0 || score[j] <= ATTENTION_MASK_END;
            score[j] = is_gone ? ATTENTION_MASKED : score[j] + log_factor;
        }
    }
}

void hw_attention_mark_scores(const struct hw_attention_args *args, const struct attention_row *row,
                              const float *score) {
    const struct hw_attention_request *request = &args->request;
    size_t map_head;
    if (request->scores == NULL || !attention_map_head(request, row->head, &map_head)) {
        return;
    }
    void *map = attention_map_of(args, request->scores, request->score_dtype, map_head);
    for (size_t j = 0; j < row->n_seen; j++) {
        if (score[j] <= ATTENTION_MASK_END) {
            attention_map_store(map, request->score_dtype, attention_tile_index(row->n_seen - 1, j),
                                NAN);
        }
    }
}

void hw_attention_clip_pattern(const struct hw_attention_args *args,
                               const struct attention_row *row, const float *weight) {
    const struct hw_attention_request *request = &args->request;
    size_t map_head;
    if (request->pattern == NULL || request->map_dtype != HW_MAP_U16 ||
        !attention_map_head(request, row->head, &map_head)) {
        return;
    }
    void *map = attention_map_of(args, request->pattern, HW_MAP_U16, map_head);
    for (size_t j = 0; j < row->n_seen; j++) {
        attention_map_store(map, HW_MAP_U16, attention_tile_index(row->n_seen - 1, j),
                            weight[j] * row->inverse_sum);
    }
}
