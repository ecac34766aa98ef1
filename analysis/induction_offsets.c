// The sums of repeats.h from recorded statistics; see induction.h.
//
// Offset o of attention_offset holds sum_{i >= o} A[i, i - o] / (T - o). Earlier copies lie at
// offsets k n, tokens after them at k n - 1. With f tokens in front, the copies need key >= f and
// the tokens after them key >= f + 1, so that the first entries of these diagonals are taken off:
//
//   offset k n      query k n, key 0, where f = 1
//   offset k n - 1  query k n - 1, key 0; and query k n, key 1, where f = 1
//
// A[i, 0] is attention_first; A[k n, 1] is attention_span from the span of that one query to the
// span of that one key.
#include <math.h>
#include <string.h>

#include "analysis/induction_internal.h"
#include "kernels/size.h"

enum { MAX_FIRST_SPANS = 64 }; // periods beyond the first of prompts with a token in front

// Position on the span axis of a span of the prompt that is exactly [first, end), or SIZE_MAX.
static size_t find_span(const struct hw_trace *trace, int32_t prompt, size_t first, size_t end) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    for (size_t i = 0; i < hw_trace_n_spans(trace); i++) {
        const struct hw_trace_span *span = hw_trace_span(trace, i);
        if (span->prompt != prompt || span->first < 0 || (size_t)span->first != first ||
            (size_t)span->end != end) {
            continue;
        }
        for (size_t s = 0; s < layout->n_spans; s++) {
            if (strcmp(layout->span_names[s], span->name) == 0) {
                return s;
            }
        }
    }
    return SIZE_MAX;
}

// Periods after the first one that a query can look back over.
static size_t n_back(const struct hw_repeat *r) {
    return (r->n_tokens - 1 - r->first) / r->period;
}

// As many query spans as spans.
static bool is_square(const struct hw_trace *trace) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    size_t n;
    return hw_size_mul(layout->n_spans, layout->n_spans, &n) &&
           hw_size_mul(n, layout->groups[HW_GROUP_ROOT].n_heads, &n) &&
           n == hw_trace_n_inner(trace, HW_DS_ATTENTION_SPAN);
}

struct induction_statistics hw_induction_look(struct hw_trace *trace, size_t prompt,
                                              const struct hw_repeat *repeat) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    int32_t number = hw_trace_prompt(trace, prompt)->prompt;
    size_t farthest = n_back(repeat) * repeat->period;
    struct induction_statistics has = {.has_offsets = hw_trace_has(trace, HW_DS_ATTENTION_OFFSET) &&
                                                      farthest < layout->n_offsets,
                                       .has_rows = hw_trace_has(trace, HW_DS_ATTENTION_FIRST) &&
                                                   hw_trace_has(trace, HW_DS_ATTENTION_ROW_SUM),
                                       .has_first = true};
    if (repeat->first == 1) {
        has.has_first = hw_trace_has(trace, HW_DS_ATTENTION_SPAN) && is_square(trace) &&
                        n_back(repeat) <= MAX_FIRST_SPANS &&
                        find_span(trace, number, 1, 2) != SIZE_MAX;
        for (size_t k = 1; k <= n_back(repeat) && has.has_first; k++) {
            size_t at = k * repeat->period;
            has.has_first = find_span(trace, number, at, at + 1) != SIZE_MAX;
        }
    }
    has.is_everything =
        has.has_offsets && has.has_rows && has.has_first && repeat->is_plain && n_back(repeat) == 1;
    return has;
}

void hw_induction_take_rows(struct hw_trace *trace, size_t longest, struct hw_arena *arena,
                            struct induction_rows *rows) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    size_t n_heads = layout->groups[HW_GROUP_ROOT].n_heads;
    size_t n_offsets;
    size_t n_spans;
    size_t n_tokens;
    if (!hw_size_mul(n_heads, layout->n_offsets, &n_offsets) ||
        !hw_size_mul(layout->n_spans, layout->n_spans, &n_spans) ||
        !hw_size_mul(n_spans, n_heads, &n_spans) || !hw_size_mul(longest, n_heads, &n_tokens)) {
        arena->is_overflown = 1;
        return;
    }
    rows->offsets = hw_arena_take(arena, n_offsets, sizeof *rows->offsets);
    rows->spans = hw_arena_take(arena, n_spans, sizeof *rows->spans);
    rows->tokens = hw_arena_take(arena, n_tokens, sizeof *rows->tokens);
    rows->sums = hw_arena_take(arena, n_tokens, sizeof *rows->sums);
}

// One layer of one prompt while it is looked at.
struct layer_view {
    const struct hw_trace *trace;
    const struct hw_repeat *repeat;
    const struct induction_rows *rows;
    struct induction_statistics has;
    int32_t prompt;
    size_t n_heads;
    size_t n_offsets;
    size_t n_spans;
    size_t second_key;                 // position on the span axis of token 1
    size_t span_rows[MAX_FIRST_SPANS]; // and of token k n, from k = 1 on
};

// The sum over diagonal `offset`; 0 where the prompt is too short to have it.
static double diagonal(const struct layer_view *v, size_t head, size_t offset) {
    size_t n_tokens = v->repeat->n_tokens;
    if (offset >= n_tokens) {
        return 0;
    }
    return offset < v->n_offsets
               ? v->rows->offsets[head * v->n_offsets + offset] * (double)(n_tokens - offset)
               : NAN;
}

static double to_first(const struct layer_view *v, size_t head, size_t query) {
    return v->has.has_rows ? v->rows->tokens[query * v->n_heads + head] : NAN;
}

// A[k n, 1] from spans.
static double to_second(const struct layer_view *v, size_t head, size_t k) {
    if (!v->has.has_first) {
        return NAN;
    }
    return v->rows->spans[(head * v->n_spans + v->span_rows[k - 1]) * v->n_spans + v->second_key];
}

static void sum_head(const struct layer_view *v, size_t head, struct hw_repeat_sums *s) {
    const struct hw_repeat *r = v->repeat;
    size_t n = r->period;
    s->corner = to_first(v, head, 0);
    s->previous_first = to_first(v, head, 1);
    s->diagonal = diagonal(v, head, 0);
    s->previous = diagonal(v, head, 1);
    s->stripe_induction = diagonal(v, head, n - 1);
    s->stripe_duplicate = diagonal(v, head, n);
    for (size_t back = n; back + r->first < r->n_tokens; back += n) {
        double first = to_first(v, head, back);
        s->echo += diagonal(v, head, back) - (r->first == 1 ? first : 0);
        s->induction += diagonal(v, head, back - 1) - to_first(v, head, back - 1) -
                        (r->first == 1 ? to_second(v, head, back / n) : 0);
        s->same_first += r->first == 0 ? first : 0;
        s->next_diagonal += back == 1 ? diagonal(v, head, 0) - to_first(v, head, 0) -
                                            (r->first == 1 ? to_second(v, head, 1) : 0)
                                      : 0;
    }
    s->induction_copies = n_back(r) == 1 ? s->induction : NAN;
    s->same = r->is_plain ? s->echo : NAN;
    s->next = r->is_plain ? s->induction : NAN;
    for (size_t t = 0; v->has.has_rows && t < r->n_tokens; t++) {
        s->all += v->rows->sums[t * v->n_heads + head];
        s->column += v->rows->tokens[t * v->n_heads + head];
    }
}

static enum hw_status read_layer(struct hw_trace *trace, size_t prompt, size_t layer,
                                 struct induction_rows *rows, const struct layer_view *v,
                                 struct hw_error *err) {
    size_t first_token = hw_trace_prompt(trace, prompt)->first_token;
    size_t n_tokens = v->repeat->n_tokens;
    enum hw_status status =
        hw_trace_read_f32(trace, HW_DS_ATTENTION_OFFSET, layer, prompt, 1, rows->offsets, err);
    if (status == HW_OK && v->repeat->first == 1 && v->has.has_first) {
        status = hw_trace_read_f32(trace, HW_DS_ATTENTION_SPAN, layer, prompt, 1, rows->spans, err);
    }
    if (status == HW_OK && v->has.has_rows) {
        status = hw_trace_read_f32(trace, HW_DS_ATTENTION_FIRST, layer, first_token, n_tokens,
                                   rows->tokens, err);
    }
    if (status == HW_OK && v->has.has_rows) {
        status = hw_trace_read_f32(trace, HW_DS_ATTENTION_ROW_SUM, layer, first_token, n_tokens,
                                   rows->sums, err);
    }
    return status;
}

// Without statistics of single tokens, the sums over rows come from the means over the prompt.
static enum hw_status read_means(struct hw_trace *trace, size_t prompt, size_t layer,
                                 struct induction_rows *rows, const struct layer_view *v,
                                 struct hw_repeat_sums *sums, struct hw_error *err) {
    static const enum hw_dataset means[2] = {HW_DS_ATTENTION_ROW_SUM_MEAN,
                                             HW_DS_ATTENTION_FIRST_MEAN};
    for (size_t i = 0; i < 2; i++) {
        if (hw_trace_has(trace, means[i])) {
            enum hw_status status =
                hw_trace_read_f32(trace, means[i], layer, prompt, 1, rows->tokens, err);
            if (status != HW_OK) {
                return status;
            }
        }
        for (size_t head = 0; head < v->n_heads; head++) {
            double value = hw_trace_has(trace, means[i])
                               ? rows->tokens[head] * (double)v->repeat->n_tokens
                               : NAN;
            *(i == 0 ? &sums[head].all : &sums[head].column) = value;
        }
    }
    return HW_OK;
}

enum hw_status hw_induction_read_sums(struct hw_trace *trace, size_t prompt, size_t layer,
                                      const struct hw_repeat *repeat, struct induction_rows *rows,
                                      struct hw_repeat_sums *ret_sums, struct hw_error *err) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    struct layer_view view = {.trace = trace,
                              .repeat = repeat,
                              .rows = rows,
                              .has = hw_induction_look(trace, prompt, repeat),
                              .prompt = hw_trace_prompt(trace, prompt)->prompt,
                              .n_heads = layout->groups[HW_GROUP_ROOT].n_heads,
                              .n_offsets = layout->n_offsets,
                              .n_spans = layout->n_spans};
    if (repeat->first == 1 && view.has.has_first) {
        view.second_key = find_span(trace, view.prompt, 1, 2);
        for (size_t k = 1; k <= n_back(repeat); k++) {
            size_t at = k * repeat->period;
            view.span_rows[k - 1] = find_span(trace, view.prompt, at, at + 1);
        }
    }
    enum hw_status status = read_layer(trace, prompt, layer, rows, &view, err);
    if (status != HW_OK) {
        return status;
    }
    for (size_t head = 0; head < view.n_heads; head++) {
        ret_sums[head] = (struct hw_repeat_sums){0};
        sum_head(&view, head, &ret_sums[head]);
    }
    return view.has.has_rows ? HW_OK : read_means(trace, prompt, layer, rows, &view, ret_sums, err);
}
