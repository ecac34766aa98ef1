// The engine: the one observer of a forward pass. It carries out the declarations of the probes
// that a layout asks for and hands the results to a destination.
//
// Statistics per prompt and per key are over the rows of the prompt's text; rows of generated
// tokens have row statistics only, and NaN per key. The built-in spans come first: all, first,
// last, special, punctuation, generated.
#ifndef HW_ENGINE_H
#define HW_ENGINE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/destination.h"
#include "formats/mean_sums.h"
#include "formats/prompts.h"
#include "formats/selector.h"
#include "formats/tokenizer.h"
#include "kernels/status.h"
#include "tracer/session.h"

enum {
    HW_SPAN_ALL,
    HW_SPAN_FIRST,
    HW_SPAN_LAST,
    HW_SPAN_SPECIAL,
    HW_SPAN_PUNCTUATION,
    HW_SPAN_GENERATED,
    HW_N_BUILTIN_SPANS
};
extern const char *const hw_builtin_spans[HW_N_BUILTIN_SPANS];

enum { HW_MAX_EVENTS = 4096 }; // rows of /massive per prompt
enum { HW_LOGIT_ROWS = 128 };  // rows unembedded at a time when logits are kept
enum {
    HW_MAP_BYTES = 64 << 20
}; // maps handed out by one call of the attention op, at least one head

struct hw_engine;

struct hw_engine_config {
    const struct hw_model *model;
    const struct hw_layout *layout;
    size_t max_tokens;                         // longest prompt text
    size_t max_generate;                       // tokens generated after it
    const struct hw_positions *positions;      // rows of /activations and /logits; NULL: all
    const struct hw_positions *attribution_at; // one position a prompt; NULL: the last
    struct hw_mean_sums *means; // of the layout, which prompts are added to; NULL where it has none
};

// Bytes that hw_engine_open takes, and what the session must be ready for (request, unembed_top).
enum hw_status hw_engine_measure(const struct hw_engine_config *config, size_t *ret_bytes,
                                 struct hw_session_options *session_options, struct hw_error *err);

// config and what it points to must outlive the engine. The destination may be changed between
// prompts.
enum hw_status hw_engine_open(const struct hw_engine_config *config, struct hw_session *session,
                              struct hw_engine **ret_engine, struct hw_error *err);
void hw_engine_close(struct hw_engine **engine);

// One prompt, from tokens to rows in the destination: prefill, then max_generate greedy steps
// (fewer where the model ends or `stop` appears in the generated text). tokenizer may be NULL where
// nothing is generated and no token is special.
struct hw_engine_prompt {
    const struct hw_prompt *prompt;
    int32_t index; // global
    const struct hw_tokenizer *tokenizer;
    const char *stop;                     // NULL: none
    bool keeps_text;                      // prompt_text and token_text
    const volatile sig_atomic_t *abandon; // nonzero: give the prompt up after the running layer,
                                          // with HW_STOPPED; NULL: never
    void (*progress)(void *self, size_t n_tokens); // after each layer: tokens it amounts to, those
                                                   // generated counted; may be NULL
    void *progress_self;
};

enum hw_status hw_engine_run(struct hw_engine *engine, const struct hw_engine_prompt *prompt,
                             struct hw_destination *destination, struct hw_error *err);

#endif
