// What a sweep changes together: single heads, key/value heads, layers, named groups, the first k
// of an order, and random heads beside them.
#ifndef HW_SWEEP_UNITS_H
#define HW_SWEEP_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"
#include "tracer/edit.h"
#include "tracer/model.h"

struct hw_sweep_unit {
    char *name; // "9.6", "kv 3.1", "mlp 7", "top5", "random3 of 5", a group's name, "as given"
    int32_t layer, head;        // -1 where the unit is not in one layer, not one query head
    enum hw_edit_target target; // NONE: "as given", for edits that have their own
    bool *selected;             // [n_layers, n_heads] (HEAD, KV) or [n_layers] (ATTN, MLP)
    size_t record; // units with the same number are committed together: those of one layer
};

struct hw_sweep_units {
    struct hw_sweep_unit *items;
    size_t n;
    size_t n_records;
    bool is_heads; // every unit is one query head: the result has axes layer and head
};

// Each of these adds units to what is there (all zero: none). HW_USAGE, or HW_INPUT for files, says
// what does not exist; messages begin with `option`.

// Each selected head alone; with is_only the other heads of its layer in its place (Michel et al.'s
// all but one).
enum hw_status hw_sweep_units_add_heads(struct hw_sweep_units *units,
                                        const struct hw_model_desc *desc, const char *selector,
                                        bool is_only, struct hw_error *err);
enum hw_status hw_sweep_units_add_kv_heads(struct hw_sweep_units *units,
                                           const struct hw_model_desc *desc, const char *selector,
                                           struct hw_error *err);
// target: HW_TARGET_ATTN or HW_TARGET_MLP.
enum hw_status hw_sweep_units_add_layers(struct hw_sweep_units *units,
                                         const struct hw_model_desc *desc,
                                         enum hw_edit_target target, const char *selector,
                                         struct hw_error *err);
// A JSON object: name to selector of heads, or to a list of them.
enum hw_status hw_sweep_units_add_groups(struct hw_sweep_units *units,
                                         const struct hw_model_desc *desc, const char *path,
                                         struct hw_error *err);

struct hw_sweep_sets {
    const char *selector; // heads in order
    const size_t *sizes;  // [n_sizes]; none: all of them together
    size_t n_sizes;
    size_t n_controls; // random sets for each size
    uint64_t seed;
};
// The first k heads of the selector for each size k ("top5"), and for each n_controls sets of k
// other heads ("random3 of 5"), drawn without any head of the largest set.
enum hw_status hw_sweep_units_add_sets(struct hw_sweep_units *units,
                                       const struct hw_model_desc *desc,
                                       const struct hw_sweep_sets *sets, struct hw_error *err);
// "as given".
enum hw_status hw_sweep_units_add_given(struct hw_sweep_units *units, struct hw_error *err);

void hw_sweep_units_free(struct hw_sweep_units *units);

// k of the n numbers at `from` at random, moved to its front in the order drawn: the first k steps
// of a Fisher-Yates shuffle with numbers of SplitMix64 (Steele, Lea, Flood 2014), a number below m
// being the high half of the product with m. The same on every machine.
void hw_random_pick(uint64_t seed, size_t *from, size_t n, size_t k);

#endif
