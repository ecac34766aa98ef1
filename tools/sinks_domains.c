// Dormancy by domain as text, and what the tables of the sink report share.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/sinks_text.h"

int sinks_compare_ranked(const void *a, const void *b) {
    const struct sinks_ranked *x = a;
    const struct sinks_ranked *y = b;
    if (x->size != y->size) {
        return x->size < y->size ? 1 : -1;
    }
    return (x->at > y->at) - (x->at < y->at);
}

struct hw_mean sinks_over_heads(const struct hw_mean *cells, size_t layer, size_t n_heads) {
    struct hw_mean mean = {0};
    for (size_t h = 0; h < n_heads && cells != NULL; h++) {
        if (cells[layer * n_heads + h].n > 0) {
            hw_mean_add(&mean, hw_mean_value(&cells[layer * n_heads + h]));
        }
    }
    return mean;
}

// The domains where a head is most and least dormant.
struct contrast {
    size_t high;
    size_t low;
    double difference; // NaN: fewer than two domains have a value
};

static struct contrast contrast_of(const struct hw_sinks *sinks, size_t cell) {
    size_t n_cells = sinks->n_layers * sinks->n_heads;
    struct contrast c = {SIZE_MAX, SIZE_MAX, NAN};
    for (size_t d = 0; d < sinks->n_domains; d++) {
        double value = hw_mean_value(&sinks->dormancy[d * n_cells + cell]);
        if (isnan(value)) {
            continue;
        }
        if (c.high == SIZE_MAX ||
            value > hw_mean_value(&sinks->dormancy[c.high * n_cells + cell])) {
            c.high = d;
        }
        if (c.low == SIZE_MAX || value < hw_mean_value(&sinks->dormancy[c.low * n_cells + cell])) {
            c.low = d;
        }
    }
    if (c.high != c.low) {
        c.difference = hw_mean_value(&sinks->dormancy[c.high * n_cells + cell]) -
                       hw_mean_value(&sinks->dormancy[c.low * n_cells + cell]);
    }
    return c;
}

static const char *domain_name(const struct hw_sinks *sinks, size_t d) {
    return sinks->domains[d].name[0] != '\0' ? sinks->domains[d].name : "(none)";
}

static enum hw_status print_contrasts(const struct hw_sinks *sinks, size_t top,
                                      struct hw_error *err) {
    size_t n_cells = sinks->n_layers * sinks->n_heads;
    struct sinks_ranked *ranked = calloc(n_cells + 1, sizeof *ranked);
    size_t n = 0;
    if (ranked == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to sort %zu heads", n_cells);
    }
    for (size_t cell = 0; cell < n_cells; cell++) {
        struct contrast c = contrast_of(sinks, cell);
        if (!isnan(c.difference)) {
            ranked[n++] = (struct sinks_ranked){cell, c.difference};
        }
    }
    qsort(ranked, n, sizeof *ranked, sinks_compare_ranked);
    struct hw_table *table =
        hw_table_open("head|<~dormant on|attention to first|<~active on|attention to first|less");
    for (size_t i = 0; i < n && i < top; i++) {
        size_t cell = ranked[i].at;
        struct contrast c = contrast_of(sinks, cell);
        hw_table_cell(table, "%" PRId32 ".%" PRId32, sinks->layers[cell / sinks->n_heads],
                      sinks->heads[cell % sinks->n_heads]);
        hw_table_cell(table, "%s", domain_name(sinks, c.high));
        hw_table_mean(table, "%.3f", &sinks->dormancy[c.high * n_cells + cell]);
        hw_table_cell(table, "%s", domain_name(sinks, c.low));
        hw_table_mean(table, "%.3f", &sinks->dormancy[c.low * n_cells + cell]);
        hw_table_number(table, "%.3f", c.difference);
    }
    free(ranked);
    (void)fputs("\nheads that differ most between domains (dormant: attends to the first token)\n",
                stdout);
    return hw_table_end(&table, n, err);
}

enum hw_status sinks_print_domains(const struct hw_sinks *sinks, size_t top, struct hw_error *err) {
    size_t n_cells = sinks->n_layers * sinks->n_heads;
    if (sinks->are_domains_folded) {
        (void)printf("\nmore than %d domains: taken as one\n", (int)HW_SINKS_MAX_DOMAINS);
    }
    if (sinks->n_domains < 2 && sinks->dormancy_trigger == NULL) {
        return HW_OK;
    }
    struct hw_table *table = hw_table_open("<~domain|prompts|<T|attention to first|of triggers");
    for (size_t d = 0; d < sinks->n_domains; d++) {
        const struct hw_sinks_domain *domain = &sinks->domains[d];
        struct hw_mean all = sinks_over_heads(sinks->dormancy + d * n_cells, 0, n_cells);
        struct hw_mean trigger = sinks_over_heads(
            sinks->dormancy_trigger != NULL ? sinks->dormancy_trigger + d * n_cells : NULL, 0,
            n_cells);
        hw_table_cell(table, "%s", domain_name(sinks, d));
        hw_table_cell(table, "%zu", domain->n_prompts);
        if (domain->min_tokens == domain->max_tokens) {
            hw_table_cell(table, "%zu", domain->max_tokens);
        } else {
            hw_table_cell(table, "%zu to %zu", domain->min_tokens, domain->max_tokens);
        }
        hw_table_mean(table, "%.3f", &all);
        hw_table_mean(table, "%.3f", &trigger);
    }
    (void)fputs("\nby domain: mean attention to the first token, over queries, heads and prompts\n",
                stdout);
    enum hw_status status = hw_table_end(&table, sinks->n_domains, err);
    return status == HW_OK && sinks->n_domains > 1 ? print_contrasts(sinks, top, err) : status;
}
