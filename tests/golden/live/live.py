#!/usr/bin/env python3
# Compares a capture of any model with the float64 oracle, site by site and statistic by statistic.
#
# Runs `headwater capture` on a model folder or GGUF file and a prompt file, then transformers' own
# classes in float32 and in true float64 on the same token ids, and prints for each quantity the
# largest error of ours, of transformers' float32, and their ratio.  Ours must stay within 3 times;
# below ROUNDING both are float32 as good as it gets.  The rule for each site is in ../README.md.
# Needs torch, transformers, h5py (and gguf, accelerate for GGUF files).  Exit 1 if ours is worse.
# transformers does not read every GGUF file whole: such a one is refused, unless --reference names a
# folder with the same weights.
# Run: live.py --headwater build/tools/headwater --model M --prompts P.jsonl
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import h5py  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from statistics_of_sites import PER_PROMPT, statistic_error, statistics  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from reference import FAMILIES, as_float64, error, run  # noqa: E402

FACTOR = 3.0
ROUNDING = 2.0**-23  # of a float32 result of about 1: two roundings of half a unit
RECORDS = ("default", "attention_maps", "residual", "z", "head_result", "value", "logits",
           "attention_output", "mlp_output")  # fmt: skip
DATASETS = {
    "pattern": "attention/pattern",
    "residual": "activations/residual",
    "value": "activations/value",
    "z": "activations/z",
    "head_result": "activations/head_result",
    "attention_output": "activations/attention_output",
    "mlp_output": "activations/mlp_output",
    "logits": "logits/logits",
    "token_logprob": "token_logprob",
}


class Capture:
    """One prompt of a capture, handed out by site or statistic and layer."""

    def __init__(self, file, prompt):
        self.file, self.prompt = file, prompt
        self.first = int(file["token_start"][prompt])
        self.n = int(file["n_tokens"][prompt])
        self.tokens = slice(self.first, self.first + self.n)
        names = [s.decode() if isinstance(s, bytes) else s for s in file["span"][:]]
        self.spans = {name: i for i, name in enumerate(names)}
        self.missing = set()

    def site(self, site, layer):
        data = self.file.get(DATASETS.get(site, "?"))
        if data is None:
            return None
        if site == "pattern":
            return data[self.prompt, layer, :, : self.n, : self.n]
        if site == "logits":
            return data[self.tokens]
        if site == "token_logprob":
            return data[self.tokens][1:]
        return data[self.tokens, layer]

    def statistic(self, name, layer):
        stem, _, spans = name.partition(".")
        data = self.file.get(stem)
        if data is None:
            self.missing.add(stem)
            return None
        at = self.prompt if stem in PER_PROMPT else self.tokens
        if stem in ("prompt_loss", "final_norm", "next_entropy", "next_top_logit"):
            return data[at]
        if spans:
            query, key = (self.spans[s] for s in spans.split("."))
            return data[at, layer, :, query, key]
        return data[at, layer]


class Table:
    """Collects the errors of ours and of transformers' float32 while the float64 run goes by."""

    def __init__(self):
        self.rows = {}

    def add(self, name, ours, theirs):
        old = self.rows.get(name, (0.0, 0.0))
        self.rows[name] = (max(old[0], ours), max(old[1], theirs))

    def worst(self):
        return max((o / max(t, ROUNDING) for o, t in self.rows.values()), default=np.inf)

    def print(self):
        print(f"{'quantity':28} {'ours':>9} {'float32':>9} {'ratio':>7}")
        for name, (ours, theirs) in self.rows.items():
            ratio = ours / max(theirs, ROUNDING)
            mark = "  TOO LARGE" if not ratio <= FACTOR else ""
            print(f"{name:28} {ours:9.1e} {theirs:9.1e} {ratio:7.2f}{mark}")


def at_argmax(pattern, found):
    """What the reference map [H, T, T] holds at the keys found [T, H]."""
    return np.take_along_axis(pattern, np.asarray(found, np.int64).T[:, :, None], 2)[:, :, 0].T


def float32_side(model, ids, n_offsets, n_rank):
    """Sites (where a capture stores them) and statistics of transformers' own float32 run."""
    sites, found = {}, {}

    def keep(site, layer, tensor):
        x = tensor.numpy()
        if site in DATASETS:
            sites[site, layer] = x.copy()
        for name, value in statistics(site, x, n_offsets, n_rank).items():
            found[name, layer] = value

    run(model, ids, keep)
    return sites, found


def compare_prompt(capture, models, table):
    single_model, exact_model = models
    ids = [int(i) for i in capture.file["token_id"][capture.tokens]]
    n_offsets = capture.file["offset"].shape[0]
    n_rank = capture.file["rank"].shape[0]
    sites, found = float32_side(single_model, ids, n_offsets, n_rank)

    def keep(site, layer, tensor):
        x = tensor.numpy()
        ours = capture.site(site, layer)
        if ours is not None:
            table.add(site, error(site, x, ours), error(site, x, sites[site, layer]))
        for name, value in statistics(site, x, n_offsets, n_rank).items():
            ours = capture.statistic(name, layer)
            if ours is None:
                continue
            theirs = found[name, layer]
            if name == "attention_argmax":
                value, ours, theirs = (at_argmax(x, k) for k in (value, ours, theirs))
            table.add(
                name, statistic_error(name, value, ours), statistic_error(name, value, theirs)
            )

    run(exact_model, ids, keep)


def what_is_ignored(path, model):
    """What transformers left out of a GGUF file, of which it says nothing; empty where nothing."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    scaling = [name for name in reader.fields if ".rope.scaling." in name]
    scaling += [t.name for t in reader.tensors if t.name.startswith("rope_")]
    there = sum(int(t.n_elements) for t in reader.tensors if t.name not in scaling)
    taken = sum(p.numel() for p in model.parameters())
    weights = [] if there == taken else [f"{there - taken} of {there} weights"]
    return ", ".join(scaling + weights)


def load(path):
    if path.is_dir():
        where, options = path, {}
    else:
        where, options = path.parent, {"gguf_file": path.name}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            where, dtype=torch.float32, attn_implementation="eager", **options
        ).eval()
    except (RuntimeError, ValueError) as why:
        raise SystemExit(f"{path}: transformers cannot read it ({why}): give --reference") from why
    if options and (ignored := what_is_ignored(path, model)):
        raise SystemExit(f"{path}: transformers ignores {ignored}: give --reference")
    if model.config.model_type not in FAMILIES:
        raise SystemExit(f"expected one of {', '.join(FAMILIES)}, found {model.config.model_type}")
    return model, lambda: AutoTokenizer.from_pretrained(where, **options)


def capture_command(options, out):
    command = [options.headwater, "capture", "--model", options.model, "--prompts", options.prompts]
    for record in RECORDS:
        command += ["--record", record]
    command += ["--attention-dtype", "f32", "--progress", "none", "--out", out, "--overwrite"]
    return [str(c) for c in command]


def check_ids(file, tokenizer, prompts):
    """Whether our token ids are those of transformers' tokenizer, where the prompts are text."""
    entries = [json.loads(line) for line in open(prompts, encoding="utf-8") if line.strip()]
    for prompt, entry in enumerate(entries):
        if "text" not in entry:
            continue
        first, n = int(file["token_start"][prompt]), int(file["n_tokens"][prompt])
        ours = file["token_id"][first : first + n].tolist()
        expected = tokenizer(entry["text"])["input_ids"][:n]
        if ours != expected:
            at = next((i for i, (a, b) in enumerate(zip(ours, expected)) if a != b), len(expected))
            print(f"prompt {prompt}: token ids differ from position {at} on")
            return False
    return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--headwater", type=pathlib.Path, default="headwater")
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--prompts", type=pathlib.Path, required=True, help="JSON lines")
    parser.add_argument("--reference", type=pathlib.Path, help="what transformers reads instead")
    parser.add_argument("--capture", type=pathlib.Path, help="use this capture, run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = options.capture or pathlib.Path(folder) / "run.h5"
        if not options.capture:
            subprocess.run(capture_command(options, path), check=True)
        model, tokenizer = load(options.reference or options.model)
        models, table = (model, as_float64(model)), Table()
        with h5py.File(path) as file:
            same_ids = check_ids(file, tokenizer(), options.prompts)
            missing = set()
            for prompt in range(file["prompt"].shape[0]):
                capture = Capture(file, prompt)
                compare_prompt(capture, models, table)
                missing |= capture.missing
    table.print()
    if missing:
        print("not in the capture:", ", ".join(sorted(missing)))
    holds = same_ids and table.worst() <= FACTOR
    print(f"{'ok' if holds else 'FAILED'}: worst ratio {table.worst():.2f}, limit {FACTOR:g}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
