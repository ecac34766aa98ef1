#!/usr/bin/env python3
# Makes edits/NAME.safetensors: what every case of cases.py comes to in true float64, and how far a
# float32 run of the same hooks is from that.  Run: make_edits.py [NAME...] [SMOLLM2.gguf]
import dataclasses
import json
import os
import pathlib
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from cases import Shape, all_cases  # noqa: E402
from hooks import (  # noqa: E402
    Attend,
    Changed,
    Prompt,
    Write,
    collect,
    generate,
    mean_of,
    position_mean_of,
    shape_of,
)
from safetensors.numpy import save_file  # noqa: E402

import reorder  # noqa: E402
import smollm2  # noqa: E402
import tiny  # noqa: E402
from reference import as_float64, error  # noqa: E402

EVERY_CASE = ("llama-gqa", "gpt2-inverse-layer", "gpt-neox-parallel")
SOME_CASES = ("llama-bias", "llama-head-dim", "llama-rope-llama3", "gpt-neox-sequential")
SOURCED = ("mean", "position_mean", "from", "resample")
REAL_ORDERS = 4  # of the channels of the real model, of which each is 540 MB
WHOLE = 7  # prompts up to here: maps are stored whole; of longer ones, and of entropies, the last row
VISIBLE = 100  # times the error of float32: what a case changes at least, so that it says something
LEAD = 1e-3  # of the chosen token over the next one: float32 chooses the same


# Prompts: lines of the file that the program is given, and the ids of each and of its counterpart.


def line(name, ids, domain, counterpart=None):
    found = {"name": name, "tokens": ids, "domain": domain, "spans": {"needle": [2, 5]}}
    return found | ({"counterpart": counterpart} if counterpart else {})


def tiny_prompts(name):
    generator = np.random.default_rng(len(name))
    main, other = [], []
    for i, ids in enumerate(tiny.prompts(name)[1:]):
        # One character is one token: printable ASCII without t and h, which merge.
        letters = [c for c in range(95) if c not in (52, 72, 62) and c < 94]
        counterpart = generator.choice(letters, len(ids)).tolist()
        text = "".join(chr(32 + c) for c in counterpart)
        main.append(line(f"main{i}", ids, "aba"[i], text))
        other.append(counterpart)
    ids = tiny.prompts(name)[2]
    pair = [line("pair0", ids, "a"), line("pair1", ids[::-1], "a")]
    return {"main": main, "pair": pair}, other


def real_prompts(tokenizer):
    texts = {t: (HERE.parent / "text" / f"{t}.txt").read_text(encoding="utf-8") for t in
             ("short", "medium", "long")}  # fmt: skip
    ids = {t: tokenizer(text.rstrip("\n"))["input_ids"] for t, text in texts.items()}
    main, other = [], []
    for i, chosen in enumerate((ids["short"], ids["medium"][:70])):
        start = 100
        while True:
            part = ids["long"][start : start + len(chosen)]
            text = tokenizer.decode(part)
            if tokenizer(text)["input_ids"] == part:
                break
            start += 1
        main.append(line(f"main{i}", chosen, "a", text))
        other.append(part)
    return {"main": main}, other


# One model in one arithmetic and order of channels.


class World:
    def __init__(self, model, files, others, sites, order=None):
        self.model, self.files, self.others = model, files, others
        self.sites, self.order, self.kept = sites, order, {}

    def collected(self, key, ids, changes=()):
        if key not in self.kept:
            found = {}
            Changed(self.model, Prompt(ids, len(ids), {"needle": (2, 5)}, {}), changes, self.order).run(
                lambda site, layer, x: found.__setitem__((site, layer), x.clone())
                if site in self.sites else None)  # fmt: skip
            self.kept[key] = found
        return self.kept[key]

    def sources(self, case, i):
        wanted = {c.op for c in case.changes if isinstance(c, Write)} & set(SOURCED)
        lines, found = self.files[case.prompts], {}
        if wanted & {"mean", "position_mean"}:
            by_domain = "--means-by" in case.options
            mine = [j for j, l in enumerate(lines)
                    if not by_domain or l["domain"] == lines[i]["domain"]]  # fmt: skip
            runs = [self.collected((case.prompts, j), lines[j]["tokens"]) for j in mine]
            found |= {"mean": mean_of(runs), "position_mean": position_mean_of(runs)}
        if "from" in wanted and case.before_changes:
            key = (case.name, i)
            found["from"] = self.collected(key, lines[i]["tokens"], case.before_changes)
        elif "from" in wanted:
            found["from"] = self.collected(("counterpart", i), self.others[i])
        if "resample" in wanted:
            found["resample"] = self.collected((case.prompts, 1 - i), lines[1 - i]["tokens"])
        return found

    def prompt(self, case, i, ids=None):
        entry = self.files[case.prompts][i]
        n = len(entry["tokens"])
        return Prompt(ids or entry["tokens"], n, {"needle": (2, 5)}, self.sources(case, i))

    def run(self, case, i, ids, layers):
        """What is compared, all rows: token_logprob, residual [T, C] before the final norm, z [layer, T,
        width], pattern [layer, head, T, T], entropy [layer, head, T]."""
        found = {"z": [], "pattern": []}
        last = shape_of(self.model)[0] - 1

        def keep(site, layer, x):
            if site == "token_logprob":
                found[site] = x.numpy().copy()
            elif site == "resid_post" and layer == last:
                found["residual"] = x.numpy().copy()
            elif site in ("z", "pattern") and layer in layers:
                found[site].append(x.numpy().copy())

        Changed(self.model, self.prompt(case, i, ids), case.changes, self.order).run(keep)
        found |= {site: np.stack(found[site]) for site in ("z", "pattern")}
        return found | {"entropy": entropy_of(found["pattern"])}


def compared_layers(case, n_layers):
    """The first that is changed and the last one."""
    return sorted({min((c.layer for c in case.changes), default=0), n_layers - 1})


def error_of(site, exact, other):
    as_site = {"z": "final", "entropy": "token_logprob"}
    return error(as_site.get(site, site), exact, other)


def entropy_of(pattern):
    pattern = pattern.astype(np.float64)
    return -(pattern * np.log(np.where(pattern > 0, pattern, 1))).sum(-1)


def stored(site, x, n, generated):
    """The rows of a prompt that are stored; z is [layer, T, ..], pattern [layer, head, T, T].  The map's
    row of the last generated token is in no capture."""
    x = np.asarray(x)
    if site == "token_logprob":
        return x
    if site == "residual":
        return x[-1].astype(np.float32)
    if site == "z":
        return x[:, -1].astype(np.float32)
    if site == "entropy":
        return (x if n <= WHOLE else x[:, :, -1]).astype(np.float32)
    if generated:
        return x[:, :, -2].astype(np.float32)
    return (x if n <= WHOLE else x[:, :, -1:]).astype(np.float32)


def case_golden(case, exact, singles):
    """Tensors of one case, flat, prompts one after the other, and its line of the description."""
    n_layers = shape_of(exact.model)[0]
    layers = compared_layers(case, n_layers)
    sites = ["token_logprob", "residual", "z"]
    if any(isinstance(c, Attend) for c in case.changes):
        sites += ["pattern"] if case.generate else ["pattern", "entropy"]
    found, errors, n_tokens = {site: [] for site in sites}, dict.fromkeys(sites, 0.0), []
    generated, changed = [], 0
    for i, entry in enumerate(exact.files[case.prompts]):
        ids = None
        if case.generate:
            ids, lead = generate(exact.model, exact.prompt(case, i), case.changes, case.generate)
            if lead < LEAD or exact.model.config.eos_token_id in ids[len(entry["tokens"]) :]:
                raise SystemExit(f"{case.name}: what is generated is not sure ({lead:.1e})")
            generated.append(ids[len(entry["tokens"]) :])
        truth = exact.run(case, i, ids, layers)
        n = len(ids or entry["tokens"])
        n_tokens.append(n)
        for site in sites:
            found[site].append(stored(site, truth[site], n, case.generate).ravel())
        plain = exact.run(dataclasses.replace(case, changes=[]), i, ids, layers)
        for site in sites:
            change = np.abs(truth[site] - plain[site]).max(initial=0)
            changed = max(changed, change / np.abs(truth[site]).max(initial=1e-300))
        for single in singles:
            other = single.run(case, i, ids, layers)
            for site in sites:
                errors[site] = max(errors[site], error_of(site, truth[site], other[site]))
    if case.changes and changed < VISIBLE * max(errors.values()):
        raise SystemExit(f"{case.name} changes too little to be seen: {changed:.1e}")
    tensors = {f"{case.name}.{site}": np.concatenate(found[site]) for site in sites}
    tensors[f"{case.name}.error"] = np.array([errors[site] for site in sites])
    described = dict(name=case.name, specs=case.specs, also=case.also, options=case.options,
                     prompts=case.prompts, generate=case.generate, before=case.before,
                     layers=layers, sites=sites, n_tokens=n_tokens, generated=generated)  # fmt: skip
    print(f"  {case.name:22}", " ".join(f"{s}={errors[s]:.1e}" for s in sites), flush=True)
    return tensors, described


def sites_needed(cases):
    return {c.site for case in cases for c in [*case.changes, *case.before_changes]
            if isinstance(c, Write)}  # fmt: skip


def make(name, model, files, others, orders, cases):
    sites = sites_needed(cases)
    exact = World(as_float64(model), files, others, sites)
    singles = [World(model, files, others, sites)]
    for seed in range(1, orders):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(model.config.hidden_size, generator=generator)
        other = reorder.reordered(model, order)
        singles.append(World(other, files, others, sites, order))
    tensors, described = {}, []
    for case in cases:
        case.also = case.also if name in EVERY_CASE else []
        found, text = case_golden(case, exact, singles)
        tensors |= found
        described.append(text)
    note = f"{name}; transformers {transformers.__version__}, torch {torch.__version__}"
    metadata = {"note": note, "prompts": json.dumps(files), "cases": json.dumps(described)}
    path = HERE / f"{name}.safetensors"
    save_file(tensors, path, metadata=metadata)
    print(name, len(cases), "cases,", path.stat().st_size, "bytes", flush=True)


def shape_for(model):
    kind = model.config.model_type
    parallel = getattr(model.config, "use_parallel_residual", False)
    return Shape(*shape_of(model), parallel=parallel, rotary=kind != "gpt2")


def main():
    torch.set_num_threads(1)
    for name in sys.argv[1:] or EVERY_CASE + SOME_CASES:
        if name.endswith(".gguf"):
            path = pathlib.Path(name)
            model = smollm2.load(path)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            files, others = real_prompts(tokenizer)
            cases = [c for c in all_cases(shape_for(model)) if c.real]
            make("smollm2", model, files, others, REAL_ORDERS, cases)
        else:
            model = tiny.build(name)
            files, others = tiny_prompts(name)
            cases = all_cases(shape_for(model))
            cases = [c for c in cases if c.real or name in EVERY_CASE]
            make(name, model, files, others, reorder.N_ORDERS, cases)


if __name__ == "__main__":
    main()
