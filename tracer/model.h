// A model: one canonical description, and its weights as views into the mapped checkpoint.
//
// A family file maps configuration keys and tensor names to this and refuses what it does not know;
// the forward pass reads nothing else.
#ifndef HW_MODEL_H
#define HW_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/checkpoint.h"
#include "kernels/ops.h"
#include "kernels/status.h"

enum hw_norm { HW_NORM_RMS, HW_NORM_LAYER };
enum hw_position { HW_POSITION_LEARNED, HW_POSITION_ROPE };

struct hw_model_desc {
    char family[32]; // "llama", "gpt2", "gpt_neox"
    size_t n_layers;
    size_t d_model;
    size_t n_heads;
    size_t n_kv_heads; // divides n_heads
    size_t d_head;
    size_t d_mlp;
    size_t n_vocab;
    size_t n_context; // trained context; the hard limit where positions are learned
    enum hw_norm norm;
    float norm_eps;
    enum hw_position position;
    size_t n_rot; // channels of each head that rope turns, even
    bool is_rope_interleaved;
    double *inverse_frequency; // [n_rot / 2], scaling applied: the angle at position p is p *
                               // inverse_frequency[c]
    double rope_factor;        // cos and sin are multiplied by this
    bool is_parallel;          // attention and MLP both read the block's input
    bool is_gated;             // mlp: down(act(gate x) * up x), else down(act(up x))
    enum hw_activation activation;
    float *score_scale; // [n_layers]
    bool is_output_tied;
};

// One norm: weight [d_model]; bias [d_model] or NULL. f32, owned by the model (expanded once,
// small).
struct hw_norm_weights {
    const float *weight;
    const float *bias;
};

// A linear map y = w x + bias; bias f32 [n_out] or NULL, owned by the model.
struct hw_linear_weights {
    struct hw_weight w;
    const float *bias;
};

struct hw_layer_weights {
    struct hw_norm_weights attention_norm; // ln1
    struct hw_norm_weights mlp_norm;       // ln2
    struct hw_linear_weights q;            // [n_heads * d_head, d_model]
    struct hw_linear_weights k;            // [n_kv_heads * d_head, d_model]
    struct hw_linear_weights v;
    struct hw_linear_weights o;    // [d_model, n_heads * d_head]
    struct hw_linear_weights gate; // [d_mlp, d_model] where is_gated
    struct hw_linear_weights up;   // [d_mlp, d_model]
    struct hw_linear_weights down; // [d_model, d_mlp]
};

struct hw_model {
    struct hw_model_desc desc;
    struct hw_weight token_embedding;    // [n_vocab, d_model], row = token; never transposed
    struct hw_weight position_embedding; // [n_context, d_model] where positions are learned
    struct hw_layer_weights *layers;     // [n_layers]
    struct hw_norm_weights final_norm;
    struct hw_linear_weights unembed; // [n_vocab, d_model]
    struct hw_checkpoint *checkpoint; // owned: the weights above point into it
    void *memory;                     // what the model owns besides (model.c)
};

// Opens a model: checkpoint, family, description, weights. HW_INPUT names file, key or tensor with
// expected and found values.
enum hw_status hw_model_open(const char *path, struct hw_model **ret_model, struct hw_error *err);
void hw_model_close(struct hw_model **model);

// cos and sin of rope for positions first .. first + n, computed in double: [n, n_rot / 2] each.
void hw_model_rope_table(const struct hw_model_desc *desc, size_t first, size_t n, float *cosine,
                         float *sine);

// Names of the families this build knows, NULL-terminated.
const char *const *hw_model_families(void);

#endif
