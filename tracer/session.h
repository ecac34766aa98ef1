// A session: the memory of one run over one model, and the forward pass in it.
//
// The plan is taken by running the same allocation code over a measuring arena, so that what is
// promised is what is used. After hw_session_open nothing of ours allocates until it is closed.
#ifndef HW_SESSION_H
#define HW_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/arena.h"
#include "kernels/ops.h"
#include "kernels/status.h"
#include "tracer/model.h"
#include "tracer/observer.h"

enum { HW_ROW_BLOCK = 1024 }; // rows that pass the MLP together

struct hw_session_options {
    int n_threads;
    enum hw_level level;
    size_t max_tokens;   // longest prompt
    size_t max_generate; // tokens generated after it; > 0 keeps keys and values of every layer
    struct hw_attention_request request; // members not NULL: what an observer may ask for;
                                         // n_offsets, n_spans, n_top; pointers are not followed
    size_t unembed_top;                  // ranks asked for
};

struct hw_session;

// Bytes of the arena that hw_session_open would take.
enum hw_status hw_session_measure(const struct hw_model *model,
                                  const struct hw_session_options *options, size_t *ret_bytes,
                                  struct hw_error *err);
enum hw_status hw_session_open(const struct hw_model *model,
                               const struct hw_session_options *options,
                               struct hw_session **ret_session, struct hw_error *err);
void hw_session_close(struct hw_session **session);

const struct hw_ops *hw_session_ops(const struct hw_session *session);
const struct hw_exec *
hw_session_exec(const struct hw_session
                    *session); // scratch as large as the pass's largest op; free between stages

// Runs n_tokens tokens from position 0 and shows every site to the observer. *ret_next (may be
// NULL) becomes the id with the largest logit after the last token. HW_USAGE: more tokens than
// planned, or an id out of range.
enum hw_status hw_session_prefill(struct hw_session *session, const uint32_t *ids, size_t n_tokens,
                                  const struct hw_observer *observer, uint32_t *ret_next,
                                  struct hw_error *err);
// Runs one more token at `position`, which must follow what was run before.
enum hw_status hw_session_decode(struct hw_session *session, uint32_t id, size_t position,
                                 const struct hw_observer *observer, uint32_t *ret_next,
                                 struct hw_error *err);

// Floating point operations of one prefill of n tokens (linear maps, attention, unembedding), for
// estimates.
double hw_session_flops(const struct hw_model_desc *desc, size_t n_tokens, bool has_unembed);

#endif
