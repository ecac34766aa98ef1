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
#include "tracer/change.h"
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
    // Changed runs of one prompt that pass together (hw_session_branch); 0: none. Buffers then have
    // max_branches * max_tokens rows.
    size_t max_branches;
    bool has_cache_windows; // changes may hold windows in cache form
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
// What the following prefills and decodes change; NULL: nothing. The caller keeps it alive.
void hw_session_set_changes(struct hw_session *session, struct hw_changes *changes);
struct hw_changes *hw_session_changes(const struct hw_session *session); // as set
// Runs one more token at `position`, which must follow what was run before.
enum hw_status hw_session_decode(struct hw_session *session, uint32_t id, size_t position,
                                 const struct hw_observer *observer, uint32_t *ret_next,
                                 struct hw_error *err);

// Changed runs of one prompt that share what comes before their change. They pass the layers
// together, so that matrices have many rows; each joins where it is first changed: with the block's
// input, with the block's attention (its q, k and v are the unchanged ones), or with z. The rows of
// each have the bits that hw_session_prefill with the same changes gives; n_applied counts what was
// computed, so not rows of the last layer before row_first. After it no decode can follow.
struct hw_branch_job {
    const uint32_t *ids;
    size_t n_tokens;
    const float *resid; // [n_tokens, d_model] of the unchanged run, input of layer layer_first
    size_t layer_first; // no branch changes anything before
    struct hw_changes *const *branches; // rising by first_layer; n_layers: the unchanged rows
    size_t n_branches;                  // up to options.max_branches
    size_t row_first; // rows [row_first, n_tokens) are wanted at the end; 0: all. The last layer
                      // and the final norm are computed for these only
    // The final norm's output of branches [first, first + n): [n, n_tokens - row_first, d_model];
    // called in rising order until all were handed out.
    enum hw_status (*final)(void *self, size_t first, size_t n, const float *normed,
                            struct hw_error *err);
    // After each layer; nonzero return values other than HW_OK stop the pass. May be NULL.
    enum hw_status (*layer_end)(void *self, size_t layer, struct hw_error *err);
    void *self;
};
enum hw_status hw_session_branch(struct hw_session *session, const struct hw_branch_job *job,
                                 struct hw_error *err);

// Floating point operations of one prefill of n tokens (linear maps, attention, unembedding), for
// estimates.
double hw_session_flops(const struct hw_model_desc *desc, size_t n_tokens, bool has_unembed);
// Those of a branch of n tokens that is changed from `layer` on, with its last n_wanted rows wanted
// at the end; no unembedding. That it may share the attention of its first layer is not counted.
double hw_branch_flops(const struct hw_model_desc *desc, size_t n_tokens, size_t layer,
                       size_t n_wanted);

#endif
