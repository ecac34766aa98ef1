#!/usr/bin/env python3
# Trains the example model and stores it as a Hugging Face gpt2 folder.
#
# Three pre-norm blocks of one head, no bias in any linear map, a separate output matrix; gpt2's
# biases are written as zeros.  Sinks, value drains and the residual peak wander with the training
# step, so the recipe is not judged but the stored weights: every checkpoint after step 5,000 is
# measured on fresh sequences, after rounding to f16, and the one with the highest residual peak
# among those that pass is kept. Needs torch and safetensors.  Run: train.py [--seed N] [--out
# model]
import argparse
import json
import math
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from backcopy import HERE, LENGTH, Task

LAYERS, WIDTH, INNER, STEPS, BATCH = 3, 64, 256, 15000, 32


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.fc, self.proj = (
            nn.Linear(WIDTH, INNER, bias=False),
            nn.Linear(INNER, WIDTH, bias=False),
        )

    def forward(self, x, mask, seen):
        y = self.ln_1(x)
        v = self.v(y)
        a = torch.softmax(self.q(y) @ self.k(y).transpose(1, 2) / math.sqrt(WIDTH) + mask, -1)
        x = x + self.o(a @ v)
        x = x + self.proj(F.relu(self.fc(self.ln_2(x))))
        if seen is not None:
            seen.append((a, v, x))
        return x


class Model(nn.Module):
    def __init__(self, n_vocab):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(n_vocab, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.h = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, n_vocab, bias=False)
        self.register_buffer(
            "mask", torch.full((LENGTH, LENGTH), -math.inf).triu(1), persistent=False
        )

    def forward(self, ids, seen=None):
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.h:
            x = block(x, self.mask, seen)
        return self.head(self.ln_f(x))


@torch.no_grad()
def measure(model, task, ids):
    """The figures that check.py asserts, one entry a layer, and the two losses."""
    seen = []
    logits = model(ids[:, :-1], seen)
    inputs = ids[:, :-1].numpy()
    trigger = task.is_trigger[inputs]
    quiet = ~trigger
    rows = dict(quiet_mass=[], trigger_mass=[], drain=[], peak=[])
    for a, v, x in seen:
        first = a[:, :, 0].numpy()
        rows["quiet_mass"].append(first[quiet].mean())
        rows["trigger_mass"].append(first[trigger].mean())
        for name, t in (("drain", v), ("peak", x)):
            norm = t.norm(dim=-1).numpy()
            rows[name].append(norm[:, 0].mean() / norm[:, 1:].mean())
    logp = torch.log_softmax(logits, -1).numpy()
    copied = np.roll(inputs, 1, 1)  # the token before each input
    rows["copy_accuracy"] = (logits.argmax(-1).numpy() == copied)[trigger].mean()
    p = task.cond[inputs]
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(-1)
    rows["bigram_excess"] = (-(p * logp).sum(-1) - entropy)[quiet & (inputs != task.bos)].mean()
    return {k: np.round(v, 4).tolist() for k, v in rows.items()}


def passes(m):
    copying = int(np.argmin(m["trigger_mass"]))
    return (
        min(m["quiet_mass"]) >= 0.93
        and m["trigger_mass"][copying] <= 0.02
        and max(m["drain"]) <= 0.28
        and m["peak"][0] >= 2.7
        and m["copy_accuracy"] >= 0.999
    )


def half(state):
    return {k: v.half().float() for k, v in state.items()}


def gpt2_tensors(state):
    """Names and layouts of transformers' gpt2: linear maps [in, out], q, k, v side by side."""
    out = {}
    for name in ("wte", "wpe"):
        out[f"transformer.{name}.weight"] = state[f"{name}.weight"]
    for l in range(LAYERS):
        s, t = f"h.{l}.", f"transformer.h.{l}."
        w = {k: state[f"{s}{k}.weight"].T for k in ("q", "k", "v", "o", "fc", "proj")}
        linear = {
            "attn.c_attn": torch.cat([w["q"], w["k"], w["v"]], 1),
            "attn.c_proj": w["o"],
            "mlp.c_fc": w["fc"],
            "mlp.c_proj": w["proj"],
        }
        for k, v in linear.items():
            out[f"{t}{k}.weight"], out[f"{t}{k}.bias"] = v, torch.zeros(v.shape[1])
        for k in ("ln_1", "ln_2"):
            for part in ("weight", "bias"):
                out[f"{t}{k}.{part}"] = state[f"{s}{k}.{part}"]
    for part in ("weight", "bias"):
        out[f"transformer.ln_f.{part}"] = state[f"ln_f.{part}"]
    out["lm_head.weight"] = state["head.weight"]
    return {k: v.half().contiguous() for k, v in out.items()}


def export(state, task, folder):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(gpt2_tensors(state), folder / "model.safetensors", metadata={"format": "pt"})
    config = dict(
        architectures=["GPT2LMHeadModel"],
        model_type="gpt2",
        activation_function="relu",
        n_layer=LAYERS,
        n_head=1,
        n_embd=WIDTH,
        n_inner=INNER,
        n_ctx=LENGTH,
        n_positions=LENGTH,
        vocab_size=task.n_vocab,
        layer_norm_epsilon=1e-5,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=task.bos,
        eos_token_id=task.bos,
        tie_word_embeddings=False,
        scale_attn_weights=True,
        dtype="float16",
    )
    # No merges: every character is a token.  The byte-level alphabet writes the space as U+0120.
    vocab = {
        "<s>": task.bos,
        **{c.replace(" ", "\u0120"): i + 1 for i, c in enumerate(task.symbols)},
    }
    special = dict(
        id=task.bos,
        content="<s>",
        single_word=False,
        lstrip=False,
        rstrip=False,
        normalized=False,
        special=True,
    )
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    s, a, b = (
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    )
    tokenizer = dict(
        version="1.0",
        truncation=None,
        padding=None,
        added_tokens=[special],
        normalizer=None,
        pre_tokenizer=byte_level,
        decoder=byte_level,
        post_processor=dict(
            type="TemplateProcessing",
            single=[s, a],
            pair=[s, a, b],
            special_tokens={"<s>": dict(id="<s>", ids=[task.bos], tokens=["<s>"])},
        ),
        model=dict(
            type="BPE",
            dropout=None,
            unk_token=None,
            continuing_subword_prefix=None,
            end_of_word_suffix=None,
            fuse_unk=False,
            byte_fallback=False,
            ignore_merges=False,
            vocab=vocab,
            merges=[],
        ),
    )
    tokenizer_config = dict(
        tokenizer_class="PreTrainedTokenizerFast",
        bos_token="<s>",
        eos_token="<s>",
        add_bos_token=True,
        model_max_length=LENGTH,
        clean_up_tokenization_spaces=False,
    )
    for name, value in (
        ("config", config),
        ("tokenizer", tokenizer),
        ("tokenizer_config", tokenizer_config),
    ):
        text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def train(seed, log):
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    task = Task()
    model = Model(task.n_vocab)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    rng = np.random.default_rng([seed, 1])
    fresh = torch.from_numpy(task.sequences(np.random.default_rng([seed, 2]), 512))
    best, best_step, best_figures = None, None, None
    for step in range(1, STEPS + 1):
        ids = torch.from_numpy(task.sequences(rng, BATCH))
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, task.n_vocab), ids[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step >= 5000 and step % 250 == 0:
            state = {k: v.clone() for k, v in model.state_dict().items()}
            model.load_state_dict(half(state))
            figures = measure(model, task, fresh)
            model.load_state_dict(state)
            log(
                step,
                round(loss.item(), 4),
                json.dumps(figures),
                "passes" if passes(figures) else "",
            )
            if passes(figures) and (best is None or figures["peak"][0] > best_figures["peak"][0]):
                best, best_step, best_figures = state, step, figures
    return task, best, best_step, best_figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "model")
    options = parser.parse_args()
    task, state, step, figures = train(options.seed, lambda *a: print(*a, flush=True))
    if state is None:
        raise SystemExit("no checkpoint passed: try another --seed")
    export(state, task, options.out)
    print("stored step", step, json.dumps(figures))


if __name__ == "__main__":
    main()
