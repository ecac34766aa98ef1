// gpt2: LayerNorms, learned positions, fused q, k, v, plain MLP. The matrices of safetensors files
// are [in, out]; those of GGUF files are not.
#include "tracer/family.h"

// Masks that older versions stored.
static const char *const ignored[] = {"h.{l}.attn.bias", "h.{l}.attn.masked_bias", NULL};
static const char *const ignored_gguf[] = {NULL};

static const struct hw_tensor_names names_safetensors = {
    .token_embedding = "wte",
    .position_embedding = "wpe",
    .attention_norm = "h.{l}.ln_1",
    .mlp_norm = "h.{l}.ln_2",
    .qkv = "h.{l}.attn.c_attn",
    .o = "h.{l}.attn.c_proj",
    .up = "h.{l}.mlp.c_fc",
    .down = "h.{l}.mlp.c_proj",
    .final_norm = "ln_f",
    .unembed = "lm_head",
    .optional_prefix = "transformer.",
    .unembed_prefix = "",
    .ignored = ignored,
};

static const struct hw_tensor_names names_gguf = {
    .token_embedding = "token_embd",
    .position_embedding = "position_embd",
    .attention_norm = "blk.{l}.attn_norm",
    .mlp_norm = "blk.{l}.ffn_norm",
    .qkv = "blk.{l}.attn_qkv",
    .o = "blk.{l}.attn_output",
    .up = "blk.{l}.ffn_up",
    .down = "blk.{l}.ffn_down",
    .final_norm = "output_norm",
    .unembed = "output",
    .optional_prefix = "",
    .unembed_prefix = "",
    .ignored = ignored_gguf,
};

// reorder_and_upcast_attn only changes the precision of a training run; summary_* belongs to
// another head; n_ctx is an old n_positions.
static const char *const harmless[] = {"reorder_and_upcast_attn",
                                       "summary_*",
                                       "n_ctx",
                                       "attn_pdrop",
                                       "embd_pdrop",
                                       "resid_pdrop",
                                       NULL};
static const char *const harmless_gguf[] = {NULL};

static void describe_json(struct hw_config *c, struct hw_model_desc *d, struct hw_layout *layout) {
    d->n_vocab = hw_config_size(c, "vocab_size", 50257);
    d->n_context = hw_config_size(c, "n_positions", 1024);
    d->d_model = hw_config_size(c, "n_embd", 768);
    d->n_layers = hw_config_size(c, "n_layer", 12);
    d->n_heads = hw_config_size(c, "n_head", 12);
    d->d_mlp = hw_config_size(c, "n_inner", 4 * d->d_model);
    d->activation = hw_config_activation(c, "activation_function", "gelu_new");
    d->norm_eps = (float)hw_config_number(c, "layer_norm_epsilon", 1e-5);
    d->is_output_tied = hw_config_bool(c, "tie_word_embeddings", true);
    bool is_scaled = hw_config_bool(c, "scale_attn_weights", true);
    layout->is_score_divided_by_layer = hw_config_bool(c, "scale_attn_by_inverse_layer_idx", false);
    layout->score_scale = is_scaled ? 0 : 1; // 0: by the width of a head, see describe
    layout->names = &names_safetensors;
    layout->is_transposed = true;
    hw_config_expect_bool(c, "add_cross_attention", false);
    hw_config_expect_bool(c, "is_encoder_decoder", false);
    hw_config_refuse_unread(c, harmless);
}

static void describe_gguf(struct hw_config *c, struct hw_model_desc *d, struct hw_layout *layout) {
    d->n_context = hw_config_size(c, "context_length", HW_REQUIRED);
    d->d_model = hw_config_size(c, "embedding_length", HW_REQUIRED);
    d->n_layers = hw_config_size(c, "block_count", HW_REQUIRED);
    d->n_heads = hw_config_size(c, "attention.head_count", HW_REQUIRED);
    d->d_mlp = hw_config_size(c, "feed_forward_length", HW_REQUIRED);
    d->norm_eps = (float)hw_config_number(c, "attention.layer_norm_epsilon", HW_REQUIRED_NUMBER);
    d->n_vocab = hw_config_has(c, "vocab_size") ? hw_config_size(c, "vocab_size", HW_REQUIRED) : 0;
    d->activation = HW_ACT_GELU_TANH;
    hw_config_expect_number(c, "attention.head_count_kv", (double)d->n_heads);
    hw_config_expect_bool(c, "attention.causal", true);
    layout->names = &names_gguf;
    layout->is_tied_if_absent = true;
    hw_config_refuse_unread(c, harmless_gguf);
}

static void describe(struct hw_config *config, struct hw_model_desc *desc,
                     struct hw_layout *layout) {
    if (hw_config_is_gguf(config)) {
        describe_gguf(config, desc, layout);
    } else {
        describe_json(config, desc, layout);
    }
    if (desc->d_model % desc->n_heads != 0) {
        (void)hw_config_fail(config, hw_config_is_gguf(config) ? "attention.head_count" : "n_head",
                             "%zu heads do not divide the width %zu", desc->n_heads, desc->d_model);
    }
    desc->n_kv_heads = desc->n_heads;
    desc->d_head = desc->d_model / desc->n_heads;
    desc->norm = HW_NORM_LAYER;
    desc->position = HW_POSITION_LEARNED;
    if (layout->score_scale < 1) {
        layout->score_scale = 1 / sqrt((double)desc->d_head);
    }
    layout->qkv = HW_QKV_BLOCKS;
    layout->norm_bias = HW_BIAS_REQUIRED;
    layout->qkv_bias = HW_BIAS_REQUIRED;
    layout->o_bias = HW_BIAS_REQUIRED;
    layout->mlp_bias = HW_BIAS_REQUIRED;
}

const struct hw_family hw_family_gpt2 = {"gpt2", "gpt2", "gpt2", describe};
