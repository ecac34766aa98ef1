// A capture of decode rows made up for tests: prompts as ids, what was emitted, and the strongest
// key of every head in every step.
#ifndef HW_DECODE_TRACE_H
#define HW_DECODE_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/trace_file.h"
#include "formats/trace_reader.h"

struct decode_prompt {
    const uint32_t *ids;    // [n_ids]
    size_t n_ids;           // 0: a failed prompt
    const int32_t *outputs; // [n_steps] emitted
    const int32_t *keys;    // [n_steps, n_layers, n_heads]; -1 with a NaN weight: not recorded
    size_t n_steps;
    const char *name;
    const char *json;
    int32_t span_first; // the span "needle"; none where end is 0
    int32_t span_end;
};

// Writes a part with decode_top of layers 0 .. n_layers - 1 and opens it; every weight is .5.
// Asserts that all of it works. decode_trace_close closes and removes it.
struct hw_trace *decode_trace_open(const struct decode_prompt *prompts, size_t n_prompts,
                                   size_t n_layers, size_t n_heads);
void decode_trace_close(struct hw_trace **trace);

// A vocabulary in which id i of `ids` has the text i (UTF-8), all others none, up to the largest;
// is_special [n] may be NULL. decode_vocabulary_free takes it back.
struct hw_vocabulary decode_vocabulary(const uint32_t *ids, const char *const *texts,
                                       const uint8_t *is_special, size_t n);
void decode_vocabulary_free(struct hw_vocabulary *vocabulary);

#endif
