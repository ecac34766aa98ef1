// Selectors: how a user names layers, heads and positions on the command line. Ranges include both
// ends.
//
//   layers     0-4,7      all      ^3 (all but)
//   heads      9.6,9.9    10 (whole layer)    10-12    10.0-3    all    ^9.6    @FILE    ^@FILE
//   positions  all  first  last  3-7  generated  prefill (the prompt)  decode (from the prompt's
//   last
//              token on)  a span's name; several with commas
//
// @FILE is JSON: a list, or an object with a list under "heads", of "16-19", "16.19", [16, 19], or
// objects with "layer" and "head" (here 16-19 is head 19 of layer 16); or the released lists of
// retrieval heads, an object {"16-19": [score of each trial, ...], ...}: all heads in it, the
// largest mean first. What does not exist is HW_USAGE with what does (HW_INPUT in a file).
#ifndef HW_SELECTOR_H
#define HW_SELECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/prompts.h"
#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Sets ret_selected[i] for all i < n: whether layer i is selected. `noun` is "layer" or "depth",
// for messages.
enum hw_status hw_selector_layers(const char *text, const char *noun, size_t n, bool *ret_selected,
                                  struct hw_error *err);

// Sets ret_selected [layer, head] for all n_layers * n_heads.
enum hw_status hw_selector_heads(const char *text, size_t n_layers, size_t n_heads,
                                 bool *ret_selected, struct hw_error *err);

// The same heads as layer * n_heads + head in the order in which they are written (^ and all: by
// layer and head), each once. The caller frees *ret_heads.
enum hw_status hw_selector_heads_ordered(const char *text, size_t n_layers, size_t n_heads,
                                         uint32_t **ret_heads, size_t *ret_n, struct hw_error *err);

// Positions depend on the prompt, so they are parsed once and resolved for each prompt.
struct hw_positions;

// Checks the syntax. A word that is none of all, first, last, generated, prefill, decode is the
// name of a span.
enum hw_status hw_positions_parse(const char *text, struct hw_positions **ret_positions,
                                  struct hw_error *err);
void hw_positions_close(struct hw_positions **positions);

// The text that was parsed.
const char *hw_positions_text(const struct hw_positions *positions);

// The i-th span name used (NULL past the end), so that a plan can ask whether any prompt has it.
const char *hw_positions_span(const struct hw_positions *positions, size_t i);

// Sets ret_selected[t] for all t < n_tokens, the tokens of this prompt and after it those
// generated. Returns how many are selected. What the prompt lacks (a position past its end, a span
// it does not have) selects nothing.
size_t hw_positions_resolve(const struct hw_positions *positions, const struct hw_prompt *prompt,
                            size_t n_tokens, bool *ret_selected);

#ifdef __cplusplus
}
#endif
#endif
