// Outliers of a capture; see outliers.h. One prompt at a time, one layer or depth at a time.
#include "analysis/outliers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/arrays.h"
#include "analysis/measures.h"
#include "analysis/outliers_internal.h"
#include "kernels/size.h"

// Longer tokens are cut: no word of the lists is nearly that long.
enum { MAX_TOKENS = 1 << 20, MAX_RANK = 4096, LONGEST_TOKEN = 64 };

// Thresholds of the recorded table (probes: massive).
static const double RECORDED_LEAST = 100;
static const double RECORDED_RATIO = 1000;

void hw_outliers_free(struct hw_outliers *outliers) {
    for (size_t i = 0; i < outliers->n_tokens; i++) {
        free(outliers->tokens[i].text);
    }
    free(outliers->tokens);
    hw_arena_close(&outliers->arena);
    memset(outliers, 0, sizeof *outliers);
}

static void take_arrays(struct outliers_work *w, struct hw_arena *arena) {
    struct hw_outliers *out = w->out;
    size_t n_cells = out->n_layers * out->n_heads; // far below 2^32, as the axes are
    size_t n_table = out->n_depths * out->n_channels;
    size_t n_rows;
    if (!hw_size_mul(w->longest, hw_size_max(out->n_heads, 1), &n_rows)) {
        arena->is_overflown = 1;
        return;
    }
    w->rows = hw_arena_take(arena, n_rows, sizeof *w->rows);
    w->columns = hw_arena_take(arena, w->longest, sizeof *w->columns);
    w->sorted = hw_arena_take(arena, w->longest, sizeof *w->sorted);
    w->notes = hw_arena_take(arena, w->longest, sizeof *w->notes);
    w->is_classed = hw_arena_take(arena, w->longest, sizeof *w->is_classed);
    out->by_depth = hw_arena_take(arena, out->n_depths, sizeof *out->by_depth);
    out->by_layer = hw_arena_take(arena, out->n_layers, sizeof *out->by_layer);
    out->head_share = hw_arena_take(arena, n_cells, sizeof *out->head_share);
    out->channels = hw_arena_take(arena, out->n_channels, sizeof *out->channels);
    out->channel_largest = hw_arena_take(arena, n_table, sizeof *out->channel_largest);
    out->channel_counts = hw_arena_take(arena, n_table, sizeof *out->channel_counts);
    hw_outliers_take_neurons(w, arena);
}

static enum hw_status open_arrays(struct outliers_work *w, const int32_t *channels,
                                  struct hw_error *err) {
    struct hw_outliers *out = w->out;
    struct hw_arena measure;
    hw_arena_measure(&measure);
    take_arrays(w, &measure);
    enum hw_status status = hw_arrays_open(&measure, w->trace, &out->arena, err);
    if (status != HW_OK) {
        return status;
    }
    take_arrays(w, &out->arena); // zero, as fresh pages are
    for (size_t i = 0; i < out->n_channels; i++) {
        out->channels[i] = channels[i];
    }
    for (size_t i = 0; i < out->n_depths * out->n_channels; i++) {
        out->channel_largest[i] = NAN;
    }
    for (size_t l = 0; l < out->n_mlp_layers; l++) {
        out->by_mlp_layer[l].position = -1;
    }
    for (size_t d = 0; d < out->n_depths; d++) {
        out->by_depth[d].largest = NAN;
        out->by_depth[d].position = -1;
        out->by_depth[d].channel = -1;
    }
    return HW_OK;
}

// The bytes that a token stands for; *ret_n 0 and *ret_is_known false where the capture has no
// vocabulary (a part of a run) or not this token.
static enum hw_status read_bytes(struct outliers_work *w, int32_t id, char bytes[LONGEST_TOKEN],
                                 size_t *ret_n, bool *ret_is_known, struct hw_error *err) {
    int64_t ends[2] = {0, 0};
    *ret_n = 0;
    *ret_is_known = false;
    if (!hw_trace_has(w->trace, HW_DS_VOCABULARY_BYTE_START) ||
        !hw_trace_has(w->trace, HW_DS_VOCABULARY_BYTE) || id < 0 ||
        (size_t)id + 1 >= hw_trace_n_rows(w->trace, HW_DS_VOCABULARY_BYTE_START)) {
        return HW_OK;
    }
    enum hw_status status =
        hw_trace_read_i64(w->trace, HW_DS_VOCABULARY_BYTE_START, 0, (size_t)id, 2, ends, err);
    if (status != HW_OK || ends[0] < 0 || ends[1] < ends[0]) {
        return status;
    }
    *ret_is_known = true;
    *ret_n = hw_size_min((size_t)(ends[1] - ends[0]), LONGEST_TOKEN);
    return *ret_n == 0 ? HW_OK
                       : hw_trace_read_raw(w->trace, HW_DS_VOCABULARY_BYTE, 0, (size_t)ends[0],
                                           *ret_n, bytes, err);
}

enum hw_status hw_outliers_classify(struct outliers_work *w, const struct outliers_prompt *p,
                                    size_t token, enum hw_token_class *ret_class,
                                    struct hw_error *err) {
    struct hw_outlier_token *note = &w->notes[token];
    if (!w->is_classed[token]) {
        char bytes[LONGEST_TOKEN];
        size_t n = 0;
        bool is_known = false;
        int32_t id = -1;
        enum hw_status status = hw_trace_read_i32(w->trace, HW_DS_TOKEN_ID, 0,
                                                  p->prompt->first_token + token, 1, &id, err);
        if (status == HW_OK) {
            status = read_bytes(w, id, bytes, &n, &is_known, err);
        }
        if (status != HW_OK) {
            return status;
        }
        note->token_class = hw_token_class_of(is_known ? bytes : NULL, n, token);
        w->is_classed[token] = true;
    }
    *ret_class = note->token_class;
    return HW_OK;
}

static void clear_notes(struct outliers_work *w, size_t n_tokens) {
    for (size_t t = 0; t < n_tokens; t++) {
        w->is_classed[t] = false;
        w->notes[t] = (struct hw_outlier_token){.position = (int32_t)t,
                                                .id = -1,
                                                .first_depth = -1,
                                                .last_depth = -1,
                                                .value = NAN,
                                                .ratio = NAN,
                                                .depth = -1,
                                                .channel = -1,
                                                .sink_share = NAN};
    }
}

// The sinks of the prompt; both lists are in the order of prompts.
static void note_sinks(struct outliers_work *w, const struct outliers_prompt *p) {
    const struct hw_sinks *sinks = &w->sinks;
    for (; w->next_sink < sinks->n_tokens && sinks->tokens[w->next_sink].prompt <= p->index;
         w->next_sink++) {
        const struct hw_sink_token *token = &sinks->tokens[w->next_sink];
        if (token->prompt == p->index && token->is_absolute) {
            w->notes[token->position].is_sink = true;
            w->notes[token->position].sink_share = token->share;
        }
    }
}

static enum hw_status name_token(struct outliers_work *w, const struct outliers_prompt *p,
                                 struct hw_outlier_token *token, struct hw_error *err) {
    size_t row = p->prompt->first_token + (size_t)token->position;
    char **texts = NULL;
    enum hw_status status = hw_trace_read_i32(w->trace, HW_DS_TOKEN_ID, 0, row, 1, &token->id, err);
    if (status == HW_OK && hw_trace_has(w->trace, HW_DS_TOKEN_TEXT)) {
        status = hw_trace_read_text(w->trace, HW_DS_TOKEN_TEXT, row, 1, &texts, err);
    }
    if (status != HW_OK) {
        return status;
    }
    token->text = strdup(texts != NULL ? texts[0] : "");
    hw_trace_free_text(texts, texts != NULL ? 1 : 0);
    return token->text != NULL
               ? HW_OK
               : hw_fail(err, HW_RESOURCE, "%s: not enough memory for the outlier tokens",
                         hw_trace_path(w->trace));
}

// Room doubles at every power of two.
static enum hw_status append_token(struct outliers_work *w, const struct outliers_prompt *p,
                                   size_t t, struct hw_error *err) {
    struct hw_outliers *out = w->out;
    enum hw_token_class token_class;
    if ((out->n_tokens & (out->n_tokens - 1)) == 0) {
        size_t capacity = out->n_tokens == 0 ? 1 : 2 * out->n_tokens;
        struct hw_outlier_token *tokens =
            capacity <= MAX_TOKENS ? realloc(out->tokens, capacity * sizeof *tokens) : NULL;
        if (tokens == NULL) {
            return hw_fail(err, HW_RESOURCE,
                           "%s: too many outlier tokens (found more than %zu); larger thresholds "
                           "list fewer",
                           hw_trace_path(w->trace), out->n_tokens);
        }
        out->tokens = tokens;
    }
    enum hw_status status = hw_outliers_classify(w, p, t, &token_class, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_outlier_token *token = &out->tokens[out->n_tokens++];
    *token = w->notes[t];
    token->prompt = p->index;
    out->n_both += token->n_massive > 0 && token->is_sink;
    out->n_massive_only += token->n_massive > 0 && !token->is_sink;
    out->n_sink_only += token->n_massive == 0 && token->is_sink;
    return name_token(w, p, token, err);
}

static enum hw_status add_prompt(struct outliers_work *w, size_t index, struct hw_error *err) {
    struct hw_outliers *out = w->out;
    struct outliers_prompt p = {.index = index, .prompt = hw_trace_prompt(w->trace, index)};
    p.n_tokens = p.prompt->n_prompt_tokens;
    if (p.n_tokens < 2 || p.n_tokens > p.prompt->n_tokens) {
        out->n_skipped++;
        return HW_OK;
    }
    clear_notes(w, p.n_tokens);
    note_sinks(w, &p);
    enum hw_status status = out->has_states ? hw_outliers_add_states(w, &p, err) : HW_OK;
    if (status == HW_OK && out->has_attention) {
        status = hw_outliers_add_attention(w, &p, err);
    }
    if (status == HW_OK && out->has_neurons) {
        status = hw_outliers_add_neurons(w, &p, err);
    }
    for (size_t t = 0; t < p.n_tokens && status == HW_OK; t++) {
        const struct hw_outlier_token *note = &w->notes[t];
        if (note->n_massive > 0 || note->n_outlier > 0 || note->n_attention > 0 || note->is_sink) {
            status = append_token(w, &p, t, err);
        }
    }
    out->min_tokens = out->n_prompts == 0 ? p.n_tokens : hw_size_min(out->min_tokens, p.n_tokens);
    out->max_tokens = hw_size_max(out->max_tokens, p.n_tokens);
    out->n_prompts++;
    return status;
}

static enum hw_status find_sinks(struct outliers_work *w, struct hw_error *err) {
    const struct hw_outliers_options *options = &w->out->options;
    struct hw_sinks_options how;
    if (!w->out->has_attention) {
        return HW_OK;
    }
    hw_sinks_defaults(&how);
    how.epsilons[0] = options->epsilon;
    how.share = options->share;
    how.least_rows = options->least_rows;
    how.is_gap_wanted = false;
    return hw_sinks_compute(w->trace, &how, &w->sinks, err);
}

// What the capture has, and the sizes that follow.
static enum hw_status look(struct outliers_work *w, struct hw_error *err) {
    struct hw_outliers *out = w->out;
    const struct hw_trace *trace = w->trace;
    const struct hw_group_axes *axes = &hw_trace_layout(trace)->groups[HW_GROUP_ROOT];
    const struct hw_group_axes *neurons = &hw_trace_layout(trace)->groups[HW_GROUP_ACTIVATIONS];
    out->has_states = hw_trace_has(trace, HW_DS_STATE_TOP_VALUE) &&
                      hw_trace_has(trace, HW_DS_STATE_MEDIAN) &&
                      hw_trace_has(trace, HW_DS_STATE_MEAN_ABS);
    out->has_norms = out->has_states && hw_trace_has(trace, HW_DS_RESIDUAL_MAX);
    out->has_attention = hw_trace_has(trace, HW_DS_ATTENTION_RECEIVED);
    out->has_neurons = hw_trace_has(trace, HW_DS_ACTIVATIONS_MLP_POST);
    if (!out->has_states && !out->has_attention && !out->has_neurons) {
        return hw_measure_require_any(trace, "outliers", err);
    }
    out->is_from_top = out->options.least < RECORDED_LEAST || out->options.ratio < RECORDED_RATIO ||
                       !hw_trace_has(trace, HW_DS_MASSIVE_VALUE);
    out->n_file_prompts = hw_trace_n_prompts(trace);
    w->longest = 1;
    for (size_t i = 0; i < out->n_file_prompts; i++) {
        w->longest = hw_size_max(w->longest, hw_trace_prompt(trace, i)->n_tokens);
    }
    out->n_depths = out->has_states ? axes->n_depths : 0;
    out->depths = axes->depths;
    out->n_layers = out->has_attention ? axes->n_layers : 0;
    out->layers = axes->layers;
    out->n_heads = axes->n_heads;
    out->heads = axes->heads;
    out->n_mlp_layers = out->has_neurons ? neurons->n_layers : 0;
    out->mlp_layers = neurons->layers;
    out->n_neurons = out->has_neurons ? hw_trace_n_inner(trace, HW_DS_ACTIVATIONS_MLP_POST) : 0;
    w->n_rank = out->has_states ? hw_trace_n_inner(trace, HW_DS_STATE_TOP_VALUE) : 0;
    if (out->has_states && (w->n_rank == 0 || w->n_rank > MAX_RANK)) {
        return hw_fail(err, HW_INPUT, "%s: wrong number of ranks (expected 1 to %d, found %zu)",
                       hw_trace_path(trace), (int)MAX_RANK, w->n_rank);
    }
    if (hw_trace_has(trace, HW_DS_MASSIVE_VALUE)) {
        int64_t n_dropped = 0;
        if (hw_trace_attribute_integer(w->trace, HW_GROUP_MASSIVE, "n_dropped", &n_dropped, NULL) ==
            HW_OK) {
            out->n_dropped = n_dropped > 0 ? (size_t)n_dropped : 0;
        }
    }
    return HW_OK;
}

// Prompts are read one after another, each through all layers and depths.
static void keep_chunks(struct hw_trace *trace) {
    static const enum hw_dataset read[] = {HW_DS_ATTENTION_RECEIVED, HW_DS_STATE_TOP_VALUE,
                                           HW_DS_STATE_TOP_POSITION, HW_DS_STATE_MEDIAN,
                                           HW_DS_STATE_TOP_CHANNEL,  HW_DS_STATE_MEAN_ABS,
                                           HW_DS_RESIDUAL_MAX,       HW_DS_ACTIVATIONS_MLP_POST};
    for (size_t i = 0; i < sizeof read / sizeof *read && hw_trace_n_prompts(trace) > 1; i++) {
        hw_trace_keep_chunks(trace, read[i]);
    }
}

static enum hw_status compute(struct outliers_work *w, struct hw_error *err) {
    int32_t *channels = NULL;
    keep_chunks(w->trace);
    enum hw_status status = look(w, err);
    if (status == HW_OK && w->out->has_states) {
        status = hw_outliers_find_channels(w, &channels, &w->out->n_channels, err);
    }
    if (status == HW_OK) {
        status = open_arrays(w, channels, err);
    }
    free(channels);
    if (status == HW_OK) {
        status = find_sinks(w, err);
    }
    for (size_t i = 0; i < w->out->n_file_prompts && status == HW_OK; i++) {
        status = add_prompt(w, i, err);
    }
    if (status == HW_OK) {
        hw_outliers_rank_neurons(w->out);
    }
    return status;
}

enum hw_status hw_outliers_compute(struct hw_trace *trace,
                                   const struct hw_outliers_options *options,
                                   struct hw_outliers *ret_outliers, struct hw_error *err) {
    struct hw_outliers outliers = {.options = *options};
    struct outliers_work work = {.trace = trace, .out = &outliers};
    work.top = calloc(MAX_RANK, sizeof *work.top);
    work.top_position = calloc(MAX_RANK, sizeof *work.top_position);
    work.top_channel = calloc(MAX_RANK, sizeof *work.top_channel);
    enum hw_status status =
        work.top == NULL || work.top_position == NULL || work.top_channel == NULL
            ? hw_fail(err, HW_RESOURCE, "not enough memory for %d ranks", (int)MAX_RANK)
            : compute(&work, err);
    free(work.top);
    free(work.top_position);
    free(work.top_channel);
    hw_sinks_free(&work.sinks);
    if (status != HW_OK) {
        hw_outliers_free(&outliers);
        return status;
    }
    *ret_outliers = outliers;
    return HW_OK;
}
