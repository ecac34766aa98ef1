// Heads as a result file and as JSON; see heads_report.h.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/analysis_command.h"
#include "tools/heads_report.h"
#include "tools/report.h"
#include "tools/result_fill.h"

enum { NAME_BYTES = 160 };

// "entropy", or "span:needle" for the user's spans. Returns text.
static const char *measure_name(const struct hw_heads *heads, size_t measure,
                                char text[NAME_BYTES]) {
    if (measure < HW_N_HEADS_MEASURES) {
        return hw_heads_measure((enum hw_heads_measure)measure)->name;
    }
    (void)snprintf(text, NAME_BYTES, "span:%s", heads->span_names[measure - HW_N_HEADS_MEASURES]);
    return text;
}

static void set_options(struct hw_result *result, const struct hw_heads *heads) {
    const struct hw_heads_rules *r = &heads->options.rules;
    hw_result_set_integer(result, "n_prompts", (int64_t)heads->n_prompts);
    hw_result_set_integer(result, "n_skipped", (int64_t)heads->n_skipped);
    hw_result_set_integer(result, "min_tokens", (int64_t)heads->min_tokens);
    hw_result_set_integer(result, "max_tokens", (int64_t)heads->max_tokens);
    hw_result_set_integer(result, "n_infinite", (int64_t)heads->n_infinite);
    hw_result_set_integer(result, "n_bad_maps", (int64_t)heads->n_bad_maps);
    hw_result_set_text(result, "maps", heads->maps != NULL ? heads->maps : "");
    hw_result_set_real(result, "map_error", heads->maps != NULL ? heads->map_error : NAN);
    hw_result_set_real(result, "top_p", heads->options.top_p);
    hw_result_set_real(result, "self_above", r->self);
    hw_result_set_real(result, "previous_above", r->previous);
    hw_result_set_real(result, "broad_above", r->broad);
    hw_result_set_real(result, "first_above", r->first);
    hw_result_set_real(result, "special_above", r->special);
    hw_result_set_real(result, "punctuation_above", r->punctuation);
}

// The measure axis and what its texts mean.
static void add_measures(struct hw_result *result, const struct hw_heads *heads) {
    size_t n = heads->n_measures;
    char(*texts)[NAME_BYTES] = calloc(n, sizeof *texts);
    const char **names = calloc(3 * n, sizeof *names);
    for (size_t m = 0; m < n && texts != NULL && names != NULL; m++) {
        bool is_own = m < HW_N_HEADS_MEASURES;
        const struct hw_heads_measure_row *row =
            is_own ? hw_heads_measure((enum hw_heads_measure)m) : NULL;
        names[m] = measure_name(heads, m, texts[m]);
        names[n + m] = is_own ? row->units : "1";
        names[2 * n + m] =
            is_own ? row->text : "Attention to the span, summed over queries, divided by T.";
    }
    if (texts != NULL && names != NULL) {
        hw_result_axis(result, "measure", n, NULL, names, "score of a head");
        hw_result_add(result,
                      &(struct hw_result_field){"measure_units",
                                                HW_RESULT_TEXT,
                                                {"measure"},
                                                "unit of the score",
                                                "1",
                                                "The unit of every measure."},
                      names + n);
        hw_result_add(result,
                      &(struct hw_result_field){"measure_description",
                                                HW_RESULT_TEXT,
                                                {"measure"},
                                                "what the score is",
                                                "1",
                                                "One sentence for every measure."},
                      names + 2 * n);
    }
    free(texts);
    free(names);
}

static void add_types(struct hw_result *result, const struct hw_heads *heads) {
    size_t n = heads->n_layers * heads->n_heads;
    const char **names = calloc(n + 1, sizeof *names);
    int64_t *offsets = calloc(n + 1, sizeof *offsets);
    for (size_t cell = 0; cell < n && names != NULL && offsets != NULL; cell++) {
        names[cell] = hw_heads_type_name((enum hw_heads_type)heads->type[cell]);
        offsets[cell] = heads->best_offset[cell];
    }
    if (names != NULL && offsets != NULL) {
        hw_result_add(result,
                      &(struct hw_result_field){"head_type",
                                                HW_RESULT_TEXT,
                                                {"layer", "head"},
                                                "type of the head",
                                                "1",
                                                "The last rule that holds; empty where the head "
                                                "was not looked at."},
                      names);
        hw_result_add(result,
                      &(struct hw_result_field){"best_offset",
                                                HW_RESULT_INTEGER,
                                                {"layer", "head"},
                                                "strongest offset",
                                                "tokens",
                                                "The offset of the largest offset_attention."},
                      offsets);
    }
    free(names);
    free(offsets);
}

static void add_offsets(struct hw_result *result, const struct hw_heads *heads) {
    int32_t *numbers = calloc(heads->n_offsets + 1, sizeof *numbers);
    for (size_t o = 0; o < heads->n_offsets && numbers != NULL; o++) {
        numbers[o] = (int32_t)o;
    }
    if (numbers != NULL) {
        hw_result_axis(result, "offset", heads->n_offsets, numbers, NULL,
                       "distance from query back to key");
        hw_result_add_mean(result,
                           &(struct hw_result_field){"offset_attention",
                                                     HW_RESULT_REAL,
                                                     {"offset", "layer", "head"},
                                                     "attention by offset",
                                                     "1",
                                                     "Mean over prompts of the mean of "
                                                     "A[i, i - offset]."},
                           heads->offsets.mean, heads->offsets.se, heads->offsets.n);
    }
    free(numbers);
}

static enum hw_status add_distances(struct hw_result *result, const struct hw_distances *d,
                                    struct hw_error *err) {
    char(*texts)[32] = calloc(d->n_heads, sizeof *texts);
    const char **names = calloc(d->n_heads, sizeof *names);
    for (size_t u = 0; u < d->n_heads && texts != NULL && names != NULL; u++) {
        (void)snprintf(texts[u], sizeof texts[u], "%" PRId32 ".%" PRId32, d->layers[u],
                       d->heads[u]);
        names[u] = texts[u];
    }
    if (texts != NULL && names != NULL) {
        hw_result_set_integer(result, "js_rows", (int64_t)d->work.n_all_rows);
        hw_result_set_integer(result, "js_bad_prompts", (int64_t)d->n_bad_prompts);
        hw_result_set_integer(result, "js_rows_looked_at", (int64_t)d->work.n_rows);
        hw_result_axis(result, "head_name", d->n_heads, NULL, names, "layer.head");
        hw_result_axis(result, "other_head_name", d->n_heads, NULL, names, "layer.head");
        hw_result_add(result,
                      &(struct hw_result_field){"js_distance",
                                                HW_RESULT_REAL,
                                                {"head_name", "other_head_name"},
                                                "Jensen-Shannon distance",
                                                "nat",
                                                "Divergence of the smoothed rows, summed over "
                                                "js_rows rows; NaN with spoiled maps."},
                      d->distance);
    }
    free(texts);
    free(names);
    return hw_result_add_means(result,
                               &(struct hw_result_field){"js_per_row",
                                                         HW_RESULT_REAL,
                                                         {"head_name", "other_head_name"},
                                                         "Jensen-Shannon distance of a row",
                                                         "nat",
                                                         "Mean over prompts of the mean over "
                                                         "rows."},
                               d->per_row, d->n_heads * d->n_heads, 1, err);
}

enum hw_status hw_heads_fill(struct hw_result *result, const struct heads_view *view,
                             struct hw_error *err) {
    const struct hw_heads *heads = view->heads;
    set_options(result, heads);
    add_measures(result, heads);
    hw_result_axis(result, "layer", heads->n_layers, heads->layers, NULL, "layer");
    hw_result_axis(result, "head", heads->n_heads, heads->heads, NULL, "query head");
    hw_result_add_mean(result,
                       &(struct hw_result_field){"head_score",
                                                 HW_RESULT_REAL,
                                                 {"measure", "layer", "head"},
                                                 "score of the head",
                                                 "1",
                                                 "Mean over prompts of the measure (in "
                                                 "measure_units); NaN where the capture cannot "
                                                 "tell it."},
                       heads->scores.mean, heads->scores.se, heads->scores.n);
    add_types(result, heads);
    add_offsets(result, heads);
    return view->distances != NULL ? add_distances(result, view->distances, err) : HW_OK;
}

json_t *hw_heads_document(const struct hw_result *result, const struct heads_view *view) {
    const struct hw_heads *heads = view->heads;
    size_t n_cells = heads->n_layers * heads->n_heads;
    size_t n = 0;
    size_t *order = hw_heads_order(view, &n);
    json_t *document = hw_result_json(result);
    json_t *list = json_array();
    for (size_t i = 0; order != NULL && i < n; i++) {
        size_t cell = order[i];
        json_t *item =
            json_pack("{s:i, s:i, s:s, s:i}", "layer", heads->layers[cell / heads->n_heads], "head",
                      heads->heads[cell % heads->n_heads], "type",
                      hw_heads_type_name((enum hw_heads_type)heads->type[cell]), "best_offset",
                      heads->best_offset[cell]);
        for (size_t m = 0; m < heads->n_measures; m++) {
            char text[NAME_BYTES];
            (void)json_object_set_new(item, measure_name(heads, m, text),
                                      hw_json_real(heads->scores.mean[m * n_cells + cell]));
        }
        (void)json_array_append_new(list, item);
    }
    (void)json_object_set_new(document, "heads", order != NULL ? list : NULL);
    if (order == NULL) {
        json_decref(list);
    }
    free(order);
    return document;
}
