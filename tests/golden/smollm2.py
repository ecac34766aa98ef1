# Goldens of SmolLM2-135M-Instruct from its own GGUF file (Q4_1 expanded to float32), on three
# public-domain texts.
#
# The float32 run comes first and is kept whole; the float64 run is compared with it site by site as
# it goes, over every layer, head and token, and only chosen rows are kept.  They are stored as
# float32: rounding the reference adds 6e-8 of each value, far below the errors that are compared;
# statistics and log-probabilities are float64.
import pathlib

import gguf
import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from reference import as_float64, error, run
from store import last_rows

HEADS = ((0, 0), (3, 4), (7, 2), (11, 8), (12, 0), (18, 8), (23, 5), (29, 1))
N_QUERIES = 12
ROWS = {  # tokens kept a site and text
    "short": dict(residual=2, value=2, z=1, final=2),
    "medium": dict(residual=5, value=3, z=2, final=2),
    "long": dict(residual=3, value=1, z=1, final=2),
}
N_LOGIT_ROWS, N_TOP, N_RANDOM = 2, 64, 256
SITES = (
    "residual",
    "pattern",
    "value",
    "z",
    "head_result",
    "attention_output",
    "mlp_output",
    "final",
    "logits",
    "token_logprob",
)


def statistics(pattern):
    """sink_score and mean row entropy in nats per head, from the map [H, T, T] in double."""
    logs = np.log(np.where(pattern > 0, pattern, 1))
    return pattern[:, :, 0].mean(1), -(pattern * logs).sum(2).mean(1)


class Comparison:
    """Takes the sites of the float64 run, compares, keeps what is stored."""

    def __init__(self, name, single, n_tokens):
        self.name, self.single = name, single
        self.errors, self.kept, self.lines = {}, {}, {}
        self.queries = last_rows(n_tokens, N_QUERIES)
        self.rows = {"head_result": [0, n_tokens - 1]}
        self.rows |= {
            site: last_rows(n_tokens, n) if n > 1 else [n_tokens - 1]
            for site, n in ROWS[name].items()
        }

    def __call__(self, site, layer, tensor):
        if site not in SITES:
            return None
        exact, other = tensor.numpy(), self.single[site][layer]
        self.errors.setdefault(site, []).append(error(site, exact, other))
        if site == "pattern":
            self.keep_maps(layer, exact, other)
        elif site == "head_result":
            self.keep_heads(site, layer, lambda head: exact[[0, -1], head])
        elif site in self.rows:
            self.kept.setdefault(site, []).append(exact[self.rows[site]].astype(np.float32))
        elif site == "logits":
            self.keep_logits(exact)
        elif site == "token_logprob":
            self.kept[site] = [exact.copy()]
        if site == "residual":
            self.line(
                "residual_norm",
                np.linalg.norm(exact, axis=1),
                np.linalg.norm(other.astype(float), axis=1),
            )
        return None

    def line(self, name, exact, other):
        self.lines.setdefault(name, []).append((exact, other))

    def keep_maps(self, layer, exact, other):
        for name, a, b in zip(
            ("sink_score", "entropy_mean"), statistics(exact), statistics(other.astype(np.float64))
        ):
            self.line(name, a, b)
        self.keep_heads("pattern", layer, lambda head: exact[head, self.queries])

    def keep_heads(self, site, layer, rows_of):
        for l, head in HEADS:
            if l == layer:
                self.kept.setdefault(site, []).append(rows_of(head).astype(np.float32))

    def keep_logits(self, exact):
        rows = last_rows(len(exact), N_LOGIT_ROWS)
        generator = np.random.default_rng(0)
        ids = [
            np.concatenate(
                [np.argsort(-exact[r])[:N_TOP], generator.choice(exact.shape[1], N_RANDOM, False)]
            )
            for r in rows
        ]
        self.rows["logits"] = rows
        self.kept["logits_ids"] = ids
        self.kept["logits"] = [exact[r][i].astype(np.float32) for r, i in zip(rows, ids)]

    def tensors(self, ids):
        out = {
            f"{self.name}.ids": np.array(ids, np.int64),
            f"{self.name}.rows.pattern": np.array(self.queries),
            f"{self.name}.heads": np.array(HEADS, np.int64),
        }
        for site, values in self.kept.items():
            out[f"{self.name}.{site}"] = np.ascontiguousarray(np.stack(values))
            if site in self.rows:
                out[f"{self.name}.rows.{site}"] = np.array(self.rows[site], np.int64)
        for site, values in self.errors.items():
            out[f"{self.name}.error_by_layer.{site}"] = np.array(values)
            out[f"{self.name}.error.{site}"] = np.array([max(values)])
        for name, pairs in self.lines.items():
            exact, other = (np.stack([p[i] for p in pairs]) for i in (0, 1))
            scale = np.abs(exact) if name == "residual_norm" else 1
            out[f"{self.name}.{name}"] = (
                exact.astype(np.float32) if name == "residual_norm" else exact
            )
            out[f"{self.name}.error.{name}"] = np.array([(np.abs(other - exact) / scale).max()])
        return out


def load(path):
    """The model with float32 weights, checked to be the file's own expanded by gguf."""
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    model.config._attn_implementation = "eager"
    stored = {t.name: t for t in gguf.GGUFReader(path).tensors}
    for key, name in (
        ("model.layers.7.mlp.down_proj.weight", "blk.7.ffn_down.weight"),
        ("model.embed_tokens.weight", "token_embd.weight"),
    ):
        t = stored[name]
        if not np.array_equal(
            gguf.dequantize(t.data, t.tensor_type), model.state_dict()[key].numpy()
        ):
            raise SystemExit(f"{name} differs from what gguf expands")
    return model


def make(path, here):
    model = load(path)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    exact_model = as_float64(model)
    tensors = {}
    for name in ROWS:
        text = pathlib.Path(here / "text" / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")
        ids = tokenizer(text)["input_ids"]
        single = run(model, ids, lambda site, layer, tensor: tensor if site in SITES else None)
        comparison = Comparison(name, single, len(ids))
        run(exact_model, ids, comparison)
        found = comparison.tensors(ids)
        tensors |= found
        errors = {k.rpartition(".")[2]: f"{v[0]:.1e}" for k, v in found.items() if ".error." in k}
        print(name, len(ids), sum(v.nbytes for v in found.values()), errors, flush=True)
        print(
            "  heads with sink score > .3:",
            int((found[f"{name}.sink_score"] > 0.3).sum()),
            "loss",
            -found[f"{name}.token_logprob"].mean(),
        )
    note = f"{path.name}; transformers {transformers.__version__}, torch {torch.__version__}"
    save_file(tensors, here / "smollm2.safetensors", metadata={"note": note})
