// Whether two captures hold the same bits for a prompt.
#ifndef HW_SAME_ROWS_H
#define HW_SAME_ROWS_H

#include "run_capture.h"

// Compares, of every dataset that both captures have, the rows of the prompt: of those tokens, of
// those layers, depths and heads that `part` recorded; what `part` has no value for must be NaN or
// -1 there. Columns that say where a prompt stands in its file are left out, and what only one of
// them has. Returns how many values were the same, aborts the test at the first that is not.
size_t same_rows(const struct run *whole, size_t whole_prompt, const struct run *part,
                 size_t part_prompt);
// The same of the token rows of a prompt that is the beginning of another one: what is per key or
// per prompt is left out, since later tokens add to it.
size_t same_beginnings(const struct run *whole, size_t whole_prompt, const struct run *part,
                       size_t part_prompt);

#endif
