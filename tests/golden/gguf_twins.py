# GGUF twins of the tiny models: the same weights, laid out as llama.cpp's converter does.
#
# llama: rows of q and k (and their biases) permuted for interleaved rope.  gpt2: Conv1D transposed.
# gpt_neox: q, k, v of all heads one after another.  Quantisation works along rows, so it commutes
# with all of these: the twin's weights in the original layout are dequantise(quantise(w)).
import copy

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

import tiny

F32, F16, Q8_0 = Type.F32, Type.F16, Type.Q8_0
TWINS = {
    "llama-gqa": (F32, F16, Q8_0),
    "llama-bias": (F32,),
    "llama-rope-llama3": (F32,),
    "llama-head-dim": (F32,),
    "llama-rope-linear": (F32,),
    "gpt2": (F32,),
    "gpt-neox-parallel": (F32,),
}

LLAMA = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
GPT2 = {
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
}
NEOX = {
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
TOP = {
    "embed_tokens": "token_embd",
    "wte": "token_embd",
    "embed_in": "token_embd",
    "wpe": "position_embd",
    "norm": "output_norm",
    "ln_f": "output_norm",
    "final_layer_norm": "output_norm",
    "lm_head": "output",
}
ARCHITECTURES = {"llama": ("llama", LLAMA), "gpt2": ("gpt2", GPT2), "gpt_neox": ("gptneox", NEOX)}


def gguf_name(key, blocks):
    """transformers' name, less its prefix, as GGUF's."""
    stem, _, part = key.rpartition(".")
    words = stem.split(".")
    for i, word in enumerate(words):
        if word.isdigit():
            return f"blk.{word}.{blocks['.'.join(words[i + 1 :])]}.{part}"
    return f"{TOP[words[-1]]}.{part}"


def permuted(w, n_heads):
    shape = (n_heads, 2, w.shape[0] // n_heads // 2, *w.shape[1:])
    return w.reshape(shape).swapaxes(1, 2).reshape(w.shape)


def laid_out(key, w, config):
    if config.model_type == "llama" and "q_proj" in key:
        return permuted(w, config.num_attention_heads)
    if config.model_type == "llama" and "k_proj" in key:
        return permuted(w, config.num_key_value_heads)
    if config.model_type == "gpt2" and any(s in key for s in ("c_attn", "c_proj", "c_fc")):
        return w.T
    if config.model_type == "gpt_neox" and "query_key_value" in key:
        n_heads = config.num_attention_heads
        return w.reshape(n_heads, 3, -1, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)
    return w


def stored_type(key, w, kind):
    return kind if w.ndim == 2 and "wpe" not in key else F32


def requantised(model, kind):
    """A copy of the model with the weights that the twin stores."""
    twin = copy.deepcopy(model)
    state = {}
    for key, tensor in model.state_dict().items():
        w = tensor.numpy()
        t = stored_type(key, w, kind)
        state[key] = torch.from_numpy(
            gguf.dequantize(gguf.quantize(w, t), t).astype(np.float32).reshape(w.shape)
        )
    twin.load_state_dict(state)
    twin.tie_weights()
    return twin


def add_settings(out, config):
    out.add_block_count(config.num_hidden_layers)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_head_count(config.num_attention_heads)
    kind = config.model_type
    if kind == "gpt2":
        out.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        out.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    out.add_feed_forward_length(config.intermediate_size)
    rope = config.rope_parameters
    if kind == "gpt_neox":  # rope.freq_base is left out: its default is 10,000
        assert rope["rope_theta"] == 10000.0
        width = config.hidden_size // config.num_attention_heads
        out.add_layer_norm_eps(config.layer_norm_eps)
        out.add_rope_dimension_count(int(width * rope["partial_rotary_factor"]))
        out.add_parallel_residual(config.use_parallel_residual)
        return
    width = config.head_dim or config.hidden_size // config.num_attention_heads
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_vocab_size(config.vocab_size)
    out.add_rope_freq_base(rope["rope_theta"])
    out.add_rope_dimension_count(width)
    out.add_key_length(width)
    out.add_value_length(width)
    if rope["rope_type"] == "linear":
        out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        out.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":  # the divisors of the frequencies are a tensor
        out.add_tensor("rope_freqs.weight", llama3_divisors(rope, width))


def llama3_divisors(rope, width):
    wave = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, width, 2) / width)
    long, short = (
        rope["original_max_position_embeddings"] / rope[k]
        for k in ("low_freq_factor", "high_freq_factor")
    )
    smooth = (rope["original_max_position_embeddings"] / wave - rope["low_freq_factor"]) / (
        rope["high_freq_factor"] - rope["low_freq_factor"]
    )
    middle = 1 / ((1 - smooth) / rope["factor"] + smooth)
    return np.where(wave < short, 1, np.where(wave > long, rope["factor"], middle)).astype(
        np.float32
    )


def add_tokenizer(out):
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tiny.SYMBOLS + ["<s>", "</s>"])
    out.add_token_types([gguf.TokenType.NORMAL] * 95 + [gguf.TokenType.CONTROL] * 2)
    out.add_token_merges(tiny.MERGES)
    out.add_bos_token_id(95)
    out.add_eos_token_id(96)
    out.add_add_bos_token(False)


def write(path, name, model, kind):
    config = model.config
    architecture, blocks = ARCHITECTURES[config.model_type]
    out = gguf.GGUFWriter(path, architecture)
    out.add_name(name)
    out.add_file_type({F32: 0, F16: 1, Q8_0: 7}[kind])
    add_settings(out, config)
    add_tokenizer(out)
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        w = np.ascontiguousarray(laid_out(key, tensor.numpy(), config))
        t = stored_type(key, w, kind)
        out.add_tensor(gguf_name(key, blocks), gguf.quantize(w, t), raw_dtype=t)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def write_all(name, model, folder):
    """Writes the twins; yields (name, model for a golden or None where weights are the same)."""
    for kind in TWINS.get(name, ()):
        twin = f"{name}-{kind.name.lower()}"
        write(folder / f"{twin}.gguf", twin, model, kind)
        yield twin, None if kind == F32 else requantised(model, kind)
