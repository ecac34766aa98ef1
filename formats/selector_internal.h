// Parsing of ranges, shared by selector.c (layers, heads) and positions.c.
#ifndef HW_SELECTOR_INTERNAL_H
#define HW_SELECTOR_INTERNAL_H

#include "formats/selector.h"

struct selector_range {
    size_t first;
    size_t last; // included
};

// Each moves *at past what it took. `whole` is the text it stands in, for messages. HW_USAGE.
enum hw_status hw_selector_number(const char **at, size_t *ret, struct hw_error *err,
                                  const char *whole);
enum hw_status hw_selector_range(const char **at, const char *whole, struct selector_range *ret,
                                 struct hw_error *err); // N or N-M
// A comma with something behind it, or the end.
enum hw_status hw_selector_separator(const char **at, const char *whole, struct hw_error *err);

#endif
