// Two captures: prompts by hash, rows in their order, layers and depths by number.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/compare_internal.h"
#include "formats/prompt_rows.h"
#include "formats/trace_reader.h"
#include "kernels/attention.h"
#include "kernels/size.h"

enum { CHUNK_VALUES = 1 << 20 };

// One side, with the owners of the rows of groups whose rows are not those of the token axis.
struct side {
    struct hw_trace *trace;
    int32_t *owners[HW_N_GROUPS]; // [rows] prompt coordinates; NULL where not needed
    size_t n_owners[HW_N_GROUPS];
};

struct pair {
    size_t a; // indices of prompts in the files
    size_t b;
};

struct work {
    struct side a;
    struct side b;
    struct pair *pairs;
    size_t n_pairs;
    float *values; // [2, CHUNK_VALUES]
    double *cells; // [2, n_cells] sums over heads, and [n_cells] counts after them
    size_t n_cells;
    const struct hw_compare_options *options;
    struct hw_compare *out;
};

struct hashed {
    const char *sha256;
    size_t index;
};

static int by_hash(const void *a, const void *b) {
    const struct hashed *x = a;
    const struct hashed *y = b;
    int order = strcmp(x->sha256, y->sha256);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int by_first(const void *a, const void *b) {
    const struct pair *x = a;
    const struct pair *y = b;
    return (x->a > y->a) - (x->a < y->a);
}

static struct hashed *sort_prompts(const struct hw_trace *trace) {
    size_t n = hw_trace_n_prompts(trace);
    struct hashed *list = calloc(n + 1, sizeof *list);
    for (size_t i = 0; list != NULL && i < n; i++) {
        list[i] = (struct hashed){hw_trace_prompt(trace, i)->sha256, i};
    }
    if (list != NULL) {
        qsort(list, n, sizeof *list, by_hash);
    }
    return list;
}

// Prompts of the same tokens, in the order of the first file; the i-th of equals with the i-th.
static enum hw_status match_prompts(struct work *w, struct hw_error *err) {
    size_t n_a = hw_trace_n_prompts(w->a.trace);
    size_t n_b = hw_trace_n_prompts(w->b.trace);
    struct hashed *a = sort_prompts(w->a.trace);
    struct hashed *b = sort_prompts(w->b.trace);
    w->pairs = calloc(hw_size_min(n_a, n_b) + 1, sizeof *w->pairs);
    enum hw_status status = HW_OK;
    if (a == NULL || b == NULL || w->pairs == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory to match %zu prompts", n_a);
    }
    for (size_t i = 0, k = 0; status == HW_OK && i < n_a && k < n_b;) {
        int order = strcmp(a[i].sha256, b[k].sha256);
        if (order == 0) {
            w->pairs[w->n_pairs++] = (struct pair){a[i].index, b[k].index};
        }
        i += order <= 0;
        k += order >= 0;
    }
    if (status == HW_OK) {
        qsort(w->pairs, w->n_pairs, sizeof *w->pairs, by_first);
        w->out->n_prompts = w->n_pairs;
        w->out->n_only_a = n_a - w->n_pairs;
        w->out->n_only_b = n_b - w->n_pairs;
    }
    free(a);
    free(b);
    return status;
}

// The column that says whose the rows of a group are: none where they are those of the token axis.
static enum hw_dataset owner_column(enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    bool is_step = row->axes[0] == HW_AXIS_STEP || row->axes[0] == HW_AXIS_EVENT;
    return hw_schema_find(row->group, is_step ? "prompt" : "token_prompt");
}

static enum hw_status load_owners(struct side *side, enum hw_dataset dataset,
                                  struct hw_error *err) {
    enum hw_group group = hw_schema_row(dataset)->group;
    enum hw_dataset column = owner_column(dataset);
    if (side->owners[group] != NULL || group == HW_GROUP_ROOT || column == HW_N_DATASETS ||
        !hw_trace_has(side->trace, column)) {
        return HW_OK;
    }
    size_t n = hw_trace_n_rows(side->trace, column);
    int32_t *owners = calloc(n + 1, sizeof *owners);
    if (owners == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu rows", n);
    }
    side->owners[group] = owners;
    side->n_owners[group] = n;
    return hw_trace_read_i32(side->trace, column, 0, 0, n, owners, err);
}

// Rows of a prompt: first .. first + n.
static void find_rows(const struct side *side, enum hw_dataset dataset, size_t prompt,
                      size_t *ret_first, size_t *ret_n) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    const struct hw_trace_prompt *p = hw_trace_prompt(side->trace, prompt);
    const int32_t *owners = side->owners[row->group];
    if (row->axes[0] == HW_AXIS_PROMPT) {
        *ret_first = prompt;
        *ret_n = 1;
    } else if (owners == NULL) {
        *ret_first = p->first_token;
        *ret_n = p->n_tokens;
    } else {
        size_t first = 0;
        while (first < side->n_owners[row->group] && owners[first] != p->prompt) {
            first++;
        }
        size_t end = first;
        while (end < side->n_owners[row->group] && owners[end] == p->prompt) {
            end++;
        }
        *ret_first = first;
        *ret_n = end - first;
    }
}

// A run of rows of one dataset that is compared: of a pair of prompts, in one slab.
struct run {
    enum hw_dataset dataset;
    struct pair prompts;
    size_t slab_a;
    size_t slab_b;
};

static void write_place(struct hw_compare_line *line, const struct work *w, const struct run *run,
                        size_t row, size_t inner) {
    int axis = hw_schema_slab_axis(run->dataset);
    const struct hw_group_axes *axes =
        &hw_trace_layout(w->a.trace)->groups[hw_schema_row(run->dataset)->group];
    char slab[40] = "";
    if (axis >= 0) {
        bool is_depth = hw_schema_row(run->dataset)->axes[axis] == HW_AXIS_DEPTH;
        (void)snprintf(slab, sizeof slab, ", %s %d", is_depth ? "depth" : "layer",
                       (int)(is_depth ? axes->depths : axes->layers)[run->slab_a]);
    }
    (void)snprintf(line->place, sizeof line->place, "prompt %d%s, row %zu, value %zu",
                   (int)hw_trace_prompt(w->a.trace, run->prompts.a)->prompt, slab, row, inner);
}

// The place on b's recorded axis of a's slab, or -1.
static int64_t slab_of_b(const struct work *w, enum hw_dataset dataset, size_t slab) {
    int axis = hw_schema_slab_axis(dataset);
    const struct hw_schema_row *row = hw_schema_row(dataset);
    const struct hw_group_axes *axes = &hw_trace_layout(w->a.trace)->groups[row->group];
    if (axis < 0) {
        return 0;
    }
    bool is_depth = row->axes[axis] == HW_AXIS_DEPTH;
    return hw_trace_find(w->b.trace, row->group, row->axes[axis],
                         is_depth ? axes->depths[slab] : axes->layers[slab]);
}

// Scores of heads; not the means beside the statistics that they are of, whose ranks are the same.
static bool is_over_heads(const struct work *w, enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    bool is_mean = dataset > 0 && hw_schema_row((enum hw_dataset)(dataset - 1))->has_mean &&
                   hw_trace_has(w->a.trace, (enum hw_dataset)(dataset - 1));
    return !is_mean && row->n_axes == 3 && row->axes[1] == HW_AXIS_LAYER &&
           row->axes[2] == HW_AXIS_HEAD;
}

// Rows of one prompt in one slab.
static enum hw_status add_rows(struct work *w, struct hw_compare_line *line, const struct run *run,
                               struct hw_error *err) {
    enum hw_dataset dataset = run->dataset;
    size_t inner = hw_trace_n_inner(w->a.trace, dataset);
    size_t first_a, first_b, n_a, n_b;
    find_rows(&w->a, dataset, run->prompts.a, &first_a, &n_a);
    find_rows(&w->b, dataset, run->prompts.b, &first_b, &n_b);
    if (n_a != n_b) {
        line->skipped = "the numbers of rows of a prompt differ";
        line->is_unlike = true;
        return HW_OK;
    }
    size_t step = hw_size_max(1, CHUNK_VALUES / hw_size_max(inner, 1));
    if (inner > CHUNK_VALUES) {
        line->skipped = "its rows are too long";
        return HW_OK;
    }
    float *a = w->values;
    float *b = w->values + CHUNK_VALUES;
    for (size_t row = 0; row < n_a; row += step) {
        size_t n = hw_size_min(step, n_a - row);
        enum hw_status status =
            hw_trace_read_f32(w->a.trace, dataset, run->slab_a, first_a + row, n, a, err);
        status = status == HW_OK
                     ? hw_trace_read_f32(w->b.trace, dataset, run->slab_b, first_b + row, n, b, err)
                     : status;
        if (status != HW_OK) {
            return status;
        }
        for (size_t i = 0; i < n * inner; i++) {
            if (hw_compare_take(line, (double)a[i], (double)b[i])) {
                write_place(line, w, run, row + i / inner, i % inner);
            }
            size_t cell = run->slab_a * inner + i % inner;
            if (is_over_heads(w, dataset) && cell < w->n_cells && !isnan(a[i]) && !isnan(b[i])) {
                w->cells[cell] += (double)a[i];
                w->cells[w->n_cells + cell] += (double)b[i];
                w->cells[2 * w->n_cells + cell] += 1;
            }
        }
    }
    return HW_OK;
}

static void write_map_place(struct hw_compare_line *line, const struct work *w,
                            const struct run *run, size_t head, size_t query, size_t key) {
    const struct hw_group_axes *axes = &hw_trace_layout(w->a.trace)->groups[HW_GROUP_ATTENTION];
    (void)snprintf(line->place, sizeof line->place, "prompt %d, head %d.%d, query %zu, key %zu",
                   (int)hw_trace_prompt(w->a.trace, run->prompts.a)->prompt,
                   (int)axes->layers[run->slab_a], (int)axes->heads[head], query, key);
}

static enum hw_status add_maps(struct work *w, struct hw_compare_line *line, const struct run *run,
                               struct hw_error *err) {
    size_t n_tokens = hw_trace_prompt(w->a.trace, run->prompts.a)->n_tokens;
    size_t n_heads = hw_trace_layout(w->a.trace)->groups[HW_GROUP_ATTENTION].n_heads;
    size_t edge = hw_size_div_up(n_tokens, HW_MAP_TILE);
    float *a = w->values;
    float *b = w->values + CHUNK_VALUES;
    enum hw_status status = HW_OK;
    for (size_t at = 0; at < n_heads * edge * edge && status == HW_OK; at++) {
        size_t h = at / edge / edge;
        size_t first_query = at / edge % edge;
        size_t first_key = at % edge;
        struct hw_map_place place_a = {run->dataset, run->prompts.a, run->slab_a, h};
        struct hw_map_place place_b = {run->dataset, run->prompts.b, run->slab_b, h};
        status = hw_trace_read_tile(w->a.trace, &place_a, first_query, first_key, a, err);
        status = status == HW_OK
                     ? hw_trace_read_tile(w->b.trace, &place_b, first_query, first_key, b, err)
                     : status;
        for (size_t i = 0; i < HW_MAP_TILE * HW_MAP_TILE && status == HW_OK; i++) {
            size_t query = first_query * HW_MAP_TILE + i / HW_MAP_TILE;
            size_t key = first_key * HW_MAP_TILE + i % HW_MAP_TILE;
            if (query < n_tokens && key < n_tokens &&
                hw_compare_take(line, (double)a[i], (double)b[i])) {
                write_map_place(line, w, run, h, query, key);
            }
        }
    }
    return status;
}

static enum hw_status rank_line(struct work *w, struct hw_compare_line *line,
                                enum hw_dataset dataset, struct hw_error *err) {
    if (!is_over_heads(w, dataset)) {
        return HW_OK;
    }
    for (size_t cell = 0; cell < w->n_cells; cell++) {
        double n = w->cells[2 * w->n_cells + cell];
        w->cells[cell] = n > 0 ? w->cells[cell] / n : NAN;
        w->cells[w->n_cells + cell] = n > 0 ? w->cells[w->n_cells + cell] / n : NAN;
    }
    return hw_compare_ranks(line, w->cells, w->cells + w->n_cells, w->n_cells, w->options->top_k,
                            err);
}

// Heads and kv heads, whose numbers the inner places stand for, are the same.
static bool same_heads(const struct work *w, enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    enum hw_group group = row->group;
    bool is_over_heads = false;
    for (size_t i = 0; i < row->n_axes; i++) {
        is_over_heads =
            is_over_heads || row->axes[i] == HW_AXIS_HEAD || row->axes[i] == HW_AXIS_KV_HEAD;
    }
    if (!is_over_heads) {
        return true;
    }
    const struct hw_group_axes *a = &hw_trace_layout(w->a.trace)->groups[group];
    const struct hw_group_axes *b = &hw_trace_layout(w->b.trace)->groups[group];
    return a->n_heads == b->n_heads && a->n_kv_heads == b->n_kv_heads &&
           (a->n_heads == 0 || memcmp(a->heads, b->heads, a->n_heads * sizeof *a->heads) == 0) &&
           (a->n_kv_heads == 0 ||
            memcmp(a->kv_heads, b->kv_heads, a->n_kv_heads * sizeof *a->kv_heads) == 0);
}

static enum hw_status add_dataset(struct work *w, enum hw_dataset dataset, struct hw_error *err) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    bool is_map = hw_dataset_is_map(dataset);
    struct hw_compare_line *line = hw_compare_add_line(w->out);
    if (line == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to compare %s", row->name);
    }
    (void)snprintf(line->name, sizeof line->name, "%s%s%s", hw_group_name(row->group),
                   row->group == HW_GROUP_ROOT ? "" : "/", row->name);
    bool has_a = hw_trace_has(w->a.trace, dataset);
    if (!has_a || !hw_trace_has(w->b.trace, dataset)) {
        line->skipped = has_a ? "only in the first" : "only in the second";
        return HW_OK;
    }
    if (!same_heads(w, dataset) || (!is_map && hw_trace_n_inner(w->a.trace, dataset) !=
                                                   hw_trace_n_inner(w->b.trace, dataset))) {
        line->skipped = "its axes differ";
        line->is_unlike = true;
        return HW_OK;
    }
    memset(w->cells, 0, 3 * w->n_cells * sizeof *w->cells);
    enum hw_status status = load_owners(&w->a, dataset, err);
    status = status == HW_OK ? load_owners(&w->b, dataset, err) : status;
    size_t n_slabs = hw_trace_n_slabs(w->a.trace, dataset);
    size_t n_matched = 0;
    for (size_t slab = 0; slab < n_slabs && status == HW_OK; slab++) {
        int64_t other = slab_of_b(w, dataset, slab);
        n_matched += other >= 0;
        for (size_t i = 0; i < w->n_pairs && status == HW_OK && other >= 0; i++) {
            struct run run = {dataset, w->pairs[i], slab, (size_t)other};
            status = (is_map ? add_maps : add_rows)(w, line, &run, err);
        }
    }
    line->n_slabs_a = n_slabs - n_matched;
    line->n_slabs_b = hw_trace_n_slabs(w->b.trace, dataset) - n_matched;
    if (n_matched == 0) {
        line->skipped = "no layer or depth is in both";
    }
    return status == HW_OK ? rank_line(w, line, dataset, err) : status;
}

// What was recorded, in floats or short integers, by prompt: not the columns that the writer adds,
// nor texts, nor what belongs to the model.
static bool is_compared(const struct work *w, enum hw_dataset dataset) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    bool is_row =
        row->n_axes > 0 && (row->axes[0] == HW_AXIS_PROMPT || row->axes[0] == HW_AXIS_TOKEN ||
                            row->axes[0] == HW_AXIS_STEP || row->axes[0] == HW_AXIS_EVENT);
    return is_row && dataset != owner_column(dataset) && row->record[0] != '\0' &&
           row->element != HW_ELEMENT_VSTR && row->element != HW_ELEMENT_I8 &&
           (hw_trace_has(w->a.trace, dataset) || hw_trace_has(w->b.trace, dataset));
}

static void compare_models(struct work *w) {
    char *a = NULL;
    char *b = NULL;
    if (hw_trace_attribute(w->a.trace, HW_GROUP_PROVENANCE, "model_sha256", &a, NULL) == HW_OK &&
        hw_trace_attribute(w->b.trace, HW_GROUP_PROVENANCE, "model_sha256", &b, NULL) == HW_OK &&
        a[0] != '\0' && b[0] != '\0') {
        w->out->is_same_model = strcmp(a, b) == 0;
    }
    free(a);
    free(b);
}

static enum hw_status compare_opened(struct work *w, struct hw_error *err) {
    const struct hw_layout *layout = hw_trace_layout(w->a.trace);
    for (int g = 0; g < HW_N_GROUPS; g++) {
        w->n_cells =
            hw_size_max(w->n_cells, layout->groups[g].n_layers * layout->groups[g].n_heads);
    }
    w->values = malloc(2 * CHUNK_VALUES * sizeof *w->values);
    w->cells = calloc(3 * w->n_cells + 1, sizeof *w->cells);
    if (w->values == NULL || w->cells == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to compare");
    }
    compare_models(w);
    enum hw_status status = match_prompts(w, err);
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK && w->n_pairs > 0; i++) {
        if (is_compared(w, (enum hw_dataset)i)) {
            status = add_dataset(w, (enum hw_dataset)i, err);
        }
    }
    return status;
}

static void close_side(struct side *side) {
    for (int g = 0; g < HW_N_GROUPS; g++) {
        free(side->owners[g]);
    }
    hw_trace_close(&side->trace);
}

enum hw_status hw_compare_traces(const char *a, const char *b,
                                 const struct hw_compare_options *options,
                                 struct hw_compare *compare, struct hw_error *err) {
    struct work w = {.options = options, .out = compare};
    enum hw_status status = hw_trace_open(a, &w.a.trace, err);
    status = status == HW_OK ? hw_trace_open(b, &w.b.trace, err) : status;
    for (size_t i = 0; i < 2 && status == HW_OK; i++) {
        if (!hw_trace_is_complete(i == 0 ? w.a.trace : w.b.trace)) {
            status = hw_fail(err, HW_INPUT, "%s: is a part of a run (expected a finished capture)",
                             i == 0 ? a : b);
        }
    }
    status = status == HW_OK ? compare_opened(&w, err) : status;
    free(w.pairs);
    free(w.values);
    free(w.cells);
    close_side(&w.a);
    close_side(&w.b);
    return status;
}
