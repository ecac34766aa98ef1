// Where attention maps come from: /attention/pattern as recorded, or rebuilt from
// /attention_vectors by the attention op of the forward pass. The caller does not know which; a
// rebuilt map has the bits of the recorded f32 map where the op is the same.
//
// Maps are handed out as blocks of whole rows, so that memory grows with the longest prompt, never
// with its square. Layers and heads are indices on the recorded axes.
#ifndef HW_MAP_SOURCE_H
#define HW_MAP_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/trace_reader.h"
#include "kernels/cpu.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_MAP_ROWS = 128 }; // most rows of a block; blocks start at multiples of it

struct hw_map_source;

// HW_INPUT where the capture has neither, with the records that would serve `measure` (a name of
// measures.h). The trace must live as long as the source.
enum hw_status hw_map_source_open(struct hw_trace *trace, const char *measure, int n_threads,
                                  struct hw_map_source **ret_source, struct hw_error *err);
void hw_map_source_close(struct hw_map_source **source);

// The same with choices. Where a capture has both records, the one with more heads is read, maps
// where they are equal.
struct hw_map_source_options {
    const char *measure;
    const char *record; // "attention_maps" or "attention_vectors"; NULL: chosen
    int n_threads;
    enum hw_level level; // of the op that rebuilds; at most what the processor has
};
enum hw_status hw_map_source_open_with(struct hw_trace *trace,
                                       const struct hw_map_source_options *options,
                                       struct hw_map_source **ret_source, struct hw_error *err);

// The record it reads: "attention_maps" or "attention_vectors".
const char *hw_map_source_record(const struct hw_map_source *source);
// The axes: numbers of the model; heads is the union over layers.
size_t hw_map_source_n_layers(const struct hw_map_source *source);
size_t hw_map_source_n_heads(const struct hw_map_source *source);
const int32_t *hw_map_source_layers(const struct hw_map_source *source);
const int32_t *hw_map_source_heads(const struct hw_map_source *source);
bool hw_map_source_has(const struct hw_map_source *source, size_t layer, size_t head);
// Largest absolute difference to the map as the model used it that storage may have made: 0 for
// f32, 2^-12 for f16 (of values up to 1), half a step of u16; NaN, unknown, for vectors in f16.
double hw_map_source_error(const struct hw_map_source *source);

// Tokens of the map of a prompt (index in the file): n_keys of its blocks; 0 for a failed prompt.
size_t hw_map_source_n_tokens(const struct hw_map_source *source, size_t prompt);
// Bytes that a walk over a prompt of n_tokens takes; SIZE_MAX where that overflows.
size_t hw_map_source_bytes(const struct hw_map_source *source, size_t n_tokens);

// Rows of the map of one head: rows [n_rows, stride], row i being query first_row + i; keys 0 ..
// n_keys - 1 are set, n_keys = the tokens with generated ones where the maps have those rows, else
// the prompt's.
struct hw_map_block {
    size_t layer;
    size_t head;
    size_t first_row;
    size_t n_rows;
    size_t n_keys;
    size_t stride;
    const float *rows;
};

// Called once per block, from one thread at a time, for each head in turn, rows in rising order.
// Anything but HW_OK ends the walk.
typedef enum hw_status (*hw_map_visit_fn)(void *self, const struct hw_map_block *block,
                                          struct hw_error *err);

// Walks one layer's recorded heads of one prompt (index in the file). is_wanted [n_heads] (NULL:
// all) leaves heads out, and what is not wanted is not computed where that is possible.
enum hw_status hw_map_source_walk(struct hw_map_source *source, size_t prompt, size_t layer,
                                  const bool *is_wanted, hw_map_visit_fn visit, void *self,
                                  struct hw_error *err);

// Whether the weights row[0 .. n) are what a softmax gives: none negative, all finite.
bool hw_map_row_is_sound(const float *row, size_t n);

#ifdef __cplusplus
}
#endif
#endif
