// The n largest logits of a row, kept sorted: larger first, ties by the lower id. Logits are
// offered in any order of ids; what is kept depends only on the set offered, so lists of separate
// parts of a vocabulary merge to the list of the whole.
// Minus infinity and what is not a number are never kept; free places hold minus infinity and
// UINT32_MAX.
#ifndef HW_TOP_INTERNAL_H
#define HW_TOP_INTERNAL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum { HW_TOP_LIMIT = 64 };

struct top_list {
    float *logits; // [n_top], sorted
    uint32_t *ids; // [n_top]
};

static inline void top_clear(struct top_list list, size_t n_top) {
    for (size_t i = 0; i < n_top; i++) {
        list.logits[i] = -INFINITY;
        list.ids[i] = UINT32_MAX;
    }
}

// True where (logit, id) comes before (other_logit, other_id).
static inline int top_is_before(float logit, uint32_t id, float other_logit, uint32_t other_id) {
    return logit > other_logit || (logit == other_logit && id < other_id);
}

static inline void top_offer(struct top_list list, size_t n_top, float logit, uint32_t id) {
    size_t at = logit > -INFINITY ? n_top : 0;
    if (at == 0) {
        return;
    }
    while (at > 0 && top_is_before(logit, id, list.logits[at - 1], list.ids[at - 1])) {
        if (at < n_top) {
            list.logits[at] = list.logits[at - 1];
            list.ids[at] = list.ids[at - 1];
        }
        at--;
    }
    if (at < n_top) {
        list.logits[at] = logit;
        list.ids[at] = id;
    }
}

#endif
