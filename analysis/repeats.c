// Sums over maps of repeated tokens, and their scores; see repeats.h.
#include "analysis/repeats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

static const struct hw_repeat_measure_row measures[HW_N_REPEAT_MEASURES] = {
    {"induction", "H4, K5",
     "Mean over queries of the attention to the tokens after all earlier copies, summed."},
    {"echo", "H4", "Mean over queries of the attention to all earlier copies, summed."},
    {"induction_pairs", "H4",
     "Mean over (query, earlier copy) of the attention to the token after."},
    {"echo_pairs", "H4", "Mean over (query, earlier copy) of the attention to the copy."},
    {"induction_copies", "K5",
     "Mean over queries of the mean over earlier copies of the attention to the token after."},
    {"stripe_induction", "K2",
     "Mean of A[i, i - n + 1] over the whole diagonal, query n - 1 to key 0 included."},
    {"stripe_duplicate", "K2", "Mean of A[i, i - n] over the whole diagonal."},
    {"stripe_previous", "K2", "Mean of A[i, i - 1] over the whole diagonal."},
    {"induction_mul", "K1", "Share of the attention that falls on tokens after earlier equal ids."},
    {"duplicate_mul", "K1", "Share of the attention that falls on earlier equal ids."},
    {"previous_mul", "K1", "Share of the attention that falls on the previous token."},
    {"induction_abs", "K1", "1 - round(sum |A - P| / T, 3) with P the induction pattern."},
    {"duplicate_abs", "K1", "1 - round(sum |A - P| / T, 3) with P the duplicate pattern."},
    {"previous_abs", "K1", "1 - round(sum |A - P| / T, 3) with P the previous-token pattern."},
};

const struct hw_repeat_measure_row *hw_repeat_measure(enum hw_repeat_measure measure) {
    return &measures[measure];
}

struct place {
    int32_t id;
    int32_t position;
};

static int compare_places(const void *a, const void *b) {
    const struct place *x = a;
    const struct place *y = b;
    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    return (x->position > y->position) - (x->position < y->position);
}

// Fills same[] and counts the entries of the patterns.
static void find_equal_ids(struct place *places, struct hw_repeat *repeat) {
    size_t n = repeat->n_tokens;
    qsort(places, n, sizeof *places, compare_places);
    repeat->is_plain = true;
    for (size_t i = 0; i < n; i++) {
        bool has_same = i > 0 && places[i - 1].id == places[i].id;
        repeat->same[places[i].position] = has_same ? places[i - 1].position : -1;
    }
    size_t n_group = 0; // positions of this id so far
    for (size_t i = 0; i < n; i++) {
        size_t position = (size_t)places[i].position;
        int32_t before = repeat->same[position];
        n_group = before >= 0 ? n_group + 1 : 0;
        repeat->n_same += n_group;
        repeat->n_same_first += n_group > 0 && places[i - n_group].position == 0;
        repeat->n_next_diagonal += before >= 0 && (size_t)before + 1 == position;
        if (before >= 0 &&
            ((size_t)before < repeat->first || (position - (size_t)before) % repeat->period != 0)) {
            repeat->is_plain = false;
        }
    }
    repeat->n_next = repeat->n_same;
}

enum hw_status hw_repeat_open(const int32_t *ids, size_t n_tokens, size_t period, size_t first,
                              struct hw_repeat *ret_repeat, struct hw_error *err) {
    if (period < 1 || first > 1 || n_tokens > INT32_MAX || period > n_tokens ||
        n_tokens < period + first + 1) {
        return hw_fail(err, HW_INPUT,
                       "no token is repeated (expected more than %zu tokens, found %zu)",
                       period + first, n_tokens);
    }
    for (size_t i = first + period; i < n_tokens; i++) {
        if (ids[i] != ids[i - period]) {
            return hw_fail(err, HW_INPUT,
                           "tokens do not repeat every %zu (expected id %ld at position %zu, "
                           "found %ld)",
                           period, (long)ids[i - period], i, (long)ids[i]);
        }
    }
    struct hw_repeat repeat = {.n_tokens = n_tokens, .period = period, .first = first};
    struct place *places = calloc(n_tokens, sizeof *places);
    repeat.same = calloc(n_tokens, sizeof *repeat.same);
    if (places == NULL || repeat.same == NULL) {
        free(places);
        free(repeat.same);
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu tokens", n_tokens);
    }
    for (size_t i = 0; i < n_tokens; i++) {
        places[i] = (struct place){ids[i], (int32_t)i};
    }
    find_equal_ids(places, &repeat);
    free(places);
    *ret_repeat = repeat;
    return HW_OK;
}

void hw_repeat_close(struct hw_repeat *repeat) {
    free(repeat->same);
    memset(repeat, 0, sizeof *repeat);
}

static void add_row(const struct hw_repeat *r, const float *row, size_t i,
                    struct hw_repeat_sums *sums) {
    double all = 0;
    for (size_t j = 0; j < r->n_tokens; j++) {
        all += row[j];
    }
    sums->all += all;
    sums->column += row[0];
    sums->diagonal += row[i];
    sums->corner += i == 0 ? row[0] : 0;
    sums->previous += i > 0 ? row[i - 1] : 0;
    sums->previous_first += i == 1 ? row[0] : 0;
    for (int32_t j = r->same[i]; j >= 0; j = r->same[j]) {
        sums->same += row[j];
        sums->same_first += j == 0 ? row[0] : 0;
        sums->next += row[j + 1];
        sums->next_diagonal += (size_t)j + 1 == i ? row[i] : 0;
    }
    double induction = 0;
    size_t n_copies = 0;
    for (size_t back = r->period; i >= r->first + back; back += r->period) {
        sums->echo += row[i - back];
        induction += row[i - back + 1];
        n_copies++;
    }
    sums->induction += induction;
    sums->induction_copies += n_copies > 0 ? induction / (double)n_copies : 0;
    sums->stripe_induction += i + 1 >= r->period ? row[i + 1 - r->period] : 0;
    sums->stripe_duplicate += i >= r->period ? row[i - r->period] : 0;
}

void hw_repeat_add_rows(const struct hw_repeat *repeat, const float *rows, size_t stride,
                        size_t first_row, size_t n_rows, struct hw_repeat_sums *sums) {
    for (size_t i = 0; i < n_rows && first_row + i < repeat->n_tokens; i++) {
        add_row(repeat, rows + i * stride, first_row + i, sums);
    }
}

double hw_detector_mul(double matched, double all) {
    return matched / all;
}

double hw_detector_abs(double matched, double all, size_t n_entries, size_t n_tokens) {
    // sum |A - P|: A outside the pattern, 1 - A inside.
    double difference = all + (double)n_entries - 2 * matched;
    return 1 - rint(difference / (double)n_tokens * 1000) / 1000;
}

// Entries of (query, earlier copy).
static size_t count_pairs(const struct hw_repeat *r) {
    size_t n = 0;
    for (size_t back = r->period; r->first + back < r->n_tokens; back += r->period) {
        n += r->n_tokens - r->first - back;
    }
    return n;
}

void hw_repeat_scores(const struct hw_repeat *repeat, const struct hw_repeat_sums *sums,
                      const struct hw_repeat_exclusions *exclusions,
                      double ret_scores[HW_N_REPEAT_MEASURES]) {
    const struct hw_repeat *r = repeat;
    size_t n_tokens = r->n_tokens;
    double n_queries = (double)(n_tokens - r->first - r->period);
    double n_pairs = (double)count_pairs(r);
    bool has_column = exclusions->bos;
    bool has_diagonal = exclusions->current_token;
    double all = sums->all - (has_column ? sums->column : 0) - (has_diagonal ? sums->diagonal : 0) +
                 (has_column && has_diagonal ? sums->corner : 0);
    double next = sums->next - (has_diagonal ? sums->next_diagonal : 0);
    double same = sums->same - (has_column ? sums->same_first : 0);
    double previous = sums->previous - (has_column ? sums->previous_first : 0);
    size_t n_next = r->n_next - (has_diagonal ? r->n_next_diagonal : 0);
    size_t n_same = r->n_same - (has_column ? r->n_same_first : 0);
    size_t n_previous = n_tokens - 1 - (has_column ? 1 : 0);
    ret_scores[HW_REPEAT_INDUCTION] = sums->induction / n_queries;
    ret_scores[HW_REPEAT_ECHO] = sums->echo / n_queries;
    ret_scores[HW_REPEAT_INDUCTION_PAIRS] = sums->induction / n_pairs;
    ret_scores[HW_REPEAT_ECHO_PAIRS] = sums->echo / n_pairs;
    ret_scores[HW_REPEAT_INDUCTION_COPIES] = sums->induction_copies / n_queries;
    ret_scores[HW_REPEAT_STRIPE_INDUCTION] =
        sums->stripe_induction / (double)(n_tokens - r->period + 1);
    ret_scores[HW_REPEAT_STRIPE_DUPLICATE] =
        sums->stripe_duplicate / (double)(n_tokens - r->period);
    ret_scores[HW_REPEAT_STRIPE_PREVIOUS] = sums->previous / (double)(n_tokens - 1);
    ret_scores[HW_REPEAT_INDUCTION_MUL] = hw_detector_mul(next, all);
    ret_scores[HW_REPEAT_DUPLICATE_MUL] = hw_detector_mul(same, all);
    ret_scores[HW_REPEAT_PREVIOUS_MUL] = hw_detector_mul(previous, all);
    ret_scores[HW_REPEAT_INDUCTION_ABS] = hw_detector_abs(next, all, n_next, n_tokens);
    ret_scores[HW_REPEAT_DUPLICATE_ABS] = hw_detector_abs(same, all, n_same, n_tokens);
    ret_scores[HW_REPEAT_PREVIOUS_ABS] = hw_detector_abs(previous, all, n_previous, n_tokens);
}
