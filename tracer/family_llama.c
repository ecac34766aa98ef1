// llama: RMS norms, rotary positions, grouped queries, gated MLP. Also what converters call llama:
// SmolLM2, TinyLlama, Llama 2 and 3.
//
// In GGUF files the rows of q and k stand in the order of interleaved rope; they are read back into
// half-split order, so that the channels of a head are the same from both containers. llama-3
// scaling is there a tensor of divisors.
#include "tracer/family.h"

static const char *const ignored[] = {"layers.{l}.self_attn.rotary_emb.inv_freq",
                                      "rotary_emb.inv_freq", NULL};
static const char *const ignored_gguf[] = {"blk.{l}.attn_rot_embd", NULL};

static const struct hw_tensor_names names_safetensors = {
    .token_embedding = "embed_tokens",
    .attention_norm = "layers.{l}.input_layernorm",
    .mlp_norm = "layers.{l}.post_attention_layernorm",
    .q = "layers.{l}.self_attn.q_proj",
    .k = "layers.{l}.self_attn.k_proj",
    .v = "layers.{l}.self_attn.v_proj",
    .o = "layers.{l}.self_attn.o_proj",
    .gate = "layers.{l}.mlp.gate_proj",
    .up = "layers.{l}.mlp.up_proj",
    .down = "layers.{l}.mlp.down_proj",
    .final_norm = "norm",
    .unembed = "lm_head",
    .optional_prefix = "model.",
    .unembed_prefix = "",
    .ignored = ignored,
};

static const struct hw_tensor_names names_gguf = {
    .token_embedding = "token_embd",
    .attention_norm = "blk.{l}.attn_norm",
    .mlp_norm = "blk.{l}.ffn_norm",
    .q = "blk.{l}.attn_q",
    .k = "blk.{l}.attn_k",
    .v = "blk.{l}.attn_v",
    .o = "blk.{l}.attn_output",
    .gate = "blk.{l}.ffn_gate",
    .up = "blk.{l}.ffn_up",
    .down = "blk.{l}.ffn_down",
    .final_norm = "output_norm",
    .unembed = "output",
    .rope_divisors = "rope_freqs.weight",
    .optional_prefix = "",
    .unembed_prefix = "",
    .ignored = ignored_gguf,
};

// Splits of the same sums over several matrices, which only change rounding; and what describes the
// file.
static const char *const harmless[] = {"pretraining_tp", "is_llama_config", NULL};
static const char *const harmless_gguf[] = {"rope.scaling.original_context_length",
                                            "rope.scaling.finetuned", "tensor_data_layout", NULL};

static void describe_json(struct hw_config *c, struct hw_model_desc *d, struct hw_layout *layout) {
    d->n_vocab = hw_config_size(c, "vocab_size", 32000);
    d->d_model = hw_config_size(c, "hidden_size", 4096);
    d->d_mlp = hw_config_size(c, "intermediate_size", 11008);
    d->n_layers = hw_config_size(c, "num_hidden_layers", 32);
    d->n_heads = hw_config_size(c, "num_attention_heads", 32);
    d->n_kv_heads = hw_config_size(c, "num_key_value_heads", d->n_heads);
    d->d_head = hw_config_size(c, "head_dim", d->d_model / d->n_heads);
    d->n_context = hw_config_size(c, "max_position_embeddings", 2048);
    d->norm_eps = (float)hw_config_number(c, "rms_norm_eps", 1e-6);
    d->activation = hw_config_activation(c, "hidden_act", "silu");
    d->is_output_tied = hw_config_bool(c, "tie_word_embeddings", false);
    d->n_rot = d->d_head;
    layout->names = &names_safetensors;
    layout->qkv_bias = hw_config_bool(c, "attention_bias", false) ? HW_BIAS_REQUIRED : HW_BIAS_NONE;
    layout->o_bias = layout->qkv_bias;
    layout->mlp_bias = hw_config_bool(c, "mlp_bias", false) ? HW_BIAS_REQUIRED : HW_BIAS_NONE;
    hw_config_expect_bool(c, "rope_interleaved", false);
    hw_config_expect_number(c, "partial_rotary_factor", 1);
    hw_config_expect_number(c, "rope_parameters.partial_rotary_factor", 1);
    hw_rope_read(c, "rope_theta", 10000, &layout->rope);
    hw_config_refuse_unread(c, harmless);
}

static void describe_gguf(struct hw_config *c, struct hw_model_desc *d, struct hw_layout *layout) {
    d->d_model = hw_config_size(c, "embedding_length", HW_REQUIRED);
    d->d_mlp = hw_config_size(c, "feed_forward_length", HW_REQUIRED);
    d->n_layers = hw_config_size(c, "block_count", HW_REQUIRED);
    d->n_heads = hw_config_size(c, "attention.head_count", HW_REQUIRED);
    d->n_kv_heads = hw_config_size(c, "attention.head_count_kv", d->n_heads);
    d->d_head = hw_config_size(c, "attention.key_length", d->d_model / d->n_heads);
    d->n_context = hw_config_size(c, "context_length", HW_REQUIRED);
    d->norm_eps =
        (float)hw_config_number(c, "attention.layer_norm_rms_epsilon", HW_REQUIRED_NUMBER);
    d->n_vocab = hw_config_has(c, "vocab_size") ? hw_config_size(c, "vocab_size", HW_REQUIRED) : 0;
    d->n_rot = d->d_head;
    d->activation = HW_ACT_SILU;
    hw_config_expect_number(c, "attention.value_length", (double)d->d_head);
    hw_config_expect_number(c, "rope.dimension_count", (double)d->d_head);
    hw_config_expect_number(c, "expert_count", 0);
    hw_config_expect_number(c, "expert_used_count", 0);
    hw_config_expect_bool(c, "attention.causal", true);
    layout->names = &names_gguf;
    layout->is_rotary_permuted = true;
    layout->is_tied_if_absent = true;
    layout->qkv_bias = HW_BIAS_OPTIONAL;
    layout->o_bias = HW_BIAS_OPTIONAL;
    layout->mlp_bias = HW_BIAS_OPTIONAL;
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
    desc->norm = HW_NORM_RMS;
    desc->position = HW_POSITION_ROPE;
    desc->is_gated = true;
    layout->qkv = HW_QKV_SEPARATE;
    layout->score_scale = 1 / sqrt((double)desc->d_head);
}

const struct hw_family hw_family_llama = {"llama", "llama", "llama", describe};
