# Tiny random models, written by transformers' own classes: each row is a switch that a port can get
# wrong.
#
# Weights are large enough that every attention head is far from uniform and every bias and norm
# weight matters.
import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

VOCAB = 97
PROMPT_LENGTHS = (1, 7, 33, 70)


def llama(**changes):
    base = dict(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=95,
        eos_token_id=96,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0),
    )
    return LlamaForCausalLM, LlamaConfig(**{**base, **changes})


def gpt2(**changes):
    base = dict(
        vocab_size=VOCAB,
        n_embd=36,
        n_head=3,
        n_layer=2,
        n_inner=72,
        n_positions=128,
        bos_token_id=95,
        eos_token_id=96,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
    )
    return GPT2LMHeadModel, GPT2Config(**{**base, **changes})


def gpt_neox(**changes):
    base = dict(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=95,
        eos_token_id=96,
        layer_norm_eps=1e-5,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25),
    )
    return GPTNeoXForCausalLM, GPTNeoXConfig(**{**base, **changes})


LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=10000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
MODELS = {
    "llama-gqa": llama(),
    "llama-untied": llama(tie_word_embeddings=False, num_key_value_heads=4, rms_norm_eps=1e-6),
    "llama-bias": llama(attention_bias=True, mlp_bias=True),
    "llama-head-dim": llama(
        hidden_size=40, head_dim=12, num_attention_heads=4, num_key_value_heads=1
    ),
    "llama-rope-llama3": llama(rope_parameters=LLAMA3),
    "llama-rope-linear": llama(
        rope_parameters=dict(rope_type="linear", rope_theta=5000.0, factor=4.0)
    ),
    "gpt2": gpt2(),
    "gpt2-inverse-layer": gpt2(n_layer=3, n_inner=None, scale_attn_by_inverse_layer_idx=True),
    "gpt2-bare-names": gpt2(activation_function="gelu"),
    "gpt-neox-parallel": gpt_neox(use_parallel_residual=True),
    "gpt-neox-sequential": gpt_neox(
        use_parallel_residual=False,
        rope_parameters=dict(rope_type="default", rope_theta=5000.0, partial_rotary_factor=0.5),
    ),
}


def prompts(name):
    """Random ids with repeats, so that some heads have something to find."""
    generator = torch.Generator().manual_seed(len(name))
    out = []
    for n in PROMPT_LENGTHS:
        ids = torch.randint(0, VOCAB, (n,), generator=generator)
        ids[n // 2 :] = torch.where(
            torch.rand(n - n // 2, generator=generator) < 0.5, ids[: n - n // 2], ids[n // 2 :]
        )
        out.append([95] + ids.tolist()[1:])
    return out


def fill(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() == 1 and name.endswith("weight"):  # a norm
                p.copy_(1 + 0.3 * noise)
            elif p.dim() == 1:
                p.copy_(0.3 * noise)
            elif any(s in name for s in ("wte", "embed_tokens", "embed_in")):
                p.copy_(noise)
            elif any(s in name for s in ("lm_head", "embed_out", "wpe")):
                p.copy_(0.5 * noise)
            else:
                n_in = p.shape[0] if "Conv1D" in type(owner(model, name)).__name__ else p.shape[1]
                p.copy_(noise * n_in**-0.5 * (2.0 if is_query_or_key(name) else 1.0))
    model.tie_weights()
    return model.eval()


def owner(model, name):
    return model.get_submodule(name.rpartition(".")[0])


def is_query_or_key(name):
    return any(s in name for s in ("q_proj", "k_proj", "c_attn", "query_key_value"))


def build(name):
    cls, config = MODELS[name]
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    return fill(cls(config), seed=1000 + sorted(MODELS).index(name))


# A byte-level vocabulary of printable ASCII with one merge in the place of '~', so that text works
# too.
SYMBOLS = ["\u0120" if c == 32 else chr(c) for c in range(32, 126)] + ["th"]
MERGES = ["t h"]


def tokenizer_files(folder):
    special = [
        dict(
            id=i,
            content=s,
            single_word=False,
            lstrip=False,
            rstrip=False,
            normalized=False,
            special=True,
        )
        for i, s in ((95, "<s>"), (96, "</s>"))
    ]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    data = dict(
        version="1.0",
        truncation=None,
        padding=None,
        added_tokens=special,
        normalizer=None,
        pre_tokenizer=level,
        post_processor=None,
        decoder=level,
        model=dict(
            type="BPE",
            dropout=None,
            unk_token=None,
            continuing_subword_prefix=None,
            end_of_word_suffix=None,
            fuse_unk=False,
            byte_fallback=False,
            ignore_merges=False,
            vocab={s: i for i, s in enumerate(SYMBOLS)} | {"<s>": 95, "</s>": 96},
            merges=MERGES,
        ),
    )
    (folder / "tokenizer.json").write_text(
        json.dumps(data, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def save(name, model, folder):
    if folder.exists():
        shutil.rmtree(folder)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer_files(folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version", None)
    weights = folder / "model.safetensors"
    if name == "llama-rope-linear":  # as older files have it: no rope_parameters, torch_dtype
        rope = config.pop("rope_parameters")
        config |= dict(
            rope_theta=rope["rope_theta"], rope_scaling=dict(type="linear", factor=rope["factor"])
        )
        config["torch_dtype"] = config.pop("dtype")
    if (
        name == "gpt2-bare-names"
    ):  # as the files in circulation have it: no prefix, mask buffers, no lm_head
        tensors = {
            k.removeprefix("transformer."): v
            for k, v in load_file(weights).items()
            if k != "lm_head.weight"
        }
        n = config["n_positions"] // 4
        for layer in range(config["n_layer"]):
            tensors[f"h.{layer}.attn.bias"] = torch.ones(n, n).tril()[None, None]
            tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        save_file(
            {k: v.contiguous() for k, v in tensors.items()}, weights, metadata={"format": "pt"}
        )
        config.pop("tie_word_embeddings", None)
    if (
        name == "gpt-neox-sequential"
    ):  # the buffers that older files store and that are to be ignored
        tensors = load_file(weights)
        for layer in range(config["num_hidden_layers"]):
            at = f"gpt_neox.layers.{layer}.attention."
            tensors[at + "rotary_emb.inv_freq"] = torch.full((4,), 0.5)
            tensors[at + "bias"] = torch.ones(8, 8).tril()[None, None].bool()
            tensors[at + "masked_bias"] = torch.tensor(-1e9)
        save_file(tensors, weights, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
