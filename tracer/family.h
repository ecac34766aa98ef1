// A family of models: how its configuration and its tensor names map to the canonical description.
// Data, but for one function.
//
// A new family is one file family_<name>.c that defines hw_family_<name>, and its name in
// tracer/meson.build. It holds the class defaults of its model_type, and refuses what it does not
// know: whatever it neither reads nor lists as harmless is an error.
#ifndef HW_FAMILY_H
#define HW_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "tracer/model.h"
#include "tracer/model_config.h"
#include "tracer/rope.h"

enum hw_qkv_layout {
    HW_QKV_SEPARATE, // three tensors
    HW_QKV_BLOCKS,   // one tensor: all of q, then k, then v
    HW_QKV_BY_HEAD, // one tensor: q, k, v of head 0, then of head 1 ... (as many kv heads as heads)
};

enum hw_bias { HW_BIAS_NONE, HW_BIAS_REQUIRED, HW_BIAS_OPTIONAL };

// Names without .weight and .bias; in those of a layer {l} stands for its number. NULL: the family
// has no such tensor.
struct hw_tensor_names {
    const char *token_embedding;
    const char *position_embedding;
    const char *attention_norm;
    const char *mlp_norm;
    const char *qkv; // where it is fused, else:
    const char *q;
    const char *k;
    const char *v;
    const char *o;
    const char *gate;
    const char *up;
    const char *down;
    const char *final_norm;
    const char *unembed;
    const char *rope_divisors; // whole name of a tensor by which inverse frequencies are divided,
                               // where present
    const char *const
        *ignored; // whole names of what files may carry and nobody needs, NULL-terminated
    const char
        *optional_prefix; // of all names but those of the next line, or "": some files leave it out
    const char *unembed_prefix; // of unembed, never left out
};

// What a family says about a file besides the description.
struct hw_layout {
    const struct hw_tensor_names *names;
    enum hw_qkv_layout qkv;
    bool is_transposed;      // linear maps are stored [in, out]
    bool is_rotary_permuted; // rows of q and k stand pairwise, as interleaved rope wants them
    enum hw_bias norm_bias;
    enum hw_bias qkv_bias;
    enum hw_bias o_bias;
    enum hw_bias mlp_bias;
    bool is_tied_if_absent; // no output matrix means a tied one; otherwise desc.is_output_tied
                            // decides
    double score_scale;
    bool is_score_divided_by_layer; // by layer + 1
    struct hw_rope rope;
};

struct hw_family {
    const char *name;
    const char *model_type;   // config.json
    const char *architecture; // GGUF, general.architecture
    // Fills the numbers of *desc (not its arrays; n_vocab 0 means: as many as the embedding has)
    // and *layout. Errors stay in config.
    void (*describe)(struct hw_config *config, struct hw_model_desc *desc,
                     struct hw_layout *layout);
};

#endif
