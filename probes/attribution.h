// Direct logit attribution and the logit lens of one position of a prompt.
//
// Source: TransformerLens, `accumulated_resid` and `logit_attrs`. The logit is linear in what the
// embedding, the heads, the MLPs and the biases add to the residual stream, once the scale of the
// final norm is held at its value there: with u = W_U[target] (- W_U[foil]) and w the norm's
// weight,
//     logit = d . (embedding + sum of head results + sum of MLP outputs + output biases) + u . norm
//             bias + b_U[target] (- b_U[foil]),     d = scale u w (less its mean where the norm
//                                                   centres)
// so the parts add up to the logit. Sums are in double. The lens takes the final norm, its scale
// computed anew, and the unembedding of the residual stream at every depth.
#ifndef HW_ATTRIBUTION_H
#define HW_ATTRIBUTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/arena.h"
#include "tracer/session.h"

enum { HW_LENS_ROWS = 8 }; // depths unembedded at a time

// Buffers and, after hw_attribution_finish, results.
struct hw_attribution {
    const struct hw_model *model;
    // What the pass showed of the position.
    float *z;     // [n_layers, n_heads * d_head]
    float *mlp;   // [n_layers, d_model]
    float *resid; // [n_layers + 1, d_model]
    // Results; NaN and -1 where there is no target.
    float *head;      // [n_layers, n_heads]
    float *mlp_share; // [n_layers]
    float embedding;
    float bias;
    float logit;        // of the target, less the foil's, as the model gives it
    float *lens_logit;  // [n_layers + 1]
    int32_t *lens_rank; // [n_layers + 1] tokens with a larger logit than the target's
    double *direction;  // [d_model]
    double *through;    // [n_heads * d_head]
    float *weights;     // [d_model, n_heads * d_head]
    float *row;         // one row of weights
    float *lens;        // [HW_LENS_ROWS, d_model]
    float *logits;      // [HW_LENS_ROWS, n_vocab]
};

// Takes the buffers (the arena may be a measuring one).
void hw_attribution_take(struct hw_attribution *a, const struct hw_model *model,
                         struct hw_arena *arena);

// Keeps the row of the site: Z, MLP_OUT, EMBED, RESID_POST.
void hw_attribution_see(struct hw_attribution *a, enum hw_site site, size_t layer,
                        const float *row);

// Computes the results; target < 0: no target. foil < 0: no foil.
void hw_attribution_finish(struct hw_attribution *a, const struct hw_session *session,
                           int64_t target, int64_t foil);

#endif
