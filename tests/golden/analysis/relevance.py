#!/usr/bin/env python3
"""Golden of rollout and flow: maps of transformers in true float64, multiplied by numpy, flows by igraph.

    python analysis/relevance.py SmolLM2-135M-Instruct.Q4_1.gguf      (from tests/golden; writes analysis/relevance.json)

The formulas are those of Abnar & Zuidema 2020 (samiraabnar/attention_flow 8044f53, attention_graph_util.py): heads reduced
first, identity added, rows divided by their sum; R_l = M_l R_(l-1); one largest flow per pair of tokens with M as
capacities. Stored for the last token: rows of the rollout after some layers, and flows to some tokens.
"""
import json
import pathlib
import sys

import igraph
import numpy as np
import transformers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from reference import as_float64, run  # noqa: E402
from smollm2 import load  # noqa: E402

REDUCTIONS = {"mean": lambda p: p.mean(1), "max": lambda p: p.max(1), "min": lambda p: p.min(1), "head=1": lambda p: p[:, 1]}


def patterns(model, ids):
    model.config._attn_implementation = "eager"
    return run(model, ids, lambda site, layer, x: x if site == "pattern" else None)["pattern"]


def mixed(maps, is_raw=False):
    if is_raw:
        return maps
    maps = maps + np.eye(maps.shape[-1])
    return maps / maps.sum(-1, keepdims=True)


def rollout(maps):
    rolled = [maps[0]]
    for m in maps[1:]:
        rolled.append(m @ rolled[-1])
    return np.stack(rolled)


def flows(maps, source, targets):
    n_layers, n = maps.shape[:2]
    edges, capacities = [], []
    for layer in range(n_layers):
        i, j = np.nonzero(maps[layer])
        edges += zip(((layer + 1) * n + i).tolist(), (layer * n + j).tolist())
        capacities += maps[layer][i, j].tolist()
    graph = igraph.Graph(n=(n_layers + 1) * n, edges=edges, directed=True)
    return [graph.maxflow_value(n_layers * n + source, t, capacities) for t in targets]


def figures(model, ids, targets):
    pattern = patterns(model, ids)
    n_layers = len(pattern)
    layers = sorted({0, n_layers // 2, n_layers - 1})
    out = {"ids": [int(i) for i in ids], "layers": layers, "rollout": {}}
    for name, reduce in REDUCTIONS.items():
        out["rollout"][name] = rollout(mixed(reduce(pattern)))[layers, -1].round(9).tolist()
    out["raw"] = rollout(mixed(pattern.mean(1), True))[layers, -1].round(9).tolist()
    out["targets"] = targets
    values = flows(mixed(pattern.mean(1)), len(ids) - 1, targets)
    out["flow"] = [round(v, 9) for v in values]
    return out


def main():
    path = pathlib.Path(sys.argv[1])
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    ids = tokenizer.encode((HERE.parent / "text" / "medium.txt").read_text(encoding="utf-8"))[:300]
    golden = {"smollm2": figures(as_float64(load(path)), ids, list(range(0, len(ids), 23)) + [len(ids) - 2, len(ids) - 1])}
    tiny = transformers.AutoModelForCausalLM.from_pretrained(HERE.parent / "models" / "gpt2")
    ids = np.random.default_rng(4).integers(0, 95, 100).tolist()
    golden["gpt2"] = figures(as_float64(tiny), ids, list(range(0, 100, 9)))
    with open(HERE / "relevance.json", "w", encoding="utf-8") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")


main()
