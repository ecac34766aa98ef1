// Relevance as text; see relevance.h.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/flow.h"
#include "kernels/size.h"
#include "tools/relevance.h"
#include "tools/report.h"
#include "tools/table.h"

enum { BAR_COLUMNS = 30 };

struct ranked {
    size_t position;
    double value;
};

static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a;
    const struct ranked *y = b;
    if (x->value != y->value) {
        return x->value < y->value ? 1 : -1;
    }
    return (x->position > y->position) - (x->position < y->position);
}

static void print_head(const struct hw_relevance_kind *kind, const struct hw_relevance_job *job) {
    size_t least = SIZE_MAX;
    for (size_t p = 0; p < job->n_prompts; p++) {
        size_t n = job->prompts[p].n_tokens;
        least = n > 0 ? hw_size_min(least, n) : least;
    }
    size_t n_prompts = job->n_prompts - job->n_failed;
    (void)printf("%s%s: %zu prompt%s", job->report->index > 0 ? "\n" : "",
                 hw_trace_path(job->report->trace), n_prompts, n_prompts == 1 ? "" : "s");
    if (job->n_failed > 0) {
        (void)printf(" (%zu failed left out)", job->n_failed);
    }
    if (n_prompts > 0 && least == job->max_tokens) {
        (void)printf(", T = %zu", least);
    } else if (n_prompts > 0) {
        (void)printf(", T = %zu to %zu", least, job->max_tokens);
    }
    (void)printf("\n%s over %zu layers, ", kind->name, hw_map_source_n_layers(job->source));
    if (job->maps.reduce == HW_HEADS_ONE) {
        (void)printf("head %" PRId32 " of each", job->maps.head);
    } else {
        (void)printf("%s of %zu heads", job->options->reduce, hw_map_source_n_heads(job->source));
    }
    if (job->maps.is_raw) {
        (void)printf(", no residual");
    } else {
        (void)printf(", residual %g", job->maps.residual);
    }
    (void)printf("; from %s\n", hw_map_source_record(job->source));
}

// The prompt's tokens as text, or NULL where they are not recorded.
static enum hw_status read_tokens(const struct hw_relevance_job *job, size_t prompt, size_t n,
                                  char ***ret_texts, struct hw_error *err) {
    *ret_texts = NULL;
    if (!hw_trace_has(job->report->trace, HW_DS_TOKEN_TEXT)) {
        return HW_OK;
    }
    size_t first = hw_trace_prompt(job->report->trace, prompt)->first_token;
    return hw_trace_read_text(job->report->trace, HW_DS_TOKEN_TEXT, first, n, ret_texts, err);
}

static enum hw_status print_tokens(const struct hw_relevance_kind *kind,
                                   const struct hw_relevance_job *job, const struct ranked *ranked,
                                   size_t n, const double *shares, char *const *texts,
                                   struct hw_error *err) {
    struct hw_table *table = hw_table_open(
        kind->is_normalised_apart ? "position|<~token|flow|share|<" : "position|<~token|rollout|<");
    for (size_t i = 0; i < n && i < job->options->top; i++) {
        char bar[BAR_COLUMNS + 1];
        size_t position = ranked[i].position;
        double whole = ranked[0].value > 0 ? ranked[i].value / ranked[0].value : 0;
        size_t n_marks = (size_t)(whole * BAR_COLUMNS + .5);
        memset(bar, '#', n_marks);
        bar[n_marks] = '\0';
        hw_table_cell(table, "%zu", position);
        hw_table_cell(table, "%s", texts != NULL ? texts[position] : "-");
        hw_table_cell(table, "%.4g", ranked[i].value);
        if (kind->is_normalised_apart && isnan(shares[position])) {
            hw_table_cell(table, "-");
        } else if (kind->is_normalised_apart) {
            hw_table_cell(table, "%.4g", shares[position]);
        }
        hw_table_cell(table, "%s", bar);
    }
    enum hw_status status = hw_table_print(table, stdout, 2, err);
    hw_table_close(&table);
    if (status == HW_OK && n > job->options->top) {
        (void)printf("  and %zu more (--top, --json)\n", (size_t)(n - job->options->top));
    }
    return status;
}

static void print_rho(const struct hw_relevance_job *job, const struct hw_relevance *r) {
    if (job->reference == NULL) {
        return;
    }
    if (isnan(r->rho_dense)) {
        (void)printf("  rank correlation with %s: - (no values, or all equal)\n",
                     job->options->reference);
    } else {
        (void)printf("  rank correlation with %s: %.4f (dense ranks), %.4f (average ranks)\n",
                     job->options->reference, r->rho_dense, r->rho_average);
    }
}

// One prompt: the most relevant tokens for its first query after the last chosen layer.
static enum hw_status print_prompt(const struct hw_relevance_kind *kind,
                                   const struct hw_relevance_job *job, const struct hw_relevance *r,
                                   struct hw_error *err) {
    size_t query = r->queries[0];
    bool is_highest = job->options->relevance == 1 && r->highest != NULL;
    size_t n = is_highest ? r->n_tokens : query + 1;
    char **texts = NULL;
    char shown[100];
    const char *name = hw_trace_prompt(job->report->trace, r->prompt)->name;
    (void)printf("\n%s (T = %zu): ", hw_escape(shown, sizeof shown, name, strlen(name)),
                 r->n_tokens);
    if (query == SIZE_MAX && !is_highest) {
        (void)printf("has no token %" PRId32 "\n", job->query_numbers[0]);
        return HW_OK;
    }
    struct ranked *ranked = calloc(n + 1, sizeof *ranked);
    double *shares = calloc(n + 1, sizeof *shares);
    enum hw_status status = read_tokens(job, r->prompt, r->n_tokens, &texts, err);
    if (status == HW_OK && (ranked == NULL || shares == NULL)) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a table of %zu tokens", n);
    }
    if (status == HW_OK) {
        const double *values = hw_relevance_shown(job, r);
        for (size_t i = 0; i < n; i++) {
            ranked[i] = (struct ranked){i, values[i]};
            shares[i] = values[i];
        }
        hw_flow_normalise(shares, n);
        qsort(ranked, n, sizeof *ranked, compare_ranked);
        const char *text = texts != NULL && !is_highest ? texts[query] : "";
        if (is_highest) {
            (void)printf("largest over all tokens");
        } else {
            (void)printf("token %zu %s", query, hw_escape(shown, sizeof shown, text, strlen(text)));
        }
        (void)printf(" after layer %zu\n", job->layers[job->n_layers - 1]);
        status = print_tokens(kind, job, ranked, n, shares, texts, err);
        print_rho(job, r);
    }
    if (texts != NULL) {
        hw_trace_free_text(texts, r->n_tokens);
    }
    free(ranked);
    free(shares);
    return status;
}

enum hw_status hw_relevance_print(const struct hw_relevance_kind *kind,
                                  const struct hw_relevance_job *job, struct hw_error *err) {
    enum hw_status status = HW_OK;
    print_head(kind, job);
    for (size_t p = 0; p < job->n_prompts && status == HW_OK; p++) {
        if (job->prompts[p].n_tokens > 0) {
            status = print_prompt(kind, job, &job->prompts[p], err);
        }
    }
    return status;
}
