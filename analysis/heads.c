// What every head does on ordinary text; see heads.h.
#include "analysis/heads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/arrays.h"
#include "analysis/heads_internal.h"
#include "analysis/measures.h"
#include "kernels/size.h"
#include "probes/engine.h"

static const struct hw_heads_measure_row measures[HW_N_HEADS_MEASURES] = {
    {"entropy", "N1", "nat", "Mean over queries of -sum A ln A."},
    {"entropy_normalised", "D5", "1",
     "Mean over queries of the entropy of the row scaled to sum 1, over ln(i + 1); row 0 counts "
     "0."},
    {"entropy_smoothed", "L2", "nat",
     "Mean over queries of -sum a ln a with a = .9999 A + .0001 / T over all T keys."},
    {"column_entropy", "D5", "1",
     "Largest over keys of the entropy of the attention received, over ln(T - k)."},
    {"first", "L1", "1", "Sum of A[i, 0] over queries, divided by T."},
    {"previous", "L1", "1", "Sum of A[i, i - 1] over queries, divided by T."},
    {"previous_diagonal", "K2", "1", "Mean of A[i, i - 1] over the diagonal."},
    {"previous_mul", "K1", "1", "Share of all attention that falls on the previous token."},
    {"previous_abs", "K1", "1", "1 - round(sum |A - P| / T, 3) with P the previous-token pattern."},
    {"self", "L1", "1", "Sum of A[i, i] over queries, divided by T."},
    {"special", "L1", "1", "Attention to special tokens, summed over queries, divided by T."},
    {"special_from_special", "L1", "1", "Mean attention of special tokens to special tokens."},
    {"special_from_others", "L1", "1", "Mean attention of the other tokens to special tokens."},
    {"punctuation", "L1", "1", "Attention to punctuation, summed over queries, divided by T."},
    {"distance", "", "tokens", "Mean over queries of sum A[i, j] |i - j|."},
    {"max", "", "1", "Mean over queries of the largest weight."},
    {"top_p", "N2", "tokens",
     "Mean over queries of the smallest number of keys that hold the share p of the row."},
    {"sparsity", "N2", "1",
     "Share of the entries j <= i that are below 1 % of their row's maximum."},
};

const struct hw_heads_measure_row *hw_heads_measure(enum hw_heads_measure measure) {
    return &measures[measure];
}

const char *hw_heads_type_name(enum hw_heads_type type) {
    static const char *const names[HW_N_HEADS_TYPES] = {"other", "self",    "previous",   "broad",
                                                        "first", "special", "punctuation"};
    return type < HW_N_HEADS_TYPES ? names[type] : "";
}

enum hw_heads_type hw_heads_classify(const struct hw_heads_rules *rules,
                                     const double values[HW_N_HEADS_MEASURES]) {
    const struct {
        enum hw_heads_type type;
        bool holds; // false for NaN
    } tests[] = {
        {HW_HEADS_TYPE_SELF, values[HW_HEADS_SELF] > rules->self},
        {HW_HEADS_TYPE_PREVIOUS, values[HW_HEADS_PREVIOUS] > rules->previous},
        {HW_HEADS_TYPE_BROAD, values[HW_HEADS_ENTROPY] > rules->broad},
        {HW_HEADS_TYPE_FIRST, values[HW_HEADS_FIRST] > rules->first},
        {HW_HEADS_TYPE_SPECIAL, values[HW_HEADS_SPECIAL] > rules->special},
        {HW_HEADS_TYPE_PUNCTUATION, values[HW_HEADS_PUNCTUATION] > rules->punctuation},
    };
    enum hw_heads_type type = HW_HEADS_TYPE_OTHER;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        type = tests[i].holds ? tests[i].type : type;
    }
    return type;
}

void hw_heads_free(struct hw_heads *heads) {
    hw_arena_close(&heads->arena);
    memset(heads, 0, sizeof *heads);
}

bool hw_heads_is_wanted(const struct hw_heads *heads, const struct hw_layout *layout, size_t layer,
                        size_t head) {
    const bool *is_wanted = heads->options.is_wanted;
    return is_wanted == NULL ||
           is_wanted[(size_t)heads->layers[layer] * layout->n_heads + (size_t)heads->heads[head]];
}

static size_t find_span(const struct hw_layout *layout, const char *name) {
    for (size_t i = 0; i < layout->n_spans; i++) {
        if (strcmp(layout->span_names[i], name) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

static bool is_built_in(const char *span) {
    for (size_t i = 0; i < HW_N_BUILTIN_SPANS; i++) {
        if (strcmp(span, hw_builtin_spans[i]) == 0) {
            return true;
        }
    }
    return false;
}

// Takes every array from the arena; the same code measures.
static void take_arrays(struct heads_work *w, struct hw_arena *arena) {
    struct hw_heads *out = w->out;
    size_t n_cells;
    size_t n_rows;
    size_t n_pairs;
    size_t n_map_heads = w->maps != NULL ? hw_map_source_n_heads(w->maps) : 0;
    if (!hw_size_mul(out->n_layers, out->n_heads, &n_cells) ||
        !hw_size_mul(w->longest, out->n_heads, &n_rows) ||
        !hw_size_mul(w->n_spans, w->n_spans, &n_pairs) ||
        !hw_size_mul(n_pairs, out->n_heads, &n_pairs)) {
        arena->is_overflown = 1;
        return;
    }
    out->scores.n_measures = out->n_measures;
    out->offsets.n_measures = out->n_offsets;
    out->scores.n_layers = out->offsets.n_layers = out->n_layers;
    out->scores.n_heads = out->offsets.n_heads = out->n_heads;
    hw_head_scores_take(&out->scores, arena);
    hw_head_scores_take(&out->offsets, arena);
    out->best_offset = hw_arena_take(arena, n_cells, sizeof *out->best_offset);
    out->type = hw_arena_take(arena, n_cells, sizeof *out->type);
    out->span_names = hw_arena_take(arena, w->n_spans, sizeof *out->span_names);
    w->user_spans = hw_arena_take(arena, w->n_spans, sizeof *w->user_spans);
    w->is_span_here = hw_arena_take(arena, w->n_spans, sizeof *w->is_span_here);
    w->ids = hw_arena_take(arena, w->longest, sizeof *w->ids);
    w->means = hw_arena_take(arena, out->n_heads, sizeof *w->means);
    w->offsets = hw_arena_take(arena, out->n_heads, out->n_offsets * sizeof *w->offsets);
    w->spans = hw_arena_take(arena, n_pairs, sizeof *w->spans);
    w->rows = hw_arena_take(arena, n_rows, sizeof *w->rows);
    w->row_sums = hw_arena_take(arena, n_rows, sizeof *w->row_sums);
    w->scratch = hw_arena_take(arena, w->longest, sizeof *w->scratch);
    w->sums = hw_arena_take(arena, n_map_heads, sizeof *w->sums);
    w->is_wanted = hw_arena_take(arena, n_map_heads, sizeof *w->is_wanted);
}

static enum hw_status open_arrays(struct heads_work *w, struct hw_error *err) {
    struct hw_heads *out = w->out;
    const struct hw_layout *layout = hw_trace_layout(w->trace);
    const struct hw_group_axes *axes = &layout->groups[HW_GROUP_ROOT];
    out->n_layers = axes->n_layers;
    out->n_heads = axes->n_heads;
    out->layers = axes->layers;
    out->heads = axes->heads;
    out->n_offsets = layout->n_offsets;
    w->n_spans = layout->n_spans;
    w->span_all = find_span(layout, "all");
    w->span_special = find_span(layout, "special");
    w->span_punctuation = find_span(layout, "punctuation");
    size_t n_pairs;
    if (hw_trace_has(w->trace, HW_DS_ATTENTION_SPAN) &&
        (!hw_size_mul(w->n_spans, w->n_spans, &n_pairs) ||
         !hw_size_mul(n_pairs, out->n_heads, &n_pairs) ||
         n_pairs != hw_trace_n_inner(w->trace, HW_DS_ATTENTION_SPAN))) {
        return hw_fail(
            err, HW_INPUT,
            "%s: attention_span is not %zu x %zu (expected as many query spans as spans)",
            hw_trace_path(w->trace), w->n_spans, w->n_spans);
    }
    size_t n_user = 0;
    for (size_t i = 0; i < layout->n_spans; i++) {
        n_user += !is_built_in(layout->span_names[i]);
    }
    out->n_measures = HW_N_HEADS_MEASURES + n_user;
    w->longest = 1;
    for (size_t i = 0; i < hw_trace_n_prompts(w->trace); i++) {
        w->longest = hw_size_max(w->longest, hw_trace_prompt(w->trace, i)->n_tokens);
    }
    struct hw_arena measure;
    hw_arena_measure(&measure);
    take_arrays(w, &measure);
    enum hw_status status = hw_arrays_open(&measure, w->trace, &out->arena, err);
    if (status != HW_OK) {
        return status;
    }
    take_arrays(w, &out->arena); // zero, as fresh pages are
    size_t n = 0;
    for (size_t s = 0; s < layout->n_spans; s++) {
        if (!is_built_in(layout->span_names[s])) {
            w->user_spans[n] = s;
            out->span_names[n++] = layout->span_names[s];
        }
    }
    return HW_OK;
}

static enum hw_status add_prompt(struct heads_work *w, size_t index, struct hw_error *err) {
    struct hw_heads *out = w->out;
    const struct hw_trace_prompt *prompt = hw_trace_prompt(w->trace, index);
    size_t n = prompt->n_prompt_tokens;
    if (n < 2 || n > prompt->n_tokens) {
        out->n_skipped++; // failed, or a single token, which can only see itself
        return HW_OK;
    }
    enum hw_status status = hw_heads_begin_prompt(w, index, err);
    for (size_t layer = 0; layer < out->n_layers && status == HW_OK; layer++) {
        status = hw_heads_add_layer(w, index, layer, err);
    }
    if (status == HW_OK && w->maps != NULL) {
        status = hw_heads_add_maps(w, index, err);
    }
    out->min_tokens = out->n_prompts == 0 ? n : hw_size_min(out->min_tokens, n);
    out->max_tokens = hw_size_max(out->max_tokens, n);
    out->n_prompts++;
    return status;
}

// Offsets and types from the means over prompts; heads that are not wanted lose their values.
static void finish(struct heads_work *w) {
    struct hw_heads *out = w->out;
    const struct hw_layout *layout = hw_trace_layout(w->trace);
    size_t n_cells = out->n_layers * out->n_heads;
    hw_head_scores_finish(&out->scores);
    hw_head_scores_finish(&out->offsets);
    out->n_infinite = out->scores.n_infinite + out->offsets.n_infinite;
    for (size_t cell = 0; cell < n_cells; cell++) {
        if (!hw_heads_is_wanted(out, layout, cell / out->n_heads, cell % out->n_heads)) {
            for (size_t m = 0; m < out->n_measures; m++) {
                out->scores.mean[m * n_cells + cell] = out->scores.se[m * n_cells + cell] = NAN;
                out->scores.n[m * n_cells + cell] = 0;
            }
            for (size_t o = 0; o < out->n_offsets; o++) {
                out->offsets.mean[o * n_cells + cell] = out->offsets.se[o * n_cells + cell] = NAN;
                out->offsets.n[o * n_cells + cell] = 0;
            }
        }
        double best = -1;
        out->best_offset[cell] = -1;
        for (size_t o = 0; o < out->n_offsets; o++) {
            double value = out->offsets.mean[o * n_cells + cell];
            if (value > best) {
                best = value;
                out->best_offset[cell] = (int32_t)o;
            }
        }
        double values[HW_N_HEADS_MEASURES];
        for (size_t m = 0; m < HW_N_HEADS_MEASURES; m++) {
            values[m] = out->scores.mean[m * n_cells + cell];
        }
        out->type[cell] = isnan(values[HW_HEADS_ENTROPY])
                              ? HW_N_HEADS_TYPES
                              : (uint8_t)hw_heads_classify(&out->options.rules, values);
    }
}

static enum hw_status compute(struct heads_work *w, struct hw_error *err) {
    const char *record = NULL;
    enum hw_status status = hw_measure_require(w->trace, "head_statistics", &record, err);
    if (status != HW_OK) {
        return status;
    }
    bool has_maps = hw_trace_has_record(w->trace, "attention_maps") ||
                    hw_trace_has_record(w->trace, "attention_vectors");
    if (w->out->options.reads_maps && has_maps) {
        status =
            hw_map_source_open(w->trace, "top_p_count", w->out->options.n_threads, &w->maps, err);
        if (status == HW_OK) {
            w->out->maps = hw_map_source_record(w->maps);
            w->out->map_error = hw_map_source_error(w->maps);
        }
    }
    status = status == HW_OK ? open_arrays(w, err) : status;
    for (size_t i = 0; i < hw_trace_n_prompts(w->trace) && status == HW_OK; i++) {
        status = add_prompt(w, i, err);
    }
    if (status == HW_OK) {
        finish(w);
    }
    return status;
}

enum hw_status hw_heads_compute(struct hw_trace *trace, const struct hw_heads_options *options,
                                struct hw_heads *ret_heads, struct hw_error *err) {
    struct hw_heads heads = {.options = *options};
    struct heads_work work = {.trace = trace, .out = &heads};
    enum hw_status status = compute(&work, err);
    hw_map_source_close(&work.maps);
    if (status != HW_OK) {
        hw_heads_free(&heads);
        return status;
    }
    *ret_heads = heads;
    return HW_OK;
}
