// What the text tables of the sink report share.
#ifndef HW_SINKS_TEXT_H
#define HW_SINKS_TEXT_H

#include <stddef.h>

#include "analysis/sinks.h"
#include "tools/table_numbers.h"

// Something and its size; sorted by qsort with sinks_compare_ranked, the largest first.
struct sinks_ranked {
    size_t at;
    double size;
};
int sinks_compare_ranked(const void *a, const void *b);

// Mean over the heads of a layer; cells [layer, n_heads] or NULL.
struct hw_mean sinks_over_heads(const struct hw_mean *cells, size_t layer, size_t n_heads);

// Dormancy by domain, where there are domains or triggers.
enum hw_status sinks_print_domains(const struct hw_sinks *sinks, size_t top, struct hw_error *err);

#endif
