// Memory that runs out on demand. A test that links with failing_malloc_dep has malloc, calloc,
// realloc, strdup and strndup of our own code replaced; libraries keep theirs.
#ifndef HW_TESTS_FAILING_MALLOC_H
#define HW_TESTS_FAILING_MALLOC_H

#include <stdbool.h>
#include <stddef.h>

// From now on the n-th allocation (from 0) fails, and with it all later ones.
void failing_malloc_after(size_t n);
// Allocations work again; true where one has failed since.
bool failing_malloc_stop(void);

#endif
