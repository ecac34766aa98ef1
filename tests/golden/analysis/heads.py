#!/usr/bin/env python3
"""Goldens of `heads` and `induction`: every measure of every head, from maps in true float64.

    python analysis/heads.py SmolLM2-135M-Instruct.Q4_1.gguf      (from tests/golden; writes analysis/heads.json)

Independent of headwater: maps come from transformers under reference.py, the measures are written here once more in numpy, from
whole maps and whole pattern matrices. After Clark et al. 2019 (General_Analysis.ipynb, head_distances.py), TransformerLens
(head_detector.py and its demos), msModelSlim's ra_compression (RazorAttention), Guo et al. 2024 (entropy.py).

Prompts: of SmolLM2 the first 300 tokens of the text long.txt and repeated ids with and without a token in front; of the tiny
gpt2 random ids and repeated ids. Stored for every `every`-th head of all layers in a row. What a threshold decides is stored as
[least, most]: the value with the threshold moved by a relative 1e-4 either way. The detector's abs score is stored unrounded.
"""
import json
import pathlib
import sys
import unicodedata

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from reference import as_float64, run  # noqa: E402
from smollm2 import load  # noqa: E402
from transformers import AutoTokenizer, GPT2LMHeadModel  # noqa: E402

TOP_P, MOVE = 0.9, 1e-4
JS_LAYERS = {"smollm2": (0, 11, 18), "gpt2": (0, 1)}


def entropy(p, axis=-1):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis)


def top_p_count(a, share):
    """Mean over rows of the smallest number of keys that hold the share."""
    falling = -np.sort(-a, axis=-1)
    held = np.cumsum(falling, -1)
    return ((held < share * a.sum(-1, keepdims=True)).sum(-1) + 1).mean(-1)


def sparsity(a, share):
    n = a.shape[-1]
    seen = np.tril(np.ones((n, n), bool))
    small = (a < share * a.max(-1, keepdims=True)) & seen
    return small.sum((-2, -1)) / seen.sum()


def detector(a, pattern):
    """TransformerLens: (mul, abs without its rounding)."""
    n = a.shape[-1]
    return (a * pattern).sum((-2, -1)) / a.sum((-2, -1)), 1 - np.abs(a - pattern).sum((-2, -1)) / n


def head_measures(a, special, punctuation):
    """a [head, T, T]; the two masks are [T]."""
    n = a.shape[-1]
    i = np.arange(n)
    previous = np.eye(n, k=-1)
    smooth = 0.9999 * a + 0.0001 / n
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = entropy(a / a.sum(-1, keepdims=True)) / np.log(i + 1)
        columns = entropy(a / a.sum(-2, keepdims=True), -2) / np.log(n - i)
    mul, absolute = detector(a, previous)
    out = {
        "entropy": entropy(a).mean(-1),
        "entropy_normalised": np.nan_to_num(rows, nan=0.0).mean(-1),
        "entropy_smoothed": entropy(smooth).mean(-1),
        "column_entropy": np.nan_to_num(columns, nan=0.0).max(-1),
        "first": a[:, :, 0].sum(-1) / n,
        "previous": (a * previous).sum((-2, -1)) / n,
        "previous_diagonal": np.diagonal(a, -1, -2, -1).mean(-1),
        "previous_mul": mul,
        "previous_abs": absolute,
        "self": np.trace(a, axis1=-2, axis2=-1) / n,
        "distance": (a * np.abs(i[:, None] - i)).sum((-2, -1)) / n,
        "max": a.max(-1).mean(-1),
        "top_p": (top_p_count(a, TOP_P * (1 - MOVE)), top_p_count(a, TOP_P * (1 + MOVE))),
        "sparsity": (sparsity(a, 0.01 * (1 - MOVE)), sparsity(a, 0.01 * (1 + MOVE))),
    }
    if punctuation is not None:
        out["punctuation"] = a[:, :, punctuation].sum((-2, -1)) / n
    if special is not None and special.any():
        out["special"] = a[:, :, special].sum((-2, -1)) / n
        out["special_from_special"] = a[:, special][:, :, special].sum(-1).mean(-1)
        out["special_from_others"] = a[:, ~special][:, :, special].sum(-1).mean(-1)
    return out


def js_sums(a):
    """[head, head]: Jensen-Shannon divergence of smoothed rows, summed over rows."""
    n = a.shape[-1]
    p = 0.999 * a + 0.001 / n
    out = np.zeros((len(a), len(a)))
    for u in range(len(a)):
        m = (p[u] + p) / 2
        kl = lambda x, m=m: (x * np.log(x / m)).sum((-2, -1))  # noqa: E731
        out[u] = (kl(np.broadcast_to(p[u], p.shape)) + kl(p)) / 2
    return out


def repeat_measures(a, ids, period, first):
    n = a.shape[-1]
    ids = np.array(ids)
    duplicate = np.tril(ids[:, None] == ids, -1).astype(float)
    induction = np.tril(np.concatenate([np.zeros((n, 1)), duplicate[:, :-1]], 1))
    p = a[:, first:, first:]
    t = n - first
    sums = {"induction": 0, "echo": 0, "copies": 0}
    n_pairs = 0
    for i in range(period, t):
        before = np.arange(i - period, -1, -period)
        after = p[:, i, before + 1].sum(-1)
        sums["induction"] += after
        sums["echo"] += p[:, i, before].sum(-1)
        sums["copies"] += after / len(before)
        n_pairs += len(before)
    out = {
        "induction": sums["induction"] / (t - period),
        "echo": sums["echo"] / (t - period),
        "induction_pairs": sums["induction"] / n_pairs,
        "echo_pairs": sums["echo"] / n_pairs,
        "induction_copies": sums["copies"] / (t - period),
        "stripe_induction": np.diagonal(a, 1 - period, -2, -1).mean(-1),
        "stripe_duplicate": np.diagonal(a, -period, -2, -1).mean(-1),
        "stripe_previous": np.diagonal(a, -1, -2, -1).mean(-1),
    }
    for name, pattern in (("induction", induction), ("duplicate", duplicate), ("previous", np.eye(n, k=-1))):
        out[f"{name}_mul"], out[f"{name}_abs"] = detector(a, pattern)
    return out


def maps(model, ids):
    return run(model, ids, lambda site, layer, x: x if site == "pattern" else None)["pattern"]


def pick(values, every):
    """[layer, head] as the stored heads in a row."""
    if isinstance(values, tuple):
        return [[float(f"{low:.9g}"), float(f"{high:.9g}")] for low, high in zip(*(v.ravel()[::every] for v in values))]
    return [float(f"{v:.9g}") for v in values.ravel()[::every]]


def by_layer(measure, pattern):
    """measure(a [head, T, T]) of every layer: {name: [layer, head]}."""
    layers = [measure(a) for a in pattern]
    return {
        name: tuple(np.stack(x) for x in zip(*(l[name] for l in layers)))
        if isinstance(layers[0][name], tuple)
        else np.stack([l[name] for l in layers])
        for name in layers[0]
    }


def golden(model, name, every, text_ids, special, punctuation, repeats):
    pattern = maps(model, text_ids)
    measures = by_layer(lambda a: head_measures(a, special, punctuation), pattern)
    layers = JS_LAYERS[name]
    sums = js_sums(np.concatenate([pattern[l] for l in layers]))
    out = {
        "every": every,
        "text": {
            "tokens": list(map(int, text_ids)),
            "heads": {k: pick(v, every) for k, v in measures.items()},
            "js_layers": list(layers),
            "js": [float(f"{v:.9g}") for v in sums[np.triu_indices(len(sums), 1)]],
        },
        "repeats": [],
    }
    for ids, period, first in repeats:
        scores = by_layer(lambda a, r=(ids, period, first): repeat_measures(a, *r), maps(model, ids))
        out["repeats"].append(
            {
                "tokens": list(map(int, ids)),
                "period": period,
                "first": first,
                "heads": {k: pick(v, every) for k, v in scores.items()},
            }
        )
    return out


def is_punctuation(text):
    text = text.strip()
    return bool(text) and all(unicodedata.category(c)[0] in "PS" for c in text)


def repeated(rng, low, high, period, repeats, first, distinct):
    ids = rng.choice(np.arange(low, high), period, replace=not distinct)
    return ([first] if first is not None else []) + list(np.tile(ids, repeats)), period, int(first is not None)


def main():
    path = pathlib.Path(sys.argv[1]).resolve()
    rng = np.random.default_rng(5)
    document = {"note": f"{path.name}; transformers {transformers.__version__}, torch {torch.__version__}"}
    model = load(path)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    text = (HERE.parent / "text" / "long.txt").read_text(encoding="utf-8").rstrip("\n")
    ids = tokenizer(text)["input_ids"][:300]
    punctuation = np.array([is_punctuation(tokenizer.decode([i])) for i in ids])
    special = np.array([i in set(tokenizer.all_special_ids) for i in ids])
    repeats = [
        repeated(rng, 1000, 10000, 50, 2, None, False),
        repeated(rng, 1000, 10000, 20, 4, tokenizer.bos_token_id, True),
    ]
    document["smollm2"] = golden(as_float64(model), "smollm2", 4, ids, special, punctuation, repeats)
    tiny = GPT2LMHeadModel.from_pretrained(HERE.parent / "models" / "gpt2", attn_implementation="eager").eval()
    tiny.config._attn_implementation = "eager"
    repeats = [repeated(rng, 1, 95, 12, 3, None, False), repeated(rng, 1, 95, 9, 4, 95, True)]
    document["gpt2"] = golden(as_float64(tiny), "gpt2", 1, [95] + list(rng.integers(1, 95, 69)), None, None, repeats)
    lines = json.dumps(document, indent=None, separators=(",", ":"))
    (HERE / "heads.json").write_text(lines.replace('},"', '},\n"').replace('],"', '],\n"') + "\n", encoding="utf-8")


main()
