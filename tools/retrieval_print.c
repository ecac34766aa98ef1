// Retrieval heads as text; see retrieval_report.h.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"
#include "tools/report.h"
#include "tools/retrieval_report.h"
#include "tools/table.h"

static const char *plural(size_t n) {
    return n == 1 ? "" : "s";
}

// "0.87", "-" for NaN.
static void cell_number(struct hw_table *table, const char *format, double value) {
    char text[32];
    (void)snprintf(text, sizeof text, format, value);
    hw_table_cell(table, "%s", isnan(value) ? "-" : text);
}

static void print_left_out(size_t n, const char *why) {
    if (n > 0) {
        (void)printf("  %zu left out: %s\n", n, why);
    }
}

static void print_head(const struct hw_trace *trace, const struct hw_retrieval *r) {
    hw_print_text(hw_trace_path(trace));
    (void)printf(": %zu trial%s", r->n_kept + r->n_wrong + r->n_not_found,
                 plural(r->n_kept + r->n_wrong + r->n_not_found));
    if (r->n_kept + r->n_wrong > 0 && r->min_tokens == r->max_tokens) {
        (void)printf(", T = %zu", r->min_tokens);
    } else if (r->n_kept + r->n_wrong > 0) {
        (void)printf(", T = %zu to %zu", r->min_tokens, r->max_tokens);
    }
    (void)printf("; %zu kept (ROUGE-1 recall above %g %%)\n", r->n_kept, r->options.min_rouge);
    print_left_out(r->n_not_found, "the needle is not in the prompt");
    print_left_out(r->n_no_trial, "the prompt says no answer, so it is no trial");
    print_left_out(r->n_failed, "failed, cut, or nothing generated");
}

static enum hw_status print_trials(const struct hw_trace *trace, const struct hw_retrieval *r,
                                   size_t top, struct hw_error *err) {
    static const char *const states[] = {"yes", "no", "no needle", "no trial", "failed"};
    struct hw_table *table = hw_table_open("<~trial|T|ROUGE|<kept|<~response");
    for (size_t i = 0; i < r->n_prompts && i < top; i++) {
        const struct hw_retrieval_trial *t = &r->trials[i];
        char shown[80];
        const char *response = t->response != NULL ? t->response : "";
        hw_table_cell(table, "%s", hw_trace_prompt(trace, i)->name);
        hw_table_cell(table, "%zu", hw_trace_prompt(trace, i)->n_prompt_tokens);
        cell_number(table, "%.1f", t->rouge);
        hw_table_cell(table, "%s", states[t->state]);
        hw_table_cell(
            table, "%s",
            response[0] != '\0' ? hw_escape(shown, sizeof shown, response, strlen(response)) : "-");
    }
    (void)fputs("\ntrials\n", stdout);
    enum hw_status status = hw_table_print(table, stdout, 2, err);
    hw_table_close(&table);
    if (r->n_prompts > top) {
        (void)printf("  and %zu more (--top, --json)\n", r->n_prompts - top);
    }
    return status;
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

static void add_row(struct hw_table *table, const struct hw_retrieval *r, int measure,
                    size_t cell) {
    size_t n_cells = r->n_layers * r->n_heads;
    const double *score = r->score;
    hw_table_cell(table, "%" PRId32 ".%" PRId32, r->layers[cell / r->n_heads],
                  r->heads[cell % r->n_heads]);
    cell_number(table, "%.3f", score[(size_t)measure * n_cells + cell]);
    cell_number(table, "%.3f", r->se[(size_t)measure * n_cells + cell]);
    for (size_t m = 0; m < HW_RETRIEVAL_N_MEASURES; m++) {
        if (m != (size_t)measure) {
            cell_number(table, "%.3f", score[m * n_cells + cell]);
        }
    }
    hw_table_cell(table, "%" PRId64, r->n_hits[cell]);
    hw_table_cell(table, "%" PRId64 " of %" PRId64, r->n_hit_trials[cell],
                  r->n_scored[(size_t)measure * n_cells + cell]);
}

static enum hw_status print_heads(const struct retrieval_options *opt, const struct hw_retrieval *r,
                                  struct hw_error *err) {
    static const char *const columns[] = {"head|hits|se|set|positions|all hits|trials with a hit",
                                          "head|set|se|hits|positions|all hits|trials with a hit",
                                          "head|positions|se|hits|set|all hits|trials with a hit"};
    size_t n_cells = r->n_layers * r->n_heads, n = 0;
    struct ranked *ranked = calloc(n_cells + 1, sizeof *ranked);
    struct hw_table *table = hw_table_open(columns[opt->measure]);
    for (size_t cell = 0; ranked != NULL && cell < n_cells; cell++) {
        double score = r->score[(size_t)opt->measure * n_cells + cell];
        if (score > 0) {
            ranked[n++] = (struct ranked){cell, score};
        }
    }
    if (ranked == NULL) {
        hw_table_close(&table);
        return hw_fail(err, HW_RESOURCE, "not enough memory");
    }
    qsort(ranked, n, sizeof *ranked, compare_ranked);
    for (size_t i = 0; i < n && i < opt->top; i++) {
        add_row(table, r, opt->measure, ranked[i].cell);
    }
    (void)fputs("\nheads with the largest scores (mean over kept trials)\n", stdout);
    enum hw_status status = n > 0 ? hw_table_print(table, stdout, 2, err) : HW_OK;
    if (n == 0) {
        (void)fputs("  no head has a hit\n", stdout);
    }
    hw_table_close(&table);
    free(ranked);
    return status;
}

enum hw_status retrieval_print(const struct hw_analysis_report *report,
                               const struct retrieval_options *opt, const struct hw_retrieval *r,
                               struct hw_error *err) {
    if (report->index > 0) {
        (void)fputc('\n', stdout);
    }
    print_head(report->trace, r);
    enum hw_status status = HW_OK;
    if (r->n_kept > 0) {
        struct retrieval_shares s = retrieval_count(r, opt->measure, opt->threshold);
        double n = (double)hw_size_max(s.n_heads, 1);
        (void)printf("of %zu heads: %zu retrieval heads (score >= %g, %.1f %%), %zu strong (>= .5, "
                     "%.1f %%),\n  %zu without any hit (%.1f %%)\n",
                     s.n_heads, s.n_retrieval, opt->threshold, 100 * (double)s.n_retrieval / n,
                     s.n_strong, 100 * (double)s.n_strong / n, s.n_zero,
                     100 * (double)s.n_zero / n);
        status = print_heads(opt, r, err);
    }
    if (status == HW_OK && (opt->trials || r->n_kept == 0)) {
        status = print_trials(report->trace, r, opt->top, err);
    }
    return status;
}
