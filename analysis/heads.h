// What every head does on ordinary text: where its attention goes, how concentrated it is, and a
// type by stated rules.
//
// Each measure is a number per prompt, layer and head, averaged over prompts. All depend on the
// number of tokens T, which is therefore always part of the result. Sources: Clark et al. 2019
// (arXiv 1906.04341, averages over selectors, smoothed entropy, types), TransformerLens (previous
// token: demos and head detector), Guo et al. 2024 (arXiv 2410.13835, normalised entropies); top-p
// count and sparsity have no canonical code and are ours.
//
// Most come from recorded statistics; three need maps and are NaN where the capture has none.
#ifndef HW_HEADS_H
#define HW_HEADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analysis/head_scores.h"
#include "formats/trace_reader.h"
#include "kernels/arena.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum hw_heads_measure {
    HW_HEADS_ENTROPY,
    HW_HEADS_ENTROPY_NORMALISED,
    HW_HEADS_ENTROPY_SMOOTHED, // maps
    HW_HEADS_COLUMN_ENTROPY,
    HW_HEADS_FIRST,
    HW_HEADS_PREVIOUS,
    HW_HEADS_PREVIOUS_DIAGONAL,
    HW_HEADS_PREVIOUS_MUL,
    HW_HEADS_PREVIOUS_ABS,
    HW_HEADS_SELF,
    HW_HEADS_SPECIAL,
    HW_HEADS_SPECIAL_FROM_SPECIAL,
    HW_HEADS_SPECIAL_FROM_OTHERS,
    HW_HEADS_PUNCTUATION,
    HW_HEADS_DISTANCE,
    HW_HEADS_LARGEST,
    HW_HEADS_TOP_P,     // maps
    HW_HEADS_SPARSITY,  // maps
    HW_N_HEADS_MEASURES // the user's spans follow
};

struct hw_heads_measure_row {
    const char *name;
    const char *section; // of the definitions
    const char *units;
    const char *text; // one sentence
};
const struct hw_heads_measure_row *hw_heads_measure(enum hw_heads_measure measure);

// Types of Clark et al. in their order: a later one that holds replaces an earlier one.
enum hw_heads_type {
    HW_HEADS_TYPE_OTHER,
    HW_HEADS_TYPE_SELF,
    HW_HEADS_TYPE_PREVIOUS,
    HW_HEADS_TYPE_BROAD,
    HW_HEADS_TYPE_FIRST,
    HW_HEADS_TYPE_SPECIAL,
    HW_HEADS_TYPE_PUNCTUATION,
    HW_N_HEADS_TYPES
};
const char *hw_heads_type_name(enum hw_heads_type type); // "previous"

// Each holds where the measure is above it, strictly.
struct hw_heads_rules {
    double self;        // ours, as previous
    double previous;    // .5 in the reference
    double broad;       // entropy in nats, 3.8 in the reference
    double first;       // .6 in the reference ([CLS])
    double special;     // .6 in the reference ([SEP])
    double punctuation; // .6 in the reference
};

struct hw_heads_options {
    struct hw_heads_rules rules;
    double top_p;    // .9
    bool reads_maps; // where the capture has any
    int n_threads;
    const bool *is_wanted; // [n_layers of the model, n_heads of the model] or NULL: all
};

struct hw_heads {
    struct hw_heads_options options;
    const char *maps; // "attention_maps", "attention_vectors", or NULL: none was read
    double map_error; // see hw_map_source_error
    size_t n_prompts; // counted: not failed and at least two tokens
    size_t n_skipped;
    // What a sound capture does not have, left out of the means:
    size_t n_infinite; // values of prompts that are infinite
    size_t n_bad_maps; // maps of prompts and heads with weights that are negative or not finite
    size_t min_tokens; // T of the counted prompts
    size_t max_tokens;
    size_t n_layers;
    size_t n_heads;        // the union over layers
    const int32_t *layers; // numbers of the model; live as long as the trace
    const int32_t *heads;
    size_t n_measures;            // HW_N_HEADS_MEASURES and one for each of the user's spans
    const char **span_names;      // [n_measures - HW_N_HEADS_MEASURES], of the trace
    struct hw_head_scores scores; // [n_measures, n_layers, n_heads]
    size_t n_offsets;
    struct hw_head_scores offsets; // [n_offsets, n_layers, n_heads]; NaN where no prompt is so long
    int32_t
        *best_offset; // [n_layers, n_heads] the offset of the largest mean, -1 where there is none
    uint8_t *type;    // [n_layers, n_heads] enum hw_heads_type; HW_N_HEADS_TYPES: not recorded
    struct hw_arena arena; // holds the arrays above
};

// HW_INPUT where the capture does not record attention or is broken.
enum hw_status hw_heads_compute(struct hw_trace *trace, const struct hw_heads_options *options,
                                struct hw_heads *ret_heads, struct hw_error *err);
void hw_heads_free(struct hw_heads *heads);

// The type of a head with these measures [HW_N_HEADS_MEASURES]; NaN holds for nothing.
enum hw_heads_type hw_heads_classify(const struct hw_heads_rules *rules,
                                     const double measures[HW_N_HEADS_MEASURES]);

// Sums over the rows of one map, of a causal model: key j <= query i.
struct hw_heads_map_sums {
    double entropy_smoothed; // -sum a' ln a', a' = .9999 a + .0001 / T over all T keys
    double top_p;            // smallest number of keys that hold top_p of the row's sum
    double sparse;           // entries below 1 % of their row's maximum
    double entries;          // T (T + 1) / 2
    size_t n_rows;
    bool is_bad; // a weight is negative or not finite; what was summed means nothing
};
struct hw_heads_row_options {
    size_t n_tokens; // T
    double top_p;
    float *scratch; // [n_tokens]
};
// Adds rows first_row .. first_row + n_rows: rows [n_rows, stride]. Rows from n_tokens on are left
// out, and so are keys.
void hw_heads_add_rows(const struct hw_heads_row_options *options, const float *rows, size_t stride,
                       size_t first_row, size_t n_rows, struct hw_heads_map_sums *sums);

#ifdef __cplusplus
}
#endif
#endif
