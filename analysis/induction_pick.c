// RazorAttention's choice of key/value heads; see induction.h.
#include <math.h>
#include <stdlib.h>

#include "analysis/induction_internal.h"

static int compare_picks(const void *a, const void *b) {
    const struct hw_induction_pick *x = a;
    const struct hw_induction_pick *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? 1 : -1;
    }
    if (x->layer != y->layer) {
        return x->layer < y->layer ? -1 : 1;
    }
    return (x->kv_head > y->kv_head) - (x->kv_head < y->kv_head);
}

// The best round(share * N) of the heads with a score, and those that equal the last of them.
static size_t pick(const struct hw_induction *out, enum hw_repeat_measure measure, double share,
                   struct hw_induction_pick *picks) {
    size_t n = 0;
    const double *scores = out->kv_scores + measure * out->n_layers * out->n_kv_heads;
    for (size_t layer = 0; layer < out->n_layers; layer++) {
        for (size_t kv = 0; kv < out->n_kv_heads; kv++) {
            double score = scores[layer * out->n_kv_heads + kv];
            if (!isnan(score)) {
                picks[n++] = (struct hw_induction_pick){layer, kv, score};
            }
        }
    }
    qsort(picks, n, sizeof *picks, compare_picks);
    // Halves to even, as the reference's round() does; share <= 1, so at most n.
    size_t n_picked = (size_t)rint(share * (double)n);
    while (n_picked > 0 && n_picked < n && picks[n_picked].score == picks[n_picked - 1].score) {
        n_picked++;
    }
    return n_picked;
}

void hw_induction_pick(struct hw_induction *induction) {
    size_t n_cells = induction->n_layers * induction->n_kv_heads;
    for (size_t m = 0; m < HW_N_REPEAT_MEASURES; m++) {
        hw_head_scores_group_max(&induction->scores, m, induction->head_kv, induction->n_kv_heads,
                                 induction->kv_scores + m * n_cells);
    }
    induction->n_by_induction = pick(induction, HW_REPEAT_INDUCTION,
                                     induction->options.induction_share, induction->by_induction);
    induction->n_by_echo =
        pick(induction, HW_REPEAT_ECHO, induction->options.echo_share, induction->by_echo);
}

bool hw_induction_is_picked(const struct hw_induction *induction, size_t layer, size_t kv_head) {
    for (size_t i = 0; i < induction->n_by_induction; i++) {
        if (induction->by_induction[i].layer == layer &&
            induction->by_induction[i].kv_head == kv_head) {
            return true;
        }
    }
    for (size_t i = 0; i < induction->n_by_echo; i++) {
        if (induction->by_echo[i].layer == layer && induction->by_echo[i].kv_head == kv_head) {
            return true;
        }
    }
    return false;
}
