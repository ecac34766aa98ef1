// The sites that golden files hold, and what each compares in a capture.
#ifndef HW_GOLDEN_SITES_H
#define HW_GOLDEN_SITES_H

#include "golden_file.h"
#include "run_capture.h"

struct golden_site {
    const char *name;
    enum hw_dataset dataset; // HW_N_DATASETS: not in a capture, seen by an observer
    bool is_absolute;
};

enum { N_GOLDEN_SITES = 10 };
extern const struct golden_site golden_sites[N_GOLDEN_SITES];

// The error of a prompt's rows at a site by the rule of the golden files, over what the golden has
// under `prefix`; -1 where it has nothing. ret_by_layer (may be NULL): [layer] the same of each.
double golden_site_error(const struct golden_site *site, const struct run *run, size_t prompt,
                         const struct golden *golden, const char *prefix, double *ret_by_layer);
// The same at the final norm.
double golden_final_error(const struct run *run, size_t prompt, enum hw_level level,
                          const struct golden *golden, const char *prefix);

// Index of a value on a recorded axis; asserts that it is there.
size_t golden_index(const int32_t *axis, size_t n, size_t value);

#endif
