// Induction heads of a capture: which source, and the walk over prompts; see induction.h.
#include "analysis/induction.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/arrays.h"
#include "analysis/induction_internal.h"
#include "analysis/map_source.h"
#include "analysis/measures.h"
#include "formats/json.h"
#include "kernels/size.h"

enum { MAX_PERIOD = 1 << 28 };

// The running computation.
struct induction_work {
    struct hw_trace *trace;
    struct hw_induction *out;
    struct hw_map_source *maps; // NULL: from statistics
    struct hw_repeat *repeats;  // [prompts of the file]; period 0: does not count
    size_t n_prompts;           // of the file
    size_t longest;
    struct induction_rows rows;
    struct hw_repeat_sums *sums; // [n_heads] of one layer
    const struct hw_repeat *running;
};

void hw_induction_free(struct hw_induction *induction) {
    hw_arena_close(&induction->arena);
    memset(induction, 0, sizeof *induction);
}

enum hw_status hw_induction_read_object(const char *json, size_t *ret_period, size_t *ret_first,
                                        struct hw_error *err) {
    json_t *object = NULL;
    enum hw_status status = hw_json_parse("prompt_json", json, strlen(json), &object, err);
    if (status != HW_OK) {
        return status;
    }
    const json_t *repeat = json_object_get(object, "repeat");
    const json_t *period = json_object_get(repeat, "period");
    const json_t *first = json_object_get(repeat, "first");
    if (repeat == NULL) {
        status = hw_fail(err, HW_INPUT,
                         "no \"repeat\" in the prompt's object (expected a capture of `headwater "
                         "prompts repeat`, or --period)");
    } else if (!json_is_integer(period) || json_integer_value(period) < 1 ||
               json_integer_value(period) > MAX_PERIOD ||
               (first != NULL && (!json_is_integer(first) || json_integer_value(first) < 0 ||
                                  json_integer_value(first) > 1))) {
        status = hw_fail(err, HW_INPUT,
                         "\"repeat\" of the prompt's object is wrong (expected a \"period\" of 1 "
                         "to %d and \"first\" 0 or 1)",
                         (int)MAX_PERIOD);
    } else {
        *ret_period = (size_t)json_integer_value(period);
        *ret_first = first != NULL ? (size_t)json_integer_value(first) : 0;
    }
    json_decref(object);
    return status;
}

// What one prompt repeats, checked against its ids.
static enum hw_status open_repeat(struct induction_work *w, size_t index, struct hw_error *err) {
    struct hw_induction *out = w->out;
    const struct hw_trace_prompt *prompt = hw_trace_prompt(w->trace, index);
    size_t n_tokens = prompt->n_prompt_tokens;
    size_t period = out->options.period;
    size_t first = out->options.first;
    if (prompt->status == 2 || n_tokens == 0 || n_tokens > prompt->n_tokens) {
        out->n_skipped++;
        return HW_OK;
    }
    int32_t *ids = calloc(n_tokens, sizeof *ids);
    enum hw_status status =
        ids != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for the token ids");
    if (status == HW_OK && period == 0) {
        status = hw_induction_read_object(prompt->json, &period, &first, err);
    }
    if (status == HW_OK) {
        status =
            hw_trace_read_i32(w->trace, HW_DS_TOKEN_ID, 0, prompt->first_token, n_tokens, ids, err);
    }
    if (status == HW_OK) {
        status = hw_repeat_open(ids, n_tokens, period, first, &w->repeats[index], err);
    }
    free(ids);
    if (status != HW_OK) {
        char name[100];
        return hw_fail_context(err, status, "%s: prompt %ld (%s): ", hw_trace_path(w->trace),
                               (long)prompt->prompt,
                               hw_escape(name, sizeof name, prompt->name, strlen(prompt->name)));
    }
    bool is_one = out->n_prompts == 0;
    out->min_tokens = is_one ? n_tokens : hw_size_min(out->min_tokens, n_tokens);
    out->max_tokens = hw_size_max(out->max_tokens, n_tokens);
    out->min_period = is_one ? period : hw_size_min(out->min_period, period);
    out->max_period = hw_size_max(out->max_period, period);
    out->n_first += first;
    out->n_recurring += !w->repeats[index].is_plain;
    out->n_prompts++;
    w->longest = hw_size_max(w->longest, prompt->n_tokens);
    return HW_OK;
}

// What the statistics of all prompts together can tell.
static struct induction_statistics look_at_all(const struct induction_work *w) {
    struct induction_statistics all = {true, true, true, true};
    for (size_t i = 0; i < w->n_prompts; i++) {
        if (w->repeats[i].period > 0) {
            struct induction_statistics one = hw_induction_look(w->trace, i, &w->repeats[i]);
            all.has_offsets &= one.has_offsets;
            all.has_rows &= one.has_rows;
            all.has_first &= one.has_first;
            all.is_everything &= one.is_everything;
        }
    }
    return all;
}

// Statistics or maps; HW_INPUT says what the capture lacks.
static enum hw_status choose_source(struct induction_work *w, struct hw_error *err) {
    struct hw_trace *trace = w->trace;
    const char *path = hw_trace_path(trace);
    struct induction_statistics has = look_at_all(w);
    bool is_enough = has.has_offsets && has.has_rows && has.has_first;
    bool has_maps = hw_trace_has_record(trace, "attention_maps") ||
                    hw_trace_has_record(trace, "attention_vectors");
    enum hw_induction_source wish = w->out->options.source;
    bool is_statistics = wish == HW_INDUCTION_STATISTICS ||
                         (wish == HW_INDUCTION_AUTO && (has.is_everything || !has_maps));
    if (!is_statistics) {
        enum hw_status status =
            hw_map_source_open(trace, "induction", w->out->options.n_threads, &w->maps, err);
        if (status == HW_OK) {
            w->out->source = hw_map_source_record(w->maps);
        }
        return status;
    }
    w->out->source = "attention_offset";
    if (is_enough) {
        return HW_OK;
    }
    if (!hw_trace_has(trace, HW_DS_ATTENTION_OFFSET)) {
        const char *record = NULL;
        enum hw_status status = hw_measure_require(trace, "induction", &record, err);
        return status != HW_OK ? status : hw_fail(err, HW_INPUT, "%s: no attention_offset", path);
    }
    if (!has.has_offsets) {
        return hw_fail(err, HW_INPUT,
                       "%s: the offsets end before the earliest copy (expected up to %zu, found "
                       "%zu): capture again with --offsets %zu, or --record attention_vectors",
                       path, w->out->max_tokens - 1, hw_trace_layout(trace)->n_offsets - 1,
                       w->out->max_tokens);
    }
    return hw_fail(err, HW_INPUT, "%s: %s: capture again with %s, or --record attention_vectors",
                   path,
                   !has.has_rows ? "no statistics of single tokens"
                                 : "a token stands in front, and no spans tell its share",
                   !has.has_rows ? "--detail token"
                                 : "prompts of `headwater prompts repeat` with at most 17 repeats");
}

// Takes every array from the arena; the same code measures.
static void take_arrays(struct induction_work *w, struct hw_arena *arena) {
    struct hw_induction *out = w->out;
    out->scores.n_measures = HW_N_REPEAT_MEASURES;
    out->scores.n_layers = out->n_layers;
    out->scores.n_heads = out->n_heads;
    size_t n_kv_cells; // at most the heads of the model
    if (!hw_size_mul(out->n_layers, out->n_heads, &n_kv_cells)) {
        arena->is_overflown = 1;
        return;
    }
    hw_head_scores_take(&out->scores, arena);
    out->kv_heads = hw_arena_take(arena, out->n_heads, sizeof *out->kv_heads);
    out->head_kv = hw_arena_take(arena, out->n_heads, sizeof *out->head_kv);
    out->kv_scores =
        hw_arena_take(arena, n_kv_cells, HW_N_REPEAT_MEASURES * sizeof *out->kv_scores);
    out->by_induction = hw_arena_take(arena, n_kv_cells, sizeof *out->by_induction);
    out->by_echo = hw_arena_take(arena, n_kv_cells, sizeof *out->by_echo);
    w->sums = hw_arena_take(arena, out->n_heads, sizeof *w->sums);
    if (w->maps == NULL) {
        hw_induction_take_rows(w->trace, w->longest, arena, &w->rows);
    }
}

static enum hw_status open_arrays(struct induction_work *w, struct hw_error *err) {
    struct hw_induction *out = w->out;
    const struct hw_layout *layout = hw_trace_layout(w->trace);
    const struct hw_group_axes *axes = &layout->groups[HW_GROUP_ROOT];
    out->n_layers = w->maps != NULL ? hw_map_source_n_layers(w->maps) : axes->n_layers;
    out->n_heads = w->maps != NULL ? hw_map_source_n_heads(w->maps) : axes->n_heads;
    out->layers = w->maps != NULL ? hw_map_source_layers(w->maps) : axes->layers;
    out->heads = w->maps != NULL ? hw_map_source_heads(w->maps) : axes->heads;
    struct hw_arena measure;
    hw_arena_measure(&measure);
    take_arrays(w, &measure);
    enum hw_status status = hw_arrays_open(&measure, w->trace, &out->arena, err);
    if (status != HW_OK) {
        return status;
    }
    take_arrays(w, &out->arena); // zero, as fresh pages are
    // Heads rise, so their key/value heads do too.
    size_t group = hw_size_max(1, layout->n_heads / hw_size_max(1, layout->n_kv_heads));
    for (size_t h = 0; h < out->n_heads; h++) {
        int32_t kv = (int32_t)((size_t)out->heads[h] / group);
        if (out->n_kv_heads == 0 || out->kv_heads[out->n_kv_heads - 1] != kv) {
            out->kv_heads[out->n_kv_heads++] = kv;
        }
        out->head_kv[h] = out->n_kv_heads - 1;
    }
    return HW_OK;
}

static enum hw_status add_block(void *self, const struct hw_map_block *block,
                                struct hw_error *err) {
    struct induction_work *w = self;
    if (block->n_keys < w->running->n_tokens) {
        return hw_fail(err, HW_INPUT, "%s: a map has %zu keys, expected %zu",
                       hw_trace_path(w->trace), block->n_keys, w->running->n_tokens);
    }
    hw_repeat_add_rows(w->running, block->rows, block->stride, block->first_row, block->n_rows,
                       &w->sums[block->head]);
    return HW_OK;
}

static enum hw_status add_layer(struct induction_work *w, size_t prompt, size_t layer,
                                struct hw_error *err) {
    struct hw_induction *out = w->out;
    const struct hw_repeat *repeat = &w->repeats[prompt];
    enum hw_status status = HW_OK;
    w->running = repeat;
    if (w->maps == NULL) {
        status = hw_induction_read_sums(w->trace, prompt, layer, repeat, &w->rows, w->sums, err);
    } else {
        memset(w->sums, 0, out->n_heads * sizeof *w->sums);
        status = hw_map_source_walk(w->maps, prompt, layer, NULL, add_block, w, err);
    }
    for (size_t head = 0; head < out->n_heads && status == HW_OK; head++) {
        double scores[HW_N_REPEAT_MEASURES];
        if (w->maps != NULL && !hw_map_source_has(w->maps, layer, head)) {
            continue;
        }
        hw_repeat_scores(repeat, &w->sums[head], &out->options.exclusions, scores);
        for (size_t m = 0; m < HW_N_REPEAT_MEASURES; m++) {
            hw_head_scores_add(&out->scores, m, layer * out->n_heads + head, scores[m]);
        }
    }
    return status;
}

static enum hw_status compute(struct induction_work *w, struct hw_error *err) {
    struct hw_induction *out = w->out;
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < w->n_prompts && status == HW_OK; i++) {
        status = open_repeat(w, i, err);
    }
    if (status == HW_OK && out->n_prompts == 0) {
        return hw_fail(err, HW_INPUT, "%s: no prompt to look at (%zu failed)",
                       hw_trace_path(w->trace), out->n_skipped);
    }
    status = status == HW_OK ? choose_source(w, err) : status;
    status = status == HW_OK ? open_arrays(w, err) : status;
    for (size_t i = 0; i < w->n_prompts && status == HW_OK; i++) {
        for (size_t l = 0; l < out->n_layers && status == HW_OK && w->repeats[i].period > 0; l++) {
            status = add_layer(w, i, l, err);
        }
    }
    if (status == HW_OK) {
        hw_head_scores_finish(&out->scores);
        hw_induction_pick(out);
    }
    return status;
}

enum hw_status hw_induction_compute(struct hw_trace *trace,
                                    const struct hw_induction_options *options,
                                    struct hw_induction *ret_induction, struct hw_error *err) {
    struct hw_induction induction = {.options = *options};
    struct induction_work work = {
        .trace = trace, .out = &induction, .n_prompts = hw_trace_n_prompts(trace)};
    work.repeats = calloc(work.n_prompts + 1, sizeof *work.repeats);
    enum hw_status status =
        work.repeats != NULL
            ? compute(&work, err)
            : hw_fail(err, HW_RESOURCE, "not enough memory for %zu prompts", work.n_prompts);
    for (size_t i = 0; i < work.n_prompts && work.repeats != NULL; i++) {
        hw_repeat_close(&work.repeats[i]);
    }
    free(work.repeats);
    hw_map_source_close(&work.maps);
    if (status != HW_OK) {
        hw_induction_free(&induction);
        return status;
    }
    *ret_induction = induction;
    return HW_OK;
}
