// Sites: the closed list of places in the forward pass where someone may look, in the order of the
// pass.
//
// A site carries the name that TransformerLens gives it. What is shown at a site is rows x width
// floats, rows being tokens of the running prompt; long prompts pass some sites in several row
// blocks.
#ifndef HW_SITE_H
#define HW_SITE_H

#include <stddef.h>
#include <stdint.h>

// id, hook name, whether it is one per layer
#define HW_SITES(X)                                                                                \
    X(EMBED, "hook_embed", 0) /* [token, d_model], positions added */                              \
    X(RESID_PRE, "blocks.{layer}.hook_resid_pre", 1)                                               \
    X(LN1_SCALE, "blocks.{layer}.ln1.hook_scale", 1) /* [token] 1 / denominator */                 \
    X(Q, "blocks.{layer}.attn.hook_q", 1)            /* [token, head, d_head] before rotation */   \
    X(K, "blocks.{layer}.attn.hook_k", 1)                                                          \
    X(V, "blocks.{layer}.attn.hook_v", 1) /* [token, kv_head, d_head] */                           \
    X(ROT_Q, "blocks.{layer}.attn.hook_rot_q", 1)                                                  \
    X(ROT_K, "blocks.{layer}.attn.hook_rot_k", 1)                                                  \
    X(Z, "blocks.{layer}.attn.hook_z", 1)           /* [token, head, d_head] */                    \
    X(RESULT, "blocks.{layer}.attn.hook_result", 1) /* computed by who asks: W_O,h z_h */          \
    X(ATTN_OUT, "blocks.{layer}.hook_attn_out", 1)                                                 \
    X(RESID_MID, "blocks.{layer}.hook_resid_mid", 1)                                               \
    X(LN2_SCALE, "blocks.{layer}.ln2.hook_scale", 1)                                               \
    X(MLP_POST, "blocks.{layer}.mlp.hook_post", 1) /* [token, d_mlp], what down multiplies */      \
    X(MLP_OUT, "blocks.{layer}.hook_mlp_out", 1)                                                   \
    X(RESID_POST, "blocks.{layer}.hook_resid_post", 1)                                             \
    X(FINAL, "ln_final.hook_normalized", 0)                                                        \
    X(UNEMBED, "hook_logits", 0) /* see hw_observer.unembed */

enum hw_site {
#define HW_SITE_ENUM(id, hook, per_layer) HW_SITE_##id,
    HW_SITES(HW_SITE_ENUM)
#undef HW_SITE_ENUM
        HW_N_SITES
};

// What the pass shows at a site.
struct hw_site_event {
    enum hw_site site;
    size_t layer;     // 0 where the site is not one per layer
    size_t row_first; // position in the prompt of the first row shown
    size_t n_rows;
    size_t n_tokens;   // rows of this pass in all: the last block ends at pass_first + n_tokens
    size_t pass_first; // position of the pass's first row: 0 for the prompt, the token's position
                       // when decoding
    size_t width;      // floats a row
    size_t ld;         // floats from row to row
    const float *data;
};

#endif
