// The score of one head in one trial; see retrieval.h.
#include <string.h>

#include "analysis/retrieval.h"

// The first position of the needle that holds the same id.
static size_t first_like(const struct hw_retrieval_rows *rows, size_t at) {
    size_t i = rows->first;
    while (rows->prompt[i] != rows->prompt[at]) {
        i++;
    }
    return i - rows->first;
}

size_t hw_retrieval_score(const struct hw_retrieval_rows *rows, bool *scratch,
                          double ret_scores[HW_RETRIEVAL_N_MEASURES], bool *ret_is_hit) {
    size_t n_needle = rows->end - rows->first;
    size_t end = rows->end < rows->n_prompt ? rows->end : rows->n_prompt;
    bool *is_hit_at = scratch;            // [n_needle] position was hit
    bool *is_hit_id = scratch + n_needle; // [n_needle] its id was, marked at its first place
    size_t n_hits = 0, n_ids = 0, n_ids_hit = 0, n_positions = 0;
    memset(scratch, 0, 2 * n_needle * sizeof *scratch);
    for (size_t step = 0; step < rows->n_steps; step++) {
        int32_t key = rows->keys[step * rows->stride];
        bool is_hit = key >= 0 && (size_t)key >= rows->first && (size_t)key < end &&
                      rows->outputs[step] >= 0 &&
                      (uint32_t)rows->outputs[step] == rows->prompt[key];
        if (is_hit) {
            n_hits++;
            is_hit_at[(size_t)key - rows->first] = true;
            is_hit_id[first_like(rows, (size_t)key)] = true;
        }
        if (ret_is_hit != NULL) {
            ret_is_hit[step] = is_hit;
        }
    }
    for (size_t at = rows->first; at < end; at++) {
        n_ids += first_like(rows, at) == at - rows->first;
        n_ids_hit += is_hit_id[at - rows->first];
        n_positions += is_hit_at[at - rows->first];
    }
    ret_scores[HW_RETRIEVAL_HITS] = n_needle > 0 ? (double)n_hits / (double)n_needle : 0;
    ret_scores[HW_RETRIEVAL_SET] = n_ids > 0 ? (double)n_ids_hit / (double)n_ids : 0;
    ret_scores[HW_RETRIEVAL_POSITIONS] = n_needle > 0 ? (double)n_positions / (double)n_needle : 0;
    return n_hits;
}
