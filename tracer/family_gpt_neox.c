// gpt_neox (Pythia): LayerNorms, rotary positions on the first part of each head, attention and MLP
// in parallel or in sequence (with two norms either way), exact gelu. In safetensors files q, k, v
// are interleaved per head, in GGUF files they are blocks.
#include "tracer/family.h"

static const char *const ignored[] = {"layers.{l}.attention.bias",
                                      "layers.{l}.attention.masked_bias",
                                      "layers.{l}.attention.rotary_emb.inv_freq", NULL};
static const char *const ignored_gguf[] = {NULL};

static const struct hw_tensor_names names_safetensors = {
    .token_embedding = "embed_in",
    .attention_norm = "layers.{l}.input_layernorm",
    .mlp_norm = "layers.{l}.post_attention_layernorm",
    .qkv = "layers.{l}.attention.query_key_value",
    .o = "layers.{l}.attention.dense",
    .up = "layers.{l}.mlp.dense_h_to_4h",
    .down = "layers.{l}.mlp.dense_4h_to_h",
    .final_norm = "final_layer_norm",
    .unembed = "embed_out",
    .optional_prefix = "gpt_neox.",
    .unembed_prefix = "",
    .ignored = ignored,
};

static const struct hw_tensor_names names_gguf = {
    .token_embedding = "token_embd",
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

static const char *const harmless[] = {NULL};
static const char *const harmless_gguf[] = {"rope.scaling.original_context_length",
                                            "rope.scaling.finetuned", NULL};

// Theta and the rotated share of a head each have an old name; files of some versions carry both.
static void read_rope(struct hw_config *c, struct hw_model_desc *d, struct hw_layout *layout) {
    const char *old_theta = "rope_theta";
    if (hw_config_has(c, "rotary_emb_base")) {
        old_theta = "rotary_emb_base";
        hw_config_expect_number(c, "rope_theta", hw_config_number(c, "rotary_emb_base", 10000));
    }
    hw_rope_read(c, old_theta, 10000, &layout->rope);
    double share = hw_config_number(c, "rope_parameters.partial_rotary_factor", 0.25);
    if (!hw_config_has(c, "rope_parameters.partial_rotary_factor")) {
        share = hw_config_number(c, "rotary_pct", 0.25);
    }
    hw_config_expect_number(c, "rotary_pct", share);
    hw_config_expect_number(c, "partial_rotary_factor", share);
    if (share > 1) {
        (void)hw_config_fail(c, "rotary_pct", "expected at most 1, found %g", share);
        return;
    }
    d->n_rot = (size_t)((double)d->d_head * share);
}

static void describe_json(struct hw_config *c, struct hw_model_desc *d, struct hw_layout *layout) {
    d->n_vocab = hw_config_size(c, "vocab_size", 50432);
    d->d_model = hw_config_size(c, "hidden_size", 6144);
    d->n_layers = hw_config_size(c, "num_hidden_layers", 44);
    d->n_heads = hw_config_size(c, "num_attention_heads", 64);
    d->d_head = d->d_model / d->n_heads;
    d->d_mlp = hw_config_size(c, "intermediate_size", 24576);
    d->n_context = hw_config_size(c, "max_position_embeddings", 2048);
    d->activation = hw_config_activation(c, "hidden_act", "gelu");
    d->norm_eps = (float)hw_config_number(c, "layer_norm_eps", 1e-5);
    d->is_output_tied = hw_config_bool(c, "tie_word_embeddings", false);
    d->is_parallel = hw_config_bool(c, "use_parallel_residual", true);
    layout->names = &names_safetensors;
    layout->qkv = HW_QKV_BY_HEAD;
    layout->qkv_bias = hw_config_bool(c, "attention_bias", true) ? HW_BIAS_REQUIRED : HW_BIAS_NONE;
    read_rope(c, d, layout);
    hw_config_refuse_unread(c, harmless);
}

static void describe_gguf(struct hw_config *c, struct hw_model_desc *d, struct hw_layout *layout) {
    d->d_model = hw_config_size(c, "embedding_length", HW_REQUIRED);
    d->n_layers = hw_config_size(c, "block_count", HW_REQUIRED);
    d->n_heads = hw_config_size(c, "attention.head_count", HW_REQUIRED);
    d->d_head = d->d_model / d->n_heads;
    d->d_mlp = hw_config_size(c, "feed_forward_length", HW_REQUIRED);
    d->n_context = hw_config_size(c, "context_length", HW_REQUIRED);
    d->n_rot = hw_config_size(c, "rope.dimension_count", d->d_head);
    d->activation = HW_ACT_GELU_ERF;
    d->norm_eps = (float)hw_config_number(c, "attention.layer_norm_epsilon", HW_REQUIRED_NUMBER);
    d->is_parallel = hw_config_bool(c, "use_parallel_residual", true);
    d->n_vocab = hw_config_has(c, "vocab_size") ? hw_config_size(c, "vocab_size", HW_REQUIRED) : 0;
    hw_config_expect_number(c, "attention.head_count_kv", (double)d->n_heads);
    hw_config_expect_bool(c, "attention.causal", true);
    layout->names = &names_gguf;
    layout->qkv = HW_QKV_BLOCKS;
    layout->qkv_bias = HW_BIAS_OPTIONAL;
    layout->is_tied_if_absent = true;
    hw_rope_read(c, "", 10000, &layout->rope);
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
        (void)hw_config_fail(
            config, hw_config_is_gguf(config) ? "attention.head_count" : "num_attention_heads",
            "%zu heads do not divide the width %zu", desc->n_heads, desc->d_model);
    }
    desc->n_kv_heads = desc->n_heads;
    desc->norm = HW_NORM_LAYER;
    desc->position = HW_POSITION_ROPE;
    layout->o_bias = layout->qkv_bias;
    layout->norm_bias = HW_BIAS_REQUIRED;
    layout->mlp_bias = HW_BIAS_REQUIRED;
    layout->score_scale = 1 / sqrt((double)desc->d_head);
}

const struct hw_family hw_family_gpt_neox = {"gpt_neox", "gpt_neox", "gptneox", describe};
