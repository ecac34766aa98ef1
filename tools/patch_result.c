// Patching as a result file and as a table; see patch_report.h.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/mean.h"
#include "tools/patch_report.h"
#include "tools/report.h"
#include "tools/table.h"

// The cells of a prompt in the order of the result: site, layer, position, head.
struct shape {
    size_t n_layers;
    size_t n_positions;
    size_t n_heads;
    size_t n; // of all sites
};

static struct shape shape_of(const struct hw_patching *p) {
    struct shape s = {.n_layers = p->desc->n_layers,
                      .n_positions = p->by_position ? p->max_tokens : 1,
                      .n_heads = p->by_head ? p->desc->n_heads : 1};
    s.n = p->n_sites * s.n_layers * s.n_positions * s.n_heads;
    return s;
}

static double value_at(const struct patch_view *view, const struct shape *s, size_t prompt,
                       size_t at, enum hw_metric metric) {
    const struct hw_patch_place place = {.site = at / (s->n_heads * s->n_positions * s->n_layers),
                                         .layer = at / (s->n_heads * s->n_positions) % s->n_layers,
                                         .position = at / s->n_heads % s->n_positions,
                                         .head = at % s->n_heads};
    return hw_patch_value(view->patching, view->cells, prompt, place, metric);
}

static double end_of(const struct patch_view *view, size_t prompt, bool is_clean,
                     enum hw_metric metric) {
    return hw_patch_end(view->patching, view->cells, prompt, is_clean == view->is_denoise ? 1 : 0,
                        metric);
}

bool patch_has_means(const struct patch_view *view) {
    const struct hw_patching *p = view->patching;
    for (size_t i = 0; i < p->prompts->n && p->by_position; i++) {
        if (view->errors[i] == NULL && p->prompts->items[i].n_ids != p->max_tokens) {
            return false;
        }
    }
    return true;
}

static void set_axes(const struct patch_view *view, bool has_prompt,
                     struct hw_result_field *field) {
    const char *axes[5] = {"prompt", "site", "layer"};
    size_t n = 3, from = has_prompt ? 0 : 1;
    if (view->patching->by_position) {
        axes[n++] = "position";
    }
    if (view->patching->by_head) {
        axes[n++] = "head";
    }
    for (size_t i = 0; i < HW_RESULT_MAX_AXES; i++) {
        field->axes[i] = from + i < n ? axes[from + i] : NULL;
    }
}

static bool add_values(struct hw_result *result, const struct patch_view *view,
                       enum hw_metric metric, bool is_normalised) {
    const struct hw_metric_row *row = &hw_metric_rows[metric];
    const struct shape s = shape_of(view->patching);
    size_t n_prompts = view->patching->prompts->n;
    double *values = calloc(s.n * n_prompts + 1, sizeof *values);
    double *means = calloc(2 * s.n + 1, sizeof *means);
    int64_t *counts = calloc(s.n + 1, sizeof *counts);
    bool has_memory = values != NULL && means != NULL && counts != NULL;
    char name[64], mean_name[72];
    (void)snprintf(name, sizeof name, "%s%s", row->name, is_normalised ? "_normalised" : "");
    (void)snprintf(mean_name, sizeof mean_name, "%s_mean", name);
    for (size_t at = 0; at < s.n && has_memory; at++) {
        struct hw_mean mean = {0};
        for (size_t p = 0; p < n_prompts; p++) {
            double value = value_at(view, &s, p, at, metric);
            if (is_normalised) {
                double corrupted = end_of(view, p, false, metric);
                value = (value - corrupted) / (end_of(view, p, true, metric) - corrupted);
            }
            values[p * s.n + at] = value;
            if (isfinite(value)) {
                hw_mean_add(&mean, value);
            }
        }
        means[at] = hw_mean_value(&mean);
        means[s.n + at] = hw_mean_se(&mean);
        counts[at] = (int64_t)mean.n;
    }
    struct hw_result_field field = {.name = name,
                                    .type = HW_RESULT_REAL,
                                    .long_name = name,
                                    .units = is_normalised ? "1" : row->units,
                                    .description = is_normalised
                                                       ? "(m - m_corrupted) / (m_clean - "
                                                         "m_corrupted): 1 as the clean run, 0 as "
                                                         "the corrupted one."
                                                       : row->text};
    if (has_memory) {
        set_axes(view, true, &field);
        hw_result_add(result, &field, values);
    }
    if (has_memory && patch_has_means(view)) {
        field.name = mean_name;
        set_axes(view, false, &field);
        hw_result_add_mean(result, &field, means, means + s.n, counts);
    }
    free(values);
    free(means);
    free(counts);
    return has_memory;
}

static bool add_ends(struct hw_result *result, const struct patch_view *view,
                     enum hw_metric metric) {
    const struct hw_metric_row *row = &hw_metric_rows[metric];
    size_t n = view->patching->prompts->n;
    double *values = calloc(n + 1, sizeof *values);
    for (int is_clean = 0; is_clean < 2 && values != NULL; is_clean++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s_%s", row->name, is_clean ? "clean" : "corrupted");
        for (size_t p = 0; p < n; p++) {
            values[p] = end_of(view, p, is_clean, metric);
        }
        const struct hw_result_field field = {name, HW_RESULT_REAL, {"prompt"},
                                              name, row->units,     "The same of the whole run."};
        hw_result_add(result, &field, values);
    }
    free(values);
    return values != NULL;
}

static bool add_axes(struct hw_result *result, const struct patch_view *view) {
    const struct hw_patching *p = view->patching;
    const struct shape s = shape_of(p);
    size_t most = p->prompts->n + s.n_layers + s.n_positions + s.n_heads;
    int32_t *numbers = calloc(most, sizeof *numbers);
    const char *words[HW_MAX_PATCH_SITES];
    for (size_t i = 0; i < most && numbers != NULL; i++) {
        numbers[i] = (int32_t)i;
    }
    for (size_t i = 0; i < p->n_sites; i++) {
        words[i] = hw_patch_site_word(p->sites[i]);
    }
    if (numbers == NULL) {
        return false;
    }
    hw_result_axis(result, "prompt", p->prompts->n, numbers, NULL, "prompt");
    hw_result_axis(result, "site", p->n_sites, NULL, words, "what is put in");
    hw_result_axis(result, "layer", s.n_layers, numbers, NULL, "layer");
    if (p->by_position) {
        hw_result_axis(result, "position", s.n_positions, numbers, NULL, "position");
    }
    if (p->by_head) {
        hw_result_axis(result, "head", s.n_heads, numbers, NULL, "query head");
    }
    free(numbers);
    return true;
}

static const char *token_text(const struct patch_view *view, size_t prompt, size_t position) {
    if (view->tokenizer == NULL || view->clean_ids[prompt] == NULL ||
        position >= view->patching->prompts->items[prompt].n_ids) {
        return "";
    }
    return hw_tokenizer_text(view->tokenizer, view->clean_ids[prompt][position]);
}

static bool add_prompts(struct hw_result *result, const struct patch_view *view) {
    const struct hw_patching *patching = view->patching;
    size_t n = patching->prompts->n, width = shape_of(patching).n_positions;
    const char **texts = calloc((3 + width) * n + 1, sizeof *texts);
    int64_t *numbers = calloc(2 * n + 1, sizeof *numbers);
    bool has_memory = texts != NULL && numbers != NULL;
    for (size_t p = 0; p < n && has_memory; p++) {
        const struct hw_prompt *prompt = &patching->prompts->items[p];
        texts[p] = prompt->name;
        texts[n + p] = view->errors[p] != NULL ? view->errors[p] : "";
        texts[2 * n + p] = view->hashes[p];
        numbers[p] = view->errors[p] != NULL ? HW_PROMPT_FAILED : prompt->status;
        numbers[n + p] = (int64_t)prompt->n_ids;
        for (size_t t = 0; t < width; t++) {
            texts[3 * n + p * width + t] = token_text(view, p, t);
        }
    }
    static const struct hw_result_field fields[] = {
        {"prompt_name", HW_RESULT_TEXT, {"prompt"}, "name", "1", "The prompt's name."},
        {"prompt_error",
         HW_RESULT_TEXT,
         {"prompt"},
         "why it failed",
         "1",
         "Empty unless the prompt failed; its values are NaN then."},
        {"prompt_sha256",
         HW_RESULT_TEXT,
         {"prompt"},
         "hash of the clean tokens",
         "1",
         "SHA-256 of the token ids as little-endian u4, as in captures."},
        {"token_text",
         HW_RESULT_TEXT,
         {"prompt", "position"},
         "clean tokens",
         "1",
         "Texts of the clean tokens."},
        {"prompt_status",
         HW_RESULT_INTEGER,
         {"prompt"},
         "status",
         "1",
         "0 ok, 1 truncated, 2 failed."},
        {"n_tokens", HW_RESULT_INTEGER, {"prompt"}, "tokens", "token", "Tokens of the prompt."}};
    for (size_t i = 0; i < 6 && has_memory; i++) {
        if (i != 3 || patching->by_position) {
            hw_result_add(result, &fields[i],
                          i < 4 ? (const void *)(texts + i * n) : numbers + (i - 4) * n);
        }
    }
    free(texts);
    free(numbers);
    return has_memory;
}

enum hw_status hw_patch_fill(struct hw_result *result, const struct patch_view *view,
                             struct hw_error *err) {
    bool is_ok = add_axes(result, view) && add_prompts(result, view);
    for (int k = 0; k < HW_N_METRICS && is_ok; k++) {
        if (view->patching->wanted[k]) {
            is_ok = add_values(result, view, (enum hw_metric)k, false) &&
                    add_values(result, view, (enum hw_metric)k, true) &&
                    add_ends(result, view, (enum hw_metric)k);
        }
    }
    return is_ok ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for the result");
}

struct line {
    size_t at;
    double value;
    double se;
    double normalised; // of the means over the prompts, as the reference has it
    double order;
};

static int by_order(const void *a, const void *b) {
    const struct line *x = a;
    const struct line *y = b;
    bool x_is_last = isnan(x->order), y_is_last = isnan(y->order);
    if (x_is_last || y_is_last) {
        return x_is_last - y_is_last;
    }
    return x->order != y->order ? (x->order < y->order ? 1 : -1)
                                : (x->at > y->at) - (x->at < y->at);
}

// Cell by cell over prompts [first, end).
static size_t make_lines(const struct patch_view *view, size_t first, size_t end,
                         enum hw_metric metric, struct line *lines) {
    const struct shape s = shape_of(view->patching);
    size_t n = 0;
    for (size_t at = 0; at < s.n; at++) {
        struct hw_mean mean = {0}, clean = {0}, corrupted = {0};
        for (size_t p = first; p < end; p++) {
            double value = value_at(view, &s, p, at, metric);
            if (!isnan(value)) {
                hw_mean_add(&mean, value);
                hw_mean_add(&clean, end_of(view, p, true, metric));
                hw_mean_add(&corrupted, end_of(view, p, false, metric));
            }
        }
        if (mean.n > 0) {
            double normalised = (mean.mean - corrupted.mean) / (clean.mean - corrupted.mean);
            lines[n++] = (struct line){at, mean.mean, hw_mean_se(&mean), normalised,
                                       view->is_denoise ? normalised : -normalised};
        }
    }
    qsort(lines, n, sizeof *lines, by_order);
    return n;
}

static enum hw_status print_prompts(const struct patch_view *view, size_t first, size_t end,
                                    enum hw_metric metric, struct hw_error *err) {
    const struct hw_patching *p = view->patching;
    const struct shape s = shape_of(p);
    struct line *lines = calloc(s.n + 1, sizeof *lines);
    char columns[200];
    if (lines == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the table");
    }
    size_t n = make_lines(view, first, end, metric, lines);
    bool has_token = p->by_position && end - first == 1;
    (void)snprintf(columns, sizeof columns, "<site|layer%s%s%s|%s|se|normalised",
                   p->by_head ? "|head" : "", p->by_position ? "|position" : "",
                   has_token ? "|<token" : "", hw_metric_rows[metric].name);
    struct hw_table *table = hw_table_open(columns);
    for (size_t i = 0; i < n && i < view->top; i++) {
        size_t at = lines[i].at, position = at / s.n_heads % s.n_positions;
        size_t row = at / (s.n_heads * s.n_positions);
        hw_table_cell(table, "%s", hw_patch_site_word(p->sites[row / s.n_layers]));
        hw_table_cell(table, "%zu", row % s.n_layers);
        if (p->by_head) {
            hw_table_cell(table, "%zu", at % s.n_heads);
        }
        if (p->by_position) {
            hw_table_cell(table, "%zu", position);
        }
        if (has_token) {
            hw_table_cell(table, "%s", token_text(view, first, position));
        }
        hw_table_cell(table, "%.4f", lines[i].value);
        isnan(lines[i].se) ? hw_table_cell(table, "-") : hw_table_cell(table, "%.4f", lines[i].se);
        isnan(lines[i].normalised) ? hw_table_cell(table, "-")
                                   : hw_table_cell(table, "%.3f", lines[i].normalised);
    }
    enum hw_status status = hw_table_print(table, stdout, 2, err);
    if (n > view->top) {
        printf("  ... %zu more (--top)\n", n - view->top);
    }
    hw_table_close(&table);
    free(lines);
    return status;
}

enum hw_status hw_patch_print(const struct patch_view *view, struct hw_error *err) {
    const struct hw_patching *p = view->patching;
    int metric = 0;
    while (!p->wanted[metric]) {
        metric++;
    }
    struct hw_mean clean = {0}, corrupted = {0};
    for (size_t i = 0; i < p->prompts->n; i++) {
        if (view->errors[i] == NULL) {
            hw_mean_add(&clean, end_of(view, i, true, (enum hw_metric)metric));
            hw_mean_add(&corrupted, end_of(view, i, false, (enum hw_metric)metric));
        }
    }
    hw_print_text(view->model);
    printf(": %zu prompt%s, %s\n%s: clean %.4f, corrupted %.4f\n", clean.n, clean.n == 1 ? "" : "s",
           view->is_denoise ? "clean activations into the corrupted run"
                            : "corrupted activations into the clean run",
           hw_metric_rows[metric].name, hw_mean_value(&clean), hw_mean_value(&corrupted));
    if (patch_has_means(view)) {
        return print_prompts(view, 0, p->prompts->n, (enum hw_metric)metric, err);
    }
    enum hw_status status = HW_OK;
    printf("prompts of different lengths: no means over them\n");
    for (size_t i = 0; i < p->prompts->n && status == HW_OK; i++) {
        if (view->errors[i] == NULL) {
            hw_print_line("prompt %s", p->prompts->items[i].name);
            status = print_prompts(view, i, i + 1, (enum hw_metric)metric, err);
        }
    }
    return status;
}
