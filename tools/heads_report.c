// Heads as text; see heads_report.h.
#include "tools/heads_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/options.h"
#include "tools/report.h"
#include "tools/table_numbers.h"

enum { N_PAIRS_SHOWN = 10 };

static size_t n_cells(const struct hw_heads *heads) {
    return heads->n_layers * heads->n_heads;
}

static double value_of(const struct hw_heads *heads, size_t measure, size_t cell) {
    return heads->scores.mean[measure * n_cells(heads) + cell];
}

struct ranked {
    size_t cell;
    double score;
};

static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a;
    const struct ranked *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? 1 : -1;
    }
    return (x->cell > y->cell) - (x->cell < y->cell);
}

size_t *hw_heads_order(const struct heads_view *view, size_t *ret_n) {
    const struct hw_heads *heads = view->heads;
    struct ranked *ranked = calloc(n_cells(heads) + 1, sizeof *ranked);
    size_t *order = calloc(n_cells(heads) + 1, sizeof *order);
    size_t n = 0;
    for (size_t cell = 0; cell < n_cells(heads) && ranked != NULL; cell++) {
        if (heads->type[cell] < HW_N_HEADS_TYPES &&
            (view->type == HW_HEADS_ANY_TYPE || heads->type[cell] == view->type)) {
            double score =
                view->by == HW_HEADS_BY_POSITION ? 0 : value_of(heads, (size_t)view->by, cell);
            ranked[n++] = (struct ranked){cell, isnan(score) ? -INFINITY : score};
        }
    }
    if (ranked != NULL && order != NULL) {
        qsort(ranked, n, sizeof *ranked, compare_ranked);
        for (size_t i = 0; i < n; i++) {
            order[i] = ranked[i].cell;
        }
    } else {
        free(order);
        order = NULL;
    }
    free(ranked);
    *ret_n = n;
    return order;
}

static void print_head(const struct hw_trace *trace, const struct hw_heads *heads) {
    hw_print_text(hw_trace_path(trace));
    (void)printf(": %zu prompt%s", heads->n_prompts, heads->n_prompts == 1 ? "" : "s");
    if (heads->n_skipped > 0) {
        (void)printf(" (%zu failed or of one token left out)", heads->n_skipped);
    }
    if (heads->min_tokens == heads->max_tokens) {
        (void)printf(", T = %zu\n", heads->max_tokens);
    } else {
        (void)printf(", T = %zu to %zu (means over prompts; all depend on T)\n", heads->min_tokens,
                     heads->max_tokens);
    }
}

static void print_types(const struct hw_heads *heads) {
    const struct hw_heads_rules *r = &heads->options.rules;
    size_t counts[HW_N_HEADS_TYPES + 1] = {0};
    size_t n = 0;
    for (size_t cell = 0; cell < n_cells(heads); cell++) {
        counts[heads->type[cell]]++;
        n += heads->type[cell] < HW_N_HEADS_TYPES;
    }
    (void)printf("types of %zu head%s:", n, n == 1 ? "" : "s");
    const char *comma = "";
    for (int t = 0; t < HW_N_HEADS_TYPES; t++) {
        if (counts[t] > 0) {
            (void)printf("%s %s %zu", comma, hw_heads_type_name((enum hw_heads_type)t), counts[t]);
            comma = ",";
        }
    }
    (void)printf("\n  rules, the last that holds: self > %g, previous > %g, entropy > %g (broad),\n"
                 "  first > %g, special > %g, punctuation > %g\n\n",
                 r->self, r->previous, r->broad, r->first, r->special, r->punctuation);
}

static enum hw_status print_rows(const struct heads_view *view, struct hw_error *err) {
    static const enum hw_heads_measure shares[] = {HW_HEADS_PREVIOUS, HW_HEADS_FIRST, HW_HEADS_SELF,
                                                   HW_HEADS_SPECIAL, HW_HEADS_PUNCTUATION};
    const struct hw_heads *heads = view->heads;
    size_t n = 0;
    size_t *order = hw_heads_order(view, &n);
    struct hw_table *table = hw_table_open(
        heads->maps != NULL ? "head|<~type|entropy|prev|first|self|spec|punct|dist|off|top-p"
                            : "head|<~type|entropy|prev|first|self|spec|punct|dist|off");
    for (size_t i = 0; order != NULL && i < n && i < view->top; i++) {
        size_t cell = order[i];
        hw_table_cell(table, "%" PRId32 ".%" PRId32, heads->layers[cell / heads->n_heads],
                      heads->heads[cell % heads->n_heads]);
        hw_table_cell(table, "%s", hw_heads_type_name((enum hw_heads_type)heads->type[cell]));
        hw_table_number(table, "%.2f", value_of(heads, HW_HEADS_ENTROPY, cell));
        for (size_t s = 0; s < HW_LENGTH(shares); s++) {
            hw_table_number(table, "%.2f", value_of(heads, shares[s], cell));
        }
        hw_table_number(table, "%.1f", value_of(heads, HW_HEADS_DISTANCE, cell));
        hw_table_cell(table, "%" PRId32, heads->best_offset[cell]);
        if (heads->maps != NULL) {
            hw_table_number(table, "%.1f", value_of(heads, HW_HEADS_TOP_P, cell));
        }
    }
    enum hw_status status = order == NULL ? hw_fail(err, HW_RESOURCE, "not enough memory")
                            : n > 0       ? hw_table_print(table, stdout, 0, err)
                                          : HW_OK;
    hw_table_close(&table);
    free(order);
    if (status == HW_OK && n == 0) {
        (void)fputs("no head of this type\n", stdout);
    } else if (status == HW_OK && n > view->top) {
        (void)printf("and %zu more (--top, --json)\n", n - view->top);
    }
    return status;
}

struct pair {
    size_t u;
    size_t v;
    double distance;
};

static int compare_pairs(const void *a, const void *b) {
    const struct pair *x = a;
    const struct pair *y = b;
    if (isnan(x->distance) != isnan(y->distance)) {
        return isnan(x->distance) ? 1 : -1;
    }
    if (x->distance != y->distance && !isnan(x->distance)) {
        return x->distance > y->distance ? 1 : -1;
    }
    return x->u != y->u ? (x->u > y->u) - (x->u < y->u) : (x->v > y->v) - (x->v < y->v);
}

// All pairs, the closest first; from malloc.
static struct pair *sort_pairs(const struct hw_distances *distances) {
    size_t n = distances->n_heads;
    struct pair *pairs = calloc(distances->work.n_pairs + 1, sizeof *pairs);
    size_t at = 0;
    for (size_t u = 1; u < n && pairs != NULL; u++) {
        for (size_t v = 0; v < u; v++) {
            pairs[at++] = (struct pair){v, u, hw_mean_value(&distances->per_row[u * n + v])};
        }
    }
    if (pairs != NULL) {
        qsort(pairs, at, sizeof *pairs, compare_pairs);
    }
    return pairs;
}

static enum hw_status print_distances(const struct hw_distances *d, struct hw_error *err) {
    struct pair *pairs = sort_pairs(d);
    if (pairs == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu pairs", d->work.n_pairs);
    }
    struct hw_mean means[2] = {0}; // across layers, within one
    for (size_t i = 0; i < d->work.n_pairs; i++) {
        bool is_same = d->layers[pairs[i].u] == d->layers[pairs[i].v];
        if (!isnan(pairs[i].distance)) {
            hw_mean_add(&means[is_same], pairs[i].distance);
        }
    }
    (void)printf("\nJensen-Shannon distances of %zu pairs over %zu of %zu rows,\nnats a row, mean "
                 "of the prompts\n",
                 d->work.n_pairs, d->work.n_rows, d->work.n_all_rows);
    for (int is_same = 1; is_same >= 0; is_same--) {
        if (means[is_same].n > 0) {
            (void)printf("  mean %s %.4f (%zu pairs)\n",
                         is_same ? "within a layer" : "across layers", means[is_same].mean,
                         means[is_same].n);
        }
    }
    struct hw_table *table = hw_table_open("closest|with|distance|se");
    for (size_t i = 0; i < d->work.n_pairs && i < N_PAIRS_SHOWN; i++) {
        hw_table_cell(table, "%" PRId32 ".%" PRId32, d->layers[pairs[i].u], d->heads[pairs[i].u]);
        hw_table_cell(table, "%" PRId32 ".%" PRId32, d->layers[pairs[i].v], d->heads[pairs[i].v]);
        hw_table_number(table, "%.5f", pairs[i].distance);
        hw_table_number(table, "%.5f",
                        hw_mean_se(&d->per_row[pairs[i].u * d->n_heads + pairs[i].v]));
    }
    enum hw_status status = hw_table_print(table, stdout, 2, err);
    hw_table_close(&table);
    free(pairs);
    if (status == HW_OK && d->n_bad_prompts > 0) {
        (void)printf(
            "  %zu prompt%s with negative weights: those heads' distances left out there\n",
            d->n_bad_prompts, d->n_bad_prompts == 1 ? "" : "s");
    }
    return status;
}

enum hw_status hw_heads_print(const struct hw_trace *trace, const struct heads_view *view,
                              struct hw_error *err) {
    const struct hw_heads *heads = view->heads;
    print_head(trace, heads);
    if (heads->n_prompts == 0) {
        (void)printf("no prompt has two tokens or more, so there is nothing to say of heads\n");
        return HW_OK;
    }
    print_types(heads);
    enum hw_status status = print_rows(view, err);
    bool has_special = false;
    for (size_t cell = 0; cell < n_cells(heads); cell++) {
        has_special |= !isnan(value_of(heads, HW_HEADS_SPECIAL, cell));
    }
    if (status == HW_OK && !has_special) {
        (void)fputs("spec: no special tokens in the prompts\n", stdout);
    }
    if (status == HW_OK && heads->maps != NULL) {
        (void)printf("top-p: keys that hold %g of the row, from %s\n", heads->options.top_p,
                     heads->maps);
    }
    if (status == HW_OK && heads->n_infinite > 0) {
        (void)printf("%zu value%s of prompts and heads infinite (a spoiled capture): left out\n",
                     heads->n_infinite, heads->n_infinite == 1 ? " is" : "s are");
    }
    if (status == HW_OK && heads->n_bad_maps > 0) {
        (void)printf("%zu map%s negative weights (a spoiled capture): left out\n",
                     heads->n_bad_maps, heads->n_bad_maps == 1 ? " has" : "s have");
    }
    if (status == HW_OK && view->distances != NULL) {
        status = print_distances(view->distances, err);
    }
    return status;
}
