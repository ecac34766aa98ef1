// A small capture made up for tests: every dataset of the schema, values that depend on the prompt
// alone, and the identities that verify checks (rows sum to attention_row_sum, pattern @ v = z, the
// residual adds up, means are means).
#ifndef HW_SYNTHETIC_H
#define HW_SYNTHETIC_H

#include <stddef.h>
#include <stdint.h>

#include "formats/destination.h"
#include "formats/schema.h"

enum { SYNTHETIC_PROMPTS = 8 };

// Lengths 5, 130, 1, failed, 17 (2 generated), 257, 40, 3. Everything is recorded; maps as
// map_element (f2, f4 or u2).
void synthetic_layout(struct hw_layout *layout, enum hw_element map_element);

// Plays prompts first .. end into a destination, flushing after every layer; means are then those
// of these prompts. Asserts that each call succeeds.
void synthetic_play(struct hw_destination *destination, const struct hw_layout *layout,
                    int32_t first, int32_t end);
int32_t synthetic_n_tokens(int32_t prompt);

// The value of a dataset that obeys no identity, row `row` of the prompt, value i of the row;
// integers are below 100.
float synthetic_value(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row, size_t i);
// A[query, key] of the synthetic pattern in f32.
float synthetic_pattern(int32_t prompt, size_t layer, size_t head, size_t query, size_t key);

#endif
