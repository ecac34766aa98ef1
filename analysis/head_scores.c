// Means over prompts; see head_scores.h.
#include "analysis/head_scores.h"

#include <math.h>

#include "kernels/size.h"

void hw_head_scores_take(struct hw_head_scores *scores, struct hw_arena *arena) {
    size_t n;
    if (!hw_size_mul(scores->n_layers, scores->n_heads, &n) ||
        !hw_size_mul(n, scores->n_measures, &n)) {
        arena->is_overflown = 1;
        return;
    }
    scores->running = hw_arena_take(arena, n, sizeof *scores->running);
    scores->mean = hw_arena_take(arena, n, sizeof *scores->mean);
    scores->se = hw_arena_take(arena, n, sizeof *scores->se);
    scores->n = hw_arena_take(arena, n, sizeof *scores->n);
}

void hw_head_scores_add(struct hw_head_scores *scores, size_t measure, size_t cell, double value) {
    size_t i = measure * scores->n_layers * scores->n_heads + cell;
    if (!isfinite(value)) {
        scores->n_infinite += isinf(value) != 0;
        return;
    }
    hw_mean_add(&scores->running[i], value);
}

void hw_head_scores_finish(struct hw_head_scores *scores) {
    for (size_t i = 0; i < scores->n_measures * scores->n_layers * scores->n_heads; i++) {
        scores->mean[i] = hw_mean_value(&scores->running[i]);
        scores->se[i] = hw_mean_se(&scores->running[i]);
        scores->n[i] = (int64_t)scores->running[i].n;
    }
}

void hw_head_scores_group_max(const struct hw_head_scores *scores, size_t measure,
                              const size_t *head_kv, size_t n_kv_heads, double *ret) {
    for (size_t i = 0; i < scores->n_layers * n_kv_heads; i++) {
        ret[i] = NAN;
    }
    for (size_t layer = 0; layer < scores->n_layers; layer++) {
        for (size_t head = 0; head < scores->n_heads; head++) {
            size_t i = (measure * scores->n_layers + layer) * scores->n_heads + head;
            double *best = &ret[layer * n_kv_heads + head_kv[head]];
            *best = fmax(*best, scores->mean[i]); // the other one where one is NaN
        }
    }
}
